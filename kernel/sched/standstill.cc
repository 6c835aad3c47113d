#include "kernel/sched/standstill.h"

#include "arch/cpu.h"
#include "lib/lock.h"

constinit std::atomic<uint64_t> standstill::under_way{0};

namespace {

sleep_lock one_at_a_time{lock_rank::standstill, "standstill"};
uint64_t last_round GUARDED_BY(one_at_a_time) = 0;

// The standstill for which each CPU last parked. By its number, and not just a bit, because a CPU
// may come too late for one and must not be taken for parked by the next.
struct alignas(64) parked_cpu {
    std::atomic<uint64_t> round{0};
};
constinit parked_cpu parked[max_cpus];

} // namespace

standstill::standstill() {
    one_at_a_time.lock();
    cpu::interrupts_push_off();
    const uint64_t round = ++last_round;
    under_way.store(round);
    const unsigned self = cpu::id();
    for (unsigned other = 0; other < cpu::count(); other++) {
        // Asked more than once: a CPU that was on its way through the scheduler already may have
        // forgotten it again.
        constexpr unsigned ask_every = 4096;
        for (unsigned spin = 0;
             other != self && parked[other].round.load(std::memory_order_acquire) != round;
             spin++) {
            if (spin % ask_every == 0)
                sched_ask_to_yield(other);
            cpu::relax(); // answers shootdowns, which others may be waiting for
        }
    }
}

standstill::~standstill() {
    under_way.store(0, std::memory_order_release);
    cpu::interrupts_pop_off();
    one_at_a_time.unlock();
}

void standstill::park() {
    const uint64_t round = under_way.load(std::memory_order_acquire);
    parked[cpu::id()].round.store(round, std::memory_order_release);
    while (round != 0 && under_way.load(std::memory_order_acquire) == round)
        cpu::relax();
}
