// process_group, session: who shares a terminal, and whose jobs are whose.
//
// A process is in one group, a group in one session. Both are counted objects with the number of
// the process that founded them; each process holds a reference to its group, each group one to its
// session. A group is found by its number as long as it has members: a process is one until it has
// been waited for. Everything here is guarded by process_tree_lock.
//
// **Some at a time.** A group may have thousands of members, and others want process_tree_lock and
// the processor. So who sends them all a signal (group_walk) lets go of it after some, and yet
// nobody may escape. The walk takes the first of the members and puts it last, until the first is
// one that it knows. A child that is forked meanwhile stands behind its parent and counts as known
// if that is: either the walk comes to both, or its parent had the signal before the child was
// (fork begins again if one comes while it is at work: process::signals_to_many). Whatever else
// moves processes between groups holds group_lock, as the walk does.
#pragma once

#include "kernel/process/process.h"
#include "lib/long_work.h"

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

struct process_group : ref_counted<process_group> {
    static constexpr auto end_takes = lock_rank::pool;
    process_group(pid_t number, ref_ptr<session> of) : id(number), sess(std::move(of)) {}
    ~process_group();
    void last_reference_gone();
    const pid_t id;
    const ref_ptr<session> sess;
    list_node in_table GUARDED_BY(process_tree_lock);
    list<process, &process::among_members> members GUARDED_BY(process_tree_lock);
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
// The number of the running process's.
pid_t current_group() EXCLUDES(process_tree_lock);
// A process that is being published becomes a member of its group, behind `maker` if that is one;
// a zombie that has been waited for is one no longer.
void group_enter(process& p, process& maker) REQUIRES(process_tree_lock);
void group_leave(process& p) REQUIRES(process_tree_lock);
// Looks again whether `p` ties its group, because it or its parent has changed. True if the group
// has lost its last tie by that and has stopped members, which are to be told: SIGHUP, SIGCONT.
bool group_retie(process& p) REQUIRES(process_tree_lock);

// Held by who goes through all members of a group, or moves a process from one to another.
extern sleep_lock group_lock;

extern uint64_t group_walks GUARDED_BY(group_lock); // so far

// Calls tell(process) for each member of `group`, to which the caller has a reference.
template <class Tell>
void group_walk(process_group& group, Tell tell) REQUIRES(group_lock) EXCLUDES(process_tree_lock) {
    constexpr unsigned at_once = 8;
    const uint64_t number = ++group_walks;
    for (bool more = true; more; long_work::pause()) {
        lock_guard tree(process_tree_lock);
        for (unsigned i = 0; i < at_once && more; i++) {
            process* p = group.members.front();
            more = p && p->walk != number;
            if (!more)
                break;
            p->walk = number;
            group.members.remove(*p);
            group.members.push_back(*p);
            tell(*p);
        }
    }
}
