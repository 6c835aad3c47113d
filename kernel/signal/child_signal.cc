#include "kernel/signal/child_signal.h"

#include "kernel/process/usage.h"

using namespace linux_abi;

static constexpr nanos_t clock_tick = nanos_per_second / 100; // the unit of siginfo's times

linux_siginfo child_siginfo(process& p) {
    linux_siginfo info{};
    info.signo = sigchld;
    info.child.pid = p.pid;
    info.child.uid = process_uid(p);
    usage u = process_usage(p);
    info.child.utime = int64_t(u.user_time / clock_tick);
    info.child.stime = int64_t(u.system_time / clock_tick);
    return info;
}

linux_siginfo ended_siginfo(process& p, int s) {
    linux_siginfo info = child_siginfo(p);
    info.code = (s & 0x7f) == 0 ? cld_exited : s & 0x80 ? cld_dumped : cld_killed;
    info.child.status = (s & 0x7f) == 0 ? s >> 8 & 0xff : s & 0x7f;
    return info;
}
