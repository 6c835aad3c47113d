// For each operation the first, second, ... allocation inside it fails in turn, until it succeeds:
// each time an errno, the same map, the same contents, a balanced account.
#include "tests/host/vm_insides.h"
#include "tests/host/vm_paging.h"
#include "tests/host/vm_world.h"
#include "vm/phys/alloc_fail.h"

#include "vm/uvm_swapoff.h"

#include <functional>

namespace {

// Everything a program can see of its address space, and what it is charged for.
std::string portrait(vm_ref& vm) {
    std::string text = "charge " + std::to_string(vm->commit_charge()) + "\n";
    for (auto region = vm->region_at_or_after(vaddr_t{}); region;
         region = vm->region_at_or_after(region->end)) {
        char line[128];
        snprintf(line, sizeof line, "%lx-%lx %d %d %lx %s:", region->start.value(),
                 region->end.value(), int(region->prot), region->shared, region->offset,
                 region->name);
        text += line;
        for (vaddr_t at = region->start; at < region->end && at < region->start + pages(64);
             at += page_size) {
            uint8_t byte = 0;
            text += vm->read_memory(at, &byte, 1) ? std::to_string(byte) + " " : "- ";
        }
        text += "\n";
    }
    return text;
}

struct scene {
    vm_ref vm = new_space();
    vm_ref sibling;
    ref_ptr<uvm_aobj> object;

    scene() {
        auto made = uvm_aobj::create(pages(8), "file", uvm_aobj::charging::nothing);
        REQUIRE(made);
        object = *made;
        vaddr_t at = map_private(vm, 0x100000, 12);
        for (int i = 0; i < 12; i++)
            store(vm, at + pages(i), uint8_t(i + 1));
        map_object(vm, 0x200000, 8, object, false);
        store(vm, vaddr_t(0x201000), 50);
        map_object(vm, 0x300000, 8, object, true);
        vm->init_brk(vaddr_t(0x600000));
        REQUIRE(vm->set_brk(vaddr_t(0x604000)) == vaddr_t(0x604000));
        sibling = fork_of(vm);
    }
};

// Returns after how many failures the operation went through. Nothing fails in `prepare`.
uint64_t fail_in_turn(
    const std::function<bool(scene&)>& operation,
    const std::function<void(scene&)>& prepare = [](scene&) {}) {
    for (uint64_t n = 1;; n++) {
        vm_world world;
        scene s;
        prepare(s);
        std::string before = portrait(s.vm), sibling_before = portrait(s.sibling);
        uint64_t committed = uvm_commit::committed();
        std::map<std::string, uint64_t> inventory;
        alloc_fail_after(n);
        bool succeeded = operation(s);
        bool failed = alloc_fail_after(0) == 0;
        s.vm->check();
        s.sibling->check();
        CHECK(portrait(s.sibling) == sibling_before);
        if (!failed) {
            CHECK(succeeded);
            return n - 1;
        }
        if (!succeeded) {
            CHECK(portrait(s.vm) == before);
            CHECK(uvm_commit::committed() == committed);
        }
        REQUIRE(n < 200);
    }
}

// The same with everything put out before: first each allocation fails in turn, then each request to
// the disk. An allocation that fails is tried again when the page daemon has been asked. Returns how
// many requests failed before the operation went through without one.
uint64_t fail_in_turn_when_out(
    const std::function<bool(scene&, sim_disk&)>& operation,
    const std::function<void(scene&)>& prepare = [](scene&) {}) {
    for (const bool requests : {false, true}) {
        for (uint64_t n = 1;; n++) {
            vm_world world;
            paging_machine m(n);
            sim_disk& d = m.add_disk(200);
            REQUIRE(m.swap_on(d));
            scene s;
            prepare(s);
            const std::string before = portrait(s.vm), sibling_before = portrait(s.sibling);
            const uint64_t committed = uvm_commit::committed();
            m.put_all_out();
            if (requests)
                (void)d.fail_after(n);
            else
                alloc_fail_after(n);
            const bool succeeded = operation(s, d);
            const bool failed = requests ? d.fail_after(0) == 0 : alloc_fail_after(0) == 0;
            m.turns.settle();
            s.vm->check();
            s.sibling->check();
            uvm_swap::check();
            CHECK(portrait(s.sibling) == sibling_before);
            if (!succeeded) {
                CHECK(failed);
                CHECK(portrait(s.vm) == before);
                CHECK(uvm_commit::committed() == committed);
            }
            if (!failed && requests)
                return n - 1;
            if (!failed)
                break;
            REQUIRE(n < 200);
        }
    }
    return 0;
}

} // namespace

TEST_CASE("failure: map", "[failure]") {
    CHECK(fail_in_turn([](scene& s) {
              return bool(s.vm->map({.size = pages(4), .prot = vm_prot::rw}));
          }) >= 1);
    CHECK(fail_in_turn([](scene& s) { // over the middle of something: two clips
              return bool(s.vm->map({.address = vaddr_t(0x102000),
                                     .size = pages(4),
                                     .prot = vm_prot::rw,
                                     .fixed = true}));
          }) >= 4);
    CHECK(fail_in_turn([](scene& s) {
              return bool(s.vm->map({.size = pages(4), .prot = vm_prot::rw, .shared = true}));
          }) >= 2);
}

TEST_CASE("failure: unmap", "[failure]") {
    CHECK(fail_in_turn([](scene& s) { return bool(s.vm->unmap(vaddr_t(0x103000), pages(4))); }) >=
          6);
    CHECK(fail_in_turn([](scene& s) { return bool(s.vm->unmap(vaddr_t(0x100000), pages(12))); }) ==
          0);
}

TEST_CASE("failure: protect", "[failure]") {
    CHECK(fail_in_turn([](scene& s) {
              return bool(s.vm->protect(vaddr_t(0x103000), pages(4), vm_prot::read));
          }) >= 6);
}

TEST_CASE("failure: fork", "[failure]") {
    const auto mode = GENERATE(fork_mode::copy, fork_mode::cow, fork_mode::cow_pte);
    auto inherit = [](scene& s, vm_inherit how) {
        REQUIRE(s.vm->inherit(vaddr_t(0x100000), pages(12), how));
    };
    auto fork = [&](scene& s) {
        ref_ptr<vm_aftermath> later = vm_aftermath::create();
        const insides before(*s.vm);
        auto child = s.vm->fork({mode, later});
        CHECK((child || before.may_be_left_as(insides(*s.vm))));
        return bool(child);
    };
    CHECK(fail_in_turn(fork) >= 8);
    CHECK(fail_in_turn(fork, [&](scene& s) { inherit(s, vm_inherit::share); }) >= 8);
    // Memory that another child writes to, and of which this one is to have a copy.
    CHECK(fail_in_turn(fork, [&](scene& s) {
              inherit(s, vm_inherit::share);
              s.sibling = fork_of(s.vm);
              inherit(s, vm_inherit::copy);
          }) >= 8);
}

TEST_CASE("failure: fault", "[failure]") {
    auto writes = [](uint64_t at) {
        return [at](scene& s) {
            // The bytes that portrait() reads stay as they are.
            return store(s.vm, vaddr_t(at + 1), 7) == 7;
        };
    };
    CHECK(fail_in_turn(writes(0x102000)) >= 6); // 1B, and the amap's copy before
    CHECK(fail_in_turn(writes(0x203000)) >= 4); // 2B, a copy
    CHECK(fail_in_turn(writes(0x304000)) >= 1); // 2A, a hole filled
    CHECK(fail_in_turn(writes(0x601000)) >= 4); // 2B, zeros
}

TEST_CASE("failure: remap", "[failure]") {
    CHECK(fail_in_turn([](scene& s) {
              return bool(s.vm->remap(vaddr_t(0x102000), pages(4), pages(9),
                                      linux_abi::mremap_maymove, vaddr_t{}));
          }) >= 8);
    CHECK(fail_in_turn([](scene& s) {
              return bool(s.vm->remap(vaddr_t(0x102000), pages(4), pages(6),
                                      linux_abi::mremap_maymove | linux_abi::mremap_fixed,
                                      vaddr_t(0x201000)));
          }) >= 8);
    CHECK(fail_in_turn([](scene& s) {
              return bool(s.vm->remap(vaddr_t(0x102000), pages(4), pages(4),
                                      linux_abi::mremap_maymove | linux_abi::mremap_dontunmap,
                                      vaddr_t{}));
          }) >= 8);
}

TEST_CASE("failure: advise, inherit, lock, brk", "[failure]") {
    CHECK(fail_in_turn([](scene& s) {
              return bool(s.vm->advise(vaddr_t(0x103000), pages(2), linux_abi::madv_dontneed));
          }) >= 6);
    CHECK(fail_in_turn([](scene& s) {
              return bool(s.vm->inherit(vaddr_t(0x103000), pages(2), vm_inherit::none));
          }) >= 6);
    CHECK(fail_in_turn(
              [](scene& s) { return bool(s.vm->lock_pages(vaddr_t(0x103000), pages(2))); }) >= 8);
    CHECK(fail_in_turn([](scene& s) {
              return bool(s.vm->lock_pages(vaddr_t(0x103000), pages(2), true));
          }) >= 6);
    CHECK(fail_in_turn([](scene& s) {
              const bool all =
                  bool(s.vm->lock_all(vmspace::wiring::at_once, vmspace::wiring::at_once));
              return all && s.vm->get_sizes().locked_pages == s.vm->get_sizes().virtual_pages;
          }) >= 8);
    CHECK(fail_in_turn(
              [](scene& s) { return s.vm->set_brk(vaddr_t(0x608000)) == vaddr_t(0x608000); }) >= 1);
    CHECK(fail_in_turn(
              [](scene& s) { return s.vm->set_brk(vaddr_t(0x602000)) == vaddr_t(0x602000); }) >= 3);
}

// Pages that were brought in before memory ran out stay, and hold what they always held.
TEST_CASE("failure: MADV_POPULATE, MAP_POPULATE", "[failure]") {
    using namespace linux_abi;
    auto advises = [](uint64_t at, int advice) {
        return [=](scene& s) { return bool(s.vm->advise(vaddr_t(at), pages(4), advice)); };
    };
    CHECK(fail_in_turn(advises(0x102000, madv_populate_read)) == 0);  // all is there
    CHECK(fail_in_turn(advises(0x600000, madv_populate_read)) >= 1);  // the page of zeros
    CHECK(fail_in_turn(advises(0x600000, madv_populate_write)) >= 8); // 2B
    CHECK(fail_in_turn(advises(0x102000, madv_populate_write)) >= 8); // 1B, the amap before
    CHECK(fail_in_turn(advises(0x200000, madv_populate_write)) >= 8); // 2B, copies
    CHECK(fail_in_turn(advises(0x300000, madv_populate_read)) >= 4);  // 2A, holes filled
    CHECK(fail_in_turn(advises(0x300000, madv_populate_write)) >= 4);
    // The mapping is there all the same, as on Linux: what could not be brought in comes later.
    auto maps = [](bool shared) {
        return [=](scene& s) {
            auto at = s.vm->map({.address = vaddr_t(0x500000),
                                 .size = pages(3),
                                 .prot = vm_prot::rw,
                                 .fixed = true,
                                 .shared = shared,
                                 .populate = true});
            return at && store(s.vm, vaddr_t(0x502000), 1) == 1;
        };
    };
    CHECK(fail_in_turn(maps(false)) >= 3);
    CHECK(fail_in_turn(maps(true)) >= 3);
    CHECK(fail_in_turn([](scene& s) {
              return bool(s.vm->map({.address = vaddr_t(0x103000),
                                     .size = pages(3),
                                     .prot = vm_prot::rw,
                                     .fixed = true,
                                     .locked = true}));
          }) >= 6);
}

// They look, and take no memory: there is nothing in them to fail.
TEST_CASE("failure: msync and mincore", "[failure]") {
    for (int flags : {linux_abi::ms_sync, linux_abi::ms_async, linux_abi::ms_invalidate})
        CHECK(fail_in_turn([&](scene& s) {
                  return bool(s.vm->sync(vaddr_t(0x300000), pages(8), flags)) &&
                         bool(s.vm->sync(vaddr_t(0x200000), pages(8), flags));
              }) == 0);
    for (uint64_t at : {0x100000, 0x200000, 0x300000})
        CHECK(fail_in_turn([&](scene& s) {
                  uint8_t vec[8];
                  return bool(s.vm->mincore(vaddr_t(at), pages(8), vec));
              }) == 0);
}

// What exec does: the new image is built, text of a file, data, heap, stack and arguments, in an
// address space of its own; the old one is left for it when all is there.
TEST_CASE("failure: the building of an address space for exec", "[failure]") {
    auto build = [](scene& s, vmspace& vm) -> status {
        vm.set_layout(vaddr_t(0x7fff'0000'0000));
        const map_request text{.address = vaddr_t(0x400000),
                               .size = pages(4),
                               .prot = vm_prot::rx,
                               .fixed = true,
                               .object = s.object},
            data{.address = vaddr_t(0x404000),
                 .size = pages(4),
                 .prot = vm_prot::rw,
                 .fixed = true,
                 .object = s.object,
                 .offset = pages(4)},
            stack{.address = vaddr_t(0x7ffe'0000'0000),
                  .size = pages(32),
                  .prot = vm_prot::rw,
                  .fixed = true,
                  .stack = true};
        TRY(vm.map(text));
        TRY(vm.map(data));
        TRY(vm.map(stack));
        vm.init_brk(vaddr_t(0x409000));
        if (vm.set_brk(vaddr_t(0x40b000)) != vaddr_t(0x40b000))
            return fail(Errno::nomem);
        const char arguments[] = "program\0argument";
        TRY(vm.write_memory(vaddr_t(0x407800), arguments, sizeof arguments, true)); // its bss
        TRY(vm.write_memory(stack.address + pages(32) - sizeof arguments, arguments,
                            sizeof arguments, true));
        return {};
    };
    // The old one is nobody else's to touch: it has to be as it was, with what was promised for it.
    CHECK(fail_in_turn([&](scene& s) {
              auto fresh = vmspace::create();
              if (!fresh)
                  return false;
              status built = build(s, **fresh);
              (*fresh)->check();
              return bool(built);
          }) >= 16);
    // Two reference the old one, as after vfork: who executes leaves it, and only when all is well.
    CHECK(fail_in_turn([&](scene& s) {
              vm_ref child = s.sibling;
              auto fresh = vmspace::create();
              if (!fresh)
                  return false;
              child = vmspace::exec(std::move(child), std::move(*fresh));
              status built = build(s, *child);
              child->check();
              CHECK(child.get() != s.sibling.get());
              return bool(built);
          }) >= 16);
    // Nobody else does: past the point of no return it is emptied and built anew. What fails then
    // is the end of the process, and takes everything with it.
    CHECK(fail_in_turn([&](scene& s) {
              auto forked = s.vm->fork(fork_mode::cow);
              auto fresh = vmspace::create();
              if (!forked || !fresh)
                  return false;
              vm_ref old = std::move(*forked);
              const vmspace* before = old.get();
              old = vmspace::exec(std::move(old), std::move(*fresh));
              CHECK(old.get() == before);
              CHECK(old->commit_charge() == 0);
              status built = build(s, *old);
              old->check();
              return bool(built);
          }) >= 14);
}

TEST_CASE("failure: a new address space, a new object", "[failure]") {
    CHECK(fail_in_turn([](scene&) { return bool(vmspace::create()); }) >= 2);
    CHECK(fail_in_turn([](scene&) {
              return bool(uvm_aobj::create(5, "x", uvm_aobj::charging::size));
          }) >= 1);
    CHECK(fail_in_turn([](scene& s) {
              return s.object->resize(pages(100)) && s.object->hold(99, uvm_aobj::purpose::write);
          }) >= 2);
}

TEST_CASE("failure: loads, stores and copies of pages that are out", "[failure]") {
    auto loads = [](uint64_t from) {
        return [=](scene& s, sim_disk&) { return load(s.vm, vaddr_t(from)) >= 0; };
    };
    auto stores = [](uint64_t to) {
        return [=](scene& s, sim_disk&) { return store(s.vm, vaddr_t(to), 77) == 77; };
    };
    auto alone = [](scene& s) { s.sibling = new_space(); };
    CHECK(fail_in_turn_when_out(loads(0x103000)) == 1);
    CHECK(fail_in_turn_when_out(stores(0x103000)) == 1);        // 1B
    CHECK(fail_in_turn_when_out(stores(0x103000), alone) == 1); // 1A, the slot goes
    CHECK(fail_in_turn_when_out(stores(0x201000)) == 1);
    auto in_use = [](scene& s) { REQUIRE(store(s.vm, vaddr_t(0x302000), 1) == 1); };
    CHECK(fail_in_turn_when_out(loads(0x302000), in_use) == 1);  // 2A
    CHECK(fail_in_turn_when_out(stores(0x202000), in_use) == 1); // 2B, of the same page
    CHECK(fail_in_turn_when_out([](scene& s, sim_disk&) {
              uint8_t some[pages(12)];
              return bool(s.vm->read_memory(vaddr_t(0x100000), some, sizeof some));
          }) >= 3); // in ever larger clusters
}

TEST_CASE("failure: calls on pages that are out", "[failure]") {
    using namespace linux_abi;
    auto none = [](scene& s) { s.sibling = new_space(); };
    // They move nothing.
    for (fork_mode mode : {fork_mode::cow, fork_mode::cow_pte, fork_mode::copy})
        CHECK(fail_in_turn_when_out([=](scene& s, sim_disk&) {
                  auto child = s.vm->fork(mode);
                  return bool(child);
              }) == 0);
    CHECK(fail_in_turn_when_out([](scene& s, sim_disk&) {
              return bool(s.vm->unmap(vaddr_t(0x103000), pages(4)));
          }) == 0);
    CHECK(fail_in_turn_when_out([](scene& s, sim_disk&) {
              return bool(s.vm->protect(vaddr_t(0x103000), pages(4), vm_prot::read));
          }) == 0);
    CHECK(fail_in_turn_when_out([](scene& s, sim_disk&) {
              return bool(s.vm->remap(vaddr_t(0x103000), pages(4), pages(6),
                                      mremap_maymove | mremap_fixed, vaddr_t(0x500000)));
          }) == 0);
    CHECK(fail_in_turn_when_out([](scene& s, sim_disk&) {
              return bool(s.vm->advise(vaddr_t(0x103000), pages(4), madv_dontneed));
          }) == 0);
    // These bring pages in.
    CHECK(fail_in_turn_when_out(
              [](scene& s, sim_disk&) {
                  // As on Linux, what could not be brought in is wired all the same.
                  const status locked = s.vm->lock_pages(vaddr_t(0x103000), pages(4), false);
                  return locked || !s.vm->unlock_pages(vaddr_t(0x103000), pages(4));
              },
              none) >= 2);
    CHECK(fail_in_turn_when_out([](scene& s, sim_disk&) {
              return bool(s.vm->advise(vaddr_t(0x102000), pages(4), madv_populate_write));
          }) >= 2);
    auto page_of_file = [](scene& s) { REQUIRE(store(s.vm, vaddr_t(0x302001), 9) == 9); };
    CHECK(fail_in_turn_when_out(
              [](scene& s, sim_disk&) {
                  auto held = s.object->hold(2, uvm_aobj::purpose::read);
                  return held && held->data()[1] == 9;
              },
              page_of_file) == 1);
    CHECK(fail_in_turn_when_out(
              [](scene& s, sim_disk&) {
                  return bool(s.object->resize(pages(2) + 2)) && bool(s.object->resize(pages(8)));
              },
              page_of_file) == 1);
    CHECK(
        fail_in_turn_when_out(
            [](scene& s, sim_disk&) { return bool(s.object->punch(pages(2) + 5, pages(2) + 100)); },
            page_of_file) == 1);
    CHECK(fail_in_turn_when_out([](scene&, sim_disk& d) { return bool(uvm_swapoff(d.device)); }) >=
          10);
    // Advice that cannot be followed is no error.
    CHECK(fail_in_turn_when_out([](scene& s, sim_disk&) {
              return bool(s.vm->advise(vaddr_t(0x102000), pages(4), madv_willneed));
          }) >= 1);
    CHECK(fail_in_turn_when_out(
              [](scene& s, sim_disk&) {
                  for (int i = 0; i < 4; i++)
                      if (store(s.vm, vaddr_t(0x102000) + pages(unsigned(i)), 3) != 3)
                          return false;
                  return bool(s.vm->advise(vaddr_t(0x102000), pages(4), madv_pageout));
              },
              none) >= 3);
}
