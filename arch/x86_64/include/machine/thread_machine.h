// machine_thread: the machine's part of a thread, embedded in struct thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <machine/fpu_area.h>
#include <machine/layout.h>

// The selectors that a program may load by itself. In 64-bit mode they mean nothing to it, but for
// the bases that loading FS or GS sets; and it sees what it has loaded.
struct user_selectors {
    uint16_t ds = 0, es = 0, fs = 0, gs = 0;
    friend bool operator==(const user_selectors&, const user_selectors&) = default;
};

struct machine_thread {
    uint64_t stack_base = 0;  // lowest mapped address of the kernel stack; 0 for an idle thread
    uint64_t stack_top = 0;   // first address above it
    uint64_t saved_rsp = 0;   // while it is not running
    void* fpu_area = nullptr; // XSAVE area, 64-byte aligned; valid while it is not running
    uint64_t fs_base = 0;     // likewise
    uint64_t gs_base = 0;
    user_selectors selectors; // likewise
    // A debugger has set RFLAGS.TF in its frame: arch/registers.h.
    bool stepping = false;
    // Interrupt state below the spin lock that is held over a switch (see cpu_data).
    bool interrupts_were_on = false;
    uint64_t stack_canary = 0; // while it is not running: machine/stack_protector.h

    // Something (a signal, the end of its time slice) waits for this thread on its way to user
    // mode. Anybody sets it, after having made the thing visible, and then interrupts the CPU if
    // the thread is running elsewhere. The return to user mode clears it, calls
    // before_return_to_user(), turns interrupts off and looks again.
    std::atomic<bool> work_pending{false};
};

// Of memory, besides struct thread.
inline constexpr uint64_t machine_thread_bytes = kernel_stack_size + sizeof(fpu_area);
