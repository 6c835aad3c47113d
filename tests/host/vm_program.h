// What the tests of vm/ and the model say, without Catch2: what can leak, by name, and short words
// for what programs do.
#pragma once

#include "arch/pmap.h"
#include "tests/host/host_cpu.h"
#include "vm/phys/pool.h"
#include "vm/phys/uvmexp.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_aobj.h"
#include "vm/uvm_commit.h"
#include "vm/vmspace.h"

#include <map>
#include <string>
#include <vector>

using vm_ref = ref_ptr<vmspace>;

// Everything that can leak, by name.
inline std::map<std::string, uint64_t> vm_inventory() {
    std::map<std::string, uint64_t> all;
    for (pool_base* p = pool_base::first(); p; p = p->next()) {
        p->trim();
        p->check();
        if (p->live() != 0)
            all[p->name()] = p->live();
    }
    vm_page_statistics pages = vm_page_get_statistics();
    all["anon pages"] = pages.anon;
    all["object pages"] = pages.object;
    all["page-table pages"] = pages.page_table;
    all["kernel pages"] = pages.kernel;
    all["committed"] = uvm_commit::committed();
    all["kmem bytes"] = kmem_bytes_in_use();
    vm_page_check();
    return all;
}

// What limits the operations that follow, in bytes.
struct vm_limits {
    uint64_t address_space = vm_unlimited, data = vm_unlimited, stack = 8 << 20,
             memlock = vm_unlimited;
};
inline vm_limits limits;
inline uint64_t limit_of_test(vm_limit which) {
    switch (which) {
    case vm_limit::address_space: return limits.address_space;
    case vm_limit::data: return limits.data;
    case vm_limit::stack: return limits.stack;
    case vm_limit::memlock: return limits.memlock;
    }
    return vm_unlimited;
}

constexpr uint64_t pages(uint64_t n) { return n * page_size; }

// The byte at an address as the program sees it; -1 for SEGV_MAPERR, -2 for SEGV_ACCERR, -3 for
// SIGBUS, -4 when memory is out.
inline int signal_of(fault_outcome why) {
    switch (why) {
    case fault_outcome::maperr: return -1;
    case fault_outcome::accerr: return -2;
    case fault_outcome::nomem: return -4;
    default: return -3;
    }
}
inline int load(vm_ref& vm, vaddr_t at) {
    uint8_t byte;
    fault_outcome why{};
    return host_read(*vm, at, &byte, &why) ? byte : signal_of(why);
}
inline int store(vm_ref& vm, vaddr_t at, uint8_t byte) {
    fault_outcome why{};
    return host_write(*vm, at, byte, &why) ? byte : signal_of(why);
}

inline Errno error_of(const status& s) { return s ? Errno{} : s.error(); }
inline Errno error_of(const expected<vaddr_t>& s) { return s ? Errno{} : s.error(); }
