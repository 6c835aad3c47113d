// group_walk: whatever is to reach all members of a process group.
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
#include "kernel/process/process_group.h"
#include "lib/long_work.h"

inline constinit uint64_t group_walks GUARDED_BY(group_lock) = 0; // so far

// Calls tell(process) for each member of `group`, to which the caller has a reference.
template <class Tell>
void group_walk(process_group& group, Tell tell) REQUIRES(group_lock) EXCLUDES(process_tree_lock) {
    constexpr unsigned at_once = 8;
    const uint64_t number = ++group_walks;
    for (bool more = true; more; long_work::pause()) {
        lock_guard tree(process_tree_lock);
        for (unsigned i = 0; i < at_once && more; i++) {
            group_membership* p = group.members.front();
            more = p && p->walk != number;
            if (!more)
                break;
            p->walk = number;
            group.members.remove(*p);
            group.members.push_back(*p);
            // NOLINTNEXTLINE(cppcoreguidelines-pro-type-static-cast-downcast): a process's part
            tell(static_cast<process&>(*p));
        }
    }
}
