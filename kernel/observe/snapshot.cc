#include "kernel/observe/snapshot.h"

#include "arch/pmap.h"
#include "vm/observe/vm_snapshot.h"
#include "vm/phys/uvmexp.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_commit.h"
#include "vm/vmspace.h"

namespace {

using ull = unsigned long long;

constinit uint64_t round_number = 0; // of the snapshot under way

// FNV-1a over what is written to it.
class hash_sink final : public text_sink {
public:
    void append(std::string_view text) override {
        for (char c : text)
            value_ = (value_ ^ static_cast<unsigned char>(c)) * 1099511628211u;
    }
    uint64_t value() const { return value_ | 1; }

private:
    uint64_t value_ = 14695981039346656037u;
};

// The first thread of which `is` is true, or null.
template <class Is> const thread* thread_that(const process& p, Is is) REQUIRES(process_tree_lock) {
    for (const thread& t : p.threads)
        if (is(t))
            return &t;
    return nullptr;
}

const char* state_of(const process& p) REQUIRES(process_tree_lock) {
    if (p.state != process_state::alive)
        return p.state == process_state::zombie ? "zombie" : "stop";
    return thread_that(p,
                       [](const thread& t) {
                           const thread_state state = t.state.load();
                           return state == thread_state::running || state == thread_state::runnable;
                       })
               ? "run"
               : "sleep";
}

// Why the first thread that sleeps does.
const char* wait_reason_of(const process& p) REQUIRES(process_tree_lock) {
    const thread* asleep = thread_that(p, [](const thread& t) {
        return t.state.load() == thread_state::sleeping && t.wait_reason;
    });
    return asleep ? asleep->wait_reason : "";
}

// Whether a thread of `p` has the parent's address space until it calls exec or ends.
bool borrows(const process& p) REQUIRES(process_tree_lock) {
    return thread_that(p, [](const thread& t) { return bool(t.vfork_parent); });
}

// The child that a vfork parent waits for, or 0.
pid_t awaited_by(const process& p) REQUIRES(process_tree_lock) {
    if (std::string_view(wait_reason_of(p)) != "vfork")
        return 0;
    for (const process& c : p.children)
        if (borrows(c))
            return c.pid;
    return 0;
}

// Locks are assumed, none is taken: the machine stands still.

const security_context& look_at_context(process& p) {
    assume_held(p.lock);
    return *p.context;
}
vmspace* look_at_vmspace(process& p) { return look_at_context(p).vm.get(); }

bool is_for(const snapshot_set& set, process& p) {
    return (!set.recorded || p.recorded) &&
           (!set.viewer || &p == &current_process() ||
            credentials_may_access(*set.viewer, look_at_context(p), access_mode::fscreds));
}

template <class Visit> void each_process(const snapshot_set& set, Visit visit) {
    assume_held(process_tree_lock);
    for (process* p = process_look_next(set.first); p && p->pid <= set.last;
         p = process_look_next(p->pid + 1))
        if (is_for(set, *p))
            visit(*p);
}

template <class Visit> void each_entry(vmspace& vm, Visit visit) {
    vmspace_snapshot_entries(
        vm, [](void* context, vm_map_entry& e) { (*static_cast<Visit*>(context))(e); }, &visit);
}

template <class Visit> void each_vmspace_of(const snapshot_set& set, Visit visit) {
    each_process(set, [&](process& p) {
        if (vmspace* vm = look_at_vmspace(p))
            visit(*vm);
    });
    if (set.being_made)
        visit(*set.being_made);
}

// Calls visit(entry) for every map entry of the set's processes, for each vmspace once or more
// often.
template <class Visit> void each_entry_of(const snapshot_set& set, Visit visit) {
    each_vmspace_of(set, [&](vmspace& vm) { each_entry(vm, visit); });
}

// An array of objects with identities, each written once.
class json_list {
public:
    json_list(text_sink& out, bool only_changes) : out_(out), only_changes_(only_changes) {}

    template <class T> void add(T& item, void (*write)(T&, text_sink&)) {
        if (!item.mark.first_in(round_number))
            return;
        out_.print("%s{\"id\":\"0x%llx\",", first_ ? "" : ",", ull(vm_snapshot_id(item)));
        first_ = false;
        if (only_changes_) {
            hash_sink hash;
            write(item, hash);
            const bool same = hash.value() == item.mark.hash;
            item.mark.hash = hash.value();
            if (same) {
                out_.append("\"same\":true}");
                return;
            }
        }
        write(item, out_);
        out_.append('}');
    }

private:
    text_sink& out_;
    const bool only_changes_;
    bool first_ = true;
};

// Of all that may be the same, the only one that is known by its process, not by an ID.
void ledger_json(ledger& costs, text_sink& out, bool only_changes) {
    if (only_changes) {
        hash_sink hash;
        costs.look(hash);
        if (hash.value() == std::exchange(costs.mark.hash, hash.value())) {
            out.append("\"same\"");
            return;
        }
    }
    costs.look(out);
}

void process_json(process& p, text_sink& out, bool only_changes) {
    assume_held(process_tree_lock);
    const char* name = p.threads.empty() ? p.last_name : p.threads.front()->name;
    out.print("{\"pid\":%d,\"ppid\":%d,\"name\":", p.pid, p.parent ? p.parent->pid : 0);
    out.append_json_string(name);
    out.print(",\"state\":\"%s\",\"why\":", state_of(p));
    out.append_json_string(wait_reason_of(p));
    out.print(",\"waits_for\":%d,\"ledger\":", awaited_by(p));
    ledger_json(p.costs, out, only_changes);
    out.append(",\"vmspace\":");
    if (vmspace* vm = look_at_vmspace(p))
        out.print("\"0x%llx\"", ull(vm_snapshot_id(*vm)));
    else
        out.append("null");
    out.append('}');
}

// What was written of the counters with `only_changes`.
constinit struct {
    uint64_t counters[uvm_counters], others[uvm_counters];
} last_written{};

template <class Read>
void counters_json(const char* name, Read read, uint64_t (&last)[uvm_counters], bool only_changes,
                   text_sink& out) {
    out.print(",\"%s\":{", name);
    bool first = true;
    for (unsigned i = 0; i < uvm_counters; i++) {
        const uint64_t value = read(uvm_counter(i));
        if (value == (only_changes ? last[i] : 0))
            continue;
        if (only_changes)
            last[i] = value;
        out.print("%s\"%s\":%llu", first ? "" : ",", uvm_counter_name(uvm_counter(i)), ull(value));
        first = false;
    }
    out.append('}');
}

// Which processes besides `p` have an entry with this amap, or this vmspace: " with 12 15".
template <class Has> void append_others(const process& p, Has has, text_sink& out) {
    bool any = false;
    each_process({}, [&](process& other) {
        vmspace* vm = look_at_vmspace(other);
        if (&other == &p || !vm || !has(*vm))
            return;
        out.print("%s %d", any ? "" : ", with", other.pid);
        any = true;
    });
}

const char* name_of(const vm_map_entry& e) {
    if (e.tag)
        return e.tag;
    return e.object ? e.object->name() : "anonymous";
}

void entry_text(process& p, vm_map_entry& e, text_sink& out) {
    vmspace& own = *look_at_vmspace(p);
    out.print("\n%012llx-%012llx %c%c%c%c %llu %s  ", ull(e.start.value()), ull(e.end.value()),
              allows(e.protection, vm_prot::read) ? 'r' : '-',
              allows(e.protection, vm_prot::write) ? 'w' : '-',
              allows(e.protection, vm_prot::execute) ? 'x' : '-', e.copy_on_write ? 'p' : 's',
              ull(e.pages()), e.pages() == 1 ? "page" : "pages");
    out.append_escaped(name_of(e), "\n");
    out.append('\n');
    if (e.needs_copy)
        out.append("    needs copy: the amap may be another entry's too\n");
    if (vm_amap* amap = e.aref.amap()) {
        out.print("    amap   %llx  references %llu", ull(vm_snapshot_id(*amap)),
                  ull(amap->references()));
        append_others(
            p,
            [&](vmspace& vm) {
                bool found = false;
                each_entry(vm, [&](vm_map_entry& x) { found |= x.aref.amap() == amap; });
                return found && &vm != &own;
            },
            out);
        out.append('\n');
        entry_snapshot_anons(e, out);
    }
    if (e.object) {
        out.print("    object %llx  references %llu, %s\n", ull(vm_snapshot_id(*e.object)),
                  ull(e.object->references()), e.object->kind());
        entry_snapshot_pages(e, out);
    }
    entry_snapshot_mappings(own, e, out);
}

} // namespace

void snapshot_json(const snapshot_set& set, text_sink& out, bool only_changes) {
    round_number++;
    vm_snapshot_addresses = !set.viewer || set.viewer->superuser();
    const vm_page_statistics pages = vm_page_get_statistics();
    const uvm_commit::account promised = uvm_commit::look();
    out.print("{\"free\":%llu,\"commit\":%llu,\"commit_limit\":%llu", ull(pages.free),
              ull(promised.committed), ull(promised.limit));
    counters_json("counters", uvm_read, last_written.counters, only_changes, out);
    if (set.others)
        counters_json(
            "others", [&](uvm_counter c) { return set.others[unsigned(c)]; }, last_written.others,
            only_changes, out);
    out.append(",\"procs\":[");
    bool first = true;
    each_process(set, [&](process& p) {
        if (!first)
            out.append(',');
        first = false;
        process_json(p, out, only_changes);
    });
    out.append("],\"vmspaces\":[");
    {
        json_list list(out, only_changes);
        each_vmspace_of(set, [&](vmspace& vm) { list.add(vm, vmspace_snapshot_json); });
    }
    out.append("],\"amaps\":[");
    {
        json_list list(out, only_changes);
        each_entry_of(set, [&](vm_map_entry& e) {
            if (e.aref)
                list.add(*e.aref.amap(), amap_snapshot_json);
        });
    }
    out.append("],\"objects\":[");
    {
        json_list list(out, only_changes);
        each_entry_of(set, [&](vm_map_entry& e) {
            if (e.object)
                list.add(*e.object, object_snapshot_json);
        });
    }
    out.append("]}");
}

void snapshot_text(process& p, const credentials& viewer, text_sink& out) {
    assume_held(process_tree_lock);
    vm_snapshot_addresses = viewer.superuser();
    if (!look_at_vmspace(p))
        return;
    vmspace& vm = *look_at_vmspace(p);
    out.print("process %d", p.pid);
    if (pid_t child = awaited_by(p))
        out.print(", asleep until its vfork child %d lets go of this address space", child);
    else if (borrows(p))
        out.print(", which borrows this address space of %d until it calls exec or ends",
                  p.parent ? p.parent->pid : 0);
    out.print("\nvmspace %llx  references %llu", ull(vm_snapshot_id(vm)), ull(vm.references()));
    append_others(p, [&](vmspace& other) { return &other == &vm; }, out);
    pmap& map = vm.physical_map();
    uint64_t charged = 0;
    each_entry(vm, [&](vm_map_entry& e) { charged += e.charged ? e.pages() : 0; });
    out.print("\n  resident %llu pages, charged %llu, page tables %llu\n",
              ull(map.resident_pages()), ull(charged), ull(map.table_pages()));
    each_entry(vm, [&](vm_map_entry& e) { entry_text(p, e, out); });
}
