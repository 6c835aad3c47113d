// A model of rw_lock (lib/rw_lock.cc) for spin: docs/models.md.
//
// Follows wait_and_take, wake_writer, release_waited_for, lock_shared, wait_and_share,
// unlock_shared, release_shared_waited_for and downgrade. Two writers take the lock twice each, one
// of them lets it down to a reader's the first time; a reader takes it once.
//
// Property: a writer is alone, readers are alone with readers; nobody sleeps for ever; a writer that
// was woken finds the lock taken once at most; no reader that comes later passes a writer that waits.
//
// Wrong, and found:
//   -DREADERS_PASS      a reader looks for a writer that has the lock, not for one that waits
//   -DSTALE_RELEASE     the last reader's release counts from what it read before it had guard_
//   -DNO_READER_COUNT   readers that are let in own nothing before they run
//   -DQUEUED_ONLY       a writer counts as waiting while it is queued, not while it is on its way
//   -DREADERS_FORGOTTEN a writer's release wakes a writer only
//   -DDOWNGRADE_ALONE   downgrade leaves the bit as it is, and wakes nobody
//   -DPREPARE_LATE      a sleeper lets go of guard_ before its state says that it sleeps
#define THREADS 3
#define WRITERS 2

#define STATE 0 // state_
#define GUARD 1 // guard_'s owner_
#define PROCESSORS THREADS
#define VARIABLES 2
#include "tests/models/tso.inc"

#define WRITING 1
#define WAITING 2
#define ONE_READER 4

inline lock_guard() { locked(me, mem[GUARD] == 0, mem[GUARD] = 1) }
inline unlock_guard() { store(me, GUARD, 0) }
#include "tests/models/wait_queue.inc"

// guard_'s:
wait_queue writers_waiting, readers_waiting;
byte writers_wanting, losers;
byte handed_to; // a thread's number from 1 on

byte writing, reading;       // who is inside
bool announced[WRITERS];     // a writer has set the bit and does not have the lock yet
#define UNDER_WAY (announced[0] || announced[1])

#ifdef QUEUED_ONLY
#define WANTED (writers_waiting.length != 0)
#else
#define WANTED (writers_wanting != 0)
#endif
#define WAITING_BIT (WANTED || readers_waiting.length != 0 -> WAITING : 0)

inline look() { locked(me, true, seen = mem[STATE] & ~WAITING; mem[STATE] = mem[STATE] | WAITING) }
inline compare_exchange(from, to) {
    locked(me, true, done = (mem[STATE] == from); if :: done -> mem[STATE] = to :: else fi)
}

inline wait_and_take() {
    lock_guard();
    writers_wanting++;
    lost = 0;
    do
    ::  locked(me, true, seen = mem[STATE] & ~WAITING; mem[STATE] = mem[STATE] | WAITING;
               announced[me] = true);
        if
        :: seen == 0 -> break
        :: seen == WRITING && handed_to == me + 1 -> handed_to = 0; break
        :: else
        fi;
        assert(lost < 2);
        losers = losers + lost;
        wait(writers_waiting, (lost -> FIRST : LAST));
        lost++
    od;
    writers_wanting--;
    announced[me] = false;
    store(me, STATE, WRITING | WAITING_BIT);
    unlock_guard()
}

// The state without its bit into `state`.
inline wake_writer() {
    wake_one(writers_waiting);
    state = 0;
    if
    :: losers != 0 -> losers--; handed_to = next; state = WRITING
    :: else
    fi
}

inline release_waited_for() {
    lock_guard();
#ifdef READERS_FORGOTTEN
    wake_writer();
#else
    wake_all(readers_waiting, all);
    if
#ifdef NO_READER_COUNT
    :: all != 0 -> state = 0
#else
    :: all != 0 -> state = all * ONE_READER
#endif
    :: else -> wake_writer()
    fi;
#endif
    store(me, STATE, state | WAITING_BIT);
    unlock_guard()
}

inline wait_and_share() {
    lock_guard();
    look();
    if
#ifdef READERS_PASS
    :: (seen & WRITING) ->
#else
    :: (seen & WRITING) || WANTED ->
#endif
        wait(readers_waiting, LAST) // whoever wakes it has counted it
    :: else ->
        assert(!UNDER_WAY);
        store(me, STATE, (seen + ONE_READER) | WAITING_BIT)
    fi;
    unlock_guard()
}

inline lock_shared() {
    do
    ::  state = mem[STATE];
        if
        :: (state & (WRITING | WAITING)) == 0 ->
            locked(me, true,
                done = (mem[STATE] == state);
                if
                :: done -> assert(!UNDER_WAY); mem[STATE] = state + ONE_READER
                :: else
                fi);
            if
            :: done -> break
            :: else
            fi
        :: else -> wait_and_share(); break
        fi
    od
}

inline release_shared_waited_for() {
    lock_guard();
#ifndef STALE_RELEASE
    look();
    state = seen - ONE_READER;
#else
    state = (state & ~WAITING) - ONE_READER;
#endif
    if
    :: state < ONE_READER -> wake_writer()
    :: else
    fi;
    store(me, STATE, state | WAITING_BIT);
    unlock_guard()
}

inline unlock_shared() {
    do
    ::  load_own(me, state, STATE);
        assert(state >= ONE_READER);
        if
        :: (state & WAITING) == 0 ->
            compare_exchange(state, state - ONE_READER);
            if
            :: done -> break
            :: else
            fi
        :: else -> release_shared_waited_for(); break
        fi
    od
}

inline downgrade() {
#ifdef DOWNGRADE_ALONE
    store(me, STATE, ONE_READER | (mem[STATE] & WAITING));
#else
    lock_guard();
    look();
    all = 0;
    if
    :: !WANTED -> wake_all(readers_waiting, all)
    :: else
    fi;
    store(me, STATE, ((1 + all) * ONE_READER) | WAITING_BIT);
    unlock_guard()
#endif
}

proctype writer(byte me) {
    byte i, next, seen, state, all, lost, round;
    bool done;
    do
    :: round < 2 ->
        round++;
        compare_exchange(0, WRITING);
        if
        :: done
        :: else -> wait_and_take()
        fi;
        writing++;
        assert(writing == 1 && reading == 0);
        writing--;
        if
        :: me == 0 && round == 1 ->
            downgrade();
            reading++;
            assert(writing == 0);
            reading--;
            unlock_shared()
        :: else ->
            compare_exchange(WRITING, 0);
            if
            :: done
            :: else -> release_waited_for()
            fi
        fi
    :: else -> break
    od
}

proctype reader(byte me) {
    byte i, next, seen, state, all;
    bool done;
    lock_shared();
    reading++;
    assert(writing == 0);
    reading--;
    unlock_shared()
}

init {
    atomic {
        run drain(0); run drain(1); run drain(2);
        run writer(0); run writer(1); run reader(2)
    }
}
