// Snapshots of processes and their memory: vmspace, map entries, amaps, anons, objects, pages and
// page-table entries, who shares what and who waits for whom. vm/observe/vm_snapshot.h has the
// parts.
//
// The caller has made the machine stand still (kernel/sched/standstill.h), or is alone on it.
#pragma once

#include "kernel/process/pid.h"
#include "kernel/process/process.h"
#include "lib/text_sink.h"

// Which processes: those with pids in [first, last], all or only recorded ones; an address space
// that no process has yet; and what of the counters is none of theirs, when that is known.
struct snapshot_set {
    pid_t first = 1, last = pid_max;
    bool recorded = false;
    const credentials* viewer = nullptr; // only those that he may look into; null: the kernel's own
    vmspace* being_made = nullptr;
    const uint64_t* others = nullptr; // [uvm_counters]
};

// The JSON object of docs/explorer-format.md. With `only_changes` what is as it was in the last
// snapshot with `only_changes` is written as {"id":ID,"same":true}.
void snapshot_json(const snapshot_set& set, text_sink& out, bool only_changes = false);

// One process's address space for people, at most 80 columns wide; nothing of one without.
void snapshot_text(process& p, const credentials& viewer, text_sink& out);
