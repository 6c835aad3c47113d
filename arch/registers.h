// The user mode registers of a thread that does not run, as a debugger sees them and changes them.
// The caller knows that the thread sleeps, is off its stack, and is not woken meanwhile.
#pragma once

#include "lib/result.h"

#include <cstddef>
#include <cstdint>
#include <span>

struct linux_user_regs;
struct machine_thread;
struct trap_frame;

linux_user_regs machine_get_registers(machine_thread& m);
// EIO for a selector or a base that no program may load; nothing has changed then. Of the flags
// those change that are a program's own to set. orig_rax below 0: no system call is restarted.
status machine_set_registers(machine_thread& m, const linux_user_regs& from);

// Floating-point state in XSAVE's standard format: the software's bytes at 464 begin with XCR0.
// `fxsave_bytes` of it are FXSAVE's.
inline constexpr size_t fxsave_bytes = 512, most_xstate_bytes = 832;
size_t machine_xstate_size();
void machine_get_xstate(const machine_thread& m, std::span<std::byte, most_xstate_bytes> to);
// EINVAL for what the processor would refuse. `from`: FXSAVE's part alone, or all of it.
status machine_set_xstate(machine_thread& m, std::span<const std::byte> from);

// Whether the thread stops with a debug exception after one instruction. Off: its own RFLAGS.TF
// counts again.
void machine_set_stepping(machine_thread& m, bool on);
