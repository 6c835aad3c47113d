// Locks under contention from several threads and CPUs.
#include "arch/timer.h"
#include "kernel/sched/sched.h"
#include "lib/lock.h"
#include "tests/kernel/ktest.h"
#include "tests/kernel/ktest_threads.h"

namespace {
constexpr unsigned threads = 6;
constexpr unsigned rounds = 2000;

// Tells whether more than one, or the wrong ones, are inside at a time.
struct watch {
    std::atomic<int> writers{0}, readers{0};
    void write(void (*inside)()) {
        EXPECT_EQ(writers.fetch_add(1), 0);
        EXPECT_EQ(readers.load(), 0);
        inside();
        writers--;
    }
    void read(void (*inside)()) {
        readers++;
        EXPECT_EQ(writers.load(), 0);
        inside();
        readers--;
    }
};

} // namespace

KTEST(spin_lock, excludes) {
    spin_lock lock{lock_rank::device, "test"};
    uint64_t counter = 0; // not atomic
    on_all_cpus(threads, [&](unsigned) {
        for (unsigned i = 0; i < rounds; i++) {
            lock_guard guard(lock);
            const uint64_t seen = *const_cast<volatile uint64_t*>(&counter);
            cpu::relax();
            *const_cast<volatile uint64_t*>(&counter) = seen + 1;
        }
    });
    EXPECT_EQ(counter, uint64_t{threads} * rounds);
}

KTEST(spin_lock, interrupts_stay_on_where_no_handler_takes_it) {
    spin_lock outer{lock_rank::pmap, "outer"}, inner{lock_rank::device, "inner"};
    lock_guard guard(outer);
    EXPECT(cpu::interrupts_enabled());
    inner.lock();
    EXPECT(!cpu::interrupts_enabled());
    inner.unlock();
    EXPECT(cpu::interrupts_enabled());
    EXPECT(outer.held());
}

KTEST(spin_lock, interrupts_are_off_while_held) {
    spin_lock outer{lock_rank::timer, "outer"}, inner{lock_rank::device, "inner"};
    EXPECT(cpu::interrupts_enabled());
    outer.lock();
    EXPECT(!cpu::interrupts_enabled());
    inner.lock();
    outer.unlock(); // not the one taken last
    EXPECT(!cpu::interrupts_enabled());
    inner.unlock();
    EXPECT(cpu::interrupts_enabled());
}

KTEST(spin_lock, try_lock_does_not_wait) {
    spin_lock lock{lock_rank::device, "test"};
    REQUIRE(lock.try_lock());
    EXPECT(lock.held());
    auto again = [&]() NO_THREAD_SAFETY_ANALYSIS { return lock.try_lock(); };
    EXPECT(!again());
    lock.unlock();
    EXPECT(!lock.held());
    EXPECT(cpu::interrupts_enabled());
}

KTEST(sleep_lock, excludes_while_its_holder_sleeps) {
    sleep_lock lock{lock_rank::vm_map, "test"};
    uint64_t counter = 0;
    on_all_cpus(threads, [&](unsigned) {
        for (unsigned i = 0; i < 200; i++) {
            lock_guard guard(lock);
            const uint64_t seen = *const_cast<volatile uint64_t*>(&counter);
            thread_yield();
            *const_cast<volatile uint64_t*>(&counter) = seen + 1;
        }
    });
    EXPECT_EQ(counter, uint64_t{threads} * 200);
    EXPECT(lock.owner() == nullptr);
}

KTEST(sleep_lock, waiter_sleeps_until_it_is_released) {
    sleep_lock lock{lock_rank::vm_map, "test"};
    std::atomic<bool> started{false}, got_it{false};
    lock.lock();
    {
        auto body = [&] {
            if (lock.try_lock()) {
                ktest_fail(__FILE__, __LINE__, "taken while another thread holds it");
                lock.unlock();
            }
            started = true;
            lock_guard guard(lock);
            got_it = true;
        };
        on_cpu waiter(0, body);
        while (!started)
            thread_yield();
        for (int i = 0; i < 20; i++)
            thread_yield();
        EXPECT(!got_it);
        EXPECT(lock.held());
        lock.unlock();
    }
    EXPECT(got_it.load());
}

// One thread takes the lock again and again and never sleeps between; on one processor, where the
// other that waits is woken at each release and never runs before the lock is taken again, it gets
// it all the same.
template <class Lock>
static void expect_waiter_is_not_overtaken(Lock& lock, std::atomic<bool>& got_it) {
    unsigned rounds = 0;
    for (; !got_it && rounds < 100; rounds++) {
        lock_guard guard(lock);
        thread_yield();
    }
    EXPECT(rounds < 6);
}

KTEST(sleep_lock, waiter_is_overtaken_once) {
    sleep_lock lock{lock_rank::vm_map, "test"};
    std::atomic<bool> got_it{false};
    on_cpu self(0, [&] {
        on_cpu waiter(0, [&] {
            lock_guard guard(lock);
            got_it = true;
        });
        expect_waiter_is_not_overtaken(lock, got_it);
    });
}

KTEST(rw_lock, no_waiter_is_overtaken_for_ever) {
    rw_lock lock{lock_rank::vm_map, "test"};
    on_cpu self(0, [&] {
        for (bool reads : {false, true}) {
            std::atomic<bool> got_it{false};
            on_cpu waiter(0, [&] {
                if (reads) {
                    read_guard guard(lock);
                    got_it = true;
                } else {
                    lock_guard guard(lock);
                    got_it = true;
                }
            });
            expect_waiter_is_not_overtaken(lock, got_it);
        }
    });
}

// Two writers in turn, so that there is always one that waits.
KTEST(rw_lock, writers_do_not_keep_a_reader_out) {
    rw_lock lock{lock_rank::vm_map, "test"};
    std::atomic<bool> got_it{false}, stop{false};
    std::atomic<unsigned> writes{0};
    auto write = [&] {
        for (unsigned i = 0; !stop && i < 1000; i++) {
            lock_guard guard(lock);
            writes++;
            thread_yield();
        }
    };
    on_cpu a(0, write), b(0, write);
    spin_until([&] { return writes > 10; });
    unsigned begun = 0;
    on_cpu reader(0, [&] {
        begun = writes;
        read_guard guard(lock);
        got_it = true;
        stop = true;
        EXPECT(writes - begun < 6);
    });
}

static void write_then_read(rw_lock& lock, watch& w) NO_THREAD_SAFETY_ANALYSIS {
    lock.lock();
    w.write([] {});
    lock.downgrade();
    w.read(thread_yield);
    lock.unlock_shared();
}

// Readers, writers, downgrades and tries, as a die says; all watched.
static void use_rw_lock_at_random(unsigned threads_in_all) {
    rw_lock lock{lock_rank::vm_map, "test"};
    static watch w;
    on_all_cpus(threads_in_all, [&](unsigned self) {
        uint64_t state = self + 1;
        for (unsigned i = 0; i < 400; i++) {
            state = state * 6364136223846793005 + 1442695040888963407;
            if (state >> 40 & 1)
                thread_yield(); // without the lock
            switch (state >> 61) {
            case 0: {
                lock_guard guard(lock);
                w.write(thread_yield);
                break;
            }
            case 1: write_then_read(lock, w); break;
            case 2:
                if (lock.try_lock()) {
                    w.write([] {});
                    lock.unlock();
                }
                break;
            default: {
                read_guard guard(lock);
                w.read(thread_yield);
            }
            }
        }
    });
    EXPECT(!lock.held_any());
}

KTEST(rw_lock, excludes_when_nobody_waits) {
    // Two threads that mostly meet at a lock for which nobody waits yet: the fast paths.
    use_rw_lock_at_random(2);
}

KTEST(rw_lock, excludes_when_many_wait) { use_rw_lock_at_random(threads); }

KTEST(rw_lock, readers_share) {
    rw_lock lock{lock_rank::vm_map, "test"};
    std::atomic<unsigned> inside{0};
    // All must be in at once, or none gets out.
    on_all_cpus(threads, [&](unsigned) {
        read_guard guard(lock);
        inside++;
        while (inside < threads)
            thread_yield();
    });
    EXPECT_EQ(inside.load(), threads);
}

KTEST(rw_lock, release_by_a_writer_lets_all_readers_in) {
    rw_lock lock{lock_rank::vm_map, "test"};
    std::atomic<unsigned> started{0}, inside{0};
    lock.lock();
    auto read = [&] {
        started++;
        read_guard guard(lock);
        inside++;
        spin_until([&] { return inside == 3; }); // nobody gets out before all are in
    };
    on_cpu a(0, read), b(0, read), c(0, read);
    spin_until([&] { return started == 3; });
    for (int i = 0; i < 20; i++)
        thread_yield();
    EXPECT_EQ(inside.load(), 0);
    lock.unlock();
}

KTEST(rw_lock, reader_does_not_pass_a_waiting_writer) {
    rw_lock lock{lock_rank::vm_map, "test"};
    std::atomic<unsigned> order{0}, writer_was{0}, reader_was{0};
    std::atomic<bool> writer_started{false}, reader_started{false};
    auto write = [&] {
        writer_started = true;
        lock_guard guard(lock);
        writer_was = ++order;
    };
    auto read = [&] {
        reader_started = true;
        read_guard guard(lock);
        reader_was = ++order;
    };
    lock.lock_shared();
    on_cpu writer(0, write);
    // On one CPU a thread that has started and lost the CPU is waiting.
    auto wait_for = [](std::atomic<bool>& started) {
        while (!started)
            thread_yield();
        sched_sleep_until(now() + nanos_per_second / 100);
    };
    wait_for(writer_started);
    on_cpu reader(0, read);
    wait_for(reader_started);
    EXPECT_EQ(order.load(), 0);
    lock.unlock_shared();
    writer.join();
    reader.join();
    EXPECT_EQ(writer_was.load(), 1);
    EXPECT_EQ(reader_was.load(), 2);
}
