// The resources that a process has used.
#pragma once

#include "arch/timer.h"
#include "lib/types.h"

#include <cstdint>

struct linux_rusage; // kernel/abi/arguments.h

// Resources used by a process, or by its children that were waited for.
struct usage {
    nanos_t user_time = 0, system_time = 0;
    uint64_t minor_faults = 0, major_faults = 0, voluntary_switches = 0, involuntary_switches = 0,
             max_rss_pages = 0;
    void add(const usage& other);
};
linux_rusage usage_to_linux(const usage& u); // as the ABI writes them

// A thread's processor time by mode, user's and kernel's, taken at each way in and out. In cycles,
// which one instruction reads; now() costs several times as much. Its own thread's alone; others
// read it as it was a moment ago. (How much there is in all says thread::cpu_clock.)
class mode_times {
public:
    // Time in user mode ends here and time in the kernel begins, unless it has already.
    void enter_kernel() {
        if (in_kernel_)
            return;
        user_ += lap();
        in_kernel_ = true;
    }
    // And back.
    void leave_kernel() {
        if (!in_kernel_)
            return;
        system_ += lap();
        in_kernel_ = false;
    }
    // In the kernel, the thread is put on a processor, and taken from it.
    void start() { since_ = cycle_count(); }
    void stop() { system_ += lap(); }

    nanos_t user() const { return nanos_of_cycles(user_); }
    nanos_t system() const { return nanos_of_cycles(system_); }
    // Which of the two what is not counted yet will be.
    bool in_kernel() const { return in_kernel_; }

private:
    uint64_t lap() {
        const uint64_t begun = since_;
        since_ = cycle_count();
        return since_ - begun;
    }

    uint64_t user_ = 0, system_ = 0, since_ = 0;
    bool in_kernel_ = true;
};
