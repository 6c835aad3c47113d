// membarrier(2): a memory barrier on every processor that runs the caller's threads, so that these
// need none of their own. It is paid for by whoever calls, with an interrupt for each of them.
#include "arch/pmap.h"
#include "kernel/abi/syscalls.h"
#include "kernel/process/process.h"
#include "vm/vmspace.h"

namespace {

enum : uint32_t {
    MEMBARRIER_CMD_QUERY_ = 0,
    MEMBARRIER_CMD_GLOBAL_ = 1 << 0,
    MEMBARRIER_CMD_PRIVATE_EXPEDITED_ = 1 << 3,
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_ = 1 << 4,
    // The processors also see code that has been changed. Here they always do.
    MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE_ = 1 << 5,
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE_ = 1 << 6,
};
constexpr uint32_t known_commands = MEMBARRIER_CMD_GLOBAL_ | MEMBARRIER_CMD_PRIVATE_EXPEDITED_ |
                                    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_ |
                                    MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE_ |
                                    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE_;

} // namespace

sysresult sys_membarrier(int32_t command, sys_hex flags, int32_t) {
    if (flags != 0)
        return fail(Errno::inval);
    vmspace& vm = current_vmspace();
    switch (const auto asked = uint32_t(command)) {
    case MEMBARRIER_CMD_QUERY_: return known_commands;
    case MEMBARRIER_CMD_GLOBAL_: pmap::kernel().barrier(); return 0;
    case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_:
    case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE_:
        vm.announced_barriers |= asked >> 1; // by the command that may be given now
        return 0;
    case MEMBARRIER_CMD_PRIVATE_EXPEDITED_:
    case MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE_:
        if (!(vm.announced_barriers & asked))
            return fail(Errno::perm);
        vm.physical_map().barrier();
        return 0;
    default: return fail(Errno::inval);
    }
}
