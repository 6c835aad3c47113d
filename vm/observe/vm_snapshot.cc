// Nothing changes while these run (see the header), so no lock is taken, which the thread-safety
// analysis cannot know.
#include "vm/observe/vm_snapshot.h"

#include "arch/pmap.h"
#include "vm/phys/vm_page.h"
#include "vm/vmspace.h"

bool vm_snapshot_addresses = true;

namespace {

using ull = unsigned long long;

constexpr ull page_address(uint64_t page_number) { return page_number << page_shift; }

// Pages that follow one another and agree in `key`. `first` counts pages: a slot, an index in an
// object, or a virtual page number. The physical address goes up by `step` pages from each to the
// next: 1, -1, or 0 for one page that is in all the places.
template <class Key> struct page_run {
    uint64_t first = 0, count = 0;
    paddr_t pa{};
    Key key{};
    int step = 1;

    bool takes(uint64_t where, paddr_t page, const Key& k) {
        if (count == 0 || !(k == key) || where != first + count)
            return false;
        const auto distance = static_cast<int64_t>(page.value() - pa.value()) / int64_t(page_size);
        if (count == 1 && -1 <= distance && distance <= 1)
            step = int(distance);
        return distance == step * int64_t(count);
    }
};

// Makes runs of single pages and hands each to `write` when it ends.
template <class Key, class Write> class run_collector {
public:
    explicit run_collector(Write write) : write_(write) {}
    ~run_collector() { flush(); }

    void add(uint64_t where, paddr_t page, const Key& key) {
        if (!run_.takes(where, page, key)) {
            flush();
            run_ = {.first = where, .count = 0, .pa = page, .key = key};
        }
        run_.count++;
    }

private:
    void flush() {
        if (run_.count != 0)
            write_(run_);
    }
    page_run<Key> run_;
    Write write_;
};

struct mapping_bits {
    bool present, write, execute, user, accessed, dirty, wired, write_above;
    bool operator==(const mapping_bits&) const = default;
};

mapping_bits bits_of(const pmap_table_entry& e) {
    return {e.present, e.write, e.execute, e.user, e.accessed, e.dirty, e.wired, e.write_above};
}

// Letters for the bits that are set: docs/explorer-format.md.
void append_bits(const mapping_bits& b, text_sink& out) {
    if (b.present)
        out.append('p');
    for (auto [set, letter] : {std::pair{b.write && b.write_above, 'w'},
                               {b.user, 'u'},
                               {b.accessed, 'a'},
                               {b.dirty, 'd'},
                               {b.execute, 'x'},
                               {b.wired, 'l'}})
        if (set)
            out.append(letter);
}

void append_prot(vm_prot prot, text_sink& out) {
    out.append(allows(prot, vm_prot::read) ? 'r' : '-');
    out.append(allows(prot, vm_prot::write) ? 'w' : '-');
    out.append(allows(prot, vm_prot::execute) ? 'x' : '-');
}

const char* name_of(vm_inherit value) {
    switch (value) {
    case vm_inherit::share: return "share";
    case vm_inherit::copy: return "copy";
    case vm_inherit::none: return "none";
    case vm_inherit::zero: return "zero";
    }
    return "?";
}

const char* name_of(vm_advice value) {
    switch (value) {
    case vm_advice::normal: return "normal";
    case vm_advice::random: return "random";
    case vm_advice::sequential: return "sequential";
    }
    return "?";
}

constexpr const char* boolean(bool b) { return b ? "true" : "false"; }

ull shown(paddr_t pa) { return vm_snapshot_addresses ? pa.value() : 0; }

// A kernel structure's identity.
template <class T> void append_id(const T* object, text_sink& out) {
    if (object)
        out.print("\"0x%llx\"", ull(vm_snapshot_id(*object)));
    else
        out.append("null");
}

// What /proc/PID/maps calls the entry.
const char* name_of(const vm_map_entry& e) {
    if (e.tag)
        return e.tag;
    return e.object ? e.object->name() : "";
}

using anon_run = page_run<uint64_t>; // key: references of each anon
using object_run = page_run<bool>;   // key: clean
using pte_run = page_run<mapping_bits>;

// How a run's physical addresses go on after the first, for people.
template <class Key> const char* stepping(const page_run<Key>& r) {
    if (r.count == 1 || r.step == 1)
        return "";
    return r.step == 0 ? " (all)" : " and down";
}

template <class Write>
void each_anon_run(vm_amap& amap, slot_t first, slot_t end, Write write) NO_THREAD_SAFETY_ANALYSIS {
    run_collector<uint64_t, Write> runs(write);
    for (slot_t slot = first; vm_anon* anon = amap.find_from(slot, end); slot++)
        runs.add(slot, anon->physical(), anon->references());
}

template <class Write>
void each_object_run(uvm_object& object, uint64_t first, uint64_t end, Write write) {
    run_collector<bool, Write> runs(write);
    for (uint64_t i = first; vm_page* page = object.resident_from(i); i++) {
        if (i >= end)
            break;
        runs.add(i, page->physical(), page->clean);
    }
}

template <class Write> void each_pte_run(pmap& map, vaddr_t start, vaddr_t end, Write write) {
    run_collector<mapping_bits, Write> runs(write);
    map.for_each_entry(
        start, end,
        [](void* context, const pmap_table_entry& e) {
            if (e.level == 1)
                static_cast<decltype(runs)*>(context)->add(e.va.value() >> page_shift, e.pa,
                                                           bits_of(e));
        },
        &runs);
}

void entry_json(const vm_map_entry& e, text_sink& out) {
    out.print("{\"start\":\"0x%llx\",\"end\":\"0x%llx\",\"prot\":\"", ull(e.start.value()),
              ull(e.end.value()));
    append_prot(e.protection, out);
    out.append("\",\"max\":\"");
    append_prot(e.max_protection, out);
    out.print("\",\"inherit\":\"%s\",\"advice\":\"%s\",\"wired\":%u,\"cow\":%s,\"needs_copy\":%s,"
              "\"name\":",
              name_of(e.inheritance), name_of(e.advice), unsigned(e.wired_count),
              boolean(e.copy_on_write), boolean(e.needs_copy));
    out.append_json_string(name_of(e));
    out.append(",\"object\":");
    append_id(e.object.get(), out);
    out.print(",\"offset\":%llu,\"amap\":", ull(e.offset));
    append_id(e.aref.amap(), out);
    out.print(",\"slot\":%llu}", ull(e.aref ? e.aref.first() : 0));
}

// The end of a JSON run: with its step, unless that is 1.
template <class Key> void end_run(const page_run<Key>& r, text_sink& out) {
    if (r.count > 1 && r.step != 1)
        out.print(",%d]", r.step);
    else
        out.append(']');
}

// Writes a comma before all but the first.
class separator {
public:
    void before(text_sink& out) {
        if (!first_)
            out.append(',');
        first_ = false;
    }

private:
    bool first_ = true;
};

struct table_list {
    text_sink& out;
    separator comma{};
};

} // namespace

void vmspace_snapshot_entries(vmspace& vm, void (*visit)(void*, vm_map_entry&),
                              void* context) NO_THREAD_SAFETY_ANALYSIS {
    vm_map& map = vm.map_for_tests();
    for (vm_map_entry* e = map.first(); e; e = map.next(*e))
        visit(context, *e);
}

void vmspace_snapshot_json(vmspace& vm, text_sink& out) NO_THREAD_SAFETY_ANALYSIS {
    pmap& physical = vm.physical_map();
    out.print("\"refs\":%llu,\"pages_resident\":%llu,\"commit\":%llu,\"entries\":[",
              ull(vm.references()), ull(physical.resident_pages()),
              ull(vm.map_for_tests().totals().charged));
    table_list entries{out};
    vmspace_snapshot_entries(
        vm,
        [](void* context, vm_map_entry& e) {
            auto& list = *static_cast<table_list*>(context);
            list.comma.before(list.out);
            entry_json(e, list.out);
        },
        &entries);
    out.append("],\"ptes\":[");
    separator comma;
    each_pte_run(physical, vaddr_t(), user_max, [&](const pte_run& r) {
        comma.before(out);
        out.print("[\"0x%llx\",%llu,\"0x%llx\",\"", page_address(r.first), ull(r.count),
                  shown(r.pa));
        append_bits(r.key, out);
        out.append('"');
        end_run(r, out);
    });
    out.append("],\"tables\":[");
    table_list tables{out};
    physical.for_each_entry(
        vaddr_t(), user_max,
        [](void* context, const pmap_table_entry& e) {
            if (e.level == 1)
                return;
            auto& list = *static_cast<table_list*>(context);
            list.comma.before(list.out);
            list.out.print("[%u,\"0x%llx\",\"0x%llx\",\"", e.level - 1, ull(e.va.value()),
                           shown(e.pa));
            append_bits(bits_of(e), list.out);
            list.out.append("\"]");
        },
        &tables);
    out.append(']');
}

void amap_snapshot_json(vm_amap& amap, text_sink& out) NO_THREAD_SAFETY_ANALYSIS {
    out.print("\"refs\":%llu,\"shared\":%s,\"slots\":%llu,\"anons\":[", ull(amap.references()),
              boolean(amap.shared_by_inheritance()), ull(amap.referenced_slots()));
    separator comma;
    each_anon_run(amap, 0, UINT64_MAX, [&](const anon_run& r) {
        comma.before(out);
        out.print("[%llu,%llu,%llu,\"0x%llx\"", ull(r.first), ull(r.count), ull(r.key),
                  shown(r.pa));
        end_run(r, out);
    });
    out.append(']');
}

void object_snapshot_json(uvm_object& object, text_sink& out) {
    out.print("\"kind\":\"%s\",\"name\":", object.kind());
    out.append_json_string(object.name());
    out.print(",\"refs\":%llu,\"pages\":[", ull(object.references()));
    separator comma;
    each_object_run(object, 0, UINT64_MAX, [&](const object_run& r) {
        comma.before(out);
        out.print("[%llu,%llu,\"0x%llx\",\"%s\"", ull(r.first), ull(r.count), shown(r.pa),
                  r.key ? "" : "d");
        end_run(r, out);
    });
    out.append(']');
}

void entry_snapshot_anons(const vm_map_entry& e, text_sink& out) {
    if (!e.aref)
        return;
    each_anon_run(*e.aref.amap(), e.aref.first(), e.slot_end(), [&](const anon_run& r) {
        vaddr_t va = e.start + ((r.first - e.aref.first()) << page_shift);
        out.print("      anon %12llx %5llu %-5s at %10llx  references %llu\n", ull(va.value()),
                  ull(r.count), r.count == 1 ? "page" : "pages", shown(r.pa), ull(r.key));
    });
}

void entry_snapshot_pages(const vm_map_entry& e, text_sink& out) {
    if (!e.object)
        return;
    const uint64_t first = e.offset >> page_shift;
    each_object_run(*e.object, first, first + e.pages(), [&](const object_run& r) {
        vaddr_t va = e.start + ((r.first - first) << page_shift);
        out.print("      page %12llx %5llu %-5s at %10llx  index %llu%s\n", ull(va.value()),
                  ull(r.count), r.count == 1 ? "page" : "pages", shown(r.pa), ull(r.first),
                  r.key ? "" : ", dirty");
    });
}

void entry_snapshot_mappings(vmspace& vm, const vm_map_entry& e, text_sink& out) {
    each_pte_run(vm.physical_map(), e.start, e.end, [&](const pte_run& r) {
        out.print("    pte    %12llx %5llu %-5s -> %10llx  %c%c%c%s%s%s%s\n", page_address(r.first),
                  ull(r.count), r.count == 1 ? "page" : "pages", shown(r.pa), 'r',
                  r.key.write && r.key.write_above ? 'w' : '-', r.key.execute ? 'x' : '-',
                  r.key.accessed ? " accessed" : "", r.key.dirty ? " dirty" : "",
                  r.key.wired ? " wired" : "",
                  r.key.write && !r.key.write_above ? " (w off above)" : "");
    });
}
