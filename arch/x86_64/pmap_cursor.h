// pte_cursor: a place in the page tables of a pmap, and the way to each entry in them.
//
// It stands at the entry of level 1 for an address, or, where there is no table of level 1, at the
// entry further up that is clear: everything that this one stands for is a hole. From there it can
// make the missing tables, or go to the next page that is mapped; how much of a table is passed
// over at once is its affair. (Chickadee's vmiter is the model.)
//
// Lives on the stack of one who holds the pmap's lock, and no longer than that lock is held.
#pragma once

#include "pmap_tables.h"

class pte_cursor {
public:
    // At `va`, page aligned.
    pte_cursor(const pmap_machine& m, uint64_t va) REQUIRES(m.lock)
        : root_(m.root), end_(va + page_size), at_(descend(top(root_, va))) {}
    // In front of [va, end): find() comes next.
    pte_cursor(const pmap_machine& m, uint64_t va, uint64_t end) REQUIRES(m.lock)
        : root_(m.root), end_(end), at_{va, nullptr, 1, nullptr} {}

    uint64_t va() const { return at_.va; }
    bool in_hole() const { return at_.level != 1; }
    // The entry; not in a hole.
    pte_t& pte() const {
        CHECK_ASSERT(!in_hole());
        return *at_.entry;
    }
    // What it says: nothing in a hole.
    pte_t value() const { return in_hole() ? 0 : pte_load(*at_.entry); }
    bool mapped() const { return value() & pte_in_use; }
    // The entry of the level above, by which the table can be write-protected as a whole.
    pte_t& table_entry() const {
        CHECK_ASSERT(!in_hole());
        return *at_.above;
    }
    bool table_writable() const { return pte_load(table_entry()) & pte_write; }

    // Makes the tables that are missing above the entry. False when out of memory: the caller
    // prunes those that were made on the way.
    [[nodiscard]] bool make_tables(pmap_machine& m) REQUIRES(m.lock) {
        if (in_hole()) [[unlikely]]
            at_ = make_missing_tables(m, at_);
        return !in_hole();
    }

    // Goes through what is mapped in the range, table by table:
    //     while (at.find()) {
    //         do ...; while (at.next());
    //         at.leave_table();
    //     }
    // Inline, so that the cursor stays in registers: a fork goes to each resident page.
    // To the first page from here on that is mapped. False at the end of the range.
    [[gnu::always_inline]] bool find();
    // To the next one in the same table. False if there is none: leave_table() comes next.
    [[gnu::always_inline]] bool next();
    // How many pages the table maps, if the range, which began at `start`, has all of them, and they
    // are so many at least; or 0.
    unsigned covers_table(uint64_t start, unsigned at_least);
    // The same of the table just behind, where it goes on then; 0: it stays here.
    unsigned next_covered_table(unsigned at_least);
    // Behind the table. The tables above may have been pruned meanwhile.
    void leave_table() { at_.va = table_end_; }

private:
    struct place {
        uint64_t va;
        pte_t* entry;
        unsigned level; // of the table that the entry is in
        pte_t* above;   // the entry that leads to that table; null: the root
    };
    static place top(pte_t* root, uint64_t va) {
        return {va, &root[table_index(va, root_level)], root_level, nullptr};
    }
    static place below(place p) { return below(p, pte_load(*p.entry)); }
    static place below(place p, pte_t entry) {
        const unsigned level = p.level - 1;
        return {p.va, &table_below(entry)[table_index(p.va, level)], level, p.entry};
    }
    // To an entry that is clear, or of level 1.
    static place descend(place p) {
#pragma GCC unroll 3
        while (p.level > 1) {
            const pte_t entry = pte_load(*p.entry);
            if (!(entry & pte_present))
                break;
            CHECK_ASSERT(!(entry & pte_large));
            p = below(p, entry);
        }
        return p;
    }
    struct mapped_page { // small enough to be returned in registers
        uint64_t va;
        pte_t* pte; // null at the end
    };
    [[gnu::flatten]] static mapped_page find_mapped(pte_t* root, uint64_t va, uint64_t end);
    static place skip_clear(place from, uint64_t end);
    static place make_missing_tables(pmap_machine& m, place at) REQUIRES(m.lock);

    pte_t* const root_;
    const uint64_t end_;
    uint64_t table_end_ =
        0; // of the range and of the table that find() came to, whichever is first
    place at_;
};

inline bool pte_cursor::find() {
    const mapped_page found = find_mapped(root_, at_.va, end_);
    at_ = {found.va, found.pte, 1, nullptr};
    if (!found.pte)
        return false;
    const uint64_t table_end = (at_.va | (level_span(2) - 1)) + 1;
    table_end_ = end_ < table_end ? end_ : table_end;
    return true;
}

inline bool pte_cursor::next() {
    at_.va += page_size;
    at_.entry++;
    if (at_.va < table_end_ && !(pte_load(*at_.entry) & pte_in_use))
        at_ = skip_clear(at_, table_end_);
    return at_.va < table_end_;
}

inline unsigned pte_cursor::covers_table(uint64_t start, unsigned at_least) {
    const uint64_t base = at_.va & ~(level_span(2) - 1);
    if (base < start || base + level_span(2) > end_)
        return 0;
    at_ = descend(top(root_, at_.va)); // find() has not kept the entry above
    const unsigned in_use = pmap_entries_in_use(pte());
    return in_use < at_least ? 0 : in_use;
}

inline unsigned pte_cursor::next_covered_table(unsigned at_least) {
    pte_t* above = at_.above + 1;
    if (table_end_ + level_span(2) > end_ || table_index(table_end_, 2) == 0 ||
        !(pte_load(*above) & pte_present))
        return 0;
    pte_t* first = table_below(pte_load(*above));
    const unsigned in_use = pmap_entries_in_use(*first);
    if (in_use < at_least)
        return 0;
    at_ = {table_end_, first, 1, above};
    table_end_ += level_span(2);
    return in_use;
}
