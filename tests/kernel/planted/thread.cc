// Races, planted: `make SANITIZE=thread` must find each, on two processors (tests/kernel/hang.h).
#include "arch/cpu.h"
#include "kernel/sched/kernel_thread.h"
#include "kernel/sched/sched.h"
#include "lib/assert.h"
#include "lib/lock.h"
#include "tests/kernel/hang.h"

#include <atomic>
#include <cstring>

namespace {

spin_lock lock(lock_rank::wait, "planted");
uint64_t counter, guarded GUARDED_BY(lock), word;
bool done;
uint64_t slots[64];

// What each of two threads does again and again, on a processor each.
struct race {
    const char* name;
    void (*one)();
    void (*other)();
};

[[gnu::noinline]] void count() { counter++; }
[[gnu::noinline]] void set_flag() { done = !done; }
[[gnu::noinline]] void read_flag() {
    if (done)
        asm volatile("");
}
[[gnu::noinline]] void write_with_lock() {
    lock_guard guard(lock);
    guarded++;
}
[[gnu::noinline]] void read_without_lock() NO_THREAD_SAFETY_ANALYSIS {
    if (guarded == 0)
        asm volatile("");
}
[[gnu::noinline]] void add_atomically() { std::atomic_ref(word).fetch_add(1); }
[[gnu::noinline]] void read_plainly() {
    if (word == 0)
        asm volatile("");
}
[[gnu::noinline]] void write_all() {
    for (uint64_t& slot : slots)
        slot = 1;
}
[[gnu::noinline]] void write_one() { slots[17]++; }

constexpr race races[] = {
    {"counter", count, count},
    {"flag", set_flag, read_flag},
    {"lock-forgotten", write_with_lock, read_without_lock},
    {"atomic-on-one-side", add_atomically, read_plainly},
    {"table", write_all, write_one},
};

void run(void* work) {
    for (;;)
        for (unsigned i = 0; i < 100; i++)
            reinterpret_cast<void (*)()>(work)();
}

} // namespace

void plant_bug(const char* name) {
    for (const race& r : races) {
        if (strcmp(name, r.name) != 0)
            continue;
        for (auto* work : {r.one, r.other})
            if (!kernel_thread_start("racer", run, reinterpret_cast<void*>(work)))
                panic("no memory for a thread");
    }
}
