// mmap(2), munmap(2), mprotect(2).
//
// Each call is one transaction on the map: everything that can fail (limits, the commit account,
// entries for clipping) comes first, under the map's lock; from the first change on nothing can.
// The entries that a call removes are released after the lock is (release_entries()).
#include "arch/pmap.h"
#include "lib/long_work.h"
#include "vm/uvm_aobj.h"
#include "vm/uvm_commit.h"
#include "vm/vmspace.h"

// Where MAP_32BIT puts mappings.
static constexpr vaddr_t lowest_32bit{0x4000'0000}, end_of_32bit{0x8000'0000};

// MAP_NORESERVE asks for no promise; strict accounting makes it all the same. Shared memory without
// one is charged by the page.
static bool promised(bool no_reserve) {
    return !no_reserve || uvm_commit::get_mode() == uvm_commit::mode::strict;
}

// ---- Finding a place -------------------------------------------------------------------------

// Whether a mapping that nobody has fixed may go here: the place is free, and not the guard gap of
// a stack.
bool vmspace::space_free(vaddr_t start, uint64_t size) const {
    if (start > user_max || size > user_max - start)
        return false;
    vm_map_entry* above = map_.lookup_or_next(start);
    if (!above)
        return true;
    vaddr_t end = start + size;
    return above->start >= end && (!above->grows_down || above->start - end >= stack_guard_gap);
}

// Top-down from below the stack; what lies above is only used when nothing else is left.
std::optional<vaddr_t> vmspace::find_space(uint64_t size) const {
    if (auto found = map_.find_space(size, mmap_min_addr, mmap_top_))
        return found;
    return map_.find_space(size, mmap_min_addr, user_max);
}

expected<vaddr_t> vmspace::choose_address(const map_request& request, uint64_t size) const {
    vaddr_t wanted = request.address;
    if (!request.fixed) {
        wanted = wanted.page_up();
        if (wanted != vaddr_t{} && space_free(std::max(wanted, mmap_min_addr), size))
            return std::max(wanted, mmap_min_addr);
        auto found =
            request.low ? map_.find_space(size, lowest_32bit, end_of_32bit) : find_space(size);
        return found ? expected<vaddr_t>(*found) : fail(Errno::nomem);
    }
    if (wanted > user_max || size > user_max - wanted)
        return fail(Errno::nomem);
    if (!wanted.page_aligned())
        return fail(Errno::inval);
    if (wanted < mmap_min_addr && !request.below_minimum)
        return fail(Errno::perm);
    if (request.no_replace && !map_.range_free(wanted, wanted + size))
        return fail(Errno::exist);
    return wanted;
}

// RLIMIT_AS and RLIMIT_DATA, for so many pages more.
status vmspace::check_limits(uint64_t more, uint64_t more_data) const {
    const vm_map::sums& now = map_.totals();
    auto over = [](uint64_t pages, vm_limit limit) {
        return pages > vm_limit_of_caller(limit) >> page_shift;
    };
    if (more && over(now.all + more, vm_limit::address_space))
        return fail(Errno::nomem);
    if (more_data && over(now.data + more_data, vm_limit::data))
        return fail(Errno::nomem);
    return {};
}

static uint64_t excess(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

// ---- mmap ------------------------------------------------------------------------------------

static status check_request(const map_request& r, uint64_t size) {
    if (r.size == 0 || r.offset % page_size != 0)
        return fail(Errno::inval);
    if (size == 0 || size > user_max - user_min)
        return fail(Errno::nomem);
    if (r.offset + size < r.offset)
        return fail(Errno::overflow);
    if (r.stack && (r.object || r.shared))
        return fail(Errno::inval);
    if (!allows(r.max_prot, r.prot))
        return fail(Errno::acces);
    return {};
}

static void fill_entry(vm_map_entry& entry, const map_request& r, vaddr_t start, uint64_t size) {
    entry.start = start;
    entry.end = start + size;
    entry.set_object(r.object, r.handle, r.storing());
    entry.offset = r.object ? r.offset : 0;
    entry.protection = r.prot;
    entry.max_protection = r.max_prot;
    entry.inheritance = r.shared ? vm_inherit::share : vm_inherit::copy;
    entry.default_inheritance = entry.inheritance;
    entry.copy_on_write = entry.needs_copy = !r.shared;
    entry.grows_down = r.stack;
    entry.no_reserve = r.no_reserve;
    entry.charged = entry.accountable() && promised(r.no_reserve);
    entry.tag = r.tag;
    entry.wired_count = r.locked;
}

expected<vaddr_t> vmspace::map(const map_request& asked) {
    map_request request = asked;
    uint64_t size = page_round_up(request.size);
    TRY(check_request(request, size));
    if (request.shared && !request.object) {
        request.object = TRY(uvm_aobj::create(
            size, "/dev/zero (deleted)",
            promised(request.no_reserve) ? uvm_aobj::charging::size : uvm_aobj::charging::pages));
        request.offset = 0;
    }
    if (request.storing())
        TRY(request.object->begin_storing());
    entry_list dead;
    expected<vaddr_t> start = map_locked(request, size, dead);
    if (request.storing())
        request.object->end_storing();
    release_entries(dead);
    if (start && request.populate)
        (void)populate(*start, *start + size);
    check_seam();
    return start;
}

// Sets request.populate when what is mapped is wired at once.
expected<vaddr_t> vmspace::map_locked(map_request& request, uint64_t size, entry_list& dead) {
    lock_guard guard(map_.lock());
    vaddr_t start = TRY(choose_address(request, size));
    vaddr_t end = start + size;

    entry_stock fresh, stock;
    TRY(map_.check_count(0));
    TRY(fresh.reserve(1, entry_stock::kind::bare));
    // What is replaced counts against what is asked for. Mostly there is nothing.
    const vm_map::overlap replaced = map_.overlap_with(start, end);
    if (replaced.mapped)
        TRY(map_.reserve_clips(start, end, stock, true));
    vm_map_entry& entry = fresh.peek();
    fill_entry(entry, request, start, size);
    wire_as_future(entry);
    request.populate |= entry.wired_count && !entry.wired_on_fault;
    uint64_t data = entry.accountable() && !entry.grows_down ? entry.pages() : 0;
    commit_exchange promise;
    TRY(check_limits(excess(entry.pages(), replaced.mapped), excess(data, replaced.data)));
    if (entry.wired_count)
        TRY(check_memlock(entry.pages(), Errno::again));
    TRY(promise.begin(entry.charged ? entry.pages() : 0, replaced.charged));

    if (replaced.mapped)
        (void)unmap_locked(start, end, stock, dead);
    promise.finish();
    map_.insert(fresh.take());
    map_.merge_range(start, end);
    return start;
}

// Brings the pages in as a program that uses them would: EAGAIN when there is no memory, ENOMEM
// when a page cannot be accessed (the errors of mlock(2)), EINTR when the caller is killed.
status vmspace::populate(vaddr_t start, vaddr_t end) {
    auto access_for = [&](vaddr_t va) { // none: nothing is mapped there
        read_guard guard(map_.lock());
        vm_map_entry* entry = map_.lookup(va);
        return !entry ? vm_prot::none : entry->accountable() ? vm_prot::write : vm_prot::read;
    };
    for (vaddr_t va = start; va < end;) {
        TRY(long_work::go_on());
        const vm_prot access = access_for(va);
        if (access == vm_prot::none)
            return fail(Errno::nomem);
        switch (fault_in(va, access, false)) {
        case fault_outcome::resolved: va += page_size; break;
        case fault_outcome::nomem: return fail(Errno::again);
        default: // unless the page is another mapping's by now, which allows something else
            if (access_for(va) == access)
                return fail(Errno::nomem);
        }
    }
    return {};
}

// ---- munmap ----------------------------------------------------------------------------------

status vmspace::unmap(vaddr_t start, uint64_t size) {
    size = page_round_up(size);
    if (!start.page_aligned() || size == 0 || start > user_max || size > user_max - start)
        return fail(Errno::inval);
    entry_list dead;
    {
        lock_guard guard(map_.lock());
        entry_stock stock;
        TRY(map_.reserve_clips(start, start + size, stock, true));
        uvm_commit::uncharge(unmap_locked(start, start + size, stock, dead));
    }
    release_entries(dead);
    check_seam();
    return {};
}

// A mapping of an object may have been cut up, and parts of it be gone: what belongs to it lies
// where its offset says.
status vmspace::unmap_object(vaddr_t start, bool (*wanted)(uvm_object&)) {
    entry_list dead;
    {
        lock_guard guard(map_.lock());
        auto of_it = [&](vm_map_entry& e) { return e.object && e.start - start == e.offset; };
        vm_map_entry* e = map_.lookup_or_next(start);
        while (e && !(e->start >= start && of_it(*e) && wanted(*e->object)))
            e = map_.next(*e);
        if (!e)
            return fail(Errno::inval);
        ref_ptr<uvm_object> object = e->object;
        vaddr_t end = start + page_round_up(object->size());
        entry_stock none_needed;
        while (e && e->start < end) {
            vm_map_entry* following = map_.next(*e);
            if (e->start >= start && e->object == object && of_it(*e))
                uvm_commit::uncharge(unmap_locked(e->start, e->end, none_needed, dead));
            e = following;
        }
    }
    release_entries(dead);
    check_seam();
    return {};
}

// Takes what is mapped in [start, end) out of the map and the pmap, holes or not
// (uvm_unmap_remove). The caller releases the dead after it has unlocked the map, and owes the
// account the pages returned.
uint64_t vmspace::unmap_locked(vaddr_t start, vaddr_t end, entry_stock& stock, entry_list& dead) {
    uint64_t charged = 0;
    note_peaks();
    vm_map_entry* entry = map_.clip_range(start, end, stock);
    if (!entry)
        return 0;
    while (entry && entry->start < end) {
        if (entry->wired_count)
            wire_pages(*entry, false);
        pmap_->remove(entry->start, entry->end);
        vm_map_entry* following = map_.next(*entry);
        charged += entry->charged ? entry->pages() : 0;
        map_.remove(*entry);
        dead.push_back(*entry);
        entry = following;
        long_work::pause();
    }
    return charged;
}

// ---- Growing ---------------------------------------------------------------------------------

// Maps [start, end), which is free, as a continuation of `like`, which it touches unless `like` is
// a mere pattern: the heap, a stack, what mremap(2) makes longer. Merging makes the two one
// wherever the amap's slots allow it, and that is growth in place.
status vmspace::grow_locked(const vm_map_entry& like, vaddr_t start, vaddr_t end) {
    entry_stock stock;
    TRY(stock.reserve(1, entry_stock::kind::bare));
    vm_map_entry& entry = stock.peek();
    entry.copy_attributes(like);
    entry.start = start;
    entry.end = end;
    entry.needs_copy = entry.copy_on_write;
    if (entry.object)
        entry.offset += start - like.start;
    entry.charged = like.charged || (entry.accountable() && promised(entry.no_reserve));
    TRY(check_limits(entry.pages(), entry.accountable() && !entry.grows_down ? entry.pages() : 0));
    wire_as_future(entry);
    if (entry.wired_count)
        TRY(check_memlock(entry.pages(), Errno::again));
    if (entry.charged)
        TRY(uvm_commit::charge(entry.pages()));
    map_.insert(stock.take());
    map_.merge_range(start, end);
    return {};
}

// ---- mprotect --------------------------------------------------------------------------------

// What `prot` would add to the account and to the data of [start, end).
struct protect_cost {
    uint64_t charge = 0, data = 0;
};

static bool becomes_accountable(const vm_map_entry& e, vm_prot prot) {
    return e.copy_on_write && allows(prot, vm_prot::write) && !e.accountable();
}

status vmspace::protect(vaddr_t start, uint64_t size, vm_prot prot, bool whole_stack) {
    if (!start.page_aligned())
        return fail(Errno::inval);
    if (size == 0)
        return {};
    if (page_round_up(size) == 0 || start > user_max || page_round_up(size) > user_max - start)
        return fail(Errno::nomem);
    status result = protect_locked(start, start + page_round_up(size), prot, whole_stack);
    check_seam();
    return result;
}

// PROT_GROWSDOWN: the change begins where the stack does that the range, or its end, lies in.
expected<vaddr_t> vmspace::start_of_stack(vaddr_t start, vaddr_t end) const {
    vm_map_entry* stack = map_.lookup_or_next(start);
    if (!stack || stack->start >= end)
        return fail(Errno::nomem);
    if (!stack->grows_down)
        return fail(Errno::inval);
    for (vm_map_entry* e = map_.prev(*stack); e && vm_map::alike(*e, *stack); e = map_.prev(*e))
        stack = e;
    return stack->start;
}

// How far mprotect goes: as Linux, up to the first hole or the first mapping that refuses. `end` is
// set to where that is; the error is what the program is told of the rest.
status vmspace::limit_protect(vaddr_t start, vaddr_t& end, vm_prot prot) const {
    vaddr_t reached = start;
    for (vm_map_entry* e = map_.lookup(start); reached < end; e = map_.next(*e)) {
        bool mapped = e && e->start <= reached;
        if (!mapped || !allows(e->max_protection, prot)) {
            end = reached;
            return fail(mapped ? Errno::acces : Errno::nomem);
        }
        reached = e->end;
    }
    return {};
}

// A page that is stored into from outside, where the program itself may not, becomes the mapping's
// own; it is paid for as if the program had had the right for a moment, also if the store then fails.
status vmspace::pay_for_store(vaddr_t page) {
    lock_guard guard(map_.lock());
    vm_map_entry* e = map_.lookup(page);
    if (!e || !e->copy_on_write || e->charged || !promised(e->no_reserve))
        return {};
    auto change = [](vm_attributes& a, const vm_map_entry&) { a.charged = true; };
    entry_stock stock;
    TRY(map_.reserve_change(page, page + page_size, stock, change));
    TRY(uvm_commit::charge(1));
    e = map_.clip_range(page, page + page_size, stock);
    map_.alter(*e, [](vm_map_entry& entry) { entry.charged = true; });
    map_.merge_range(page, page + page_size);
    return {};
}

// Rights are only ever taken from the pmap here. Those that are given are entered by faults, page
// by page, because only they know which page has to be copied first.
status vmspace::protect_locked(vaddr_t start, vaddr_t end, vm_prot prot, bool whole_stack) {
    lock_guard guard(map_.lock());
    if (whole_stack)
        start = TRY(start_of_stack(start, end));
    status beyond = limit_protect(start, end, prot);
    if (start == end)
        return beyond;
    protect_cost cost;
    for (vm_map_entry* e = map_.lookup(start); e && e->start < end; e = map_.next(*e)) {
        uint64_t pages = (std::min(end, e->end) - std::max(start, e->start)) >> page_shift;
        if (becomes_accountable(*e, prot)) {
            cost.data += e->grows_down ? 0 : pages;
            cost.charge += !e->charged && promised(e->no_reserve) ? pages : 0;
        }
    }
    TRY(check_limits(0, cost.data));
    auto change = [prot](vm_attributes& a, const vm_map_entry& e) {
        a.charged = e.charged || (becomes_accountable(e, prot) && promised(e.no_reserve));
        a.protection = prot;
    };
    entry_stock stock;
    TRY(map_.reserve_change(start, end, stock, change));
    TRY(uvm_commit::charge(cost.charge));

    vm_map_entry* e = map_.clip_range(start, end, stock);
    for (; e && e->start < end; e = map_.next(*e)) {
        long_work::pause();
        vm_prot before = e->effective_protection();
        map_.alter(*e, [&](vm_map_entry& entry) { change(entry, entry); });
        vm_prot now = e->effective_protection();
        if (now == vm_prot::none && !e->wired_count)
            pmap_->remove(e->start, e->end);
        else if (now == vm_prot::none || !allows(now | vm_prot::write, before))
            pmap_->protect(e->start, e->end, now);
        else if (!allows(now, before))
            pmap_->write_protect(e->start, e->end);
    }
    map_.merge_range(start, end);
    return beyond;
}
