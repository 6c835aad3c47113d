// What the tests of vm/ share: a world that must be as it was when a test ends, and mappings that
// must succeed.
#pragma once

#include "tests/host/catch.h"
#include "tests/host/vm_program.h"
#include "vm/phys/alloc_fail.h"

// Lives as long as a test. Every operation on an address space ends with check() meanwhile; at the
// end nothing may be left, and the switches are back at their defaults.
class vm_world {
public:
    vm_world() {
        (void)uvm_zero_page();
        limits = {};
        vm_limit_of_caller = limit_of_test;
        uvm_check_at_seams = true;
        before_ = vm_inventory();
    }
    ~vm_world() {
        alloc_fail_after(0);
        uvm_check_at_seams = false;
        uvm_fault_ahead_enabled = true;
        uvm_rights_ahead_enabled = true;
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
    (*vm)->set_layout(vaddr_t(0x7fff'0000'0000));
    return *vm;
}

inline vm_ref fork_of(vm_ref& parent, fork_mode mode = fork_mode::cow) {
    auto child = parent->fork(mode);
    REQUIRE(child);
    return *child;
}

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

inline size_t entry_count(vm_ref& vm) {
    read_guard guard(vm->map_for_tests().lock());
    return vm->map_for_tests().entry_count();
}

// A file's memory; with `seed`, each of its pages begins with a byte of its own.
inline ref_ptr<uvm_aobj> new_object(uint64_t size, uint8_t seed = 0) {
    auto object = uvm_aobj::create(size, "/tmp/file", uvm_aobj::charging::nothing);
    REQUIRE(object);
    for (uint64_t i = 0; seed && i < pages_of(size); i++) {
        auto held = (*object)->hold(i, uvm_aobj::purpose::write);
        REQUIRE(held);
        *held->data() = char(seed + i);
    }
    return *object;
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

// Takes memory until so much is left beyond the reserve.
class shortage {
public:
    explicit shortage(uint64_t left) {
        while (vm_page_count_free() > vm_page_get_reserve() + left) {
            vm_page* page = vm_page_alloc(page_owner::kernel);
            REQUIRE(page);
            taken_.push_back(page);
        }
    }
    ~shortage() {
        for (vm_page* page : taken_)
            vm_page_free(page);
    }

private:
    std::vector<vm_page*> taken_;
};
