// Bringing the kernel up.
//
//   kernel_main          CPU 0's first stack: memory, random numbers; then CPU 0's idle thread
//     start_up           a kernel thread: the other CPUs, terminals, the initial file tree
//       ktest_run        with the word `ktest`: the tests, and off
//       start_init       else pid 1: the first process, which is made by hand
//   secondary_cpu_main   each further CPU: its idle thread
#include "arch/boot_info.h"
#include "arch/cpu.h"
#include "arch/machine.h"
#include "arch/memory.h"
#include "arch/timer.h"
#include "arch/upcalls.h"
#include "kernel/base/cmdline.h"
#include "kernel/base/printk.h"
#include "kernel/drivers/disks.h"
#include "kernel/drivers/drivers.h"
#include "kernel/files/file.h"
#include "kernel/files/fs_context.h"
#include "kernel/files/vfs.h"
#include "kernel/files/vnode.h"
#include "kernel/fs/initial_tree.h"
#include "kernel/lifecycle/exec.h"
#include "kernel/lifecycle/oom.h"
#include "kernel/memory/sysv_shm.h"
#include "kernel/observe/strace.h"
#include "kernel/observe/trace.h"
#include "kernel/process/pid.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/sched/kernel_thread.h"
#include "kernel/sched/load_average.h"
#include "kernel/sched/sched.h"
#include "kernel/sched/watchdog.h"
#include "kernel/signal/signal.h"
#include "kernel/tty/tty.h"
#include "lib/string.h"
#include "tests/kernel/break_in.h"
#include "tests/kernel/hang.h"
#include "tests/kernel/ktest.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_aobj.h"
#include "vm/uvm_pdpolicy.h"
#include "vm/vmspace.h"

#include <machine/trap_frame.h>

using namespace linux_abi;

namespace {

// Without a console, init runs without descriptors, as on Linux.
void open_console(thread& self) {
    auto console = vfs_open("/dev/console", o_rdwr | o_noctty, 0);
    if (!console) {
        printk("init: cannot open /dev/console: %s", errno_name(console.error()));
        return;
    }
    for (int fd = 0; fd <= 2; fd++)
        if (!self.files->install(*console, false, fd))
            panic("init: no memory for its descriptors");
}

// Words of the command line that are not the kernel's are init's: its environment with a `=`, else
// its arguments.
status run_init(const char* path) {
    exec_strings arguments, environment;
    uint64_t budget = exec_argument_limit();
    TRY(arguments.append(path, budget));
    TRY(environment.append("HOME=/", budget));
    TRY(environment.append("TERM=linux", budget));
    char word[256];
    for (size_t i = 0; cmdline_foreign_word(i, word, sizeof word); i++)
        TRY((strchr(word, '=') ? environment : arguments).append(word, budget));
    constexpr int at_fdcwd = -100;
    return exec_program(at_fdcwd, path, 0, arguments, environment, budget);
}

// The first thread of the first process, in the kernel: becomes the init program.
void init_first_run(void* argument) {
    sched_first_run();
    auto& self = *static_cast<thread*>(argument);
    open_console(self);
    char path[256];
    if (!cmdline_value("init=", path, sizeof path))
        copy_string(path, sizeof path, "/sbin/init");
    if (status s = run_init(path); !s)
        panic("cannot execute %s: %s", path, errno_name(s.error()));
    self.modes.start();
}

// pid 1. Everything that process_create would copy from a parent is made here.
status start_init() {
    auto p = ref_ptr<process>::adopt(process_allocate());
    if (!p)
        return fail(Errno::nomem);
    ref_ptr<thread> t = TRY(thread_create(*p));
    auto task =
        TRY(user_charge::take(0, user_resource::tasks, 1, user_charge::no_limit, Errno::again));
    {
        lock_guard guard(p->lock);
        p->tasks = std::move(task);
    }
    p->handlers = TRY(sig_handlers::create());
    auto context = TRY(security_context::create({}, true, security_context::new_program()));
    context->vm = TRY(vmspace::create());
    t->vm = context->vm.get();
    t->user_map = &t->vm->physical_map();
    (void)process_exchange_context(*p, std::move(context));
    t->fs = TRY(fs_context::create());
    t->files = TRY(fd_table::create());
    ref_ptr<process_group> group = TRY(session_create(0)); // 0 as on Linux
    p->pid = t->tid = pid_allocate_for_init();
    p->start_time = now();
    copy_string(t->name, sizeof t->name, "init");
    machine_thread_begin_user_state(t->machine);
    machine_thread_start_user(t->machine, trap_frame::user_start(vaddr_t(), vaddr_t()),
                              init_first_run, t.get());
    {
        lock_guard guard(process_tree_lock);
        p->group = std::move(group);
        init_process = p.get();
        process_publish(std::move(p), t, kernel_process(), kernel_process());
    }
    sched_make_runnable(*t);
    return {};
}

void run_tests() {
    char pattern[128] = "";
    cmdline_value("ktest=", pattern, sizeof pattern);
    if (!kernel_thread_start("memory search", out_of_memory_search, nullptr))
        panic("no memory for the search for memory");
    int failed = ktest_run(pattern);
    trace_finish();
    machine_power_off(failed != 0);
}

void start_up(void*) {
    machine_start_other_cpus();
    printk("smp: %u processor%s", cpu::count(), cpu::count() == 1 ? "" : "s");
    tty_init();
    drivers_start();
    uvm_pdpolicy::paging.store(disk_next(nullptr) != nullptr);
    vfs_init(the_boot_info);
    trace_init();
    char word[32];
    if (cmdline_value("panic=", word, sizeof word))
        fail_on_purpose(word);
    if (cmdline_value("break_in=", word, sizeof word))
        break_in(word);
    if (plant_bug && cmdline_value("plant=", word, sizeof word))
        plant_bug(word);
    if (cmdline_has("ktest") || cmdline_value("ktest=", word, sizeof word))
        run_tests();
    if (status s = start_init(); !s)
        panic("no memory for init");
    out_of_memory_search(nullptr); // this thread has nothing else to do any more
}

} // namespace

void kernel_main(boot_info& info) {
    cmdline_init(info.command_line);
    if (cmdline_has("quiet"))
        printk_to_console(false);
    printk("Spork, started by %s: %s", info.loader, cmdline_text());
    vm_page_init(info);
    (void)uvm_zero_page(); // made now, it is part of what the leak checks begin with
    vm_page_statistics memory = vm_page_get_statistics();
    printk("memory: %lu MiB, %lu MiB free", memory.total >> (20 - page_shift),
           memory.free >> (20 - page_shift));
    vm_limit_of_caller = process_vm_limit;
    vm_borrowing_of_caller = process_vm_borrowing;
    uvm_check_at_seams = cmdline_has("check");
    shm_init();
    strace_init();
    if (!kernel_thread_start("start_up", start_up, nullptr))
        panic("no memory for the first thread");
    load_average_start();
    watchdog_start();
    sched_start();
}

void secondary_cpu_main() {
    watchdog_start();
    sched_start();
}
