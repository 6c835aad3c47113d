// Faults that other kernels' VM systems have had, each by name.
#include "tests/host/vm_world.h"
#include "vm/phys/alloc_fail.h"

#include <atomic>
#include <thread>

namespace {

uint64_t anon_pages() { return vm_page_get_statistics().anon; }

vaddr_t map_filled(vm_ref& vm, uint64_t at, uint64_t count) {
    vaddr_t start = map_private(vm, at, count);
    for (uint64_t i = 0; i < count; i++)
        store(vm, start + pages(i), uint8_t(i + 1));
    return start;
}

} // namespace

TEST_CASE("known fault 1: brk shrunk after fork frees pages that the other process maps",
          "[known]") {
    vm_world world;
    vm_ref parent = new_space();
    parent->init_brk(vaddr_t(0x600000));
    REQUIRE(parent->set_brk(vaddr_t(0x608000)) == vaddr_t(0x608000));
    for (int i = 0; i < 8; i++)
        store(parent, vaddr_t(0x600000) + pages(i), uint8_t(i + 1));
    vm_ref child = fork_of(parent);
    CHECK(load(child, vaddr_t(0x607000)) == 8);
    REQUIRE(parent->set_brk(vaddr_t(0x602000)) == vaddr_t(0x602000));
    for (int i = 0; i < 8; i++)
        CHECK(load(child, vaddr_t(0x600000) + pages(i)) == i + 1);
    // Grown again, the parent's new heap is empty and the child's is still its own.
    REQUIRE(parent->set_brk(vaddr_t(0x608000)) == vaddr_t(0x608000));
    CHECK(load(parent, vaddr_t(0x607000)) == 0);
    store(parent, vaddr_t(0x607000), 70);
    CHECK(load(child, vaddr_t(0x607000)) == 8);
    store(child, vaddr_t(0x606000), 60);
    CHECK(load(parent, vaddr_t(0x606000)) == 0);
}

TEST_CASE("known fault 2: mprotect to read-write after fork makes shared pages writable",
          "[known]") {
    vm_world world;
    auto mode = GENERATE(fork_mode::cow, fork_mode::cow_pte);
    vm_ref parent = new_space();
    vaddr_t at = map_filled(parent, 0x100000, 4);
    vm_ref child = fork_of(parent, mode);
    for (vm_ref* vm : {&parent, &child}) {
        REQUIRE((*vm)->protect(at, pages(4), vm_prot::read));
        CHECK(load(*vm, at) == 1);
        REQUIRE((*vm)->protect(at, pages(4), vm_prot::rw));
        CHECK(load(*vm, at) == 1);
        // Nor may a read, of a page that is not mapped, map it writable.
        (*vm)->physical_map().remove(at + pages(1), at + pages(4));
        CHECK(load(*vm, at + pages(1)) == 2);
    }
    store(parent, at, 50);
    CHECK(load(child, at) == 1);
    store(child, at + pages(1), 51);
    CHECK(load(parent, at + pages(1)) == 2);
}

TEST_CASE("known fault 3: no memory for a copy turns into a page of zeros", "[known]") {
    vm_world world;
    auto which = GENERATE(0, 1);
    vm_ref parent = new_space();
    vaddr_t at = map_filled(parent, 0x100000, 2);
    vm_ref child = fork_of(parent);
    vm_ref& victim = which ? child : parent;
    for (uint64_t n = 1;; n++) {
        alloc_fail_after(n);
        int got = store(victim, at + 1, 9);
        if (alloc_fail_after(0) != 0)
            break;
        REQUIRE(got == -4);
        REQUIRE(load(victim, at) == 1);
    }
    CHECK(load(victim, at) == 1);
    CHECK(load(victim, at + 1) == 9);
    CHECK(load(parent, at + pages(1)) == 2);
}

TEST_CASE("known fault 4: munmap of a range that begins in a hole unmaps nothing", "[known]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t at = map_filled(vm, 0x104000, 4);
    REQUIRE(vm->unmap(vaddr_t(0x100000), pages(6)));
    CHECK(load(vm, at) == -1);
    CHECK(load(vm, at + pages(1)) == -1);
    CHECK(load(vm, at + pages(2)) == 3);
    CHECK(anon_pages() == 2);
}

TEST_CASE("known fault 5: a partial munmap keeps the anons of what is gone", "[known]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t at = map_filled(vm, 0x100000, 9);
    REQUIRE(vm->unmap(at + pages(3), pages(3)));
    CHECK(anon_pages() == 6);
    REQUIRE(vm->unmap(at, pages(1)));
    CHECK(anon_pages() == 5);
    map_private(vm, (at + pages(3)).value(), 3);
    CHECK(load(vm, at + pages(4)) == 0);
    // The same when the amap had been shared, once the other side has let go.
    vm_ref child = fork_of(vm);
    REQUIRE(vm->unmap(at + pages(6), pages(2)));
    CHECK(anon_pages() == 5);
    child.reset();
    CHECK(anon_pages() == 3);
    CHECK(load(vm, at + pages(8)) == 9);
}

TEST_CASE("known fault 6: a mapping shared by inheritance that needs_copy becomes two", "[known]") {
    vm_world world;
    vm_ref parent = new_space();
    vaddr_t at = map_filled(parent, 0x100000, 4);
    auto earlier = GENERATE(false, true); // a fork before: the entry needs_copy
    vm_ref first_child = earlier ? fork_of(parent) : new_space();
    bool untouched = GENERATE(false, true);
    if (untouched)
        at = map_private(parent, 0x200000, 4); // needs_copy for want of an amap
    REQUIRE(parent->inherit(at, pages(4), vm_inherit::share));
    vm_ref child = fork_of(parent);
    store(parent, at, 40);
    CHECK(load(child, at) == 40);
    store(child, at + pages(1), 41);
    CHECK(load(parent, at + pages(1)) == 41);
    if (earlier && !untouched)
        CHECK(load(first_child, at) == 1);
}

TEST_CASE("known fault 7: a destroyed pmap leaves translations for the next at its address",
          "[known]") {
    vm_world world;
    pmap* before = nullptr;
    int reused = 0;
    for (int i = 0; i < 8; i++) {
        vm_ref vm = new_space();
        reused += &vm->physical_map() == before;
        before = &vm->physical_map();
        CHECK(load(vm, vaddr_t(0x100000)) == -1);
        map_private(vm, 0x100000, 1);
        CHECK(load(vm, vaddr_t(0x100000)) == 0);
        store(vm, vaddr_t(0x100000), uint8_t(i + 1));
    }
    CHECK(reused > 0);
}

TEST_CASE("known fault 8: exec in a child that shares the vmspace tears down the parent's",
          "[known]") {
    vm_world world;
    vm_ref parent = new_space();
    vaddr_t at = map_filled(parent, 0x100000, 2);
    vm_ref child = parent;
    child = vmspace::exec(std::move(child), new_space());
    CHECK(load(child, at) == -1);
    CHECK(load(parent, at) == 1);
    CHECK(parent->references() == 1);
}

TEST_CASE("known fault 10: an amap reused on two CPUs after fork, an anon used after its end",
          "[known][threads]") {
    vm_world world;
    uvm_check_at_seams = false;
    for (int round = 0; round < 60; round++) {
        vm_ref parent = new_space();
        vaddr_t at = map_filled(parent, 0x100000, 16);
        vm_ref child = fork_of(parent);
        std::atomic<int> ready{0}, wrong{0};
        auto program = [&](vm_ref& vm, uint8_t mine) {
            for (ready++; ready < 2;)
                std::this_thread::yield();
            for (int i = 0; i < 16; i++) {
                wrong += load(vm, at + pages(i)) != i + 1;
                wrong += store(vm, at + pages(i), mine) != mine;
                wrong += load(vm, at + pages(i)) != mine;
            }
            if (mine == 200)
                vm.reset(); // ends while the other still copies
        };
        std::thread other(program, std::ref(child), uint8_t(200));
        program(parent, 100);
        other.join();
        REQUIRE(wrong == 0);
        REQUIRE(anon_pages() == 16);
        parent->check();
    }
}

TEST_CASE("known fault 12: a mapping split by mprotect and forked gets the wrong half", "[known]") {
    vm_world world;
    auto mode = GENERATE(fork_mode::copy, fork_mode::cow, fork_mode::cow_pte);
    vm_ref parent = new_space();
    vaddr_t at = map_filled(parent, 0x100000, 8);
    REQUIRE(parent->protect(at + pages(4), pages(4), vm_prot::read));
    vm_ref child = fork_of(parent, mode);
    for (int i = 0; i < 8; i++)
        CHECK(load(child, at + pages(i)) == i + 1);
    CHECK(store(child, at + pages(5), 1) == -2);
    store(child, at + pages(3), 70);
    REQUIRE(child->protect(at + pages(4), pages(4), vm_prot::rw));
    store(child, at + pages(4), 71);
    store(parent, at + pages(2), 72);
    for (int i = 0; i < 8; i++) {
        CHECK(load(parent, at + pages(i)) == (i == 2 ? 72 : i + 1));
        CHECK(load(child, at + pages(i)) == (i == 3 ? 70 : i == 4 ? 71 : i + 1));
    }
    REQUIRE(child->unmap(at + pages(4), pages(4)));
    CHECK(load(parent, at + pages(5)) == 6);
    CHECK(load(child, at + pages(1)) == 2);
}
