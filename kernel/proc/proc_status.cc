// /proc/PID/stat, statm and status, in Linux's formats.
#include "arch/pmap.h"
#include "kernel/files/file.h"
#include "kernel/files/fs_context.h"
#include "kernel/files/vfs.h"
#include "kernel/proc/proc_facts.h"
#include "kernel/process/process_group.h"
#include "kernel/process/thread.h"
#include "kernel/process/usage.h"
#include "kernel/sched/sched.h"
#include "lib/long_work.h"
#include "lib/string.h"

#include <algorithm>
#include <iterator>

using namespace linux_abi;

namespace {

using ull = unsigned long long;
using image_facts = decltype(vmspace::image);

constexpr uint64_t ticks_per_second = 100; // the unit of times in stat: USER_HZ
constexpr uint64_t ticks_of(nanos_t t) { return t / (nanos_per_second / ticks_per_second); }
// The page of zeros is nobody's: as on Linux, its mappings do not count.
uint64_t resident_pages(const vmspace::sizes& s) { return s.anonymous_pages + s.object_pages; }
constexpr uint64_t kib_of_pages(uint64_t pages) { return pages * (page_size / 1024); }

char state_of(const process& p, const thread& t) REQUIRES(process_tree_lock) {
    if (p.state == process_state::zombie)
        return 'Z';
    if (t.trace && t.trace->stop != trace_stop::none && t.trace->stop != trace_stop::ended)
        return 't';
    // Its threads are parked, or on their last steps to there.
    if (p.state == process_state::stopped)
        return 'T';
    switch (t.state.load()) {
    case thread_state::sleeping: return t.sleep.load() == sleep_kind::interruptible ? 'S' : 'D';
    case thread_state::dead: return 'X';
    default: return 'R';
    }
}

// Whose address space `p` has borrowed by vfork or afork: a process id, or 0.
pid_t lender_of(process& p) REQUIRES(process_tree_lock) {
    for (thread& t : p.threads)
        if (pid_t lender = t.borrowed_from.load())
            return lender;
    return 0;
}

// Takes no reference, which might be the last one to go.
bool has_vmspace(process& p, const vmspace& vm) {
    lock_guard guard(p.lock);
    return p.context->vm.get() == &vm;
}

// What `q` has to do with the address space of `p`, which it has too.
const char* relation(process& p, process& q) {
    lock_guard tree(process_tree_lock);
    return lender_of(p) == q.pid   ? "borrowed from"
           : lender_of(q) == p.pid ? "lent to"
                                   : "shared with";
}

// Who else has the address space `vm` of `p`, and what they have to do with it.
void print_sharers(process& p, vmspace& vm, text_buffer& out) {
    constexpr unsigned most = 8; // more are left out
    unsigned found = 0;
    out.print("VmSpace:\t");
    // Its context has a reference, which our caller keeps.
    for (pid_t from = 1; vm.references() > 1 && found < most;) {
        ref_ptr<process> q = process_next(from);
        if (!q)
            break;
        from = q->pid + 1;
        long_work::pause();
        if (q.get() == &p || !has_vmspace(*q, vm))
            continue;
        const char* what = relation(p, *q);
        out.print("%s%s %d", found++ ? ", " : "", what, q->pid);
    }
    out.print("%s\n", found ? "" : "own");
}

// Whose it is, and what it does; what `shown` does, if it is not null. `alone`: what that has used
// counts, else what the process has.
void look_at_family(process& p, const thread* shown, bool alone, process_facts& f)
    REQUIRES(process_tree_lock) {
    f.parent = p.parent ? p.parent->pid : 0;
    f.group = p.group->id;
    f.session = p.group->sess->sid;
    f.threads = unsigned(p.threads.size());
    f.exit_signal = p.exit_signal;
    f.nice = p.nice;
    f.wait_status = p.state == process_state::zombie ? p.wait_status : 0;
    f.children = p.child_usage;
    f.own = alone ? thread_usage(*shown) : process_usage(p);
    memcpy(f.name, shown ? shown->name : p.last_name, sizeof(f.name));
    if (shown) {
        f.state = state_of(p, *shown);
        f.tracer = shown->trace ? shown->trace->tracer->tid : 0;
        f.wait_reason = f.state == 'R' ? nullptr : shown->wait_reason;
        f.cpu = shown->cpu.load();
    }
}

void look_at_signals(process& p, const thread* shown, sig_handlers& handlers, process_facts& f) {
    signal_guard guard(handlers);
    f.shared_pending = p.signals.pending.set;
    if (shown) {
        f.pending = shown->signals.pending.set;
        f.blocked = shown->signals.blocked;
    }
    for (int signo = 1; signo <= signal_max; signo++) {
        const uint64_t handler = handlers.action(signo).handler;
        if (handler == 1)
            f.ignored |= sig_bit(signo);
        else if (handler > 1)
            f.caught |= sig_bit(signo);
    }
}

} // namespace

expected<process_facts> facts_of(const proc_subject& of) {
    ref_ptr<process> p = of.find_process();
    if (!p)
        return fail(Errno::srch);
    ref_ptr<thread> shown = of.find_thread();
    if (of.tid && !shown)
        return fail(Errno::srch);
    process_facts f;
    f.pid = p->pid;
    f.tid = of.tid ? of.tid : p->pid;
    f.start_time = p->start_time;
    f.terminal = tty_of(*p);
    ref_ptr<sig_handlers> handlers;
    {
        lock_guard tree(process_tree_lock);
        look_at_family(*p, shown.get(), of.tid && !of.whole, f);
        handlers = p->handlers;
        lock_guard guard(p->lock);
        f.context = p->context;
    }
    f.may_look = may_access(*p, *f.context, access_mode::fscreds);
    if (handlers)
        look_at_signals(*p, shown.get(), *handlers, f);
    if (vmspace* vm = f.context->vm.get())
        f.sizes = vm->get_sizes();
    return f;
}

status show_process_stat(const proc_subject& of, text_buffer& out) {
    process_facts f = TRY(facts_of(of));
    image_facts image{};
    vaddr_t brk{};
    if (vmspace* vm = f.context->vm.get(); vm && f.may_look) {
        image = vm->image; // where things lie is not everybody's business
        brk = vm->brk();
    }
    uint64_t rss_limit;
    if (ref_ptr<process> p = of.find_process()) {
        lock_guard guard(p->lock);
        rss_limit = p->limits[rlimit_rss].current;
    } else {
        return fail(Errno::srch);
    }
    out.print("%d (%s) %c %d %d %d %d %d %u", of.tid ? f.tid : f.pid, f.name, f.state, f.parent,
              f.group, f.session, int(f.terminal.device), f.terminal.foreground, 0u);
    out.print(" %llu %llu %llu %llu", ull(f.own.minor_faults), ull(f.children.minor_faults),
              ull(f.own.major_faults), ull(f.children.major_faults));
    out.print(" %llu %llu %llu %llu", ull(ticks_of(f.own.user_time)),
              ull(ticks_of(f.own.system_time)), ull(ticks_of(f.children.user_time)),
              ull(ticks_of(f.children.system_time)));
    out.print(" %d %d %u 0 %llu", 20 + f.nice, f.nice, f.threads, ull(ticks_of(f.start_time)));
    const uint64_t virtual_size = f.sizes.virtual_pages * page_size;
    out.print(" %llu %llu %llu", ull(virtual_size), ull(resident_pages(f.sizes)), ull(rss_limit));
    out.print(" %llu %llu %llu 0 0", ull(image.code_start.value()), ull(image.code_end.value()),
              ull(image.stack_start.value()));
    // Signals as far as they fit in 31 bits; status has them all.
    constexpr sigset old = 0x7fffffff;
    out.print(" %llu %llu %llu %llu", ull((f.pending | f.shared_pending) & old),
              ull(f.blocked & old), ull(f.ignored & old), ull(f.caught & old));
    out.print(" %d 0 0 %d %u 0 0 0 0 0", f.wait_reason ? 1 : 0, f.exit_signal, f.cpu);
    out.print(" %llu %llu %llu %llu %llu %llu %llu %d\n", ull(image.data_start.value()),
              ull(image.data_end.value()), ull(brk.value()), ull(image.arg_start.value()),
              ull(image.arg_end.value()), ull(image.env_start.value()), ull(image.env_end.value()),
              f.wait_status);
    return {};
}

// The program's own text; libraries' is what else can be executed.
static uint64_t text_pages(vmspace& vm) {
    const image_facts image = vm.image;
    return (image.code_end.page_up() - image.code_start.page_down()) >> page_shift;
}

status show_process_statm(const proc_subject& of, text_buffer& out) {
    process_facts f = TRY(facts_of(of));
    const auto& s = f.sizes;
    const ref_ptr<vmspace>& vm = f.context->vm;
    const uint64_t data_pages = s.data_pages + s.stack_pages;
    out.print("%llu %llu %llu %llu 0 %llu 0\n", ull(s.virtual_pages), ull(resident_pages(s)),
              ull(s.object_pages), ull(vm ? text_pages(*vm) : 0), ull(data_pages));
    return {};
}

static const char* state_name(char state) {
    switch (state) {
    case 'R': return "running";
    case 'S': return "sleeping";
    case 'D': return "disk sleep";
    case 'T': return "stopped";
    case 't': return "tracing stop";
    case 'Z': return "zombie";
    default: return "dead";
    }
}

// Every file is in memory and of tmpfs, which Linux counts as shared memory.
static void print_memory(vmspace& vm, const vmspace::sizes& s, text_buffer& out) {
    const uint64_t text = text_pages(vm);
    const struct {
        const char* name;
        uint64_t kib;
    } lines[] = {
        {"VmPeak", kib_of_pages(s.peak_virtual_pages)},
        {"VmSize", kib_of_pages(s.virtual_pages)},
        {"VmLck", kib_of_pages(s.locked_pages)},
        {"VmPin", 0},
        {"VmHWM", kib_of_pages(s.peak_resident_pages)},
        {"VmRSS", kib_of_pages(resident_pages(s))},
        {"RssAnon", kib_of_pages(s.anonymous_pages)},
        {"RssFile", 0},
        {"RssShmem", kib_of_pages(s.object_pages)},
        {"VmData", kib_of_pages(s.data_pages)},
        {"VmStk", kib_of_pages(s.stack_pages)},
        {"VmExe", kib_of_pages(text)},
        {"VmLib", kib_of_pages(s.text_pages > text ? s.text_pages - text : 0)},
        {"VmPTE", kib_of_pages(vm.physical_map().table_pages())},
        {"VmSwap", kib_of_pages(vm.swapped_pages())},
        {"VmCommit", kib_of_pages(vm.commit_charge())}, // Spork's own
    };
    for (const auto& l : lines)
        out.print("%s:\t%8llu kB\n", l.name, ull(l.kib));
}

// Unlike all else in Linux's /proc, by letters.
static void append_name(std::string_view name, text_buffer& out) {
    for (char c : name) {
        if (c == '\n')
            out.append("\\n");
        else if (c == '\\')
            out.append("\\\\");
        else
            out.append(c);
    }
    out.append('\n');
}

status show_process_status(const proc_subject& of, text_buffer& out) {
    process_facts f = TRY(facts_of(of));
    const credentials& c = f.context->cred;
    ref_ptr<process> p = of.find_process();
    ref_ptr<thread> t = of.find_thread();
    out.append("Name:\t");
    append_name(f.name, out);
    if (t) {
        lock_guard guard(t->lock);
        if (t->fs)
            out.print("Umask:\t%04o\n", t->fs->umask());
    }
    out.print("State:\t%c (%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t%d\n",
              f.state, state_name(f.state), f.pid, of.tid ? f.tid : f.pid, f.parent, f.tracer);
    out.print("Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", c.uid, c.euid, c.suid, c.fsuid, c.gid,
              c.egid, c.sgid, c.fsgid);
    out.print("Wchan:\t%s\n", f.wait_reason && f.may_look ? f.wait_reason : "0");
    ref_ptr<fd_table> files;
    if (t) {
        lock_guard guard(t->lock);
        files = t->files;
    }
    // FDSize is the room in the table: the open descriptors, rounded up as the table grows.
    out.print("FDSize:\t%u\nGroups:\t",
              files ? std::max(64u, (files->open_count() + 63) / 64 * 64) : 0);
    for (uint32_t group : c.groups()) {
        out.print("%u ", group);
        TRY(long_work::go_on());
    }
    out.append('\n');
    if (vmspace* vm = f.context->vm.get()) {
        print_memory(*vm, f.sizes, out);
        print_sharers(*p, *vm, out);
    }
    out.print("Threads:\t%u\n", f.threads);
    out.print("SigPnd:\t%016llx\nShdPnd:\t%016llx\nSigBlk:\t%016llx\nSigIgn:\t%016llx\nSigCgt:\t%"
              "016llx\n",
              ull(f.pending), ull(f.shared_pending), ull(f.blocked), ull(f.ignored), ull(f.caught));
    if (t)
        out.print("Cpus_allowed:\t%x\n", t->allowed_cpus.load());
    out.print("voluntary_ctxt_switches:\t%llu\nnonvoluntary_ctxt_switches:\t%llu\n",
              ull(f.own.voluntary_switches), ull(f.own.involuntary_switches));
    return {};
}
