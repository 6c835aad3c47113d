// fork in its modes, inheritance, the ledger, and the account.
#include "tests/host/vm_world.h"

TEST_CASE("fork: each side sees its own stores, in every mode", "[fork]") {
    vm_world world;
    auto mode = GENERATE(fork_mode::copy, fork_mode::cow, fork_mode::cow_pte);
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 8);
    for (int i = 0; i < 8; i++)
        store(parent, at + pages(i), uint8_t(i));
    vm_ref child = fork_of(parent, mode);
    vm_ref grandchild = fork_of(child, mode);
    for (int i = 0; i < 8; i++) {
        CHECK(load(grandchild, at + pages(i)) == i);
        CHECK(load(child, at + pages(i)) == i);
    }
    store(parent, at, 100);
    store(child, at, 101);
    store(grandchild, at + pages(1), 102);
    CHECK(load(parent, at) == 100);
    CHECK(load(child, at) == 101);
    CHECK(load(grandchild, at) == 0);
    CHECK(load(parent, at + pages(1)) == 1);
    CHECK(load(grandchild, at + pages(1)) == 102);
    child.reset();
    CHECK(load(grandchild, at + pages(7)) == 7);
    CHECK(store(grandchild, at + pages(7), 9) == 9);
    CHECK(load(parent, at + pages(7)) == 7);
}

TEST_CASE("fork: what each mode costs", "[fork]") {
    vm_world world;
    uvm_fault_ahead_enabled = false;
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 64);
    for (int i = 0; i < 64; i++)
        store(parent, at + pages(i), uint8_t(i));
    {
        counted copied(uvm_counter::pages_copied), entries(uvm_counter::map_entries_copied),
            amaps(uvm_counter::amaps_referenced), ptes(uvm_counter::ptes_protected);
        auto child = parent->fork(fork_mode::cow);
        REQUIRE(child);
        CHECK(copied() == 0);
        CHECK(entries() == 1);
        CHECK(amaps() == 1);
        CHECK(ptes() == 64);
        // The second child finds everything write-protected already.
        counted again(uvm_counter::ptes_protected);
        auto second = parent->fork(fork_mode::cow);
        REQUIRE(second);
        CHECK(again() == 0);
        counted faults(uvm_counter::faults);
        vm_ref c = *child;
        for (int i = 0; i < 64; i++)
            CHECK(load(c, at + pages(i)) == i);
        CHECK(faults() == 64);
    }
    {
        counted seeded(uvm_counter::ptes_copied);
        auto child = parent->fork(fork_mode::cow_pte);
        REQUIRE(child);
        CHECK(seeded() == 64);
        counted faults(uvm_counter::faults);
        vm_ref c = *child;
        for (int i = 0; i < 64; i++)
            CHECK(load(c, at + pages(i)) == i);
        CHECK(faults() == 0);
        CHECK(store(c, at, 1) == 1);
        CHECK(faults() == 1);
        CHECK(load(parent, at) == 0);
    }
    {
        store(parent, at, 0);
        counted copied(uvm_counter::pages_copied), ptes(uvm_counter::ptes_protected);
        auto child = parent->fork(fork_mode::copy);
        REQUIRE(child);
        CHECK(copied() == 64);
        CHECK(ptes() == 0);
    }
}

TEST_CASE("fork: untouched memory and objects are only referenced", "[fork]") {
    vm_world world;
    auto object = uvm_aobj::create(pages(4), "f", uvm_aobj::charging::nothing);
    REQUIRE(object);
    vm_ref parent = new_space();
    vaddr_t untouched = map_private(parent, 0x100000, 1000);
    vaddr_t file = map_object(parent, 0x800000, 4, *object, false);
    auto shared = parent->map({.size = pages(4), .prot = vm_prot::rw, .shared = true});
    REQUIRE(shared);
    counted entries(uvm_counter::map_entries_copied), amaps(uvm_counter::amaps_referenced);
    auto child = parent->fork(fork_mode::cow);
    REQUIRE(child);
    CHECK(amaps() == 0);
    CHECK(entries() == 3);
    store(parent, untouched, 1);
    CHECK(load(*child, untouched) == 0);
    store(*child, file, 2);
    CHECK(load(parent, file) == 0);
    store(*child, *shared, 3);
    CHECK(load(parent, *shared) == 3);
}

TEST_CASE("fork: inheritance", "[fork][inherit]") {
    vm_world world;
    auto mode = GENERATE(fork_mode::copy, fork_mode::cow, fork_mode::cow_pte);
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 16);
    for (int i = 0; i < 16; i++)
        store(parent, at + pages(i), uint8_t(i + 1));
    REQUIRE(parent->inherit(at + pages(4), pages(4), vm_inherit::none));
    REQUIRE(parent->inherit(at + pages(8), pages(4), vm_inherit::zero));
    REQUIRE(parent->inherit(at + pages(12), pages(4), vm_inherit::share));
    vm_ref child = fork_of(parent, mode);
    CHECK(load(child, at + pages(1)) == 2);
    CHECK(load(child, at + pages(5)) == -1);
    CHECK(load(child, at + pages(9)) == 0);
    CHECK(store(child, at + pages(9), 70) == 70);
    CHECK(load(child, at + pages(13)) == 14);
    store(child, at + pages(13), 90);
    CHECK(load(parent, at + pages(13)) == 90);
    store(parent, at + pages(14), 91);
    CHECK(load(child, at + pages(14)) == 91);
    CHECK(load(parent, at + pages(9)) == 10);
    // A third one inherits the same sharing.
    vm_ref third = fork_of(child, mode);
    store(third, at + pages(15), 92);
    CHECK(load(parent, at + pages(15)) == 92);
    child.reset();
    CHECK(load(third, at + pages(13)) == 90);
}

TEST_CASE("fork: untouched memory shared by inheritance is one memory", "[fork][inherit]") {
    vm_world world;
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 8);
    CHECK(load(parent, at) == 0); // the page of zeros is mapped
    REQUIRE(parent->inherit(at, pages(8), vm_inherit::share));
    vm_ref child = fork_of(parent);
    store(child, at, 5);
    CHECK(load(parent, at) == 5);
    CHECK(load(parent, at + pages(1)) == 0);
    store(child, at + pages(1), 6);
    CHECK(load(parent, at + pages(1)) == 6);
}

TEST_CASE("fork: what is mapped before shared memory does not become a part of its amap",
          "[fork][inherit]") {
    vm_world world;
    vm_ref a = new_space();
    vaddr_t at = map_private(a, 0x100000, 4);
    REQUIRE(a->inherit(at, pages(4), vm_inherit::share));
    vm_ref b = fork_of(a);
    // Nobody has the amap's first slots any more.
    REQUIRE(a->unmap(at, pages(2)));
    REQUIRE(b->unmap(at, pages(2)));
    map_private(a, 0x100000, 2);
    REQUIRE(load(a, at) == 0); // the page of zeros is mapped
    REQUIRE(a->inherit(at, pages(2), vm_inherit::share));
    vm_ref c = fork_of(a);
    store(c, at, 7);
    CHECK(load(a, at) == 7);
    store(a, at + pages(1), 8);
    CHECK(load(c, at + pages(1)) == 8);
}

TEST_CASE("fork: a copy of memory that is shared by inheritance is a snapshot", "[fork][inherit]") {
    vm_world world;
    auto mode = GENERATE(fork_mode::copy, fork_mode::cow, fork_mode::cow_pte);
    vm_ref a = new_space();
    vaddr_t at = map_private(a, 0x100000, 4);
    store(a, at, 1);
    REQUIRE(a->inherit(at, pages(4), vm_inherit::share));
    vm_ref b = fork_of(a);
    REQUIRE(b->inherit(at, pages(4), vm_inherit::copy));
    store(b, at + pages(1), 2);
    vm_ref c = fork_of(b, mode);
    CHECK(load(b, at) == 1); // mapped there, too
    store(a, at, 10);        // b goes on seeing it, c does not
    CHECK(load(b, at) == 10);
    CHECK(load(c, at) == 1);
    store(c, at + pages(1), 20);
    CHECK(load(a, at + pages(1)) == 2);
    store(b, at + pages(1), 3);
    CHECK(load(a, at + pages(1)) == 3);
    CHECK(load(c, at + pages(1)) == 20);
    a->check();
    b->check();
    c->check();
}

TEST_CASE("fork: madvise's words for inheritance", "[fork][inherit]") {
    vm_world world;
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 4);
    auto shared = parent->map({.size = pages(1), .prot = vm_prot::rw, .shared = true});
    REQUIRE(shared);
    store(parent, at, 1);
    store(parent, at + pages(1), 2);
    REQUIRE(parent->advise(at, pages(1), linux_abi::madv_dontfork));
    REQUIRE(parent->advise(at + pages(1), pages(1), linux_abi::madv_wipeonfork));
    CHECK(error_of(parent->advise(*shared, pages(1), linux_abi::madv_wipeonfork)) == Errno::inval);
    REQUIRE(parent->advise(*shared, pages(1), linux_abi::madv_dontfork));
    vm_ref child = fork_of(parent);
    CHECK(load(child, at) == -1);
    CHECK(load(child, at + pages(1)) == 0);
    CHECK(load(child, *shared) == -1);
    REQUIRE(parent->advise(at, pages(1), linux_abi::madv_dofork));
    REQUIRE(parent->advise(at + pages(1), pages(1), linux_abi::madv_keeponfork));
    REQUIRE(parent->advise(*shared, pages(1), linux_abi::madv_dofork));
    CHECK(entry_count(parent) ==
          3); // one for what was shared with the first child by copy-on-write
    child = fork_of(parent);
    CHECK(load(child, at) == 1);
    CHECK(load(child, at + pages(1)) == 2);
    store(child, *shared, 9);
    CHECK(load(parent, *shared) == 9);
}

TEST_CASE("fork: wired memory is copied at once and the parent takes no fault", "[fork][mlock]") {
    vm_world world;
    auto mode = GENERATE(fork_mode::cow, fork_mode::cow_pte);
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 4);
    store(parent, at, 1);
    REQUIRE(parent->lock_pages(at, pages(4)));
    CHECK(parent->physical_map().wired_pages() == 4);
    vm_ref child = fork_of(parent, mode);
    counted faults(uvm_counter::faults);
    for (int i = 0; i < 4; i++)
        store(parent, at + pages(i), 7);
    CHECK(faults() == 0);
    CHECK(load(child, at) == 1);
    CHECK(child->get_sizes().locked_pages == 0);
    CHECK(child->physical_map().wired_pages() == 0);
    REQUIRE(parent->unlock_pages(at + pages(1), 100));
    CHECK(parent->get_sizes().locked_pages == 3);
    CHECK(parent->physical_map().wired_pages() == 3);
}

TEST_CASE("fork: what belongs to the process comes along", "[fork]") {
    vm_world world;
    vm_ref parent = new_space();
    parent->init_brk(vaddr_t(0x600000));
    CHECK(parent->set_brk(vaddr_t(0x603000)) == vaddr_t(0x603000));
    parent->image.code_start = vaddr_t(0x400000);
    vm_ref child = fork_of(parent);
    CHECK(child->brk() == vaddr_t(0x603000));
    CHECK(child->image.code_start == vaddr_t(0x400000));
    CHECK(child->set_brk(vaddr_t(0x601000)) == vaddr_t(0x601000));
    CHECK(parent->brk() == vaddr_t(0x603000));
}

TEST_CASE("commit: strict mode refuses a fork that cannot be promised, and charges exactly",
          "[commit]") {
    vm_world world;
    uint64_t base = uvm_commit::committed();
    uvm_commit::set_mode(uvm_commit::mode::strict);
    uvm_commit::set_kbytes((base + 1000) * 4);
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 600);
    CHECK(parent->commit_charge() == 600);
    auto refused = parent->fork(fork_mode::cow);
    REQUIRE_FALSE(refused);
    CHECK(refused.error() == Errno::nomem);
    CHECK(uvm_commit::committed() == base + 600);
    vm_ref borrowed = parent; // vfork promises nothing
    CHECK(uvm_commit::committed() == base + 600);
    REQUIRE(parent->unmap(at + pages(100), pages(200)));
    CHECK(uvm_commit::committed() == base + 400);
    {
        vm_ref child = fork_of(parent);
        CHECK(uvm_commit::committed() == base + 800);
        CHECK(child->commit_charge() == 400);
        CHECK(error_of(child->map({.size = pages(201), .prot = vm_prot::rw})) == Errno::nomem);
        CHECK(child->map({.size = pages(201), .prot = vm_prot::read}));
        CHECK(child->map({.size = pages(200), .prot = vm_prot::rw}));
    }
    CHECK(uvm_commit::committed() == base + 400);
}

TEST_CASE("commit: who is charged for what", "[commit]") {
    vm_world world;
    uint64_t base = uvm_commit::committed();
    auto charged = [&] { return uvm_commit::committed() - base; };
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 10, vm_prot::read);
    CHECK(charged() == 0);
    REQUIRE(vm->protect(at + pages(2), pages(3), vm_prot::rw));
    CHECK(charged() == 3);
    REQUIRE(vm->protect(at, pages(10), vm_prot::read)); // the promise stays, as on Linux
    CHECK(charged() == 3);
    REQUIRE(vm->protect(at, pages(10), vm_prot::rw));
    CHECK(charged() == 10);
    map_private(vm, 0x102000, 2, vm_prot::read); // replaces charged memory
    CHECK(charged() == 8);
    auto shared = vm->map({.size = pages(5), .prot = vm_prot::rw, .shared = true});
    REQUIRE(shared);
    CHECK(charged() == 13);
    {
        vm_ref child = fork_of(vm);
        CHECK(charged() == 21); // shared memory was promised once
    }
    REQUIRE(vm->unmap(*shared, pages(2)));
    CHECK(charged() == 13); // the object is promised as a whole
    REQUIRE(vm->unmap(*shared + pages(2), pages(3)));
    CHECK(charged() == 8);
    auto unreserved = vm->map({.size = pages(7), .prot = vm_prot::rw, .no_reserve = true});
    REQUIRE(unreserved);
    CHECK(charged() == 8);
    uvm_commit::set_mode(uvm_commit::mode::strict);
    uvm_commit::set_kbytes(1 << 20);
    auto reserved = vm->map({.size = pages(7), .prot = vm_prot::rw, .no_reserve = true});
    REQUIRE(reserved);
    CHECK(charged() == 15);
    vm->init_brk(vaddr_t(0x900000));
    CHECK(vm->set_brk(vaddr_t(0x900001)) == vaddr_t(0x900001));
    CHECK(charged() == 16);
    CHECK(vm->set_brk(vaddr_t(0x904000)) == vaddr_t(0x904000));
    CHECK(charged() == 19);
    CHECK(vm->set_brk(vaddr_t(0x900000)) == vaddr_t(0x900000));
    CHECK(charged() == 15);
    vm.reset();
    CHECK(charged() == 0);
}

TEST_CASE("commit: the heuristic refuses only what can never be", "[commit]") {
    vm_world world;
    vm_ref vm = new_space();
    uint64_t total = vm_page_get_statistics().total;
    CHECK(error_of(vm->map({.size = pages(total + 1), .prot = vm_prot::rw})) == Errno::nomem);
    CHECK(vm->map({.size = pages(total), .prot = vm_prot::rw}));
    CHECK(vm->map({.size = pages(total), .prot = vm_prot::rw}));
    CHECK(vm->map({.size = pages(total + 1), .prot = vm_prot::rw, .no_reserve = true}));
    uvm_commit::set_mode(uvm_commit::mode::always);
    CHECK(vm->map({.size = pages(total + 1), .prot = vm_prot::rw}));
}

TEST_CASE("fork: faults are laid to the fork that caused them", "[fork]") {
    using side = vm_aftermath::side;
    using kind = vm_aftermath::kind;
    vm_world world;
    uvm_fault_ahead_enabled = false;
    uvm_rights_ahead_enabled = false;
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 16);
    for (int i = 0; i < 8; i++)
        store(parent, at + pages(i), 1);
    ref_ptr<vm_aftermath> first = vm_aftermath::create(), second = vm_aftermath::create();
    auto in_first = [&](side s, kind k) { return first->read(s, k); };
    {
        auto child = parent->fork({fork_mode::cow, first});
        REQUIRE(child);
        load(*child, at);                // the child has no page table yet
        store(*child, at, 2);            // both have the page
        store(*child, at + pages(1), 2); // the same, without a read before
        store(*child, at + pages(9), 2); // nobody has it: not the fork's fault
        load(*child, at + pages(1));     // no fault at all
        store(parent, at + pages(2), 2); // both have it
        store(parent, at, 2);            // the child has made a copy of its own
        store(parent, at + pages(10), 2);
        load(parent, at + pages(3));
        CHECK(in_first(side::child, kind::read_anon) == 1);
        CHECK(in_first(side::child, kind::write_copied) == 2);
        CHECK(in_first(side::child, kind::write_reused) == 0);
        CHECK(in_first(side::child, kind::amap_copied) == 1);
        CHECK(in_first(side::parent, kind::write_copied) == 1);
        CHECK(in_first(side::parent, kind::write_reused) == 1);
        // The child's amap was made first, so the old one is the parent's alone.
        CHECK(in_first(side::parent, kind::amap_reused) == 1);
    }
    store(parent, at + pages(3), 2); // the child is gone
    CHECK(in_first(side::parent, kind::write_reused) == 2);
    store(parent, at + pages(3), 3);
    CHECK(in_first(side::parent, kind::write_reused) == 2);
    {
        auto child = parent->fork({fork_mode::cow, second});
        REQUIRE(child);
    }
    for (int i = 0; i < 8; i++)
        store(parent, at + pages(i), 4);
    CHECK(second->read(side::parent, kind::write_reused) == 8);
    CHECK(second->read(side::parent, kind::write_copied) == 0);
    CHECK(in_first(side::parent, kind::write_reused) == 2);
    // A mapping beside it that joins the entry brings no fork along.
    map_private(parent, 0x110000, 4);
    CHECK(entry_count(parent) == 1);
    store(parent, vaddr_t(0x110000), 1);
    CHECK(second->read(side::parent, kind::write_reused) == 8);
}

// A page table has eight pages on the simulated machine.
TEST_CASE("fork: a write gives the right back to all pages of a table that are alone by now",
          "[fork]") {
    vm_world world;
    uvm_fault_ahead_enabled = false;
    uvm_rights_ahead_enabled = GENERATE(true, false);
    const uint64_t more = uvm_rights_ahead_enabled ? 0 : 1;
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 20);
    for (int i = 0; i < 20; i++)
        store(parent, at + pages(i), 1);
    counted lowered(uvm_counter::ptes_protected), tables(uvm_counter::ptps_protected);
    vm_ref child = fork_of(parent);
    CHECK(lowered() == 20);
    CHECK(tables() == 2);           // the third is the entry's only in part
    store(child, at + pages(1), 2); // the child has amaps and copies of its own
    store(child, at + pages(2), 2);
    counted faults(uvm_counter::faults), copies(uvm_counter::pages_copied);
    auto store_again = [&](int page, uint64_t faulted) {
        const uint64_t before = faults();
        store(parent, at + pages(page), 3);
        CHECK(faults() - before == faulted);
    };
    store_again(0, 1); // the child has it, too: a copy
    CHECK(copies() == 1);
    store_again(1, more); // came back with it
    store_again(2, more);
    store_again(3, 1);
    CHECK(copies() == 2);
    CHECK(load(child, at) == 1);
    child.reset();
    store_again(8, 1); // the other table
    for (int i = 9; i < 16; i++)
        store_again(i, more);
    store_again(16, 1);
    store_again(17, 1); // page by page
    CHECK(copies() == 2);
}

TEST_CASE("fork: what a table gets back is its own entry's alone", "[fork]") {
    vm_world world;
    uvm_fault_ahead_enabled = false;
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 8);
    for (int i = 0; i < 8; i++)
        store(vm, at + pages(i), 1);
    counted tables(uvm_counter::ptps_protected);
    REQUIRE(vm->protect(at, pages(8), vm_prot::read));
    CHECK(tables() == 1);
    CHECK(store(vm, at + pages(4), 2) < 0);
    // The second half may be written again, the first may not.
    REQUIRE(vm->protect(at + pages(4), pages(4), vm_prot::rw));
    CHECK(store(vm, at + pages(4), 2) == 2);
    CHECK(store(vm, at + pages(3), 2) < 0);
    CHECK(store(vm, at + pages(7), 2) == 2);
    REQUIRE(vm->protect(at, pages(4), vm_prot::rw));
    CHECK(store(vm, at + pages(3), 2) == 2);
}

TEST_CASE("fork: a child with a page table of its own has fewer faults to blame on it", "[fork]") {
    vm_world world;
    uvm_fault_ahead_enabled = false;
    auto mode = GENERATE(fork_mode::copy, fork_mode::cow, fork_mode::cow_pte);
    vm_ref parent = new_space();
    vaddr_t at = map_private(parent, 0x100000, 8);
    auto object = uvm_aobj::create(pages(4), "f", uvm_aobj::charging::nothing);
    REQUIRE(object);
    vaddr_t file = map_object(parent, 0x800000, 4, *object, false);
    for (int i = 0; i < 4; i++) {
        store(parent, at + pages(i), 1);
        load(parent, file + pages(i));
    }
    ref_ptr<vm_aftermath> later = vm_aftermath::create();
    auto child = parent->fork({mode, later});
    REQUIRE(child);
    for (int i = 0; i < 4; i++) {
        load(*child, at + pages(i));
        load(*child, file + pages(i));
    }
    const uint64_t expected = mode == fork_mode::cow_pte ? 0 : 4;
    CHECK(later->read(vm_aftermath::side::child, vm_aftermath::kind::read_anon) == expected);
    CHECK(later->read(vm_aftermath::side::child, vm_aftermath::kind::read_object) == expected);
    for (int i = 0; i < 4; i++)
        store(parent, at + pages(i), 2);
    CHECK(later->read(vm_aftermath::side::parent, vm_aftermath::kind::write_copied) ==
          (mode == fork_mode::copy ? 0 : 4));
}
