// A model of the fault that copies a page which others have too, case 1B (vm/uvm_fault.cc) for spin:
// docs/models.md.
//
// Follows upper, map_anon, copy_anon and enter. After a fork a page is in the amap of P and in that of
// Q, mapped read-only; the amap of P may be shared by inheritance with R. All belong to one family, so
// there is one lock. A thread of P and one of Q store; another thread of P, on another processor, and R
// load. Each processor keeps in its TLB what it has loaded. A shootdown is one step here:
// arch/x86_64/tlb.pml has it.
//
// Property: P and R see no store of Q's, nor Q one of theirs; what P has stored, P and R load from then
// on; nobody has a mapping of a page that is free. A fault may fail for want of memory at any point.
//
// Wrong, and found:
//   -DUNLOCKED_FIRST   the copy takes the page's place, and is entered when the lock is let go of
//   -DREFERENCE_FIRST  ... is entered after that, with the lock, and what was mapped before stays
//                      mapped if that fails
//   -DNOT_FLUSHED      enter replaces a mapping, and leaves the TLBs as they are
//   -DNOT_PROTECTED    the page is not taken from those who share the amap
#define OLD 1 // pages
#define NEW_P 2
#define NEW_Q 3

#define P 0 // processes; also which TLB: P's thread that stores, Q's, R's, and P's second thread
#define Q 1
#define R 2
#define P2 3
#define PROCESS(cpu) (cpu == P2 -> P : cpu)
#define AMAP(process) (process == Q -> 1 : 0)

byte contents[4];
byte references[4];    // of the anon that has the page; the lock's
byte slot[2] = OLD;    // by amap; the lock's
byte pte[3];           // by process: a page, or 0
bool writable[3];
byte tlb[4];           // by processor
bool tlb_writable[4];
bool lock;
bool stored;           // P's store is done
bool shared;           // whether there is R

inline set_pte(process, page, w) { atomic { pte[process] = page; writable[process] = w } }
inline flush_all(process) {
    atomic {
        if
        :: process == P -> tlb[P] = 0; tlb[P2] = 0
        :: process == Q -> tlb[Q] = 0
        :: process == R -> tlb[R] = 0
        fi
    }
}
inline take() { atomic { !lock -> lock = true } }

// page_protect(page, none): from every pmap
inline page_protect(page) {
    i = 0;
    do
    :: i < 3 ->
        if
        :: pte[i] == page -> set_pte(i, 0, false); flush_all(i)
        :: else
        fi;
        i++
    :: else -> break
    od
}

// pmap::enter and what uvm_faultinfo::enter makes of its failure.
inline enter(page, w) {
    if
    ::  set_pte(process, page, w);
#ifndef NOT_FLUSHED
        flush_all(process);
#endif
        failed = false
    :: can_fail ->
        failed = true;
#ifndef REFERENCE_FIRST
        set_pte(process, 0, false);
        flush_all(process)
#endif
    fi
}

// amap.replace: the old anon has one reference less.
inline replace(page) {
    atomic {
        references[slot[amap]]--;
        slot[amap] = page
    }
}

inline copy_anon() {
    copy = (process == Q -> NEW_Q : NEW_P);
    atomic { contents[copy] = contents[found]; references[copy] = 1 }
#ifndef NOT_PROTECTED
    if
    :: amap == 0 && shared -> page_protect(found)
    :: else
    fi;
#endif
#if defined(UNLOCKED_FIRST)
    replace(copy);
    lock = false;
    enter(copy, true)
#elif defined(REFERENCE_FIRST)
    replace(copy);
    enter(copy, true);
    lock = false
#else
    enter(copy, true);
    if
    :: !failed -> replace(copy)
    :: else -> references[copy] = 0
    fi;
    lock = false
#endif
}

inline fault(write) {
    take();
    found = slot[amap];
    if
    :: write && references[found] > 1 -> copy_anon()
    :: else ->
        enter(found, references[found] == 1);
        lock = false
    fi
}

// The page that an access comes to into `page`, or 0 for a fault.
inline translate(write) {
    if
    :: tlb[me] != 0 && (!write || tlb_writable[me]) -> page = tlb[me]
    :: else ->
        if
        :: pte[process] != 0 && (!write || writable[process]) ->
            page = pte[process];
            tlb[me] = page;
            tlb_writable[me] = writable[process]
        :: else -> page = 0
        fi
    fi
}

proctype writer(byte me) {
    byte process, amap, found, copy, page, i;
    bool failed, can_fail;
    process = PROCESS(me);
    amap = AMAP(process);
    can_fail = true;
    do
    ::  atomic {
            translate(true);
            if
            :: page != 0 ->
                assert(references[page] != 0);
                contents[page] = 1 + process;
                stored = stored || process == P;
                break
            :: else
            fi
        }
        fault(true);
        can_fail = false // fails once, and then its caller tries again
    od
}

proctype reader(byte me) {
    byte process, amap, found, copy, page, i, loads;
    bool failed, can_fail;
    process = PROCESS(me);
    amap = AMAP(process);
    do
    :: loads < 2 ->
        atomic {
            translate(false);
            if
            :: page != 0 ->
                assert(references[page] != 0);
                assert(contents[page] == (stored -> 1 + P : 0));
                loads++;
                page = 0;
                goto loaded
            :: else
            fi
        }
        fault(false);
loaded: skip
    :: else -> break
    od
}

init {
    atomic {
        references[OLD] = 2;
        pte[P] = OLD;
        pte[Q] = OLD;
        tlb[P] = OLD;
        tlb[Q] = OLD;
        tlb[P2] = OLD;
        run writer(P); run writer(Q); run reader(P2);
        if
        :: shared = true; pte[R] = OLD; tlb[R] = OLD; run reader(R)
        :: true
        fi
    }
}
