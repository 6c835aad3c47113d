// wait_queue (kernel/sched/wait_queue.cc) and as much of the scheduler as it needs: a thread sleeps
// until somebody sets asleep[] back. Follows sleep, wake_one, wake_all, sched_prepare_to_sleep,
// sched_sleep and sched_wake.
//
// Who includes this has defined THREADS, lock_guard() and unlock_guard(), and declares `byte me, i,
// next` in each process that waits or wakes.
// With PREPARE_LATE the sleeper lets go of the guard before its state says that it sleeps.
typedef wait_queue {
    byte thread[THREADS];
    byte length
};
bool woken[THREADS];  // waiter::woken; the guard's
bool asleep[THREADS]; // thread::state, changed by locked instructions

// wait_place
#define LAST 0
#define FIRST 1

inline push(queue, place) {
    d_step {
        i = queue.length;
        do
        :: place == FIRST && i > 0 -> queue.thread[i] = queue.thread[i - 1]; i--
        :: else -> break
        od;
        queue.thread[i] = me;
        queue.length++;
        woken[me] = false;
        i = 0
    }
}

// The first thread's number from 1 on into `next`, or 0. One that does not sleep yet, or any more,
// is not woken: it looks at `woken` by itself.
inline wake_one(queue) {
    d_step {
        next = 0;
        if
        :: queue.length != 0 ->
            next = queue.thread[0] + 1;
            queue.length--;
            i = 0;
            do
            :: i < queue.length -> queue.thread[i] = queue.thread[i + 1]; i++
            :: else -> break
            od;
            queue.thread[i] = 0;
            woken[next - 1] = true;
            asleep[next - 1] = false;
            i = 0
        :: else
        fi
    }
}

// Their number into `all`.
inline wake_all(queue, all) {
    all = 0;
    do
    :: wake_one(queue);
       if
       :: next == 0 -> break
       :: else -> all++
       fi
    od
}

inline wait(queue, place) {
    push(queue, place);
    do
    :: woken[me] -> break
    :: else ->
#ifdef PREPARE_LATE
        unlock_guard();
        locked(me, true, asleep[me] = true);
#else
        locked(me, true, asleep[me] = true);
        unlock_guard();
#endif
        !asleep[me];
        lock_guard()
    od
}
