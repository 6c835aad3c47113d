#include "kernel/signal/end_signal.h"

#include "kernel/process/trace_links.h"
#include "kernel/signal/child_signal.h"
#include "kernel/signal/signal.h"

using namespace linux_abi;

bool tell_parent_of_end(process& p) {
    process& parent = *p.parent;
    const process* const tracer = tracer_of(p);
    if (tracer && tracer != &parent)
        return false;
    // Another program than the one that chose the signal does not expect it.
    const int signo = p.parent_program == process_program(parent) ? p.exit_signal : sigchld;
    const bool discard = !tracer && signo == sigchld && signal_parent_discards_children(parent);
    if (signo > 0 && signo <= signal_max) {
        linux_siginfo info = ended_siginfo(p, p.wait_status);
        info.signo = signo;
        signal_send_process_locked(parent, signo, &info);
    }
    parent.child_changed.wake_all();
    p.end_pollers.notify();
    return discard;
}
