// Signals as data: what is queued where, what is dropped, and which thread is told. The process
// here is made by hand and its threads never run.
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/signal_internal.h"
#include "tests/kernel/ktest.h"
#include "vm/phys/alloc_fail.h"
#include "vm/phys/pool.h"

using namespace linux_abi;

namespace {

constexpr int rt_signal = 40;

class fake_process {
public:
    explicit fake_process(unsigned threads) : p_(ref_ptr<process>::adopt(process_allocate())) {
        ASSERT(p_ && threads <= most);
        auto handlers = sig_handlers::create();
        ASSERT(handlers.has_value());
        p_->handlers = *handlers;
        for (count_ = 0; count_ < threads; count_++) {
            auto t = thread_create(*p_);
            ASSERT(t.has_value());
            t_[count_] = *t;
            lock_guard tree(process_tree_lock);
            p_->threads.push_back(t_[count_]);
        }
    }
    ~fake_process() {
        for (unsigned i = 0; i < count_; i++) {
            ref_ptr<thread> listed; // let go of without the lock
            lock_guard tree(process_tree_lock);
            listed = p_->threads.remove(*t_[i]);
        }
    }

    process* operator->() { return p_.get(); }
    process& operator*() { return *p_; }
    thread& t(unsigned i) { return *t_[i]; }

    void set_action(int signo, uint64_t handler) {
        signal_guard guard(*p_->handlers);
        p_->handlers->set(signo, {handler, 0, 0, 0});
        for (unsigned i = 0; i < count_; i++)
            signal_recompute_locked(t(i));
    }
    status queue(int signo, int32_t code, uint64_t value, thread* to = nullptr) {
        linux_siginfo info{};
        info.signo = signo;
        info.code = code;
        info.queue.value = value;
        lock_guard tree(process_tree_lock);
        return signal_queue_info(*p_, to, signo, info);
    }
    // The value that the next one of `signo` carries.
    uint64_t take(int signo) {
        linux_siginfo info;
        signal_guard guard(*p_->handlers);
        signal_take(*p_, p_->signals.pending, signo, info);
        return info.queue.value;
    }
    void block(unsigned i, sigset mask) {
        signal_guard guard(*p_->handlers);
        t(i).signals.blocked = mask;
    }
    // What is pending for it, or for one of its threads; and how many infos there are.
    sigset pending() {
        signal_guard guard(*p_->handlers);
        return p_->signals.pending.set;
    }
    sigset pending_for(unsigned i) {
        signal_guard guard(*p_->handlers);
        return t(i).signals.pending.set;
    }
    size_t queued() {
        signal_guard guard(*p_->handlers);
        return p_->signals.pending.queued.size();
    }

private:
    static constexpr unsigned most = 3;
    ref_ptr<process> p_;
    ref_ptr<thread> t_[most];
    unsigned count_;
};

constexpr uint64_t a_handler = 0x401000;

uint64_t handler_of(sig_handlers& h, int signo) {
    signal_guard guard(h);
    return h.action(signo).handler;
}

} // namespace

KTEST(signal, standard_ones_are_kept_once_and_real_time_ones_all) {
    fake_process p(1);
    p.set_action(sigusr1, a_handler);
    p.set_action(rt_signal, a_handler);
    for (uint64_t i = 1; i <= 3; i++) {
        EXPECT(p.queue(sigusr1, si_queue, i).has_value());
        EXPECT(p.queue(rt_signal, si_queue, i).has_value());
    }
    EXPECT_EQ(p.pending(), sig_bit(sigusr1) | sig_bit(rt_signal));
    EXPECT_EQ(p.queued(), 4);
    EXPECT_EQ(p.take(sigusr1), 1);
    EXPECT_EQ(p.pending(), sig_bit(rt_signal));
    for (uint64_t i = 1; i <= 3; i++) {
        EXPECT_EQ(p.pending(), sig_bit(rt_signal));
        EXPECT_EQ(p.take(rt_signal), i);
    }
    EXPECT_EQ(p.pending(), 0);
    EXPECT_EQ(p.queued(), 0);
}

KTEST(signal, the_queue_is_limited) {
    fake_process p(1);
    {
        lock_guard guard(p->lock);
        p->limits[rlimit_sigpending].current = 2;
    }
    p.set_action(rt_signal, a_handler);
    p.set_action(sigusr1, a_handler);
    p.set_action(sigusr2, a_handler);
    EXPECT(p.queue(rt_signal, si_queue, 1).has_value());
    EXPECT(p.queue(rt_signal, si_queue, 2).has_value());
    status third = p.queue(rt_signal, si_queue, 3);
    EXPECT(!third && third.error() == Errno::again);
    EXPECT(p.queue(sigusr1, si_queue, 0).has_value()); // comes, but without its info
    EXPECT(p.pending() & sig_bit(sigusr1));
    EXPECT_EQ(p.queued(), 2);
    EXPECT(p.queue(sigusr2, si_user, 0).has_value()); // that of a kill always comes with it
    EXPECT_EQ(p.queued(), 3);
}

KTEST(signal, what_is_ignored_is_not_kept_unless_blocked) {
    fake_process p(1);
    signal_send_process(*p, sigchld, nullptr);
    signal_send_process(*p, sigwinch, nullptr);
    p.set_action(sigterm, sig_ign);
    signal_send_process(*p, sigterm, nullptr);
    EXPECT_EQ(p.pending(), 0);
    p.block(0, sig_bit(sigterm) | sig_bit(sigchld));
    signal_send_process(*p, sigterm, nullptr);
    signal_send_process(*p, sigchld, nullptr);
    EXPECT_EQ(p.pending(), sig_bit(sigterm) | sig_bit(sigchld));
    EXPECT(!signal_pending(p.t(0)));
}

KTEST(signal, a_thread_that_does_not_block_it_is_told) {
    fake_process p(3);
    p.set_action(sigusr1, a_handler);
    for (unsigned i : {0, 1})
        p.block(i, sig_bit(sigusr1));
    signal_send_process(*p, sigusr1, nullptr);
    EXPECT(!signal_pending(p.t(0)) && !signal_pending(p.t(1)) && signal_pending(p.t(2)));
    EXPECT(p.t(2).machine.work_pending.load() && !signal_kill_pending(p.t(2)));
    // It leaves: nobody else may take it until one unblocks it.
    signal_thread_exiting(p.t(2));
    EXPECT(!signal_pending(p.t(0)) && !signal_pending(p.t(1)));
    p.block(1, 0);
    signal_recompute(p.t(1));
    EXPECT(signal_pending(p.t(1)) && !signal_pending(p.t(0)));
    // The first that can has preference; a thread's own goes to nobody else.
    p.block(0, 0);
    signal_send_thread(p.t(1), sigterm, nullptr);
    EXPECT_EQ(p.pending_for(1), sig_bit(sigterm));
    EXPECT(signal_kill_pending(p.t(1)) && !signal_kill_pending(p.t(0)));
}

KTEST(signal, a_signal_that_its_thread_blocks_finds_another) {
    fake_process p(2);
    p.set_action(sigusr1, a_handler);
    signal_send_process(*p, sigusr1, nullptr);
    EXPECT(signal_pending(p.t(0)) && !signal_pending(p.t(1)));
    signal_set_mask(p.t(0), sig_bit(sigusr1));
    EXPECT(!signal_pending(p.t(0)) && signal_pending(p.t(1)));
}

KTEST(signal, fatal_ones_and_sigkill_concern_every_thread) {
    fake_process p(3);
    p.block(2, ~sigset{0});
    signal_send_process(*p, sigterm, nullptr);
    EXPECT(signal_kill_pending(p.t(0)) && signal_kill_pending(p.t(1)));
    EXPECT(!signal_kill_pending(p.t(2)));
    signal_send_thread(p.t(1), sigkill, nullptr);
    EXPECT(signal_kill_pending(p.t(2)));
    EXPECT(p.pending() & sig_bit(sigkill));
}

KTEST(signal, stops_and_continues_cancel_each_other) {
    fake_process p(2);
    p.set_action(sigcont, a_handler);
    for (unsigned i : {0, 1})
        p.block(i, sig_bit(sigtstp) | sig_bit(sigcont));
    signal_send_process(*p, sigtstp, nullptr);
    signal_send_thread(p.t(1), sigttin, nullptr);
    EXPECT(p.pending() & sig_bit(sigtstp));
    signal_send_process(*p, sigcont, nullptr);
    EXPECT_EQ(p.pending(), sig_bit(sigcont));
    EXPECT_EQ(p.pending_for(1), 0);
    signal_send_process(*p, sigstop, nullptr);
    EXPECT_EQ(p.pending(), sig_bit(sigstop));
    EXPECT_EQ(p.queued(), 1);
}

KTEST(signal, a_fault_gets_through_blocking_and_ignoring) {
    fake_process p(1);
    p.set_action(sigsegv, sig_ign);
    p.block(0, ~signals_unblockable);
    signal_force(p.t(0), sigsegv, segv_maperr, 0x1234);
    EXPECT(signal_kill_pending(p.t(0)));
    EXPECT_EQ(handler_of(*p->handlers, sigsegv), sig_dfl);
    linux_siginfo info;
    {
        signal_guard guard(*p->handlers);
        signal_take(*p, p.t(0).signals.pending, sigsegv, info);
    }
    EXPECT_EQ(info.code, segv_maperr);
    EXPECT_EQ(info.fault.address, 0x1234);
}

KTEST(signal, the_end_of_a_process_begins_once) {
    fake_process p(2);
    EXPECT(signal_begin_exit(*p, &p.t(1), 7 << 8));
    EXPECT(signal_kill_pending(p.t(0)) && !signal_kill_pending(p.t(1)));
    EXPECT(!signal_begin_exit(*p, nullptr, 9));
    {
        lock_guard tree(process_tree_lock);
        EXPECT_EQ(p->group_exit_status, 7 << 8);
    }
    signal_end_exec(*p);
    EXPECT(!p->signals.exiting && !signal_kill_pending(p.t(1)));
    EXPECT(signal_begin_exit(*p, nullptr, 9));
    EXPECT(signal_kill_pending(p.t(1)));
}

KTEST(signal, handlers_are_copied_by_fork_and_reset_by_exec) {
    fake_process p(1);
    p.set_action(sigusr1, a_handler);
    p.set_action(sigusr2, sig_ign);
    auto copy = p->handlers->copy();
    REQUIRE(copy.has_value());
    p->handlers->reset_for_exec();
    EXPECT_EQ(handler_of(*p->handlers, sigusr1), sig_dfl);
    EXPECT_EQ(handler_of(*p->handlers, sigusr2), sig_ign);
    EXPECT_EQ(handler_of(**copy, sigusr1), a_handler);
}

KTEST(signal, without_memory_the_signal_comes_without_its_info) {
    fake_process p(1);
    p.set_action(sigusr1, a_handler);
    alloc_fail_after(1);
    signal_send_process(*p, sigusr1, nullptr);
    alloc_fail_after(0);
    EXPECT_EQ(p.pending(), sig_bit(sigusr1));
    EXPECT_EQ(p.queued(), 0);
    EXPECT_EQ(p.take(sigusr1), 0);
    EXPECT_EQ(p.pending(), 0);
}
