#include "kernel/signal/child_signal.h"

#include "kernel/process/usage.h"
#include "kernel/signal/signal.h"

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

void process_tell_parent(process& p, int32_t code) {
    process_has_news(p);
    linux_siginfo info = child_siginfo(p);
    info.code = code;
    info.child.status = code == cld_stopped ? p.stop_signo : sigcont;
    if (!signal_parent_ignores_stops(*p.parent))
        signal_send_process_locked(*p.parent, sigchld, &info);
    p.parent->child_changed.wake_all();
}
