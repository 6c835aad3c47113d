#include "vm/vm_amap.h"

#include "arch/pmap.h"
#include "lib/long_work.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_pdaemon.h"

static pool<vm_amap> amap_pool{"vm_amap"};
static pool<amap_edge> edge_pool{"amap_edge"};

// ---- Making and ending ----------------------------------------------------------------------

vm_amap::vm_amap(uvm_object* below, uint64_t page, ref_ptr<amap_lock> lock)
    : lock_(std::move(lock)), shadow_(*this, below, page) {
    if (below)
        below->add_shadow(shadow_);
}

expected<ref_ptr<vm_amap>> vm_amap::create(uvm_object* below, uint64_t page,
                                           const vm_amap* original) {
    ref_ptr<amap_lock> lock = original ? original->lock_ : TRY(amap_lock::create());
    amap_edge* edge = edge_pool.create();
    if (!edge)
        return fail(Errno::nomem);
    vm_amap* amap = amap_pool.create(below, page, std::move(lock));
    if (!amap) {
        edge_pool.destroy(edge);
        return fail(Errno::nomem);
    }
    lock_guard guard(amap->lock());
    amap->spare_edges_.push_back(*edge);
    amap->edge_total_ = 1;
    EVENT(amap_created, .amap = amap);
    return ref_ptr<vm_amap>::adopt(amap);
}

vm_amap::~vm_amap() {
    if (shadow_.object)
        shadow_.object->remove_shadow(shadow_);
    ASSERT(attached_ == 0 && edges_.empty() && edge_total_ == 1);
    if (slots_.used() != 0) [[unlikely]]
        panic(
            "broken rule: amaps: an anon goes with the last entry that refers to its slot; of amap "
            "%p, to which none does, %lu are left",
            static_cast<const void*>(this), slots_.used());
    edge_pool.destroy(spare_edges_.pop_front());
}

void vm_amap::last_reference_gone() {
    amap_pool.destroy(this);
    EVENT(amap_destroyed, .amap = this);
}

// ---- Slots ----------------------------------------------------------------------------------

vm_anon* vm_amap::lookup(slot_t slot) const { return static_cast<vm_anon*>(slots_.get(slot)); }

vm_anon* vm_amap::find_from(slot_t& slot, slot_t end) const {
    return static_cast<vm_anon*>(slots_.find_from(slot, end));
}

status vm_amap::add(slot_t slot, ref_ptr<vm_anon> anon) {
    CHECK_ASSERT(referenced(slot, slot + 1));
    TRY(slots_.put(slot, anon.get()));
    vm_anon::enter_slot(std::move(anon));
    return {};
}

void vm_amap::replace(slot_t slot, ref_ptr<vm_anon> anon) {
    auto before = static_cast<vm_anon*>(slots_.replace(slot, anon.get()));
    vm_anon::enter_slot(std::move(anon));
    vm_anon::leave_slot(*before);
}

void vm_amap::wipe(slot_t first, slot_t end) {
    for (slot_t slot = first; void* anon = slots_.take_from(slot, end); slot++) {
        vm_anon::leave_slot(*static_cast<vm_anon*>(anon));
        long_work::pause();
    }
}

void vm_amap::wipe_everywhere(slot_t first) {
    slot_t slot = first;
    for (; vm_anon* anon = find_from(slot, UINT64_MAX); slot++) {
        if (vm_page* page = anon->page())
            pmap::page_protect(*page, vm_prot::none);
        wipe(slot, slot + 1);
    }
}

status vm_amap::share_anons(vm_amap& from, slot_t first, slot_t end) {
    lock().assert_held(); // it is that of `from`
    status result;
    uint64_t shared = 0;
    from.slots_.visit(first, end, [&](slot_t slot, void* found) NO_THREAD_SAFETY_ANALYSIS {
        auto* anon = static_cast<vm_anon*>(found);
        result = add(slot, ref_ptr<vm_anon>(anon));
        if (!result)
            return false;
        if (++shared % 64 == 0) // a few instructions each
            result = long_work::go_on();
        EVENT(anon_referenced, .anon = anon, .amap = this, .slot = slot,
              .references = anon->references());
        return result.has_value();
    });
    EVENT(amap_copied, .from = &from, .to = this, .first = first, .slots = end - first,
          .referenced = shared, .copied = 0);
    return result;
}

// What is not in memory is not read in for it, and nothing is driven out for a copy that is not made
// of it yet: both share it, and whoever writes to it first copies. But who has it wired has no faults.
status vm_amap::add_copy(slot_t slot, vm_anon& original) {
    vm_page* const page = original.page();
    if (page && (!uvm_pdaemon::would_wait() || pmap::is_wired(*page)))
        return add(slot, TRY(vm_anon::create_copy(lock(), *page)));
    if (page)
        pmap::page_protect(*page, vm_prot::rx);
    return add(slot, ref_ptr<vm_anon>(&original));
}

status vm_amap::copy_anons(vm_amap& from, slot_t first, slot_t end) {
    lock().assert_held(); // as above
    status result;
    slot_t slot = first;
    for (; vm_anon* anon = result ? from.find_from(slot, end) : nullptr; slot++) {
        result = add_copy(slot, *anon);
        if (result)
            result = long_work::go_on();
    }
    EVENT(amap_copied, .from = &from, .to = this, .first = first, .slots = end - first,
          .referenced = 0, .copied = slots_.used());
    return result;
}

status vm_amap::bring_in(slot_t slot, slot_t end, page_in& later) {
    vm_anon* anon = lookup(slot);
    const status there = anon ? anon->bring_in(later) : status();
    if (there || there.error() != Errno::again)
        return there;
    slot_t next = slot + 1;
    for (unsigned more = ahead_.begin(slot); --more != 0 && next < end; next++) {
        vm_anon* behind = lookup(next);
        if (!behind || !behind->come_along(later))
            break;
    }
    ahead_.end(next);
    return there;
}

// ---- Edges: how often each slot is referenced -----------------------------------------------

const amap_edge* vm_amap::edge_covering(slot_t slot) const {
    return edges_.last_before([&](const amap_edge& e) { return e.slot > slot; });
}

bool vm_amap::shared(slot_t first, slot_t end) const {
    if (attached_ <= 1)
        return false; // each vm_aref references a slot once
    for (const amap_edge* e = edge_covering(end - 1); e; e = edges_.prev(*e)) {
        if (e->count > 1)
            return true;
        if (e->slot <= first)
            return false;
    }
    return false;
}

unsigned vm_amap::sharers(slot_t slot) const {
    return attached_ <= 1 ? 1 : edge_covering(slot)->count;
}

bool vm_amap::referenced(slot_t first, slot_t end) const {
    for (const amap_edge* e = edge_covering(end - 1); e; e = edges_.prev(*e)) {
        if (e->count > 0)
            return true;
        if (e->slot <= first)
            return false;
    }
    return false;
}

bool vm_amap::referenced_throughout(slot_t first, slot_t end) const {
    for (const amap_edge* e = edge_covering(end - 1); e; e = edges_.prev(*e)) {
        if (e->count == 0)
            return false;
        if (e->slot <= first)
            return true;
    }
    return false;
}

uint64_t vm_amap::referenced_slots() const {
    uint64_t sum = 0;
    for (const amap_edge* e = edges_.first(); e; e = edges_.next(*e))
        if (e->count != 0)
            sum += edges_.next(*e)->slot - e->slot;
    return sum;
}

// The edge at `slot`, made if need be.
amap_edge& vm_amap::edge_at(slot_t slot) {
    amap_edge* following = edges_.first_where([&](const amap_edge& e) { return e.slot >= slot; });
    if (following && following->slot == slot)
        return *following;
    amap_edge* edge = spare_edges_.pop_front();
    ASSERT(edge);
    edge->slot = slot;
    amap_edge* before = following ? edges_.prev(*following) : edges_.last();
    edge->count = before ? before->count : 0;
    edges_.insert_before(following, *edge);
    return *edge;
}

void vm_amap::drop_if_redundant(amap_edge& edge) {
    const amap_edge* before = edges_.prev(edge);
    if (edge.count != (before ? before->count : 0))
        return;
    edges_.erase(edge);
    spare_edges_.push_front(edge);
}

// Adds `by` (1 or -1) to the count of each slot in [first, end), and drops the anons of those
// that nobody references any more.
void vm_amap::count_range(slot_t first, slot_t end, int by) {
    amap_edge& from = edge_at(first);
    amap_edge& to = edge_at(end);
    for (amap_edge* e = &from; e != &to; e = edges_.next(*e)) {
        ASSERT(by > 0 || e->count > 0);
        e->count += by;
        if (e->count == 0)
            wipe(e->slot, edges_.next(*e)->slot);
    }
    drop_if_redundant(to);
    drop_if_redundant(from);
}

void vm_amap::check() {
    lock_guard guard(lock());
    slots_.check();
    edges_.check();
    uint64_t in_tree = 0;
    uint32_t count = 0;
    const amap_edge* before = nullptr;
    for (amap_edge* e = edges_.first(); e; before = e, e = edges_.next(*e)) {
        ASSERT(!before || before->slot < e->slot);
        ASSERT(e->count != count);
        count = e->count;
        in_tree++;
    }
    ASSERT(count == 0);
    ASSERT(in_tree + spare_edges_.size() == edge_total_);
    ASSERT(edge_total_ == 2 * attached_ + 1);
    ASSERT(attached_ <= references());
    slot_t slot = 0;
    while (vm_anon* anon = find_from(slot, UINT64_MAX)) {
        ASSERT(referenced(slot, slot + 1));
        ASSERT(&anon->lock() == &lock());
        anon->check_references();
        const vm_page* page = anon->page();
        ASSERT(page ? page->owner_kind == page_owner::anon && page->anon == anon : true);
        if (anon->slot() && anon->slot() != slot_of_zeros)
            uvm_swap::check_owner(anon->slot(), uvm_swap::slot_owner(*anon));
        slot++;
    }
}

// ---- vm_aref --------------------------------------------------------------------------------

vm_aref::~vm_aref() {
    release();
    for (amap_edge* edge : edges_)
        edge_pool.destroy(edge);
}

status vm_aref::prepare() {
    for (amap_edge*& edge : edges_) {
        if (amap_ || edge)
            continue;
        edge = edge_pool.create();
        if (!edge)
            return fail(Errno::nomem);
    }
    return {};
}

void vm_amap::take_edges_of(vm_aref& aref) {
    for (amap_edge*& edge : aref.edges_) {
        ASSERT(edge);
        spare_edges_.push_back(*std::exchange(edge, nullptr));
    }
    edge_total_ += 2;
    attached_++;
}

void vm_amap::give_edges_to(vm_aref& aref) {
    for (amap_edge*& edge : aref.edges_) {
        edge = spare_edges_.pop_front();
        ASSERT(edge);
    }
    edge_total_ -= 2;
    attached_--;
}

void vm_aref::attach(ref_ptr<vm_amap> amap, slot_t first, uint64_t pages) {
    ASSERT(!amap_ && pages > 0);
    amap_ = std::move(amap);
    first_ = first;
    pages_ = pages;
    lock_guard guard(amap_->lock());
    amap_->take_edges_of(*this);
    amap_->count_range(first, first + pages, 1);
    EVENT(amap_referenced, .amap = amap_.get(), .first = first, .slots = pages);
}

void vm_aref::release() {
    if (!amap_)
        return;
    {
        lock_guard guard(amap_->lock());
        amap_->count_range(first_, first_ + pages_, -1);
        amap_->give_edges_to(*this);
        EVENT(amap_released, .amap = amap_.get(), .first = first_, .slots = pages_);
    }
    amap_.reset();
}

void vm_aref::take_over(vm_aref& other) {
    ASSERT(!amap_);
    std::swap(amap_, other.amap_);
    std::swap(edges_, other.edges_);
    first_ = other.first_;
    pages_ = other.pages_;
}

void vm_aref::split(uint64_t pages, vm_aref& tail) {
    if (!amap_)
        return;
    ASSERT(!tail.amap_ && pages > 0 && pages < pages_);
    tail.amap_ = amap_;
    tail.first_ = first_ + pages;
    tail.pages_ = pages_ - pages;
    pages_ = pages;
    lock_guard guard(amap_->lock());
    amap_->take_edges_of(tail);
}

void vm_aref::join(vm_aref& tail) {
    if (!amap_)
        return;
    ASSERT(followed_by(tail));
    {
        lock_guard guard(amap_->lock());
        amap_->give_edges_to(tail);
    }
    pages_ += tail.pages_;
    tail.amap_.reset();
}

bool vm_aref::has_room_behind(uint64_t by) const {
    const slot_t end = first_ + pages_;
    return !amap_->shared_by_inheritance() && end + by > end && !amap_->referenced(end, end + by);
}

bool vm_aref::may_grow_back(uint64_t by) const {
    lock_guard guard(amap_->lock());
    return has_room_behind(by);
}

bool vm_aref::grow_back(uint64_t by) {
    const slot_t end = first_ + pages_;
    lock_guard guard(amap_->lock());
    if (!has_room_behind(by))
        return false;
    amap_->count_range(end, end + by, 1);
    pages_ += by;
    return true;
}

bool vm_aref::has_room_in_front(uint64_t by) const {
    return !amap_->shared_by_inheritance() && by <= first_ &&
           !amap_->referenced(first_ - by, first_);
}

bool vm_aref::may_grow_front(uint64_t by) const {
    lock_guard guard(amap_->lock());
    return has_room_in_front(by);
}

bool vm_aref::grow_front(uint64_t by) {
    lock_guard guard(amap_->lock());
    if (!has_room_in_front(by))
        return false;
    amap_->count_range(first_ - by, first_, 1);
    first_ -= by;
    pages_ += by;
    return true;
}

// An amap stays on the list while it is referenced, so that the walk goes on from one that it
// holds. One that is made meanwhile comes last, and is reached too.
void uvm_object::drop_private_copies(uint64_t first) {
    ref_ptr<vm_amap> amap;
    for (;;) {
        ref_ptr<vm_amap> following;
        {
            lock_guard guard(shadows_lock_);
            amap_shadow* s = amap ? shadows_.next(amap->shadow()) : shadows_.front();
            while (s && !(following = ref_ptr<vm_amap>::unless_ending(&s->amap)))
                s = shadows_.next(*s);
        }
        amap = std::move(following);
        if (!amap)
            return;
        long_work::pause();
        auto slot = static_cast<int64_t>(first - amap->shadow().page);
        lock_guard guard(amap->lock());
        amap->wipe_everywhere(static_cast<slot_t>(std::max<int64_t>(slot, 0)));
    }
}
