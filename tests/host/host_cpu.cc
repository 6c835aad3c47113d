#include "tests/host/host_cpu.h"

#include "arch/cpu.h"
#include "arch/host/tlb.h"
#include "arch/pmap.h"
#include "lib/assert.h"
#include "lib/string.h"

#include <algorithm>

namespace {

// Other threads may take a page away as often as it is brought in, but not so often.
constexpr unsigned patience = 10'000;

// Makes an access within one page: use(address) is called in one step with the translation.
template <class Use>
bool access_page(vmspace& vm, vaddr_t va, vm_prot access, fault_outcome* why, Use use) {
    pmap_machine& m = pmap_machine::of(vm.physical_map());
    for (unsigned tries = 0; tries < patience; tries++) {
        {
            lock_guard bus(host_bus);
            if (uint8_t* data = tlb::translate(m, va, access)) {
                use(data);
                return true;
            }
        }
        ASSERT(thread_held_locks().count == 0 && cpu::interrupts_enabled());
        fault_outcome outcome = vm.fault(va, access);
        if (outcome != fault_outcome::resolved) {
            if (why)
                *why = outcome;
            return false;
        }
    }
    panic("host: a fault at %#lx (right %u) is resolved again and again", va.value(),
          unsigned(access));
}

// Calls use(data, done, length) for the pieces of [va, va + size) in each page.
template <class Use>
bool access_range(vmspace& vm, vaddr_t va, size_t size, vm_prot access, fault_outcome* why,
                  Use use) {
    for (size_t done = 0; done < size;) {
        const size_t piece = std::min<size_t>(size - done, page_size - (va + done).page_offset());
        if (!access_page(vm, va + done, access, why,
                         [&](uint8_t* data) { use(data, done, piece); }))
            return false;
        done += piece;
    }
    return true;
}

} // namespace

bool host_read(vmspace& vm, vaddr_t from, void* to, size_t size, fault_outcome* why) {
    auto out = static_cast<uint8_t*>(to);
    return access_range(
        vm, from, size, vm_prot::read, why,
        [&](const uint8_t* data, size_t done, size_t length) { memcpy(out + done, data, length); });
}

bool host_write(vmspace& vm, vaddr_t to, const void* from, size_t size, fault_outcome* why) {
    auto in = static_cast<const uint8_t*>(from);
    return access_range(
        vm, to, size, vm_prot::write, why,
        [&](uint8_t* data, size_t done, size_t length) { memcpy(data, in + done, length); });
}

bool host_fetch(vmspace& vm, vaddr_t from, uint8_t* out, fault_outcome* why) {
    return access_page(vm, from, vm_prot::execute, why, [&](const uint8_t* data) { *out = *data; });
}
