// The interrupt descriptor table and what traps.S calls.
#pragma once

#include <cstdint>

struct trap_frame;

void idt_load(); // on each CPU

extern "C" {
void syscall_entry(); // traps.S: MSR_LSTAR
trap_frame* trap_dispatch(trap_frame* frame);
trap_frame* trap_paranoid_dispatch(trap_frame* frame);
void syscall_dispatch(trap_frame* frame);
// Everything that is due before `frame` is returned to in user mode. Returns with interrupts off.
void prepare_return_to_user(trap_frame* frame);
}
