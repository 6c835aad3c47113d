// fs_context: where a thread's paths start.
#pragma once

#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"

#include <atomic>

class vnode;

// Where a thread's paths start: root, current directory, umask. Shared by CLONE_FS, else copied.
// Its references are its threads' alone: exec asks whether another process has one.
class fs_context : public ref_counted<fs_context> {
public:
    static constexpr auto end_takes = lock_rank::pipe; // as its directory
    fs_context();
    ~fs_context();
    static expected<ref_ptr<fs_context>> create(); // at the root. ENOMEM
    expected<ref_ptr<fs_context>> copy();
    void last_reference_gone();

    ref_ptr<vnode> current_directory();
    void set_current_directory(ref_ptr<vnode> directory);
    uint32_t umask() const { return umask_.load(); }
    uint32_t set_umask(uint32_t mask) { return umask_.exchange(mask & 0777); }

private:
    spin_lock lock_{lock_rank::fs_context, "fs_context"};
    ref_ptr<vnode> cwd_ GUARDED_BY(lock_);
    std::atomic<uint32_t> umask_{022};
};
