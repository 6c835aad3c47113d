// The model's state against the real one, and the running of operations.
#include "tests/host/vm_model_state.h"
#include "vm/phys/alloc_fail.h"

#include <algorithm>
#include <random>

namespace vm_model {

// ---- Comparing -------------------------------------------------------------------------------

// A mismatch without the number of its operation, which only run_operations() knows.
struct difference : std::runtime_error {
    using std::runtime_error::runtime_error;
};

void model::expect(bool agrees, const char* what) {
    if (!agrees)
        throw difference(what);
}

real_page look(vm_map_entry& entry, vaddr_t at) {
    if (vm_amap* amap = entry.aref.amap()) {
        lock_guard guard(amap->lock());
        if (vm_anon* anon = amap->lookup(entry.slot_of(at)))
            return {.anon = true, .place = place_of(*anon)};
    }
    if (!entry.object)
        return {};
    uint64_t index = entry.object_index(at);
    if (index >= pages_of(entry.object->size()))
        return {.past_the_end = true};
    lock_guard guard(entry.object->lock());
    return {.place = place_of(static_cast<uvm_aobj&>(*entry.object), index)};
}

static bool same_contents(const page_place& found, const contents& want) {
    for (size_t i = 0; i < samples; i++)
        if ((found.data ? found.data[offsets[i]] : 0) != want[i])
            return false;
    return true;
}

// What a read finds; null past the end of an object.
const contents* model::read_contents(const page& p) const {
    static constexpr contents zeros{};
    if (p.own && p.own->promoted)
        return &p.own->value;
    if (!p.object)
        return &zeros;
    return p.object->has(p.index) ? &p.object->page[p.index] : nullptr;
}

void model::compare_page(const process& p, unsigned at, vm_map_entry& e) {
    const page& want = p.at(at);
    auto differs = [&](const char* what) {
        throw difference("page " + std::to_string(at) + ": " + what);
    };
    if (!want.mapped)
        differs("mapped, should not be");
    if (e.protection != want.prot)
        differs("its protection");
    if (e.copy_on_write == want.shared)
        differs("private or shared");
    if (e.charged != want.charged)
        differs("charged or not");
    if ((e.wired_count > 0) != want.wired)
        differs("wired or not");
    if (e.inheritance != want.inherit || e.default_inheritance != want.default_inherit)
        differs("its inheritance");
    if (e.advice != want.advice)
        differs("its advice");
    if (e.grows_down != want.stack || (e.tag != nullptr) != want.heap)
        differs("stack, heap or neither");
    if (bool(e.object) != bool(want.object))
        differs("its object");
    if (want.object && (e.object_index(address(at)) != want.index ||
                        (want.object->real && want.object->real.get() != e.object.get())))
        differs("which page of which object");

    real_page real = look(e, address(at));
    const contents* expected = read_contents(want);
    if (real.past_the_end != (expected == nullptr))
        differs("past the end of its object or not");
    if (!expected || real.place.busy)
        return;
    const bool same = same_contents(real.place, *expected);
    cell* own = want.own.get();
    if (!same && own && own->lazy && same_contents(real.place, own->lost))
        own->is_lost();
    else if (!same)
        differs("its contents");
    else if (own && real.place.slot != slot_of_zeros) // written to since
        own->lazy = false;
}

static uint64_t count_if(const space& s, bool (*which)(const page&)) {
    return uint64_t(std::count_if(s.pages.begin(), s.pages.end(),
                                  [&](const page& p) { return p.mapped && which(p); }));
}

void model::compare_process(const process& p) {
    p.vm->check();
    vm_map& map = p.vm->map_for_tests();
    read_guard guard(map.lock());
    vm_map_entry* e = map.first();
    for (unsigned i = 0; i < window; i++) {
        while (e && e->end <= address(i))
            e = map.next(*e);
        if (e && e->contains(address(i)))
            compare_page(p, i, *e);
        else if (p.at(i).mapped)
            throw difference("page " + std::to_string(i) + ": not mapped, should be");
    }
    const vm_map::sums& sums = map.totals();
    const space& s = *p.memory;
    using each = const page&;
    expect(sums.all == count_if(s, [](each) { return true; }), "the size of the map");
    expect(sums.stack == count_if(s, [](each x) { return x.stack; }), "the stack's size");
    expect(sums.data == count_if(s, [](each x) { return x.accountable() && !x.stack; }),
           "the data's size");
    expect(sums.text == count_if(s,
                                 [](each x) {
                                     return allows(x.prot, vm_prot::execute) &&
                                            !allows(x.prot, vm_prot::write);
                                 }),
           "the text's size");
    expect(sums.shared == count_if(s, [](each x) { return x.shared; }), "the shared memory's size");
    expect(sums.locked == count_if(s, [](each x) { return x.wired; }), "the locked memory's size");
    expect(sums.charged == count_if(s, [](each x) { return x.charged; }), "the map's charge");

    for (e = map.first(); e; e = map.next(*e)) {
        if (e->object)
            object_list_.push_back(static_cast<uvm_aobj*>(e->object.get()));
        vm_amap* amap = e->aref.amap();
        if (!amap)
            continue;
        lock_guard amap_guard(amap->lock());
        slot_t slot = e->aref.first();
        for (; vm_anon* anon = amap->find_from(slot, e->slot_end()); slot++)
            anons_.push_back({anon, place_of(*anon)});
    }
}

void model::compare_file(object& file) {
    file.real->check();
    lock_guard guard(file.real->lock());
    expect(file.real->size() == file.size, "a file's size");
    for (uint64_t i = 0; i < file_pages; i++) {
        const page_place found = place_of(*file.real, i);
        expect(found.busy || same_contents(found, file.page[i]), "a file's contents");
    }
}

uint64_t model::charge_of_all() const {
    uint64_t sum = 0;
    for (size_t i = 0; i < processes_.size(); i++) {
        bool again = false; // a vfork child's memory is its parent's
        for (size_t k = 0; k < i; k++)
            again |= processes_[k].memory == processes_[i].memory;
        if (!again)
            sum += charged(processes_[i], 0, window);
    }
    for (const std::weak_ptr<object>& o : anonymous_)
        if (object_ref alive = o.lock())
            sum += alive->charged;
    return sum;
}

// The commit account; and that what is reachable is all there is, as far as nobody is at work.
void model::compare_accounts(bool quiet) {
    vm_page_statistics pages = vm_page_get_statistics();
    std::sort(anons_.begin(), anons_.end(),
              [](const seen_anon& a, const seen_anon& b) { return a.anon < b.anon; });
    anons_.erase(
        std::unique(anons_.begin(), anons_.end(),
                    [](const seen_anon& a, const seen_anon& b) { return a.anon == b.anon; }),
        anons_.end());
    std::sort(object_list_.begin(), object_list_.end());
    object_list_.erase(std::unique(object_list_.begin(), object_list_.end()), object_list_.end());
    uint64_t anons = 0, objects = 0, slots = 0, by_pages = 0;
    bool busy = false;
    auto add = [&](const page_place& place, uint64_t& in_memory) {
        in_memory += place.resident;
        slots += place.slot != 0 && place.slot != slot_of_zeros;
        busy |= place.busy;
    };
    for (const seen_anon& seen : anons_)
        add(seen.place, anons);
    for (uvm_aobj* o : object_list_) {
        lock_guard guard(o->lock());
        for (uint64_t i = 0; i < std::max(window, file_pages); i++)
            add(place_of(*o, i), objects);
        guard.unlock();
        by_pages += o->charged_by_pages() ? o->resident_pages() : 0;
    }
    // Who moves a page of an object keeps that, and with it what it is charged for.
    const uint64_t committed = uvm_commit::committed() - committed_before_,
                   charged = charge_of_all() + by_pages;
    expect(quiet ? committed == charged : committed >= charged, "the commit account");
    if (!quiet)
        return;
    expect(!busy, "a page that is busy, and nobody moves it");
    expect(pages.anon - anons_before_ == anons, "anonymous pages that nobody can reach");
    expect(pages.object - object_pages_before_ == objects, "object pages that nobody can reach");
    compare_swap(slots);
}

void model::compare() {
    const bool quiet = paging_.quiet(); // and stays so
    anons_.clear();
    object_list_.clear();
    for (const object_ref& file : file_) {
        compare_file(*file);
        object_list_.push_back(file->real.get());
    }
    for (const process& p : processes_)
        compare_process(p);
    compare_accounts(quiet);
}

void model::compare_by_loads() {
    for (process& p : processes_) {
        runs(p);
        for (unsigned i = 0; i < window; i++) {
            if (!p.at(i).mapped)
                continue;
            for (unsigned k = 0; k < samples; k++) {
                if (!reads(p, i, k, load(p.vm, address(i) + offsets[k])))
                    throw difference("page " + std::to_string(i) + ": what the program reads");
            }
            uint8_t all[page_size];
            if (!p.vm->read_memory(address(i), all, page_size)) {
                expect(expected_read(p, i, 0) < 0, "read_memory");
                continue;
            }
            for (size_t k = 0; k < samples; k++)
                all[offsets[k]] = 0;
            expect(std::all_of(all, all + page_size, [](uint8_t b) { return b == 0; }),
                   "a byte that nobody wrote");
        }
    }
}

// ---- Beginning and running -------------------------------------------------------------------

static constexpr uint64_t disk_sizes[] = {24, 120}; // pages

model::model()
    : committed_before_(uvm_commit::committed()), anons_before_(vm_page_get_statistics().anon),
      object_pages_before_(vm_page_get_statistics().object) {
    for (const uint64_t size : disk_sizes)
        paging_.add_disk(size);
    for (object_ref& file : file_) {
        auto real = uvm_aobj::create(pages(file_pages), "file", uvm_aobj::charging::nothing);
        expect(bool(real), "a file");
        file = std::make_shared<object>();
        file->real = *real;
        file->size = pages(file_pages);
        file->page.resize(file_pages);
    }
    processes_.push_back(start_process());
}

process model::start_process() {
    auto vm = vmspace::create();
    expect(bool(vm), "an address space");
    process p{.vm = *vm, .memory = {}};
    add_space(p);
    return p;
}

// What exec does to an address space that is empty.
void model::add_space(process& p) {
    p.vm->set_layout(vaddr_t(0x7fff'0000'0000));
    p.vm->init_brk(address(heap_page));
    p.memory = std::make_shared<space>();
}

void model::step(const model_operation& op) {
    process& p = processes_[op.process % processes_.size()];
    runs(p);
    unsigned first = op.page % window;
    unsigned count = 1 + op.count % std::min(8u, window - first);
    range r{p, first, first + count, op.value};
    range one{p, first, first + 1, op.value};
    if (strict_) // what objects are charged for that go meanwhile
        paging_.turns.settle();
    committed_ = uvm_commit::committed();
    look_at_swapoffs();
    injected_ = op.fail_at != 0;
    allocation_fails_ = injected_ && op.fail_at < model_operation::requests;
    paging_.seed(op.value);
    if (allocation_fails_)
        alloc_fail_after(op.fail_at);
    else if (injected_)
        paging_.fail_request_after(op.fail_at - model_operation::requests + 1u);
    switch (op.kind) {
    case model_op::map: map(r); break;
    case model_op::unmap: unmap(r); break;
    case model_op::protect: protect(r); break;
    case model_op::read: read(one); break;
    case model_op::write: write(one); break;
    case model_op::poke: poke(one); break;
    case model_op::fork: fork(p, op.value); break;
    case model_op::vfork: vfork(p); break;
    case model_op::exec: exec(p); break;
    case model_op::exit: exit(p); break;
    case model_op::advise: advise(r); break;
    case model_op::inherit: inherit(r); break;
    case model_op::remap: remap(r); break;
    case model_op::lock: lock(r); break;
    case model_op::unlock: unlock(r); break;
    case model_op::sync: sync(r); break;
    case model_op::brk: brk(p, op.value); break;
    case model_op::truncate: truncate(op.page % files, op.value); break;
    case model_op::file_write: file_write(op.page % files, op.value); break;
    case model_op::file_read: file_read(op.page % files, op.value); break;
    case model_op::overcommit: overcommit(op.value); break;
    case model_op::switches: switches(op.value); break;
    case model_op::limit: limit(p, op.value); break;
    case model_op::swap_on: swap_on(op.value); break;
    case model_op::swap_off: swap_off(op.value); break;
    case model_op::page_out: page_out(op.value); break;
    case model_op::disk_error: disk_error(p, first, op.value); break;
    case model_op::count: break;
    }
    fail_nothing();
    injected_ = allocation_fails_ = false;
    for (uint32_t n = op.value % 4; n != 0 && !paging_.quiet(); n--)
        paging_.turns.yield();
    look_at_swapoffs();
}

void model::fail_nothing() {
    alloc_fail_after(0);
    paging_.fail_request_after(0);
}

bool model::allocation_failed() { return allocation_fails_ && alloc_fail_after(0) == 0; }

} // namespace vm_model

static constexpr size_t kinds = size_t(model_op::count);

const char* model_op_name(model_op kind) {
    static constexpr const char* names[kinds] = {
#define X(name, weight, text) #name,
        MODEL_OPERATIONS(X)
#undef X
    };
    return names[size_t(kind)];
}

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
    if (op.fail_at >= model_operation::requests)
        text +=
            "; request " + std::to_string(op.fail_at - model_operation::requests + 1) + " fails";
    else if (op.fail_at)
        text += "; allocation " + std::to_string(op.fail_at) + " fails";
    return text;
}

std::vector<model_operation> make_operations(uint64_t seed, size_t count) {
    static constexpr double weights[kinds] = {
#define X(name, weight, text) weight,
        MODEL_OPERATIONS(X)
#undef X
    };
    std::mt19937_64 random(seed);
    std::discrete_distribution<unsigned> kind(std::begin(weights), std::end(weights));
    std::vector<model_operation> operations(count);
    for (model_operation& op : operations) {
        op.kind = model_op(kind(random));
        op.process = uint8_t(random());
        op.page = uint8_t(random() % vm_model::window);
        op.count = uint8_t(random());
        op.value = uint32_t(random());
        const uint64_t fails = random() % 16;
        op.fail_at = fails < 2    ? uint8_t(1 + random() % 12)
                     : fails == 2 ? uint8_t(model_operation::requests + random() % 3)
                                  : 0;
    }
    return operations;
}

void run_operations(const std::vector<model_operation>& operations, volatile size_t* progress) {
    size_t at = 0;
    try {
        vm_model::model m;
        for (; at < operations.size(); at++) {
            if (progress)
                *progress = at;
            m.step(operations[at]);
            m.compare();
            if (at % 64 == 63)
                m.compare_by_loads();
        }
        m.compare_by_loads();
        m.compare();
    } catch (const vm_model::difference& d) {
        alloc_fail_after(0);
        throw model_mismatch(at, d.what());
    }
    uvm_fault_ahead_enabled = true;
    uvm_rights_ahead_enabled = true;
    uvm_zero_page_enabled = true;
    uvm_commit::set_mode(uvm_commit::mode::heuristic);
    uvm_commit::set_kbytes(0);
}
