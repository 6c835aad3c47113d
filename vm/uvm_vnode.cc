#include "vm/uvm_vnode.h"

#include "arch/pmap.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_pager.h"
#include "vm/uvm_pdaemon.h"

#include <algorithm>

static pool<uvm_vnode> vnode_pool{"uvm_vnode"};

namespace {

constexpr unsigned sector_shift = 9;

// The sectors of its page that [start, end) touches.
uint8_t sectors_of(uint64_t start, uint64_t end) {
    const unsigned first = unsigned(start & page_mask) >> sector_shift;
    const unsigned last = unsigned((end - 1) & page_mask) >> sector_shift;
    return uint8_t((2u << last) - (1u << first));
}

// Those that lie in [start, end) as a whole, of the page at `index`.
uint8_t sectors_within(uint64_t index, uint64_t start, uint64_t end) {
    const uint64_t page = index << page_shift;
    start = std::max(start, page);
    end = std::min(end, page + page_size);
    return start < end ? sectors_of(start, end) : 0;
}

// Whether a write has failed for good: not for want of memory, or since its caller is to die.
bool is_lost(const status& written) {
    return !written && written.error() != Errno::nomem && written.error() != Errno::intr;
}

std::atomic<uint64_t> all_dirty{0}, all_cached{0};

} // namespace

// All objects that have dirty pages, those first that were looked at the longest time ago.
struct uvm_vnode::dirty_list {
    spin_lock lock{lock_rank::dirty_objects, "dirty objects"};
    list<uvm_vnode, &uvm_vnode::on_list_> objects GUARDED_BY(lock);
    uint64_t count GUARDED_BY(lock) = 0;
    uint32_t now GUARDED_BY(lock) = 0; // calls of tick()

    static dirty_list all;

    void add(uvm_vnode& object) {
        lock_guard guard(lock);
        objects.push_back(object);
        object.dirty_since_ = now;
        count++;
    }
    void remove(uvm_vnode& object) {
        lock_guard guard(lock);
        objects.remove(object);
        count--;
    }
    // The first one, if it is dirty for so long; it is the last one from now on. Null: it is not.
    ref_ptr<uvm_vnode> next(unsigned turns) {
        lock_guard guard(lock);
        if (objects.empty())
            return nullptr;
        uvm_vnode* object = objects.pop_front();
        objects.push_back(*object);
        if (now - object->dirty_since_ < turns)
            return nullptr;
        object->dirty_since_ = now;
        return ref_ptr<uvm_vnode>::unless_ending(object);
    }
    uint64_t length() {
        lock_guard guard(lock);
        return count;
    }
};
constinit uvm_vnode::dirty_list uvm_vnode::dirty_list::all;

// A call of the store, which does not end meanwhile.
class uvm_vnode::store_use {
public:
    explicit store_use(uvm_vnode& object) : object_(object) {
        lock_guard guard(object_.writes_lock_);
        store_ = object_.store_;
        object_.calls_++;
    }
    store_use(const store_use&) = delete;
    ~store_use() {
        lock_guard guard(object_.writes_lock_);
        if (--object_.calls_ == 0)
            object_.waiting_.wake_all();
    }
    explicit operator bool() const { return store_; }
    page_store* operator->() const { return store_; }

private:
    uvm_vnode& object_;
    page_store* store_;
};

// ---- Making and ending -----------------------------------------------------------------------

expected<ref_ptr<uvm_vnode>> uvm_vnode::create(page_store& store, uint64_t size, bool placed) {
    uvm_vnode* object = vnode_pool.create(store, size, placed);
    if (!object)
        return fail(Errno::nomem);
    return ref_ptr<uvm_vnode>::adopt(object);
}

void uvm_vnode::retire() {
    when_still(0, UINT64_MAX, [&]() REQUIRES(lock_) {
        size_.store(0, std::memory_order_release);
        remove_from(0);
    });
    leave_list_if_clean();
    lock_guard guard(writes_lock_);
    while (calls_)
        waiting_.wait(writes_lock_, "file page");
    store_ = nullptr;
}

uvm_vnode::~uvm_vnode() {
    lock_guard guard(lock_);
    ASSERT(pages_.used() == 0 && dirty_.used() == 0 && !listed_);
}

void uvm_vnode::last_reference_gone() { vnode_pool.destroy(this); }

uint64_t uvm_vnode::dirty_pages() { return all_dirty.load(std::memory_order_relaxed); }
uint64_t uvm_vnode::cached_pages() { return all_cached.load(std::memory_order_relaxed); }

// ---- What is dirty ---------------------------------------------------------------------------

//     writers << 32 | failed << 24 | writing << 16 | dirty << 8 | 1
uvm_vnode::dirt uvm_vnode::dirt::of(void* word) {
    const auto bits = reinterpret_cast<uintptr_t>(word);
    return {.dirty = uint8_t(bits >> 8),
            .writing = uint8_t(bits >> 16),
            .failed = bool(bits >> 24 & 1),
            .writers = uint32_t(bits >> 32)};
}

void* uvm_vnode::dirt::word() const {
    return reinterpret_cast<void*>(uintptr_t{writers} << 32 | uintptr_t{failed} << 24 |
                                   uintptr_t{writing} << 16 | uintptr_t{dirty} << 8 | 1);
}

uvm_vnode::dirt uvm_vnode::dirt_of(uint64_t index) const { return dirt::of(dirty_.get(index)); }

// Of a page that has a word, or whose word has just been made.
void uvm_vnode::set_dirt(uint64_t index, const dirt& before, const dirt& is) {
    if (is.over())
        (void)dirty_.take(index);
    else
        (void)dirty_.replace(index, is.word());
    at(index).page()->clean = is.over();
    if (before.counts() == is.counts())
        return;
    if (!is.counts()) {
        dirty_count_--;
        all_dirty.fetch_sub(1, std::memory_order_relaxed);
        return;
    }
    dirty_count_++;
    all_dirty.fetch_add(1, std::memory_order_relaxed);
    if (std::exchange(listed_, true))
        return;
    {
        lock_guard guard(writes_lock_);
        store_->keep();
    }
    dirty_list::all.add(*this);
}

// `writers` more hold it. ENOMEM: nothing has changed.
status uvm_vnode::make_dirty(vm_page& page, uint8_t sectors, uint32_t writers) {
    const dirt before = dirt_of(page.index);
    dirt is = before;
    is.dirty |= sectors;
    is.writers += writers;
    if (before.over())
        TRY(dirty_.put(page.index, is.word()));
    set_dirt(page.index, before, is);
    return {};
}

void uvm_vnode::make_held_dirty(vm_page& page, uint8_t sectors) {
    const dirt before = dirt_of(page.index);
    dirt is = before;
    is.dirty |= sectors;
    set_dirt(page.index, before, is);
}

void uvm_vnode::written(vm_page& page) {
    const dirt before = dirt_of(page.index);
    dirt is = before;
    ASSERT(is.writers > 0);
    is.writers--;
    set_dirt(page.index, before, is);
    if (std::exchange(cutting_, false))
        tell_waiters();
}

void uvm_vnode::make_clean(uint64_t index, uint8_t sectors) {
    const dirt before = dirt_of(index);
    dirt is = before;
    is.dirty &= ~sectors;
    if (!before.over())
        set_dirt(index, before, is);
}

void uvm_vnode::leave_list_if_clean() {
    const store_use store(*this); // retire() waits for it
    {
        lock_guard guard(lock_);
        if (dirty_count_ != 0 || !std::exchange(listed_, false))
            return;
        dirty_list::all.remove(*this);
    }
    store->let_go(); // it was kept until here
}

void uvm_vnode::forget(uint64_t start, uint64_t end) {
    for (uint64_t index = start >> page_shift; index < pages_of(end);) {
        const uint8_t sectors = sectors_within(index, start, end);
        uint64_t ticket = 0;
        {
            lock_guard guard(lock_);
            make_clean(index, sectors);
            if (dirt_of(index).writing & sectors)
                ticket = write_ticket();
        }
        if (ticket)
            wait_for_write(ticket);
        else
            index++;
    }
    leave_list_if_clean();
}

// ---- Pages come ------------------------------------------------------------------------------

uint8_t uvm_vnode::sectors_before_end(uint64_t index) const {
    return sectors_within(index, index << page_shift, size());
}

uint64_t uvm_vnode::end_of_page(uint64_t index) const {
    return std::min((index + 1) << page_shift, std::max(size(), index << page_shift));
}

// A page that nobody has yet: of zeros, or busy, to be read.
vm_page* uvm_vnode::make_room(uint64_t index, bool zeroed, bool urgent) {
    owned_page page(urgent ? vm_page_alloc_urgently(page_owner::object, zeroed)
                           : vm_page_alloc(page_owner::object, zeroed));
    if (!page || !pages_.put(index, page.get()))
        return nullptr;
    page->object = this;
    page->index = index;
    page->clean = true;
    page->placed = placed_;
    all_cached.fetch_add(1, std::memory_order_relaxed);
    if (!zeroed)
        page_set_busy(*page.get());
    else if (uvm_pdpolicy::on())
        uvm_pdaemon::enqueue_new(*page.get());
    return page.release();
}

status uvm_vnode::bring_in_pages(uint64_t index, bool write, bool urgent, page_in& later) {
    if (vm_page* page = at(index).page()) {
        if (page->busy)
            later.wait_for(*page);
        else if (write && !page->placed)
            later.make_ready(ref_ptr<uvm_object>(this), index << page_shift, end_of_page(index));
        else
            return {};
        return fail(Errno::again);
    }
    const uint64_t end = pages_of(size());
    if (index >= end)
        return {}; // cut off meanwhile
    vm_page* page = make_room(index, false, urgent);
    if (!page)
        return fail(Errno::nomem);
    later.begin_read(*page, ref_ptr<uvm_object>(this));
    const file_advice how = reading_.load(std::memory_order_relaxed);
    unsigned more = ahead_.begin(index, cluster);
    if (how != file_advice::normal)
        more = how == file_advice::random ? 1 : cluster;
    uint64_t next = index + 1;
    for (; --more != 0 && next < end && later.has_room() && !uvm_pdaemon::would_wait(); next++) {
        page = at(next) ? nullptr : make_room(next, false, false);
        if (!page)
            break;
        later.add(*page);
    }
    ahead_.end(next);
    return fail(Errno::again);
}

status uvm_vnode::read_home(uint64_t first, std::span<vm_page* const> pages) {
    const store_use store(*this);
    const status read = store ? store->read_pages(first, pages) : status(fail(Errno::io));
    EVENT(file_read, .object = this, .first = first, .pages = uint32_t(pages.size()),
          .result = read ? 0 : -int32_t(read.error()));
    return read;
}

void uvm_vnode::page_came(vm_page& page, swap_slot, const status& read, bool) {
    page_clear_busy(page);
    if (!read) {
        (void)pages_.take(page.index);
        all_cached.fetch_sub(1, std::memory_order_relaxed);
        vm_page_free(&page);
        return;
    }
    zero_tail(end_of_page(page.index));
    if (uvm_pdpolicy::on())
        uvm_pdaemon::enqueue_new(page);
}

// What of a page lies past the end is anything on the disk, and whatever programs have stored there.
void uvm_vnode::zero_tail(uint64_t from) { zero(from, page_round_up(from)); }

// Of a page that a fault wants to store into. If it has gone meanwhile, or the file ends before it, who asked
// finds out for himself.
status uvm_vnode::make_ready(uint64_t start, uint64_t end) {
    limit_dirty();
    held_page held;
    {
        lock_guard guard(lock_);
        vm_page* page = at(start >> page_shift).in_memory();
        end = std::min(end, size());
        if (!page || start >= end)
            return {};
        held = TRY(pin(*page, 0));
    }
    return give_place(held, start, end);
}

expected<held_page> uvm_vnode::pin(vm_page& page, uint8_t sectors) {
    TRY(make_dirty(page, sectors, 1));
    page.wire_count++;
    return held_page(ref_ptr<uvm_pages>(this), &page, true);
}

// The page stays until it is dirty: from the disk would come what had the place before. If the call fails, some
// of it may have one all the same.
status uvm_vnode::give_place(const held_page& held, uint64_t start, uint64_t end) {
    status given = fail(Errno::io);
    if (const store_use store(*this); store)
        given = store->allocate(start, end);
    lock_guard guard(lock_);
    vm_page& page = *held.page();
    if (page.object != this)
        return given;
    make_held_dirty(page, given ? sectors_of(start, end)
                                : sectors_within(page.index, start, std::min(end, size())));
    if (given && (start & page_mask) == 0 && end >= end_of_page(page.index))
        page.placed = true;
    return given;
}

expected<vm_page*> uvm_vnode::get(uint64_t index, bool write) {
    if (index >= pages_of(size()))
        return fail(Errno::fault);
    vm_page* page = at(index).in_memory();
    if (!page || (write && !page->placed))
        return fail(Errno::again);
    if (write)
        TRY(make_dirty(*page, sectors_before_end(index), 0));
    return page;
}

bool uvm_vnode::next_out(uint64_t& index, uint64_t end) {
    for (end = std::min(end, pages_of(size())); index < end; index++) {
        if (!at(index))
            return true;
        long_work::pause();
    }
    return false;
}

status uvm_vnode::advise(uint64_t first, uint64_t end, file_advice advice) {
    switch (advice) {
    case file_advice::normal:
    case file_advice::random:
    case file_advice::sequential: reading_.store(advice, std::memory_order_relaxed); break;
    case file_advice::will_need: return fetch(first, end);
    case file_advice::dont_need:
        (void)flush_pages(first, end, false, UINT64_MAX);
        drop_clean(first, end);
        break;
    case file_advice::no_reuse: break;
    }
    return {};
}

status uvm_vnode::fetch(uint64_t first, uint64_t end) {
    for (;;) {
        TRY(long_work::go_on());
        page_in later;
        {
            lock_guard guard(lock_);
            if (uvm_pdaemon::would_wait() || !next_out(first, end))
                return {};
            (void)bring_in(first, false, later);
        }
        if (!page_in_finish(later))
            first++;
    }
}

// ---- Held pages ------------------------------------------------------------------------------

expected<held_page> uvm_vnode::hold_now(uint64_t start, uint64_t size, purpose what_for) {
    return hold_all({start, start + size, what_for, true});
}

// The page, or what has to be had first, begun: EAGAIN.
expected<vm_page*> uvm_vnode::page_for(wanted_bytes& bytes, page_in& later) {
    const uint64_t index = bytes.index();
    if (vm_page* page = at(index).in_memory())
        return page;
    const bool extends = bytes.what_for == purpose::extend && index >= pages_of(size());
    const bool replaces =
        bytes.what_for == purpose::replace && bytes.end - bytes.start == page_size;
    if (!at(index) && (extends || replaces)) {
        vm_page* page = make_room(index, true, bytes.urgent);
        return page ? expected<vm_page*>(page) : fail(Errno::nomem);
    }
    TRY(bring_in_pages(index, false, bytes.urgent, later));
    return fail(Errno::fault);
}

expected<held_page> uvm_vnode::try_hold(wanted_bytes& bytes, page_in& later) {
    const bool stores = bytes.what_for == purpose::write || bytes.what_for == purpose::extend;
    held_page held;
    {
        lock_guard guard(lock_);
        if (bytes.what_for != purpose::extend && bytes.index() >= pages_of(size()))
            return fail(Errno::fault);
        vm_page* page = TRY(page_for(bytes, later));
        if (!bytes.writes()) {
            page->wire_count++;
            return held_page(ref_ptr<uvm_pages>(this), page);
        }
        // What lies past the end of its page has no place yet, even if the rest has.
        const bool placed = !stores || (page->placed && bytes.end <= size());
        held = TRY(pin(*page, stores && placed ? sectors_of(bytes.start, bytes.end) : 0));
        if (bytes.what_for == purpose::extend && bytes.start > size())
            zero(size(), std::min(bytes.start, page_round_up(size())));
        if (placed)
            return held;
    }
    TRY(give_place(held, bytes.start, bytes.end));
    return held;
}

// ---- Pages are written -----------------------------------------------------------------------

// Those from `from` on, in [from, end), that are dirty and lie in a row: they are being written then.
// None, and true: the page at `from` is, by somebody else. What lies past the end stays: it may have no place, or
// lose it.
bool uvm_vnode::gather(uint64_t& from, uint64_t end, bool retry, run& r) {
    for (uint64_t index = from; r.count < cluster; index++) {
        void* word = dirty_.find_from(index, end);
        if (!word || (r.count && index != r.first + r.count))
            break;
        const dirt before = dirt::of(word);
        if (before.writing && retry) {
            from = index;
            return r.count == 0;
        }
        const uint8_t sectors = before.dirty & sectors_before_end(index);
        if (!sectors || before.writing || (before.failed && !retry)) {
            if (r.count)
                break;
            continue;
        }
        vm_page& page = *at(index).page();
        pmap::page_protect(page, vm_prot::rx);
        if (!before.writers)
            zero_tail(end_of_page(index));
        dirt is = before;
        is.writing = sectors;
        is.dirty &= ~sectors;
        set_dirt(index, before, is);
        page.wire_count++;
        if (r.count == 0)
            r.first = index;
        r.pages[r.count++] = {&page, is.writing};
    }
    from = r.first + r.count;
    return false;
}

status uvm_vnode::write(run& r) {
    about_to_move_pages(page_way::out);
    status result;
    {
        const store_use store(*this);
        result = store ? store->write_pages(r.first, {r.pages, r.count}) : fail(Errno::io);
    }
    EVENT(file_written, .object = this, .first = r.first, .pages = r.count,
          .result = result ? 0 : -int32_t(result.error()));
    {
        lock_guard guard(lock_);
        write_ended(r, result);
    }
    if (is_lost(result))
        note_error();
    tell_waiters();
    leave_list_if_clean();
    return result;
}

// Who holds a page to write to it may have done so after the disk had read it: it stays dirty.
void uvm_vnode::write_ended(run& r, const status& result) {
    for (unsigned n = 0; n < r.count; n++) {
        vm_page& page = *r.pages[n].page;
        page.wire_count--;
        const dirt before = dirt_of(page.index);
        dirt is = before;
        is.writing = 0;
        is.failed = is_lost(result);
        if (!result || is.writers)
            is.dirty |= before.writing;
        set_dirt(page.index, before, is);
    }
}

uvm_vnode::flushed uvm_vnode::flush_pages(uint64_t first, uint64_t end, bool retry, uint64_t most,
                                          bool whole) {
    flushed done;
    end = std::min(end, pages_of(size()));
    while (first < end && done.pages < most) {
        if (whole) {
            long_work::pause();
        } else if (!long_work::go_on()) {
            done.result = fail(Errno::intr);
            break;
        }
        run r;
        uint64_t ticket = 0;
        {
            lock_guard guard(lock_);
            if (gather(first, end, retry, r))
                ticket = write_ticket();
        }
        if (ticket) {
            // It may be dirty again, and what was so before this call with it. Of several who wait one writes it.
            wait_for_write(ticket);
            continue;
        }
        if (r.count == 0)
            break;
        if (const status written = write(r); !written)
            done.result = written;
        else
            done.pages += r.count;
    }
    return done;
}

void uvm_vnode::tell_waiters() {
    lock_guard guard(writes_lock_);
    writes_ended_++;
    waiting_.wake_all();
}

uint64_t uvm_vnode::write_ticket() {
    lock_guard guard(writes_lock_);
    return writes_ended_;
}

void uvm_vnode::wait_for_write(uint64_t ticket) {
    lock_guard guard(writes_lock_);
    while (writes_ended_ == ticket)
        waiting_.wait(writes_lock_, "file page");
}

// ---- Errors of writes ------------------------------------------------------------------------

void uvm_vnode::note_error() {
    uint32_t before = errors_.load();
    while (!errors_.compare_exchange_weak(before, (before | 1) + 1)) {
    }
}

uint32_t uvm_vnode::seen_errors() const {
    const uint32_t now = errors_.load(std::memory_order_acquire);
    return now / 2 - (now != 0 && !(now & 1));
}

status uvm_vnode::check_errors(std::atomic<uint32_t>& seen) {
    uint32_t now = errors_.load(std::memory_order_acquire);
    const uint32_t before = seen.exchange(now / 2);
    if (before == now / 2)
        return {};
    (void)errors_.compare_exchange_strong(now, now | 1);
    return fail(Errno::io);
}

// ---- All objects -----------------------------------------------------------------------------

void uvm_vnode::tick() {
    lock_guard guard(dirty_list::all.lock);
    dirty_list::all.now++;
}

status uvm_vnode::flush_all(unsigned turns) {
    status result;
    for (uint64_t left = dirty_list::all.length(); left != 0; left--) {
        TRY(long_work::go_on());
        const ref_ptr<uvm_vnode> object = dirty_list::all.next(turns);
        if (!object)
            continue;
        const flushed done = object->flush_pages(0, UINT64_MAX, turns == 0, UINT64_MAX);
        if (!done.result && result)
            result = done.result;
    }
    return result;
}

uint64_t uvm_vnode::most_dirty() { return std::max<uint64_t>(vm_page_total() / 8, 2 * cluster); }

void uvm_vnode::limit_dirty() {
    while (dirty_pages() > most_dirty()) {
        uint64_t written = 0;
        for (uint64_t left = dirty_list::all.length(); left != 0 && !written; left--)
            if (const ref_ptr<uvm_vnode> object = dirty_list::all.next(0))
                written = object->flush_pages(0, UINT64_MAX, false, cluster).pages;
        if (!written)
            return;
    }
}

// ---- Pages go --------------------------------------------------------------------------------

bool uvm_vnode::leave_memory(vm_page& page) {
    if (!dirt_of(page.index).over())
        return false;
    (void)pages_.take(page.index);
    all_cached.fetch_sub(1, std::memory_order_relaxed);
    vm_page_free(&page);
    return true;
}

bool uvm_vnode::write_out(uint64_t index) {
    {
        lock_guard guard(lock_);
        // It could not be written once, and who had the file open has been told. Then it is lost.
        if (const dirt before = dirt_of(index); before.failed && !before.writing && !before.writers)
            set_dirt(index, before, {});
    }
    (void)flush_pages(index, index + cluster, false, cluster);
    leave_list_if_clean();
    lock_guard guard(lock_);
    vm_page* page = at(index).in_memory();
    if (!page || page->queued)
        return false;
    if (page->wire_count == 0 && pmap::mapping_count(*page) == 0 && leave_memory(*page))
        return true;
    uvm_pdpolicy::enqueue(*page);
    return false;
}

void uvm_vnode::drop_clean(uint64_t first, uint64_t end) {
    lock_guard guard(lock_);
    for (; vm_page* page = next_resident(first, end); first++) {
        long_work::pause();
        if (page->wire_count != 0 || pmap::mapping_count(*page) != 0 || !page->clean)
            continue;
        uvm_pdpolicy::dequeue(*page);
        (void)leave_memory(*page);
    }
}

void uvm_vnode::give_up() {
    {
        lock_guard guard(lock_);
        for (uint64_t index = 0; void* word = dirty_.find_from(index, UINT64_MAX); index++) {
            const dirt before = dirt::of(word);
            if (!before.failed || before.writing || before.writers)
                continue;
            set_dirt(index, before, {});
            vm_page& page = *at(index).page();
            if (page.wire_count != 0 || pmap::mapping_count(page) != 0)
                continue;
            uvm_pdpolicy::dequeue(page);
            (void)leave_memory(page);
        }
    }
    leave_list_if_clean();
}

// ---- Size ------------------------------------------------------------------------------------

// A page of [first, end) that is read: `busy`; one that is written, or held by who stores into it: a ticket;
// neither: 0.
uint64_t uvm_vnode::moving_in(uint64_t first, uint64_t end, vm_page*& busy) {
    uint64_t index = first;
    for (; place found = next_place(index, end); index++)
        if (found.page()->busy) {
            busy = found.page();
            busy->wanted = true;
            return UINT64_MAX;
        }
    for (index = first; void* word = dirty_.find_from(index, end); index++)
        if (const dirt is = dirt::of(word); is.writing || is.writers) {
            cutting_ = true;
            return write_ticket();
        }
    return 0;
}

template <class Change> void uvm_vnode::when_still(uint64_t first, uint64_t end, Change change) {
    for (;;) {
        vm_page* busy = nullptr;
        uint64_t ticket;
        {
            lock_guard guard(lock_);
            ticket = moving_in(first, end, busy);
            if (ticket == 0)
                return change();
        }
        if (busy)
            page_wait_idle(*busy);
        else
            wait_for_write(ticket);
    }
}

void uvm_vnode::remove_from(uint64_t first) {
    uint64_t index = first;
    for (; place found = next_place(index, UINT64_MAX); index++) {
        if (const dirt before = dirt_of(index); !before.over())
            set_dirt(index, before, {});
        (void)pages_.take(index);
        all_cached.fetch_sub(1, std::memory_order_relaxed);
        free_page(*found.page());
        long_work::pause();
    }
}

// What lies between the old end and the end of its page may have no place yet: who stores there must ask.
void uvm_vnode::grow(uint64_t new_size) {
    lock_guard guard(lock_);
    const uint64_t old_size = size();
    if (new_size <= old_size)
        return;
    vm_page* edge = old_size & page_mask ? at(old_size >> page_shift).page() : nullptr;
    if (edge && edge->placed && !placed_) {
        pmap::page_protect(*edge, vm_prot::rx);
        edge->placed = false;
    }
    size_.store(new_size, std::memory_order_release);
}

// Until nothing is on its way to a place past the end, or is to get one there.
void uvm_vnode::trim() {
    when_still(size() >> page_shift, UINT64_MAX, [&]() REQUIRES(lock_) {
        const uint64_t end = size();
        if (end & page_mask)
            make_clean(end >> page_shift, uint8_t(~sectors_before_end(end >> page_shift)));
        remove_from(pages_of(end));
    });
    leave_list_if_clean();
}

status uvm_vnode::resize(uint64_t new_size) {
    const uint64_t old_size = size();
    if (new_size >= old_size) {
        {
            lock_guard guard(lock_);
            zero_tail(old_size); // programs may have stored something there
        }
        grow(new_size);
        return {};
    }
    held_page edge; // what is left of it is to be zeros on the disk, too
    if (new_size & page_mask)
        edge = TRY(hold(new_size >> page_shift, purpose::read));
    {
        lock_guard guard(lock_);
        if (edge)
            TRY(make_dirty(*edge.page(), page_store::whole_page, 0));
        // First the size: a fault that comes now waits for the lock and then sees the new end.
        size_.store(new_size, std::memory_order_release);
        zero_tail(new_size);
    }
    trim();
    // From now on no page past the end can be copied.
    if (const uint64_t first = pages_of(new_size); first < pages_of(old_size))
        drop_private_copies(first);
    return {};
}

// ---- Checking --------------------------------------------------------------------------------

void uvm_vnode::check() {
    lock_guard guard(lock_);
    pages_.check();
    dirty_.check();
    uint64_t index = 0, counted = 0;
    for (; place found = next_place(index, UINT64_MAX); index++) {
        const vm_page& page = *found.page();
        ASSERT(page.owner_kind == page_owner::object && page.object == this && page.index == index);
        ASSERT(page.clean == dirt_of(index).over());
    }
    index = 0;
    for (; void* word = dirty_.find_from(index, UINT64_MAX); index++) {
        counted += dirt::of(word).counts();
        ASSERT(at(index) && !at(index).page()->busy);
    }
    ASSERT(counted == dirty_count_ && (listed_ || counted == 0));
}
