// The allocators: pages, pools, kmem, and failure injection.
#include "lib/string.h"
#include "tests/kernel/ktest.h"
#include "tests/kernel/ktest_threads.h"
#include "vm/phys/alloc_fail.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"

#include <algorithm>

namespace {

struct thing {
    uint64_t words[5];
};
struct large_thing {
    char bytes[5000];
};
struct half_page {
    char bytes[2500];
};
constinit pool<half_page> half_pages{"ktest half page"};
constinit pool<thing> things{"ktest thing"};
constinit pool<large_thing> large_things{"ktest large thing"};

uint64_t free_pages() { return vm_page_get_statistics().free; }

bool filled_with(const void* memory, int byte, size_t n) {
    auto* p = static_cast<const unsigned char*>(memory);
    for (size_t i = 0; i < n; i++)
        if (p[i] != static_cast<unsigned char>(byte))
            return false;
    return true;
}

} // namespace

KTEST(vm_page, allocates_and_counts) {
    const vm_page_statistics before = vm_page_get_statistics();
    owned_page page(vm_page_alloc(page_owner::anon, true));
    REQUIRE(page);
    EXPECT(filled_with(page->data(), 0, page_size));
    EXPECT(page->owner_kind == page_owner::anon && page->wire_count == 0 && page->clean);
    EXPECT(page->physical().page_aligned() && vm_page_of(page->physical()) == page.get());
    EXPECT(vm_page_of(page->physical() + 4095) == page.get());
    const vm_page_statistics during = vm_page_get_statistics();
    EXPECT_EQ(during.free, before.free - 1);
    EXPECT_EQ(during.anon, before.anon + 1);
    EXPECT_EQ(during.total, before.total);
    page.reset();
    EXPECT_EQ(vm_page_get_statistics().anon, before.anon);
}

KTEST(vm_page, zeroes_what_was_used_before) {
    for (int i = 0; i < 100; i++) {
        owned_page used(vm_page_alloc(page_owner::anon));
        REQUIRE(used);
        memset(used->data(), 0xee, page_size);
        used.reset();
        owned_page page(vm_page_alloc(page_owner::anon, true));
        REQUIRE(page);
        EXPECT(filled_with(page->data(), 0, page_size));
    }
}

KTEST(vm_page, is_not_given_twice) {
    constexpr size_t n = 300;
    static vm_page* pages[n];
    for (size_t i = 0; i < n; i++) {
        pages[i] = vm_page_alloc(page_owner::anon);
        REQUIRE(pages[i]);
        *static_cast<uint64_t*>(pages[i]->data()) = i;
    }
    for (size_t i = 0; i < n; i++)
        EXPECT_EQ(*static_cast<uint64_t*>(pages[i]->data()), i);
    vm_page_check();
    for (vm_page* p : pages)
        vm_page_free(p);
}

KTEST(vm_page, known_to_be_zero) {
    vm_page* page = vm_page_alloc(page_owner::kernel, true);
    REQUIRE(page);
    vm_page_free_zeroed(page);
    vm_page_check(); // looks at its contents
    EXPECT_EQ(vm_page_alloc(page_owner::kernel, true), page);
    EXPECT(filled_with(page->data(), 0, page_size));
    vm_page_free(page);
}

KTEST(vm_page, blocks_are_aligned_and_rejoined) {
    struct block {
        vm_page* first;
        unsigned order;
    };
    constexpr size_t n = 64;
    static block blocks[n];
    for (int round = 0; round < 10; round++) {
        for (block& b : blocks) {
            b.order = static_cast<unsigned>(ktest_random(5));
            b.first = vm_page_alloc_contiguous(b.order, page_owner::kernel);
            REQUIRE(b.first);
            EXPECT_EQ(b.first->physical().value() & ((page_size << b.order) - 1), 0u);
            memset(b.first->data(), 0x5a, page_size << b.order);
        }
        vm_page_check();
        for (size_t i = n; i > 1; i--)
            std::swap(blocks[i - 1], blocks[ktest_random(i)]);
        for (block& b : blocks) {
            if (ktest_random(2)) {
                vm_page_free_contiguous(b.first, b.order);
                continue;
            }
            for (size_t i = 0; i < size_t{1} << b.order; i++)
                vm_page_free(b.first + i);
        }
        vm_page_check();
    }
}

KTEST(vm_page, all_of_memory) {
    // Everything there is, one by one; then the same as large blocks again.
    list<vm_page, &vm_page::queue> taken;
    const uint64_t before = free_pages();
    uint64_t n = 0;
    while (vm_page* page = vm_page_alloc(page_owner::anon)) {
        taken.push_back(*page);
        n++;
    }
    EXPECT_EQ(free_pages(), 0u);
    EXPECT(vm_page_alloc_contiguous(1, page_owner::kernel) == nullptr);
    EXPECT(n <= before && n + 64 > before); // other threads may have taken or given a few
    // Two neighbours that were freed one by one serve as a block.
    for (vm_page& page : taken) {
        vm_page* buddy = vm_page_of(paddr_t(page.physical().value() ^ page_size));
        if (!buddy || buddy->owner_kind != page_owner::anon || !buddy->queue.linked())
            continue;
        taken.remove(page);
        taken.remove(*buddy);
        vm_page_free(&page);
        vm_page_free(buddy);
        vm_page* block = vm_page_alloc_contiguous(1, page_owner::kernel);
        EXPECT(block != nullptr);
        if (block)
            vm_page_free_contiguous(block, 1);
        break;
    }
    while (vm_page* page = taken.pop_front())
        vm_page_free(page);
    vm_page* large = vm_page_alloc_contiguous(10, page_owner::kernel);
    EXPECT(large != nullptr);
    if (large)
        vm_page_free_contiguous(large, 10);
}

KTEST(vm_page, what_another_cpu_keeps_is_free_memory) {
    vm_page *lower = nullptr, *upper = nullptr;
    std::atomic<int> step{0};
    // Frees one of the two, and stays, so that its processor has nothing else to do with memory.
    on_cpu elsewhere(cpu::count() - 1, [&] {
        for (int round = 0; round < 2; round++) {
            spin_until([&] { return step == 2 * round + 1; });
            vm_page_free(upper);
            step++;
        }
        spin_until([&] { return step == 5; });
    });
    list<vm_page, &vm_page::queue> taken;
    while (vm_page* page = vm_page_alloc(page_owner::anon))
        taken.push_back(*page);
    EXPECT_EQ(vm_page_in_stocks(), 0u);
    for (vm_page& page : taken) {
        upper = vm_page_of(page.physical() + page_size);
        if (!(page.physical().value() & page_size) && upper &&
            upper->owner_kind == page_owner::anon && upper->queue.linked()) {
            lower = &page;
            break;
        }
    }
    REQUIRE(lower);
    taken.remove(*lower);
    taken.remove(*upper);
    vm_page_free(lower);
    step = 1;
    spin_until([&] { return step == 2; });
    EXPECT_EQ(vm_page_in_stocks(), 2u);
    EXPECT_EQ(free_pages(), 2u);
    // They serve as a block, and one by one.
    EXPECT(vm_page_alloc_contiguous(1, page_owner::anon) == lower);
    vm_page_free(lower);
    step = 3;
    spin_until([&] { return step == 4; });
    EXPECT_EQ(vm_page_in_stocks(), 2u);
    for (int i = 0; i < 2; i++) {
        vm_page* page = vm_page_alloc(page_owner::anon);
        EXPECT(page == lower || page == upper);
        if (page)
            taken.push_back(*page);
    }
    EXPECT_EQ(free_pages(), 0u);
    EXPECT(vm_page_alloc(page_owner::anon) == nullptr);
    while (vm_page* page = taken.pop_front())
        vm_page_free(page);
    step = 5;
    elsewhere.join();
    vm_page_check();
}

KTEST(vm_page, on_all_cpus_at_once) {
    on_all_cpus(6, [](unsigned self) {
        vm_page* mine[16] = {};
        for (unsigned i = 0; i < 3000; i++) {
            vm_page*& slot = mine[i * 7 % 16];
            if (slot) {
                EXPECT_EQ(*static_cast<uint64_t*>(slot->data()), self);
                vm_page_free(slot);
                slot = nullptr;
            } else if ((slot = vm_page_alloc(page_owner::anon))) {
                *static_cast<uint64_t*>(slot->data()) = self;
            }
        }
        for (vm_page* page : mine)
            if (page)
                vm_page_free(page);
    });
    vm_page_check();
}

KTEST(pool, objects_are_distinct_and_aligned) {
    constexpr size_t n = 500;
    static thing* all[n];
    for (size_t i = 0; i < n; i++) {
        all[i] = things.create();
        REQUIRE(all[i]);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(all[i]) % alignof(thing), 0u);
        for (uint64_t& w : all[i]->words)
            w = i;
    }
    EXPECT_EQ(things.live(), n);
    things.check();
    for (size_t i = 0; i < n; i++)
        for (uint64_t w : all[i]->words)
            EXPECT_EQ(w, i);
    for (size_t i = n; i > 1; i--)
        std::swap(all[i - 1], all[ktest_random(i)]);
    for (size_t i = 0; i < n; i++) {
        things.destroy(all[i]);
        if (i % 100 == 0)
            things.check();
    }
    EXPECT_EQ(things.live(), 0u);
}

KTEST(pool, trim_gives_all_pages_back) {
    thing* t = things.create();
    large_thing* l = large_things.create();
    REQUIRE(t && l);
    EXPECT(things.pages() > 0 && large_things.pages() > 1);
    things.destroy(t);
    large_things.destroy(l);
    things.trim();
    large_things.trim();
    EXPECT_EQ(things.pages(), 0u);
    EXPECT_EQ(large_things.pages(), 0u);
}

KTEST(pool, reuses_what_was_freed) {
    thing* keep = things.create();
    thing* t = things.create();
    REQUIRE(keep && t);
    const uint64_t pages = things.pages();
    for (int i = 0; i < 1000; i++) {
        things.destroy(t);
        t = things.create();
        REQUIRE(t);
    }
    EXPECT_EQ(things.pages(), pages);
    things.destroy(t);
    things.destroy(keep);
}

KTEST(pool, on_all_cpus_at_once) {
    on_all_cpus(6, [](unsigned self) {
        large_thing* mine[24] = {};
        for (unsigned i = 0; i < 2000; i++) {
            large_thing*& slot = mine[i * 5 % 24];
            if (slot) {
                EXPECT(filled_with(slot, static_cast<int>(self), 64));
                large_things.destroy(slot);
                slot = nullptr;
            } else if ((slot = large_things.create())) {
                memset(slot, static_cast<int>(self), 64);
            }
        }
        for (large_thing* l : mine)
            large_things.destroy(l);
    });
    large_things.check();
    EXPECT_EQ(large_things.live(), 0u);
}

KTEST(pool, what_another_cpu_keeps_is_there_when_memory_runs_out) {
    thing* wanted = things.create();
    REQUIRE(wanted);
    {
        on_cpu elsewhere(cpu::count() - 1, [&] { things.destroy(wanted); });
    }
    EXPECT_EQ(things.live(), 0u);
    list<vm_page, &vm_page::queue> taken;
    while (vm_page* page = vm_page_alloc(page_owner::kernel))
        taken.push_back(*page);
    constexpr unsigned most = 2000; // of what slabs still have
    static thing* made[most];
    unsigned n = 0;
    bool found = false;
    while (n < most && (made[n] = things.create()))
        found |= made[n++] == wanted;
    while (vm_page* page = taken.pop_front())
        vm_page_free(page);
    EXPECT(n > 0 && n < most && found);
    things.check();
    while (n > 0)
        things.destroy(made[--n]);
    EXPECT_EQ(things.live(), 0u);
}

KTEST(kmem, sizes_and_alignment) {
    for (size_t size = 0; size < 20000; size += size < 3000 ? 61 : 1009) {
        auto* p = static_cast<char*>(kmem_zalloc(size));
        REQUIRE(p);
        const size_t alignment = size >= page_size ? page_size : 16;
        EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % alignment, 0u);
        EXPECT(filled_with(p, 0, size));
        memset(p, 0xff, size);
        kmem_free(p, size);
    }
}

KTEST(kmem, counts_bytes) {
    const uint64_t before = kmem_bytes_in_use();
    {
        kmem_array<uint64_t> a(100);
        REQUIRE(a);
        EXPECT_EQ(kmem_bytes_in_use(), before + 800);
        kmem_array<uint64_t> b = std::move(a);
        EXPECT(!a); // NOLINT(bugprone-use-after-move): what a move leaves is the test
        EXPECT(b && b.size() == 100 && b[99] == 0);
    }
    EXPECT_EQ(kmem_bytes_in_use(), before);
    EXPECT(kmem_alloc(SIZE_MAX) == nullptr);
    EXPECT(kmem_alloc(SIZE_MAX - 100) == nullptr);
    kmem_array<uint64_t> too_many(SIZE_MAX / 4);
    EXPECT(!too_many);
}

KTEST(kmem, large_block_gives_its_tail_back) {
    const uint64_t before = free_pages();
    void* p = kmem_alloc(5 * page_size + 1); // 6 pages out of a block of 8
    REQUIRE(p);
    EXPECT_EQ(free_pages(), before - 6);
    kmem_free(p, 5 * page_size + 1);
    EXPECT_EQ(free_pages(), before);
}

KTEST(alloc_fail, nth_allocation_fails) {
    thing* warm = things.create();
    alloc_fail_after(1);
    EXPECT(kmem_alloc(10) == nullptr);
    EXPECT_EQ(alloc_fail_after(0), 0u);

    alloc_fail_after(3);
    owned_page a(vm_page_alloc(page_owner::anon));
    thing* b = things.create();
    EXPECT(a && b);
    EXPECT(vm_page_alloc(page_owner::anon) == nullptr);
    owned_page c(vm_page_alloc(page_owner::anon)); // only that one
    EXPECT(c);

    alloc_fail_after(10);
    owned_page d(vm_page_alloc(page_owner::anon));
    EXPECT_EQ(alloc_fail_after(0), 9u);
    things.destroy(b);
    things.destroy(warm);
}

KTEST(alloc_fail, is_this_threads_alone) {
    if (cpu::count() == 1)
        SKIP("needs two processors");
    cpu::interrupts_push_off();
    const unsigned other = (cpu::id() + 1) % cpu::count();
    cpu::interrupts_pop_off();
    std::atomic<bool> armed{false};
    auto body = [&] {
        spin_until([&] { return armed.load(); });
        owned_page page(vm_page_alloc(page_owner::anon));
        EXPECT(page);
    };
    on_cpu other_thread(other, body);
    alloc_fail_after(1);
    armed = true;
    other_thread.join();
    EXPECT(vm_page_alloc(page_owner::anon) == nullptr);
}

// Every second page is free, so that no two of them lie in a row.
KTEST(pool, does_with_single_pages_where_free_ones_lie_scattered) {
    list<vm_page, &vm_page::queue> taken, odd;
    while (vm_page* page = vm_page_alloc(page_owner::kernel))
        (page->physical().value() >> page_shift & 1 ? odd : taken).push_back(*page);
    constexpr unsigned wanted = 40;
    for (unsigned n = 0; n < 4 * wanted; n++)
        if (vm_page* page = taken.pop_front())
            vm_page_free(page);
    half_page* made[wanted] = {};
    unsigned n = 0;
    while (n < wanted && (made[n] = half_pages.create()))
        n++;
    vm_page* const block = vm_page_alloc_contiguous(1, page_owner::kernel);
    for (auto* pages : {&taken, &odd})
        while (vm_page* page = pages->pop_front())
            vm_page_free(page);
    EXPECT(!block);
    if (block)
        vm_page_free_contiguous(block, 1);
    EXPECT_EQ(n, wanted);
    half_pages.check();
    for (half_page* each : made)
        half_pages.destroy(each);
}
