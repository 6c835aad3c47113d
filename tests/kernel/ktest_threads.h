// Kernel threads for tests: a callable that runs on a given CPU.
#pragma once

#include "arch/cpu.h"
#include "kernel/process/thread.h"
#include "kernel/sched/kernel_thread.h"
#include "kernel/sched/sched.h"
#include "lib/assert.h"

#include <atomic>
#include <optional>

// Runs body() in a kernel thread that is pinned to `cpu`; the destructor (or join()) waits for
// its end. Lives on the stack of the test.
template <class Body> class on_cpu {
public:
    on_cpu(unsigned cpu, Body body) : body_(body) {
        auto t = kernel_thread_start_on(
            cpu, "ktest", [](void* self) { static_cast<on_cpu*>(self)->body_(); }, this);
        ASSERT(t.has_value());
        thread_ = *t;
    }
    on_cpu(const on_cpu&) = delete;
    ~on_cpu() { join(); }
    void join() {
        if (thread_)
            kernel_thread_join(*thread_);
        thread_.reset();
    }

private:
    Body body_;
    ref_ptr<thread> thread_;
};

// Runs body(i) in a thread on each CPU, several rounds of CPUs if `threads` says so, and waits
// for all of them.
template <class Body> void on_all_cpus(unsigned threads, Body body) {
    struct numbered {
        Body* body;
        unsigned number;
        void operator()() const { (*body)(number); }
    };
    constexpr unsigned most = 16;
    ASSERT(threads <= most);
    std::optional<on_cpu<numbered>> running[most];
    for (unsigned i = 0; i < threads; i++)
        running[i].emplace(i % cpu::count(), numbered{&body, i});
}

// Waits until the condition holds, letting other threads of this CPU run.
template <class Condition> void spin_until(Condition condition) {
    while (!condition())
        thread_yield();
}
