#include "kernel/process/ledger.h"

#include "kernel/base/text_buffer.h"
#include "lib/text_sink.h"
#include "vm/phys/pool.h"

namespace {

using ull = unsigned long long;

constinit pool<ledger_entry> ledger_entries{"ledger_entry"};

constexpr const char* kind_names[] = {"fork", "vfork", "spawn", "clone", "afork", "exec", "exit"};

// Of answers to other CPUs, which come when they will.
constexpr uvm_counter not_of_the_call = uvm_counter::shootdown_interrupts;

// "name value" pairs, two in a line. Zeros are left out.
class pairs {
public:
    explicit pairs(text_buffer& out) : out_(out) {}
    ~pairs() {
        if (left_)
            out_.append('\n');
    }
    void add(const char* name, uint64_t value) {
        out_.print(left_ ? "   %-20s %12llu\n" : "    %-20s %12llu", name, ull(value));
        left_ = !left_;
    }
    void add_unless_zero(const char* name, uint64_t value) {
        if (value)
            add(name, value);
    }

private:
    text_buffer& out_;
    bool left_ = false; // the left one of a line is written
};

void print_aftermath(const vm_aftermath& a, vm_aftermath::side side, const char* title,
                     text_buffer& out) {
    if (a.nothing_yet(side))
        return;
    out.print("  later, in the %s:\n", title);
    pairs shown(out);
    for (unsigned i = 0; i < vm_aftermath::kinds; i++)
        shown.add_unless_zero(vm_aftermath::name(vm_aftermath::kind(i)),
                              a.read(side, vm_aftermath::kind(i)));
}

void print_entry(const ledger_entry& e, text_buffer& out) {
    out.print("%llu %s pid %d", ull(e.number), kind_names[unsigned(e.kind)], e.pid);
    if (e.child)
        out.print(" child %d mode %s", e.child, e.mode);
    out.append(" (");
    out.append_escaped(e.name, "\n");
    out.append(")\n");
    {
        pairs shown(out);
        shown.add("cycles", e.cycles);
        shown.add("blocked_ns", e.blocked);
        for (unsigned i = 0; i < uvm_ledger_counters; i++)
            if (uvm_counter(i) != not_of_the_call)
                shown.add_unless_zero(uvm_counter_name(uvm_counter(i)), e.counters[i]);
    }
    if (e.aftermath) {
        print_aftermath(*e.aftermath, vm_aftermath::side::parent, "parent", out);
        print_aftermath(*e.aftermath, vm_aftermath::side::child, "child", out);
    }
}

} // namespace

ledger_entry* ledger_entry::create() { return ledger_entries.create(); }
void ledger_entry::destroy(ledger_entry* entry) { ledger_entries.destroy(entry); }

// ---- One process's ledger --------------------------------------------------------------------

// Nobody else knows it any more.
ledger::~ledger() {
    while (ledger_entry* entry = entries_.pop_front())
        ledger_entry::destroy(entry);
}

void ledger::add(ledger_entry& entry) {
    entry.number = ++entered_;
    entries_.push_back(entry);
    count_++;
}

void ledger::enter(ledger_entry& entry) {
    ledger_entry* oldest = nullptr;
    {
        lock_guard guard(lock_);
        add(entry);
        if (count_ > ledger_limit) {
            oldest = entries_.pop_front();
            count_--;
        }
    }
    ledger_entry::destroy(oldest);
}

void ledger::note_lost() {
    lock_guard guard(lock_);
    lost_++;
}

// One lock at a time: the child is gone from the tree, and what is between the two ledgers is ours.
void ledger::inherit(ledger& child) {
    for (;;) {
        ledger_entry* entry;
        {
            lock_guard guard(child.lock_);
            entry = child.entries_.pop_front();
            child.count_ -= entry != nullptr;
        }
        if (!entry)
            return;
        enter(*entry);
    }
}

void ledger::clear() {
    entries all;
    {
        lock_guard guard(lock_);
        all.splice_back(entries_);
        count_ = 0;
        entered_ = lost_ = 0;
    }
    while (ledger_entry* entry = all.pop_front())
        ledger_entry::destroy(entry);
}

uint64_t ledger::footprint() {
    lock_guard guard(lock_);
    return count_ * (sizeof(ledger_entry) + sizeof(vm_aftermath));
}

void ledger::print(text_buffer& out) {
    lock_guard guard(lock_);
    out.print("# %u entries; %llu older ones forgotten, %llu lost for want of memory\n", count_,
              ull(entered_ - count_), ull(lost_));
    for (const ledger_entry& e : entries_)
        print_entry(e, out);
}

namespace {

// Members of a JSON object, those that are not 0.
class counts_json {
public:
    explicit counts_json(text_sink& out) : out_(out) { out_.append('{'); }
    ~counts_json() { out_.append('}'); }
    void add_unless_zero(const char* name, uint64_t value) {
        if (value == 0)
            return;
        out_.print("%s\"%s\":%llu", first_ ? "" : ",", name, ull(value));
        first_ = false;
    }

private:
    text_sink& out_;
    bool first_ = true;
};

void entry_json(const ledger_entry& e, text_sink& out) {
    out.print("{\"number\":%llu,\"kind\":\"%s\",\"pid\":%d,\"child\":%d,\"mode\":\"%s\",\"name\":",
              ull(e.number), kind_names[unsigned(e.kind)], e.pid, e.child, e.mode ? e.mode : "");
    out.append_json_string(e.name);
    out.append(",\"counters\":");
    {
        counts_json counts(out);
        for (unsigned i = 0; i < uvm_ledger_counters; i++)
            if (uvm_counter(i) != not_of_the_call)
                counts.add_unless_zero(uvm_counter_name(uvm_counter(i)), e.counters[i]);
    }
    using enum vm_aftermath::side;
    for (vm_aftermath::side side : {parent, child}) {
        out.print(",\"later_%s\":", side == parent ? "parent" : "child");
        counts_json counts(out);
        for (unsigned i = 0; e.aftermath && i < vm_aftermath::kinds; i++)
            counts.add_unless_zero(vm_aftermath::name(vm_aftermath::kind(i)),
                                   e.aftermath->read(side, vm_aftermath::kind(i)));
    }
    out.append('}');
}

} // namespace

void ledger::look(text_sink& out) const NO_THREAD_SAFETY_ANALYSIS {
    out.append('[');
    for (const ledger_entry& e : entries_) {
        if (&e != entries_.front())
            out.append(',');
        entry_json(e, out);
    }
    out.append(']');
}
