// Looking at page tables without changing or locking them: pmap::for_each_entry().
#include "arch/pmap.h"

#include "pmap_tables.h"

#include <algorithm>

namespace {

struct looker {
    void (*visit)(void* context, const pmap_table_entry& entry);
    void* context;
    uint64_t start, end;
};

// The table at `level` that maps the addresses from `base` on, and those below it: at most four
// deep.
void look_at_table(const looker& who, pte_t* table, unsigned level, uint64_t base,
                   bool write_above) {
    const uint64_t span = level_span(level);
    const size_t count = level == root_level ? first_kernel_slot : table_size;
    const size_t first = who.start > base ? (who.start - base) / span : 0;
    for (size_t i = first; i < count; i++) {
        const uint64_t va = base + i * span;
        if (va >= who.end)
            break;
        const pte_t e = pte_load(table[i]);
        if (!(e & pte_in_use))
            continue;
        const bool write = e & pte_write;
        who.visit(who.context, {.level = level,
                                .va = vaddr_t(va),
                                .pa = pte_frame(e),
                                .present = (e & pte_present) != 0,
                                .write = write,
                                .execute = !(e & pte_no_execute),
                                .user = (e & pte_user) != 0,
                                .accessed = (e & pte_accessed) != 0,
                                .dirty = level == 1 && (e & pte_dirty),
                                .wired = level == 1 && (e & pte_wired),
                                .write_above = write_above});
        if (level > 1)
            look_at_table(who, table_below(e), level - 1, va, write_above && write);
    }
}

} // namespace

void pmap::for_each_entry(vaddr_t start, vaddr_t end,
                          void (*visit)(void* context, const pmap_table_entry& entry),
                          void* context) const {
    visit(context, {.level = root_level + 1, .va = vaddr_t(), .pa = direct_map_address(md_.root)});
    look_at_table({visit, context, start.value(), end.value()}, md_.root, root_level, 0, true);
}
