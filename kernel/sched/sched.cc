// The scheduler.
//
// A thread's states, and who moves it on:
//
//      created --make_runnable--> runnable --picked--> running --sched_exit--> dead
//                                  ^    ^                |  |
//                    sched_wake    |    +--thread_yield--+  | sched_prepare_to_sleep
//                    (one CAS) sleeping <-------------------+
//
// One thread, one CPU. `on_cpu` is true from the moment when a CPU picks the thread until that CPU
// runs on another stack. A thread that is woken meanwhile (it has said that it sleeps, but has not
// yet left) is queued on the very CPU that it is on, which cannot pick anything before it has come
// to the end of the switch, and may well pick it again; and a CPU that takes work from another's
// queue passes over threads with on_cpu set. So nobody ever waits for on_cpu, and no stack is used
// twice.
//
// No lost wake-up. A sleeper sets `state` to sleeping while it holds the lock under which it can be
// found, then lets go of the lock, then switches. A waker that comes after that lock finds
// `sleeping` and changes it to runnable by compare-and-exchange: exactly one waker wins and queues
// the thread, at whatever point of its way out it is. A signal is first made pending and then looks
// at the state; the sleeper first sets the state and then looks for signals: one of them sees the
// other.
//
// Nobody is forgotten. A CPU goes idle with interrupts off, after it has found its queue empty;
// whoever queues something for it after that sees that its idle thread is the current one, and
// sends an interrupt, which ends the halt.
//
// Kernel code is not preempted; long work in it asks whether its slice is over (lib/long_work.h).
// Time slices exist only where somebody waits: a CPU's slice is started when a second thread comes
// to its queue.
#include "kernel/sched/sched.h"

#include "arch/cpu.h"
#include "arch/pmap.h"
#include "arch/timer.h"
#include "arch/upcalls.h"
#include "kernel/process/ledger_call.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/sched/standstill.h"
#include "kernel/sched/timer.h"
#include "lib/long_work.h"
#include "vm/phys/event.h"

#include <algorithm>
#include <bit>

namespace {

// How long a thread runs while others wait: 10 ms, and by its niceness from 0.5 ms to 20 ms.
nanos_t time_slice(const thread& t) {
    constexpr nanos_t per_step = 500'000;
    return per_step * nanos_t(20 - std::min(t.proc->nice.load(std::memory_order_relaxed), 19));
}

// How long a thread waits behind the one that woke it while there are idle CPUs.
constexpr nanos_t patience = 300'000;

struct alignas(64) run_queue {
    spin_lock lock{lock_rank::scheduler, "run queue"};
    list<thread, &thread::on_run_queue> ready GUARDED_BY(lock);
    std::atomic<unsigned> length{0};            // of `ready`; read without the lock
    thread* current GUARDED_BY(lock) = nullptr; // null until the CPU has called sched_start()
    thread idle;
    // The rest is the CPU's own, with interrupts off, unless it says otherwise.
    std::atomic<nanos_t> slice_end{forever};  // also set by those who queue
    std::atomic<bool> yield_wanted{false};    // likewise
    nanos_t help_at = forever;                // when an idle CPU is asked to take what waits
    thread* previous = nullptr;               // whom the switch under way leaves,
    bool previous_is_homeless = false;        // who is runnable, and on no queue yet
    list<thread, &thread::on_run_queue> dead; // left for good, not given back yet
    std::atomic<uint64_t> switches{0};
    std::atomic<nanos_t> idle_time{0};
    nanos_t idle_since = 0;
};

run_queue queues[max_cpus];
std::atomic<uint32_t> idle_cpus{
    0}; // a bit for each CPU whose idle thread runs and that nobody has claimed
std::atomic<unsigned> running_threads{0};

run_queue& my_queue() { return queues[cpu::id()]; }

bool may_run_on(const thread& t, unsigned cpu) { return t.allowed_cpus >> cpu & 1; }

void push(run_queue& q, thread& t) REQUIRES(q.lock) {
    q.ready.push_back(t);
    q.length.fetch_add(1, std::memory_order_relaxed);
}

void remove(run_queue& q, thread& t) REQUIRES(q.lock) {
    q.ready.remove(t);
    q.length.fetch_sub(1, std::memory_order_relaxed);
}

// Takes `cpu` out of the idle set for a thread that is about to be queued there.
bool claim_idle(unsigned cpu) {
    uint32_t bit = 1u << cpu;
    return idle_cpus.fetch_and(~bit, std::memory_order_acq_rel) & bit;
}

// Where a thread that has become runnable is queued: here, if nothing else waits here. Most threads
// that wake another go to sleep soon (a pipe's ends, fork and wait), and then it runs at once, with
// warm caches and without an interrupt to a CPU that has to be woken itself. If the waker goes on
// instead, an idle CPU is asked for help when `patience` is over.
unsigned choose_cpu(thread& t, unsigned self) {
    // Not yet off its stack: only there (see the top of the file).
    if (t.on_cpu.load(std::memory_order_acquire))
        return t.cpu;
    uint32_t allowed = t.allowed_cpus & ((1u << cpu::count()) - 1);
    if ((allowed >> self & 1) && queues[self].length.load(std::memory_order_relaxed) == 0)
        return self;
    if ((allowed >> t.cpu & 1) && claim_idle(t.cpu))
        return t.cpu;
    for (uint32_t idle = idle_cpus.load(std::memory_order_relaxed) & allowed; idle != 0;) {
        unsigned candidate = unsigned(std::countr_zero(idle));
        if (claim_idle(candidate))
            return candidate;
        idle &= idle - 1;
    }
    if (allowed >> t.cpu & 1)
        return t.cpu;
    return unsigned(std::countr_zero(allowed));
}

// If something waits on this CPU that an idle one could run, brings one of those to look.
void ask_for_help(run_queue& q) {
    if (q.length.load(std::memory_order_relaxed) == 0)
        return;
    if (uint32_t idle = idle_cpus.load(std::memory_order_relaxed))
        cpu::send_reschedule(unsigned(std::countr_zero(idle)));
}

// Puts a runnable thread on a queue and makes that CPU notice.
void enqueue(thread& t) {
    cpu::interrupts_push_off();
    const unsigned self = cpu::id(), target = choose_cpu(t, self);
    run_queue& q = queues[target];
    bool interrupt = false, start_slice = false;
    nanos_t end = 0;
    {
        lock_guard guard(q.lock);
        if (!t.on_cpu.load(std::memory_order_relaxed))
            t.cpu = target;
        push(q, t);
        if (q.current == &q.idle) {
            interrupt = true;
        } else if (q.current && q.slice_end.load(std::memory_order_relaxed) == forever) {
            end = now() + time_slice(*q.current);
            q.slice_end.store(end, std::memory_order_relaxed);
            start_slice = true;
        }
    }
    if (target == self && !interrupt && idle_cpus.load(std::memory_order_relaxed) != 0) {
        q.help_at = now() + patience;
        timer_want(q.help_at);
    }
    // The CPU's own idle loop looks at its queue after every interrupt.
    if (target != self && (interrupt || start_slice))
        cpu::send_reschedule(target);
    else if (start_slice)
        timer_want(end);
    cpu::interrupts_pop_off();
}

// A thread from another CPU's queue that may run here, or null. It is on no queue then.
thread* steal(unsigned self) {
    for (unsigned i = 1; i < cpu::count(); i++) {
        run_queue& victim = queues[(self + i) % cpu::count()];
        if (victim.length.load(std::memory_order_relaxed) == 0 || !victim.lock.try_lock())
            continue;
        thread* found = nullptr;
        for (thread& t : victim.ready)
            if (may_run_on(t, self) && !t.on_cpu.load(std::memory_order_acquire)) {
                found = &t;
                break;
            }
        if (found)
            remove(victim, *found);
        victim.lock.unlock();
        if (found)
            return found;
    }
    return nullptr;
}

// The next thread of this CPU: its own queue, another's, or idle. Threads whose affinity has
// changed are sent away.
thread* pick(run_queue& q, unsigned self) {
    for (;;) {
        thread* t;
        {
            lock_guard guard(q.lock);
            t = q.ready.front();
            if (t)
                remove(q, *t);
        }
        if (!t)
            break;
        // One that is still on its stack can only be the one that is leaving this CPU.
        if (may_run_on(*t, self) || t == cpu::current())
            return t;
        enqueue(*t);
    }
    thread* t = steal(self);
    return t ? t : &q.idle;
}

// On the stack of the thread that runs now: the one before has left its own.
void finish_switch() {
    run_queue& q = my_queue();
    thread* previous = std::exchange(q.previous, nullptr);
    if (!previous)
        return;
    bool dead = previous->state.load(std::memory_order_relaxed) == thread_state::dead;
    previous->on_cpu.store(false, std::memory_order_release);
    if (dead)
        q.dead.push_back(*previous);
    else if (std::exchange(q.previous_is_homeless, false))
        enqueue(*previous);
    ask_for_help(q); // now that nothing here is between two stacks
}

// Drops the scheduler's references to threads that ended on this CPU. Interrupts as the caller had
// them.
void reap() {
    for (;;) {
        cpu::interrupts_push_off();
        thread* t = my_queue().dead.pop_front();
        cpu::interrupts_pop_off();
        if (!t)
            return;
        running_threads.fetch_sub(1, std::memory_order_relaxed);
        const ref_ptr<thread> last = std::move(t->alive);
    }
}

// The running thread goes to the end of the queue. One that must leave this CPU is queued elsewhere
// when it is off its stack (finish_switch). Decided here and once: its affinity may change again at
// any time, and a waker may be about to queue one that went to sleep.
void queue_again(run_queue& q, thread& self, unsigned id) {
    self.state.store(thread_state::runnable, std::memory_order_relaxed);
    const bool stays = &self == &q.idle || may_run_on(self, id);
    q.previous_is_homeless = !stays;
    if (stays && &self != &q.idle) {
        lock_guard guard(q.lock);
        push(q, self);
    }
}

// `next` has this CPU from now on, for a slice if others wait for it.
void give_cpu(run_queue& q, thread& next, unsigned id, nanos_t time) {
    lock_guard guard(q.lock);
    q.current = &next;
    next.cpu = id;
    next.on_cpu.store(true, std::memory_order_relaxed);
    next.state.store(thread_state::running, std::memory_order_relaxed);
    q.yield_wanted.store(false, std::memory_order_relaxed);
    const bool contended = q.length.load(std::memory_order_relaxed) != 0 && &next != &q.idle;
    const nanos_t end = contended ? time + time_slice(next) : forever;
    q.slice_end.store(end, std::memory_order_relaxed);
    if (contended)
        timer_want(end);
}

// Clocks, counters and ledgers stop for one thread and go on for the other.
void settle_accounts(run_queue& q, thread& self, thread& next, nanos_t time) {
    q.switches.fetch_add(1, std::memory_order_relaxed);
    self.modes.stop();
    next.modes.start();
    thread_clock_stop(self, time);
    thread_clock_start(next, time);
    if (&self == &q.idle)
        q.idle_time.fetch_add(time - q.idle_since, std::memory_order_relaxed);
    if (&next == &q.idle)
        q.idle_since = time;
    if (self.measured)
        self.measured->pause();
    if (next.measured)
        next.measured->resume();
}

// Runs something else. `requeue`: the thread goes to the end of the queue; otherwise its state says
// already what becomes of it. Returns when the thread is picked again, maybe on another CPU.
void switch_away(bool requeue) {
    cpu::interrupts_push_off();
    CHECK_ASSERT(cpu_held_locks().count == 0);
    if (standstill::wanted()) [[unlikely]]
        standstill::park();
    thread& self = current_thread();
    const unsigned id = cpu::id();
    run_queue& q = queues[id];
    const nanos_t time = now();

    if (requeue)
        queue_again(q, self, id);
    thread* next = pick(q, id);
    give_cpu(q, *next, id, time);
    if (timer_deferred_due())
        next->machine.work_pending.store(true);
    if (next != &self) {
        settle_accounts(q, self, *next, time);
        if (requeue)
            self.involuntary_switches++;
        else
            self.voluntary_switches++;
        if (next->user_map)
            next->user_map->activate();
        q.previous = &self;
        EVENT(sched_switch, .from_pid = self.proc->pid, .from_tid = self.tid,
              .to_pid = next->proc->pid, .to_tid = next->tid, .to_name = next->name);
        cpu::set_current(next);
        machine_switch(self.machine, next->machine);
        finish_switch();
    }
    cpu::interrupts_pop_off();
    reap();
}

} // namespace

void sched_make_runnable(thread& t) {
    ASSERT(t.state.load() == thread_state::created);
    EVENT(sched_wakeup, .to_pid = t.proc->pid, .to_tid = t.tid);
    t.alive = ref_ptr(&t);
    running_threads.fetch_add(1, std::memory_order_relaxed);
    t.state.store(thread_state::runnable);
    enqueue(t);
}

void thread_yield() {
    timer_run_deferred();
    switch_away(true);
}

void sched_exit() {
    thread& self = current_thread();
    ASSERT(self.sleep_locks.count == 0);
    self.state.store(thread_state::dead);
    switch_away(false);
    panic("a dead thread runs");
}

void long_work::pause() {
    CHECK_ASSERT(cpu::interrupts_enabled() && cpu_held_locks().count == 0);
    timer_run_deferred();
    if (sched_should_yield()) [[unlikely]]
        switch_away(true);
}

status long_work::go_on() {
    pause();
    if (signal_kill_pending(current_thread())) [[unlikely]]
        return fail(Errno::intr);
    return {};
}

// With interrupts on: kernel code stays on its CPU while it does not sleep.
bool sched_should_yield() { return queues[cpu::id()].yield_wanted.load(std::memory_order_relaxed); }

void sched_prepare_to_sleep(sleep_kind kind, const char* why) {
    thread& self = current_thread();
    CHECK_ASSERT(&self != &queues[self.cpu].idle);
    self.wait_reason = why;
    self.sleep.store(kind);
    self.state.store(thread_state::sleeping);
    EVENT(sched_sleep, .way = trace::sleep_way(kind), .reason = why);
}

void sched_sleep() {
    thread& self = current_thread();
    sleep_kind kind = self.sleep.load();
    if (kind != sleep_kind::uninterruptible &&
        (kind == sleep_kind::interruptible ? signal_pending(self) : signal_kill_pending(self))) {
        // Awake again, unless somebody was faster and has queued the thread: then it must be
        // picked.
        thread_state asleep = thread_state::sleeping;
        if (self.state.compare_exchange_strong(asleep, thread_state::running)) {
            self.wait_reason = nullptr;
            return;
        }
    }
    switch_away(false);
    self.wait_reason = nullptr;
}

void sched_wake(thread& t) {
    thread_state asleep = thread_state::sleeping;
    if (t.state.compare_exchange_strong(asleep, thread_state::runnable)) {
        EVENT(sched_wakeup, .to_pid = t.proc->pid, .to_tid = t.tid);
        enqueue(t);
    }
}

void sched_signal(thread& t, bool kills) {
    sleep_kind kind = t.sleep.load();
    if (t.state.load() == thread_state::sleeping) {
        if (kind == sleep_kind::interruptible || (kind == sleep_kind::killable && kills))
            sched_wake(t);
        return;
    }
    sched_bring_to_kernel(t);
}

void sched_bring_to_kernel(thread& t) {
    // It may be in user mode on another CPU: an interrupt brings it past work_pending. t.cpu may
    // change while we look; then the thread has been through the scheduler and passes work_pending
    // by itself.
    cpu::interrupts_push_off();
    unsigned where = t.cpu;
    if (t.on_cpu.load() && where != cpu::id())
        cpu::send_reschedule(where);
    cpu::interrupts_pop_off();
}

void sched_affinity_changed(thread& t) {
    if (&t == cpu::current()) {
        cpu::interrupts_push_off();
        bool must_move = !may_run_on(t, cpu::id());
        cpu::interrupts_pop_off();
        if (must_move)
            thread_yield();
        return;
    }
    cpu::interrupts_push_off();
    unsigned where = t.cpu;
    if (t.on_cpu.load() && !may_run_on(t, where)) {
        queues[where].yield_wanted.store(true);
        t.machine.work_pending.store(true);
        if (where != cpu::id())
            cpu::send_reschedule(where);
    }
    cpu::interrupts_pop_off();
}

namespace {
struct timed_sleep {
    thread* sleeper;
    std::atomic<bool> over{false};
    static void fire(void* context) {
        auto* s = static_cast<timed_sleep*>(context);
        thread* t = s->sleeper;
        s->over.store(true);
        sched_wake(*t);
    }
};
} // namespace

void sched_sleep_until(nanos_t deadline) {
    timed_sleep s{.sleeper = &current_thread()};
    timer_event event;
    event.set(deadline, timed_sleep::fire, &s);
    for (;;) {
        sched_prepare_to_sleep(sleep_kind::uninterruptible, "sleep");
        // Set before `over` is tested, so that a timer that fires in between undoes it.
        if (s.over.load()) {
            thread_state asleep = thread_state::sleeping;
            if (!s.sleeper->state.compare_exchange_strong(asleep, thread_state::running))
                sched_sleep();
            break;
        }
        sched_sleep();
    }
    event.cancel();
}

void sched_first_run() {
    finish_switch();
    cpu::interrupts_pop_off();
    reap();
}

void sched_start() {
    // Interrupts are off, with no push outstanding, and stay so but for the halt and for deferred
    // timer events.
    ASSERT(!cpu::interrupts_enabled());
    const unsigned id = cpu::id();
    run_queue& q = queues[id];
    thread& idle = q.idle;
    idle.proc = ref_ptr(&kernel_process());
    idle.kernel_thread = true;
    idle.cpu = id;
    idle.allowed_cpus = 1u << id;
    idle.state.store(thread_state::running);
    idle.on_cpu.store(true);
    constexpr char idle_name[] = "idle";
    __builtin_memcpy(idle.name, idle_name, sizeof idle_name);
    idle.modes.start();
    q.idle_since = now();
    thread_clock_start(idle, q.idle_since);
    cpu::set_current(&idle);
    {
        lock_guard guard(q.lock);
        q.current = &idle;
    }

    for (;;) {
        switch_away(true);
        uint32_t bit = 1u << id;
        idle_cpus.fetch_or(bit);
        // Whatever was queued elsewhere before the bit was set has not told this CPU.
        if (q.length.load() == 0) {
            if (thread* t = steal(id)) {
                enqueue(*t);
            } else if (timer_deferred_due()) {
                cpu::call_with_interrupts_on(timer_run_deferred);
            } else {
                // No shootdown has to wake this CPU for an address space that it has left.
                pmap::kernel().activate();
                cpu::halt_until_interrupt();
            }
        }
        idle_cpus.fetch_and(~bit);
    }
}

void sched_ask_to_yield(unsigned cpu) {
    run_queue& q = queues[cpu];
    {
        lock_guard guard(q.lock);
        q.yield_wanted.store(true, std::memory_order_relaxed);
        if (q.current)
            q.current->machine.work_pending.store(true);
    }
    cpu::send_reschedule(cpu);
}

bool sched_ask_this_cpu() {
    cpu::current()->machine.work_pending.store(true);
    return my_queue().yield_wanted.exchange(true);
}

sched_waiting sched_first_waiting() {
    run_queue& q = my_queue();
    lock_guard guard(q.lock);
    const thread* t = q.ready.front();
    return t ? sched_waiting{t->tid, t->voluntary_switches + t->involuntary_switches}
             : sched_waiting{};
}

nanos_t sched_next_event() {
    run_queue& q = my_queue();
    return std::min(q.slice_end.load(std::memory_order_relaxed), q.help_at);
}

void sched_tick(nanos_t time) {
    run_queue& q = my_queue();
    if (q.help_at <= time) {
        q.help_at = forever;
        ask_for_help(q);
    }
    if (q.slice_end.load(std::memory_order_relaxed) > time)
        return;
    q.slice_end.store(forever, std::memory_order_relaxed);
    thread* t = cpu::current();
    if (!t || t == &q.idle || q.length.load(std::memory_order_relaxed) == 0)
        return;
    q.yield_wanted.store(true, std::memory_order_relaxed);
    t->machine.work_pending.store(true);
}

void sched_events_deferred() { cpu::current()->machine.work_pending.store(true); }

void handle_reschedule_interrupt() {
    // Out of the halt, and past work_pending, the CPU has come by being interrupted. What is left
    // is a slice that somebody else has started.
    // Or a clock that was set.
    timer_program_next();
}

sched_statistics sched_get_statistics() {
    sched_statistics s{};
    nanos_t time = now();
    for (unsigned i = 0; i < cpu::count(); i++) {
        run_queue& q = queues[i];
        lock_guard guard(q.lock);
        s.switches += q.switches.load(std::memory_order_relaxed);
        bool idle = q.current == &q.idle;
        s.runnable += q.length.load(std::memory_order_relaxed) + (q.current && !idle);
        s.idle_time[i] =
            q.idle_time.load(std::memory_order_relaxed) + (idle ? time - q.idle_since : 0);
    }
    s.threads = running_threads.load(std::memory_order_relaxed);
    return s;
}
