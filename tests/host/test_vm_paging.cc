// Memory that is put out to a simulated disk, and comes back.
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
