#include "vm/vmspace.h"

#include "arch/pmap.h"
#include "lib/string.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_commit.h"

#include <algorithm>

static pool<vmspace> vmspace_pool{"vmspace"};

std::atomic<bool> uvm_check_at_seams{false};
// So that a large address space does not keep others waiting at each of its calls.
static constexpr uint64_t most_checked_at_seam = 8192; // pages

static uint64_t no_limit(vm_limit) { return vm_unlimited; }
uint64_t (*vm_limit_of_caller)(vm_limit which) = no_limit;
static ref_ptr<vm_aftermath> nobody_borrows(const vmspace&) { return {}; }
ref_ptr<vm_aftermath> (*vm_borrowing_of_caller)(const vmspace& borrowed) = nobody_borrows;

// ---- Making, emptying, ending ----------------------------------------------------------------

expected<ref_ptr<vmspace>> vmspace::create() {
    (void)
        uvm_zero_page(); // exists before the first process does, so that no leak check sees it come
    pmap* physical = pmap::create();
    if (!physical)
        return fail(Errno::nomem);
    vmspace* vm = vmspace_pool.create(physical);
    if (!vm) {
        physical->destroy();
        return fail(Errno::nomem);
    }
    EVENT(vmspace_created, .vmspace = vm, .map = &vm->map_, .pmap = physical);
    return ref_ptr<vmspace>::adopt(vm);
}

void vmspace::unmap_all() {
    entry_list dead;
    {
        lock_guard guard(map_.lock());
        entry_stock none_needed;
        uvm_commit::uncharge(unmap_locked(user_min, user_max, none_needed, dead));
        brk_start_ = brk_ = vaddr_t{};
        future_wiring_ = wiring::none;
    }
    release_entries(dead);
    EVENT(vmspace_unmapped, .vmspace = this);
}

void vmspace::last_reference_gone() {
    unmap_all();
    check_empty();
    vmspace_pool.destroy(this);
    EVENT(vmspace_destroyed, .vmspace = this);
}

vmspace::~vmspace() { pmap_->destroy(); }

ref_ptr<vmspace> vmspace::exec(ref_ptr<vmspace> current, ref_ptr<vmspace> fresh) {
    if (!current || current->references() != 1)
        return fresh;
    current->unmap_all();
    lock_guard guard(current->map_.lock());
    current->mmap_top_ = user_max;
    current->peak_virtual_ = current->peak_resident_ = 0;
    current->image = {};
    current->announced_barriers = 0;
    return current;
}

// ---- Layout and heap -------------------------------------------------------------------------

void vmspace::set_layout(vaddr_t mmap_top) {
    lock_guard guard(map_.lock());
    ASSERT(mmap_top <= user_max && mmap_top.page_aligned());
    mmap_top_ = mmap_top;
}

void vmspace::init_brk(vaddr_t start) {
    lock_guard guard(map_.lock());
    brk_start_ = brk_ = start;
}

vaddr_t vmspace::brk() const {
    read_guard guard(map_.lock());
    return brk_;
}

vaddr_t vmspace::set_brk(vaddr_t wanted) {
    entry_list dead;
    vaddr_t before, result;
    {
        lock_guard guard(map_.lock());
        before = brk_;
        if (move_brk(wanted, dead))
            brk_ = wanted;
        result = brk_;
    }
    release_entries(dead);
    if (before.page_up() < result.page_up() && is_to_populate(before.page_up()))
        (void)populate(before.page_up(), result.page_up());
    check_seam();
    return result;
}

status vmspace::move_brk(vaddr_t wanted, entry_list& dead) {
    if (brk_start_ == vaddr_t{} || wanted < brk_start_ || wanted > user_max)
        return fail(Errno::inval);
    vaddr_t old_end = brk_.page_up(), new_end = wanted.page_up();
    if (new_end == old_end)
        return {};
    if (new_end < old_end) {
        entry_stock stock;
        TRY(map_.reserve_clips(new_end, old_end, stock, true));
        uvm_commit::uncharge(unmap_locked(new_end, old_end, stock, dead));
        return {};
    }
    TRY(map_.check_count(0));
    // The page after the heap stays free, as a guard.
    if (wanted - brk_start_ > vm_limit_of_caller(vm_limit::data))
        return fail(Errno::nomem);
    if (!map_.range_free(old_end, new_end + page_size) || !space_free(old_end, new_end - old_end))
        return fail(Errno::nomem);
    vm_map_entry heap;
    heap.protection = vm_prot::rw;
    heap.copy_on_write = heap.needs_copy = true;
    heap.tag = "[heap]";
    return grow_locked(heap, old_end, new_end);
}

// ---- Reading and writing an address space from outside ---------------------------------------

// Finds the page at `va` and calls use(data) on it while the locks are held that keep it there.
// False when a fault has to bring it in first.
template <class Use> bool vmspace::with_resident_page(vaddr_t va, bool write, bool force, Use use) {
    read_guard guard(map_.lock());
    vm_map_entry* entry = map_.lookup(va);
    vm_prot access = write ? vm_prot::write : vm_prot::read;
    if (!entry || (!force && !allows(entry->effective_protection(), access)))
        return false;
    if (force && write && !entry->copy_on_write && !allows(entry->effective_protection(), access))
        return false;
    if (write && entry->needs_copy)
        return false;
    if (vm_amap* amap = entry->aref.amap()) {
        lock_guard amap_guard(amap->lock());
        if (vm_anon* anon = amap->lookup(entry->slot_of(va.page_down()))) {
            vm_page* page = anon->page();
            if (!page || (write && anon->references() > 1))
                return false;
            if (write)
                anon->drop_slot();
            use(static_cast<char*>(page->data()) + va.page_offset());
            return true;
        }
    }
    if (!entry->object && !write && uvm_zero_page()) {
        use(static_cast<char*>(uvm_zero_page()->data())); // never touched
        return true;
    }
    if (!entry->object || (write && entry->copy_on_write))
        return false;
    lock_guard object_guard(entry->object->lock());
    vm_page* page = entry->object->lookup(entry->object_index(va.page_down()));
    if (!page)
        return false;
    if (write)
        page->clean = false;
    use(static_cast<char*>(page->data()) + va.page_offset());
    return true;
}

// Calls use(data, length) for pieces of [va, va + size) that do not cross a page.
template <class Use>
status vmspace::for_each_piece(vaddr_t va, size_t size, bool write, bool force, Use use) {
    if (va > user_max || size > user_max - va)
        return fail(Errno::fault);
    while (size > 0) {
        size_t piece = std::min<size_t>(size, page_size - va.page_offset());
        auto use_piece = [&](char* data) { use(data, piece); };
        if (write && force)
            TRY(pay_for_store(va.page_down()));
        while (!with_resident_page(va, write, force, use_piece)) {
            vm_prot access = write ? vm_prot::write : vm_prot::read;
            fault_outcome outcome = fault_in(va.page_down(), access, force);
            if (outcome != fault_outcome::resolved)
                return fail(outcome == fault_outcome::nomem ? Errno::nomem : Errno::fault);
        }
        va += piece;
        size -= piece;
    }
    return {};
}

status vmspace::read_memory(vaddr_t from, void* to, size_t size, bool force) {
    auto out = static_cast<char*>(to);
    return for_each_piece(from, size, false, force, [&](const char* data, size_t piece) {
        memcpy(out, data, piece);
        out += piece;
    });
}

status vmspace::write_memory(vaddr_t to, const void* from, size_t size, bool force) {
    auto in = static_cast<const char*>(from);
    return for_each_piece(to, size, true, force, [&](char* data, size_t piece) {
        memcpy(data, in, piece);
        in += piece;
    });
}

// ---- Checking --------------------------------------------------------------------------------

// A rule of address spaces at one address: who breaks it is told which it was, and whose memory.
#define RULE(condition, rule)                                                                      \
    do {                                                                                           \
        if (!(condition)) [[unlikely]]                                                             \
            rule_broken(rule, entry, va, anon);                                                    \
    } while (0)

void vmspace::rule_broken(const char* rule, const vm_map_entry& e, vaddr_t va,
                          const vm_anon* anon) const {
    const auto mapping = pmap_->lookup(va);
    const vm_prot prot = mapping ? mapping->prot : vm_prot::none;
    const char* name = e.tag ? e.tag : e.object ? e.object->name() : "";
    panic("broken rule: %s; address 0x%lx of the entry 0x%lx-0x%lx %s (%s%s%s), vmspace %p; "
          "mapped: %s%s%s, physical 0x%lx; the amap has %s, with %u references",
          rule, va.value(), e.start.value(), e.end.value(), name,
          e.copy_on_write ? "private" : "shared", e.needs_copy ? ", needs_copy" : "",
          e.wired_count ? ", wired" : "", static_cast<const void*>(this),
          allows(prot, vm_prot::read) ? "r" : "-", allows(prot, vm_prot::write) ? "w" : "-",
          allows(prot, vm_prot::execute) ? "x" : "-", mapping ? mapping->pa.value() : 0,
          anon ? "an anon" : "nothing", anon ? anon->references() : 0);
}

// Every mapping in the pmap is of the page that a fault would find, and with no right that a
// fault would not give. `pages`: how many are still looked at.
void vmspace::check_entry(vm_map_entry& entry, uint64_t& pages) {
    const vaddr_t va = entry.start;
    const vm_anon* anon = nullptr;
    RULE(entry.charged || entry.no_reserve || !entry.accountable(),
         "commit: what a private mapping may come to write is promised, to a child of fork, too");
    if (vm_amap* amap = entry.aref.amap()) {
        // The pieces of what was one mapping have one amap.
        const vm_map_entry* before = map_.prev(entry);
        if (!before || before->aref.amap() != amap)
            amap->check();
        lock_guard guard(amap->lock());
        RULE(
            entry.needs_copy || amap->shared_by_inheritance() ||
                !amap->shared(entry.aref.first(), entry.slot_end()),
            "copy on write: of the entries that have one amap after a fork each one needs_copy, or "
            "it would write to what the others have");
    }
    const uint64_t mine = std::min(entry.pages(), pages);
    pages -= mine;
    for (vaddr_t at = entry.start; at < entry.start + (mine << page_shift); at += page_size)
        check_page(entry, at);
}

void vmspace::check_page(vm_map_entry& entry, vaddr_t va) {
    if (vm_amap* amap = entry.aref.amap()) {
        lock_guard guard(amap->lock());
        check_mapping(entry, va, amap->lookup(entry.slot_of(va)));
    } else {
        check_mapping(entry, va, nullptr);
    }
}

// The amap is locked, if the entry has one: what it has at `va` is `anon`.
void vmspace::check_mapping(vm_map_entry& entry, vaddr_t va, vm_anon* anon) {
    auto mapping = pmap_->lookup(va);
    if (!mapping)
        return;
    RULE(allows(entry.effective_protection(), mapping->prot),
         "nothing is mapped with a right that its entry does not give");
    bool writable = allows(mapping->prot, vm_prot::write);
    RULE(!writable || !entry.needs_copy,
         "copy on write: an entry that needs_copy has no page mapped writable, or a store would be "
         "seen on the other side of the fork");
    vm_page* page = vm_page_of(mapping->pa);
    RULE(page, "what is mapped is a page of memory");
    RULE(page == uvm_zero_page() || mapping->wired == (entry.wired_count > 0),
         "a page is wired in the page table if its entry is wired, and only then");
    if (anon) {
        RULE(page == anon->page(), "what is mapped is the page that the amap has");
        RULE(!writable || !anon->slot(),
             "paging: a page of which swap has a copy is mapped writable by nobody, or it would go "
             "without what was stored");
        RULE(!writable || anon->references() == 1,
             "copy on write: a page that others have, too, is mapped writable by nobody");
    } else if (entry.object) {
        lock_guard guard(entry.object->lock());
        if (!pmap_->lookup(va)) // put out, or truncated, before the object was locked
            return;
        RULE(page == entry.object->lookup(entry.object_index(va)),
             "what is mapped is the page that the object has, where the amap has none");
        RULE(!writable || !entry.copy_on_write,
             "copy on write: a private mapping does not write to its file's page");
    } else {
        RULE(page == uvm_zero_page() && !writable,
             "what neither amap nor object has is the page of zeros, and read-only");
    }
}

// A copy that case 1B has just made. Nobody can store to the original meanwhile.
void vmspace::check_copy(const vm_map_entry& entry, vaddr_t va, const vm_anon& original,
                         const vm_anon& copy) const {
#if SPORK_CHECKS
    const vm_anon* anon = &original;
    if (uvm_check_at_seams.load(std::memory_order_relaxed))
        RULE(memcmp(copy.page()->data(), original.page()->data(), page_size) == 0,
             "copy on write: the copy of a page has what the page has");
#endif
}

void vmspace::check() { check_first(UINT64_MAX); }

void vmspace::check_first(uint64_t pages) {
    read_guard guard(map_.lock());
    map_.check();
    const bool all = pmap_->resident_pages() <= pages;
    for (vm_map_entry* e = map_.first(); e; e = map_.next(*e)) {
        uint64_t of_entry = std::min<uint64_t>(pages, 4096); // of a huge one, the beginning
        const uint64_t before = of_entry;
        check_entry(*e, of_entry);
        pages -= std::min(pages, before - of_entry);
    }
    if (all) {
        pmap_->check();
        check_gaps();
    }
}

// Nothing is mapped where there is no entry. Others' faults map and unmap meanwhile, but only where
// there is one: so gaps are looked at, and nothing is counted.
void vmspace::check_gaps() {
    vaddr_t gap;
    for (vm_map_entry* e = map_.first(); e; gap = e->end, e = map_.next(*e))
        check_gap(gap, e->start);
    check_gap(gap, user_max);
}

void vmspace::check_gap(vaddr_t start, vaddr_t end) {
    if (auto va = pmap_->first_mapped(start, end))
        panic("broken rule: nothing is mapped where the address space has no entry: 0x%lx is, "
              "between 0x%lx and 0x%lx; vmspace %p",
              va->value(), start.value(), end.value(), static_cast<const void*>(this));
}

// At its end.
void vmspace::check_empty() {
    if (!uvm_check_at_seams.load(std::memory_order_relaxed))
        return;
    read_guard guard(map_.lock());
    if (map_.entry_count() != 0 || map_.totals().charged != 0)
        panic(
            "broken rule: an address space that ends has no entries: %zu are left, with %lu pages "
            "promised; vmspace %p",
            map_.entry_count(), map_.totals().charged, static_cast<const void*>(this));
    if (pmap_->resident_pages() != 0)
        panic("broken rule: an address space that ends has nothing mapped: %lu pages are left; "
              "vmspace "
              "%p",
              pmap_->resident_pages(), static_cast<const void*>(this));
}

vmspace::holding vmspace::holds() {
    read_guard guard(map_.lock());
    holding all{
        .entries = map_.entry_count(), .amaps = 0, .anons = 0, .charged = map_.totals().charged};
    for (vm_map_entry* e = map_.first(); e; e = map_.next(*e)) {
        vm_amap* amap = e->aref.amap();
        bool counted = !amap;
        for (vm_map_entry* before = map_.first(); before != e && !counted;
             before = map_.next(*before))
            counted = before->aref.amap() == amap;
        if (counted)
            continue;
        lock_guard amap_guard(amap->lock());
        all.amaps++;
        all.anons += amap->used();
    }
    return all;
}

// Each seam is good for some entries. A map of many is looked at when there have been as many seams
// as all of it takes, so that what is done again and again does not become quadratic.
bool vmspace::afford_look() {
    constexpr uint64_t always = 512, each = 64;
    lock_guard guard(map_.lock());
    seam_credit_ += each;
    if (map_.entry_count() > std::max(always, seam_credit_))
        return false;
    seam_credit_ = 0;
    return true;
}

void vmspace::check_seam() {
#if SPORK_CHECKS
    if (uvm_check_at_seams.load(std::memory_order_relaxed) && afford_look())
        check_first(most_checked_at_seam);
#endif
}

void vmspace::check_fault_seam(vaddr_t page) {
#if SPORK_CHECKS
    if (!uvm_check_at_seams.load(std::memory_order_relaxed))
        return;
    read_guard guard(map_.lock());
    if (vm_map_entry* entry = map_.lookup(page))
        check_page(*entry, page);
#endif
}
