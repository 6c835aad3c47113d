// What the calls that change a map do: to vm/, to the model, and which answers are right.
//
// Where an allocation fails in the operation (injected_), an errno that says so is right too, and
// then nothing has changed; or the operation is of a kind that leaves a part done (pages brought
// in), and is done again.
#include "tests/host/vm_model_state.h"
#include "vm/phys/alloc_fail.h"

#include <algorithm>

using namespace linux_abi;

namespace vm_model {

// ---- mmap, munmap, mprotect ------------------------------------------------------------------

static vm_prot some_prot(uint32_t value) {
    constexpr vm_prot choices[] = {vm_prot::rw, vm_prot::rw,   vm_prot::rw,   vm_prot::rw,
                                   vm_prot::rw, vm_prot::read, vm_prot::none, vm_prot::rx};
    return choices[value % std::size(choices)];
}

unsigned model::first_hole(const range& r) {
    unsigned i = r.first;
    while (i < r.end && r.p.at(i).mapped)
        i++;
    return i;
}

bool model::has_hole(const range& r) { return first_hole(r) < r.end; }

bool model::any_mapped(const range& r) {
    for (unsigned i = r.first; i < r.end; i++)
        if (r.p.at(i).mapped)
            return true;
    return false;
}

bool model::any_wired(const range& r) {
    for (unsigned i = r.first; i < r.end; i++)
        if (r.p.at(i).wired)
            return true;
    return false;
}

void model::map(range r) {
    enum { file_private, file_shared, shared_anonymous, stack };
    unsigned kind = r.value % 10; // those above are private anonymous
    unsigned which = r.value / 10 % files;
    uint64_t index = kind <= file_shared ? (r.value >> 8) % file_pages : 0;
    page x{.mapped = true,
           .shared = kind == file_shared || kind == shared_anonymous,
           .no_reserve = (r.value >> 12) % 8 == 0,
           .stack = kind == stack,
           .prot = some_prot(r.value >> 16)};
    bool no_replace = (r.value >> 20) % 8 == 0;
    bool populates = (r.value >> 24) % 8 == 0 && !injected_;
    x.inherit = x.default_inherit = x.shared ? vm_inherit::share : vm_inherit::copy;
    x.charged = x.accountable() && promised(x.no_reserve);
    if (kind <= file_shared)
        x.object = file_[which];

    Errno want{};
    uint64_t replaced = charged(r.p, r.first, r.end), wanted = x.charged ? r.count() : 0;
    amounts asked;
    for (unsigned i = r.first; i < r.end; i++)
        asked.add(x);
    const bool over = over_limits(r.p, asked.beyond(amounts_of(r.p, r.first, r.end)));
    bool object_charged = kind == shared_anonymous && promised(x.no_reserve);
    if (object_charged && would_refuse(r.count()))
        want = Errno::nomem;
    else if (no_replace && any_mapped(r))
        want = Errno::exist;
    else if (over || (wanted > replaced && would_refuse(wanted - replaced)))
        want = Errno::nomem;

    map_request request{.address = r.start(),
                        .size = r.size(),
                        .prot = x.prot,
                        .fixed = true,
                        .no_replace = no_replace,
                        .shared = x.shared,
                        .no_reserve = x.no_reserve,
                        .populate = populates,
                        .stack = x.stack,
                        .offset = pages(index)};
    if (x.object)
        request.object = x.object->real;
    Errno got = error_of(r.p.vm->map(request));
    if (injected_ && got == Errno::nomem)
        return;
    expect(got == want, "mmap's errno");
    if (got != Errno{})
        return;

    if (kind == shared_anonymous) {
        x.object = std::make_shared<object>();
        x.object->size = r.size();
        x.object->charged = object_charged ? r.count() : 0;
        x.object->page.resize(r.count());
        std::erase_if(anonymous_, [](const auto& o) { return o.expired(); });
        anonymous_.push_back(x.object);
    }
    for (unsigned i = r.first; i < r.end; i++) {
        x.index = x.object ? index + (i - r.first) : 0;
        if (!x.shared)
            x.own = std::make_shared<cell>();
        r.p.at(i) = x;
    }
    if (populates)
        populate(r.p, r.first, r.end);
}

void model::unmap(range r) {
    Errno got = error_of(r.p.vm->unmap(r.start(), r.size()));
    if (injected_ && got == Errno::nomem)
        return;
    expect(got == Errno{}, "munmap's errno");
    for (unsigned i = r.first; i < r.end; i++)
        r.p.at(i) = {};
}

void model::protect(range r) {
    vm_prot prot = some_prot(r.value);
    const unsigned reach = first_hole(r);
    uint64_t more = 0, more_data = 0;
    for (unsigned i = r.first; i < reach; i++) {
        page after = r.p.at(i);
        after.prot = prot;
        bool becomes = after.mapped && after.accountable() && !r.p.at(i).accountable();
        more += becomes && !after.charged && promised(after.no_reserve);
        more_data += becomes && !after.stack;
    }
    const bool refused =
        reach != r.first && (would_refuse(more) || over_limits(r.p, {.data = more_data}));
    Errno want = refused || reach < r.end ? Errno::nomem : Errno{};
    Errno got = error_of(r.p.vm->protect(r.start(), r.size(), prot));
    if (allocation_failed() && got == Errno::nomem)
        return; // an allocation has failed: nothing has changed
    expect(got == want, "mprotect's errno");
    for (unsigned i = r.first; i < reach && !refused; i++) {
        page& x = r.p.at(i);
        bool was = x.accountable();
        x.prot = prot;
        x.charged |= x.accountable() && !was && promised(x.no_reserve);
    }
}

// ---- madvise, minherit, msync ----------------------------------------------------------------

void model::advise(range r) {
    static constexpr int choices[] = {
        madv_normal,     madv_random,     madv_sequential,    madv_willneed,       madv_dontneed,
        madv_dontneed,   madv_dontneed,   madv_free,          madv_dontfork,       madv_dofork,
        madv_wipeonfork, madv_keeponfork, madv_populate_read, madv_populate_write, madv_cold,
        madv_pageout,    madv_pageout,    madv_free};
    int advice = choices[r.value % std::size(choices)];
    bool populates = advice == madv_populate_read || advice == madv_populate_write;
    bool unwired = advice == madv_dontneed || advice == madv_free || advice == madv_cold ||
                   advice == madv_pageout;

    Errno got = error_of(r.p.vm->advise(r.start(), r.size(), advice));
    if (populates) {
        if (injected_ && got != Errno{}) {
            fail_nothing();
            got = error_of(r.p.vm->advise(r.start(), r.size(), advice));
        }
        vm_prot access = advice == madv_populate_read ? vm_prot::read : vm_prot::write;
        int fault = 0;
        for (unsigned i = r.first; i < r.end && fault == 0; i++)
            fault = expected_fault(r.p, i, access);
        Errno want = fault == maperr   ? Errno::nomem
                     : fault == accerr ? Errno::inval
                     : fault == adrerr ? Errno::fault
                                       : Errno{};
        expect(got == want, "the errno of MADV_POPULATE");
        return;
    }

    bool refused = unwired && any_wired(r);
    for (unsigned i = r.first; i < r.end; i++) {
        const page& x = r.p.at(i);
        if (x.mapped && (advice == madv_free || advice == madv_wipeonfork))
            refused |= x.shared || x.object;
    }
    if (!refused && injected_ && got == Errno::again)
        return;
    expect(got == (refused       ? Errno::inval
                   : has_hole(r) ? Errno::nomem
                                 : Errno{}),
           "madvise's errno");
    for (unsigned i = r.first; i < r.end && !refused; i++) {
        page& x = r.p.at(i);
        if (!x.mapped)
            continue;
        switch (advice) {
        case madv_normal: x.advice = vm_advice::normal; break;
        case madv_random: x.advice = vm_advice::random; break;
        case madv_sequential: x.advice = vm_advice::sequential; break;
        case madv_dontfork: x.inherit = vm_inherit::none; break;
        case madv_wipeonfork: x.inherit = vm_inherit::zero; break;
        case madv_dofork:
            if (x.inherit == vm_inherit::none)
                x.inherit = x.default_inherit;
            break;
        case madv_keeponfork:
            if (x.inherit == vm_inherit::zero)
                x.inherit = x.default_inherit;
            break;
        case madv_dontneed:
        case madv_free:
            // What is shared by inheritance belongs to both sides and stays.
            if (x.own && x.own.use_count() == 1)
                advice == madv_free ? x.own->free_lazily() : void(*x.own = {});
            break;
        default: break;
        }
    }
}

void model::inherit(range r) {
    auto value = vm_inherit(r.value % 4);
    Errno got = error_of(r.p.vm->inherit(r.start(), r.size(), value));
    if (injected_ && got == Errno::again)
        return;
    expect(got == (has_hole(r) ? Errno::nomem : Errno{}), "minherit's errno");
    for (unsigned i = r.first; i < r.end; i++)
        if (r.p.at(i).mapped)
            r.p.at(i).inherit = value;
}

void model::sync(range r) {
    int flags = r.value % 3 == 0 ? ms_async : r.value % 3 == 1 ? ms_sync : ms_invalidate;
    Errno want = flags == ms_invalidate && any_wired(r) ? Errno::busy
                 : has_hole(r)                          ? Errno::nomem
                                                        : Errno{};
    expect(error_of(r.p.vm->sync(r.start(), r.size(), flags)) == want, "msync's errno");
}

// ---- mlock, munlock --------------------------------------------------------------------------

// Brings pages in as their programs would use them, as far as it goes.
void model::populate(process& p, unsigned first, unsigned end) {
    for (unsigned i = first; i < end; i++) {
        if (!p.at(i).mapped)
            return;
        vm_prot access = p.at(i).accountable() ? vm_prot::write : vm_prot::read;
        if (expected_fault(p, i, access) < 0)
            return;
    }
}

// The same in vm/, where an allocation has failed in it.
void model::populate_real(process& p, unsigned first, unsigned end) {
    fail_nothing();
    for (unsigned i = first; i < end && p.at(i).mapped; i++) {
        vm_prot access = p.at(i).accountable() ? vm_prot::write : vm_prot::read;
        if (p.vm->fault(address(i), access) != fault_outcome::resolved)
            return;
    }
}

// Up to a hole, without bringing anything in then.
void model::lock(range r) {
    const bool on_fault = r.value % 4 == 0;
    Errno got = error_of(r.p.vm->lock_pages(r.start(), r.size(), on_fault));
    if (injected_ && got != Errno{}) {
        fail_nothing();
        got = error_of(r.p.vm->lock_pages(r.start(), r.size(), on_fault));
    }
    const unsigned reach = first_hole(r);
    bool fails = reach < r.end;
    if (over_memlock(r.p, r.count() - amounts_of(r.p, r.first, r.end).locked))
        return expect(got == Errno::nomem, "mlock over the limit");
    for (unsigned i = r.first; i < r.end && !fails && !on_fault; i++)
        fails = r.p.at(i).prot == vm_prot::none || !read_contents(r.p.at(i));
    expect(got == (fails ? Errno::nomem : Errno{}), "mlock's errno");
    if (reach == r.end && !on_fault)
        populate(r.p, r.first, r.end);
    for (unsigned i = r.first; i < reach; i++) {
        r.p.at(i).wired = true;
        r.p.at(i).on_fault = on_fault;
    }
}

void model::unlock(range r) {
    Errno got = error_of(r.p.vm->unlock_pages(r.start(), r.size()));
    if (allocation_failed() && got == Errno::nomem)
        return; // an allocation has failed: nothing has changed
    const unsigned reach = first_hole(r);
    expect(got == (reach < r.end ? Errno::nomem : Errno{}), "munlock's errno");
    for (unsigned i = r.first; i < reach; i++)
        r.p.at(i).wired = r.p.at(i).on_fault = false;
}

// ---- mremap ----------------------------------------------------------------------------------

// Whether the pages are one mapping to a program.
bool model::one_mapping(const process& p, unsigned first, unsigned end) {
    const page& a = p.at(first);
    for (unsigned i = first; i < end; i++) {
        const page& b = p.at(i);
        if (!b.mapped || a.shared != b.shared || a.charged != b.charged || a.wired != b.wired ||
            a.on_fault != b.on_fault || a.no_reserve != b.no_reserve || a.stack != b.stack ||
            a.heap != b.heap || a.object != b.object || a.prot != b.prot ||
            a.inherit != b.inherit || a.default_inherit != b.default_inherit ||
            a.advice != b.advice)
            return false;
        if (a.object && b.index != a.index + (i - first))
            return false;
    }
    return true;
}

void model::remap(range r) {
    unsigned new_count = 1 + r.value / 4 % 8;
    unsigned to = r.value / 32 % (window - new_count);
    switch (r.value % 4) {
    case 0: return resize_in_place(r, std::min(new_count, window - r.first), r.value / 32 % 2);
    case 1: return move(r, new_count, to, 0);
    case 2:
        new_count = r.count();
        return move(r, new_count, r.value / 32 % (window - new_count), mremap_dontunmap);
    default: r.end = r.first; return move(r, new_count, to, 0); // a second mapping of an object
    }
}

void model::resize_in_place(range r, unsigned new_count, bool may_move) {
    unsigned new_end = r.first + new_count;
    const page& last = r.p.at(r.end - 1);
    Errno want{};
    if (!r.p.at(r.first).mapped) {
        want = Errno::fault;
    } else if (new_end > r.end) {
        page* above = next_mapped(r.p, r.end);
        page added = last;
        added.charged |= added.accountable() && promised(added.no_reserve);
        bool free = !above || !above->stack; // a stack's guard gap is wider than the window
        for (unsigned i = r.end; i < new_end; i++)
            free &= !r.p.at(i).mapped;
        amounts more;
        for (unsigned i = r.end; i < new_end; i++)
            more.add(added);
        if (!one_mapping(r.p, r.first, r.end))
            want = Errno::fault;
        else if (!free || over_limits(r.p, more) ||
                 (added.wired && over_memlock(r.p, more.locked)) ||
                 (added.charged && would_refuse(new_end - r.end)))
            want = Errno::nomem;
    }
    // It stays in its place also where it may move, if there is room; else that would be anywhere.
    const int flags = want == Errno{} && !injected_ && may_move ? mremap_maymove : 0;
    auto got = r.p.vm->remap(r.start(), r.size(), pages(new_count), flags, vaddr_t{});
    if (injected_ && error_of(got) == Errno::nomem)
        return;
    expect(error_of(got) == want, "mremap's errno, in place");
    if (!got)
        return;
    expect(*got == r.start(), "mremap stays where it is");
    for (unsigned i = new_end; i < r.end; i++)
        r.p.at(i) = {};
    for (unsigned i = r.end; i < new_end; i++) {
        page added = last;
        added.charged |= added.accountable() && promised(added.no_reserve);
        added.index += added.object ? i - (r.end - 1) : 0;
        if (!added.shared)
            added.own = std::make_shared<cell>();
        r.p.at(i) = added;
    }
    if (r.p.at(r.first).wired && !r.p.at(r.first).on_fault) {
        if (injected_)
            populate_real(r.p, r.first, new_end);
        populate(r.p, r.first, new_end);
    }
}

void model::move(range r, unsigned new_count, unsigned to, int flags) {
    bool keep = flags & mremap_dontunmap;
    unsigned moved = std::min(r.count(), new_count), moved_end = r.first + moved;
    const page like = r.p.at(r.first);
    unsigned added = keep ? new_count : new_count - moved;
    uint64_t replaced = charged(r.p, to, to + new_count) + charged(r.p, moved_end, r.end);
    uint64_t wanted = like.charged ? added : 0;
    const amounts gone = [&] {
        amounts there = amounts_of(r.p, to, to + new_count);
        for (unsigned i = moved_end; i < r.end; i++)
            there.add(r.p.at(i));
        return there;
    }();
    amounts more;
    for (unsigned i = 0; i < added; i++)
        more.add(like);
    Errno want{};
    if (to < std::max(r.end, r.first + 1) && r.first < to + new_count)
        want = Errno::inval;
    else if (!like.mapped)
        want = Errno::fault;
    else if (r.count() == 0 && !like.shared)
        want = Errno::inval;
    else if (moved && !one_mapping(r.p, r.first, r.end))
        want = Errno::fault;
    else if (over_limits(r.p, more.beyond(gone)))
        want = Errno::nomem;
    else if (like.wired && over_memlock(r.p, added))
        want = Errno::again;
    else if (wanted > replaced && would_refuse(wanted - replaced))
        want = Errno::nomem;
    Errno got = error_of(r.p.vm->remap(r.start(), r.size(), pages(new_count),
                                       flags | mremap_maymove | mremap_fixed, address(to)));
    if (injected_ && got == Errno::nomem)
        return;
    expect(got == want, "mremap's errno, moving");
    if (got != Errno{})
        return;

    std::vector<page> there(new_count);
    for (unsigned i = 0; i < new_count; i++) {
        there[i] = i < moved ? r.p.at(r.first + i) : like;
        there[i].index = like.object ? like.index + i : 0;
        if (i >= moved && !like.shared)
            there[i].own = std::make_shared<cell>();
    }
    for (unsigned i = r.first; i < r.end; i++) {
        page& old = r.p.at(i);
        if (!keep) {
            old = {};
            continue;
        }
        old.wired = old.on_fault = false;
        if (!old.shared)
            old.own = std::make_shared<cell>();
    }
    for (unsigned i = 0; i < new_count; i++)
        r.p.at(to + i) = there[i];
    if (like.wired && !like.on_fault) {
        if (injected_)
            populate_real(r.p, to, to + new_count);
        populate(r.p, to, to + new_count);
    }
}

// ---- brk -------------------------------------------------------------------------------------

void model::brk(process& p, uint32_t value) {
    uint64_t wanted = value % (pages(window - heap_page) + 1), before = p.memory->brk;
    unsigned old_end = heap_page + unsigned(pages_of(before));
    unsigned new_end = heap_page + unsigned(pages_of(wanted));
    bool refused = false;
    if (new_end > old_end) {
        // The page behind the heap stays free, and so does a stack's guard gap.
        unsigned where = window;
        page* above = next_mapped(p, old_end, &where);
        refused = above && (where <= new_end || above->stack);
        const uint64_t added = new_end - old_end;
        refused |= would_refuse(added) || over_limits(p, {.mapped = added, .data = added});
        refused |= pages_of(wanted) > p.limits.data; // Linux's second look at the same
    }
    vaddr_t start = address(heap_page), got = p.vm->set_brk(start + wanted);
    if (injected_ && got == start + before)
        return;
    expect(got == start + (refused ? before : wanted), "the break");
    if (refused)
        return;
    p.memory->brk = wanted;
    for (unsigned i = new_end; i < old_end; i++)
        p.at(i) = {};
    for (unsigned i = old_end; i < new_end; i++) {
        p.at(i) = {.mapped = true, .charged = true, .heap = true, .prot = vm_prot::rw};
        p.at(i).own = std::make_shared<cell>();
    }
}

} // namespace vm_model
