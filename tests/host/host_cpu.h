// What a program does on the simulated machine: loads, stores and instruction fetches, through the
// TLB of the calling CPU and the page table of an address space, with vmspace::fault() when the
// machine raises a page fault.
#pragma once

#include "lib/types.h"
#include "vm/vmspace.h"

#include <cstddef>
#include <cstdint>

// Each returns true when all `size` bytes were moved. Otherwise the program would have got a
// signal: `*why` says what fault() returned, and bytes before the first bad page were moved. A
// fault that says `resolved` without end is a panic. No lock may be held.
bool host_read(vmspace& vm, vaddr_t from, void* to, size_t size, fault_outcome* why = nullptr);
bool host_write(vmspace& vm, vaddr_t to, const void* from, size_t size,
                fault_outcome* why = nullptr);
// Executes the byte at `from`: needs the right to execute; `out` gets the byte.
bool host_fetch(vmspace& vm, vaddr_t from, uint8_t* out, fault_outcome* why = nullptr);

// One byte.
inline bool host_read(vmspace& vm, vaddr_t from, uint8_t* out, fault_outcome* why = nullptr) {
    return host_read(vm, from, out, 1, why);
}
inline bool host_write(vmspace& vm, vaddr_t to, uint8_t byte, fault_outcome* why = nullptr) {
    return host_write(vm, to, &byte, 1, why);
}
