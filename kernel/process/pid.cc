// Pids: a bit for each number in use, and by whom.
#include "kernel/process/pid.h"

#include "lib/assert.h"

#include <bit>

namespace {

constexpr pid_t first_recycled_pid = 300; // as Linux: low numbers are given out once

struct pid_set {
    uint64_t words[pid_max / 64] = {};

    bool has(pid_t pid) const { return words[pid / 64] >> (pid % 64) & 1; }
    void put(pid_t pid, bool used) {
        const uint64_t bit = uint64_t{1} << (pid % 64);
        if (used)
            words[pid / 64] |= bit;
        else
            words[pid / 64] &= ~bit;
    }
};

constinit pid_set in_use GUARDED_BY(process_tree_lock);
constinit pid_set of_processes GUARDED_BY(process_tree_lock);
constinit pid_set of_groups GUARDED_BY(process_tree_lock);
// 1 is init's, which asks for it by being the first user process.
constinit pid_t next_pid GUARDED_BY(process_tree_lock) = 2;

// The first number from `from` on whose bit is set in `a` or `b`, or, if `want` is false, in
// neither; pid_max if there is none.
pid_t first_from(pid_t from, bool want, const pid_set& a, const pid_set& b) {
    uint64_t mask = UINT64_MAX << (from % 64);
    for (pid_t word = from / 64; word < pid_max / 64; word++, mask = UINT64_MAX) {
        const uint64_t set = a.words[word] | b.words[word];
        if (const uint64_t bits = (want ? set : ~set) & mask)
            return word * 64 + std::countr_zero(bits);
    }
    return pid_max;
}

pid_t first_of(pid_t from, const pid_set& set) { return first_from(from, true, set, set); }

} // namespace

pid_t pid_allocate() {
    lock_guard guard(process_tree_lock);
    pid_t pid = first_from(next_pid, false, in_use, of_groups);
    if (pid == pid_max)
        pid = first_from(first_recycled_pid, false, in_use, of_groups);
    if (pid == pid_max)
        return 0;
    in_use.put(pid, true);
    next_pid = pid + 1 < pid_max ? pid + 1 : first_recycled_pid;
    return pid;
}

pid_t pid_allocate_for_init() {
    lock_guard guard(process_tree_lock);
    ASSERT(!in_use.has(1));
    in_use.put(1, true);
    return 1;
}

void pid_release(pid_t pid) {
    if (pid == 0)
        return;
    lock_guard guard(process_tree_lock);
    pid_free(pid);
}

void pid_free(pid_t pid) {
    ASSERT(in_use.has(pid));
    in_use.put(pid, false);
}

pid_t pid_next(pid_t from) { return first_of(from, in_use); }

void pid_of_process(pid_t pid, bool is) { of_processes.put(pid, is); }

pid_t pid_next_process(pid_t from) { return first_of(from, of_processes); }

void pid_keep(pid_t pid, bool keep) { of_groups.put(pid, keep); }

pid_t pid_next_kept(pid_t from) { return first_of(from, of_groups); }
