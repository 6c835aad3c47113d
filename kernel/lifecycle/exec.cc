// exec: another program in the same process.
//
//   1. open_program         the file; for "#!" its interpreter's; the headers of both
//   2. exec_strings         argv and envp, copied out of the old address space
//   3. check_room           the new image fits into the limits and the commit account
//   4. new_parts::make      whom the program runs as, its (empty) address space, and own copies of
//                           what is shared with others
//   5. kill_other_threads   the calling thread is the process
//        Anything wrong up to here is an errno, and the process is still whole.
//   6. new_parts::make      once more, if there were other threads
//
//      ---- point of no return ----
//   7. leave_old_program    others see, in one step, that the process has the new rights and no
//                           memory; the old memory is torn down, or left to its sharers (vfork)
//   8. reset_for_exec       handlers; and close-on-exec descriptors are closed
//   9. enter_new_program    others see, in one step, the new memory, if the new rights let them
//  10. vfork_release        the parent goes on
//  11. load                 segments, stack (exec_stack.h), auxv
//        What fails here kills: there is no program left that an errno could return to.
#include "kernel/lifecycle/exec.h"

#include "arch/cpu.h"
#include "arch/machine.h"
#include "arch/pmap.h"
#include "arch/thread.h"
#include "kernel/abi/elf.h"
#include "kernel/abi/syscalls.h"
#include "kernel/base/random.h"
#include "kernel/files/file.h"
#include "kernel/files/fs_context.h"
#include "kernel/files/path_buffer.h"
#include "kernel/files/vfs.h"
#include "kernel/files/vnode.h"
#include "kernel/lifecycle/elf.h"
#include "kernel/lifecycle/exec_stack.h"
#include "kernel/lifecycle/ptrace.h"
#include "kernel/lifecycle/seams.h"
#include "kernel/lifecycle/vfork_wait.h"
#include "kernel/memory/futex.h"
#include "kernel/process/ledger_call.h"
#include "kernel/process/process.h"
#include "kernel/process/sync_point.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/trace.h"
#include "kernel/time/posix_timers.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vm/phys/event.h"
#include "vm/uvm_aobj.h"
#include "vm/uvm_commit.h"
#include "vm/vmspace.h"

#include <algorithm>
#include <machine/trap_frame.h>

using namespace linux_abi;

namespace {

constexpr int working_directory = -100;
constexpr uint64_t mebibyte = 1 << 20;
constexpr unsigned script_nesting = 5; // as Linux
constexpr size_t script_line_size = 256;

// What has been found and checked before the point of no return.
struct program {
    elf_image image;
    std::optional<elf_image> interpreter; // PT_INTERP

    // Whether its caller may read all that will be mapped.
    bool readable() const {
        return image.file().readable() && (!interpreter || interpreter->file().readable());
    }
};

// "#!interpreter argument": 0-terminates both in `line`, which holds `size` bytes of the file.
// ENOEXEC.
struct script_line {
    char* interpreter;
    char* argument; // null when there is none
};
expected<script_line> parse_script(char* line, size_t size) {
    char* p = line + 2;
    char* limit = line + std::min(size, script_line_size - 1);
    char* end = static_cast<char*>(memchr(p, '\n', size_t(limit - p)));
    auto blank = [](char c) { return c == ' ' || c == '\t'; };
    if (!end) {
        // A line that is cut off may hide part of the interpreter's name.
        end = limit;
        char* q = p;
        while (q < end && blank(*q))
            q++;
        while (q < end && !blank(*q) && *q)
            q++;
        if (q == end && size >= script_line_size)
            return fail(Errno::noexec);
    }
    while (p < end && blank(*p))
        p++;
    while (end > p && blank(end[-1]))
        end--;
    *end = '\0';
    if (p == end || !*p)
        return fail(Errno::noexec);
    script_line s{p, nullptr};
    while (*p && !blank(*p))
        p++;
    if (*p) {
        *p++ = '\0';
        while (blank(*p))
            p++;
        if (*p)
            s.argument = p;
    }
    return s;
}

// By what name others find the program: a path through /dev/fd for what a descriptor names, the
// path itself otherwise. ENOMEM.
expected<kmem_array<char>> public_name(int at_fd, const char* path) {
    constexpr size_t longest_prefix = sizeof "/dev/fd/-2147483648/";
    kmem_array<char> name(longest_prefix + strlen(path) + 1);
    if (!name)
        return fail(Errno::nomem);
    if (at_fd == working_directory || *path == '/')
        copy_string(name.data(), name.size(), path);
    else
        format_to(name.data(), name.size(), "/dev/fd/%d%s%s", at_fd, *path ? "/" : "", path);
    return name;
}

// Opens what is to run: follows "#!" lines, putting their interpreters in front of `arguments`.
expected<program> open_program(int at_fd, const char* path, int at_flags, const char* called,
                               exec_strings& arguments, uint64_t& budget) {
    kmem_array<char> head(script_line_size), name; // of the file, if it is an interpreter
    if (!head)
        return fail(Errno::nomem);
    exec_file file = TRY(exec_file::open(at_fd, path, at_flags));
    for (unsigned depth = 0;; depth++) {
        size_t size = TRY(file.read(0, head.data(), head.size()));
        if (size < 2 || head[0] != '#' || head[1] != '!') {
            elf_image image = TRY(elf_image::read(std::move(file), head.data(), size));
            program p{std::move(image), std::nullopt};
            if (*p.image.interpreter()) {
                exec_file loader =
                    TRY(exec_file::open(working_directory, p.image.interpreter(), 0));
                size = TRY(loader.read(0, head.data(), head.size()));
                p.interpreter.emplace(TRY(elf_image::read(std::move(loader), head.data(), size)));
            }
            return p;
        }
        if (depth == script_nesting)
            return fail(Errno::loop);
        // The interpreter could not open a script whose descriptor will have been closed.
        const bool by_descriptor = strcmp(called, path) != 0;
        if (depth == 0 && by_descriptor && TRY(current_thread().files->close_on_exec(at_fd)))
            return fail(Errno::noent);
        script_line line = TRY(parse_script(head.data(), size));
        // argv[0] gives way to: interpreter, its one argument, the script's path.
        exec_strings front;
        TRY(front.append(line.interpreter, budget));
        if (line.argument)
            TRY(front.append(line.argument, budget));
        TRY(front.append(name ? name.data() : called, budget));
        arguments.drop_first();
        front.take(arguments);
        arguments.take(front);
        if (!name)
            name = kmem_array<char>(script_line_size);
        if (!name)
            return fail(Errno::nomem);
        copy_string(name.data(), name.size(), line.interpreter);
        file = TRY(exec_file::open(working_directory, name.data(), 0));
    }
}

// As whom the program runs: Linux's bprm_creds_from_file.
struct program_rights {
    credentials cred;
    bool secure;   // AT_SECURE: it has, or was offered, rights that its caller has not
    bool changed;  // it has others than the program before it
    bool dumpable; // others of the same user may look into it
};

program_rights choose_rights(thread& self, const credentials& old, const program& what) {
    const bool no_new = self.proc->no_new_privileges;
    const vattr is = what.image.file().attributes(); // once: mode and owner belong together
    program_rights r{.cred = old, .secure = false, .changed = false, .dumpable = false};
    credentials& c = r.cred;
    if (!no_new && (is.mode & s_isuid))
        c.euid = is.uid;
    if (!no_new && (is.mode & (s_isgid | s_ixgrp)) == (s_isgid | s_ixgrp))
        c.egid = is.gid;
    r.secure = c.euid != old.uid || c.egid != old.gid;
    // Who shares its current directory and umask could steer the program by them: no new rights
    // then, and none under the eyes of a tracer. Descriptors and handlers need no such care, exec makes them its own.
    const bool gains = c.euid != old.euid || c.egid != old.egid;
    if (gains && !old.superuser() && (self.fs->references() > 1 || !exec_may_gain_rights(self))) {
        c.euid = c.uid;
        c.egid = c.gid;
    }
    c.suid = c.fsuid = c.euid;
    c.sgid = c.fsgid = c.egid;
    r.changed =
        c.euid != old.euid || c.egid != old.egid || c.fsuid != old.fsuid || c.fsgid != old.fsgid;
    r.dumpable = !r.changed && old.euid == old.uid && old.egid == old.gid && what.readable();
    return r;
}

// What the new program gets. All of it is made before the point of no return.
struct new_parts {
    ref_ptr<security_context> context; // with an address space in case the old one is not free
    bool secure, changed;              // as program_rights
    // Instead of what is shared with others; null: the process has it for itself already.
    ref_ptr<fd_table> files;
    ref_ptr<sig_handlers> handlers;

    static expected<new_parts> make(thread& self, const program& what) { // ENOMEM
        const program_rights rights = choose_rights(self, current_credentials(), what);
        new_parts parts{
            .context = TRY(security_context::create(rights.cred, rights.dumpable,
                                                    security_context::new_program())),
            .secure = rights.secure,
            .changed = rights.changed,
            .files = {},
            .handlers = {},
        };
        parts.context->vm = TRY(vmspace::create());
        if (self.files->references() > 1)
            parts.files = TRY(self.files->copy());
        if (self.proc->handlers->references() > 1)
            parts.handlers = TRY(self.proc->handlers->copy());
        return parts;
    }
};

bool has_other_threads(thread& self) {
    process& p = *self.proc;
    lock_guard guard(process_tree_lock);
    return p.threads.next(self) || p.threads.prev(self);
}

// Only the calling thread is left. EAGAIN if another one is ending the process, or executing,
// already.
status kill_other_threads(thread& self) {
    process& p = *self.proc;
    {
        lock_guard guard(process_tree_lock);
        if (p.threads.next(self) == nullptr && p.threads.prev(self) == nullptr &&
            !p.signals.exiting)
            return {};
    }
    if (!signal_begin_exit(p, &self, 0))
        return fail(Errno::again); // not seen by the program: this thread is leaving
    status alone;
    {
        lock_guard guard(process_tree_lock);
        // One that is traced goes when its tracer has waited for it, which may be never.
        while (alone && (p.threads.next(self) || p.threads.prev(self)))
            alone = p.thread_gone.wait_killable(process_tree_lock, "exec");
        if (alone)
            thread_take_over_pid(self);
    }
    signal_end_exec(p);
    return alone;
}

// Whoever could look into the old program cannot from here on; whoever does has a reference to its
// memory, which then is not reused. `next` gets the address space that the new program will have.
void leave_old_program(process& p, security_context& next) {
    ref_ptr<vmspace> old = process_exchange_context(p, next.without_memory)->vm;
    thread_enter_vmspace(nullptr);
    const trace::addr left = old.get();
    const uint32_t others = old->references() - 1;
    next.vm = vmspace::exec(std::move(old), std::move(next.vm));
    if (left.value != trace::addr(next.vm.get()).value && others)
        EVENT(vmspace_released, .vmspace = left, .references = others);
}

void enter_new_program(process& p, ref_ptr<const security_context> next, bool reused) {
    vmspace& vm = *next->vm;
    (void)process_exchange_context(p, std::move(next));
    thread_enter_vmspace(&vm);
    EVENT(exec_commit, .vmspace = &vm, .reused = trace::yes_if(reused));
}

void set_name(thread& self, const char* path) {
    const char* slash = strrchr(path, '/');
    copy_string(self.name, sizeof self.name, slash ? slash + 1 : path);
}

// ---- The new image ---------------------------------------------------------------------------

// Where the new image is to lie.
struct layout {
    vaddr_t stack_top, mmap_top;
    uint64_t bias = 0;       // added to the program's addresses
    uint64_t stack_size = 0; // what the strings need and 128 KiB, growing on demand
};

layout choose_layout(const elf_image& image, uint64_t strings) {
    constexpr uint64_t largest_gap = user_max.value() / 6 * 5;
    vaddr_t stack_top = user_max - random_page_offset(1 << 22); // 16 GiB, as Linux
    // Room for the stack to grow: its limit, within reason, and for what the randomisation took.
    uint64_t gap = std::min(process_limit(rlimit_stack), largest_gap);
    gap = std::clamp(page_round_up(gap) + mebibyte, 128 * mebibyte,
                     largest_gap & ~uint64_t{page_mask});
    layout at{.stack_top = stack_top,
              .mmap_top = stack_top - gap - random_page_offset(1 << 28), // 1 TiB
              .stack_size = page_round_up(strings + 2 * page_size) + 128 * 1024};
    // Programs that can lie anywhere lie at two thirds of the address space, far from stack and
    // mappings.
    constexpr uint64_t dynamic_base = user_max.value() / 3 * 2 & ~uint64_t{page_mask};
    if (image.position_independent())
        at.bias = dynamic_base + random_page_offset(1 << 28) - image.low();
    return at;
}

// ENOMEM for a program that is too large for the address space, for the limits of the process, or
// for strict accounting, which would kill it beyond the point of no return. What the old image was
// promised is given back when nobody shares it.
status check_room(process& p, const program& what, const layout& at) {
    if (at.bias + what.image.low() + what.image.size() > at.mmap_top.value())
        return fail(Errno::nomem);
    uint64_t data = what.image.data_pages() + (at.stack_size >> page_shift);
    uint64_t all = what.image.pages() + (at.stack_size >> page_shift);
    if (what.interpreter) {
        data += what.interpreter->data_pages();
        all += what.interpreter->pages();
    }
    if (all > process_limit(rlimit_as) >> page_shift ||
        data > process_limit(rlimit_data) >> page_shift)
        return fail(Errno::nomem);
    const ref_ptr<vmspace> old = process_vmspace(p);
    const bool shared = old->references() > 2; // the process's own, and ours
    return commit_exchange().begin(data, shared ? 0 : old->commit_charge());
}

// Address space, stack and first registers of the program. This can still fail:
//   - for want of memory, for map entries, amaps, page tables and the pages of the stack:
//     check_room asks what may be promised, not how many pages are free;
//   - by a limit that prlimit has lowered, or a promise that another process was given, since
//     check_room: nothing is held until it is mapped.
// To load beside the old image instead would hold the memory of both at once. So the process gets a
// SIGSEGV that it can neither block nor ignore, as on Linux; or a page fault that found no page has
// sent SIGKILL before (out_of_memory). A vfork parent has gone on by then.
status load(thread& self, const program& what, const layout& at, exec_strings& arguments,
            exec_strings& environment, const char* path, bool secure) {
    vmspace& vm = *self.vm;
    vm.set_layout(at.mmap_top);
    const uint64_t bias = at.bias;
    elf_image::placement main = TRY(what.image.map(vm, bias));
    vaddr_t entry = main.entry, base;
    if (what.interpreter) {
        const elf_image& loader = *what.interpreter;
        uint64_t loader_bias = 0;
        if (loader.position_independent()) {
            // A place for all of it; its segments then replace the reservation.
            map_request request;
            request.size = loader.size();
            base = TRY(vm.map(request));
            loader_bias = base.value() - loader.low();
            TRY(vm.unmap(base, page_round_up(loader.size())));
        }
        entry = TRY(loader.map(vm, loader_bias)).entry;
    }
    vm.image.code_start = main.code_start;
    vm.image.code_end = main.code_end;
    vm.image.data_start = main.data_start;
    vm.image.data_end = main.data_end;
    vm.init_brk(main.end.page_up() + random_page_offset(1 << 13)); // 32 MiB

    map_request stack;
    stack.size = at.stack_size;
    stack.address = at.stack_top - stack.size;
    stack.prot = what.image.executable_stack() ? vm_prot::all : vm_prot::rw;
    stack.fixed = true;
    stack.stack = true;
    stack.tag = "[stack]";
    TRY(vm.map(stack));
    // Not always at the same place within the page, either.
    vaddr_t top = at.stack_top - 8 - (random_page_offset(2) ? random_u64() & 0xff0 : 0);
    vaddr_t sp = TRY(
        exec_build_stack(vm, top, {what.image, main, base, arguments, environment, path, secure}));

    machine_thread_reset_user_state(self.machine);
    machine_user_frame(self.machine) = trap_frame::user_start(entry, sp);
    EVENT(exec_done, .entry = entry, .stack = sp);
    return {};
}

} // namespace

uint64_t exec_argument_limit() {
    // Linux: a quarter of the stack, at most three quarters of its default, at least 32 pages.
    return std::clamp(process_limit(rlimit_stack) / 4, uint64_t{32 * page_size}, 6 * mebibyte);
}

static status execute(int at_fd, const char* path, int at_flags, exec_strings& arguments,
                      exec_strings& environment, uint64_t& budget);
static expected<new_parts> make_alone(thread& self, program& what);
static void pass_no_return(thread& self, const program& what, const char* path, new_parts& parts);

status exec_program(int at_fd, const char* path, int at_flags, exec_strings& arguments,
                    exec_strings& environment, uint64_t& budget) {
    EVENT(exec_begin, .path = path);
    status done = execute(at_fd, path, at_flags, arguments, environment, budget);
    current_process().gains_rights = false;
    if (!done)
        EVENT(exec_failed, .error = int32_t(done.error()));
    return done;
}

static status execute(int at_fd, const char* path, int at_flags, exec_strings& arguments,
                      exec_strings& environment, uint64_t& budget) {
    thread& self = current_thread();
    process& p = *self.proc;
    const pid_t tid = self.tid;
    ledger_call cost(ledger_kind::exec);
    if (arguments.empty()) // programs rely on having an argv[0]
        TRY(arguments.append("", budget));
    const kmem_array<char> name = TRY(public_name(at_fd, path));
    program what = TRY(open_program(at_fd, path, at_flags, name.data(), arguments, budget));
    path = name.data();
    const uint64_t strings = arguments.bytes() + environment.bytes() +
                             (arguments.count() + environment.count()) * 8 + strlen(path);
    const layout at = choose_layout(what.image, strings);
    TRY(check_room(p, what, at));
    new_parts parts = TRY(make_alone(self, what));
    at_sync_point(sync_point::exec_commits);
    pass_no_return(self, what, path, parts);
    cost.keep();

    if (status loaded = load(self, what, at, arguments, environment, path, parts.secure); !loaded) {
        signal_force(self, sigsegv, si_kernel, 0);
        return loaded;
    }
    check_exec_seam(self);
    trace_exec(self, tid);
    return {};
}

// The new parts, when the thread is the last of its process. What the others shared is its alone
// then, and only then is what they did to the rest complete. To be without them is no state to go
// on in: as on Linux, what fails when they are gone kills.
static expected<new_parts> make_alone(thread& self, program& what) {
    const bool had_threads = has_other_threads(self);
    new_parts parts = TRY(new_parts::make(self, what));
    at_sync_point(sync_point::exec_is_ready);
    TRY(kill_other_threads(self));
    if (!had_threads)
        return parts;
    auto again = new_parts::make(self, what);
    if (!again)
        signal_force(self, sigkill, si_kernel, 0);
    return again;
}

// The point of no return. The vfork parent goes on when all is done that it may rely on.
static void pass_no_return(thread& self, const program& what, const char* path, new_parts& parts) {
    process& p = *self.proc;
    futex_thread_exit(self); // what the thread owes in the old address space
    const vmspace* fresh = parts.context->vm.get();
    leave_old_program(p, *parts.context);
    at_sync_point(sync_point::exec_has_left);
    {
        lock_guard tree(process_tree_lock);
        p.executed = true;
        p.exit_signal = sigchld;
        if (parts.handlers)
            std::swap(p.handlers, parts.handlers);
    }
    posix_timers_delete(p);
    p.handlers->reset_for_exec();
    self.alt_stack = {0, 2 /* SS_DISABLE */, 0, 0};
    self.set_child_tid = 0;
    if (parts.files) {
        lock_guard guard(self.lock);
        parts.files = self.files.exchange(std::move(parts.files));
    }
    self.files->close_all_on_exec();
    if (parts.secure || parts.changed)
        self.parent_death_signal = 0;
    process_set_executable(p, what.image.file().node());
    set_name(self, path);
    const bool reused = parts.context->vm.get() != fresh;
    enter_new_program(p, std::move(parts.context), reused);
    at_sync_point(sync_point::exec_enters);
    vfork_release(self);
}

void process_set_executable(process& p, ref_ptr<vnode> node) {
    if (node) {
        status denied = node->deny_write_access();
        ASSERT(denied); // as the caller has promised
    }
    ref_ptr<vnode> old;
    {
        lock_guard guard(p.lock);
        old = p.executable.exchange(std::move(node));
    }
    if (old)
        old->allow_write_access();
}

// ---- The system calls ------------------------------------------------------------------------

static sysresult exec_from_user(int at_fd, sys_path path, sys_string_array argv,
                                sys_string_array envp, int at_flags) {
    path_buffer name = TRY(path_buffer::copy(path));
    exec_strings arguments, environment;
    uint64_t budget = exec_argument_limit();
    TRY(arguments.append_from_user(argv.address, budget));
    TRY(environment.append_from_user(envp.address, budget));
    TRY(exec_program(at_fd, name.c_str(), at_flags, arguments, environment, budget));
    return 0;
}

sysresult sys_execve(sys_path path, sys_string_array argv, sys_string_array envp) {
    return exec_from_user(working_directory, path, argv, envp, 0);
}

sysresult sys_execveat(sys_at_fd at, sys_path path, sys_string_array argv, sys_string_array envp,
                       sys_at_flags flags) {
    return exec_from_user(at, path, argv, envp, flags);
}
