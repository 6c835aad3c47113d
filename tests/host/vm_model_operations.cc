// What each operation of the model does: to vm/, to the model, and which answers are right.
//
// Where an allocation fails in the operation (injected_), an errno that says so is right too, and
// then nothing has changed; or the operation is of a kind that leaves a part done (pages brought
// in), and is done again.
#include "tests/host/vm_model_state.h"

#include <algorithm>

using namespace linux_abi;

namespace vm_model {

// ---- Accesses --------------------------------------------------------------------------------

page* model::next_mapped(const process& p, unsigned from, unsigned* where) const {
    for (unsigned i = from; i < window; i++) {
        if (!p.at(i).mapped)
            continue;
        if (where)
            *where = i;
        return &p.at(i);
    }
    return nullptr;
}

bool model::would_refuse(uint64_t pages) const {
    return strict_ && pages > 0 && (committed_ > limit_ || pages > limit_ - committed_);
}

bool model::promised(bool no_reserve) const { return !no_reserve || strict_; }

uint64_t model::charged(const process& p, unsigned first, unsigned end) const {
    uint64_t sum = 0;
    for (unsigned i = first; i < end; i++)
        sum += p.at(i).charged;
    return sum;
}

// A fault where nothing is mapped: the next mapping above may be a stack.
bool model::grow_stack(process& p, unsigned at) {
    unsigned top;
    page* stack = next_mapped(p, at, &top);
    if (!stack || !stack->stack)
        return false;
    for (unsigned i = at; i-- > 0;) {
        const page& below = p.at(i);
        if (!below.mapped)
            continue;
        if (!below.stack && below.prot != vm_prot::none)
            return false; // within the guard gap: the window is smaller than that
        break;
    }
    page added = *stack;
    added.charged |= added.accountable() && promised(added.no_reserve);
    if (added.charged && would_refuse(top - at))
        return false;
    for (unsigned i = at; i < top; i++) {
        p.at(i) = added;
        p.at(i).own = std::make_shared<cell>();
    }
    return true;
}

// 0, or the signal.
int model::expected_fault(process& p, unsigned at, vm_prot access, bool force) {
    page& x = p.at(at);
    if (!x.mapped && !grow_stack(p, at))
        return maperr;
    bool write = access == vm_prot::write;
    bool allowed = write ? allows(x.prot, vm_prot::write) : x.prot != vm_prot::none;
    if (!allowed && !(force && (!write || !x.shared)))
        return accerr;
    if (write && !x.shared)
        return promote(x) ? 0 : adrerr;
    return read_contents(x) ? 0 : adrerr;
}

// Makes a private page the process's own, as a write does. False past the end of its object.
bool model::promote(page& p) {
    if (p.own->promoted)
        return true;
    const contents* now = read_contents(p);
    if (!now)
        return false;
    *p.own = {true, *now};
    return true;
}

int model::expected_read(process& p, unsigned at, unsigned sample) {
    int fault = expected_fault(p, at, vm_prot::read);
    return fault < 0 ? fault : (*read_contents(p.at(at)))[sample];
}

int model::expected_write(process& p, unsigned at, unsigned sample, uint8_t byte, bool force) {
    int fault = expected_fault(p, at, vm_prot::write, force);
    if (fault < 0)
        return fault;
    page& x = p.at(at);
    (x.shared ? x.object->page[x.index] : x.own->value)[sample] = byte;
    return byte;
}

// Memory that ran out is nomem, or a stack that did not grow.
static bool for_want_of_memory(int got) { return got == nomem || got == maperr; }

void model::read(range r) {
    unsigned sample = r.value % samples;
    vaddr_t at = r.start() + offsets[sample];
    int got = load(r.p.vm, at);
    if (injected_ && for_want_of_memory(got)) {
        alloc_fail_after(0);
        if (r.p.at(r.first).mapped) // else a stack may have grown before memory ran out
            compare();
        got = load(r.p.vm, at);
    }
    expect(got == expected_read(r.p, r.first, sample), "what the program reads");
}

void model::write(range r) {
    unsigned sample = r.value % samples;
    auto byte = uint8_t(r.value >> 8);
    vaddr_t at = r.start() + offsets[sample];
    int got = store(r.p.vm, at, byte);
    if (injected_ && for_want_of_memory(got)) {
        alloc_fail_after(0);
        got = store(r.p.vm, at, byte);
    }
    expect(got == expected_write(r.p, r.first, sample, byte),
           "what becomes of the program's write");
}

void model::poke(range r) {
    unsigned sample = r.value % samples;
    auto byte = uint8_t(r.value >> 8);
    vaddr_t at = r.start() + offsets[sample];
    status got = r.p.vm->write_memory(at, &byte, 1, true);
    if (injected_ && !got) {
        alloc_fail_after(0);
        got = r.p.vm->write_memory(at, &byte, 1, true);
    }
    int want = expected_write(r.p, r.first, sample, byte, true);
    expect(got ? want == byte : want < 0 && got.error() == Errno::fault, "write_memory");
}

// ---- mmap, munmap, mprotect ------------------------------------------------------------------

static vm_prot some_prot(uint32_t value) {
    constexpr vm_prot choices[] = {vm_prot::rw, vm_prot::rw,   vm_prot::rw,   vm_prot::rw,
                                   vm_prot::rw, vm_prot::read, vm_prot::none, vm_prot::rx};
    return choices[value % std::size(choices)];
}

bool model::has_hole(const range& r) {
    for (unsigned i = r.first; i < r.end; i++)
        if (!r.p.at(i).mapped)
            return true;
    return false;
}

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
    bool object_charged = kind == shared_anonymous && promised(x.no_reserve);
    if (object_charged && would_refuse(r.count()))
        want = Errno::nomem;
    else if (no_replace && any_mapped(r))
        want = Errno::exist;
    else if (wanted > replaced && would_refuse(wanted - replaced))
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
    unsigned reach = r.first; // up to the first hole
    while (reach < r.end && r.p.at(reach).mapped)
        reach++;
    uint64_t more = 0;
    for (unsigned i = r.first; i < reach; i++) {
        page after = r.p.at(i);
        after.prot = prot;
        bool becomes = after.mapped && after.accountable() && !r.p.at(i).accountable();
        more += becomes && !after.charged && promised(after.no_reserve);
    }
    const bool refused = reach != r.first && would_refuse(more);
    Errno want = refused || reach < r.end ? Errno::nomem : Errno{};
    Errno got = error_of(r.p.vm->protect(r.start(), r.size(), prot));
    if (injected_ && alloc_fail_after(0) == 0 && got == Errno::nomem)
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
        madv_normal,     madv_random,     madv_sequential,    madv_willneed,      madv_dontneed,
        madv_dontneed,   madv_dontneed,   madv_free,          madv_dontfork,      madv_dofork,
        madv_wipeonfork, madv_keeponfork, madv_populate_read, madv_populate_write};
    int advice = choices[r.value % std::size(choices)];
    bool populates = advice == madv_populate_read || advice == madv_populate_write;
    bool drops = advice == madv_dontneed || advice == madv_free;

    Errno got = error_of(r.p.vm->advise(r.start(), r.size(), advice));
    if (populates) {
        if (injected_ && got != Errno{}) {
            alloc_fail_after(0);
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

    bool refused = drops && any_wired(r);
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
                *x.own = {};
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

void model::lock(range r) {
    Errno got = error_of(r.p.vm->lock_pages(r.start(), r.size()));
    if (injected_ && got != Errno{}) {
        alloc_fail_after(0);
        got = error_of(r.p.vm->lock_pages(r.start(), r.size()));
    }
    bool fails = has_hole(r);
    for (unsigned i = r.first; i < r.end && !fails; i++)
        fails = r.p.at(i).prot == vm_prot::none || !read_contents(r.p.at(i));
    expect(got == (fails ? Errno::nomem : Errno{}), "mlock's errno");
    if (!has_hole(r))
        populate(r.p, r.first, r.end);
    for (unsigned i = r.first; i < r.end && !fails; i++)
        r.p.at(i).wired = true;
}

void model::unlock(range r) {
    Errno got = error_of(r.p.vm->unlock_pages(r.start(), r.size()));
    if (injected_ && got == Errno::nomem)
        return;
    expect(got == (has_hole(r) ? Errno::nomem : Errno{}), "munlock's errno");
    for (unsigned i = r.first; i < r.end && got == Errno{}; i++)
        r.p.at(i).wired = false;
}

// ---- mremap ----------------------------------------------------------------------------------

// Whether the pages are one mapping to a program.
bool model::one_mapping(const process& p, unsigned first, unsigned end) {
    const page& a = p.at(first);
    for (unsigned i = first; i < end; i++) {
        const page& b = p.at(i);
        if (!b.mapped || a.shared != b.shared || a.charged != b.charged || a.wired != b.wired ||
            a.no_reserve != b.no_reserve || a.stack != b.stack || a.heap != b.heap ||
            a.object != b.object || a.prot != b.prot || a.inherit != b.inherit ||
            a.default_inherit != b.default_inherit || a.advice != b.advice)
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
    case 0: return resize_in_place(r, std::min(new_count, window - r.first));
    case 1: return move(r, new_count, to, 0);
    case 2:
        new_count = r.count();
        return move(r, new_count, r.value / 32 % (window - new_count), mremap_dontunmap);
    default: r.end = r.first; return move(r, new_count, to, 0); // a second mapping of an object
    }
}

void model::resize_in_place(range r, unsigned new_count) {
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
        if (!one_mapping(r.p, r.first, r.end))
            want = Errno::fault;
        else if (!free || (added.charged && would_refuse(new_end - r.end)))
            want = Errno::nomem;
    }
    Errno got = error_of(r.p.vm->remap(r.start(), r.size(), pages(new_count), 0, vaddr_t{}));
    if (injected_ && got == Errno::nomem)
        return;
    expect(got == want, "mremap's errno, in place");
    if (got != Errno{})
        return;
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
    if (r.p.at(r.first).wired) {
        if (injected_) {
            alloc_fail_after(0);
            (void)r.p.vm->lock_pages(r.start(), pages(new_count)); // what could not be brought in
        }
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
    Errno want{};
    if (to < std::max(r.end, r.first + 1) && r.first < to + new_count)
        want = Errno::inval;
    else if (!like.mapped)
        want = Errno::fault;
    else if (r.count() == 0 && !like.shared)
        want = Errno::inval;
    else if (moved && !one_mapping(r.p, r.first, r.end))
        want = Errno::fault;
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
        old.wired = false;
        if (!old.shared)
            old.own = std::make_shared<cell>();
    }
    for (unsigned i = 0; i < new_count; i++)
        r.p.at(to + i) = there[i];
    if (like.wired) {
        if (injected_) {
            alloc_fail_after(0);
            (void)r.p.vm->lock_pages(address(to), pages(new_count));
        }
        populate(r.p, to, to + new_count);
    }
}

// ---- fork, vfork, exec, exit -----------------------------------------------------------------

void model::fork(process& p, uint32_t value) {
    if (processes_.size() == most_processes)
        return;
    auto memory = std::make_shared<space>(*p.memory);
    uint64_t promise = 0;
    for (page& c : memory->pages) {
        c.wired = false;
        if (!c.mapped)
            continue;
        if (c.shared && c.inherit != vm_inherit::share)
            c.charged = allows(c.prot, vm_prot::write); // its own copy of something shared
        switch (c.inherit) {
        case vm_inherit::none: c = {}; break;
        case vm_inherit::share: break; // the cell too
        case vm_inherit::zero:
            c.shared = false;
            c.object = nullptr;
            c.index = 0;
            c.own = std::make_shared<cell>();
            break;
        case vm_inherit::copy:
            c.shared = false;
            c.own = c.own ? std::make_shared<cell>(*c.own) : std::make_shared<cell>();
            break;
        }
        promise += c.charged;
    }
    ref_ptr<vm_aftermath> later = vm_aftermath::create();
    bool refused = would_refuse(promise);
    auto got = p.vm->fork(fork_mode(value % 3), later.get());
    if (!got) {
        expect(got.error() == Errno::nomem && (refused || injected_), "fork's errno");
        return;
    }
    expect(!refused, "a fork that was promised too much");
    processes_.push_back({*got, std::move(memory)});
}

void model::vfork(process& p) {
    if (processes_.size() < most_processes)
        processes_.push_back(process(p));
}

void model::exec(process& p) {
    auto fresh = vmspace::create();
    if (!fresh) {
        expect(injected_, "an address space for exec");
        return;
    }
    bool alone = p.memory.use_count() == 1;
    const vmspace* before = p.vm.get();
    p.vm = vmspace::exec(std::move(p.vm), std::move(*fresh));
    expect((p.vm.get() == before) == alone, "exec reuses what is its own, and that alone");
    add_space(p);
}

void model::exit(process& p) {
    processes_.erase(processes_.begin() + (&p - processes_.data()));
    if (processes_.empty()) {
        alloc_fail_after(0);
        processes_.push_back(start_process());
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
        refused |= would_refuse(new_end - old_end);
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

// ---- Files -----------------------------------------------------------------------------------

void model::truncate(unsigned file, uint32_t value) {
    object& f = *file_[file];
    uint64_t size = (value >> 8) % (pages(file_pages) + 1);
    if (value % 2)
        size = page_round_up(size);
    expect(bool(f.real->resize(size)), "ftruncate");
    for (uint64_t i = 0; i < file_pages; i++)
        for (unsigned k = 0; k < samples && size < f.size; k++)
            if (pages(i) + offsets[k] >= size)
                f.page[i][k] = 0;
    f.size = size;
    // Private copies of what is cut off are gone, too.
    for (process& p : processes_)
        for (page& x : p.memory->pages)
            if (x.mapped && x.own && x.object == file_[file] && !f.has(x.index))
                x.own->promoted = false;
}

// As write(2) does.
void model::file_write(unsigned file, uint32_t value) {
    object& f = *file_[file];
    uint64_t index = (value >> 16) % file_pages;
    unsigned sample = value % samples;
    auto held = f.real->hold(index, true);
    if (!held) {
        expect(held.error() == (f.has(index) ? Errno::nomem : Errno::fault) &&
                   (injected_ || !f.has(index)),
               "hold's errno");
        return;
    }
    expect(f.has(index), "hold past the end");
    held->data()[offsets[sample]] = char(value >> 8);
    f.page[index][sample] = uint8_t(value >> 8);
}

void model::file_read(unsigned file, uint32_t value) {
    object& f = *file_[file];
    uint64_t index = (value >> 16) % file_pages;
    auto held = f.real->hold(index, false);
    expect(bool(held) == f.has(index), "hold for reading");
    for (unsigned k = 0; k < samples && held && *held; k++)
        expect(uint8_t(held->data()[offsets[k]]) == f.page[index][k], "what read(2) finds");
}

// ---- Switches --------------------------------------------------------------------------------

void model::overcommit(uint32_t value) {
    strict_ = value % 2;
    uint64_t most = uvm_commit::committed() + (value >> 8) % 96, less = (value >> 16) % 32;
    limit_ = most > less ? most - less : 1; // 0 would be no limit
    uvm_commit::set_kbytes(strict_ ? limit_ * (page_size / 1024) : 0);
    uvm_commit::set_mode(strict_         ? uvm_commit::mode::strict
                         : value / 2 % 2 ? uvm_commit::mode::always
                                         : uvm_commit::mode::heuristic);
}

void model::switches(uint32_t value) {
    uvm_fault_ahead_enabled = value & 1;
    uvm_zero_page_enabled = value & 2;
}

} // namespace vm_model

// ---- In words --------------------------------------------------------------------------------

std::string describe(const model_operation& op) {
    using namespace vm_model;
    static constexpr const char* what[] = {
#define X(name, weight, text) text,
        MODEL_OPERATIONS(X)
#undef X
    };
    unsigned first = op.page % window;
    unsigned count = 1 + op.count % std::min(8u, window - first);
    std::string text = "process " + std::to_string(op.process) + ": " + what[size_t(op.kind)];
    switch (op.kind) {
    case model_op::read:
    case model_op::write:
    case model_op::poke: text += ", page " + std::to_string(first); break;
    case model_op::map:
    case model_op::unmap:
    case model_op::protect:
    case model_op::advise:
    case model_op::inherit:
    case model_op::remap:
    case model_op::lock:
    case model_op::unlock:
    case model_op::sync:
        text += ", pages " + std::to_string(first) + " to " + std::to_string(first + count - 1);
        break;
    default: break;
    }
    if (op.fail_at)
        text += "; allocation " + std::to_string(op.fail_at) + " fails";
    return text;
}
