// Threads as objects.
#include "kernel/process/thread.h"

#include "arch/cpu.h"
#include "arch/pmap.h"
#include "arch/timer.h"
#include "kernel/base/panic.h"
#include "kernel/process/process.h"
#include "lib/format.h"
#include "vm/phys/pool.h"
#include "vm/vmspace.h"

namespace {

constinit pool<thread> threads{"thread"};

// The sleep locks of a CPU's boot code, before it has threads.
held_locks boot_sleep_locks;

} // namespace

thread::thread() = default;

thread::~thread() {
    if (machine.stack_base)
        machine_thread_destroy(machine);
    if (proc)
        proc->unfreed_threads.fetch_sub(1, std::memory_order_release);
}

expected<ref_ptr<thread>> thread_create(process& owner) {
    auto t = ref_ptr<thread>::adopt(threads.create());
    if (!t)
        return fail(Errno::nomem);
    TRY(machine_thread_create(t->machine));
    owner.unfreed_threads.fetch_add(1, std::memory_order_relaxed);
    t->proc = ref_ptr(&owner);
    return t;
}

void thread::last_reference_gone() { threads.destroy(this); }

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

void panic_describe_thread(thread* t, char* out, size_t size) {
    if (!t) {
        format_to(out, size, "no thread");
        return;
    }
    const char* why = t->wait_reason;
    pid_t pid = t->proc ? t->proc->pid : 0;
    format_to(out, size, "%d/%d %.15s%s%s%s", pid, t->tid, t->name,
              t->kernel_thread ? " (kernel)" : "", why ? ", in " : "", why ? why : "");
}
