// A running thread: which it is, where it is, and its clock.
#include "kernel/process/thread.h"

#include "arch/cpu.h"
#include "arch/pmap.h"
#include "arch/timer.h"
#include "vm/vmspace.h"

namespace {

// The sleep locks of a CPU's boot code, before it has threads.
held_locks boot_sleep_locks;

} // namespace

void thread_enter_vmspace(vmspace* vm) {
    thread& self = current_thread();
    cpu::interrupts_push_off();
    self.vm = vm;
    self.user_map = vm ? &vm->physical_map() : nullptr;
    (vm ? vm->physical_map() : pmap::kernel()).activate();
    cpu::interrupts_pop_off();
}

thread& current_thread() {
    thread* t = cpu::current();
    CHECK_ASSERT(t);
    return *t;
}

held_locks& thread_held_locks() {
    thread* t = cpu::current();
    return t ? t->sleep_locks : boot_sleep_locks;
}

// A thread's clock goes while it runs. thread::cpu_clock holds the time used, or while it runs, the
// time at which it would have begun had it run without a pause: one word that only a switch
// changes, so that anybody can read a running thread's clock.
static constexpr nanos_t is_running = nanos_t{1} << 63; // in thread::cpu_clock

nanos_t thread_cpu_time(const thread& t) {
    const nanos_t clock = t.cpu_clock.load(std::memory_order_relaxed);
    return clock & is_running ? now() - (clock & ~is_running) : clock;
}

void thread_clock_start(thread& t, nanos_t time) {
    const nanos_t used = t.cpu_clock.load(std::memory_order_relaxed);
    t.cpu_clock.store((time - used) | is_running, std::memory_order_relaxed);
}

void thread_clock_stop(thread& t, nanos_t time) {
    const nanos_t began = t.cpu_clock.load(std::memory_order_relaxed) & ~is_running;
    t.cpu_clock.store(time - began, std::memory_order_relaxed);
}

usage thread_usage(const thread& t) {
    usage u{.user_time = t.modes.user(),
            .system_time = t.modes.system(),
            .minor_faults = t.minor_faults,
            .major_faults = t.major_faults,
            .voluntary_switches = t.voluntary_switches,
            .involuntary_switches = t.involuntary_switches};
    // What a running thread has used since it was last counted. It may be counted meanwhile.
    const nanos_t all = thread_cpu_time(t), counted = u.user_time + u.system_time;
    if (all > counted)
        (t.modes.in_kernel() ? u.system_time : u.user_time) += all - counted;
    return u;
}
