// The calls on mappings: munmap, mremap, madvise, mincore, mlock, brk, limits, exec.
#include "arch/host/host_machine.h"
#include "tests/host/vm_world.h"
#include "vm/phys/alloc_fail.h"

using namespace linux_abi;

namespace {

uint64_t anon_pages() { return vm_page_get_statistics().anon; }

vaddr_t map_filled(vm_ref& vm, uint64_t at, uint64_t count) {
    vaddr_t start = map_private(vm, at, count);
    for (uint64_t i = 0; i < count; i++)
        store(vm, start + pages(i), uint8_t(i + 1));
    return start;
}

} // namespace

TEST_CASE("munmap: holes, several entries, and the rest untouched", "[mmap]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t a = map_filled(vm, 0x100000, 4), b = map_filled(vm, 0x106000, 4);
    REQUIRE(vm->unmap(vaddr_t(0x102000), pages(6)));
    CHECK(anon_pages() == 4);
    CHECK(load(vm, a + pages(1)) == 2);
    CHECK(load(vm, a + pages(2)) == -1);
    CHECK(load(vm, b + pages(1)) == -1);
    CHECK(load(vm, b + pages(2)) == 3);
    REQUIRE(vm->unmap(vaddr_t(0x20000), pages(16))); // nothing there: no error
}

TEST_CASE("mremap: grows in place, moves, shrinks", "[mremap]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t a = map_filled(vm, 0x100000, 4);
    auto same = vm->remap(a, pages(4), pages(8), 0, vaddr_t{});
    REQUIRE(same);
    CHECK(*same == a);
    CHECK(entry_count(vm) == 1);
    CHECK(store(vm, a + pages(7), 8) == 8);
    map_private(vm, 0x108000, 1, vm_prot::read); // in the way
    CHECK(error_of(vm->remap(a, pages(8), pages(10), 0, vaddr_t{})) == Errno::nomem);
    auto moved = vm->remap(a, pages(8), pages(10), mremap_maymove, vaddr_t{});
    REQUIRE(moved);
    CHECK(*moved != a);
    CHECK(load(vm, a) == -1);
    CHECK(load(vm, *moved) == 1);
    CHECK(load(vm, *moved + pages(7)) == 8);
    CHECK(load(vm, *moved + pages(9)) == 0);
    CHECK(anon_pages() == 5);
    auto shrunk = vm->remap(*moved, pages(10), pages(2), 0, vaddr_t{});
    REQUIRE(shrunk);
    CHECK(anon_pages() == 2);
    CHECK(load(vm, *shrunk + pages(1)) == 2);
    CHECK(load(vm, *shrunk + pages(2)) == -1);
}

TEST_CASE("mremap: to a fixed place, over what is there, also smaller", "[mremap]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t a = map_filled(vm, 0x100000, 6);
    vaddr_t b = map_filled(vm, 0x200000, 6);
    auto to = vm->remap(a, pages(6), pages(4), mremap_maymove | mremap_fixed, b + pages(1));
    REQUIRE(to);
    CHECK(*to == b + pages(1));
    CHECK(load(vm, b) == 1);
    CHECK(load(vm, b + pages(1)) == 1);
    CHECK(load(vm, b + pages(4)) == 4);
    CHECK(load(vm, b + pages(5)) == 6);
    for (int i = 0; i < 6; i++)
        CHECK(load(vm, a + pages(i)) == -1);
    CHECK(anon_pages() == 6);
    CHECK(uvm_commit::committed() == world.before().at("committed") + 6);
}

TEST_CASE("mremap: the old place may stay, and a shared mapping may double", "[mremap]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t a = map_filled(vm, 0x100000, 4);
    vm_ref child = fork_of(vm);
    auto to = vm->remap(a, pages(4), pages(4), mremap_maymove | mremap_dontunmap, vaddr_t{});
    REQUIRE(to);
    CHECK(load(vm, a) == 0);
    CHECK(store(vm, a + pages(1), 50) == 50);
    CHECK(load(vm, *to + pages(1)) == 2);
    CHECK(load(child, a + pages(1)) == 2);
    auto object = new_object(pages(3), 1);
    vaddr_t shared = map_object(vm, 0x300000, 3, object, true);
    auto second = vm->remap(shared, 0, pages(3), mremap_maymove, vaddr_t{});
    REQUIRE(second);
    store(vm, *second + pages(2), 77);
    CHECK(load(vm, shared + pages(2)) == 77);
    CHECK(error_of(vm->remap(a, 0, pages(3), mremap_maymove, vaddr_t{})) == Errno::inval);
}

TEST_CASE("mremap: errors", "[mremap]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t a = map_private(vm, 0x100000, 4);
    map_private(vm, 0x104000, 2, vm_prot::read);
    auto err = [&](vaddr_t from, uint64_t from_size, uint64_t to_size, int flags, vaddr_t to) {
        return error_of(vm->remap(from, from_size, to_size, flags, to));
    };
    CHECK(err(a + 1, pages(1), pages(2), 0, vaddr_t{}) == Errno::inval);
    CHECK(err(a, pages(1), 0, 0, vaddr_t{}) == Errno::inval);
    CHECK(err(a, pages(1), pages(1), 8, vaddr_t{}) == Errno::inval);
    CHECK(err(a, pages(1), pages(1), mremap_fixed, vaddr_t(0x200000)) == Errno::inval);
    CHECK(err(a, pages(1), pages(2), mremap_maymove | mremap_dontunmap, vaddr_t{}) == Errno::inval);
    CHECK(err(a, pages(4), pages(4), mremap_maymove | mremap_fixed, a + pages(2)) == Errno::inval);
    CHECK(err(vaddr_t(0x50000), pages(1), pages(2), mremap_maymove, vaddr_t{}) == Errno::fault);
    CHECK(err(a, pages(5), pages(9), mremap_maymove, vaddr_t{}) == Errno::fault);
    limits.address_space = pages(8);
    CHECK(err(a, pages(4), pages(7), mremap_maymove, vaddr_t{}) == Errno::nomem);
}

TEST_CASE("madvise: dontneed drops this side's pages alone", "[madvise]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t a = map_filled(vm, 0x100000, 6);
    REQUIRE(vm->advise(a + pages(1), pages(2), madv_dontneed));
    CHECK(anon_pages() == 4);
    CHECK(load(vm, a + pages(1)) == 0);
    CHECK(load(vm, a + pages(3)) == 4);
    vm_ref child = fork_of(vm);
    REQUIRE(child->advise(a + pages(3), pages(2), madv_dontneed));
    CHECK(load(child, a + pages(3)) == 0);
    CHECK(load(child, a + pages(5)) == 6);
    CHECK(load(vm, a + pages(3)) == 4);
    CHECK(store(child, a + pages(3), 9) == 9);
    CHECK(load(vm, a + pages(3)) == 4);
    auto object = new_object(pages(2), 5);
    vaddr_t file = map_object(vm, 0x200000, 2, object, false);
    store(vm, file, 99);
    REQUIRE(vm->advise(file, pages(2), madv_dontneed));
    CHECK(load(vm, file) == 5); // the file's again
    CHECK(error_of(vm->advise(file, pages(1), madv_free)) == Errno::inval);
    REQUIRE(vm->advise(a, pages(6), madv_free));
    CHECK(load(vm, a) == 0);
    vaddr_t shared = map_object(vm, 0x300000, 2, object, true);
    store(vm, shared, 60);
    REQUIRE(vm->advise(shared, pages(2), madv_dontneed));
    CHECK(load(vm, shared) == 60);
    REQUIRE(vm->lock_pages(a, pages(1)));
    CHECK(error_of(vm->advise(a, pages(1), madv_dontneed)) == Errno::inval);
}

TEST_CASE("madvise: populate, and mincore", "[madvise]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t a = map_private(vm, 0x100000, 4);
    uint8_t vec[4] = {9, 9, 9, 9};
    REQUIRE(vm->mincore(a, pages(4), vec));
    CHECK(std::vector<uint8_t>(vec, vec + 4) == std::vector<uint8_t>{0, 0, 0, 0});
    REQUIRE(vm->advise(a + pages(1), pages(2), madv_populate_write));
    REQUIRE(vm->mincore(a, pages(4), vec));
    CHECK(std::vector<uint8_t>(vec, vec + 4) == std::vector<uint8_t>{0, 1, 1, 0});
    counted faults(uvm_counter::faults);
    store(vm, a + pages(1), 1);
    CHECK(faults() == 0);
    REQUIRE(vm->protect(a, pages(1), vm_prot::read));
    CHECK(error_of(vm->advise(a, pages(1), madv_populate_write)) == Errno::inval);
    CHECK(error_of(vm->advise(a + pages(3), pages(2), madv_populate_read)) == Errno::nomem);
    auto file = map_object(vm, 0x200000, 3, new_object(pages(1), 1), true);
    CHECK(error_of(vm->advise(file, pages(2), madv_populate_read)) == Errno::fault);
    auto populated = vm->map({.size = pages(3), .prot = vm_prot::rw, .populate = true});
    REQUIRE(populated);
    counted more(uvm_counter::faults);
    for (int i = 0; i < 3; i++)
        store(vm, *populated + pages(i), 1);
    CHECK(more() == 0);
}

TEST_CASE("mlock: limits, failure, and wired pages that stay", "[mlock]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t a = map_private(vm, 0x100000, 8);
    limits.memlock = pages(4);
    CHECK(error_of(vm->lock_pages(a, pages(5))) == Errno::nomem);
    REQUIRE(vm->lock_pages(a + 100, pages(2))); // three pages
    CHECK(vm->get_sizes().locked_pages == 3);
    REQUIRE(vm->lock_pages(a, pages(4)));
    CHECK(vm->get_sizes().locked_pages == 4);
    CHECK(entry_count(vm) == 2);
    CHECK(anon_pages() == 4);
    limits.memlock = vm_unlimited;
    for (uint64_t n = 1;; n++) {
        alloc_fail_after(n);
        status locked = vm->lock_pages(a, pages(8));
        bool failed = alloc_fail_after(0) == 0;
        if (!failed) {
            CHECK(locked);
            break;
        }
        CHECK_FALSE(locked);
    }
    CHECK(vm->get_sizes().locked_pages == 8);
    REQUIRE(vm->unlock_pages(a, pages(8)));
    CHECK(vm->physical_map().wired_pages() == 0);
    CHECK(entry_count(vm) == 1);
}

TEST_CASE("brk: grows, shrinks, and stops at what is in the way", "[brk]") {
    vm_world world;
    vm_ref vm = new_space();
    CHECK(vm->set_brk(vaddr_t(0x700000)) == vaddr_t{});
    vm->init_brk(vaddr_t(0x600800));
    CHECK(vm->set_brk(vaddr_t{}) == vaddr_t(0x600800));
    CHECK(vm->set_brk(vaddr_t(0x604000)) == vaddr_t(0x604000));
    store(vm, vaddr_t(0x603fff), 3);
    CHECK(vm->set_brk(vaddr_t(0x608001)) == vaddr_t(0x608001));
    CHECK(entry_count(vm) == 1);
    CHECK(load(vm, vaddr_t(0x603fff)) == 3);
    CHECK(load(vm, vaddr_t(0x608fff)) == 0);
    CHECK(vm->set_brk(vaddr_t(0x602000)) == vaddr_t(0x602000));
    CHECK(load(vm, vaddr_t(0x602000)) == -1);
    CHECK(vm->set_brk(vaddr_t(0x604000)) == vaddr_t(0x604000));
    CHECK(load(vm, vaddr_t(0x603fff)) == 0); // the old contents are gone
    map_private(vm, 0x606000, 1, vm_prot::read);
    CHECK(vm->set_brk(vaddr_t(0x605001)) == vaddr_t(0x604000)); // a guard page stays free
    CHECK(vm->set_brk(vaddr_t(0x605000)) == vaddr_t(0x605000));
    limits.data = 0x4000;
    CHECK(vm->set_brk(vaddr_t(0x605800)) == vaddr_t(0x605000));
    auto region = vm->region_at_or_after(vaddr_t(0x600000));
    REQUIRE(region);
    CHECK(std::string(region->name) == "[heap]");
    CHECK(region->end == vaddr_t(0x605000));
}

TEST_CASE("limits: address space and data", "[limits]") {
    vm_world world;
    vm_ref vm = new_space();
    limits.address_space = pages(10);
    vaddr_t a = map_private(vm, 0x100000, 8);
    CHECK(error_of(vm->map({.size = pages(3), .prot = vm_prot::none})) == Errno::nomem);
    map_private(vm, 0x100000, 8); // what is replaced does not count
    CHECK(vm->map({.size = pages(2), .prot = vm_prot::read}));
    limits.address_space = vm_unlimited;
    limits.data = pages(9);
    CHECK(error_of(vm->map({.size = pages(2), .prot = vm_prot::rw})) == Errno::nomem);
    auto text = vm->map({.size = pages(2), .prot = vm_prot::rx});
    REQUIRE(text);
    CHECK(error_of(vm->protect(*text, pages(2), vm_prot::rw)) == Errno::nomem);
    CHECK(vm->protect(*text, pages(1), vm_prot::rw));
    vmspace::sizes sizes = vm->get_sizes();
    CHECK(sizes.virtual_pages == 12);
    CHECK(sizes.data_pages == 9);
    CHECK(sizes.text_pages == 1);
    (void)a;
}

TEST_CASE("exec: the only holder's vmspace is reused, a shared one is left alone", "[exec]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t a = map_filled(vm, 0x100000, 4);
    vmspace* old = vm.get();
    vm = vmspace::exec(std::move(vm), new_space());
    CHECK(vm.get() == old);
    CHECK(load(vm, a) == -1);
    CHECK(anon_pages() == 0);
    map_filled(vm, 0x100000, 2);
    vm_ref child = vm;
    child = vmspace::exec(std::move(child), new_space());
    CHECK(child.get() != old);
    CHECK(load(child, a) == -1);
    CHECK(load(vm, a + pages(1)) == 2);
}

TEST_CASE("regions: what /proc shows", "[proc]") {
    vm_world world;
    uvm_fault_ahead_enabled = false;
    vm_ref vm = new_space();
    auto object = new_object(pages(4), 1);
    object->set_identity("/bin/sh", 8, 77);
    vaddr_t file = map_object(vm, 0x100000, 3, object, false, pages(1));
    load(vm, file);
    store(vm, file + pages(1), 1);
    vm_usage usage;
    auto region = vm->region_at_or_after(vaddr_t(0x1000), &usage);
    REQUIRE(region);
    CHECK(region->start == file);
    CHECK(region->offset == pages(1));
    CHECK(region->inode == 77);
    CHECK(region->device == 8);
    CHECK(std::string(region->name) == "/bin/sh");
    CHECK(usage.resident == pages(2));
    CHECK(usage.anonymous == pages(1));
    CHECK(usage.private_dirty == pages(2)); // the copy, and the page that its file was made with
    CHECK(usage.proportional >> vm_usage::fraction_bits == pages(2));
    CHECK_FALSE(region->shared);
    CHECK_FALSE(vm->region_at_or_after(region->end));
    vm_ref other = new_space();
    load(other, map_object(other, 0x300000, 4, object, true) + pages(1));
    vm_usage total, of_other;
    REQUIRE(vm->region_at_or_after(vaddr_t(0x1000), &total));
    REQUIRE(other->region_at_or_after(vaddr_t(0x1000), &of_other));
    total.add(of_other);
    CHECK(vm->get_sizes().anonymous_pages == 1);
    CHECK(vm->get_sizes().object_pages == 1);
    CHECK(other->get_sizes().object_pages == 1);
    CHECK(total.resident == pages(3));
    CHECK(total.shared_dirty == pages(2));
    CHECK(total.proportional >> vm_usage::fraction_bits == pages(2)); // what is in use
}

TEST_CASE("mlock: up to a hole, and over what may not be accessed", "[mlock]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 12);
    REQUIRE(vm->unmap(at + pages(4), pages(1)));
    store(vm, at + pages(1), 1);
    CHECK(error_of(vm->lock_pages(at, pages(8))) == Errno::nomem);
    CHECK(vm->get_sizes().locked_pages == 4);
    CHECK(anon_pages() == 1); // nothing is brought in
    CHECK(vm->physical_map().wired_pages() == 1);
    CHECK(vm_page_count_wired() == 1);
    CHECK(error_of(vm->advise(at, pages(1), linux_abi::madv_dontneed)) == Errno::inval);
    store(vm, at + pages(2), 1);
    CHECK(vm->physical_map().wired_pages() == 2);
    CHECK(error_of(vm->lock_pages(at + pages(4), pages(4))) == Errno::nomem);
    CHECK(vm->get_sizes().locked_pages == 4);
    // The limit is about the whole range, less what is locked in it.
    limits.memlock = pages(7);
    CHECK(error_of(vm->lock_pages(at, pages(8))) == Errno::nomem);
    REQUIRE(vm->lock_pages(at + pages(5), pages(3)));
    CHECK(vm->get_sizes().locked_pages == 7);
    CHECK(error_of(vm->unlock_pages(at + pages(1), pages(8))) == Errno::nomem);
    CHECK(vm->get_sizes().locked_pages == 4);
    CHECK(vm->physical_map().wired_pages() == 3);

    limits.memlock = vm_unlimited;
    REQUIRE(vm->protect(at + pages(6), pages(1), vm_prot::none));
    CHECK(error_of(vm->lock_pages(at + pages(5), pages(7))) == Errno::nomem);
    CHECK(vm->get_sizes().locked_pages == 8);
    vm_ref child = fork_of(vm);
    CHECK(vm_page_count_wired() == vm->physical_map().wired_pages());
    CHECK(load(child, at + pages(1)) == 1);
}

TEST_CASE("mlock2: pages are wired as they come", "[mlock]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t at = map_private(vm, 0x100000, 4);
    store(vm, at, 1);
    REQUIRE(vm->lock_pages(at, pages(4), true));
    CHECK(anon_pages() == 1);
    CHECK(vm->get_sizes().locked_pages == 4);
    CHECK(load(vm, at) == 1);
    CHECK(load(vm, at + pages(1)) == 0);
    CHECK(anon_pages() == 2); // a page of its own, not the page of zeros
    CHECK(vm->physical_map().wired_pages() == 2);
    REQUIRE(vm->lock_pages(at, pages(4)));
    CHECK(vm->physical_map().wired_pages() == 4);
    REQUIRE(vm->unlock_pages(at, pages(4)));
    CHECK(vm->physical_map().wired_pages() == 0);
}

namespace {
int pages_until_killed;
bool killed_after_some() { return pages_until_killed-- <= 0; }
} // namespace

TEST_CASE("mlock, populate: whoever is killed brings in no more", "[mlock]") {
    vm_world world;
    vm_ref vm = new_space();
    vaddr_t a = map_private(vm, 0x100000, 8);
    bool (*const asked)() = std::exchange(host_is_killed, killed_after_some);
    pages_until_killed = 3;
    CHECK(error_of(vm->lock_pages(a, pages(8))) == Errno::intr);
    CHECK(anon_pages() == 3);
    CHECK(vm->get_sizes().locked_pages == 0);
    pages_until_killed = 5;
    CHECK(error_of(vm->advise(a, pages(8), madv_populate_write)) == Errno::intr);
    CHECK(anon_pages() == 5);
    pages_until_killed = 2;
    map_request request;
    request.size = pages(8);
    request.prot = vm_prot::rw;
    request.populate = true;
    CHECK(vm->map(request));
    CHECK(anon_pages() == 7);
    host_is_killed = asked;
}

TEST_CASE("mlockall: what is mapped, and what will be", "[mlock]") {
    using wiring = vmspace::wiring;
    vm_world world;
    vm_ref vm = new_space();
    vm->init_brk(vaddr_t(0x600000));
    vaddr_t at = map_private(vm, 0x100000, 4);
    limits.memlock = pages(3);
    CHECK(error_of(vm->lock_all(wiring::at_once, wiring::none)) == Errno::nomem);
    limits.memlock = pages(8);
    REQUIRE(vm->lock_all(wiring::none, wiring::at_once));
    CHECK(vm->physical_map().wired_pages() == 0);
    auto more = vm->map({.size = pages(2), .prot = vm_prot::rw});
    REQUIRE(more);
    CHECK(vm->physical_map().wired_pages() == 2);
    CHECK(vm->set_brk(vaddr_t(0x600001)) == vaddr_t(0x600001));
    CHECK(vm->physical_map().wired_pages() == 3);
    CHECK(error_of(vm->map({.size = pages(6), .prot = vm_prot::rw})) == Errno::again);
    CHECK(vm->set_brk(vaddr_t(0x610000)) == vaddr_t(0x600001));
    REQUIRE(vm->lock_all(wiring::at_once, wiring::on_fault));
    CHECK(vm->physical_map().wired_pages() == 7);
    vm_ref child = fork_of(vm);
    map_private(child, 0x200000, 1);
    CHECK(child->get_sizes().locked_pages == 0);
    vm->unlock_all();
    CHECK(vm->physical_map().wired_pages() == 0);
    CHECK(vm->get_sizes().locked_pages == 0);
    map_private(vm, 0x200000, 1);
    CHECK(vm->get_sizes().locked_pages == 0);
    (void)at;
}

TEST_CASE("shmdt: what is left of a mapping goes, and nothing else", "[mmap]") {
    vm_world world;
    vm_ref vm = new_space();
    auto object = new_object(pages(6), 1), other = new_object(pages(6), 1);
    vaddr_t at = map_object(vm, 0x100000, 6, object, true);
    map_object(vm, 0x100000 + pages(2), 1, other, true, pages(2));
    REQUIRE(vm->unmap(at + pages(4), pages(1)));
    map_object(vm, 0x200000, 6, object, true);
    CHECK(object->map_entries() == 4);
    auto any = [](uvm_object&) { return true; };
    CHECK(error_of(vm->unmap_object(at + pages(1), any)) == Errno::inval);
    CHECK(error_of(vm->unmap_object(at, [](uvm_object&) { return false; })) == Errno::inval);
    REQUIRE(vm->unmap_object(at, any));
    CHECK(object->map_entries() == 1);
    CHECK(load(vm, at) == -1);
    CHECK(load(vm, at + pages(2)) == 3);
    CHECK(load(vm, at + pages(5)) == -1);
}

namespace {

// Lowers vm.max_map_count to what the space has, and some more.
struct most_entries {
    most_entries(vm_ref& vm, size_t more) { vm_max_map_count = entry_count(vm) + more; }
    ~most_entries() { vm_max_map_count = usual; }
    const uint64_t usual = vm_max_map_count;
};

} // namespace

TEST_CASE("max_map_count: what would cut a mapping up fails, and nothing has changed", "[limits]") {
    using namespace linux_abi;
    vm_world world;
    vm_ref vm = new_space();
    const vaddr_t at = map_private(vm, 0x100000, 8);
    const vaddr_t other = map_private(vm, 0x200000, 2);
    for (int i = 0; i < 8; i++)
        store(vm, at + pages(i), uint8_t(i + 1));
    vm->init_brk(vaddr_t(0x600000));
    {
        const most_entries most(vm, 1);
        const vaddr_t middle = at + pages(3);
        CHECK(error_of(vm->protect(middle, page_size, vm_prot::read)) == Errno::nomem);
        CHECK(error_of(vm->lock_pages(middle, page_size)) == Errno::nomem);
        CHECK(error_of(vm->advise(middle, page_size, madv_random)) == Errno::again);
        CHECK(error_of(vm->inherit(middle, page_size, vm_inherit::none)) == Errno::again);
        CHECK(error_of(vm->remap(middle, page_size, page_size, mremap_maymove | mremap_fixed,
                                 vaddr_t(0x300000))) == Errno::nomem);
        CHECK(entry_count(vm) == 2);
        REQUIRE(vm->unmap(middle, page_size)); // one more
        CHECK(error_of(vm->unmap(at + pages(1), page_size)) == Errno::nomem);
        REQUIRE(vm->unmap(at, page_size)); // at an edge
        REQUIRE(vm->map({.size = page_size, .prot = vm_prot::read}));
        CHECK(error_of(vm->map({.size = page_size, .prot = vm_prot::rx})) == Errno::nomem);
        CHECK(vm->set_brk(vaddr_t(0x601000)) == vaddr_t(0x600000));
        CHECK(entry_count(vm) == 4);
        REQUIRE(vm->unmap(other, pages(2)));
        CHECK(vm->set_brk(vaddr_t(0x601000)) == vaddr_t(0x601000));
        CHECK(fork_of(vm)->get_sizes().virtual_pages == 8);
    }
    for (int i : {1, 2, 4, 5, 6, 7})
        CHECK(load(vm, at + pages(i)) == i + 1);
}

TEST_CASE("mmap_min_addr: below it only who may, and no stack", "[mmap]") {
    vm_world world;
    vm_ref vm = new_space();
    map_request low{.address = vaddr_t(0x1000), .size = page_size, .prot = vm_prot::rw};
    CHECK(*vm->map(low) == mmap_min_addr); // a hint
    REQUIRE(vm->unmap(mmap_min_addr, page_size));
    low.fixed = true;
    CHECK(error_of(vm->map(low)) == Errno::perm);
    low.below_minimum = true;
    REQUIRE(vm->map(low));
    low.address = vaddr_t{};
    REQUIRE(vm->map(low));
    CHECK(store(vm, vaddr_t{}, 7) == 7);
    REQUIRE(vm->unmap(vaddr_t{}, pages(2)));
    map_request stack{.address = mmap_min_addr,
                      .size = page_size,
                      .prot = vm_prot::rw,
                      .fixed = true,
                      .stack = true};
    REQUIRE(vm->map(stack));
    CHECK(store(vm, mmap_min_addr - 1, 7) == -1);
    using namespace linux_abi;
    const int to = mremap_maymove | mremap_fixed;
    CHECK(error_of(vm->remap(mmap_min_addr, page_size, page_size, to, vaddr_t{})) == Errno::perm);
    REQUIRE(vm->remap(mmap_min_addr, page_size, page_size, to, vaddr_t{}, true));
    CHECK(load(vm, vaddr_t{}) == 0);
}
