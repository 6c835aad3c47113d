// pmap: the physical map of one address space; the only code that touches page tables and TLBs.
//
// After NetBSD's pmap(9). Everything in a pmap can be thrown away and will be rebuilt by faults,
// except wired mappings. Each pmap belongs to one vmspace (the kernel's own to nobody), which
// calls it with its vm_map locked for reading at least; pmap::lock_ guards the page tables
// themselves, and a page's pv list (who maps this page) is guarded by its pv lock.
//
// Every call that takes rights away (remove, protect, page_protect) has flushed the TLBs of all
// processors that may hold the old translation before it returns: the caller may free the page.
// A call that only adds rights flushes nothing; a stale entry then costs a spurious fault, which
// the fault handler answers by entering the mapping again.
//
// Machine-dependent data members come from <machine/pmap_machine.h>.
#pragma once

#include "arch/prot.h"
#include "lib/lock.h"
#include "lib/no_alloc.h"
#include "lib/result.h"
#include "lib/types.h"

#include <array>
#include <bit>
#include <machine/pmap_machine.h>
#include <optional>
#include <span>

struct vm_page;

struct pmap_enter_flags {
    bool wired = false;             // never removed but by remove() or unwire()
    vm_prot access = vm_prot::none; // why it is entered: sets referenced and modified bits now
    bool if_absent = false;         // EEXIST, and no change, where something is mapped already
};

// What pmap::lookup(), or enter(), found at an address.
struct pmap_mapping {
    paddr_t pa;
    vm_prot prot;
    bool wired;
    bool referenced;
    bool modified;
};

// What one entry of a page table says.
struct pmap_table_entry {
    // 1: it maps a page; above: it leads to a table of the level below. One above the root's level:
    // not an entry, but what leads to the root, and no bit is set.
    unsigned level;
    vaddr_t va; // the first address that it stands for
    paddr_t pa; // of the page or the table
    // The entry's own bits. Writing needs `write` here and in every entry on the way: `write_above`
    // is what those say together.
    bool present, write, execute, user, accessed, dirty, wired;
    bool write_above;
};

// Some of the pages that one page table of the lowest level maps: a bit for each.
struct pmap_table_pages {
    static constexpr uint64_t span =
        pmap_table_entries * page_size; // the table's share of addresses

    // Of the page at `va`, whichever the table.
    void set(vaddr_t va) { words[index(va) / 64] |= uint64_t{1} << (index(va) % 64); }
    bool has(vaddr_t va) const { return words[index(va) / 64] >> (index(va) % 64) & 1; }
    unsigned count() const {
        unsigned n = 0;
        for (uint64_t word : words)
            n += static_cast<unsigned>(std::popcount(word));
        return n;
    }

    std::array<uint64_t, (pmap_table_entries + 63) / 64> words{};

private:
    static size_t index(vaddr_t va) { return va.value() / page_size % pmap_table_entries; }
};

class pmap {
public:
    // A user pmap with nothing mapped. Null when out of memory.
    static pmap* create();
    // Removes everything, leaves no CPU with this pmap loaded, and frees it.
    NO_ALLOC void destroy();
    static pmap& kernel();

    // Maps `page` at `va` (page aligned) with `prot`, replacing what was there. ENOMEM when no
    // page-table page is to be had, EAGAIN when a write is the reason (flags.access, or a wired
    // mapping that may be written) and the page's table is write-protected as a whole
    // (write_protect); then nothing has changed. `before`: is told what was mapped there. Does not
    // sleep. A wired mapping may be without any right: it keeps the page.
    status enter(vaddr_t va, vm_page& page, vm_prot prot, pmap_enter_flags flags = {},
                 std::optional<pmap_mapping>* before = nullptr);
    // Unmaps [start, end).
    NO_ALLOC void remove(vaddr_t start, vaddr_t end);
    // Lowers the rights of what is mapped in [start, end) to at most `prot` (never raises them);
    // none removes those that are not wired. Returns how many mappings lost a right.
    NO_ALLOC uint64_t protect(vaddr_t start, vaddr_t end, vm_prot prot);
    // Takes the right to write from what is mapped in [start, end), and from whole page tables at
    // once where they lie in it: fork need not go to each page of a large process. Returns how many
    // mappings can be written no more; all those of such a table count.
    NO_ALLOC uint64_t write_protect(vaddr_t start, vaddr_t end);
    // Gives that right back to the table around `va`, if it has not got it: the pages of `keep`
    // that could be written before can be again, others cannot before they are entered anew.
    NO_ALLOC void unprotect_table(vaddr_t va, const pmap_table_pages& keep);
    // Makes the mapping at `va`, which is there, one that must stay; an ordinary one.
    void wire(vaddr_t va);
    NO_ALLOC void unwire(vaddr_t va); // it has some right
    std::optional<pmap_mapping> lookup(vaddr_t va) const;
    // The first address in [start, end) where something is mapped.
    std::optional<vaddr_t> first_mapped(vaddr_t start, vaddr_t end);

    // Calls visit(context, entry) for every entry in use that stands for some of [start, end), in
    // address order, a table's own before those in it. For looking only: it takes no lock, and
    // nothing may change meanwhile.
    void for_each_entry(vaddr_t start, vaddr_t end,
                        void (*visit)(void* context, const pmap_table_entry& entry),
                        void* context) const;

    // Copies the mappings of [start, end) from `from`, write-protected, into this pmap as far as
    // memory lasts (pmap_copy(9): a hint, used by the cow+pte fork mode).
    void copy(pmap& from, vaddr_t start, vaddr_t end);

    // From here on to mapping_count(): not for a page with mappings_unlisted.
    //
    // All mappings of a page, in every pmap: lower to `prot`; none removes them.
    NO_ALLOC static void page_protect(vm_page& page, vm_prot prot);
    // Whether any mapping of the page has been used or written since the last clear.
    static bool is_referenced(vm_page& page);
    static bool is_modified(vm_page& page);
    static bool clear_referenced(vm_page& page); // returns the old value
    static bool clear_modified(vm_page& page);
    // How many mappings a page has.
    static unsigned mapping_count(vm_page& page);
    // Whether any mapping of the page is wired.
    static bool is_wired(vm_page& page);

    // Loads this pmap on the calling CPU (context switch, interrupts off).
    void activate();

    // Every processor that runs in this pmap (the kernel's: every one) passes a full memory barrier
    // and fetches its instructions again before this returns; the caller's, too.
    void barrier();

    uint64_t resident_pages() const;  // mappings, without locks: a statistic
    uint64_t anonymous_pages() const; // of those, the ones of anons
    uint64_t object_pages() const;    // and of objects; the rest map the page of zeros
    uint64_t wired_pages() const;
    uint64_t table_pages() const; // page-table pages it owns

    // Kernel mappings without a pv entry: [va, va+size) to pa, page aligned, prot without user
    // access. Kernel pmap only. ENOMEM.
    static status kernel_enter(vaddr_t va, paddr_t pa, vm_prot prot, bool device = false);
    static void kernel_remove(vaddr_t va, size_t size);
    // Several ranges of `size` bytes each, which nobody uses any more, with one flush.
    NO_ALLOC static void kernel_remove(std::span<const vaddr_t> starts, size_t size);

    // Panics unless counts agree with the tables and every pv entry with its mapping.
    void check() const;

private:
    friend struct pmap_machine;
    pmap_machine md_;
};

// Page-table pages in use by all user pmaps: a leak check for tests.
uint64_t pmap_table_pages_in_use();
