// A model of sleep_lock (lib/sleep_lock.cc) for spin: docs/models.md.
//
// Follows acquire, wait_and_take, unlock and release_waited_for.
//
// Property: at most one thread has the lock; nobody sleeps for ever; who was woken finds the lock
// taken once at most.
//
// Wrong, and found:
//   -DPLAIN_UNLOCK        a release does not look whether anybody waits
//   -DBIT_UNGUARDED       who waits sets the bit and tests the state before it has guard_
//   -DTAKEN_WITHOUT_BIT   who has waited takes the lock without the bit, though others are queued
//   -DPREPARE_LATE        a sleeper lets go of guard_ before its state says that it sleeps
//   -DNO_HANDOVER         a release never makes a waiter the owner
//   -DLAST_PLACE          one that has lost goes to the end of the queue again
#define THREADS 3
#define ROUNDS 2

#define STATE 0 // state_: the owner's number from 1 on, and the bit
#define GUARD 1 // guard_'s owner_
#define PROCESSORS THREADS
#define VARIABLES 2
#include "tests/models/tso.inc"

#define WAITING 8
#define OWNER(state) ((state) & 7)

inline lock_guard() { locked(me, mem[GUARD] == 0, mem[GUARD] = 1) }
inline unlock_guard() { store(me, GUARD, 0) }
#include "tests/models/wait_queue.inc"

wait_queue waiters; // waiters_, losers_: guard_'s
byte losers;
byte inside;

// state_.fetch_or(waiting)
inline look() { locked(me, true, seen = mem[STATE]; mem[STATE] = mem[STATE] | WAITING) }

inline wait_and_take() {
#ifdef BIT_UNGUARDED
    look();
#endif
    lock_guard();
    lost = 0;
    do
    ::
#ifndef BIT_UNGUARDED
        look();
#endif
        if
        :: OWNER(seen) == me + 1 -> break // handed over
        :: OWNER(seen) == 0 ->
#ifdef TAKEN_WITHOUT_BIT
            store(me, STATE, me + 1);
#else
            store(me, STATE, (waiters.length == 0 -> me + 1 : (me + 1) | WAITING));
#endif
            break
        :: else
        fi;
        assert(lost < 2);
        losers = losers + lost;
#ifdef LAST_PLACE
        wait(waiters, LAST);
#else
        wait(waiters, (lost -> FIRST : LAST));
#endif
#ifdef BIT_UNGUARDED
        look();
#endif
        lost++
    od;
    unlock_guard()
}

inline release_waited_for() {
    lock_guard();
    wake_one(waiters);
    owner = 0;
    if
    :: losers != 0 ->
        losers--;
#ifndef NO_HANDOVER
        owner = next
#endif
    :: else
    fi;
    store(me, STATE, (waiters.length == 0 -> owner : owner | WAITING));
    unlock_guard()
}

proctype user(byte me) {
    byte i, next, owner, seen, lost, round;
    bool done;
    do
    :: round < ROUNDS ->
        round++;
        // acquire
        locked(me, true, done = (mem[STATE] == 0); if :: done -> mem[STATE] = me + 1 :: else fi);
        if
        :: done
        :: else -> wait_and_take()
        fi;
        inside++;
        assert(inside == 1);
        inside--;
        // unlock
#ifdef PLAIN_UNLOCK
        store(me, STATE, 0)
#else
        locked(me, true, done = (mem[STATE] == me + 1); if :: done -> mem[STATE] = 0 :: else fi);
        if
        :: done
        :: else -> release_waited_for()
        fi
#endif
    :: else -> break
    od
}

init {
    atomic {
        run drain(0); run drain(1); run drain(2);
        run user(0); run user(1); run user(2)
    }
}
