#include "kernel/lifecycle/vfork_wait.h"

#include "kernel/lifecycle/seams.h"
#include "kernel/process/process.h"
#include "kernel/process/sync_point.h"
#include "kernel/signal/signal.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"

using namespace linux_abi;

static constinit pool<vfork_wait> waits{"vfork_wait"};

expected<ref_ptr<vfork_wait>> vfork_wait::create() {
    auto w = ref_ptr<vfork_wait>::adopt(waits.create());
    if (!w)
        return fail(Errno::nomem);
    return w;
}

void vfork_wait::last_reference_gone() { waits.destroy(this); }

void vfork_wait::release(const afork_record& record) {
    {
        lock_guard guard(lock_);
        released_ = true;
        record_ = record;
        parent_.wake_all();
        check_woken_seam(parent_.empty());
    }
    pollers_.notify();
}

void vfork_wait::wait() {
    lock_guard guard(lock_);
    while (!released_)
        if (!parent_.wait_killable(lock_, "vfork"))
            return;
}

bool vfork_wait::is_over() {
    lock_guard guard(lock_);
    return released_;
}

expected<afork_record> vfork_wait::wait_for_record(bool nonblocking) {
    lock_guard guard(lock_);
    while (!released_) {
        if (nonblocking)
            return fail(Errno::again);
        if (!parent_.wait_interruptible(lock_, "afork_read"))
            return fail(Errno::restartsys);
    }
    return record_;
}

uint32_t vfork_wait::poll(poller* p) {
    if (p)
        p->add(pollers_);
    lock_guard guard(lock_);
    return released_ ? pollin | pollrdnorm : 0;
}

void vfork_release(thread& self, const int* wait_status) {
    ref_ptr<vfork_wait> waiting = self.vfork_parent.take();
    if (!waiting)
        return;
    at_sync_point(sync_point::vfork_releases);
    afork_record record{self.proc->pid, afork_record::exec, 0, 0};
    if (wait_status) {
        const int signo = *wait_status & 0x7f;
        record.what = signo ? afork_record::killed : afork_record::exit;
        record.status = signo ? signo : *wait_status >> 8 & 0xff;
    }
    self.borrowed_from = 0;
    self.borrowing.reset();
    EVENT(vfork_release, .by_exec = trace::yes_if(!wait_status));
    waiting->release(record);
    waiting.reset();
    check_vfork_release_seam(self, !wait_status);
    if (self.signals.holds_back())
        signal_release_held(self);
    at_sync_point(sync_point::vfork_released);
}
