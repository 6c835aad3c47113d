// The wait for a child that has borrowed an address space: vfork's, and afork's.
#pragma once

#include "kernel/files/poll.h"
#include "kernel/process/thread.h"
#include "lib/lock.h"
#include "lib/ref_ptr.h"
#include "lib/result.h"

// What read(2) on afork's descriptor gives: who let go of the address space, and how.
struct afork_record {
    enum : int32_t { exec = 1, exit, killed };
    int32_t pid;
    int32_t what;
    int32_t status; // of exit: its code; killed: the signal; else 0
    int32_t reserved;
};

// The wait of a vfork's parent, or of whoever has afork's descriptor, for the child to let go of
// the address space. The child's thread (thread::vfork_parent) holds a reference, and so does the
// parent's thread or the descriptor's file.
struct vfork_wait : ref_counted<vfork_wait> {
    static constexpr auto end_takes = lock_rank::pool;
    // ENOMEM.
    static expected<ref_ptr<vfork_wait>> create();
    void last_reference_gone();

    // The child: the address space is let go of. The parent goes on.
    void release(const afork_record& record = {});
    // The parent: sleeps until then, or until it is to die. Other signals stay pending.
    void wait();
    // afork's file: waits for the record. EAGAIN instead of waiting if `nonblocking`; ERESTARTSYS.
    expected<afork_record> wait_for_record(bool nonblocking);
    uint32_t poll(poller* p);
    bool is_over(); // the child has let go

private:
    spin_lock lock_{lock_rank::wait, "vfork_wait"};
    wait_queue parent_ GUARDED_BY(lock_);
    bool released_ GUARDED_BY(lock_) = false;
    afork_record record_ GUARDED_BY(lock_){};
    poll_queue pollers_;
};

// exec and exit: tells whoever waits for the running thread to let go of the address space that it
// has. `wait_status` is what an exit would tell wait4, null for exec.
void vfork_release(thread& self, const int* wait_status = nullptr);
