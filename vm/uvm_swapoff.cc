// Goes by slots, not by processes: whose a slot is the area knows, and an owner is kept from ending
// by it until his lock has been taken a reference to. So a page is found wherever it belongs, also
// to a process that ends or to memory that nobody has mapped.
#include "vm/uvm_swapoff.h"

#include "lib/long_work.h"
#include "vm/uvm_commit.h"
#include "vm/uvm_object.h"
#include "vm/uvm_pager.h"
#include "vm/uvm_pdaemon.h"
#include "vm/uvm_swap.h"
#include "vm/vm_anon.h"

using uvm_swap::slot_owner;

namespace {

// The owner of a slot, and what keeps him.
struct held_owner {
    slot_owner who;
    page_owner_lock lock;

    explicit held_owner(swap_slot slot) {
        uvm_swap::look_at_owner(
            slot, [](void* self, slot_owner found) { static_cast<held_owner*>(self)->hold(found); },
            this);
    }
    void hold(slot_owner found) {
        who = found;
        if (vm_anon* anon = who.anon())
            lock = page_owner_lock(anon->lock());
        else if (uvm_object* object = who.object())
            lock = page_owner_lock(ref_ptr<uvm_object>::unless_ending(object));
    }
    // Whether the slot is still his, whose lock is held: an anon may have ended, and another begun in
    // its place with a lock of its own.
    bool has(swap_slot slot) const {
        struct question {
            const held_owner& is;
            bool same = false;
        } asked{*this};
        uvm_swap::look_at_owner(
            slot,
            [](void* context, slot_owner found) {
                auto& q = *static_cast<question*>(context);
                q.same = found == q.is.who &&
                         (!found.anon() || &found.anon()->lock() == &q.is.lock.get());
            },
            &asked);
        return asked.same;
    }
};

// Begins to bring in what the slot has, or gives it up if that is in memory.
status leave_swap(const slot_owner& who, swap_slot slot, page_in& later) {
    if (vm_anon* anon = who.anon())
        return anon->leave_swap(later);
    uvm_object& object = *who.object();
    object.lock().assert_held();
    return object.leave_swap(who.index(), slot, later);
}

// EAGAIN: to be looked at again.
status empty(swap_slot slot) {
    const held_owner owner(slot);
    if (!owner.who)
        return {};
    if (!owner.lock)
        return fail(Errno::again); // an object that ends, and gives it back
    page_in later;
    status left;
    {
        lock_guard guard(owner.lock.get());
        left = owner.has(slot) ? leave_swap(owner.who, slot, later) : status(fail(Errno::again));
    }
    TRY(page_in_finish(later));
    return left;
}

uint64_t slots_in_use(const disk& area) {
    uvm_swap::facts facts;
    for (unsigned n = 0; uvm_swap::look(n, facts); n++)
        if (facts.area == &area)
            return facts.used;
    return 0;
}

// Whether the next page would be one that somebody else must be killed for: there is nothing that
// others could have, and not room for all that is still out.
bool no_room(const disk& area) {
    constexpr uint64_t left_to_others = 64;
    const uint64_t spare = uvm_pdaemon::spare_pages();
    return uvm_swap::full() && spare < left_to_others && spare < slots_in_use(area);
}

status empty(const disk& area, uvm_swap::slot_range slots) {
    for (swap_slot slot = slots.first; slot < slots.end;) {
        TRY(long_work::go_on());
        if (no_room(area))
            return fail(Errno::nomem);
        const status emptied = empty(slot);
        if (emptied)
            slot++;
        else if (emptied.error() == Errno::nomem ? !uvm_pdaemon::wait_for_memory()
                                                 : emptied.error() != Errno::again)
            return emptied;
    }
    return {};
}

bool too_much_is_promised() {
    return uvm_commit::get_mode() == uvm_commit::mode::strict &&
           uvm_commit::committed() > uvm_commit::commit_limit();
}

} // namespace

status uvm_swapoff(disk& area) {
    const uvm_swap::slot_range slots = TRY(uvm_swap::begin_off(area));
    const status emptied = too_much_is_promised() ? status(fail(Errno::nomem)) : empty(area, slots);
    uvm_swap::end_off(area, emptied.has_value());
    return emptied;
}
