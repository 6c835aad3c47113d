// pidfd_open(2), and the file behind a pidfd. CLONE_PIDFD is in fork.cc, waitid's P_PIDFD in
// wait.cc, pidfd_send_signal in sys_signal.cc.
#include "kernel/lifecycle/pidfd.h"

#include "kernel/abi/syscalls.h"
#include "kernel/files/anonymous.h"
#include "kernel/files/file.h"
#include "kernel/process/process.h"
#include "vm/phys/pool.h"

using namespace linux_abi;

namespace {

class pidfd_file final : public file {
public:
    pidfd_file(ref_ptr<process> p, uint32_t flags)
        : file(anonymous_node(anonymous_kind::pidfd), o_rdwr | flags), process_(std::move(p)) {}
    void closed() override;

    bool pollable() const override { return true; }
    uint32_t poll(poller* p) override {
        if (p)
            p->add(process_->end_pollers);
        lock_guard guard(process_tree_lock);
        return process_->state == process_state::zombie ? pollin | pollrdnorm : 0;
    }
    process* pidfd_process() override { return process_.get(); }
    uint64_t held() override { return process_bytes; } // it may have been waited for long ago

private:
    const ref_ptr<process> process_;
};

constinit pool<pidfd_file> pidfds{"pidfd"};

void pidfd_file::closed() { pidfds.destroy(this); }

} // namespace

expected<ref_ptr<file>> pidfd_create(ref_ptr<process> p, uint32_t flags) {
    auto made = ref_ptr<file>::adopt(pidfds.create(std::move(p), flags));
    if (!made)
        return fail(Errno::nomem);
    return made;
}

sysresult sys_pidfd_open(sys_pid pid, sys_open_flags flags) {
    if ((uint32_t(flags) & ~o_nonblock) || pid <= 0)
        return fail(Errno::inval);
    ref_ptr<process> p = process_find(pid);
    if (!p) // a thread that is not its process's first has no pidfd
        return fail(thread_find(pid) ? Errno::inval : Errno::srch);
    ref_ptr<file> made = TRY(pidfd_create(std::move(p), uint32_t(flags)));
    return TRY(current_thread().files->install(std::move(made), true));
}
