// The ledger: what each creation, exec and exit of a process cost. /proc/PID/ledger shows it.
//
// An entry holds how far the counters of vm/phys/uvmexp.h moved while the calling thread was in the
// call, and no other thread's part in them: a thread that is being measured takes the counters of
// its CPU with it when it is switched out, and begins anew with those of the CPU on which it goes
// on. So counting costs nothing beyond uvmexp's own increment, and measuring only those calls that
// measure.
//
//      created by              entry of    counts
//      fork ... afork          the maker   process_create, and what comes later: vm/vm_aftermath.h
//      exec                    itself      from opening the program to the new image
//      exit of the last thread itself      letting go of memory, files and family
//
// A process keeps the newest ledger_limit entries. Its own come with its end into its zombie, and
// when its parent waits for it, into the parent's ledger behind the parent's own. New threads are
// no processes and have no entry; neither has a call that failed.
#pragma once

#include "lib/list.h"
#include "lib/lock.h"
#include "lib/trace_kinds.h"
#include "lib/types.h"
#include "vm/phys/uvmexp.h"
#include "vm/snapshot_mark.h"
#include "vm/vm_aftermath.h"

#include <string_view>

struct process;
struct thread;
class text_buffer;
class text_sink;

inline constexpr unsigned ledger_limit = 32;

using ledger_kind = trace::call_kind; // threads have no entry

struct ledger_entry {
    uint64_t number = 0; // within the ledger it is in: from 1, in order of entering
    ledger_kind kind{};
    const char* mode = nullptr; // of a creation: how the child got its address space; static
    pid_t pid = 0, child = 0;   // who called; whom it made
    char name[16] = {};         // of the program that called, or of the one that exec began
    uint64_t counters[uvm_ledger_counters] = {};
    uint64_t cycles = 0;             // of the TSC, while its thread was on a CPU
    nanos_t blocked = 0;             // vfork: the time that the maker waited
    ref_ptr<vm_aftermath> aftermath; // of a creation that copied an address space
    list_node on_ledger;

    static ledger_entry* create(); // null without memory
    static void destroy(ledger_entry* entry);
};

// One process's. No spin lock is held in its calls.
class ledger {
public:
    ~ledger();
    // Takes the entry over. The oldest makes room.
    void enter(ledger_entry& entry) EXCLUDES(lock_);
    // An entry for which there was no memory.
    void note_lost() EXCLUDES(lock_);
    // Moves what a child that was waited for has, behind what is here. Neither lock is held.
    void inherit(ledger& child) EXCLUDES(lock_);
    // Forgets all.
    void clear() EXCLUDES(lock_);
    void print(text_buffer& out) EXCLUDES(lock_);
    // Bytes of the kernel's that the entries are, about.
    uint64_t footprint() EXCLUDES(lock_);
    // The entries as a JSON array (docs/explorer-format.md), without the times: a machine that is
    // being looked at is slow. No lock is taken; the machine stands still
    // (kernel/sched/standstill.h).
    void look(text_sink& out) const;

    snapshot_mark mark GUARD_UNCHECKED("the machine stands still");

private:
    using entries = list<ledger_entry, &ledger_entry::on_ledger>;
    void add(ledger_entry& entry) REQUIRES(lock_);

    sleep_lock lock_{lock_rank::ledger, "ledger"};
    entries entries_ GUARDED_BY(lock_);
    unsigned count_ GUARDED_BY(lock_) = 0;
    uint64_t entered_ GUARDED_BY(lock_) = 0;
    uint64_t lost_ GUARDED_BY(lock_) = 0;
};
