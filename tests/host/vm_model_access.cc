// What loads and stores of programs find, and reads and writes of files, in vm/ and in the model.
#include "tests/host/vm_model_state.h"
#include "vm/phys/alloc_fail.h"

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
    const uint64_t limit = limit_ + uvm_swap::pages();
    return strict_ && pages > 0 && (committed_ > limit || pages > limit - committed_);
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
    if (over_limits(p, {.mapped = top - at}) || (added.wired && over_memlock(p, top - at)) ||
        (added.charged && would_refuse(top - at)))
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

bool model::reads(process& p, unsigned at, unsigned sample, int got) {
    const int want = expected_read(p, at, sample);
    cell* own = p.at(at).own.get();
    if (got != want && own && own->lazy && got == own->lost[sample]) {
        own->is_lost();
        return true;
    }
    return got == want;
}

int model::expected_write(process& p, unsigned at, unsigned sample, uint8_t byte, bool force) {
    int fault = expected_fault(p, at, vm_prot::write, force);
    if (fault < 0)
        return fault;
    page& x = p.at(at);
    if (x.shared)
        x.object->page[x.index][sample] = byte;
    else
        x.own->put(sample, byte);
    return byte;
}

// Memory that ran out is nomem, or a stack that did not grow; a page that did not come from swap is as
// one past the end of its object.
static bool for_a_failure(int got) { return got == nomem || got == maperr || got == adrerr; }

void model::read(range r) {
    unsigned sample = r.value % samples;
    vaddr_t at = r.start() + offsets[sample];
    int got = load(r.p.vm, at);
    if (injected_ && for_a_failure(got)) {
        fail_nothing();
        if (r.p.at(r.first).mapped) // else a stack may have grown before memory ran out
            compare();
        got = load(r.p.vm, at);
    }
    expect(reads(r.p, r.first, sample, got), "what the program reads");
}

void model::write(range r) {
    unsigned sample = r.value % samples;
    auto byte = uint8_t(r.value >> 8);
    vaddr_t at = r.start() + offsets[sample];
    int got = store(r.p.vm, at, byte);
    if (injected_ && for_a_failure(got)) {
        fail_nothing();
        got = store(r.p.vm, at, byte);
    }
    expect(got == expected_write(r.p, r.first, sample, byte),
           "what becomes of the program's write");
}

void model::poke(range r) {
    unsigned sample = r.value % samples;
    auto byte = uint8_t(r.value >> 8);
    vaddr_t at = r.start() + offsets[sample];
    page& x = r.p.at(r.first);
    const bool pays = x.mapped && !x.shared && !x.charged && promised(x.no_reserve);
    const bool refused = pays && would_refuse(1);
    status got = r.p.vm->write_memory(at, &byte, 1, true);
    if (injected_ && !got) {
        fail_nothing();
        got = r.p.vm->write_memory(at, &byte, 1, true);
    }
    if (refused)
        return expect(!got && got.error() == Errno::nomem, "write_memory without a promise");
    x.charged |= pays;
    int want = expected_write(r.p, r.first, sample, byte, true);
    expect(got ? want == byte : want < 0 && got.error() == Errno::fault, "write_memory");
}

// ---- Files: ftruncate, write(2), read(2)
// -----------------------------------------------------------------------------------

void model::truncate(unsigned file, uint32_t value) {
    object& f = *file_[file];
    uint64_t size = (value >> 8) % (pages(file_pages) + 1);
    if (value % 2)
        size = page_round_up(size);
    if (!f.real->resize(size)) // the page at the edge could not be had
        return expect(injected_, "ftruncate");
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

void model::file_write(unsigned file, uint32_t value) {
    object& f = *file_[file];
    uint64_t index = (value >> 16) % file_pages;
    unsigned sample = value % samples;
    auto held = f.real->hold(index, uvm_aobj::purpose::write);
    if (!held) {
        const bool failed = held.error() == Errno::nomem || held.error() == Errno::io;
        expect(f.has(index) ? injected_ && failed : held.error() == Errno::fault, "hold's errno");
        return;
    }
    expect(f.has(index), "hold past the end");
    held->data()[offsets[sample]] = char(value >> 8);
    f.page[index][sample] = uint8_t(value >> 8);
}

void model::file_read(unsigned file, uint32_t value) {
    object& f = *file_[file];
    uint64_t index = (value >> 16) % file_pages;
    auto held = f.real->hold(index, uvm_aobj::purpose::read);
    if (!held && injected_) {
        fail_nothing();
        held = f.real->hold(index, uvm_aobj::purpose::read);
    }
    expect(bool(held) == f.has(index), "hold for reading");
    for (unsigned k = 0; k < samples && held && *held; k++)
        expect(uint8_t(held->data()[offsets[k]]) == f.page[index][k], "what read(2) finds");
}

} // namespace vm_model
