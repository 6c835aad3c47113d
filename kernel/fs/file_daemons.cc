#include "kernel/fs/file_daemons.h"

#include "arch/timer.h"
#include "kernel/sched/kernel_thread.h"
#include "kernel/sched/sched.h"
#include "vm/uvm_pageout.h"
#include "vm/uvm_pdaemon.h"
#include "vm/uvm_vnode.h"

namespace {

constexpr nanos_t syncer_period = 5 * nanos_per_second;
constexpr unsigned syncer_age = 6; // in periods

[[noreturn]] void syncer(void*) {
    for (;;) {
        sched_sleep_until(now() + syncer_period);
        uvm_vnode::tick();
        (void)uvm_vnode::flush_all(syncer_age); // who has the file open hears of errors
    }
}

status start(std::atomic<bool>& started, const char* name, void (*entry)(void*)) {
    if (started.exchange(true))
        return {};
    if (auto made = kernel_thread_start(name, entry, nullptr); !made) {
        started.store(false);
        return fail(made.error());
    }
    return {};
}

} // namespace

status start_page_daemon() {
    static constinit std::atomic<bool> started{false};
    TRY(start(started, "pagedaemon", [](void*) { uvm_pageout(); }));
    uvm_pdaemon::begin_paging();
    return {};
}

status start_file_daemons() {
    static constinit std::atomic<bool> started{false};
    TRY(start_page_daemon());
    return start(started, "syncer", syncer);
}
