// A host thread as the machine sees it: a CPU, and the thread that runs on it.
#pragma once

#include "arch/cpu.h"
#include "lib/lock.h"

#include <condition_variable>
#include <cstdint>
#include <mutex>

struct alignas(64) host_thread {
    host_thread();  // takes the lowest CPU number that is free; panics when there is none
    ~host_thread(); // gives it back

    unsigned cpu;
    unsigned interrupt_depth = 0;
    uint64_t interrupt_pushes = 0;
    unsigned panics_expected = 0;
    held_locks thread_locks, cpu_locks;
    // For wait_queue: `wake` is signalled with `sleeping` held when a waiter of this thread is
    // woken.
    std::mutex sleeping;
    std::condition_variable wake;

    static host_thread& self();
    // vm/ knows threads by address alone.
    static host_thread& of(thread* t) { return *reinterpret_cast<host_thread*>(t); }
    thread* as_thread() { return reinterpret_cast<thread*>(this); }
};
