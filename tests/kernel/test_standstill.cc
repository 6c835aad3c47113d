// standstill: nothing runs while one exists, and everything goes on after it.
#include "kernel/sched/sched.h"
#include "kernel/sched/standstill.h"
#include "tests/kernel/ktest.h"
#include "tests/kernel/ktest_threads.h"

namespace {

// Counts in a thread on each CPU, until told to end.
struct counting {
    std::atomic<uint64_t> count[max_cpus] = {};
    std::atomic<bool> end{false};

    uint64_t sum() const {
        uint64_t s = 0;
        for (const auto& c : count)
            s += c.load();
        return s;
    }
    void run(unsigned cpu) {
        while (!end) {
            count[cpu]++;
            thread_yield();
        }
    }
};

constexpr unsigned rounds = 10;
constexpr unsigned looks = 500;

} // namespace

KTEST(standstill, nothing_moves) {
    counting c;
    unsigned moved = 0;
    {
        auto body = [&](unsigned cpu) { c.run(cpu); };
        auto ender = [&] {
            for (unsigned i = 0; i < rounds; i++) {
                {
                    standstill now;
                    const uint64_t before = c.sum();
                    for (unsigned k = 0; k < looks; k++)
                        cpu::relax();
                    moved += c.sum() != before;
                }
                const uint64_t after = c.sum();
                spin_until([&] { return c.sum() != after; }); // everybody goes on
            }
            c.end = true;
        };
        on_cpu run_ender(0, ender);
        on_all_cpus(cpu::count(), body);
    }
    EXPECT_EQ(moved, 0u);
}

// Two threads that want a standstill at the same time get one each, one after the other.
KTEST(standstill, one_at_a_time) {
    std::atomic<unsigned> inside{0}, met{0};
    auto body = [&](unsigned) {
        for (unsigned i = 0; i < rounds; i++) {
            standstill now;
            met += inside++ != 0;
            for (unsigned k = 0; k < looks / 10; k++)
                cpu::relax();
            inside--;
        }
    };
    on_all_cpus(2 * cpu::count(), body);
    EXPECT_EQ(met.load(), 0u);
}
