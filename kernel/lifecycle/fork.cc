// Process creation. One function makes every process and every thread; what differs between fork,
// vfork, clone, afork and a new thread is in clone_args alone. Each thing that a child can share
// with its parent is a reference-counted object, and one line below takes a reference or makes a
// copy, by its flag:
//
//                     fork     vfork    posix_spawn  afork    pthread_create
//      address space  copy     share    share        share    share           CLONE_VM
//      descriptors    copy     copy     copy         copy     share           CLONE_FILES
//      cwd, umask     copy     copy     copy         copy     share           CLONE_FS
//      handlers       copy     copy     copy         reset    share           CLONE_SIGHAND
//      process        new      new      new          new      share           CLONE_THREAD
//      parent         goes on  sleeps   sleeps       goes on  goes on         CLONE_VFORK
//
// The copy of an address space is vmspace::fork (vm/vmspace_fork.cc), which by the process's fork
// mode copies pages or only marks them copy-on-write. Sharing it is a reference. In vfork mode cow
// (kernel/process/fork_mode.h) the parent sleeps all the same, but the child has a copy.
//
// A vfork, in time. The parent's thread and the child's hold a vfork_wait together:
//
//      parent thread            child                               the parent's vmspace
//      -------------            -----                               --------------------
//      process_create                                               references: 1
//        vm = share  ............................................   references: 2
//        publish, make runnable
//        wait: asleep ("vfork") runs on the parent's pages,
//           |                   on its stack or on one of its own;
//           |                   what it stores, the parent finds
//           |                   exec fails: an errno, nothing else happens
//           |                   exec passes its point of no return:
//           |                     vm = another vmspace ..........   references: 1
//           |                     close-on-exec descriptors closed
//      awake <----- release ----  vfork_release
//      returns the pid            loads the new image
//                               or it exits, or is killed, at any point:
//           |                     its reference is dropped ......   references: 1
//      awake <----- release ----  vfork_release
//
// A signal to the sleeping parent stays pending, but for one that kills: the parent dies at once,
// and so does a thread that waits here when another thread of its process calls exec or exit_group.
// The child is not harmed; the address space stays as long as it has it. Other threads of the
// parent run all the time. The terminal's stop signals to the child wait until it has let go:
// stopped, it would keep its parent asleep, and the parent may well be the shell that is to
// continue it.
#include "kernel/lifecycle/fork.h"

#include "arch/cpu.h"
#include "arch/thread.h"
#include "arch/timer.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/file.h"
#include "kernel/files/vfs.h"
#include "kernel/files/vnode.h"
#include "kernel/lifecycle/afork.h"
#include "kernel/lifecycle/exec.h"
#include "kernel/lifecycle/pidfd.h"
#include "kernel/process/ledger.h"
#include "kernel/process/process.h"
#include "kernel/process/process_group.h"
#include "kernel/process/sync_point.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/signal_internal.h"
#include "kernel/time/cpu_clock.h"
#include "lib/string.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"
#include "vm/uvm_aobj.h"

#include <algorithm>
#include <machine/trap_frame.h>

namespace {

expected<created_process> create(const clone_args& args);
status check_flags(const clone_args& args);
expected<ref_ptr<process>> create_process(const clone_args& args, thread& self);
expected<user_charge> charge_task(process& parent);
ledger_kind kind_of(const clone_args& args);
trace::creation_kind traced_kind(const clone_args& args);
trace::copy_mode traced_mode(const clone_args& args);

// Whether the child has the parent's address space, and in which mode its copy is made if not.
struct memory_choice {
    bool shared;
    fork_mode copied;
};
memory_choice choose_memory(const clone_args& args, const process& parent);
void copy_thread(thread& child, thread& self, const clone_args& args);
status publish(process& p, thread& child, thread& self, const clone_args& args, user_charge task,
               uint32_t signals_to_many);
void child_first_run(void* argument);

// "share" takes a reference to the parent's object.
template <class T> expected<ref_ptr<T>> share(const ref_ptr<T>& object) { return object; }

// A pid that goes back unless the process or thread has been published under it.
struct reserved_pid {
    pid_t pid = pid_allocate();
    ~reserved_pid() { pid_release(pid); }
    void keep() { pid = 0; }
};

// Threads and processes end wherever somebody drops the last reference, under spin locks too: what
// they have, whose end may sleep, is let go of first. exit does that, and this for a child that is
// never published.
class unborn_child {
public:
    // `p` is null when the thread is to be one of the parent's; `child` is filled in later.
    unborn_child(process* p, ref_ptr<thread>& child) : process_(p), thread_(child) {}
    ~unborn_child() {
        if (born_)
            return;
        if (thread_) {
            thread_->files.reset();
            thread_->fs.reset();
        }
        if (process_) {
            (void)process_exchange_context(*process_, security_context::of_the_kernel());
            process_set_executable(*process_, nullptr);
        }
    }
    void born() { born_ = true; }

private:
    process* process_;
    ref_ptr<thread>& thread_;
    bool born_ = false;
};

} // namespace

expected<created_process> process_create(const clone_args& args) {
    TRY(check_flags(args));
    EVENT(fork_begin, .kind = traced_kind(args), .mode = traced_mode(args), .flags = args.flags);
    expected<created_process> made = create(args);
    EVENT(fork_end, .kind = traced_kind(args), .result = made ? made->pid : -int32_t(made.error()));
    return made;
}

namespace {

expected<created_process> create(const clone_args& args) {
    thread& self = current_thread();
    process& parent = *self.proc;
    auto set = [&](uint64_t flag) { return (args.flags & flag) != 0; };
    // A signal that is there already is handled first: it may be for the whole group, and the child
    // must not miss it. (Whoever sends one counts it afterwards.)
    const uint32_t signals_to_many = parent.signals_to_many;
    if (signal_pending(self))
        return fail(Errno::restartnointr);

    ledger_call cost;
    if (!set(CLONE_THREAD_))
        cost.begin(kind_of(args));

    // All that can fail. Whatever is made here is given back by its owner if something later fails.
    reserved_pid pid;
    if (!pid.pid)
        return fail(Errno::again);
    user_charge task = TRY(charge_task(parent)); // so that of two at once one fails
    ref_ptr<process> p =
        TRY(set(CLONE_THREAD_) ? share(ref_ptr(&parent)) : create_process(args, self));
    ref_ptr<thread> child;
    unborn_child unborn(set(CLONE_THREAD_) ? nullptr : p.get(), child);
    child = TRY(thread_create(*p));
    child->timer_slack = child->default_timer_slack = self.timer_slack;
    ref_ptr<vfork_wait> wait =
        set(CLONE_VFORK_) || args.afork ? TRY(vfork_wait::create()) : nullptr;
    const memory_choice memory = choose_memory(args, parent);
    child->files = TRY(set(CLONE_FILES_) ? share(self.files) : self.files->copy());
    child->fs = TRY(set(CLONE_FS_) ? share(self.fs) : self.fs->copy());
    child->vm = self.vm;
    if (!set(CLONE_THREAD_)) {
        p->handlers = TRY(set(CLONE_SIGHAND_) ? share(parent.handlers) : parent.handlers->copy());
        if (set(CLONE_CLEAR_SIGHAND_))
            p->handlers->reset_for_exec();
        // Made first: a fork of memory that has come about is not taken back.
        const auto its = process_context(parent);
        auto context = TRY(
            security_context::create(its->cred, its->dumpable, security_context::new_program()));
        context->vm = TRY(memory.shared ? share(its->vm)
                                        : its->vm->fork({memory.copied, cost.expect_faults()}));
        child->vm = context->vm.get();
        (void)process_exchange_context(*p, std::move(context));
    }
    child->tid = pid.pid;
    copy_thread(*child, self, args);
    new_descriptor pidfd(*self.files), release(*self.files);
    created_process result{};
    if (set(CLONE_PIDFD_))
        TRY(args.pidfd.write(TRY(pidfd.reserve(true, TRY(pidfd_create(p, 0))))));
    if (args.afork) {
        const uint32_t flags = args.afork->descriptor_flags;
        ref_ptr<file> told = TRY(afork_file_create(wait, flags & O_NONBLOCK_));
        result.descriptor = TRY(release.reserve(flags & O_CLOEXEC_, std::move(told)));
    }

    // From here on it exists, or nothing has happened.
    at_sync_point(sync_point::about_to_publish);
    TRY(publish(*p, *child, self, args, std::move(task), signals_to_many));
    unborn.born();
    result.pid = std::exchange(pid.pid, 0);
    pidfd.install();
    release.install();
    child->vfork_parent = ref_ptr(wait).leak();
    if (set(CLONE_PARENT_SETTID_))
        (void)args.parent_tid.write(
            result.pid); // before the child can run; a bad address is the caller's affair
    if (memory.shared && !set(CLONE_THREAD_))
        EVENT(vmspace_shared, .vmspace = child->vm, .references = child->vm->references());
    EVENT(fork_child, .kind = traced_kind(args), .mode = traced_mode(args), .child_pid = p->pid,
          .child_tid = result.pid, .vmspace = child->vm);
    sched_make_runnable(*child);
    child.reset();
    if (set(CLONE_VFORK_)) {
        at_sync_point(sync_point::vfork_waits);
        const nanos_t since = now();
        EVENT(vfork_block, .child_pid = result.pid);
        wait->wait();
        EVENT(vfork_wake, .child_pid = result.pid);
        cost.blocked(now() - since);
    }
    cost.keep(result.pid, memory.shared ? "share" : fork_mode_name(memory.copied));
    return result;
}

status check_flags(const clone_args& args) {
    auto all = [&](uint64_t flags) { return (args.flags & flags) == flags; };
    auto any = [&](uint64_t flags) { return (args.flags & flags) != 0; };
    constexpr uint64_t new_spaces = CLONE_NEWNS_ | CLONE_NEWCGROUP_ | CLONE_NEWUTS_ |
                                    CLONE_NEWIPC_ | CLONE_NEWPID_ | CLONE_NEWNET_;

    // What makes no sense: the handlers of two address spaces, threads with handlers of their
    // own...
    if (all(CLONE_NEWNS_ | CLONE_FS_) || all(CLONE_NEWUSER_ | CLONE_FS_))
        return fail(Errno::inval);
    if (any(CLONE_THREAD_) && !any(CLONE_SIGHAND_))
        return fail(Errno::inval);
    if (any(CLONE_SIGHAND_) && !any(CLONE_VM_))
        return fail(Errno::inval);
    if (any(CLONE_THREAD_) && any(CLONE_NEWUSER_ | CLONE_NEWPID_))
        return fail(Errno::inval);
    if (all(CLONE_SIGHAND_ | CLONE_CLEAR_SIGHAND_))
        return fail(Errno::inval);
    // A sibling of init would have nobody to reap it.
    if (any(CLONE_PARENT_) && &current_process() == init_process)
        return fail(Errno::inval);
    // A pidfd stands for a process, not for a thread.
    if (any(CLONE_PIDFD_) && any(CLONE_THREAD_ | CLONE_DETACHED_))
        return fail(Errno::inval);
    if (all(CLONE_PIDFD_ | CLONE_PARENT_SETTID_) &&
        args.pidfd.address() == args.parent_tid.address())
        return fail(Errno::inval);
    // What there is not: name spaces, tracing, control groups.
    if (any(new_spaces))
        return fail(current_credentials().superuser() ? Errno::inval : Errno::perm);
    if (any(CLONE_NEWUSER_ | CLONE_PTRACE_ | CLONE_UNTRACED_ | CLONE_INTO_CGROUP_))
        return fail(Errno::inval);
    if (any(CLONE_SETTLS_) && args.tls >= user_max.value())
        return fail(Errno::perm);
    return {};
}

// One more task for the user, counted now: of two forks at once only one has the last. EAGAIN
// beyond RLIMIT_NPROC, which binds neither user 0 nor the superuser.
expected<user_charge> charge_task(process& parent) {
    lock_guard guard(parent.lock);
    const credentials& c = parent.context->cred;
    const bool bound = c.uid != 0 && !c.superuser();
    return user_charge::take(c.uid, user_resource::tasks, 1,
                             bound ? parent.limits[RLIMIT_NPROC_].current : user_charge::no_limit,
                             Errno::again);
}

// The process of a new child, with everything that is copied and never shared.
expected<ref_ptr<process>> create_process(const clone_args& args, thread& self) {
    process& parent = *self.proc;
    auto p = ref_ptr<process>::adopt(process_allocate());
    if (!p)
        return fail(Errno::nomem);
    ref_ptr<vnode> program;
    linux_rlimit limits[rlimit_count];
    {
        lock_guard guard(parent.lock);
        std::ranges::copy(parent.limits, limits);
        program = parent.executable;
        p->fork_modes.inherit(parent.fork_modes);
    }
    {
        lock_guard guard(p->lock);
        std::ranges::copy(limits, p->limits);
    }
    process_set_executable(*p, std::move(program));
    p->nice.store(parent.nice.load());
    p->no_new_privileges = parent.no_new_privileges;
    p->recorded = parent.recorded;
    p->oom_score_adj.store(parent.oom_score_adj.load());
    p->start_time = now();
    p->exit_signal = args.exit_signal;
    return p;
}

// A vfork on a stack of the child's own is what C libraries make posix_spawn of.
ledger_kind kind_of(const clone_args& args) {
    if (args.afork)
        return ledger_kind::afork;
    switch (args.flags & (CLONE_VM_ | CLONE_VFORK_)) {
    case CLONE_VM_ | CLONE_VFORK_:
        return args.stack == vaddr_t{} ? ledger_kind::vfork : ledger_kind::spawn;
    case 0: return ledger_kind::fork;
    default: return ledger_kind::clone;
    }
}

// Modes of vfork are for vforks. A child that also shares the handlers is none, and asks for the
// parent's memory in earnest.
memory_choice choose_memory(const clone_args& args, const process& parent) {
    const fork_mode for_fork = parent.fork_modes.for_fork();
    if (!(args.flags & CLONE_VM_))
        return {.shared = false, .copied = for_fork};
    const bool is_vfork =
        (args.flags & CLONE_VFORK_) && !(args.flags & (CLONE_THREAD_ | CLONE_SIGHAND_));
    const vfork_mode mode = is_vfork ? parent.fork_modes.for_vfork() : vfork_mode::share;
    return {.shared = mode == vfork_mode::share,
            .copied = mode == vfork_mode::cow ? fork_mode::cow : for_fork};
}

trace::creation_kind traced_kind(const clone_args& args) {
    using enum trace::creation_kind;
    return args.flags & CLONE_THREAD_  ? thread
           : args.afork                ? afork
           : args.flags & CLONE_VFORK_ ? vfork
           : args.flags & CLONE_VM_    ? clone_vm
                                       : fork;
}

trace::copy_mode traced_mode(const clone_args& args) {
    const memory_choice memory = choose_memory(args, current_process());
    return memory.shared ? trace::copy_mode::share : trace::copy_mode(memory.copied);
}

// What the child's thread starts with: the caller's registers, but for its result, its stack and
// its TLS.
void copy_thread(thread& child, thread& self, const clone_args& args) {
    memcpy(child.name, self.name, sizeof child.name);
    cpu::interrupts_push_off();
    child.cpu = cpu::id();
    cpu::interrupts_pop_off();
    child.allowed_cpus = self.allowed_cpus.load();
    child.user_map = &child.vm->physical_map();

    child.blocked = self.restore_mask ? self.saved_mask : self.blocked;
    // On another stack in the same address space, the alternate one is not its own to use.
    if ((args.flags & (CLONE_VM_ | CLONE_VFORK_)) != CLONE_VM_)
        child.alt_stack = self.alt_stack;
    child.set_child_tid = args.flags & CLONE_CHILD_SETTID_ ? args.child_tid.address().value() : 0;
    child.clear_child_tid =
        args.flags & CLONE_CHILD_CLEARTID_ ? args.child_tid.address().value() : 0;

    trap_frame frame = machine_user_frame(self.machine);
    frame.set_result(0);
    if (args.stack.value())
        frame.rsp = args.stack.value();
    if (args.afork) {
        frame = trap_frame::user_start(args.afork->function, args.stack);
        frame.rdi = args.afork->argument;
    }
    machine_thread_copy_user_state(child.machine, self.machine);
    if (args.flags & CLONE_SETTLS_)
        machine_thread_set_tls(child.machine, args.tls);
    machine_thread_start_user(child.machine, frame, child_first_run, &child);
}

// Puts the child into the family and into the tables, in one step. ERESTARTNOINTR if the parent is
// dying, or its whole group was sent a signal since the call began: whoever sends one must find all
// of it.
status publish(process& p, thread& child, thread& self, const clone_args& args, user_charge task,
               uint32_t signals_to_many) {
    process& parent = *self.proc;
    lock_guard guard(process_tree_lock);
    if (parent.exiting || signal_kill_pending(self) || parent.signals_to_many != signals_to_many)
        return fail(Errno::restartnointr);
    bool has_cpu_limit;
    {
        lock_guard own(p.lock);
        p.tasks.join(std::move(task));
        has_cpu_limit = p.limits[RLIMIT_CPU_].current != UINT64_MAX;
    }
    child.add_reference(); // process::threads'; dropped by thread_exit
    if (args.flags & CLONE_VFORK_)
        child.held = signals_that_stop_from_terminal;
    if ((args.flags & CLONE_VFORK_) || args.afork)
        child.borrowed_from = parent.pid;
    if (args.flags & CLONE_THREAD_) {
        thread_publish(child);
        return {};
    }
    p.pid = child.tid;
    p.group = parent.group;
    process* real_parent = &parent;
    p.parent_thread = &self;
    p.parent_program = process_program(parent);
    if (args.flags & CLONE_PARENT_) {
        real_parent = parent.parent;
        p.parent_thread = parent.parent_thread;
        p.parent_program = parent.parent_program;
        p.exit_signal = parent.exit_signal;
    }
    p.add_reference(); // the parent's, dropped by wait
    process_publish(p, child, *real_parent, parent);
    if (has_cpu_limit)
        cpu_limit_changed(p);
    return {};
}

// The child's first steps, in the kernel, on its own stack and in its own address space.
void child_first_run(void* argument) {
    sched_first_run();
    auto& self = *static_cast<thread*>(argument);
    EVENT(fork_child_runs, .vmspace = self.vm);
    if (self.set_child_tid)
        (void)user_ptr<int32_t>(self.set_child_tid).write(self.tid);
}

constinit pool<vfork_wait> waits{"vfork_wait"};

} // namespace

expected<ref_ptr<vfork_wait>> vfork_wait::create() {
    auto w = ref_ptr<vfork_wait>::adopt(waits.create());
    if (!w)
        return fail(Errno::nomem);
    return w;
}

void vfork_wait::last_reference_gone() { waits.destroy(this); }

void vfork_wait::release(const afork_record& record) {
    {
        lock_guard guard(lock_);
        released_ = true;
        record_ = record;
        parent_.wake_all();
    }
    pollers_.notify();
}

void vfork_wait::wait() {
    lock_guard guard(lock_);
    while (!released_)
        if (!parent_.wait_killable(lock_, "vfork"))
            return;
}

expected<afork_record> vfork_wait::wait_for_record(bool nonblocking) {
    lock_guard guard(lock_);
    while (!released_) {
        if (nonblocking)
            return fail(Errno::again);
        if (!parent_.wait_interruptible(lock_, "afork_read"))
            return fail(Errno::restartsys);
    }
    return record_;
}

uint32_t vfork_wait::poll(poller* p) {
    if (p)
        p->add(pollers_);
    lock_guard guard(lock_);
    return released_ ? POLLIN_ | POLLRDNORM_ : 0;
}

void vfork_release(thread& self, const int* wait_status) {
    vfork_wait* waiting = std::exchange(self.vfork_parent, nullptr);
    if (!waiting)
        return;
    at_sync_point(sync_point::vfork_releases);
    afork_record record{self.proc->pid, afork_record::exec, 0, 0};
    if (wait_status) {
        const int signo = *wait_status & 0x7f;
        record.what = signo ? afork_record::killed : afork_record::exit;
        record.status = signo ? signo : *wait_status >> 8 & 0xff;
    }
    self.borrowed_from = 0;
    EVENT(vfork_release, .by_exec = trace::yes_if(!wait_status));
    waiting->release(record);
    waiting->drop_reference();
    if (self.held)
        signal_release_held(self);
    at_sync_point(sync_point::vfork_released);
}

// ---- The system calls ------------------------------------------------------------------------

static sysresult create_and_return(const clone_args& args) {
    return int64_t{TRY(process_create(args)).pid};
}

sysresult sys_fork() { return create_and_return({.exit_signal = SIGCHLD_}); }

sysresult sys_vfork() {
    return create_and_return({.flags = CLONE_VM_ | CLONE_VFORK_, .exit_signal = SIGCHLD_});
}

sysresult sys_clone(sys_clone_flags flags, sys_address stack, user_ptr<int32_t> parent_tid,
                    user_ptr<int32_t> child_tid, sys_address tls) {
    // The one register is the place for either number.
    if ((flags & CLONE_PIDFD_) && (flags & CLONE_PARENT_SETTID_))
        return fail(Errno::inval);
    return create_and_return({.flags = uint32_t(flags) & ~uint64_t{CSIGNAL_},
                              .exit_signal = int(flags & CSIGNAL_),
                              .stack = stack.address(),
                              .parent_tid = parent_tid,
                              .child_tid = child_tid,
                              .tls = tls,
                              .pidfd = parent_tid});
}

// Linux's struct clone_args; callers may know a shorter version of it, or a longer one whose rest
// is zero.
struct linux_clone_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
        set_tid_size, cgroup;
};

sysresult sys_clone3(user_ptr<void> pointer, uint64_t size) {
    constexpr uint64_t first_version = 64;
    if (size > page_size)
        return fail(Errno::toobig);
    if (size < first_version)
        return fail(Errno::inval);
    linux_clone_args args{};
    TRY(copy_in(&args, pointer.address(), std::min(size, sizeof args)));
    for (uint64_t at = sizeof args; at < size; at++)
        if (TRY(user_ptr<const uint8_t>(pointer.address() + at).read()) != 0)
            return fail(Errno::toobig);

    if (args.flags & (CSIGNAL_ | CLONE_DETACHED_ | CLONE_NEWTIME_))
        return fail(Errno::inval);
    if (args.flags >= CLONE_INTO_CGROUP_ << 1 || args.set_tid || args.set_tid_size)
        return fail(Errno::inval);
    if (args.exit_signal > signal_max ||
        ((args.flags & (CLONE_THREAD_ | CLONE_PARENT_)) && args.exit_signal))
        return fail(Errno::inval);
    if ((args.stack == 0) != (args.stack_size == 0))
        return fail(Errno::inval);
    uint64_t top = args.stack + args.stack_size;
    if (top < args.stack || top > user_max.value())
        return fail(Errno::inval);
    return create_and_return({.flags = args.flags,
                              .exit_signal = int(args.exit_signal),
                              .stack = vaddr_t(top),
                              .parent_tid = user_ptr<int32_t>(args.parent_tid),
                              .child_tid = user_ptr<int32_t>(args.child_tid),
                              .tls = args.tls,
                              .pidfd = user_ptr<int32_t>(args.pidfd)});
}
