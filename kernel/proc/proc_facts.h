// What /proc says of one process, collected at one moment.
#pragma once

#include "kernel/proc/procfs_node.h"
#include "kernel/tty/tty.h"
#include "vm/vmspace.h"

// One process (or one thread of it) at one moment.
struct process_facts {
    pid_t pid = 0, tid = 0, parent = 0, group = 0, session = 0, tracer = 0;
    char name[16] = {};
    char state = 'Z';
    const char* wait_reason = nullptr;
    unsigned threads = 0, cpu = 0;
    int exit_signal = 0, wait_status = 0, nice = 0;
    usage own, children;
    nanos_t start_time = 0;
    tty_facts terminal{0, -1};
    // Who it is and what memory it has, and whether the caller may look into *that*.
    ref_ptr<const security_context> context;
    bool may_look = false;
    sigset pending = 0, shared_pending = 0, blocked = 0, ignored = 0, caught = 0;
    vmspace::sizes sizes{};
};

// ESRCH when it is gone. May sleep.
expected<process_facts> facts_of(const proc_subject& of);

// vmspace, vmspace.json and, of all processes, vmspaces.json: proc_vmspace.cc.
status show_vmspace(const proc_subject& of, text_buffer& out);
status show_vmspace_json(const proc_subject& of, text_buffer& out);
status show_recorded(const proc_subject& of, text_buffer& out);
status store_recorded(const proc_subject& of, std::string_view text);
status show_all_vmspaces_json(const proc_subject& of, text_buffer& out);
// The vmspace of a process that must be there (ESRCH); null for one without (a zombie), or that
// runs another program than the one asked for.
expected<ref_ptr<vmspace>> vmspace_of(const proc_subject& of);

// maps, smaps, smaps_rollup, and what matters when memory runs out, in proc_memory.cc.
status show_maps(const proc_subject& of, text_buffer& out);
status show_smaps(const proc_subject& of, text_buffer& out);
status show_smaps_rollup(const proc_subject& of, text_buffer& out);
status show_oom_score(const proc_subject& of, text_buffer& out);
status show_oom_score_adj(const proc_subject& of, text_buffer& out);
status store_oom_score_adj(const proc_subject& of, std::string_view text);

// stat, statm and status, in proc_status.cc.
status show_process_stat(const proc_subject& of, text_buffer& out);
status show_process_statm(const proc_subject& of, text_buffer& out);
status show_process_status(const proc_subject& of, text_buffer& out);
