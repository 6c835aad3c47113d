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
#include "kernel/abi/syscalls.h"
#include "kernel/lifecycle/fork.h"
#include "vm/vmspace.h"

using namespace linux_abi;

namespace {

// The smallest stack on which a function can call exec.
constexpr uint64_t smallest_stack = 2048;

} // namespace

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
