// Threads as objects, and the kernel's own threads.
#include "kernel/process/thread.h"

#include "arch/cpu.h"
#include "arch/pmap.h"
#include "arch/timer.h"
#include "kernel/base/panic.h"
#include "kernel/process/process.h"
#include "kernel/sched/sched.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vm/phys/pool.h"
#include "vm/vmspace.h"

namespace {

constinit pool<thread> threads{"thread"};

// kernel_thread_join sleeps here. One queue for all: joining is rare.
spin_lock join_lock{lock_rank::wait, "thread join"};
wait_queue join_queue GUARDED_BY(join_lock);

// The sleep locks of a CPU's boot code, before it has threads.
held_locks boot_sleep_locks;

void kernel_thread_body(void* argument) {
    sched_first_run();
    auto& self = *static_cast<thread*>(argument);
    self.kernel_entry(self.kernel_argument);
    kernel_thread_exit();
}

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

expected<ref_ptr<thread>> kernel_thread_start_on(unsigned cpu, const char* name,
                                                 void (*entry)(void*), void* argument) {
    ref_ptr<thread> t = TRY(thread_create(kernel_process()));
    pid_t tid = pid_allocate();
    if (tid == 0)
        return fail(Errno::again);
    t->tid = tid;
    copy_string(t->name, sizeof t->name, name);
    t->kernel_thread = true;
    t->kernel_entry = entry;
    t->kernel_argument = argument;
    if (cpu < max_cpus) {
        t->cpu = cpu;
        t->allowed_cpus = 1u << cpu;
    } else {
        cpu::interrupts_push_off();
        t->cpu = cpu::id();
        cpu::interrupts_pop_off();
    }
    machine_thread_start_kernel(t->machine, kernel_thread_body, t.get());
    {
        lock_guard guard(process_tree_lock);
        thread_publish(t);
    }
    sched_make_runnable(*t);
    return t;
}

expected<ref_ptr<thread>> kernel_thread_start(const char* name, void (*entry)(void*),
                                              void* argument) {
    return kernel_thread_start_on(max_cpus, name, entry, argument);
}

void kernel_thread_exit() {
    thread& self = current_thread();
    ASSERT(self.kernel_thread);
    {
        ref_ptr<thread> from_process;
        lock_guard guard(process_tree_lock);
        self.proc->live_threads--;
        from_process = thread_unpublish(self);
    }
    {
        lock_guard guard(join_lock);
        self.kernel_entry = nullptr; // what kernel_thread_join looks at
        join_queue.wake_all();
    }
    sched_exit();
}

void kernel_thread_join(thread& t) {
    {
        lock_guard guard(join_lock);
        while (t.kernel_entry)
            join_queue.wait(join_lock, "thread_join");
    }
    // Its last steps, on its own stack, take no locks that we could hold; the stack is free when
    // on_cpu is clear.
    while (t.state.load() != thread_state::dead || t.on_cpu.load())
        thread_yield();
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
