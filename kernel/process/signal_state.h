// What a thread and a process hold of signals: what is pending, what is done with it. What happens
// with them is in kernel/signal.
//
// Actions belong to sig_handlers (shared by CLONE_SIGHAND); a pending signal belongs to a thread or
// to a process. sig_handlers::lock_ guards all of it for all threads that share the handlers.
#pragma once

#include "kernel/abi/signal.h"
#include "kernel/process/user_account.h"
#include "kernel/sched/poller.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "lib/wait_queue.h"

struct posix_timer;

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

class sig_handlers : public ref_counted<sig_handlers> {
public:
    static constexpr auto end_takes = lock_rank::pool;
    static expected<ref_ptr<sig_handlers>> create(); // all default. ENOMEM
    expected<ref_ptr<sig_handlers>> copy();          // fork
    void reset_for_exec();                           // caught ones to default, ignored stay
    void last_reference_gone();

    spin_lock lock_{lock_rank::signal, "sig_handlers"};
    linux_sigaction actions[signal_max] GUARDED_BY(lock_){}; // of signal n at [n - 1]
    // signalfd: told of every signal that is made pending.
    wait_queue signal_readers; // guard: lock_
    poll_queue signal_pollers;
};

// Bits of thread::signal_flags: read without a lock by sleepers, written under the handlers' lock.
enum : uint32_t {
    signal_flag_pending = 1, // an unblocked signal can be taken
    signal_flag_kill = 2,    // ... and it kills, or the process is exiting
    signal_flag_stop = 4,    // the process is stopping: the thread is to park
    signal_flag_gone = 8,    // thread_exit has begun: no signal is sent to it any more
    signal_flag_clock = 16,  // cpu_alarms_check() is to be called: no reason to end a sleep
};
