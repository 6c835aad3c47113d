#include "tests/host/vm_model.h"

#include "tests/host/vm_world.h"

#include <memory>
#include <random>

using namespace linux_abi;

namespace {

constexpr unsigned window = 40; // pages of each process
constexpr unsigned most_processes = 4;
constexpr unsigned objects = 2, object_pages = 12;
const vaddr_t base{0x1000'0000};

struct object_model {
    ref_ptr<uvm_aobj> real;
    uint64_t size = object_pages;
    uint8_t value[object_pages] = {};
};

// The private contents of a page; several processes have one cell after inheritance by sharing.
struct cell {
    bool promoted = false;
    uint8_t value = 0;
};

struct page_model {
    bool mapped = false, shared = false, charged = false, wired = false;
    int object = -1;
    uint64_t index = 0;
    vm_prot prot = vm_prot::none;
    vm_inherit inherit = vm_inherit::copy, default_inherit = vm_inherit::copy;
    std::shared_ptr<cell> own{}; // private mappings

    bool accountable() const { return !shared && allows(prot, vm_prot::write); }
};

struct process {
    vm_ref vm;
    page_model page[window];
};

class model {
public:
    model() : committed_before_(uvm_commit::committed()) {
        for (object_model& o : objects_) {
            auto made = uvm_aobj::create(object_pages * page_size, "object", false);
            REQUIRE(made);
            o.real = *made;
        }
        processes_.push_back({new_space(), {}});
    }

    void step(const model_operation& op);
    void verify_everything();

private:
    [[noreturn]] static void differ(const std::string& what) { throw model_mismatch(what); }
    static void expect(bool agrees, const char* what) {
        if (!agrees)
            differ(what);
    }

    static vaddr_t address(unsigned page) { return base + pages(page); }
    process& who(const model_operation& op) { return processes_[op.process % processes_.size()]; }
    int object_value(const page_model& p) const {
        const object_model& o = objects_[p.object];
        return p.index < o.size ? o.value[p.index] : -3;
    }
    int expected_load(const page_model& p) const;
    int try_store(page_model& p, uint8_t value);
    bool promote(page_model& p);
    static bool uniform(const process& p, unsigned first, unsigned count);
    void populate(process& p, unsigned first, unsigned count);

    void map(process& p, const model_operation& op, unsigned first, unsigned count);
    void unmap(process& p, unsigned first, unsigned count);
    void protect(process& p, const model_operation& op, unsigned first, unsigned count);
    void load_one(process& p, unsigned at);
    void store_one(process& p, const model_operation& op, unsigned at);
    void fork(process& p, const model_operation& op);
    void exit(size_t which);
    void drop(process& p, unsigned first, unsigned count);
    void inherit(process& p, const model_operation& op, unsigned first, unsigned count);
    void remap(process& p, const model_operation& op, unsigned first, unsigned count);
    void lock(process& p, unsigned first, unsigned count);
    void unlock(process& p, unsigned first, unsigned count);
    void resize(const model_operation& op);
    void store_object(const model_operation& op);

    object_model objects_[objects];
    std::vector<process> processes_;
    uint64_t committed_before_;
    bool injected_ = false; // an allocation may fail in this step
};

// ---- Loads and stores ------------------------------------------------------------------------

int model::expected_load(const page_model& p) const {
    if (!p.mapped)
        return -1;
    if (p.prot == vm_prot::none)
        return -2;
    if (p.own && p.own->promoted)
        return p.own->value;
    return p.object < 0 ? 0 : object_value(p);
}

// Makes the page private as a write would. False for a page past the end of its object.
bool model::promote(page_model& p) {
    if (p.shared || p.own->promoted)
        return p.shared ? object_value(p) >= 0 : true;
    int value = p.object < 0 ? 0 : object_value(p);
    if (value < 0)
        return false;
    *p.own = {true, uint8_t(value)};
    return true;
}

int model::try_store(page_model& p, uint8_t value) {
    if (!p.mapped)
        return -1;
    if (!allows(p.prot, vm_prot::write))
        return -2;
    if (!promote(p))
        return -3;
    (p.shared ? objects_[p.object].value[p.index] : p.own->value) = value;
    return value;
}

void model::load_one(process& p, unsigned at) {
    int got = load(p.vm, address(at)), want = expected_load(p.page[at]);
    expect(got == want || (injected_ && got == -4), "load");
}

void model::store_one(process& p, const model_operation& op, unsigned at) {
    int got = store(p.vm, address(at), uint8_t(op.value));
    if (injected_ && got == -4) {
        // The page may have become private before memory ran out: the store is tried again.
        alloc_fail_after(0);
        got = store(p.vm, address(at), uint8_t(op.value));
    }
    expect(got == try_store(p.page[at], uint8_t(op.value)), "store");
}

// ---- Mappings --------------------------------------------------------------------------------

vm_prot some_prot(uint32_t value) {
    constexpr vm_prot choices[] = {vm_prot::rw,   vm_prot::rw,   vm_prot::rw,
                                   vm_prot::read, vm_prot::none, vm_prot::rx};
    return choices[value % std::size(choices)];
}

void model::map(process& p, const model_operation& op, unsigned first, unsigned count) {
    int object = op.value % 3 == 0 ? int(op.value / 3 % objects) : -1;
    bool shared = object >= 0 && op.value & 64;
    uint64_t index = op.value / 128 % object_pages;
    vm_prot prot = some_prot(op.value / 4096);
    auto got = p.vm->map(
        {.address = address(first),
         .size = pages(count),
         .prot = prot,
         .fixed = true,
         .shared = shared,
         .object = object < 0 ? ref_ptr<uvm_object>() : ref_ptr<uvm_object>(objects_[object].real),
         .offset = object < 0 ? 0 : pages(index)});
    if (!got) {
        expect(injected_ && got.error() == Errno::nomem, "map");
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        page_model& page = p.page[first + i];
        page = {
            .mapped = true, .shared = shared, .object = object, .index = index + i, .prot = prot};
        page.inherit = page.default_inherit = shared ? vm_inherit::share : vm_inherit::copy;
        if (!shared)
            page.own = std::make_shared<cell>();
        page.charged = page.accountable();
        if (object < 0)
            page.index = 0;
    }
}

void model::unmap(process& p, unsigned first, unsigned count) {
    status got = p.vm->unmap(address(first), pages(count));
    if (!got) {
        expect(injected_ && got.error() == Errno::nomem, "unmap");
        return;
    }
    for (unsigned i = first; i < first + count; i++)
        p.page[i] = {};
}

void model::protect(process& p, const model_operation& op, unsigned first, unsigned count) {
    vm_prot prot = some_prot(op.value);
    unsigned reach = first; // up to the first hole
    while (reach < first + count && p.page[reach].mapped)
        reach++;
    status got = p.vm->protect(address(first), pages(count), prot);
    if (!got && injected_ && alloc_fail_after(0) == 0) {
        expect(got.error() == Errno::nomem, "protect without memory");
        return;
    }
    bool hole = reach < first + count;
    expect(hole ? !got && got.error() == Errno::nomem : bool(got), "protect");
    for (unsigned i = first; i < reach; i++) {
        page_model& page = p.page[i];
        page.prot = prot;
        page.charged |= page.accountable();
    }
}

void model::inherit(process& p, const model_operation& op, unsigned first, unsigned count) {
    auto value = vm_inherit(op.value % 4);
    bool hole = false;
    for (unsigned i = first; i < first + count; i++)
        hole |= !p.page[i].mapped;
    status got = p.vm->inherit(address(first), pages(count), value);
    if (!got && got.error() == Errno::again) {
        expect(injected_, "inherit");
        return;
    }
    expect(bool(got) == !hole, "inherit");
    for (unsigned i = first; i < first + count; i++)
        if (p.page[i].mapped)
            p.page[i].inherit = value;
}

void model::drop(process& p, unsigned first, unsigned count) {
    bool hole = false, wired = false;
    for (unsigned i = first; i < first + count; i++) {
        hole |= !p.page[i].mapped;
        wired |= p.page[i].wired;
    }
    status got = p.vm->advise(address(first), pages(count), madv_dontneed);
    if (!got && got.error() == Errno::again) {
        expect(injected_, "dontneed");
        return;
    }
    expect(error_of(got) == (wired ? Errno::inval : hole ? Errno::nomem : Errno{}), "dontneed");
    for (unsigned i = first; i < first + count && !wired; i++)
        if (p.page[i].own && p.page[i].own.use_count() == 1)
            *p.page[i].own = {};
}

// ---- mremap ----------------------------------------------------------------------------------

// Whether the pages are one mapping to mremap(2).
bool model::uniform(const process& p, unsigned first, unsigned count) {
    for (unsigned i = first; i < first + count; i++) {
        const page_model &a = p.page[first], &b = p.page[i];
        if (!b.mapped || a.shared != b.shared || a.charged != b.charged || a.wired != b.wired ||
            a.object != b.object || a.prot != b.prot || a.inherit != b.inherit ||
            a.default_inherit != b.default_inherit)
            return false;
        if (a.object >= 0 && b.index != a.index + (i - first))
            return false;
    }
    return true;
}

void model::remap(process& p, const model_operation& op, unsigned first, unsigned count) {
    bool keep = op.value & 1;
    unsigned new_count = keep ? count : 1 + op.value / 2 % 6;
    unsigned to = op.value / 16 % (window - new_count);
    if (to < first + count && first < to + new_count)
        return; // overlap: EINVAL, tested elsewhere
    for (unsigned i = 0; i < count && injected_; i++)
        if (p.page[first + i].wired)
            return; // how far populating them gets is not known
    int flags = mremap_maymove | mremap_fixed | (keep ? mremap_dontunmap : 0);
    bool one = uniform(p, first, count);
    auto got = p.vm->remap(address(first), pages(count), pages(new_count), flags, address(to));
    if (!got) {
        bool expected_failure = !one && got.error() == Errno::fault;
        expect(expected_failure || (injected_ && got.error() == Errno::nomem), "remap");
        return;
    }
    expect(one, "remap of what is not one mapping");
    page_model like = p.page[first];
    std::vector<page_model> moved(new_count);
    for (unsigned i = 0; i < new_count; i++) {
        moved[i] = i < count ? p.page[first + i] : like;
        moved[i].index = like.object < 0 ? 0 : like.index + i;
        if (i >= count && !like.shared)
            moved[i].own = std::make_shared<cell>();
    }
    for (unsigned i = first; i < first + count; i++) {
        if (!keep) {
            p.page[i] = {};
            continue;
        }
        p.page[i].wired = false;
        if (!like.shared)
            p.page[i].own = std::make_shared<cell>();
    }
    for (unsigned i = 0; i < new_count; i++)
        p.page[to + i] = moved[i];
    if (like.wired)
        populate(p, to, new_count);
}

// ---- mlock -----------------------------------------------------------------------------------

// As far as it goes: what can be written privately is promoted.
void model::populate(process& p, unsigned first, unsigned count) {
    for (unsigned i = first; i < first + count; i++) {
        page_model& page = p.page[i];
        if (page.accountable() ? !promote(page) : expected_load(page) < 0)
            return;
    }
}

void model::lock(process& p, unsigned first, unsigned count) {
    bool fails = false, hole = false;
    for (unsigned i = first; i < first + count; i++) {
        hole |= !p.page[i].mapped;
        fails |= expected_load(p.page[i]) < 0;
    }
    status got = p.vm->lock_pages(address(first), pages(count));
    expect(bool(got) == !fails, "mlock");
    if (!hole)
        populate(p, first, count);
    for (unsigned i = first; i < first + count && !fails; i++)
        p.page[i].wired = true;
}

void model::unlock(process& p, unsigned first, unsigned count) {
    bool hole = false;
    for (unsigned i = first; i < first + count; i++)
        hole |= !p.page[i].mapped;
    status got = p.vm->unlock_pages(address(first), pages(count));
    if (!got) {
        expect(hole || injected_, "munlock");
        return;
    }
    for (unsigned i = first; i < first + count; i++)
        p.page[i].wired = false;
}

// ---- Processes and objects -------------------------------------------------------------------

void model::fork(process& p, const model_operation& op) {
    if (processes_.size() == most_processes)
        return;
    ref_ptr<vm_aftermath> later = vm_aftermath::create();
    auto got = p.vm->fork(fork_mode(op.value % 3), later.get());
    if (!got) {
        expect(injected_ && got.error() == Errno::nomem, "fork");
        return;
    }
    process child{*got, {}};
    for (unsigned i = 0; i < window; i++) {
        page_model& c = child.page[i];
        c = p.page[i];
        c.wired = false;
        if (!c.mapped)
            continue;
        switch (c.inherit) {
        case vm_inherit::none: c = {}; break;
        case vm_inherit::share: break; // the cell too
        case vm_inherit::zero:
            c.charged = p.page[i].shared ? allows(c.prot, vm_prot::write) : c.charged;
            c.shared = false;
            c.object = -1;
            c.index = 0;
            c.own = std::make_shared<cell>();
            break;
        case vm_inherit::copy:
            c.charged = p.page[i].shared ? allows(c.prot, vm_prot::write) : c.charged;
            c.own =
                p.page[i].own ? std::make_shared<cell>(*p.page[i].own) : std::make_shared<cell>();
            c.shared = false;
            break;
        }
    }
    processes_.push_back(std::move(child));
}

void model::exit(size_t which) {
    if (processes_.size() > 1)
        processes_.erase(processes_.begin() + which % processes_.size());
}

void model::resize(const model_operation& op) {
    object_model& o = objects_[op.page % objects];
    uint64_t size = op.value % (object_pages + 1);
    expect(bool(o.real->resize(pages(size))), "resize");
    for (uint64_t i = size; i < object_pages; i++)
        o.value[i] = 0;
    o.size = size;
    // Private copies of what is cut off are gone, too.
    for (process& p : processes_)
        for (page_model& page : p.page)
            if (page.mapped && page.own && &objects_[std::max(page.object, 0)] == &o &&
                page.object >= 0 && page.index >= size)
                page.own->promoted = false;
}

// As write(2) does.
void model::store_object(const model_operation& op) {
    object_model& o = objects_[op.page % objects];
    uint64_t index = op.count % object_pages;
    auto held = o.real->hold(index, true);
    if (!held) {
        expect(injected_ || index >= o.size, "hold");
        return;
    }
    expect(index < o.size, "hold past the end");
    *held->data() = char(op.value);
    o.value[index] = uint8_t(op.value);
}

// ---- Running ---------------------------------------------------------------------------------

void model::step(const model_operation& op) {
    process& p = who(op);
    unsigned first = op.page % window;
    unsigned count = 1 + op.count % std::min(8u, window - first);
    bool locks = op.kind % 32 == 28;
    injected_ = op.fail_at != 0 && !locks;
    if (injected_)
        alloc_fail_after(op.fail_at);
    switch (op.kind % 32) {
    case 0:
    case 1:
    case 2:
    case 3: map(p, op, first, count); break;
    case 4:
    case 5: unmap(p, first, count); break;
    case 6:
    case 7:
    case 8: protect(p, op, first, count); break;
    case 9:
    case 10:
    case 11:
    case 12:
    case 13: load_one(p, first); break;
    case 14:
    case 15:
    case 16:
    case 17:
    case 18:
    case 19:
    case 20: store_one(p, op, first); break;
    case 21:
    case 22: fork(p, op); break;
    case 23: exit(op.process); break;
    case 24: drop(p, first, count); break;
    case 25: inherit(p, op, first, count); break;
    case 26:
    case 27: remap(p, op, first, count); break;
    case 28: lock(p, first, count); break;
    case 29: unlock(p, first, count); break;
    case 30: resize(op); break;
    case 31: store_object(op); break;
    }
    alloc_fail_after(0);
    injected_ = false;

    uint64_t charged = 0;
    for (const process& each : processes_)
        for (const page_model& page : each.page)
            charged += page.charged;
    expect(uvm_commit::committed() - committed_before_ == charged, "the commit account");
}

void model::verify_everything() {
    for (process& p : processes_) {
        p.vm->check();
        for (unsigned i = 0; i < window; i++) {
            // Half through the pmap as the program does, half past it.
            int got;
            if (i % 2) {
                got = load(p.vm, address(i));
            } else {
                uint8_t byte;
                got = p.vm->read_memory(address(i), &byte, 1) ? byte : -5;
            }
            int want = expected_load(p.page[i]);
            if (!(got == want || (got == -5 && want < 0)))
                differ("page " + std::to_string(i) + " reads " + std::to_string(got) + ", should " +
                       std::to_string(want));
        }
    }
    for (object_model& o : objects_)
        o.real->check();
}

} // namespace

std::vector<model_operation> make_operations(uint64_t seed, size_t count) {
    std::mt19937_64 random(seed);
    std::vector<model_operation> operations(count);
    for (model_operation& op : operations) {
        op.kind = random() % 32;
        op.process = random() % 64;
        op.page = random() % window;
        op.count = random() % 256;
        op.value = uint32_t(random() % (1 << 20));
        op.fail_at = random() % 8 == 0 ? 1 + random() % 12 : 0;
    }
    return operations;
}

void run_operations(const std::vector<model_operation>& operations) {
    model m;
    size_t at = 0;
    try {
        for (; at < operations.size(); at++) {
            m.step(operations[at]);
            if (at % 64 == 63)
                m.verify_everything();
        }
        m.verify_everything();
    } catch (const model_mismatch& mismatch) {
        alloc_fail_after(0);
        throw model_mismatch("operation " + std::to_string(at) + ": " + mismatch.what());
    }
}
