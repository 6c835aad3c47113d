#include "pmap_cursor.h"

#include "vm/phys/event.h"
#include "vm/phys/vm_page.h"

// Most of a table is clear, where little memory is mapped: eight entries at a time are soon passed
// over.
static constexpr size_t stride = 8;
static bool none_in_use(pte_t* pte) {
    pte_t all = 0;
#pragma GCC unroll 8
    for (size_t i = 0; i < stride; i++)
        all |= pte_load(pte[i]);
    return !(all & pte_in_use);
}

// From a clear entry to the next one of its table that is in use, the end of the table, or something
// from `end` on.
pte_cursor::place pte_cursor::skip_clear(place at, uint64_t end) {
    const uint64_t span = level_span(at.level);
    size_t i = table_index(at.va, at.level);
    at.va &= ~(span - 1);
    size_t step = 1;
    do {
        at.va += step * span;
        at.entry += step;
        i += step;
        if (i == table_size || at.va >= end)
            break;
        step = i % stride == 0 && none_in_use(at.entry) ? stride : 1;
    } while (step == stride || !(pte_load(*at.entry) & pte_in_use));
    return at;
}

pte_cursor::mapped_page pte_cursor::find_mapped(pte_t* root, uint64_t va, uint64_t end) {
    place at = top(root, va);
    while (at.va < end) {
        at = descend(at);
        if (pte_load(*at.entry) & pte_in_use)
            return {at.va, at.entry};
        at = skip_clear(at, end);
        if (table_index(at.va, at.level) == 0)
            at = top(root, at.va); // it is behind its table
    }
    return {end, nullptr};
}

// As far as memory lasts.
pte_cursor::place pte_cursor::make_missing_tables(pmap_machine& m, place at) {
    // Upper entries grant everything at first: the lowest level decides.
    const pte_t bits = pte_present | pte_write | pte_accessed | (m.is_kernel ? 0 : pte_user);
    for (; at.level > 1; at = below(at)) {
        vm_page* page =
            vm_page_alloc(m.is_kernel ? page_owner::kernel : page_owner::page_table, true);
        if (!page)
            break;
        pmap_count_table(m, 1);
        pmap_entries_changed(*at.entry, 1);
        pte_atomic(*at.entry).store(page->physical().value() | bits, std::memory_order_release);
        EVENT(page_table_made, .root = m.root, .level = at.level - 1, .va = at.va,
              .page = page->physical());
    }
    return at;
}
