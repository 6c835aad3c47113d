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
// The steps, for all of them (create):
//
//   1. check_flags, choose_memory    what makes no sense is EINVAL
//   2. prepare                       all that can fail: a pid, the user's limit, process and thread,
//                                    each part shared or copied; the address space last but for
//                                    registers and descriptors. What was made goes if the next fails
//   3. publish                       into family, tables and group, in one step under the tree's
//                                    lock, unless a signal for all came since 2
//   4. start                         descriptors get their files, and the child runs
//   5. wait_for_release              vfork: until the child lets go of the address space
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
#include "kernel/abi/ptrace.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/file.h"
#include "kernel/files/fs_context.h"
#include "kernel/files/vfs.h"
#include "kernel/files/vnode.h"
#include "kernel/lifecycle/afork_file.h"
#include "kernel/lifecycle/exec.h"
#include "kernel/lifecycle/pidfd.h"
#include "kernel/lifecycle/seams.h"
#include "kernel/lifecycle/vfork_wait.h"
#include "kernel/process/ledger_call.h"
#include "kernel/process/pid.h"
#include "kernel/process/process.h"
#include "kernel/process/sync_point.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/signal_internal.h"
#include "kernel/signal/trace.h"
#include "kernel/time/cpu_clock.h"
#include "lib/string.h"
#include "vm/phys/event.h"
#include "vm/uvm_aobj.h"
#include "vm/vmspace.h"

#include <algorithm>
#include <machine/trap_frame.h>

using namespace linux_abi;

namespace {

// Whether the child has the parent's address space, and in which mode its copy is made if not.
struct memory_choice {
    bool shared;
    fork_mode copied;
};
memory_choice choose_memory(const clone_args& args, const process& parent);

// What one call is to its instruments: a pair of events, and an entry in the ledger.
class creation_observer {
public:
    creation_observer(const clone_args& args, memory_choice memory);
    ref_ptr<vm_aftermath> expect_faults() { return cost_.expect_faults(); }
    void blocked(nanos_t time) { cost_.blocked(time); }
    expected<created_process> done(expected<created_process> made);

private:
    const memory_choice memory_;
    ledger_call cost_;
};

// A pid that goes back unless the process or thread has been published under it.
struct reserved_pid {
    pid_t pid = pid_allocate();
    ~reserved_pid() { pid_release(pid); }
};

// A child in the making: a process with its first thread, or one more thread of the caller's. What
// it holds is given back with it, unless it was published.
class new_child {
public:
    new_child(const clone_args& args, memory_choice memory) : args_(args), memory_(memory) {}
    ~new_child();

    status prepare(creation_observer& seen);
    status publish();
    void start();
    void tell_tracer() { trace_event(self_, event_, uint64_t(made_.pid)); }
    nanos_t wait_for_release();
    created_process result() const { return made_; }

private:
    bool set(uint64_t flag) const { return (args_.flags & flag) != 0; }
    bool is_process() const { return !set(clone_thread); }
    status give_memory(creation_observer& seen);
    status open_descriptors();

    const clone_args& args_;
    const memory_choice memory_;
    thread& self_ = current_thread();
    process& parent_ = *self_.proc;
    const uint32_t signals_to_many_ = parent_.signals_to_many;
    const int event_ = trace_event_of(self_, args_.flags, args_.exit_signal);
    ref_ptr<tracee> trace_; // if its tracer is to trace the child, too
    reserved_pid pid_;
    user_charge task_;
    ref_ptr<process> process_; // the parent's own for a thread
    ref_ptr<thread> thread_;
    ref_ptr<vfork_wait> wait_;
    new_descriptor pidfd_{*self_.files}, release_{*self_.files};
    bool published_ = false;
    created_process made_{};
};

// "share" takes a reference to the parent's object.
template <class T> expected<ref_ptr<T>> share(const ref_ptr<T>& object) { return object; }
template <class T> expected<ref_ptr<T>> share(const early_ref<T>& object) {
    return ref_ptr<T>(object);
}

expected<created_process> create(const clone_args& args, memory_choice memory,
                                 creation_observer& seen) {
    new_child child(args, memory);
    TRY(child.prepare(seen));
    TRY(child.publish());
    child.start();
    child.tell_tracer();
    if (args.flags & clone_vfork) {
        seen.blocked(child.wait_for_release());
        trace_event(current_thread(), ptrace_event_vfork_done, uint64_t(child.result().pid));
    }
    return child.result();
}

status check_flags(const clone_args& args);

} // namespace

expected<created_process> process_create(const clone_args& args) {
    TRY(check_flags(args));
    const memory_choice memory = choose_memory(args, current_process());
    creation_observer seen(args, memory);
    return seen.done(create(args, memory, seen));
}

// ---- All that can fail -----------------------------------------------------------------------

namespace {

status check_flags(const clone_args& args) {
    auto all = [&](uint64_t flags) { return (args.flags & flags) == flags; };
    auto any = [&](uint64_t flags) { return (args.flags & flags) != 0; };
    constexpr uint64_t new_spaces =
        clone_newns | clone_newcgroup | clone_newuts | clone_newipc | clone_newpid | clone_newnet;

    // What makes no sense: the handlers of two address spaces, threads with handlers of their
    // own...
    if (all(clone_newns | clone_fs) || all(clone_newuser | clone_fs))
        return fail(Errno::inval);
    if (any(clone_thread) && !any(clone_sighand))
        return fail(Errno::inval);
    if (any(clone_sighand) && !any(clone_vm))
        return fail(Errno::inval);
    if (any(clone_thread) && any(clone_newuser | clone_newpid))
        return fail(Errno::inval);
    if (all(clone_sighand | clone_clear_sighand))
        return fail(Errno::inval);
    // A sibling of init would have nobody to reap it.
    if (any(clone_parent) && &current_process() == init_process)
        return fail(Errno::inval);
    // A pidfd stands for a process, not for a thread.
    if (any(clone_pidfd) && any(clone_thread | clone_detached))
        return fail(Errno::inval);
    if (all(clone_pidfd | clone_parent_settid) && args.pidfd.address() == args.parent_tid.address())
        return fail(Errno::inval);
    // What there is not: name spaces, control groups.
    if (any(new_spaces))
        return fail(current_credentials().superuser() ? Errno::inval : Errno::perm);
    if (any(clone_newuser | clone_into_cgroup))
        return fail(Errno::inval);
    if (any(clone_settls) && args.tls >= user_max.value())
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
                             bound ? parent.limits[rlimit_nproc].current : user_charge::no_limit,
                             Errno::again);
}

// The process of a new child, with everything that is copied and never shared.
expected<ref_ptr<process>> create_process(const clone_args& args, process& parent) {
    auto p = ref_ptr<process>::adopt(process_allocate());
    if (!p)
        return fail(Errno::nomem);
    ref_ptr<vnode> program;
    {
        lock_guard guard(parent.lock);
        lock_guard its(p->lock, nested_lock()); // nobody else knows it yet
        std::ranges::copy(parent.limits, p->limits);
        program = parent.executable;
        p->fork_modes.inherit(parent.fork_modes);
    }
    process_set_executable(*p, std::move(program));
    p->nice.store(parent.nice.load());
    p->no_new_privileges = parent.no_new_privileges.load();
    p->recorded = parent.recorded.load();
    p->oom_score_adj.store(parent.oom_score_adj.load());
    p->start_time = now();
    return p;
}

// Modes of vfork are for vforks. A child that also shares the handlers is none, and asks for the
// parent's memory in earnest.
memory_choice choose_memory(const clone_args& args, const process& parent) {
    const fork_mode for_fork = parent.fork_modes.for_fork();
    if (!(args.flags & clone_vm))
        return {.shared = false, .copied = for_fork};
    const bool is_vfork =
        (args.flags & clone_vfork) && !(args.flags & (clone_thread | clone_sighand));
    const vfork_mode mode = is_vfork ? parent.fork_modes.for_vfork() : vfork_mode::share;
    return {.shared = mode == vfork_mode::share,
            .copied = mode == vfork_mode::cow ? fork_mode::cow : for_fork};
}

// The child's first steps, in the kernel, on its own stack, and in the address space that it has or
// shares.
void child_first_run(void* argument) {
    sched_first_run();
    auto& self = *static_cast<thread*>(argument);
    EVENT(fork_child_runs, .vmspace = self.vm);
    if (self.set_child_tid)
        (void)user_ptr<int32_t>(self.set_child_tid).write(self.tid);
}

// What the child's thread starts with: the caller's registers, but for its result, its stack and
// its TLS.
void copy_thread(thread& child, thread& self, const clone_args& args) {
    memcpy(child.name, self.name, sizeof child.name);
    cpu::interrupts_push_off();
    child.cpu = cpu::id();
    cpu::interrupts_pop_off();
    child.timer_slack = child.default_timer_slack = self.timer_slack;
    child.allowed_cpus = self.allowed_cpus.load();
    child.user_map = &child.vm->physical_map();

    child.signals.inherit_mask(
        self.signals, args.flags & clone_vfork ? signals_that_stop_from_terminal : sigset{0});
    // On another stack in the same address space, the alternate one is not its own to use.
    if ((args.flags & (clone_vm | clone_vfork)) != clone_vm)
        child.alt_stack = self.alt_stack;
    child.set_child_tid = args.flags & clone_child_settid ? args.child_tid.address().value() : 0;
    child.clear_child_tid =
        args.flags & clone_child_cleartid ? args.child_tid.address().value() : 0;

    trap_frame frame = machine_user_frame(self.machine);
    frame.set_result(0);
    if (self.machine.stepping)
        frame.stop_stepping();
    if (args.stack.value())
        frame.rsp = args.stack.value();
    if (args.afork) {
        frame = trap_frame::user_start(args.afork->function, args.stack);
        frame.rdi = args.afork->argument;
    }
    machine_thread_copy_user_state(child.machine, self.machine);
    if (args.flags & clone_settls)
        machine_thread_set_tls(child.machine, args.tls);
    machine_thread_start_user(child.machine, frame, child_first_run, &child);
}

status new_child::prepare(creation_observer& seen) {
    // A signal that is there already is handled first: it may be for the whole group, and the child
    // must not miss it. (Whoever sends one counts it afterwards.)
    if (signal_pending(self_))
        return fail(Errno::restartnointr);
    if (!pid_.pid)
        return fail(Errno::again);
    task_ = TRY(charge_task(parent_)); // so that of two at once one fails
    process_ = TRY(is_process() ? create_process(args_, parent_) : share(ref_ptr(&parent_)));
    thread_ = TRY(thread_create(*process_));
    trace_ =
        event_ || (set(clone_ptrace) && self_.signals.traced) ? TRY(tracee::create()) : nullptr;
    wait_ = set(clone_vfork) || args_.afork ? TRY(vfork_wait::create()) : nullptr;
    thread_->files = TRY(set(clone_files) ? share(self_.files) : self_.files->copy());
    thread_->fs = TRY(set(clone_fs) ? share(self_.fs) : self_.fs->copy());
    thread_->vm = self_.vm;
    if (is_process())
        TRY(give_memory(seen));
    thread_->tid = pid_.pid;
    copy_thread(*thread_, self_, args_);
    return open_descriptors();
}

// A new process has handlers and an address space of its own or shares them. What holds the address
// space is made before it: a fork of memory that has come about is not taken back.
status new_child::give_memory(creation_observer& seen) {
    process_->handlers =
        TRY(set(clone_sighand) ? share(parent_.handlers) : parent_.handlers->copy());
    if (set(clone_clear_sighand))
        process_->handlers->reset_for_exec();
    const auto its = process_context(parent_);
    auto context =
        TRY(security_context::create(its->cred, its->dumpable, security_context::new_program()));
    context->vm = TRY(memory_.shared ? share(its->vm)
                                     : its->vm->fork({memory_.copied, seen.expect_faults()}));
    if (memory_.shared && wait_)
        thread_->borrowing = seen.expect_faults();
    thread_->vm = context->vm.get();
    (void)process_exchange_context(*process_, std::move(context));
    return {};
}

status new_child::open_descriptors() {
    if (set(clone_pidfd))
        TRY(args_.pidfd.write(TRY(pidfd_.reserve(true, TRY(pidfd_create(process_, 0))))));
    if (args_.afork) {
        const uint32_t flags = args_.afork->descriptor_flags;
        ref_ptr<file> told = TRY(afork_file_create(wait_, flags & o_nonblock));
        made_.descriptor = TRY(release_.reserve(flags & o_cloexec, std::move(told)));
    }
    return {};
}

// ---- From here on it exists, or nothing has happened -----------------------------------------

// Puts the child into the family and into the tables, in one step. ERESTARTNOINTR if the parent is
// dying, or its whole group was sent a signal since the call began: whoever sends one must find all
// of it.
status new_child::publish() {
    at_sync_point(sync_point::about_to_publish);
    process& p = *process_;
    lock_guard guard(process_tree_lock);
    if (parent_.signals.exiting || signal_kill_pending(self_) ||
        parent_.signals_to_many != signals_to_many_)
        return fail(Errno::restartnointr);
    published_ = true;
    made_.pid = std::exchange(pid_.pid, 0);
    bool has_cpu_limit;
    {
        lock_guard own(p.lock);
        p.tasks.join(std::move(task_));
        has_cpu_limit = p.limits[rlimit_cpu].current != UINT64_MAX;
    }
    if (wait_)
        thread_->borrowed_from = parent_.pid;
    if (trace_)
        trace_child(self_, *thread_, std::move(trace_));
    if (!is_process()) {
        thread_publish(thread_);
        return {};
    }
    p.pid = thread_->tid;
    p.group = parent_.group;
    process* real_parent = &parent_;
    p.parent_thread = &self_;
    p.parent_program = process_program(parent_);
    p.exit_signal = args_.exit_signal;
    if (set(clone_parent)) {
        real_parent = parent_.parent;
        p.parent_thread = parent_.parent_thread;
        p.parent_program = parent_.parent_program;
        p.exit_signal = parent_.exit_signal;
    }
    process_publish(process_, thread_, *real_parent, parent_);
    if (has_cpu_limit)
        cpu_limit_changed(p);
    return {};
}

void new_child::start() {
    pidfd_.install();
    release_.install();
    thread_->vfork_parent = wait_;
    if (set(clone_parent_settid))
        (void)args_.parent_tid.write(
            made_.pid); // before the child can run; a bad address is the caller's affair
    if (memory_.shared && is_process())
        EVENT(vmspace_shared, .vmspace = thread_->vm, .references = thread_->vm->references());
    EVENT(fork_child, .child_pid = process_->pid, .child_tid = made_.pid, .vmspace = thread_->vm);
    check_fork_seam(*thread_, memory_.shared, set(clone_files));
    sched_make_runnable(*thread_);
    thread_.reset();
}

// vfork. Returns how long it was.
nanos_t new_child::wait_for_release() {
    at_sync_point(sync_point::vfork_waits);
    const nanos_t since = now();
    EVENT(vfork_block, .child_pid = made_.pid);
    wait_->wait();
    check_vfork_wait_seam(wait_->is_over());
    EVENT(vfork_wake, .child_pid = made_.pid);
    return now() - since;
}

// Threads and processes end wherever somebody drops the last reference, under spin locks too: what
// they have, whose end may sleep, is let go of first. exit does that, and this for a child that is
// never published.
new_child::~new_child() {
    if (published_)
        return;
    if (thread_) {
        thread_->files.reset();
        thread_->fs.reset();
        thread_->borrowing.reset();
    }
    if (process_ && is_process()) {
        (void)process_exchange_context(*process_, security_context::of_the_kernel());
        process_set_executable(*process_, nullptr);
    }
}

// ---- What the instruments are told -----------------------------------------------------------

// A vfork on a stack of the child's own is what C libraries make posix_spawn of.
trace::call_kind kind_of(const clone_args& args) {
    using enum trace::call_kind;
    if (args.flags & clone_thread)
        return thread;
    if (args.afork)
        return afork;
    switch (args.flags & (clone_vm | clone_vfork)) {
    case clone_vm | clone_vfork: return args.stack == vaddr_t{} ? vfork : spawn;
    case 0: return fork;
    default: return clone;
    }
}

creation_observer::creation_observer(const clone_args& args, memory_choice memory)
    : memory_(memory) {
    const trace::call_kind kind = kind_of(args);
    EVENT(fork_begin, .kind = kind,
          .mode = memory.shared ? trace::copy_mode::share : trace::copy_mode(memory.copied),
          .flags = args.flags);
    if (kind != trace::call_kind::thread)
        cost_.begin(kind);
}

expected<created_process> creation_observer::done(expected<created_process> made) {
    if (made)
        cost_.keep(made->pid, memory_.shared ? "share" : fork_mode_name(memory_.copied));
    cost_.end();
    EVENT(fork_end, .result = made ? made->pid : -int32_t(made.error()));
    return made;
}

} // namespace

// ---- The system calls ------------------------------------------------------------------------

static sysresult create_and_return(const clone_args& args) {
    return int64_t{TRY(process_create(args)).pid};
}

sysresult sys_fork() { return create_and_return({.exit_signal = sigchld}); }

sysresult sys_vfork() {
    return create_and_return({.flags = clone_vm | clone_vfork, .exit_signal = sigchld});
}

sysresult sys_clone(sys_clone_flags flags, sys_address stack, user_ptr<int32_t> parent_tid,
                    user_ptr<int32_t> child_tid, sys_address tls) {
    // The one register is the place for either number.
    if ((flags & clone_pidfd) && (flags & clone_parent_settid))
        return fail(Errno::inval);
    return create_and_return({.flags = uint32_t(flags) & ~uint64_t{csignal},
                              .exit_signal = int(flags & csignal),
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

    if (args.flags & (csignal | clone_detached | clone_newtime))
        return fail(Errno::inval);
    if (args.flags >= clone_into_cgroup << 1 || args.set_tid || args.set_tid_size)
        return fail(Errno::inval);
    if (args.exit_signal > signal_max ||
        ((args.flags & (clone_thread | clone_parent)) && args.exit_signal))
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
