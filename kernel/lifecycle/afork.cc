// afork(2), a call of Spork's own: an asynchronous vfork.
//
//      fd = afork(stack, size, function, argument, flags, &pid)
//
//      caller                        child, in the same address space
//      ------                        --------------------------------
//      returns at once               function(argument) on [stack, stack + size)
//         |                          exec, or _exit, or a signal that kills
//      poll(fd): readable <--------- has let go of the address space
//      read(fd): the record
//      may use the stack again
//      wait4(pid) when it likes
//
// The child has its own descriptors and working directory, as after vfork. Its signal handlers are
// reset: the caller's would run in the caller's memory, beside the caller. It has the calling
// thread's thread pointer, so what a C library keeps per thread, errno above all, is not its own:
// user/lib/afork.h has calls for it that leave errno alone. The function must not return; the
// return address that it finds is 0.
#include "kernel/lifecycle/afork.h"

#include "kernel/abi/syscalls.h"
#include "kernel/files/anonymous.h"
#include "kernel/files/file.h"
#include "kernel/lifecycle/fork.h"
#include "kernel/lifecycle/vfork_wait.h"
#include "kernel/process/thread.h"
#include "kernel/signal/signal.h"
#include "vm/phys/pool.h"
#include "vm/vmspace.h"

using namespace linux_abi;

namespace {

class afork_file final : public file {
public:
    afork_file(ref_ptr<vfork_wait> child, uint32_t flags)
        : file(anonymous_node(anonymous_kind::afork), o_rdonly | flags), child_(std::move(child)) {}
    void last_reference_gone() override;

    expected<int64_t> read(uio& io) override {
        if (io.remaining() < sizeof(afork_record))
            return fail(Errno::inval);
        afork_record record = TRY(child_->wait_for_record(nonblocking()));
        return io.result(io.move(&record, sizeof record));
    }
    uint32_t poll(poller* p) override { return child_->poll(p); }

private:
    const ref_ptr<vfork_wait> child_;
};

constinit pool<afork_file> afork_files{"afork_file"};

void afork_file::last_reference_gone() { afork_files.destroy(this); }

// The smallest stack on which a function can call exec.
constexpr uint64_t smallest_stack = 2048;

} // namespace

expected<ref_ptr<file>> afork_file_create(ref_ptr<vfork_wait> child, uint32_t flags) {
    auto made = ref_ptr<file>::adopt(afork_files.create(std::move(child), flags));
    if (!made)
        return fail(Errno::nomem);
    return made;
}

sysresult sys_afork(sys_address stack, uint64_t size, sys_address function, sys_address argument,
                    sys_open_flags flags, user_ptr<int32_t> pid) {
    constexpr uint64_t frame = 16; // a stack pointer is aligned so before a call
    if (uint32_t(flags) & ~(o_cloexec | o_nonblock))
        return fail(Errno::inval);
    const uint64_t limit = user_max.value();
    if (size < smallest_stack || size > limit || stack > limit - size || function >= limit)
        return fail(Errno::inval);
    // As after a call: the return address is on top. Stored now, a bad stack is EFAULT.
    const uint64_t stack_pointer = ((stack + size) & ~(frame - 1)) - sizeof(uint64_t);
    TRY(user_ptr<uint64_t>(stack_pointer).write(0));
    if (pid)
        TRY(pid.write(0));
    const afork_start start{vaddr_t(function.value), argument, uint32_t(flags)};
    const created_process child = TRY(process_create(
        {.flags = clone_vm | clone_clear_sighand | (pid ? uint64_t{clone_parent_settid} : 0),
         .exit_signal = sigchld,
         .stack = vaddr_t(stack_pointer),
         .parent_tid = pid,
         .afork = &start}));
    return child.descriptor;
}
