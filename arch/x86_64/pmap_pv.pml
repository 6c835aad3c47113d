// A model of pmap::page_protect against pmap::remove (arch/x86_64/pmap_pv.cc, pmap.cc) for spin:
// docs/models.md.
//
// Follows remove_some, pv_unflushed, page_protect, try_page_protect and remove_mapping. Processor 0
// unmaps a page in one pass over a range. 1 takes the page from all pmaps, as who truncates a file
// does, and frees it. 2 has the pmap loaded, or loads it meanwhile; its MMU may load what the table
// says at any time. A shootdown is one step here: arch/x86_64/tlb.pml has it.
//
// Property: the page that 1 frees is in no TLB; nobody waits for ever.
//
// Wrong, and found:
//   -DNO_WAIT        page_protect does not wait for removals that have not flushed
//   -DNOTED_LATE     remove notes the page after its pv entry is gone
//   -DENDED_EARLY    ... and forgets the note before it flushes
//   -DLOOKED_EARLY   remove looks who else has the pmap before it has cleared the entry
//   -DWAITS_FOR_PMAP page_protect waits for the pmap's lock with the list's held
#define PROCESSORS 3
#define PMAP_LOCK 0
#define PV_LOCK 1
#define PTE 2
#define VARIABLES 3
#include "tests/models/tso.inc"

#define lock(which) locked(me, mem[which] == 0, mem[which] = 1)
#define unlock(which) store(me, which, 0)

bool listed = true; // the page's pv entry; PV_LOCK's
byte unflushed;
bool loaded_on;     // whether 2 is in the set
bool cr3, tlb;      // of 2
bool freed;

proctype fill() {
end:
    do
    :: atomic { cr3 && mem[PTE] && !tlb -> assert(!freed); tlb = true }
    od
}

inline note() {
    if
    :: loaded_on -> locked(me, true, unflushed++); noted = true
    :: else
    fi
}
inline forget_note() {
    if
    :: noted -> locked(me, true, unflushed--)
    :: else
    fi
}

// remove_some
proctype remover(byte me) {
    bool present, noted;
    lock(PMAP_LOCK);
#ifdef LOOKED_EARLY
    note();
#endif
    locked(me, true, present = mem[PTE]; mem[PTE] = 0);
    if
    :: present ->
#if !defined(NOTED_LATE) && !defined(LOOKED_EARLY)
        note();
#endif
        lock(PV_LOCK);
        listed = false;
        unlock(PV_LOCK);
#ifdef NOTED_LATE
        note();
#endif
#ifdef ENDED_EARLY
        forget_note();
#endif
        fence(me); // who_has
        tlb = false
    :: else
    fi;
#ifndef ENDED_EARLY
    forget_note();
#endif
    unlock(PMAP_LOCK)
}

// page_protect, and then the end of the page.
proctype protector(byte me) {
    bool got;
    do
    ::  lock(PV_LOCK);
        got = true;
        if
        :: listed ->
#ifdef WAITS_FOR_PMAP
            lock(PMAP_LOCK);
#else
            locked(me, true, got = (mem[PMAP_LOCK] == 0); if :: got -> mem[PMAP_LOCK] = 1 :: else fi);
#endif
            if
            :: got ->
                locked(me, true, mem[PTE] = 0);
                listed = false;
                fence(me);
                tlb = false;
                unlock(PMAP_LOCK)
            :: else
            fi
        :: else
        fi;
        unlock(PV_LOCK);
        if
        :: got -> break
        :: else
        fi
    od;
#ifndef NO_WAIT
    unflushed == 0;
#endif
    atomic {
        assert(!tlb);
        freed = true
    }
}

// activate
proctype joiner(byte me) {
    locked(me, true, loaded_on = true);
    locked(me, true, cr3 = true; tlb = false)
}

init {
    atomic {
        mem[PTE] = 1;
        if
        :: loaded_on = true; cr3 = true
        :: run joiner(2)
        fi;
        run drain(0); run drain(1); run drain(2);
        run fill();
        run remover(0);
        run protector(1)
    }
}
