// A model of futexes with requeue (kernel/memory/futex.cc, lib/home.h) for spin: docs/models.md.
//
// Follows futex_wait, sleep, futex_wake, wake_some, futex_requeue and home. Two threads wait for a
// change of a word. A third changes it, wakes one and moves the other to a second word, in another
// bucket, and wakes whoever is there. Besides that, or alone, a fourth sends one of the waiters a
// signal at any time.
//
// Property: nobody sleeps for ever; who returns is in no bucket; nobody touches a waiter, which is
// on its thread's stack, after it has returned.
//
// Wrong, and found:
//   -DVALUE_UNGUARDED  the word is compared before the bucket's lock is held
//   -DPREPARE_LATE     a sleeper lets go of the lock before its state says that it sleeps
//   -DSIGNAL_EARLY     it looks for signals before its state says so
//   -DHOME_READ_ONCE   a sleeper takes the lock of the bucket that it was in, and does not look again
//   -DMOVED_IN_TWO     requeue takes the waiter out under one lock, and puts it in under the other
//   -DWOKEN_UNGUARDED  a waker marks and wakes the waiter after it has let go of the lock
#define PROCESSORS 4
#define WAITERS 2
#define WORD 0 // in user memory
#define LOCK 1 // + bucket
#define HOME 3 // + waiter: its bucket
#define VARIABLES 5
#include "tests/models/tso.inc"

#define FROM 0 // the buckets
#define TO 1
#define NONE 2

byte bucket[WAITERS] = NONE; // whose list it is in; that bucket's lock's
bool woken[WAITERS];         // the lock's of its home
bool asleep[WAITERS];        // thread::state
bool signal[WAITERS];        // signal_flags
bool alive[WAITERS];         // the waiter is on the stack

inline lock_bucket(which) { locked(me, mem[LOCK + which] == 0, mem[LOCK + which] = 1) }
inline unlock_bucket(which) { store(me, LOCK + which, 0) }

// home::lock
inline lock_home() {
    do
    ::  at = mem[HOME + me];
        lock_bucket(at);
#ifndef HOME_READ_ONCE
        if
        :: at == mem[HOME + me] -> break
        :: else -> unlock_bucket(at)
        fi
#else
        break
#endif
    od
}

inline sleep() {
    do
    :: woken[me] -> break
    :: else ->
#ifdef SIGNAL_EARLY
        interrupted = signal[me];
#endif
#ifdef PREPARE_LATE
        unlock_bucket(at);
        locked(me, true, asleep[me] = true);
#else
        locked(me, true, asleep[me] = true);
        unlock_bucket(at);
#endif
#ifndef SIGNAL_EARLY
        interrupted = signal[me];
#endif
        // sched_sleep
        if
        :: interrupted -> locked(me, true, asleep[me] = false)
        :: else -> !asleep[me]
        fi;
        lock_home();
        if
        :: !woken[me] && signal[me] ->
            assert(bucket[me] == at); // where it is taken out of
            bucket[me] = NONE;
            break
        :: else
        fi
    od
}

// futex_wait(the word, 0)
proctype waiter(byte me) {
    byte at, value;
    bool interrupted;
    atomic { alive[me] = true; mem[HOME + me] = FROM }
#ifdef VALUE_UNGUARDED
    value = mem[WORD];
#endif
    lock_home();
#ifndef VALUE_UNGUARDED
    value = mem[WORD];
#endif
    if
    :: value == 0 -> bucket[me] = FROM; sleep()
    :: else
    fi;
    unlock_bucket(at);
    alive[me] = false;
    assert(bucket[me] == NONE)
}

inline mark_and_wake(w) {
    assert(alive[w]);
    woken[w] = true;
    assert(alive[w]);
    locked(me, true, asleep[w] = false)
}

// wake_some, with the bucket's lock
inline wake_some(which, count) {
    w = 0;
    n = 0;
    do
    :: w < WAITERS && n < count ->
        if
        :: bucket[w] == which ->
            bucket[w] = NONE;
            n++;
#ifdef WOKEN_UNGUARDED
            unlock_bucket(which);
            mark_and_wake(w);
            lock_bucket(which)
#else
            mark_and_wake(w)
#endif
        :: else
        fi;
        w++
    :: else -> break
    od
}

// futex_requeue(from, to, 1, all), then futex_wake(to, all)
proctype waker(byte me) {
    byte w, n;
    store(me, WORD, 1);
    lock_bucket(FROM);
#ifndef MOVED_IN_TWO
    lock_bucket(TO);
#endif
    wake_some(FROM, 1);
    w = 0;
    do
    :: w < WAITERS ->
        if
        :: bucket[w] == FROM ->
            assert(alive[w]);
            bucket[w] = NONE;
#ifdef MOVED_IN_TWO
            unlock_bucket(FROM);
            lock_bucket(TO);
#endif
            bucket[w] = TO;
            store(me, HOME + w, TO);
#ifdef MOVED_IN_TWO
            unlock_bucket(TO);
            lock_bucket(FROM);
#endif
        :: else
        fi;
        w++
    :: else -> break
    od;
#ifndef MOVED_IN_TWO
    unlock_bucket(TO);
#endif
    unlock_bucket(FROM);

    lock_bucket(TO);
    wake_some(TO, WAITERS);
    unlock_bucket(TO)
}

// signal_notice, sched_signal
proctype killer(byte me) {
    locked(me, true, signal[1] = true);
    if
    :: asleep[1] -> locked(me, true, asleep[1] = false)
    :: else
    fi
}

init {
    atomic {
        run drain(0); run drain(1); run drain(2);
        run waiter(1);
        if
        :: run waiter(0); run waker(2); run killer(3)
        :: run waiter(0); run waker(2)
        :: run killer(3)
        fi
    }
}
