// Physical pages in blocks, kmem, pools and the commit account's settings: what the VM system's
// structures are made of.
#include "tests/host/vm_world.h"

#include "vm/phys/alloc_fail.h"

#include <cstring>
#include <latch>
#include <thread>

TEST_CASE("blocks of pages: aligned, apart, and given back whole or page by page", "[memory]") {
    vm_world world;
    std::vector<std::pair<vm_page*, unsigned>> blocks;
    for (unsigned order : {0u, 1u, 4u, 10u, 3u}) {
        vm_page* block = vm_page_alloc_contiguous(order, page_owner::kernel);
        REQUIRE(block);
        CHECK(pages_of(block->physical().value()) % (1u << order) == 0);
        memset(block->data(), int(order + 1), page_size << order);
        blocks.emplace_back(block, order);
    }
    for (auto [block, order] : blocks) {
        auto* bytes = static_cast<uint8_t*>(block->data());
        CHECK(bytes[0] == order + 1);
        CHECK(bytes[(page_size << order) - 1] == order + 1);
    }
    for (size_t i = 0; i < blocks.size(); i++) {
        auto [block, order] = blocks[i];
        if (i % 2 == 0)
            vm_page_free_contiguous(block, order);
        else
            for (unsigned k = 0; k < 1u << order; k++)
                vm_page_free(block + k);
    }
    vm_page_check();
}

TEST_CASE("blocks of pages: when memory is out, nothing is lost", "[memory]") {
    vm_world world;
    std::vector<vm_page*> blocks, singles;
    while (vm_page* block = vm_page_alloc_contiguous(10, page_owner::kernel))
        blocks.push_back(block);
    CHECK(blocks.size() > 8);
    while (vm_page* page = vm_page_alloc(page_owner::kernel))
        singles.push_back(page);
    CHECK(vm_page_alloc_contiguous(1, page_owner::kernel) == nullptr);
    CHECK(kmem_alloc(page_size * 3) == nullptr);
    // Neighbours that come back one by one are a block again.
    for (vm_page* page : singles)
        vm_page_free(page);
    for (vm_page* block : blocks)
        for (unsigned k = 0; k < 1024; k++)
            vm_page_free(block + k);
    vm_page* again = vm_page_alloc_contiguous(10, page_owner::kernel);
    REQUIRE(again);
    vm_page_free_contiguous(again, 10);
    vm_page_check();
}

TEST_CASE("free pages: what another processor keeps is there for all", "[memory]") {
    vm_world world;
    const uint64_t free = vm_page_get_statistics().free;
    std::vector<vm_page*> taken;
    std::latch freed(1), looked(1);
    std::thread other([&] {
        // More than its stock holds, so that some go back to the buddies.
        std::vector<vm_page*> own;
        for (int i = 0; i < 200; i++)
            own.push_back(vm_page_alloc(page_owner::anon));
        for (vm_page* page : own)
            vm_page_free(page);
        freed.count_down();
        looked.wait();
    });
    freed.wait();
    CHECK(vm_page_in_stocks() > 0);
    CHECK(vm_page_get_statistics().free == free);
    vm_page_check();
    while (vm_page* page = vm_page_alloc(page_owner::anon))
        taken.push_back(page);
    CHECK(taken.size() == free);
    CHECK(vm_page_get_statistics().free == 0);
    CHECK(vm_page_in_stocks() == 0);
    vm_page_check();
    looked.count_down();
    other.join();
    for (vm_page* page : taken)
        vm_page_free(page);
    CHECK(vm_page_get_statistics().free == free);
    vm_page_check();
}

TEST_CASE("kmem: memory of every size, its own, aligned, counted", "[memory]") {
    vm_world world;
    uint64_t before = kmem_bytes_in_use(), sum = 0;
    std::vector<std::pair<uint8_t*, size_t>> all;
    for (size_t size : {1, 16, 17, 48, 100, 2016, 2017, 4096, 4097, 12288, 100'000}) {
        auto* memory = static_cast<uint8_t*>(kmem_zalloc(size));
        REQUIRE(memory);
        CHECK(reinterpret_cast<uintptr_t>(memory) % (size < page_size ? 16 : page_size) == 0);
        for (size_t i = 0; i < size; i++)
            REQUIRE(memory[i] == 0);
        memset(memory, int(all.size() + 1), size);
        all.emplace_back(memory, size);
        sum += size;
    }
    CHECK(kmem_bytes_in_use() == before + sum);
    for (size_t i = 0; i < all.size(); i++) {
        CHECK(all[i].first[all[i].second - 1] == i + 1);
        kmem_free(all[i].first, all[i].second);
    }
    kmem_free(nullptr, 5);
    CHECK(kmem_alloc(SIZE_MAX / 2) == nullptr);
    kmem_array<uint64_t> array(100), moved;
    REQUIRE(array);
    moved = std::move(array);
    CHECK(!array);
    CHECK(moved.size() == 100);
    CHECK_FALSE(kmem_array<uint64_t>(SIZE_MAX / 4));
}

TEST_CASE("kmem: each allocation fails in turn", "[memory]") {
    vm_world world;
    for (size_t size : {size_t{100}, 3 * page_size}) {
        REQUIRE(alloc_fail_try(1));
        CHECK(alloc_fail_pending() == 1);
        CHECK(kmem_alloc(size) == nullptr);
        CHECK(alloc_fail_pending() == 0);
    }
    REQUIRE(alloc_fail_try(5));
    REQUIRE(alloc_fail_try(0));
    CHECK(alloc_fail_pending() == 0);
}

TEST_CASE("pools: objects come and go, slabs go back", "[memory]") {
    struct thing {
        uint64_t word[6] = {};
    };
    static pool<thing> things("test things");
    vm_world world;
    thing *a = things.create(), *b = things.create();
    REQUIRE(a);
    REQUIRE(b);
    CHECK(things.live() == 2);
    std::vector<thing*> many;
    for (int i = 0; i < 1000; i++)
        many.push_back(things.create());
    for (thing* t : many)
        things.destroy(t);
    things.check();
    things.destroy(a);
    things.destroy(b);
    things.destroy(nullptr);
    things.trim();
    CHECK(things.live() == 0);
}

TEST_CASE("pools: an object that nobody wrote to is freed where one was freed before", "[memory]") {
    vm_world world;
    for (int round = 0; round < 2; round++) {
        std::vector<void*> all;
        for (int i = 0; i < 500; i++)
            all.push_back(kmem_alloc(64));
        for (void* memory : all)
            kmem_free(memory, 64);
        for (pool_base* p = pool_base::first(); p; p = p->next())
            p->trim(); // the pages go, and come again with what is in them
    }
}

TEST_CASE("the commit account keeps its settings", "[memory]") {
    vm_world world;
    uint64_t ratio = uvm_commit::ratio();
    uvm_commit::set_ratio(80);
    CHECK(uvm_commit::ratio() == 80);
    CHECK(uvm_commit::commit_limit() == vm_page_get_statistics().total * 80 / 100);
    uvm_commit::set_kbytes(4000);
    CHECK(uvm_commit::kbytes() == 4000);
    CHECK(uvm_commit::ratio() == 0); // one or the other
    CHECK(uvm_commit::commit_limit() == 1000);
    uvm_commit::set_ratio(ratio);
    CHECK(uvm_commit::kbytes() == 0);
    // Heuristic: only what could never be is refused.
    CHECK(error_of(uvm_commit::charge(vm_page_get_statistics().total + 1)) == Errno::nomem);
    REQUIRE(uvm_commit::charge(10));
    uvm_commit::uncharge(10);
}

TEST_CASE("the commit account refuses all while more is promised than its limit", "[memory]") {
    vm_world world;
    const uint64_t ratio = uvm_commit::ratio();
    uvm_commit::set_mode(uvm_commit::mode::strict);
    uvm_commit::set_kbytes(400);
    REQUIRE(uvm_commit::charge(100));
    CHECK(error_of(uvm_commit::charge(1)) == Errno::nomem);
    uvm_commit::set_kbytes(200);
    CHECK(error_of(uvm_commit::charge(1)) == Errno::nomem);
    CHECK(uvm_commit::charge(0)); // asks for nothing
    uvm_commit::uncharge(51);
    CHECK(uvm_commit::charge(1));
    CHECK(error_of(uvm_commit::charge(1)) == Errno::nomem);
    uvm_commit::uncharge(50);
    uvm_commit::set_ratio(ratio);
}

TEST_CASE("an exchange of promises is kept, or leaves no trace", "[memory]") {
    vm_world world;
    REQUIRE(uvm_commit::charge(10));
    {
        commit_exchange more;
        REQUIRE(more.begin(7, 3));
        CHECK(uvm_commit::committed() == 14);
    }
    CHECK(uvm_commit::committed() == 10);
    {
        commit_exchange more;
        REQUIRE(more.begin(7, 3));
        more.finish();
    }
    CHECK(uvm_commit::committed() == 14);
    {
        commit_exchange less;
        REQUIRE(less.begin(2, 5));
        CHECK(uvm_commit::committed() == 14); // until it is sure
    }
    CHECK(uvm_commit::committed() == 14);
    {
        commit_exchange less;
        REQUIRE(less.begin(2, 5));
        less.finish();
    }
    CHECK(uvm_commit::committed() == 11);
    uvm_commit::uncharge(11);
}

TEST_CASE("allocations that are to fail: one thread's, and one at a time", "[memory]") {
    vm_world world;
    REQUIRE(alloc_fail_try(2));
    bool armed = true, allocated = false;
    uint64_t pending = 1;
    std::thread other([&] {
        armed = alloc_fail_try(1); // another thread's is pending
        pending = alloc_fail_pending();
        void* memory = kmem_alloc(64); // it is not this thread's that fails
        allocated = memory != nullptr;
        kmem_free(memory, 64);
    });
    other.join();
    CHECK_FALSE(armed);
    CHECK(allocated);
    CHECK(pending == 0);
    CHECK(alloc_fail_pending() == 2);
    CHECK(alloc_fail_after(0) == 2);
}

TEST_CASE("memory that is not whole pages is not given to the allocator", "[memory]") {
    const vm_page_statistics before = vm_page_get_statistics();
    vm_page* page = vm_page_alloc(page_owner::kernel);
    REQUIRE(page);
    const uint64_t inside = page->physical().value() + 1;
    vm_page_free(page);
    // Nothing of these ranges is whole pages between the lowest and the highest address.
    vm_page_add_range(paddr_t(0), page_size);
    vm_page_add_range(paddr_t(inside), page_size);
    CHECK(vm_page_get_statistics().total == before.total);
    CHECK(vm_page_of(paddr_t(0)) == nullptr);
}

TEST_CASE("pages of objects that somebody has mapped", "[memory]") {
    vm_world world;
    auto object = uvm_aobj::create(pages(4), "x", uvm_aobj::charging::nothing);
    REQUIRE(object);
    vm_ref vm = new_space(), other = new_space();
    const uint64_t before = vm_page_count_mapped();
    for (vm_ref* v : {&vm, &other}) {
        map_object(*v, 0x100000, 4, *object, true);
        store(*v, vaddr_t(0x101000), 5);
        store(*v, vaddr_t(0x102000), 6);
    }
    CHECK(vm_page_count_mapped() == before + 2); // once, however many have it
    uint8_t vec[4];
    REQUIRE(vm->mincore(vaddr_t(0x100000), pages(4), vec));
    CHECK((vec[0] == 0 && vec[1] == 1 && vec[2] == 1 && vec[3] == 0));
    CHECK(error_of(vm->mincore(vaddr_t(0x100001), pages(1), vec)) == Errno::inval);
    CHECK(error_of(vm->mincore(vaddr_t(0x100000), UINT64_MAX - 4095, vec)) == Errno::nomem);
    other.reset();
    vm.reset();
    CHECK(vm_page_count_mapped() == before);

    auto first = (*object)->hold(0, uvm_aobj::purpose::write),
         second = (*object)->hold(1, uvm_aobj::purpose::write);
    REQUIRE(first);
    REQUIRE(second);
    char* data = second->data();
    *first = std::move(*second); // what it held is let go with the other
    CHECK(first->data() == data);
    CHECK((*object)->device() == 0);
    CHECK(std::string((*object)->kind()) == "anon");
}

TEST_CASE("counters and what a fork is blamed for have names", "[memory]") {
    CHECK(std::string(uvm_counter_name(uvm_counter::faults)) == "faults");
    CHECK(std::string(vm_aftermath::name(vm_aftermath::kind::write_copied)) == "write_copied");
}
