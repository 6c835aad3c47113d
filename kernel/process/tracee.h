// tracee: what a thread that is traced and its tracer, a thread too, know of each other; ptrace(2).
//
// A traced thread has a reference to its tracee. When the first thread of a process leaves before
// the others, the process takes that over (process::end_traced): its tracer waits for the end of
// the process. The tracer's links are no references: they are taken away (trace_unlink) before
// either of the two is gone. All of it is under process_tree_lock, under which senders of SIGKILL
// wake, too: whoever holds it and finds a tracee asleep in a stop may look at its registers, for it
// stays there.
#pragma once

#include "kernel/abi/signal.h"
#include "kernel/process/process_tree.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"
#include "lib/wait_queue.h"

struct process;
struct thread;

enum class trace_stop : uint8_t {
    none,       // it runs
    signal,     // before a signal is delivered
    group,      // with all of its process, or because its tracer wants it to stop
    listening,  // likewise, and nobody but SIGCONT and PTRACE_INTERRUPT ends it
    call_entry, // before a system call
    call_exit,
    event,
    ended, // a zombie: until its tracer has waited for it
};

// Bits of thread_signals::traced, which are read without a lock.
enum : uint8_t { traced_on = 1, traced_calls = 2 };

struct tracee final : ref_counted<tracee> {
    static constexpr auto end_takes = lock_rank::pool;
    static expected<ref_ptr<tracee>> create(); // of nobody. ENOMEM
    void last_reference_gone();

    thread* tracer GUARDED_BY(process_tree_lock) = nullptr; // null: let go of
    // Null once it has left its process before that has ended.
    thread* traced GUARDED_BY(process_tree_lock) = nullptr;
    process* proc GUARDED_BY(process_tree_lock) = nullptr;
    list_node among_tracees GUARDED_BY(process_tree_lock); // thread::tracees of the tracer
    list_node among_news GUARDED_BY(process_tree_lock);    // process::trace_news of its process

    uint32_t options GUARDED_BY(process_tree_lock) = 0;
    bool seized GUARDED_BY(process_tree_lock) = false;
    // Its tracer was root when it began: exec may give new rights, and memory that is not dumpable
    // is open to it.
    bool by_root GUARDED_BY(process_tree_lock) = false;
    bool trap GUARDED_BY(process_tree_lock) = false; // it is to stop: signal_flag_trap
    // Where it stops, and as what wait reports it: signal | event << 8; of an end as wait4 says.
    trace_stop stop GUARDED_BY(process_tree_lock) = trace_stop::none;
    int code GUARDED_BY(process_tree_lock) = 0;
    uint64_t message GUARDED_BY(process_tree_lock) = 0; // PTRACE_GETEVENTMSG
    bool has_info GUARDED_BY(process_tree_lock) = false;
    linux_siginfo info GUARDED_BY(process_tree_lock){};
    int resume_signal GUARDED_BY(process_tree_lock) = 0; // with which it goes on
    wait_queue resumed GUARDED_BY(process_tree_lock);    // it sleeps here
};
