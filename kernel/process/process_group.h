// process_group, session: who shares a terminal, and whose jobs are whose.
//
// A process is in one group, a group in one session. Both are counted objects with the number of
// the process that founded them; each process holds a reference to its group, each group one to its
// session. A group is found by its number as long as it has members: a process is one until it has
// been waited for. Everything here is guarded by process_tree_lock.
#pragma once

#include "kernel/process/process_report.h"
#include "kernel/process/process_tree.h"
#include "lib/list.h"
#include "lib/ref_ptr.h"

#include <atomic>
#include <utility>

class tty;

// A session and its controlling terminal.
struct session : ref_counted<session> {
    static constexpr auto end_takes = lock_rank::pool;
    explicit session(pid_t id) : sid(id) {}
    ~session();
    void last_reference_gone();
    const pid_t sid;
    unsigned groups GUARDED_BY(process_tree_lock) = 0; // with members
    tty* terminal GUARDED_BY(process_tree_lock) = nullptr;
    // The foreground group of one that was hung up: it hears of it when the session's leader ends.
    pid_t left_behind GUARDED_BY(process_tree_lock) = 0;
};

struct process_group;

// What a process has of its group: a part of it.
struct group_membership {
    // Null before it is published; kept when it has been waited for.
    ref_ptr<process_group> group GUARDED_BY(process_tree_lock);
    list_node among_members GUARDED_BY(process_tree_lock); // of `group`
    bool ties GUARDED_BY(process_tree_lock) = false;       // process_group::ties counts it
    uint64_t walk GUARDED_BY(process_tree_lock) = 0;       // the last group_walk that has come by
    // How many of them have brought a signal. Written under process_tree_lock.
    std::atomic<uint32_t> signals_to_many{0};
};

struct process_group : ref_counted<process_group> {
    static constexpr auto end_takes = lock_rank::pool;
    process_group(pid_t number, ref_ptr<session> of) : id(number), sess(std::move(of)) {}
    ~process_group();
    void last_reference_gone();
    const pid_t id;
    const ref_ptr<session> sess;
    list_node in_table GUARDED_BY(process_tree_lock);
    list<group_membership, &group_membership::among_members> members GUARDED_BY(process_tree_lock);
    // Of `members`, those that tie it to its session: with a parent in another group of the
    // session, who could continue it. Without any the group is orphaned (POSIX.1-2017, 3.264).
    // NetBSD's pg_jobc.
    unsigned ties GUARDED_BY(process_tree_lock) = 0;
    unsigned stopped GUARDED_BY(process_tree_lock) = 0; // likewise
};

// A new group without members; a new session without a terminal, and a group in it that has its
// number. ENOMEM.
expected<ref_ptr<process_group>> group_create(pid_t id, ref_ptr<session> of);
expected<ref_ptr<process_group>> session_create(pid_t sid);

// The group with this number, or null; and the first from a number on, or null.
process_group* group_find(pid_t id) REQUIRES(process_tree_lock);
ref_ptr<process_group> group_get(pid_t id) EXCLUDES(process_tree_lock);
ref_ptr<process_group> group_next(pid_t from) EXCLUDES(process_tree_lock);
// A process that is being published, or moved, becomes a member of its group, behind `maker` if that
// is one; a zombie that has been waited for is one no longer. `state` is the process's.
void group_enter(group_membership& p, group_membership& maker, process_state state)
    REQUIRES(process_tree_lock);
void group_leave(group_membership& p, process_state state) REQUIRES(process_tree_lock);

// Held by who goes through all members of a group (kernel/process/group_walk.h), or moves a process
// from one to another.
extern sleep_lock group_lock;
