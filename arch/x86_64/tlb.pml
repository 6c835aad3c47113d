// A model of TLB shootdown (arch/x86_64/tlb.cc) for spin: docs/models.md.
//
// Follows switch_table, serve, ask, who_has, poll, flush and unload. Three processors and one pmap
// of two pages; processors 0 and 1 unmap a page each, which is then freed; 0 and 2 leave the pmap, 1
// loads it, and in the end 0 destroys it. At any time a processor may be interrupted where the code lets it,
// and the MMU of one whose CR3 holds the pmap's table may load what the table says: that is what
// fill() does. The change of the table is a plain store here, so that the fence in who_has has to be
// what orders it.
//
// Property: what has been unmapped is in no TLB once flush has returned; no CR3 holds the table once
// unload has returned; nobody waits for ever.
//
// Wrong, and found:
//   -DJOINED_LATE     a processor enters loaded_on after it has loaded the table
//   -DLEFT_EARLY      it leaves loaded_on before it has loaded another one
//   -DNO_FENCE        who_has reads the set without a fence
//   -DNOT_MARKED      loaded_pmap says that the table is loaded one interrupt later
//   -DANSWERED_FIRST  a target answers before it has forgotten
//   -DPENDING_LATE    `pending` is stored after the targets are asked
//   -DDEAF            who waits for answers gives none
//   -DTAKEN_IN_TWO    poll reads asked_by, and clears it by another instruction
#define PROCESSORS 3
#define PTE 0     // + page: whether it is mapped
#define REQUEST 2 // + processor: request::flush; a page, or UNLOAD
#define PENDING 5 // + processor: request::pending
#define VARIABLES 8
#include "tests/models/tso.inc"

#define UNLOAD 2
#define BIT(processor) (1 << (processor))

byte loaded_on;
byte asked_by[PROCESSORS];
bool interrupt[PROCESSORS];   // an IPI is under way
bool loaded_pmap[PROCESSORS]; // whether that is ours; the processor's own
bool cr3[PROCESSORS];         // whether our table is in it
byte tlb[PROCESSORS];         // a bit for each page
bool freed[2];
byte done;                    // processors that will not activate the pmap again

#define INTO(processor, page) \
    cr3[processor] && mem[PTE + page] && !(tlb[processor] & BIT(page)) -> \
        assert(!freed[page]); \
        tlb[processor] = tlb[processor] | BIT(page)
proctype fill() {
end:
    do
    :: atomic { INTO(0, 0) }
    :: atomic { INTO(0, 1) }
    :: atomic { INTO(1, 0) }
    :: atomic { INTO(1, 1) }
    :: atomic { INTO(2, 0) }
    :: atomic { INTO(2, 1) }
    od
}

// load_table: CR3 is loaded when all earlier stores are seen, and the TLB is empty then.
inline load_table(ours) { locked(me, true, cr3[me] = ours; tlb[me] = 0) }
inline join_set() { locked(me, true, loaded_on = loaded_on | BIT(me)) }
inline leave_set() { locked(me, true, loaded_on = loaded_on & ~BIT(me)) }

inline switch_to_ours() {
#ifdef JOINED_LATE
    load_table(true);
    join_set();
#else
    join_set();
    load_table(true);
#endif
#ifdef NOT_MARKED
    poll();
#endif
    loaded_pmap[me] = true
}

inline switch_to_kernel() {
#ifdef LEFT_EARLY
    leave_set();
    load_table(false);
    loaded_pmap[me] = false
#else
    load_table(false);
    loaded_pmap[me] = false;
    leave_set()
#endif
}

inline answer() {
    locked(me, true, mem[PENDING + asker] = mem[PENDING + asker] & ~BIT(me))
}

inline serve() {
    if
    :: loaded_pmap[me] && mem[REQUEST + asker] == UNLOAD -> switch_to_kernel()
    :: loaded_pmap[me] && mem[REQUEST + asker] != UNLOAD ->
        tlb[me] = tlb[me] & ~BIT(mem[REQUEST + asker])
    :: else
    fi
}

inline poll() {
    if
    :: asked_by[me] != 0 ->
#ifdef TAKEN_IN_TWO
        askers = asked_by[me];
        asked_by[me] = 0;
#else
        locked(me, true, askers = asked_by[me]; asked_by[me] = 0);
#endif
        asker = 0;
        do
        :: asker < PROCESSORS && (askers & BIT(asker)) ->
#ifdef ANSWERED_FIRST
            answer();
            serve();
#else
            serve();
            answer();
#endif
            asker++
        :: asker < PROCESSORS && !(askers & BIT(asker)) -> asker++
        :: asker == PROCESSORS -> break
        od;
        atomic { askers = 0; asker = 0 }
    :: else
    fi
}

inline take_interrupt() { interrupt[me] = false; poll() }

inline ask(targets, what) {
    assert(mem[PENDING + me] == 0);
    store(me, REQUEST + me, what);
#ifndef PENDING_LATE
    store(me, PENDING + me, targets);
#endif
    target = 0;
    do
    :: target < PROCESSORS && (targets & BIT(target)) ->
        locked(me, true,
            if
            :: asked_by[target] == 0 -> interrupt[target] = true
            :: else
            fi;
            asked_by[target] = asked_by[target] | BIT(me));
        target++
    :: target < PROCESSORS && !(targets & BIT(target)) -> target++
    :: target == PROCESSORS -> break
    od;
#ifdef PENDING_LATE
    store(me, PENDING + me, targets);
    fence(me);
#endif
    target = 0;
    do
    :: mem[PENDING + me] == 0 -> break
#ifndef DEAF
    :: asked_by[me] != 0 -> poll() // cpu::relax
#endif
    od
}

inline flush(page) {
#ifndef NO_FENCE
    fence(me);
#endif
    where = loaded_on;
    if
    :: where & BIT(me) -> tlb[me] = tlb[me] & ~BIT(page)
    :: else
    fi;
    where = where & ~BIT(me);
    if
    :: where != 0 -> ask(where, page)
    :: else
    fi;
    where = 0
}

inline unload() {
    if
    :: loaded_pmap[me] -> switch_to_kernel()
    :: else
    fi;
    where = loaded_on;
    if
    :: where != 0 -> ask(where, UNLOAD)
    :: else
    fi;
    where = 0;
    assert(loaded_on == 0)
}

// Without the pmap's lock: what follows does not rest on it, and a barrier or pmap_pv.cc's
// clear_in_mappings ask without it.
inline remove(page) {
    store(me, PTE + page, 0);
    if
    :: interrupt[me] -> take_interrupt()
    :: true
    fi;
    flush(page);
    atomic {
        assert(((tlb[0] | tlb[1] | tlb[2]) & BIT(page)) == 0);
        freed[page] = true
    }
}

// Comes or goes, and unmaps, in any order, and takes interrupts until the end.
proctype processor(byte me) {
    byte askers, asker, target, where;
    bool switched, removed;
    do
    :: !switched ->
        switched = true;
        if
        :: loaded_pmap[me] -> switch_to_kernel()
        :: else -> switch_to_ours()
        fi
    :: me < 2 && !removed -> removed = true; remove(me)
    :: interrupt[me] -> take_interrupt()
    :: switched && (removed || me == 2) -> break
    od;
    done++;
    do
    :: interrupt[me] -> take_interrupt()
    :: me == 0 && done == PROCESSORS ->
        unload();
        assert(!cr3[0] && !cr3[1] && !cr3[2]);
        done++;
        break
    :: me != 0 && done > PROCESSORS -> break
    od
}

init {
    atomic {
        mem[PTE] = 1;
        mem[PTE + 1] = 1;
        loaded_on = BIT(0) | BIT(2);
        cr3[0] = true;
        cr3[2] = true;
        loaded_pmap[0] = true;
        loaded_pmap[2] = true;
        run drain(0); run drain(1); run drain(2);
        run fill();
        run processor(0); run processor(1); run processor(2)
    }
}
