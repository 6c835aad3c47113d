#include "kernel/sched/kernel_thread.h"

#include "arch/cpu.h"
#include "kernel/process/pid.h"
#include "kernel/process/process.h"
#include "kernel/sched/sched.h"
#include "lib/string.h"

namespace {

// kernel_thread_join sleeps here. One queue for all: joining is rare.
spin_lock join_lock{lock_rank::wait, "thread join"};
wait_queue join_queue GUARDED_BY(join_lock);

void kernel_thread_body(void* argument) {
    sched_first_run();
    auto& self = *static_cast<thread*>(argument);
    self.kernel_entry(self.kernel_argument);
    kernel_thread_exit();
}

} // namespace

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
