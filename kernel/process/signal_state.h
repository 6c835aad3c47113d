// What a thread and a process hold of signals: what is pending, what is done with it. What happens
// with them is in kernel/signal.
//
// Actions belong to sig_handlers (shared by CLONE_SIGHAND); a pending signal belongs to a thread or
// to a process. The lock of the handlers (signal_guard) guards all of it for all threads that share
// them.
#pragma once

#include "kernel/abi/signal.h"
#include "kernel/process/user_account.h"
#include "kernel/sched/poller.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "lib/wait_queue.h"

#include <atomic>

struct posix_timer;
struct thread;

// What a signal_guard holds, as clang sees it: one lock, though each sig_handlers has its own. What
// they guard lies in other objects, the threads and processes that share them, and clang finds no
// way from one to the other. So it sees that a lock is held, but not whose.
class CAPABILITY("signal lock") signal_lock_kind {};
inline constexpr signal_lock_kind signal_lock;

struct pending_signal {
    static pending_signal* create(); // null without memory
    void drop();                     // it is on no queue

    list_node on_queue;
    linux_siginfo info;
    posix_timer* timer = nullptr; // whose own entry this is; null: it is one that create() made
    user_charge charge;           // to the user who has it pending: RLIMIT_SIGPENDING
};

// Signals that are pending for one thread or for a whole process.
struct signal_queue {
    sigset set = 0;
    list<pending_signal, &pending_signal::on_queue>
        queued; // infos, oldest first; a set bit without one means SI_USER
    ~signal_queue();
};

class sig_handlers final : public ref_counted<sig_handlers>, public poll_keeper {
public:
    static constexpr auto end_takes = lock_rank::pool;
    static expected<ref_ptr<sig_handlers>> create(); // all default. ENOMEM
    expected<ref_ptr<sig_handlers>> copy();          // fork
    void reset_for_exec();                           // caught ones to default, ignored stay
    void last_reference_gone();
    // An epoll with a signalfd keeps the handlers of who put it there.
    void keep() override { add_reference(); }
    void let_go() override { drop_reference(); }

    sig_handlers() {}
    explicit sig_handlers(sig_handlers& of); // copy()

    // What is done with a signal.
    const linux_sigaction& action(int signo) const REQUIRES(signal_lock) {
        return set_ & sig_bit(signo) ? actions_[signo - 1] : by_default;
    }
    void set(int signo, const linux_sigaction& action) REQUIRES(signal_lock) {
        set_ |= sig_bit(signo);
        actions_[signo - 1] = action;
    }
    // signalfd: told of every signal that is made pending.
    wait_queue signal_readers GUARDED_BY(signal_lock);
    poll_queue signal_pollers;

private:
    friend class signal_guard;
    static constexpr linux_sigaction by_default{};
    // Of signal n at [n - 1]. Those that nobody has set are not looked at, nor copied by fork.
    linux_sigaction actions_[signal_max] GUARDED_BY(signal_lock);
    sigset set_ GUARDED_BY(signal_lock) = 0;
    spin_lock lock_{lock_rank::signal, "sig_handlers"};
};

// Holds the lock of some handlers for a scope: of its own process's, or of another's whose
// process_tree_lock keeps exec from replacing them, or of some to which the caller has a reference.
class SCOPED_CAPABILITY signal_guard {
public:
    explicit signal_guard(sig_handlers& of) ACQUIRE(signal_lock)
        : guard_(of.lock_), lock_(of.lock_) {}
    ~signal_guard() RELEASE() {}
    signal_guard(const signal_guard&) = delete;
    void unlock() RELEASE() { guard_.unlock(); }
    void lock() ACQUIRE() { guard_.lock(); }
    // As wait_queue's, which let go of the lock meanwhile.
    void wait(wait_queue& queue, const char* why) REQUIRES(signal_lock) {
        lock_.assert_held();
        queue.wait(lock_, why);
    }
    status wait_interruptible(wait_queue& queue, const char* why, nanos_t deadline = forever)
        REQUIRES(signal_lock) {
        lock_.assert_held();
        return queue.wait_interruptible(lock_, why, deadline);
    }

private:
    lock_guard<spin_lock> guard_;
    spin_lock& lock_;
};

// A process's signals, and whether it stops or ends.
struct process_signals {
    signal_queue pending GUARDED_BY(signal_lock); // for any of its threads
    // exit_group, a fatal signal or exec by another thread: threads leave. It changes under both
    // locks, process_tree_lock and this, so that either is enough to look.
    std::atomic<bool> exiting{false};
    thread* survivor GUARDED_BY(signal_lock) = nullptr; // ... all but this one: exec's
    bool stopping GUARDED_BY(signal_lock) = false;      // a stop signal took effect; threads park
    wait_queue parked GUARDED_BY(signal_lock);          // ... here
    // Threads that have still to park; then process::state is stopped.
    unsigned to_park GUARDED_BY(signal_lock) = 0;
    // A stop signal was taken, and neither SIGCONT nor SIGKILL came since.
    bool stop_taken GUARDED_BY(signal_lock) = false;
};

// A thread's.
struct thread_signals {
    signal_queue pending GUARDED_BY(signal_lock);
    sigset blocked GUARDED_BY(signal_lock) = 0; // changed by the thread itself alone
    sigset forced GUARDED_BY(signal_lock) = 0;  // pending faults: these kill init too
    // By rt_sigtimedwait: kept even if ignored.
    sigset waited_for GUARDED_BY(signal_lock) = 0;
    // Of a vfork child: what waits until it has let go of the address space.
    sigset held GUARDED_BY(signal_lock) = 0;
    bool to_park GUARDED_BY(signal_lock) = false; // process_signals::to_park counts it
    std::atomic<uint32_t> flags{0};               // signal_flag_*: read without the lock
    // traced_*; changed under process_tree_lock (kernel/process/tracee.h).
    std::atomic<uint8_t> traced{0};
    // The mask that comes back on the way to user mode, if it is to; the thread's own.
    std::atomic<bool> restore_mask{false};
    sigset saved_mask OWNED_BY_THREAD = 0;

    // The running thread's own, which nobody else changes.
    sigset own_mask() const NO_THREAD_SAFETY_ANALYSIS { return blocked; }
    bool holds_back() const NO_THREAD_SAFETY_ANALYSIS { return held != 0; }
    // Of a thread in the making: it blocks what its maker, which runs, will in user mode.
    void inherit_mask(const thread_signals& maker, sigset hold_back) NO_THREAD_SAFETY_ANALYSIS {
        blocked = maker.restore_mask ? maker.saved_mask : maker.blocked;
        held = hold_back;
    }
};

// Bits of thread_signals::flags: read without a lock by sleepers, written under the handlers' lock.
enum : uint32_t {
    signal_flag_pending = 1, // an unblocked signal can be taken
    signal_flag_kill = 2,    // ... and it kills, or the process is exiting
    signal_flag_stop = 4,    // the process is stopping: the thread is to park
    signal_flag_gone = 8,    // thread_exit has begun: no signal is sent to it any more
    signal_flag_trap = 32,   // its tracer wants it to stop
    signal_flag_clock = 16,  // cpu_alarms_check() is to be called: no reason to end a sleep
};
