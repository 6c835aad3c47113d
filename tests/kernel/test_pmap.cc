// pmap on one CPU: mappings, rights, pv lists, page tables, and running out of memory.
#include "tests/kernel/test_pmap.h"
#include "arch/pmap.h"
#include "lib/string.h"
#include "tests/kernel/ktest.h"
#include "vm/phys/alloc_fail.h"
#include "vm/phys/uvmexp.h"

namespace {

uint32_t& word(const owned_page& page) { return *static_cast<uint32_t*>(page->data()); }

constexpr vm_prot ro = vm_prot::read, rw = vm_prot::rw, none = vm_prot::none;

} // namespace

KTEST(pmap, new_one_is_empty) {
    test_pmap p;
    REQUIRE(p);
    EXPECT_EQ(p->resident_pages(), 0u);
    EXPECT_EQ(p->table_pages(), 1u);
    EXPECT(!p->lookup(vaddr_t(0x1000)) && !p->lookup(user_max - page_size));
    p->check();
}

KTEST(pmap, enters_and_looks_up) {
    owned_page page(vm_page_alloc(page_owner::anon));
    test_pmap p;
    REQUIRE(p && page);
    const vaddr_t va(0x7654'3210'0000);
    EXPECT(p->enter(va, *page.get(), rw, {.access = vm_prot::write}).has_value());
    auto m = p->lookup(va + 0x123);
    REQUIRE(m.has_value());
    EXPECT(m->pa == page->physical() + 0x123 && m->prot == rw && !m->wired);
    EXPECT(m->referenced && m->modified);
    EXPECT(!p->lookup(va + page_size) && !p->lookup(va - page_size));
    EXPECT_EQ(p->resident_pages(), 1u);
    EXPECT_EQ(p->table_pages(), 4u);
    EXPECT_EQ(pmap::mapping_count(*page.get()), 1u);
    p->check();
    p->remove(va, va + page_size);
    EXPECT(!p->lookup(va));
    EXPECT_EQ(p->table_pages(), 1u);
    EXPECT_EQ(pmap::mapping_count(*page.get()), 0u);
    p->check();
}

KTEST(pmap, grants_what_it_says) {
    owned_page page(vm_page_alloc(page_owner::anon, true));
    test_pmap p;
    REQUIRE(p && page);
    const vaddr_t va(0x40'0000);
    loaded_pmap loaded(p);
    EXPECT(!can_read(va));
    REQUIRE(p->enter(va, *page.get(), ro).has_value());
    word(page) = 77;
    EXPECT(can_read(va) && !can_write(va));
    EXPECT_EQ(read_word(va), 77u);
    // More rights for the page that is there.
    REQUIRE(p->enter(va, *page.get(), rw).has_value());
    EXPECT(can_write(va));
    EXPECT_EQ(word(page), 78u); // can_write() adds one
    p->protect(va, va + page_size, ro);
    EXPECT(can_read(va) && !can_write(va));
    // Never raises.
    p->protect(va, va + page_size, rw);
    EXPECT(!can_write(va));
    p->protect(va, va + page_size, none);
    EXPECT(!can_read(va) && !p->lookup(va));
    p->check();
}

// It keeps its page, of which nothing is to be seen.
KTEST(pmap, wired_without_rights) {
    owned_page page(vm_page_alloc(page_owner::anon, true)),
        plain(vm_page_alloc(page_owner::anon, true));
    test_pmap p, child;
    REQUIRE(p && child && page && plain);
    const vaddr_t va(0x40'0000), next = va + page_size;
    loaded_pmap loaded(p);
    REQUIRE(p->enter(va, *page.get(), rw, {.wired = true}).has_value());
    REQUIRE(p->enter(next, *plain.get(), rw).has_value());
    EXPECT(can_write(va) && can_write(next));
    p->protect(va, next + page_size, none);
    EXPECT(!can_read(va) && !can_read(next) && !p->lookup(next));
    const auto mapping = p->lookup(va);
    EXPECT(mapping && mapping->prot == none && mapping->wired && pmap::is_wired(*page.get()));
    EXPECT(p->wired_pages() == 1 && p->resident_pages() == 1);
    p->check();
    child->copy(*p, va, next);
    EXPECT(!child->lookup(va));
    REQUIRE(p->enter(va, *page.get(), ro, {.wired = true}).has_value());
    EXPECT(can_read(va) && !can_write(va) && read_word(va) == 1u);
    p->protect(va, next, none);
    pmap::page_protect(*page.get(), none);
    EXPECT(!p->lookup(va) && p->wired_pages() == 0);
    REQUIRE(p->enter(va, *page.get(), none, {.wired = true}).has_value());
    EXPECT(!can_read(va) && p->lookup(va));
    p->remove(va, next);
    EXPECT(!p->lookup(va) && p->resident_pages() == 0);
    p->check();
}

KTEST(pmap, referenced_and_modified) {
    owned_page page(vm_page_alloc(page_owner::anon, true));
    test_pmap p;
    REQUIRE(p && page);
    vm_page& pg = *page.get();
    const vaddr_t va(0x40'0000);
    loaded_pmap loaded(p);
    REQUIRE(p->enter(va, pg, rw).has_value());
    EXPECT(!pmap::is_referenced(pg) && !pmap::is_modified(pg));
    EXPECT(can_read(va));
    EXPECT(pmap::is_referenced(pg) && !pmap::is_modified(pg));
    EXPECT(can_write(va));
    EXPECT(pmap::is_modified(pg));
    EXPECT(pmap::clear_modified(pg) && !pmap::is_modified(pg) && !pmap::clear_modified(pg));
    EXPECT(pmap::clear_referenced(pg) && !pmap::is_referenced(pg));
    // The processor must have forgotten that it had set the bits.
    EXPECT(can_write(va));
    EXPECT(pmap::is_referenced(pg) && pmap::is_modified(pg));
    // A mapping that goes leaves its bits to the page.
    p->remove(va, va + page_size);
    EXPECT(pmap::is_referenced(pg) && pmap::is_modified(pg));
    EXPECT(pmap::clear_referenced(pg) && pmap::clear_modified(pg));
    EXPECT(!pmap::is_referenced(pg) && !pmap::is_modified(pg));
}

KTEST(pmap, replaces_a_page) {
    owned_page first(vm_page_alloc(page_owner::anon, true));
    owned_page second(vm_page_alloc(page_owner::anon, true));
    test_pmap p;
    REQUIRE(p && first && second);
    const vaddr_t va(0x40'0000);
    loaded_pmap loaded(p);
    word(first) = 1;
    word(second) = 2;
    REQUIRE(p->enter(va, *first.get(), ro).has_value());
    EXPECT_EQ(read_word(va), 1u);
    REQUIRE(p->enter(va, *second.get(), rw).has_value());
    EXPECT_EQ(read_word(va), 2u); // not what the TLB has seen
    EXPECT_EQ(pmap::mapping_count(*first.get()), 0u);
    EXPECT(pmap::is_referenced(*first.get()));
    EXPECT_EQ(p->resident_pages(), 1u);
    p->check();
}

KTEST(pmap, page_protect_reaches_every_mapping) {
    constexpr size_t n = 5;
    owned_page page(vm_page_alloc(page_owner::anon, true));
    test_pmap a, b;
    REQUIRE(a && b && page);
    vm_page& pg = *page.get();
    auto va = [](size_t i) { return vaddr_t(0x1000'0000 + i * 0x1234'5000); };
    for (size_t i = 0; i < n; i++) {
        REQUIRE(a->enter(va(i), pg, rw).has_value());
        REQUIRE(b->enter(va(i) + page_size, pg, i % 2 ? rw : ro).has_value());
    }
    EXPECT_EQ(pmap::mapping_count(pg), 2 * n);
    a->check();
    b->check();
    loaded_pmap loaded(a);
    EXPECT(can_write(va(0)));
    pmap::page_protect(pg, ro);
    EXPECT(!can_write(va(0)) && can_read(va(0)));
    for (size_t i = 0; i < n; i++) {
        auto m = a->lookup(va(i));
        auto o = b->lookup(va(i) + page_size);
        EXPECT(m && m->prot == ro && o && o->prot == ro);
    }
    pmap::page_protect(pg, none);
    EXPECT_EQ(pmap::mapping_count(pg), 0u);
    EXPECT(!can_read(va(0)));
    EXPECT_EQ(a->resident_pages() + b->resident_pages(), 0u);
    EXPECT_EQ(a->table_pages() + b->table_pages(), 2u);
    a->check();
    b->check();
}

KTEST(pmap, pv_entries_go_in_any_order) {
    constexpr size_t n = 100;
    owned_page page(vm_page_alloc(page_owner::anon));
    test_pmap p, q;
    REQUIRE(p && q && page);
    struct {
        test_pmap* in;
        vaddr_t at;
    } where[n];
    for (size_t i = 0; i < n; i++) { // the same addresses in both
        where[i] = {i % 2 ? &p : &q, vaddr_t(0x10'0000 + i / 2 * page_size)};
        REQUIRE((*where[i].in)->enter(where[i].at, *page.get(), ro).has_value());
    }
    EXPECT_EQ(pmap::mapping_count(*page.get()), n);
    for (size_t i = n; i > 0; i--) {
        const size_t k = ktest_random(i);
        (*where[k].in)->remove(where[k].at, where[k].at + page_size);
        where[k] = where[i - 1];
        EXPECT_EQ(pmap::mapping_count(*page.get()), i - 1);
        p->check();
        q->check();
    }
}

KTEST(pmap, ranges_over_many_tables) {
    // One page every 1.1 MiB and at the ends of tables, over more tables than one pass takes.
    constexpr size_t n = 60;
    test_pmap p;
    test_pages pages(n);
    REQUIRE(p && pages.complete());
    auto va = [](size_t i) { return vaddr_t(0x7fff'0000'0000 + i * 0x11'9000); };
    for (size_t i = 0; i < n; i++)
        REQUIRE(p->enter(va(i), pages[i], rw, {.access = vm_prot::read}).has_value());
    p->check();
    EXPECT_EQ(p->protect(va(10), va(50), ro), 40u);
    EXPECT_EQ(p->protect(va(5), va(50), ro), 5u);
    for (size_t i = 0; i < n; i++)
        EXPECT(p->lookup(va(i))->prot == (i >= 5 && i < 50 ? ro : rw));
    // The range's edges are exact.
    p->remove(va(20), va(40));
    for (size_t i = 0; i < n; i++)
        EXPECT_EQ(p->lookup(va(i)).has_value(), i < 20 || i >= 40);
    EXPECT_EQ(p->resident_pages(), n - 20);
    p->check();
    p->remove(vaddr_t(0), user_max);
    EXPECT_EQ(p->resident_pages(), 0u);
    EXPECT_EQ(p->table_pages(), 1u);
    p->check();
}

KTEST(pmap, a_table_is_write_protected_as_a_whole) {
    // Two tables full, and half a third.
    constexpr size_t table = pmap_table_entries, n = 2 * table + table / 2;
    test_pmap p;
    test_pages pages(n);
    REQUIRE(p && pages.complete());
    auto va = [](size_t i) { return vaddr_t(0x4000'0000 + i * page_size); };
    auto prot = [&](size_t i) { return p->lookup(va(i))->prot; };
    for (size_t i = 0; i < n; i++)
        REQUIRE(p->enter(va(i), pages[i], i == 9 ? ro : rw, {.access = vm_prot::read}).has_value());
    loaded_pmap loaded(p);
    EXPECT(can_write(va(0)) && can_write(va(n - 1)));
    const uint64_t tables = uvm_read(uvm_counter::ptps_protected);
    EXPECT_EQ(p->write_protect(va(0), va(n - 1)), n - 1);
    EXPECT_EQ(uvm_read(uvm_counter::ptps_protected), tables + 2);
    EXPECT(!can_write(va(0)) && can_read(va(0)) && !can_write(va(table)) && can_write(va(n - 1)));
    EXPECT(prot(0) == ro && prot(n - 2) == ro && prot(n - 1) == rw);
    EXPECT_EQ(p->write_protect(va(0), va(n - 1)), 0u);
    p->check();
    // A mapping may come in, but not to be written.
    EXPECT(p->enter(va(3), pages[3], rw, {.access = vm_prot::read}).has_value());
    EXPECT(prot(3) == ro);
    status refused = p->enter(va(3), pages[3], rw, {.access = vm_prot::write});
    EXPECT(!refused && refused.error() == Errno::again);
    // Nor does a wired one open it that may only be read.
    EXPECT(p->enter(va(5), pages[5], ro, {.wired = true, .access = vm_prot::read}).has_value());
    p->unwire(va(5));
    EXPECT(prot(3) == ro);
    // Some get the right back, those that had none do not, the other table stays as it is.
    pmap_table_pages keep;
    keep.set(va(3));
    keep.set(va(9));
    keep.set(va(table - 1));
    p->unprotect_table(va(3), keep);
    for (size_t i = 0; i < table; i++)
        EXPECT(prot(i) == (i == 3 || i == table - 1 ? rw : ro));
    EXPECT(can_write(va(3)) && !can_write(va(4)) && can_write(va(table - 1)) && !can_write(va(9)));
    EXPECT(prot(table) == ro && !can_write(va(table)));
    EXPECT(p->enter(va(4), pages[4], rw, {.access = vm_prot::write}).has_value());
    EXPECT(can_write(va(4)));
    p->unprotect_table(va(4), {}); // it is not protected
    EXPECT(can_write(va(4)));
    p->check();
    // What goes and comes again has nothing of that.
    p->remove(va(table), va(2 * table));
    REQUIRE(p->enter(va(table), pages[table], rw, {.access = vm_prot::write}).has_value());
    EXPECT(can_write(va(table)));
    p->check();
}

KTEST(pmap, wired_mappings_are_counted) {
    owned_page page(vm_page_alloc(page_owner::anon)), other(vm_page_alloc(page_owner::anon));
    test_pmap p;
    REQUIRE(p && page && other);
    const vaddr_t va(0x40'0000);
    REQUIRE(p->enter(va, *page.get(), rw, {.wired = true}).has_value());
    EXPECT_EQ(p->wired_pages(), 1u);
    EXPECT(p->lookup(va)->wired);
    REQUIRE(p->enter(va, *page.get(), ro, {.wired = true}).has_value());
    EXPECT_EQ(p->wired_pages(), 1u);
    REQUIRE(p->enter(va, *other.get(), ro, {.wired = true}).has_value());
    EXPECT_EQ(p->wired_pages(), 1u);
    p->unwire(va);
    EXPECT_EQ(p->wired_pages(), 0u);
    p->check();
    REQUIRE(p->enter(va, *other.get(), ro, {.wired = true}).has_value());
    p->remove(va, va + page_size);
    EXPECT_EQ(p->wired_pages(), 0u);
    p->check();
}

KTEST(pmap, copy_is_write_protected) {
    constexpr size_t n = 40;
    test_pmap parent, child;
    test_pages pages(n);
    REQUIRE(parent && child && pages.complete());
    auto va = [](size_t i) { return vaddr_t(0x5555'0000'0000 + i * 0x9'3000); };
    for (size_t i = 0; i < n; i++)
        REQUIRE(parent->enter(va(i), pages[i], rw, {.wired = i == 3}).has_value());
    child->copy(*parent, va(5), va(35));
    EXPECT_EQ(child->resident_pages(), 30u);
    EXPECT_EQ(child->wired_pages(), 0u);
    for (size_t i = 0; i < n; i++) {
        auto m = child->lookup(va(i));
        EXPECT_EQ(m.has_value(), i >= 5 && i < 35);
        EXPECT(!m || (m->prot == ro && m->pa == pages[i].physical()));
        EXPECT(parent->lookup(va(i))->prot == rw);
    }
    parent->check();
    child->check();
    // A hint only: it goes as far as memory lasts.
    for (unsigned fail = 1; fail < 20; fail++) {
        test_pmap other;
        REQUIRE(other);
        alloc_fail_after(fail);
        other->copy(*parent, va(0), va(n));
        alloc_fail_after(0);
        EXPECT(other->resident_pages() < n);
        other->check();
    }
}

KTEST(pmap, enter_without_memory_changes_nothing) {
    owned_page page(vm_page_alloc(page_owner::anon)), shared(vm_page_alloc(page_owner::anon));
    test_pmap p, other;
    REQUIRE(p && other && page && shared);
    // The second mapping of `shared` takes a pv entry, so each step of enter() can fail.
    REQUIRE(other->enter(vaddr_t(0x1000), *shared.get(), ro).has_value());
    const vaddr_t va(0x1234'5678'9000);
    unsigned failures = 0;
    for (;; failures++) {
        alloc_fail_after(failures + 1);
        status s = p->enter(va, *shared.get(), rw);
        alloc_fail_after(0);
        p->check();
        if (s.has_value())
            break;
        EXPECT(s.error() == Errno::nomem);
        EXPECT(!p->lookup(va));
        EXPECT_EQ(p->table_pages(), 1u);
        EXPECT_EQ(pmap::mapping_count(*shared.get()), 1u);
    }
    EXPECT(failures >= 4); // three tables and a pv entry
    p->remove(va, va + page_size);
    // Over another page: that one stays.
    REQUIRE(p->enter(va, *page.get(), ro).has_value());
    alloc_fail_after(1);
    EXPECT(!p->enter(va, *shared.get(), rw).has_value());
    alloc_fail_after(0);
    EXPECT(p->lookup(va)->pa == page->physical());
    p->check();

    for (unsigned fail = 1;; fail++) {
        alloc_fail_after(fail);
        pmap* made = pmap::create();
        alloc_fail_after(0);
        if (made) {
            EXPECT(fail > 2);
            made->destroy();
            break;
        }
    }
}

KTEST(pmap, random_operations_against_a_model) {
    constexpr size_t pages_count = 24, slots = 96;
    struct expectation {
        int page = -1;
        vm_prot prot = vm_prot::none;
    };
    static expectation model[slots];
    for (expectation& e : model)
        e = {};
    test_pmap p;
    test_pages pages(pages_count);
    REQUIRE(p && pages.complete());
    // 32 KiB apart, around the edge of two upper tables.
    auto va = [](size_t i) { return vaddr_t(0x7f'ffff'0000 - 0x10'0000 + i * 0x8000); };
    for (int step = 0; step < 4000; step++) {
        size_t first = ktest_random(slots), last = first + ktest_random(slots - first) + 1;
        switch (ktest_random(8)) {
        case 0:
            p->remove(va(first), va(last));
            for (size_t i = first; i < last; i++)
                model[i] = {};
            break;
        case 1:
            p->protect(va(first), va(last), ro);
            for (size_t i = first; i < last; i++)
                model[i].prot = model[i].prot & ro;
            break;
        case 2: {
            const int k = static_cast<int>(ktest_random(pages_count));
            const vm_prot lower = ktest_random(2) ? ro : none;
            pmap::page_protect(pages[static_cast<size_t>(k)], lower);
            for (expectation& e : model)
                if (e.page == k)
                    e = lower == none ? expectation{} : expectation{k, ro};
            break;
        }
        default: {
            const int k = static_cast<int>(ktest_random(pages_count));
            const vm_prot prot = ktest_random(2) ? ro : rw;
            REQUIRE(p->enter(va(first), pages[static_cast<size_t>(k)], prot).has_value());
            model[first] = {k, prot};
        }
        }
        if (step % 50 != 0)
            continue;
        p->check();
        for (size_t i = 0; i < slots; i++) {
            auto m = p->lookup(va(i));
            if (m.has_value() != (model[i].page >= 0) ||
                (m && (m->prot != model[i].prot ||
                       m->pa != pages[static_cast<size_t>(model[i].page)].physical()))) {
                ktest_fail(__FILE__, __LINE__, "slot %zu differs after step %d", i, step);
                return;
            }
        }
    }
}

KTEST(pmap, kernel_mappings) {
    // Far from where stacks and devices are.
    const vaddr_t va(0xffff'c07f'0000'0000);
    owned_page page(vm_page_alloc(page_owner::kernel, true));
    owned_page other(vm_page_alloc(page_owner::kernel, true));
    REQUIRE(page && other);
    auto* at = reinterpret_cast<volatile uint32_t*>(va.value());
    REQUIRE(pmap::kernel_enter(va, page->physical(), rw).has_value());
    word(page) = 41;
    EXPECT_EQ(at[0], 41u);
    at[0] = 42;
    EXPECT_EQ(word(page), 42u);
    pmap::kernel_remove(va, page_size);
    word(other) = 7;
    REQUIRE(pmap::kernel_enter(va, other->physical(), ro).has_value());
    EXPECT_EQ(at[0], 7u); // not what the TLB has seen
    pmap::kernel_remove(va, page_size);
    for (unsigned fail = 1; fail <= 2; fail++) {
        alloc_fail_after(fail);
        EXPECT(!pmap::kernel_enter(va, page->physical(), rw).has_value());
        alloc_fail_after(0);
    }
}
