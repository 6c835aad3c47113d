#include "vm/uvm_aobj.h"

#include "arch/pmap.h"
#include "lib/long_work.h"
#include "vm/phys/pool.h"
#include "vm/uvm_commit.h"
#include "vm/uvm_pager.h"
#include "vm/uvm_pdaemon.h"

#include "lib/string.h"
#include "vm/phys/vm_page.h"

static pool<uvm_aobj> aobj_pool{"uvm_aobj"};

// All of them together; what the commit account says of objects.
static std::atomic<uint64_t> charged{0};

static status charge(uint64_t pages) {
    TRY(uvm_commit::charge(pages));
    charged.fetch_add(pages, std::memory_order_relaxed);
    return {};
}

static void uncharge(uint64_t pages) {
    charged.fetch_sub(pages, std::memory_order_relaxed);
    uvm_commit::uncharge(pages);
}

uint64_t uvm_aobj::charged_pages() { return charged.load(std::memory_order_relaxed); }

// ---- Making and ending ----------------------------------------------------------------------

uvm_aobj::uvm_aobj(uint64_t size, const char* name, charging how, ref_ptr<page_quota> quota)
    : uvm_pages(size), charging_(how), quota_(std::move(quota)) {
    set_identity(name, 0, 0);
    if (charged_by_size()) // by who makes it
        charged.fetch_add(pages_of(size), std::memory_order_relaxed);
}

expected<ref_ptr<uvm_aobj>> uvm_aobj::create(uint64_t size, const char* name, charging how,
                                             ref_ptr<page_quota> quota) {
    commit_reservation promise;
    if (how == charging::size)
        TRY(promise.take(pages_of(size)));
    uvm_aobj* object = aobj_pool.create(size, name, how, std::move(quota));
    if (!object)
        return fail(Errno::nomem);
    promise.keep();
    return ref_ptr<uvm_aobj>::adopt(object);
}

uvm_aobj::~uvm_aobj() {
    lock_guard guard(lock_);
    free_pages(0, UINT64_MAX, [](place) { return true; });
    if (charged_by_size())
        uncharge(pages_of(size_));
}

void uvm_aobj::last_reference_gone() { aobj_pool.destroy(this); }

// ---- Pages ----------------------------------------------------------------------------------

bool uvm_aobj::next_out(uint64_t& index, uint64_t end) {
    for (; place found = next_place(index, end); index++) {
        if (found.slot())
            return true;
        long_work::pause();
    }
    return false;
}

status uvm_aobj::charge_pages(uint64_t pages) {
    if (!charged_by_pages())
        return {};
    if (quota_)
        TRY(quota_->take(pages));
    if (charge(pages))
        return {};
    if (quota_)
        quota_->give_back(pages);
    return fail(Errno::nospc);
}

void uvm_aobj::uncharge_pages(uint64_t pages) {
    if (!charged_by_pages())
        return;
    uncharge(pages);
    if (quota_)
        quota_->give_back(pages);
}

// The page at `index`, which has been charged for.
expected<vm_page*> uvm_aobj::make_page(uint64_t index) {
    owned_page fresh(vm_page_alloc(page_owner::object, true));
    if (!fresh)
        return fail(Errno::nomem);
    TRY(pages_.put(index, fresh.get()));
    fresh->object = this;
    fresh->index = index;
    if (uvm_pdpolicy::on())
        uvm_pdaemon::enqueue_new(*fresh.get());
    return fresh.release();
}

// The page at `index`: null for a hole unless `make` is set. EAGAIN: it is not in memory.
expected<vm_page*> uvm_aobj::page_at(uint64_t index, bool make) {
    const place found = at(index);
    if (found && !found.in_memory())
        return fail(Errno::again);
    if (found || !make)
        return found.page();
    TRY(charge_pages(1));
    auto made = make_page(index);
    if (!made)
        uncharge_pages(1);
    return made;
}

// A hole is filled even for reading: the page that a shared mapping shows must be the one that
// others write to.
expected<vm_page*> uvm_aobj::get(uint64_t index, bool write) {
    if (index >= pages_of(size()))
        return fail(Errno::fault);
    vm_page* page = TRY(page_at(index, true));
    if (write)
        page->clean = false;
    return page;
}

// ---- In memory, and out ----------------------------------------------------------------------

status uvm_aobj::bring_in(uint64_t index, bool, page_in& later) {
    const place found = at(index);
    if (!found || found.in_memory())
        return {};
    if (vm_page* busy = found.page()) {
        later.wait_for(*busy);
        return fail(Errno::again);
    }
    vm_page* page = make_room(index, found.clean());
    if (!page)
        return fail(Errno::nomem);
    later.begin(*page, found.slot(), page_owner_lock(ref_ptr<uvm_object>(this)));
    uint64_t next = index + 1;
    for (unsigned more = ahead_.begin(index); --more != 0; next++) {
        const place behind = at(next);
        page = later.continues(behind.slot()) ? make_room(next, behind.clean()) : nullptr;
        if (!page)
            break;
        later.add(*page);
    }
    ahead_.end(next);
    return fail(Errno::again);
}

// A page for what is in the slot, busy until that has come; or null.
vm_page* uvm_aobj::make_room(uint64_t index, bool clean) {
    vm_page* page = vm_page_alloc(page_owner::object);
    if (!page)
        return nullptr;
    page->object = this;
    page->index = index;
    page->clean = clean;
    page_set_busy(*page);
    (void)pages_.replace(index, page);
    return page;
}

void uvm_aobj::page_came(vm_page& page, swap_slot slot, const status& read, bool wanted) {
    page_clear_busy(page);
    if (!page.released && !read) {
        (void)pages_.replace(page.index, place(slot, page.clean).word());
        vm_page_free(&page);
        return;
    }
    uvm_swap::free(slot);
    if (page.released)
        free_orphan(page);
    else
        uvm_pdaemon::enqueue_new(page, wanted ? slot : 0);
}

bool uvm_aobj::page_went(vm_page& page, swap_slot slot) {
    const bool goes = slot && !page.wanted && !page.released;
    page_clear_busy(page);
    if (goes) {
        uvm_pdpolicy::went(page, slot);
        (void)pages_.replace(page.index, place(slot, page.clean).word());
        vm_page_free(&page);
        return true;
    }
    if (slot)
        uvm_swap::free(slot);
    if (page.released)
        free_orphan(page);
    else
        uvm_pdpolicy::enqueue(page);
    return false;
}

// The slot's page may be on its way at this moment; or has come, and the slot is another's by now.
status uvm_aobj::leave_swap(uint64_t index, swap_slot slot, page_in& later) {
    const place found = at(index);
    if (found.slot() == slot || (found.page() && !found.in_memory()))
        TRY(bring_in(index, false, later));
    return fail(Errno::again);
}

// There is nowhere to write to; but the next store shall be a fault again.
status uvm_aobj::put(uint64_t first, uint64_t last) {
    lock_guard guard(lock_);
    for (; vm_page* page = next_resident(first, last); first++) {
        pmap::page_protect(*page, vm_prot::rx);
        TRY(long_work::go_on());
    }
    return {};
}

uint64_t uvm_aobj::share() const NO_THREAD_SAFETY_ANALYSIS {
    const bool is_file = bool(quota_);
    if (is_file && quota_->look().limit != page_quota::unlimited)
        return 0;
    const uint32_t holders = references() - is_file; // not the file itself
    return pages_.used() * page_size / std::max(1u, holders);
}

// ---- Size -----------------------------------------------------------------------------------

void uvm_aobj::remove_page(uint64_t index) {
    const place was(pages_.take(index));
    vm_page* page = was.page();
    if (!page) {
        uvm_swap::free(was.slot());
        return;
    }
    free_page(*page);
}

// Removes the wanted pages of [first, end), from every mapping too.
template <class Wanted> void uvm_aobj::free_pages(uint64_t first, uint64_t end, Wanted wanted) {
    uint64_t freed = 0;
    for (; place found = next_place(first, end); first++) {
        if (wanted(found)) {
            remove_page(first);
            freed++;
        }
        long_work::pause();
    }
    uncharge_pages(freed);
}

// Calls change() under the lock when no page of which only a part is in [start, end) is out: what
// stays of it would come back as it was.
template <class Change> status uvm_aobj::with_edges(uint64_t start, uint64_t end, Change change) {
    for (;;) {
        page_in later;
        status there;
        {
            lock_guard guard(lock_);
            for (uint64_t edge : {start, end})
                if (there && (edge & page_mask) != 0)
                    there = bring_in(edge >> page_shift, true, later);
            if (there)
                return change();
        }
        TRY(page_in_finish(later));
        TRY(long_work::go_on());
        if (there.error() == Errno::nomem && !uvm_pdaemon::wait_for_memory())
            return there;
    }
}

status uvm_aobj::resize(uint64_t new_size) {
    bool shrinks = false;
    TRY(with_edges(new_size, new_size, [&]() REQUIRES(lock_) {
        shrinks = pages_of(new_size) < pages_of(size());
        return resize_locked(new_size);
    }));
    // From now on no page past the end can be copied.
    if (shrinks)
        drop_private_copies(pages_of(new_size));
    return {};
}

status uvm_aobj::resize_locked(uint64_t new_size) {
    uint64_t before = pages_of(size()), after = pages_of(new_size);
    if (charged_by_size() && after > before)
        TRY(charge(after - before));
    const bool grows = new_size > size();
    // First the size: a fault that comes now waits for the lock and then sees the new end.
    size_.store(new_size, std::memory_order_release);
    if (grows)
        return {};
    free_pages(after, UINT64_MAX, [](place) { return true; });
    zero(new_size, page_round_up(new_size));
    if (charged_by_size())
        uncharge(before - after);
    return {};
}

// Data first, size second: whoever sees the new end finds what lies before it.
void uvm_aobj::grow(uint64_t new_size) {
    ASSERT(!charged_by_size());
    lock_guard guard(lock_);
    if (new_size > size())
        size_.store(new_size, std::memory_order_release);
}

void uvm_aobj::trim() {
    lock_guard guard(lock_);
    free_pages(pages_of(size()), UINT64_MAX, [](place found) { return !found.clean(); });
}

// All is charged for before the first page is made, so that want of space is found out while there
// is nothing to be taken back. Faults may make some of the pages meanwhile.
status uvm_aobj::allocate(uint64_t first, uint64_t end) {
    uint64_t missing = end - first;
    {
        lock_guard guard(lock_);
        for (uint64_t index = first; next_place(index, end); index++)
            missing--;
    }
    TRY(charge_pages(missing));
    status made;
    for (uint64_t index = first; index < end && made; index++) {
        made = long_work::go_on();
        lock_guard guard(lock_);
        if (!made || at(index))
            continue;
        if (auto page = make_page(index))
            missing--;
        else
            made = fail(page.error());
        guard.unlock();
        if (!made && made.error() == Errno::nomem && uvm_pdaemon::wait_for_memory()) {
            made = {};
            index--;
        }
    }
    uncharge_pages(missing);
    if (!made) {
        // What nobody has written to or mapped reads as a hole does.
        lock_guard guard(lock_);
        free_pages(first, end, [](place found) {
            vm_page* page = found.page();
            return found.clean() &&
                   (!page || (page->wire_count == 0 && pmap::mapping_count(*page) == 0));
        });
    }
    return made;
}

//      start                                   end
//        |  zeroed |  freed  |  freed  | zeroed |
//   -----+---------+---------+---------+--------+---     pages
status uvm_aobj::punch(uint64_t start, uint64_t end) {
    return with_edges(start, end, [&]() REQUIRES(lock_) {
        const uint64_t first = pages_of(start), last = end >> page_shift;
        zero(start, std::min(end, first << page_shift));
        free_pages(first, last, [](place) { return true; });
        if (last >= first)
            zero(last << page_shift, end);
        return status();
    });
}

uint64_t uvm_aobj::next(contents wanted, uint64_t offset) {
    lock_guard guard(lock_);
    const uint64_t bytes = size(), end = pages_of(bytes);
    uint64_t index = offset >> page_shift;
    if (wanted == contents::data) {
        place found = next_place(index, end);
        while (found && found.clean())
            found = next_place(++index, end);
        if (!found)
            return bytes;
    } else {
        for (; index < end; index++)
            if (const place found = at(index); !found || found.clean())
                break;
    }
    return std::min(bytes, std::max(offset, index << page_shift));
}

// ---- Held pages -----------------------------------------------------------------------------

expected<held_page> uvm_aobj::try_hold(wanted_bytes& bytes, page_in& later) {
    const uint64_t index = bytes.index();
    lock_guard guard(lock_);
    if (bytes.what_for != purpose::extend && index >= pages_of(size()))
        return fail(Errno::fault);
    expected<vm_page*> found = page_at(index, bytes.writes());
    if (!found && found.error() == Errno::again)
        TRY(bring_in(index, bytes.writes(), later));
    vm_page* page = TRY(found);
    if (!page)
        return held_page();
    page->wire_count++;
    if (bytes.writes())
        page->clean = false;
    return held_page(ref_ptr<uvm_pages>(this), page);
}

// ---- Checking -------------------------------------------------------------------------------

void uvm_aobj::check() {
    lock_guard guard(lock_);
    pages_.check();
    uint64_t index = 0;
    for (; place found = next_place(index, UINT64_MAX); index++) {
        ASSERT(!charged_by_size() || index < pages_of(size()));
        const vm_page* page = found.page();
        if (!page) {
            uvm_swap::check_owner(found.slot(), uvm_swap::slot_owner(*this, index));
            continue;
        }
        ASSERT(page->owner_kind == page_owner::object);
        ASSERT(page->object == this && page->index == index);
    }
}
