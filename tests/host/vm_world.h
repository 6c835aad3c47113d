// What the tests of vm/ share: a world that must be as it was when a test ends, and short words
// for what programs do.
#pragma once

#include "arch/host/host_cpu.h"
#include "arch/pmap.h"
#include "tests/host/catch.h"
#include "vm/pool.h"
#include "vm/uvm_aobj.h"
#include "vm/uvm_commit.h"
#include "vm/uvmexp.h"
#include "vm/vm_page.h"
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

// Lives as long as a test. Every operation on an address space ends with check() meanwhile; at the
// end nothing may be left, and the switches are back at their defaults.
class vm_world {
public:
    vm_world() {
        (void)uvm_zero_page();
        uvm_check_at_seams = true;
        before_ = vm_inventory();
    }
    ~vm_world() {
        alloc_fail_after(0);
        uvm_check_at_seams = false;
        uvm_fault_ahead_enabled = true;
        uvm_zero_page_enabled = true;
        uvm_commit::set_mode(uvm_commit::mode::heuristic);
        uvm_commit::set_ratio(50);
        CHECK(vm_inventory() == before_);
    }
    const std::map<std::string, uint64_t>& before() const { return before_; }

private:
    std::map<std::string, uint64_t> before_;
};

inline vm_ref new_space() {
    auto vm = vmspace::create();
    REQUIRE(vm);
    (*vm)->set_layout(vaddr_t(0x7fff'0000'0000), 8 << 20);
    return *vm;
}

inline vm_ref fork_of(vm_ref& parent, fork_mode mode = fork_mode::cow) {
    auto child = parent->fork(mode);
    REQUIRE(child);
    return *child;
}

constexpr uint64_t pages(uint64_t n) { return n * page_size; }

// Private anonymous memory, readable and writable, at a fixed place.
inline vaddr_t map_private(vm_ref& vm, uint64_t at, uint64_t count, vm_prot prot = vm_prot::rw) {
    auto got = vm->map({.address = vaddr_t(at), .size = pages(count), .prot = prot, .fixed = true});
    REQUIRE(got);
    REQUIRE(got->value() == at);
    return *got;
}

inline vaddr_t map_object(vm_ref& vm, uint64_t at, uint64_t count, ref_ptr<uvm_object> object,
                          bool shared, uint64_t offset = 0, vm_prot prot = vm_prot::rw) {
    auto got = vm->map({.address = vaddr_t(at),
                        .size = pages(count),
                        .prot = prot,
                        .fixed = true,
                        .shared = shared,
                        .object = std::move(object),
                        .offset = offset});
    REQUIRE(got);
    return *got;
}

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

inline size_t entry_count(vm_ref& vm) {
    read_guard guard(vm->map_for_tests().lock());
    return vm->map_for_tests().entry_count();
}

// How far a counter went up during the test.
class counted {
public:
    explicit counted(uvm_counter c) : counter_(c), before_(uvm_read(c)) {}
    uint64_t operator()() const { return uvm_read(counter_) - before_; }

private:
    uvm_counter counter_;
    uint64_t before_;
};
