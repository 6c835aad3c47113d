// Processors whose plain stores others see later, in order (x86-TSO: Sewell et al., "x86-TSO: A
// Rigorous and Usable Programmer's Model for x86 Multiprocessors", CACM 2010).
//
// mem[] is what all see. A plain store waits in its processor's buffer; a locked instruction, a
// fence, or what serializes, waits until the buffer is empty. A plain load reads mem[]. One of what may
// be in the processor's own buffer is a load_own, which waits for that, too; the models have it only
// where a compare-and-exchange follows, which would wait. A model says how many PROCESSORS and VARIABLES
// there are before it includes this.
byte mem[VARIABLES];
chan buffer[PROCESSORS] = [2] of { byte, byte };

#ifdef SEQUENTIAL
#define store(me, variable, value) mem[variable] = value
#else
#define store(me, variable, value) buffer[me]!variable, value
#endif

// A locked instruction, that waits until `condition` holds.
#define locked(me, condition, change) \
    atomic {                          \
        empty(buffer[me]) && (condition) -> change \
    }
#define load_own(me, into, variable) atomic { empty(buffer[me]) -> into = mem[variable] }
#define fence(me) empty(buffer[me])

proctype drain(byte whose) {
    byte variable, value;
end:
    do
    :: atomic { buffer[whose]?variable, value -> mem[variable] = value; variable = 0; value = 0 }
    od
}
