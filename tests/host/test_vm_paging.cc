// Memory that is put out to a simulated disk, and comes back.
#include "arch/host/host_machine.h"
#include "tests/host/vm_paging.h"
#include "tests/host/vm_world.h"
#include "vm/uvm_pdaemon.h"
#include "vm/uvm_pdpolicy.h"
#include "vm/uvm_swapoff.h"

namespace {

constexpr vaddr_t at{0x100000};

uint64_t slots_in_use() {
    uvm_swap::check();
    uint64_t used = 0;
    uvm_swap::facts area;
    for (unsigned n = 0; uvm_swap::look(n, area); n++)
        used += area.used;
    return used;
}

void fill(vm_ref& vm, uint64_t first, uint64_t count, uint8_t seed = 1) {
    for (uint64_t i = first; i < first + count; i++)
        REQUIRE(store(vm, at + pages(i), uint8_t(seed + i)) == uint8_t(seed + i));
}
void is_filled(vm_ref& vm, uint64_t first, uint64_t count, uint8_t seed = 1) {
    for (uint64_t i = first; i < first + count; i++)
        REQUIRE(load(vm, at + pages(i)) == uint8_t(seed + i));
}

bool is_mapped(vm_ref& vm, uint64_t page) {
    return vm->physical_map().lookup(at + pages(page)).has_value();
}

uvm_swap::facts area_of(const sim_disk& d) {
    uvm_swap::facts area{};
    for (unsigned n = 0; uvm_swap::look(n, area); n++)
        if (area.area == &d.device)
            return area;
    return {};
}

} // namespace

TEST_CASE("paging: what goes out comes back", "[paging]") {
    vm_world world;
    paging_machine m;
    sim_disk& d = m.add_disk(64);
    REQUIRE(m.swap_on(d));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 40);
    for (uint64_t i = 0; i < 40; i++)
        REQUIRE(store(vm, at + pages(i), uint8_t(i + 1)) == int(i + 1));
    const uint64_t anons = vm_page_get_statistics().anon;
    m.put_all_out();
    CHECK(vm_page_get_statistics().anon == anons - 40);
    CHECK(slots_in_use() == 40);
    CHECK(d.answered(disk_operation::write) == 3); // clusters of 16
    vm->check();
    for (uint64_t i = 0; i < 40; i++)
        CHECK(load(vm, at + pages(i)) == int(i + 1));
    // They have their slots still, and go again without being written.
    CHECK(slots_in_use() == 40);
    m.put_all_out();
    CHECK(d.answered(disk_operation::write) == 3);
    // A store makes the slot useless.
    for (uint64_t i = 0; i < 10; i++)
        CHECK(store(vm, at + pages(i), uint8_t(i + 100)) == int(i + 100));
    CHECK(slots_in_use() == 30);
    m.put_all_out();
    CHECK(slots_in_use() == 40);
    for (uint64_t i = 0; i < 40; i++)
        CHECK(load(vm, at + pages(i)) == int(i < 10 ? i + 100 : i + 1));
    m.put_all_out();
    vm = {};
    CHECK(slots_in_use() == 0);
}

TEST_CASE("paging: pages that are wired or held stay", "[paging]") {
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 8);
    fill(vm, 0, 8);
    REQUIRE(vm->lock_pages(at, pages(4)));
    ref_ptr<uvm_aobj> object = new_object(pages(2), 7);
    auto held = object->hold(0, uvm_aobj::purpose::write);
    REQUIRE(held);
    m.put_all_out();
    for (uint64_t i = 0; i < 8; i++)
        CHECK(is_mapped(vm, i) == (i < 4));
    CHECK(slots_in_use() == 5);
    *held->data() = 99; // without a lock, as read(2) and write(2) do
    *held = {};
    m.put_all_out();
    CHECK(slots_in_use() == 6);
    held = object->hold(0, uvm_aobj::purpose::read);
    REQUIRE(held);
    CHECK(*held->data() == 99);
    is_filled(vm, 0, 8);
    // Brought in for mlock, they stay again.
    m.put_all_out();
    REQUIRE(vm->lock_pages(at + pages(4), pages(4)));
    m.put_all_out();
    for (uint64_t i = 0; i < 8; i++)
        CHECK(is_mapped(vm, i));
}

TEST_CASE("paging: wired pages stay also without any right, and with the daemon's back to them",
          "[paging]") {
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 8);
    fill(vm, 0, 8);
    REQUIRE(vm->lock_pages(at, pages(4)));
    REQUIRE(vm->protect(at + pages(2), pages(4), vm_prot::none)); // two of them are wired
    m.put_all_out();
    for (uint64_t i = 0; i < 8; i++)
        CHECK(is_mapped(vm, i) == (i < 4));
    CHECK(slots_in_use() == 4);
    CHECK(load(vm, at + pages(2)) < 0);
    CHECK(store(vm, at + pages(3), 1) < 0);
    vm->check();
    // The daemon has seen that they are wired.
    counted scans(uvm_counter::pdscans);
    m.put_all_out();
    CHECK(scans() == 0);
    // As soon as they are not, they go; without rights, too.
    REQUIRE(vm->unlock_pages(at, pages(4)));
    CHECK(!is_mapped(vm, 3));
    m.put_all_out();
    CHECK(slots_in_use() == 8);
    REQUIRE(vm->protect(at, pages(8), vm_prot::rw));
    is_filled(vm, 0, 8);
    m.put_all_out();
}

// What had no right already when it was wired, in memory or out.
TEST_CASE("paging: memory without rights is brought in and stays when it is wired", "[paging]") {
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 8);
    fill(vm, 0, 8);
    map_object(vm, at.value() + 8 * page_size, 4, new_object(pages(4), 9), true);
    REQUIRE(vm->protect(at, pages(12), vm_prot::none));
    const bool was_out = GENERATE(false, true);
    if (was_out)
        m.put_all_out();
    CHECK(slots_in_use() == (was_out ? 12 : 0));
    SECTION("what is there, at once") {
        CHECK(vm->lock_pages(at, pages(12)).error() == Errno::nomem);
        for (uint64_t i = 0; i < 12; i++)
            CHECK(is_mapped(vm, i));
        m.put_all_out();
        CHECK(slots_in_use() == 0);
    }
    SECTION("all memory") {
        REQUIRE(vm->lock_all(vmspace::wiring::at_once, vmspace::wiring::none));
        m.put_all_out();
        CHECK(slots_in_use() == 0);
    }
    SECTION("what is in memory, as it comes") {
        REQUIRE(vm->lock_pages(at, pages(12), true));
        m.put_all_out();
        CHECK(slots_in_use() == (was_out ? 12 : 0));
        REQUIRE(vm->protect(at, pages(12), vm_prot::rw));
        is_filled(vm, 0, 8);
        m.put_all_out();
        for (uint64_t i = 0; i < 8; i++)
            CHECK(is_mapped(vm, i));
    }
    REQUIRE(vm->protect(at, pages(12), vm_prot::rw));
    is_filled(vm, 0, 8);
    CHECK(load(vm, at + pages(9)) == 10);
    REQUIRE(vm->unlock_pages(at, pages(12)));
    m.put_all_out();
    CHECK(slots_in_use() == 12);
}

TEST_CASE("paging: wired memory stays when it is moved", "[paging]") {
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 8);
    fill(vm, 0, 8);
    const bool on_fault = GENERATE(false, true);
    REQUIRE(vm->lock_pages(at, pages(8), on_fault));
    const auto rights = GENERATE(vm_prot::none, vm_prot::read, vm_prot::rw);
    REQUIRE(vm->protect(at, pages(8), rights));
    const vaddr_t to = at + pages(100);
    REQUIRE(vm->remap(at, pages(8), pages(8), linux_abi::mremap_maymove | linux_abi::mremap_fixed,
                      to, false));
    for (uint64_t i = 0; i < 8; i++)
        CHECK(is_mapped(vm, 100 + i));
    m.put_all_out();
    CHECK(slots_in_use() == 0);
    REQUIRE(vm->protect(to, pages(8), vm_prot::rw));
    for (uint64_t i = 0; i < 8; i++)
        CHECK(load(vm, to + pages(i)) == int(i + 1));
    REQUIRE(vm->unlock_pages(to, pages(8)));
    m.put_all_out();
    CHECK(slots_in_use() == 8);
}

TEST_CASE("paging: whoever had a page wired, it goes when he is gone", "[paging]") {
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    ref_ptr<uvm_aobj> object = new_object(pages(4), 9);
    vm_ref vm = new_space(), other = new_space();
    for (vm_ref* each : {&vm, &other}) {
        map_object(*each, at.value(), 4, object, true);
        REQUIRE((*each)->lock_pages(at, pages(4)));
    }
    REQUIRE(vm->protect(at, pages(2), vm_prot::none));
    m.put_all_out();
    CHECK(slots_in_use() == 0);
    REQUIRE(other->unmap(at, pages(4)));
    m.put_all_out();
    CHECK(slots_in_use() == 0);
    vm = {};
    m.put_all_out();
    CHECK(slots_in_use() == 4);
}

TEST_CASE("paging: what of an object was never written is known when it has been out", "[paging]") {
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    ref_ptr<uvm_aobj> object = new_object(pages(4));
    vm_ref vm = new_space();
    map_object(vm, at.value(), 4, object, true);
    CHECK(load(vm, at) == 0);                // made by a look
    CHECK(store(vm, at + pages(2), 5) == 5); // and by a store
    for (int round = 0; round < 3; round++) {
        m.put_all_out();
        CHECK(slots_in_use() == 2);
        CHECK(object->next(uvm_aobj::contents::data, 0) == pages(2));
        CHECK(object->next(uvm_aobj::contents::hole, pages(2)) == pages(3));
        CHECK(load(vm, at) == 0);
        CHECK(load(vm, at + pages(2)) == 5);
        CHECK(object->next(uvm_aobj::contents::data, 0) == pages(2));
    }
    // A page that is out is cut in the middle: what comes back of it ends there.
    m.put_all_out();
    REQUIRE(object->resize(pages(2) + 1));
    REQUIRE(object->resize(pages(4)));
    CHECK(load(vm, at + pages(2)) == 5);
    CHECK(store(vm, at + pages(2) + 1, 6) == 6);
    m.put_all_out();
    REQUIRE(object->resize(pages(2) + 1));
    REQUIRE(object->resize(pages(4)));
    CHECK(load(vm, at + pages(2) + 1) == 0);
}

// Were a slot the address's, or the amap's, they would read each other's.
TEST_CASE("paging: ten forks, one address written by all", "[paging]") {
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    for (fork_mode mode : {fork_mode::cow, fork_mode::cow_pte, fork_mode::copy}) {
        std::vector<vm_ref> all{new_space()};
        map_private(all[0], at.value(), 2);
        REQUIRE(store(all[0], at, 100) == 100);
        REQUIRE(store(all[0], at + pages(1), 101) == 101); // that nobody writes
        m.put_all_out();
        for (int i = 1; i <= 10; i++)
            all.push_back(fork_of(all[size_t(i) / 2], mode));
        for (int round = 0; round < 3; round++) {
            for (size_t i = 0; i < all.size(); i++)
                REQUIRE(store(all[i], at, uint8_t(i + 10 * size_t(round))) >= 0);
            m.put_all_out();
            for (size_t i = 0; i < all.size(); i++) {
                REQUIRE(load(all[i], at) == int(i + 10 * size_t(round)));
                REQUIRE(load(all[i], at + pages(1)) == 101);
                all[i]->check();
            }
        }
        m.put_all_out();
        if (mode != fork_mode::copy)
            CHECK(slots_in_use() == 12);
        all.clear();
        CHECK(slots_in_use() == 0);
    }
}

TEST_CASE("paging: what swap has room for may be promised to who commits", "[paging]") {
    vm_world world;
    paging_machine m;
    const uint64_t limit = uvm_commit::commit_limit(), total = vm_page_get_statistics().total;
    sim_disk& d = m.add_disk(400);
    REQUIRE(m.swap_on(d));
    CHECK(uvm_commit::commit_limit() == limit + 399);
    CHECK(error_of(uvm_commit::charge(total + 400)) == Errno::nomem);
    REQUIRE(uvm_commit::charge(total + 399));
    uvm_commit::uncharge(total + 399);
    REQUIRE(uvm_swapoff(d.device));
    CHECK(uvm_commit::commit_limit() == limit);
    CHECK(error_of(uvm_commit::charge(total + 1)) == Errno::nomem);
}

TEST_CASE("paging: page-ins are laid to the fork that led to them", "[paging]") {
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 16);
    fill(vm, 0, 8);
    auto later = vm_aftermath::create();
    const auto laid = [&](vm_aftermath::side s) {
        return later->read(s, vm_aftermath::kind::paged_in);
    };
    // From behind, so that no page comes along with another one.
    const auto look = [&](vm_ref& who, uint64_t first, uint64_t end) {
        for (uint64_t i = end; i-- > first;)
            REQUIRE(load(who, at + pages(i)) == int(i + 1));
    };
    m.put_all_out();
    {
        auto child = vm->fork({fork_mode::cow, later});
        REQUIRE(child);
        CHECK(laid(vm_aftermath::side::child) == 0);
        look(*child, 6, 8);
        CHECK(laid(vm_aftermath::side::child) == 2);
        look(vm, 5, 7); // one of them is there
        CHECK(laid(vm_aftermath::side::parent) == 1);
        // The other side has it no more: the child's page is the parent's old one, the parent's is new.
        REQUIRE(store(vm, at, 1) == 1);
        CHECK(laid(vm_aftermath::side::parent) == 2);
        CHECK(later->read(vm_aftermath::side::parent, vm_aftermath::kind::write_copied) == 1);
        m.put_all_out();
        look(vm, 0, 1);
        CHECK(laid(vm_aftermath::side::parent) == 2);
        look(*child, 0, 1);
        CHECK(laid(vm_aftermath::side::child) == 3);
        // What is the child's alone.
        fill(*child, 8, 2);
        m.put_all_out();
        look(*child, 8, 10);
        CHECK(laid(vm_aftermath::side::child) == 3);
        m.put_all_out();
    }
    look(vm, 0, 8);
    CHECK(laid(vm_aftermath::side::parent) == 2);
}

// A child that borrows: the kernel says what counts (vm_borrowing_of_caller).
TEST_CASE("paging: page-ins of a child that borrows its parent's memory", "[paging]") {
    static constinit const vmspace* borrowed = nullptr;
    static ref_ptr<vm_aftermath> later;
    vm_world world;
    later = vm_aftermath::create();
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 4);
    fill(vm, 0, 4);
    m.put_all_out();
    const auto nobody = std::exchange(vm_borrowing_of_caller, [](const vmspace& space) {
        return &space == borrowed ? later : nullptr;
    });
    CHECK(load(vm, at + pages(3)) == 4);
    borrowed = vm.get();
    CHECK(load(vm, at + pages(2)) == 3);
    CHECK(load(vm, at + pages(2)) == 3);
    borrowed = nullptr;
    CHECK(load(vm, at) == 1);
    vm_borrowing_of_caller = nobody;
    CHECK(later->read(vm_aftermath::side::child, vm_aftermath::kind::paged_in) == 1);
    CHECK(later->nothing_yet(vm_aftermath::side::parent));
    later.reset();
}

TEST_CASE("paging: swapoff that needs more memory than there is", "[paging]") {
    vm_world world;
    paging_machine m;
    sim_disk& d = m.add_disk(400);
    REQUIRE(m.swap_on(d));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 300);
    fill(vm, 0, 300);
    m.put_all_out();
    REQUIRE(slots_in_use() == 300);
    const uint64_t committed = uvm_commit::committed();
    for (uint64_t left : {10, 164}) { // not one page fits; half of them do
        const shortage there_is(left);
        const status off = uvm_swapoff(d.device);
        REQUIRE(!off);
        CHECK(off.error() == Errno::nomem);
        CHECK(area_of(d).pages == 399);
        CHECK(uvm_swap::pages() == 399);
        CHECK(area_of(d).used == slots_in_use());
        CHECK((left < 64 ? slots_in_use() == 300 : slots_in_use() < 250 && slots_in_use() > 150));
        CHECK(uvm_commit::committed() == committed);
        vm->check();
    }
    m.put_all_out(); // into the slots that it has given up, too
    CHECK(slots_in_use() == 300);
    is_filled(vm, 0, 300);
    m.put_all_out();
    {
        const shortage just_enough(320);
        REQUIRE(uvm_swapoff(d.device));
    }
    CHECK(uvm_swap::pages() == 0);
    is_filled(vm, 0, 300);
}

// The daemon may not free what it could not unmap.
TEST_CASE("paging: the owner of what is to go is locked", "[paging]") {
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 10);
    fill(vm, 0, 10);
    vm_amap* amap = vm->map_for_tests().lookup(at)->aref.amap();
    {
        lock_guard busy(amap->lock());
        m.turns.start([&] { m.put_all_out(); });
        m.turns.settle();
        CHECK(slots_in_use() == 0);
        for (uint64_t i = 0; i < 10; i++) {
            CHECK(is_mapped(vm, i));
            CHECK(load(vm, at + pages(i)) == int(i + 1)); // through the TLB that has it
        }
    }
    m.turns.settle();
    CHECK(slots_in_use() == 10);
    is_filled(vm, 0, 10);
}

// What pools keep for themselves, at other times.
TEST_CASE("paging: when memory is short, pools give back what nobody uses", "[paging]") {
    struct thing {
        uint64_t words[32];
    };
    static constinit pool<thing> things{"thing of the daemon's"};
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    thing* some[100];
    for (thing*& t : some)
        REQUIRE((t = things.create()));
    for (thing* t : some)
        things.destroy(t);
    CHECK(things.pages() > 2);
    const uint64_t free = vm_page_count_free(), kept = things.pages();
    counted freed(uvm_counter::pdfreed);
    m.put_out(1);
    CHECK(things.pages() == 0);
    CHECK(vm_page_count_free() >= free + kept);
    CHECK(freed() >= kept);
}

// The daemon frees what there is, and it is not enough: it is asked again, unless he who asks is to die.
TEST_CASE("paging: who is killed waits for memory once", "[paging]") {
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(400)));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 300);
    fill(vm, 0, 8);
    uint64_t next = 8;
    for (const bool killed : {false, true}) {
        REQUIRE(vm->lock_pages(at, pages(8)));
        uvm_pdaemon::set_reserve(2 * vm_page_total()); // a turn, for which nothing may go
        m.turns.settle();
        REQUIRE(vm->unlock_pages(at, pages(8)));
        host_is_killed = killed ? +[] { return true; } : +[] { return false; };
        counted turns(uvm_counter::pdwoke);
        int stored = 1;
        while (stored == 1 && next < 300) // first those that wait with the processors
            stored = store(vm, at + pages(next++), 1);
        host_is_killed = [] { return false; };
        CHECK(stored == -4); // no memory
        CHECK((killed ? turns() == 1 : turns() >= 2));
        uvm_pdaemon::set_reserve(0);
        m.turns.settle();
        is_filled(vm, 0, 8);
    }
}

TEST_CASE("paging: who owns a page ends while it is on its way", "[paging]") {
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    for (bool in : {false, true}) {
        vm_ref vm = new_space(), other = new_space();
        map_private(vm, at.value(), 10);
        fill(vm, 0, 10);
        ref_ptr<uvm_aobj> object = new_object(pages(10), 3);
        map_object(other, at.value(), 10, object, true);
        if (in) {
            m.put_all_out();
            for (vm_ref* each : {&vm, &other})
                m.turns.start([&m, vm = *each]() mutable {
                    for (uint64_t i = 0; i < 10; i++)
                        (void)vm->fault(at + pages(i), vm_prot::read);
                });
        } else {
            m.turns.start([&] { m.put_all_out(); });
        }
        CHECK(!m.quiet());
        REQUIRE(vm->unmap(at, pages(10)));
        REQUIRE(other->unmap(at, pages(10)));
        object = {};
        m.turns.settle();
        CHECK(slots_in_use() == 0);
    }
}

TEST_CASE("paging: the daemon allocates nothing", "[paging]") {
    vm_world world;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(64)));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 20);
    fill(vm, 0, 20);
    ref_ptr<uvm_aobj> object = new_object(pages(10), 3);
    alloc_fail_after(1);
    m.put_all_out();
    CHECK(alloc_fail_after(0) == 1);
    CHECK(slots_in_use() == 30);
    is_filled(vm, 0, 20);
}

TEST_CASE("paging: swap that is full", "[paging]") {
    vm_world world;
    paging_machine m;
    sim_disk &small = m.add_disk(8), &second = m.add_disk(16);
    REQUIRE(m.swap_on(second, 1));
    REQUIRE(m.swap_on(small, 2));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 40);
    fill(vm, 0, 5);
    m.put_all_out();
    CHECK(area_of(small).used == 5);
    CHECK(area_of(second).used == 0);
    fill(vm, 5, 35);
    m.put_all_out();
    CHECK(area_of(small).used == 7);
    CHECK(area_of(second).used == 15);
    CHECK(uvm_swap::full());
    CHECK(m.put_out(1) == 0);
    is_filled(vm, 0, 40);
    // Those that have slots go, others do not.
    m.put_all_out();
    CHECK(vm_page_get_statistics().anon - world.before().at("anon pages") == 40 - 22);
    CHECK(error_of(uvm_swapoff(small.device)) == Errno{});
    CHECK(area_of(second).used == 15);
    is_filled(vm, 0, 40);
}

TEST_CASE("paging: areas that swapon refuses", "[paging]") {
    vm_world world;
    paging_machine m;
    for (int i = 0; i < 9; i++)
        m.add_disk(10);
    auto on = [&](size_t i) { return error_of(m.swap_on(m.disks()[i])); };
    m.disks()[0].make_swap({10}); // a bad page that is none of its
    CHECK(on(0) == Errno::inval);
    sim_disk& bare = m.disks().emplace_back("bare", 10);
    CHECK(error_of(m.swap_on(bare)) == Errno::inval);
    m.disks()[0].make_swap({1, 2, 3, 4, 5, 6, 7, 8, 9}); // all of them
    CHECK(on(0) == Errno{});
    CHECK(uvm_swap::pages() == 0);
    CHECK(on(0) == Errno::busy);
    CHECK(error_of(uvm_swapoff(m.disks()[0].device)) == Errno{});
    m.disks()[0].spoil(disk_operation::read, 0);
    CHECK(on(0) == Errno::io);
    m.mend();
    for (uint64_t n = 1;; n++) {
        alloc_fail_after(n);
        const Errno got = on(1);
        if (alloc_fail_after(0) != 0) {
            CHECK(got == Errno{});
            CHECK(n > 3);
            break;
        }
        CHECK(got == Errno::nomem);
    }
    for (size_t i = 2; i < 9; i++)
        CHECK(on(i) == Errno{});
    CHECK(on(0) == Errno::perm); // eight are enough
    for (size_t i = 1; i < 9; i++)
        CHECK(error_of(uvm_swapoff(m.disks()[i].device)) == Errno{});
    CHECK(error_of(uvm_swapoff(m.disks()[1].device)) == Errno::inval);
}

TEST_CASE("paging: a page that can not be read, and one that can not be written", "[paging]") {
    vm_world world;
    paging_machine m;
    sim_disk& d = m.add_disk(64);
    REQUIRE(m.swap_on(d));
    ref_ptr<uvm_aobj> object = new_object(pages(4), 3);
    vm_ref vm = new_space();
    map_object(vm, at.value(), 4, object, true);
    m.put_all_out();
    for (uint64_t n = 1; n < 64; n++)
        d.spoil(disk_operation::read, n);
    CHECK(load(vm, at) == -3);
    CHECK(error_of(object->resize(1)) == Errno::io);
    CHECK(object->size() == pages(4));
    auto held = object->hold(1, uvm_aobj::purpose::write);
    REQUIRE(!held);
    CHECK(held.error() == Errno::io);
    CHECK(error_of(uvm_swapoff(d.device)) == Errno::io);
    CHECK(slots_in_use() == 4);
    m.mend();
    is_filled(vm, 0, 4, 3);
    // A slot that can not be written is lost, and tried once.
    for (uint64_t n = 1; n < 64; n++)
        d.spoil(disk_operation::write, n);
    const uint64_t failed = d.failed();
    CHECK(m.put_out(2) == 0);
    CHECK(d.failed() - failed <= 3);
    m.put_all_out();
    m.put_all_out();
    is_filled(vm, 0, 4, 3);
    CHECK(slots_in_use() == 0);
    CHECK(area_of(d).pages < 63);
}

// ---- Memory that is short --------------------------------------------------------------------

// Each thread needs as much as there is. One that is not woken sleeps for ever, which is a panic.
TEST_CASE("paging: threads that need more memory than there is", "[paging]") {
    vm_world world;
    uvm_check_at_seams = false;
    for (uint64_t seed = 1; seed <= 16; seed++) {
        paging_machine m(seed);
        REQUIRE(m.swap_on(m.add_disk(2000)));
        const shortage there_is(200);
        constexpr uint64_t count = 300;
        std::atomic<unsigned> done{0};
        for (unsigned k = 0; k < 3; k++)
            m.turns.start([&done, k] {
                auto vm = *vmspace::create();
                vm->set_layout(vaddr_t(0x7fff'0000'0000));
                bool good = bool(vm->map(
                    {.address = at, .size = pages(count), .prot = vm_prot::rw, .fixed = true}));
                for (uint64_t i = 0; i < count; i++)
                    good &= store(vm, at + pages(i), uint8_t(i + k)) == uint8_t(i + k);
                for (uint64_t i = 0; i < count; i++)
                    good &= load(vm, at + pages(i)) == uint8_t(i + k);
                done += good;
            });
        m.turns.settle();
        CHECK(done == 3);
        CHECK(slots_in_use() == 0);
    }
}

TEST_CASE("paging: memory and swap are out, and it is said at once", "[paging]") {
    vm_world world;
    uvm_check_at_seams = false;
    paging_machine m;
    REQUIRE(m.swap_on(m.add_disk(101)));
    vm_ref vm = new_space();
    map_private(vm, at.value(), 1000);
    uint64_t n = 0;
    {
        const shortage there_is(200);
        const counted turns(uvm_counter::pdwoke);
        while (store(vm, at + pages(n), uint8_t(n)) == uint8_t(n))
            REQUIRE(++n < 1000);
        CHECK(n >= 250);
        CHECK(uvm_pdaemon::spare_pages() < 8);
        CHECK(store(vm, at + pages(n), 1) == -4);
        CHECK(uvm_swap::full());
        CHECK(turns() < 20);
    }
    is_filled(vm, 0, n, 0);
    vm->check();
}

// Who asks while a turn goes on that helps nobody has one of his own; and whoever waits hears of it.
TEST_CASE("paging: threads for which memory and swap are out", "[paging]") {
    vm_world world;
    uvm_check_at_seams = false;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        paging_machine m(seed);
        REQUIRE(m.swap_on(m.add_disk(101)));
        vm_ref first = new_space(); // has most of it, and stays
        map_private(first, at.value(), 1000);
        const shortage there_is(200);
        uint64_t n = 0;
        while (store(first, at + pages(n), 1) == 1)
            REQUIRE(++n < 1000);
        unsigned refused = 0;
        std::vector<vm_ref> others;
        for (unsigned k = 0; k < 4; k++) {
            others.push_back(new_space());
            map_private(others.back(), at.value(), 100);
            m.turns.start([&refused, vm = others.back()]() mutable {
                uint64_t i = 0;
                while (i < 100 && store(vm, at + pages(i), 1) == 1)
                    i++;
                refused += i < 100;
            });
        }
        m.turns.settle();
        CHECK(refused == 4);
    }
}
