// The scheduler: every thread runs, on one CPU at a time, where it may; sleeps end when they
// should.
#include "arch/timer.h"
#include "kernel/process/pid.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/sched/kernel_thread.h"
#include "kernel/sched/sched.h"
#include "lib/lock.h"
#include "lib/long_work.h"
#include "tests/kernel/ktest.h"
#include "tests/kernel/ktest_threads.h"

namespace {

constexpr nanos_t millisecond = 1'000'000;

unsigned this_cpu_id() {
    cpu::interrupts_push_off();
    unsigned id = cpu::id();
    cpu::interrupts_pop_off();
    return id;
}

struct many {
    std::atomic<unsigned> ran{0};
    std::atomic<uint64_t> sum{0};
};

} // namespace

KTEST(sched, every_thread_runs_once) {
    constexpr unsigned count = 64;
    many work;
    ref_ptr<thread> threads[count];
    for (auto& t : threads) {
        auto started = kernel_thread_start(
            "many",
            [](void* context) {
                auto* w = static_cast<many*>(context);
                for (unsigned i = 0; i < 20; i++) {
                    w->sum.fetch_add(i);
                    thread_yield();
                }
                w->ran.fetch_add(1);
            },
            &work);
        REQUIRE(started.has_value());
        t = *started;
    }
    for (auto& t : threads)
        kernel_thread_join(*t);
    EXPECT_EQ(work.ran.load(), count);
    EXPECT_EQ(work.sum.load(), uint64_t{count} * 190);
}

KTEST(sched, pinned_thread_stays_on_its_cpu) {
    std::atomic<unsigned> wrong{0};
    on_all_cpus(cpu::count(), [&](unsigned i) {
        for (unsigned n = 0; n < 200; n++) {
            if (this_cpu_id() != i % cpu::count())
                wrong.fetch_add(1);
            thread_yield();
        }
    });
    EXPECT_EQ(wrong.load(), 0u);
}

KTEST(sched, affinity_change_moves_a_thread) {
    if (cpu::count() < 2)
        SKIP("one CPU");
    thread& self = current_thread();
    const uint32_t before = self.allowed_cpus;
    for (unsigned round = 0; round < 20; round++) {
        unsigned target = round % cpu::count();
        self.allowed_cpus = 1u << target;
        sched_affinity_changed(self);
        EXPECT_EQ(this_cpu_id(), target);
    }
    self.allowed_cpus = before;
}

// A thread that gives way while its affinity is taken from its CPU and given back: whatever it has
// seen of that, it runs again.
KTEST(sched, affinity_changes_while_a_thread_gives_way) {
    if (cpu::count() < 2)
        SKIP("one CPU");
    struct {
        std::atomic<uint64_t> turns{0};
        std::atomic<unsigned> cpu{0};
        std::atomic<bool> end{false};
    } hopper;
    auto hop = [](void* context) {
        auto* h = static_cast<decltype(hopper)*>(context);
        while (!h->end) {
            h->cpu = this_cpu_id();
            h->turns++;
            thread_yield();
        }
    };
    on_cpu controller(0, [&] {
        constexpr uint32_t here = 1, there = 2, both = here | there;
        auto made = kernel_thread_start_on(1, "hopper", hop, &hopper);
        REQUIRE(made.has_value());
        thread& t = **made;
        for (unsigned round = 0; round < 100; round++) {
            t.allowed_cpus = there;
            sched_affinity_changed(t);
            spin_until([&] { return hopper.cpu == 1; });
            for (unsigned i = 0; i < 2000; i++) {
                t.allowed_cpus = here;
                t.allowed_cpus = both;
            }
            const uint64_t before = hopper.turns;
            const nanos_t limit = now() + 10 * nanos_per_second;
            spin_until([&] { return hopper.turns != before || now() > limit; });
            REQUIRE(hopper.turns != before);
        }
        hopper.end = true;
        kernel_thread_join(t);
    });
}

KTEST(sched, work_goes_to_idle_cpus) {
    if (cpu::count() < 2)
        SKIP("one CPU");
    // Two threads that each wait for the other to run, without giving way: only two CPUs can do
    // that.
    std::atomic<unsigned> here{0};
    auto meet = [](void* context) {
        auto* h = static_cast<std::atomic<unsigned>*>(context);
        h->fetch_add(1);
        spin_until([&] { return h->load() == 2; });
    };
    auto a = kernel_thread_start("meet", meet, &here);
    auto b = kernel_thread_start("meet", meet, &here);
    REQUIRE(a.has_value() && b.has_value());
    kernel_thread_join(**a);
    kernel_thread_join(**b);
    EXPECT_EQ(here.load(), 2u);
}

KTEST(sched, sleep_lasts_at_least_as_long_as_asked) {
    for (unsigned i = 1; i <= 5; i++) {
        nanos_t deadline = now() + i * millisecond;
        sched_sleep_until(deadline);
        EXPECT(now() >= deadline);
    }
}

KTEST(sched, thread_ids_are_distinct_and_come_back) {
    pid_t a = pid_allocate(), b = pid_allocate();
    EXPECT(a > 0 && b > 0 && a != b);
    pid_release(a);
    pid_release(b);
    EXPECT(!process_find(a));
    EXPECT(!thread_find(b));
}

// ---- Wait queues -----------------------------------------------------------------------------

KTEST(wait_queue, ping_pong) {
    struct {
        spin_lock lock{lock_rank::wait, "ping pong"};
        wait_queue changed;
        unsigned turn = 0; // even: one thread's, odd: the other's
    } game;
    constexpr unsigned turns = 400;
    std::atomic<unsigned> bad{0};
    on_all_cpus(2, [&](unsigned me) {
        for (;;) {
            lock_guard guard(game.lock);
            while (game.turn < turns && game.turn % 2 != me)
                game.changed.wait(game.lock, "test");
            if (game.turn >= turns)
                return;
            if (game.turn % 2 != me)
                bad.fetch_add(1);
            game.turn++;
            game.changed.wake_all();
        }
    });
    EXPECT_EQ(bad.load(), 0u);
    EXPECT_EQ(game.turn, turns);
    EXPECT(game.changed.empty());
}

KTEST(wait_queue, wake_one_wakes_one_in_order) {
    struct {
        spin_lock lock{lock_rank::wait, "order"};
        wait_queue queue;
        unsigned order[4] = {}, awake = 0, asleep = 0;
    } state;
    on_all_cpus(5, [&](unsigned me) {
        if (me < 4) {
            // One after the other into the queue.
            spin_until([&] {
                lock_guard guard(state.lock);
                return state.asleep == me;
            });
            lock_guard guard(state.lock);
            state.asleep++;
            state.queue.wait(state.lock, "test");
            state.order[state.awake++] = me;
            return;
        }
        for (unsigned n = 0; n < 4; n++) {
            for (;;) {
                lock_guard guard(state.lock);
                if (state.asleep == 4 && state.awake == n)
                    break;
                guard.unlock();
                thread_yield();
                guard.lock();
            }
            lock_guard guard(state.lock);
            EXPECT(state.queue.wake_one() != nullptr);
        }
    });
    for (unsigned i = 0; i < 4; i++)
        EXPECT_EQ(state.order[i], i);
}

KTEST(wait_queue, deadline_ends_the_sleep) {
    spin_lock lock{lock_rank::wait, "deadline"};
    wait_queue queue;
    nanos_t deadline = now() + 3 * millisecond;
    lock_guard guard(lock);
    status s = queue.wait_interruptible(lock, "test", deadline);
    EXPECT(!s && s.error() == Errno::timedout);
    EXPECT(now() >= deadline);
    EXPECT(queue.empty());
}

KTEST(wait_queue, deadline_in_the_past_does_not_sleep_for_ever) {
    spin_lock lock{lock_rank::wait, "past"};
    wait_queue queue;
    lock_guard guard(lock);
    status s = queue.wait_interruptible(lock, "test", 1);
    EXPECT(!s && s.error() == Errno::timedout);
}

KTEST(wait_queue, wake_up_and_deadline_race) {
    // Whoever comes first, the sleeper wakes once, and a wake-up that was counted is not lost.
    struct {
        spin_lock lock{lock_rank::wait, "race"};
        wait_queue queue;
        std::atomic<unsigned> woken{0}, timed_out{0}, wakes{0};
        std::atomic<bool> done{false};
    } race;
    constexpr unsigned rounds = 300;
    on_all_cpus(2, [&](unsigned me) {
        if (me == 0) {
            for (unsigned i = 0; i < rounds; i++) {
                lock_guard guard(race.lock);
                status s =
                    race.queue.wait_interruptible(race.lock, "test", now() + 20'000 + i * 100);
                (s ? race.woken : race.timed_out).fetch_add(1);
            }
            race.done.store(true);
        } else {
            while (!race.done.load()) {
                {
                    lock_guard guard(race.lock);
                    race.wakes.fetch_add(race.queue.wake_one() != nullptr);
                }
                thread_yield();
            }
        }
    });
    EXPECT_EQ(race.woken.load() + race.timed_out.load(), rounds);
    EXPECT_EQ(race.woken.load(), race.wakes.load());
    EXPECT(race.queue.empty());
}

// ---- Timers ----------------------------------------------------------------------------------

namespace {
struct firing {
    std::atomic<unsigned>* order;
    std::atomic<unsigned> position{0};
    std::atomic<nanos_t> at{0};
    static void fire(void* context) {
        auto* f = static_cast<firing*>(context);
        f->at.store(now());
        f->position.store(f->order->fetch_add(1) + 1);
    }
};
} // namespace

KTEST(timer, fires_in_order_of_deadlines) {
    constexpr unsigned count = 40;
    std::atomic<unsigned> order{0};
    static timer_event events[count];
    static firing fired[count];
    unsigned rank[count];
    for (unsigned i = 0; i < count; i++)
        rank[i] = i;
    for (unsigned i = count; i > 1; i--)
        std::swap(rank[i - 1], rank[ktest_random(i)]);
    // All are set before the first is due. A machine that is too slow for that gets more time.
    nanos_t start, ahead = 5 * millisecond;
    for (;; ahead *= 2) {
        start = now() + ahead;
        order.store(0);
        for (unsigned i = 0; i < count; i++) {
            fired[i].order = &order;
            fired[i].position.store(0);
            events[i].set(start + rank[i] * 100'000, firing::fire, &fired[i]);
        }
        if (now() < start)
            break;
        for (timer_event& e : events)
            e.cancel();
    }
    nanos_t limit = start + 2000 * millisecond;
    while (order.load() < count && now() < limit)
        sched_sleep_until(now() + millisecond);
    EXPECT_EQ(order.load(), count);
    for (unsigned i = 0; i < count; i++) {
        EXPECT_EQ(fired[i].position.load(), rank[i] + 1);
        EXPECT(fired[i].at.load() >= start + rank[i] * 100'000);
        EXPECT(!events[i].armed());
    }
}

namespace {
// What a deferred function finds.
struct deferred_call {
    timer_event event{timer_call::deferred};
    std::atomic<bool> called{false}, could_lock{false};
    static void fire(void* context) {
        auto* c = static_cast<deferred_call*>(context);
        {
            lock_guard tree(process_tree_lock); // with which interrupts stay on
            c->could_lock.store(cpu::interrupts_enabled() && !cpu::in_interrupt());
        }
        c->called.store(true);
    }
};
} // namespace

KTEST(timer, deferred_by_the_idle_thread_and_by_long_work) {
    deferred_call idle, work, late;
    idle.event.set(now() + millisecond, idle.fire, &idle);
    const nanos_t limit = now() + 2000 * millisecond;
    while (!idle.called.load() && now() < limit)
        sched_sleep_until(now() + millisecond);
    EXPECT(idle.called.load() && idle.could_lock.load());
    // Not in the middle of what this CPU does, but in a pause.
    work.event.set(now() + millisecond, work.fire, &work);
    late.event.set(0, late.fire, &late);
    const nanos_t end = now() + 5 * millisecond;
    while (now() < end)
        cpu::relax();
    EXPECT(!work.called.load() && !late.called.load());
    while (!(work.called.load() && late.called.load()) && now() < limit)
        long_work::pause();
    EXPECT(work.could_lock.load() && late.could_lock.load());
}

KTEST(timer, many_at_one_moment) {
    // Some in each interrupt, and some of those deferred in each pause; all of them, in their order.
    constexpr unsigned count = 200;
    static timer_event at_once[count];
    static struct deferred_event : timer_event {
        deferred_event() : timer_event(timer_call::deferred) {}
    } deferred[count];
    static firing fired[2][count];
    std::atomic<unsigned> order[2]{0, 0};
    const nanos_t moment = now() + 3 * millisecond;
    cpu::interrupts_push_off();
    for (unsigned i = 0; i < count; i++) {
        fired[0][i].order = &order[0];
        fired[1][i].order = &order[1];
        at_once[i].set(moment, firing::fire, &fired[0][i]);
        deferred[i].set(moment, firing::fire, &fired[1][i]);
    }
    cpu::interrupts_pop_off();
    const nanos_t limit = now() + 2000 * millisecond;
    while ((order[0].load() < count || order[1].load() < count) && now() < limit)
        long_work::pause();
    for (unsigned i = 0; i < count; i++) {
        EXPECT_EQ(fired[0][i].position.load(), i + 1);
        EXPECT_EQ(fired[1][i].position.load(), i + 1);
    }
}

KTEST(timer, cancelled_does_not_fire) {
    constexpr unsigned count = 32;
    std::atomic<unsigned> order{0};
    static timer_event events[count];
    static firing fired[count];
    nanos_t start = now() + 3 * millisecond;
    for (unsigned i = 0; i < count; i++) {
        fired[i].order = &order;
        fired[i].position.store(0);
        events[i].set(start + ktest_random(2 * millisecond), firing::fire, &fired[i]);
    }
    // From the middle of the heap, too.
    for (unsigned i = 0; i < count; i += 2)
        events[i].cancel();
    sched_sleep_until(start + 10 * millisecond);
    for (unsigned i = 0; i < count; i++)
        events[i].cancel();
    for (unsigned i = 1; i < count; i += 2)
        EXPECT(fired[i].position.load() != 0);
    for (unsigned i = 0; i < count; i += 2)
        EXPECT(fired[i].position.load() == 0 || fired[i].at.load() != 0);
    EXPECT(order.load() >= count / 2);
}

KTEST(timer, can_be_set_again_by_its_function) {
    struct repeater {
        timer_event event;
        std::atomic<unsigned> times{0};
        static void fire(void* context) {
            auto* s = static_cast<repeater*>(context);
            if (s->times.fetch_add(1) + 1 < 5)
                s->event.set(now() + 200'000, fire, context);
        }
    } repeat;
    repeat.event.set(now() + 200'000, repeat.fire, &repeat);
    nanos_t limit = now() + 2000 * millisecond;
    while (repeat.times.load() < 5 && now() < limit)
        sched_sleep_until(now() + millisecond);
    repeat.event.cancel();
    EXPECT_EQ(repeat.times.load(), 5u);
}

namespace {
// Cancels an event on one CPU while another is in its function. Returns whether the function had
// left when cancel() returned. `set_meanwhile`: it is set once more before that.
bool cancel_waits(bool set_meanwhile, timer_call how) {
    struct slow_event {
        explicit slow_event(timer_call call) : event(call) {}
        timer_event event;
        std::atomic<bool> inside{false}, go_on{false}, left{false};
        static void fire(void* context) {
            auto* s = static_cast<slow_event*>(context);
            s->inside.store(true);
            while (!s->go_on.load())
                cpu::relax();
            s->left.store(true);
        }
    } slow(how);
    std::atomic<bool> left_at_return{false};
    on_all_cpus(2, [&](unsigned me) {
        if (me == 0) {
            slow.event.set(now() + 100'000, slow.fire, &slow);
            spin_until([&] { return slow.left.load(); });
        } else {
            spin_until([&] { return slow.inside.load(); });
            // Lets the function end a while after cancel() has begun to wait.
            timer_event release;
            release.set(
                now() + 2 * millisecond,
                [](void* go) { static_cast<std::atomic<bool>*>(go)->store(true); }, &slow.go_on);
            if (set_meanwhile)
                slow.event.set(forever - 1, slow.fire, &slow);
            slow.event.cancel();
            left_at_return.store(slow.left.load());
            spin_until([&] { return slow.left.load(); });
            release.cancel();
        }
    });
    return left_at_return.load() && !slow.event.armed();
}
} // namespace

KTEST(timer, cancel_waits_for_the_function_on_another_cpu) {
    if (cpu::count() < 2)
        SKIP("one CPU");
    EXPECT(cancel_waits(false, timer_call::at_once));
    EXPECT(cancel_waits(false, timer_call::deferred));
}

KTEST(timer, cancel_waits_for_the_function_of_an_event_that_was_set_again) {
    if (cpu::count() < 2)
        SKIP("one CPU");
    EXPECT(cancel_waits(true, timer_call::at_once));
    EXPECT(cancel_waits(true, timer_call::deferred));
}
