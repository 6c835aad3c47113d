// The simulated machine on which vm/ runs inside a host process, as tests see it.
//
// Physical memory is one block of host memory. Each host thread that calls into vm/ is a CPU of
// its own (and at once the thread that runs on it) from its first call to its end; the thread
// that calls host_machine_init() is CPU 0. Page tables and TLBs are data (arch/host/pmap.cc,
// tlb.cc), which host_read() and host_write() of tests/host/host_cpu.h obey as a processor would.
#pragma once

#include "lib/lock.h"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

// Makes a machine of about `pages` pages of memory, in two ranges with a hole between them, and
// hands it to vm_page_init(). Once in a process, from its main thread.
void host_machine_init(size_t pages);

// What panic() throws where a panic is expected, instead of ending the process.
struct host_panic : std::exception {
    char message[512];
    const char* what() const noexcept override { return message; }
};

// If set, called with the message of a panic that nobody expects, before anything is unwound or
// printed. It may end the process.
extern void (*host_on_panic)(const char* message);

// While one exists, a panic of the calling thread throws host_panic. The thread's record of held
// locks and its interrupt depth are put back to what they were. The state of vm/ after a panic is
// not to be relied on: a lock that no guard holds stays taken. A panic inside a destructor still
// ends the process.
class host_panic_expected {
public:
    host_panic_expected();
    ~host_panic_expected();
    host_panic_expected(const host_panic_expected&) = delete;

private:
    held_locks thread_locks_, cpu_locks_;
    unsigned interrupt_depth_;
};

// The message with which `run` panics; empty if it does not.
template <class Run> std::string host_panic_of(Run&& run) {
    host_panic_expected expected;
    try {
        std::forward<Run>(run)();
    } catch (const host_panic& panic) {
        return panic.message;
    }
    return {};
}

// Whether the calling thread is being killed, for long_work::go_on(). Nobody is, until a test says
// so.
extern bool (*host_is_killed)();

// For tests of the machine itself: the next `count` TLB flushes are lost.
void host_lose_flushes(unsigned count);

struct host_interrupt_counts {
    uint64_t pushes; // interrupts_push_off() by the calling CPU so far
    unsigned depth;  // pushes without their pop
};
host_interrupt_counts host_interrupts();
