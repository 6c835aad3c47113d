// A host thread as the machine sees it: a CPU, and the thread that runs on it.
#pragma once

#include "arch/cpu.h"
#include "lib/lock.h"

#include <condition_variable>
#include <cstdint>
#include <mutex>

struct host_turn_taker;

struct alignas(64) host_thread {
    host_thread();  // takes the lowest CPU number that is free; panics when there is none
    ~host_thread(); // gives it back

    unsigned cpu;
    unsigned interrupt_depth = 0;
    uint64_t interrupt_pushes = 0;
    unsigned panics_expected = 0;
    held_locks thread_locks, cpu_locks;
    // The sleep that it does not come back from (host_endless.h); guarded by `sleeping`.
    const char* ends_in = nullptr;
    host_turn_taker* turn = nullptr; // if it takes part in some (host_turns.h)
    // For wait_queue, of a thread that takes no turns: `wake` is signalled with `sleeping` held when a waiter of this thread is
    // woken.
    std::mutex sleeping;
    std::condition_variable wake;

    static host_thread& self();
    // vm/ knows threads by address alone.
    static host_thread& of(thread* t) { return *reinterpret_cast<host_thread*>(t); }
    thread* as_thread() { return reinterpret_cast<thread*>(this); }
};
