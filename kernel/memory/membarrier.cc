// membarrier(2): a memory barrier on every processor that runs the caller's threads, so that these
// need none of their own. It is paid for by whoever calls, with an interrupt for each of them; the
// global one interrupts others, too, so it is not to be had often.
#include "arch/pmap.h"
#include "arch/timer.h"
#include "kernel/abi/memory.h"
#include "kernel/abi/syscalls.h"
#include "kernel/process/process.h"
#include "kernel/sched/sched.h"
#include "vm/vmspace.h"

using namespace linux_abi;

namespace {

constexpr uint32_t known_commands = membarrier_cmd_global | membarrier_cmd_private_expedited |
                                    membarrier_cmd_register_private_expedited |
                                    membarrier_cmd_private_expedited_sync_core |
                                    membarrier_cmd_register_private_expedited_sync_core;

sleep_lock global_lock{lock_rank::standstill, "barriers"};
nanos_t next_global GUARDED_BY(global_lock) = 0; // not before
std::atomic<uint64_t> globals_begun{0};

// At most one in a time slice, for all that ask, who sleep for it: as long as they would on Linux,
// which waits until each processor has come by its scheduler.
void global_barrier() {
    constexpr nanos_t interval = 10'000'000;
    const uint64_t seen = globals_begun.load();
    lock_guard guard(global_lock);
    if (globals_begun.load() != seen)
        return; // the one that has begun since is over
    if (now() < next_global)
        sched_sleep_until(next_global);
    globals_begun.fetch_add(1);
    pmap::kernel().barrier();
    next_global = now() + interval;
}

} // namespace

sysresult sys_membarrier(int32_t command, sys_hex flags, int32_t) {
    if (flags != 0)
        return fail(Errno::inval);
    vmspace& vm = current_vmspace();
    switch (const auto asked = uint32_t(command)) {
    case membarrier_cmd_query: return known_commands;
    case membarrier_cmd_global: global_barrier(); return 0;
    case membarrier_cmd_register_private_expedited:
    case membarrier_cmd_register_private_expedited_sync_core:
        vm.announced_barriers |= asked >> 1; // by the command that may be given now
        return 0;
    case membarrier_cmd_private_expedited:
    case membarrier_cmd_private_expedited_sync_core:
        if (!(vm.announced_barriers & asked))
            return fail(Errno::perm);
        vm.physical_map().barrier();
        return 0;
    default: return fail(Errno::inval);
    }
}
