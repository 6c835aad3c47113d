#include "kernel/sched/load_average.h"

#include "arch/timer.h"
#include "kernel/sched/sched.h"
#include "kernel/sched/timer.h"

#include <atomic>

namespace {

constexpr nanos_t interval = 5 * nanos_per_second;
// 2^16 * e^(-interval / period).
constexpr uint64_t decay[3] = {60280, 64453, 65173};

std::atomic<uint64_t> averages[3];
timer_event counting;

// As Linux does: load = load * e^(-interval / period) + runnable * (1 - e^...).
void update_load(void*) {
    const uint64_t runnable = sched_get_statistics().runnable;
    for (int i = 0; i < 3; i++) {
        const uint64_t old = averages[i].load(std::memory_order_relaxed);
        averages[i].store((old * decay[i] + (runnable << 16) * (65536 - decay[i])) >> 16,
                          std::memory_order_relaxed);
    }
    counting.set(now() + interval, update_load, nullptr);
}

} // namespace

std::array<uint64_t, 3> load_average() { return {averages[0], averages[1], averages[2]}; }

void load_average_start() { counting.set(now() + interval, update_load, nullptr); }
