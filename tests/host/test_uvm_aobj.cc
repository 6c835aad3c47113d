// Memory objects: truncation, held pages, what is charged.
#include "arch/host/host_machine.h"
#include "tests/host/vm_world.h"
#include "vm/phys/alloc_fail.h"

static uint64_t object_pages() { return vm_page_get_statistics().object; }

TEST_CASE("aobj: truncation takes pages out of every mapping and zeroes the last", "[aobj]") {
    vm_world world;
    vm_ref a = new_space(), b = new_space();
    auto object = new_object(pages(4), 1);
    vaddr_t at = map_object(a, 0x100000, 4, object, true);
    vaddr_t bt = map_object(b, 0x900000, 4, object, false);
    store(a, at + pages(1) + 200, 9);
    CHECK(load(b, bt + pages(3)) == 4);
    REQUIRE(object->resize(pages(1) + 100));
    CHECK(object_pages() == 2);
    CHECK(load(a, at + pages(1)) == 2);
    CHECK(load(a, at + pages(1) + 200) == 0);
    CHECK(load(a, at + pages(2)) == -3);
    CHECK(load(b, bt + pages(3)) == -3);
    REQUIRE(object->resize(pages(3)));
    CHECK(load(b, bt + pages(2)) == 0);
    CHECK(load(b, bt + pages(3)) == -3);
    object->check();
    a->check();
    b->check();
}

TEST_CASE("aobj: truncation takes the private copies of what it cuts off", "[aobj]") {
    vm_world world;
    vm_ref a = new_space();
    auto object = new_object(pages(4), 1);
    vaddr_t at = map_object(a, 0x100000, 3, object, false, pages(1)); // pages 1, 2, 3
    for (int i = 0; i < 3; i++)
        store(a, at + pages(i), uint8_t(20 + i));
    vm_ref b = fork_of(a);       // the amap of both
    store(b, at + pages(1), 31); // and now one of its own
    REQUIRE(a->unmap(at + pages(1), pages(1)));
    vm_ref c = fork_of(b, fork_mode::copy);
    REQUIRE(object->resize(pages(2) + 5));
    for (vm_ref* vm : {&b, &c}) {
        CHECK(load(*vm, at) == 20);
        CHECK(load(*vm, at + pages(1)) == 31); // the page that the file still has in part
        CHECK(load(*vm, at + pages(2)) == -3);
    }
    CHECK(load(a, at) == 20);
    CHECK(load(a, at + pages(2)) == -3);
    REQUIRE(object->resize(pages(4)));
    for (vm_ref* vm : {&a, &b, &c}) {
        CHECK(load(*vm, at + pages(2)) == 0);
        CHECK(store(*vm, at + pages(2), 7) == 7);
    }
    REQUIRE(object->resize(0));
    CHECK(load(c, at) == -3);
}

TEST_CASE("aobj: a held page outlives its truncation", "[aobj]") {
    vm_world world;
    auto object = new_object(pages(3), 1);
    auto hole = uvm_aobj::create(pages(2), "hole", uvm_aobj::charging::nothing);
    REQUIRE(hole);
    auto nothing = (*hole)->hold(1, uvm_aobj::purpose::read);
    REQUIRE(nothing);
    CHECK_FALSE(*nothing);
    CHECK_FALSE((*hole)->hold(2, uvm_aobj::purpose::write));
    {
        auto held = object->hold(2, uvm_aobj::purpose::write);
        REQUIRE(held);
        REQUIRE(object->resize(0));
        CHECK(object_pages() == 1);
        CHECK(*held->data() == 3);
        *held->data() = 4;
    }
    CHECK(object_pages() == 0);
    object->check();
}

TEST_CASE("aobj: the charge follows the size", "[aobj][commit]") {
    vm_world world;
    uint64_t base = uvm_commit::committed();
    auto object = uvm_aobj::create(pages(3), "shm", uvm_aobj::charging::size);
    REQUIRE(object);
    CHECK(uvm_commit::committed() == base + 3);
    REQUIRE((*object)->resize(pages(10)));
    CHECK(uvm_commit::committed() == base + 10);
    REQUIRE((*object)->resize(5));
    CHECK(uvm_commit::committed() == base + 1);
    uvm_commit::set_mode(uvm_commit::mode::strict);
    uvm_commit::set_kbytes(4 * (base + 5));
    CHECK(error_of((*object)->resize(pages(6))) == Errno::nomem);
    CHECK((*object)->size() == 5);
    CHECK_FALSE(uvm_aobj::create(pages(9), "shm", uvm_aobj::charging::size));
}
