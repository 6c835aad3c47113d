// The files of /proc that are about the whole machine, in Linux's formats where Linux has them.
#include "arch/cpu.h"
#include "arch/machine.h"
#include "arch/pmap.h"
#include "arch/timer.h"
#include "kernel/base/cmdline.h"
#include "kernel/drivers/disks.h"
#include "kernel/memory/sysv_shm.h"
#include "kernel/proc/proc_facts.h"
#include "kernel/proc/procfs_node.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/process/usage.h"
#include "kernel/process/utsname.h"
#include "kernel/sched/load_average.h"
#include "kernel/sched/sched.h"
#include "kernel/sched/wall_clock.h"
#include "lib/format.h"
#include "vm/phys/pool.h"
#include "vm/phys/uvmexp.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_commit.h"
#include "vm/uvm_swap.h"
#include "vm/uvm_vnode.h"

#include <algorithm>

using namespace linux_abi;

namespace {

using ull = unsigned long long;

constexpr uint64_t ticks_per_second = 100; // USER_HZ
constexpr uint64_t ticks_of(nanos_t t) { return t / (nanos_per_second / ticks_per_second); }
constexpr uint64_t kib_of_pages(uint64_t pages) { return pages * (page_size / 1024); }

// ---- Memory ----------------------------------------------------------------------------------

status show_meminfo(const proc_subject&, text_buffer& out) {
    vm_page_statistics p = vm_page_get_statistics();
    // Pages of objects are files' contents and shared memory. MemFree, AnonPages, Cached, Slab,
    // KernelStack and PageTables are all there is.
    const uint64_t stacks = machine_kernel_stack_bytes() / 1024;
    const uint64_t tables = kib_of_pages(p.page_table), kernel = kib_of_pages(p.kernel);
    const uint64_t resident = kib_of_pages(p.anon + p.object);
    const uint64_t locked = std::min(kib_of_pages(vm_page_count_wired()), resident);
    const uint64_t slab = kernel > stacks ? kernel - stacks : 0;
    const uvm_swap::totals swap = uvm_swap::total();
    struct kib_line {
        const char* name;
        uint64_t kib;
    };
    const kib_line lines[] = {
        {"MemTotal", kib_of_pages(p.total)},
        {"MemFree", kib_of_pages(p.free)},
        {"MemAvailable", kib_of_pages(p.free)},
        {"Buffers", 0},
        {"Cached", kib_of_pages(p.object)},
        {"SwapCached", 0},
        {"Active", resident - locked},
        {"Inactive", 0},
        {"Active(anon)", resident - locked},
        {"Inactive(anon)", 0},
        {"Active(file)", 0},
        {"Inactive(file)", 0},
        {"Unevictable", locked},
        {"Mlocked", locked},
        {"SwapTotal", kib_of_pages(swap.pages)},
        {"SwapFree", kib_of_pages(swap.free)},
        {"Dirty", kib_of_pages(uvm_vnode::dirty_pages())},
        {"Writeback", 0},
        {"AnonPages", kib_of_pages(p.anon)},
        {"Mapped", kib_of_pages(vm_page_count_mapped())},
        {"Shmem", kib_of_pages(p.object)},
        {"KReclaimable", 0},
        {"Slab", slab},
        {"SReclaimable", 0},
        {"SUnreclaim", slab},
        {"KernelStack", stacks},
        {"PageTables", tables},
        {"CommitLimit", kib_of_pages(uvm_commit::commit_limit())},
        {"Committed_AS", kib_of_pages(uvm_commit::committed())},
    };
    for (const kib_line& l : lines)
        print_kib(l.name, l.kib, out);
    return {};
}

status show_uvmexp(const proc_subject&, text_buffer& out) {
    for (unsigned i = 0; i < uvm_counters; i++)
        out.print("%s %llu\n", uvm_counter_name(uvm_counter(i)), ull(uvm_read(uvm_counter(i))));
    return {};
}

status show_uvmexp_cpu(const proc_subject&, text_buffer& out) {
    out.print("%-20s", "name");
    for (unsigned cpu = 0; cpu < cpu::count(); cpu++)
        out.print(cpu < 10 ? "       cpu%u" : "      cpu%u", cpu);
    for (unsigned i = 0; i < uvm_counters; i++) {
        out.print("\n%-20s", uvm_counter_name(uvm_counter(i)));
        for (unsigned cpu = 0; cpu < cpu::count(); cpu++)
            out.print(" %10llu", ull(uvm_read_on(cpu, uvm_counter(i))));
    }
    out.append('\n');
    return {};
}

status show_pools(const proc_subject&, text_buffer& out) {
    out.print("%-20s %8s %8s %8s\n", "name", "size", "live", "pages");
    for (pool_base* p = pool_base::first(); p; p = p->next())
        out.print("%-20s %8zu %8llu %8llu\n", p->name(), p->object_size(), ull(p->live()),
                  ull(p->pages()));
    out.print("%-20s %8s %8llu\n", "kmem", "bytes", ull(kmem_bytes_in_use()));
    return {};
}

// ---- System V shared memory ------------------------------------------------------------------

status show_sysvipc_shm(const proc_subject&, text_buffer& out) {
    out.append(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid "
        " cgid      atime      dtime      ctime                   rss                  "
        "swap\n");
    shm_facts f;
    for (unsigned i = 0; shm_describe(i, f); i++)
        out.print(
            "%10d %10d  %4o %21llu %5d %5d  %5llu %5u %5u %5u %5u %10llu %10llu %10llu %21llu "
            "%21llu\n",
            f.key, f.id, f.mode, ull(f.size), f.creator, f.last, ull(f.attached), f.uid, f.gid,
            f.creator_uid, f.creator_gid, ull(f.attach_time), ull(f.detach_time),
            ull(f.change_time), ull(f.resident_pages) * page_size, ull(0));
    return {};
}

// ---- Processors ------------------------------------------------------------------------------

// How the processors' time was used. The scheduler knows when each was idle; how the rest divides
// between programs and the kernel is known for the processes that are there, and taken to be the
// same for those that are gone.
struct processor_times {
    nanos_t total_idle = 0;
    nanos_t user_share = 0, system_share = 0;
    sched_statistics sched;
    nanos_t uptime = now();

    processor_times() : sched(sched_get_statistics()) {
        for (unsigned i = 0; i < cpu::count(); i++)
            total_idle += idle(i);
        for (ref_ptr<process> p = process_next(1); p; p = process_next(p->pid + 1)) {
            lock_guard guard(process_tree_lock);
            usage u = process_usage(*p);
            u.add(p->child_usage);
            user_share += u.user_time;
            system_share += u.system_time;
        }
    }
    nanos_t idle(unsigned i) const { return std::min(sched.idle_time[i], uptime); }
    nanos_t user_part(nanos_t busy) const {
        // In milliseconds, so that the product fits.
        constexpr uint64_t milli = 1'000'000;
        uint64_t user = user_share / milli, all = (user_share + system_share) / milli;
        return all ? busy / milli * user / all * milli : 0;
    }
    void print(text_buffer& out, nanos_t busy, nanos_t idle_time) const {
        nanos_t user = user_part(busy);
        out.print(" %llu 0 %llu %llu 0 0 0 0 0 0\n", ull(ticks_of(user)),
                  ull(ticks_of(busy - user)), ull(ticks_of(idle_time)));
    }
};

unsigned count_running() {
    unsigned running = 0;
    for (ref_ptr<process> p = process_next(1); p; p = process_next(p->pid + 1)) {
        lock_guard guard(process_tree_lock);
        for (thread& t : p->threads) {
            thread_state s = t.state.load();
            running += s == thread_state::running || s == thread_state::runnable;
        }
    }
    return running;
}

status show_stat(const proc_subject&, text_buffer& out) {
    processor_times times;
    unsigned cpus = cpu::count();
    out.append("cpu ");
    times.print(out, times.uptime * cpus - times.total_idle, times.total_idle);
    for (unsigned i = 0; i < cpus; i++) {
        out.print("cpu%u", i);
        times.print(out, times.uptime - times.idle(i), times.idle(i));
    }
    const uint64_t forks = uvm_read(uvm_counter::forks) + uvm_read(uvm_counter::forks_sharevm);
    out.print("ctxt %llu\nbtime %llu\nprocesses %llu\nprocs_running %u\nprocs_blocked 0\n",
              ull(times.sched.switches), ull(wall_clock_offset() / nanos_per_second), ull(forks),
              count_running());
    return {};
}

// Seconds with two decimals.
void print_seconds(text_buffer& out, nanos_t t) {
    constexpr uint64_t hundredth = nanos_per_second / 100;
    out.print("%llu.%02llu", ull(t / nanos_per_second), ull(t % nanos_per_second / hundredth));
}

status show_uptime(const proc_subject&, text_buffer& out) {
    processor_times times;
    print_seconds(out, times.uptime);
    out.append(' ');
    print_seconds(out, times.total_idle);
    out.append('\n');
    return {};
}

status show_loadavg(const proc_subject&, text_buffer& out) {
    for (uint64_t load : load_average()) {
        constexpr uint64_t one = uint64_t{1} << 16;
        out.print("%llu.%02llu ", ull(load / one), ull(load % one * 100 / one));
    }
    pid_t last = 0;
    for (ref_ptr<process> p = process_next(1); p; p = process_next(p->pid + 1))
        last = p->pid;
    out.print("%u/%u %d\n", count_running(), sched_get_statistics().threads, last);
    return {};
}

status show_cpuinfo(const proc_subject&, text_buffer& out) {
    for (unsigned i = 0; i < cpu::count(); i++) {
        uint64_t hz = cycles_per_second();
        constexpr uint64_t mega = 1'000'000;
        out.print("processor\t: %u\ncpu MHz\t\t: %llu.%03llu\n\n", i, ull(hz / mega),
                  ull(hz % mega / 1000));
    }
    return {};
}

// ---- Names -----------------------------------------------------------------------------------

status show_version(const proc_subject&, text_buffer& out) {
    out.print("%s version %s %s\n", kernel_name, kernel_release, kernel_version);
    return {};
}

status show_cmdline(const proc_subject&, text_buffer& out) {
    out.print("%s\n", cmdline_text());
    return {};
}

status show_partitions(const proc_subject&, text_buffer& out) {
    out.append("major minor  #blocks  name\n\n");
    for (disk* d = disk_next(nullptr); d; d = disk_next(d))
        out.print("%4u  %7u %10llu %s\n", device_major(d->is.number), device_minor(d->is.number),
                  (ull)d->is.sectors / 2, d->is.name);
    return {};
}

status show_swaps(const proc_subject&, text_buffer& out) {
    out.append("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    uvm_swap::facts area;
    for (unsigned i = 0; uvm_swap::look(i, area); i++)
        out.print("/dev/%-34s partition\t%llu\t\t%llu\t\t%d\n", area.area->is.name,
                  ull(kib_of_pages(area.pages)), ull(kib_of_pages(area.used)), area.priority);
    return {};
}

status show_filesystems(const proc_subject&, text_buffer& out) {
    for (const char* type : {"tmpfs", "devtmpfs", "proc"})
        out.print("nodev\t%s\n", type);
    out.print("\text2\n");
    return {};
}

// ---- Links to oneself ------------------------------------------------------------------------

status show_self(const proc_subject&, text_buffer& out) {
    out.print("%d", current_process().pid);
    return {};
}

status show_thread_self(const proc_subject&, text_buffer& out) {
    out.print("%d/task/%d", current_process().pid, current_thread().tid);
    return {};
}

status show_mounts_link(const proc_subject&, text_buffer& out) {
    out.append("self/mounts");
    return {};
}

// ---- The tables ------------------------------------------------------------------------------

constexpr uint32_t file_444 = s_ifreg | 0444, link_777 = s_iflnk | 0777,
                   directory_555 = s_ifdir | 0555;

constexpr proc_entry sysvipc_entries[] = {
    {.name = "shm", .mode = file_444, .show = show_sysvipc_shm},
};

constexpr proc_entry root_entries[] = {
    {.name = "meminfo", .mode = file_444, .show = show_meminfo},
    {.name = "stat", .mode = file_444, .show = show_stat},
    {.name = "uptime", .mode = file_444, .show = show_uptime},
    {.name = "loadavg", .mode = file_444, .show = show_loadavg},
    {.name = "version", .mode = file_444, .show = show_version},
    {.name = "cmdline", .mode = file_444, .show = show_cmdline},
    {.name = "cpuinfo", .mode = file_444, .show = show_cpuinfo},
    {.name = "filesystems", .mode = file_444, .show = show_filesystems},
    {.name = "partitions", .mode = file_444, .show = show_partitions},
    {.name = "swaps", .mode = file_444, .show = show_swaps},
    {.name = "uvmexp", .mode = file_444, .show = show_uvmexp},
    {.name = "vmspaces.json", .mode = file_444, .show = show_all_vmspaces_json},
    {.name = "uvmexp_cpu", .mode = file_444, .show = show_uvmexp_cpu},
    {.name = "pools", .mode = file_444, .show = show_pools},
    {.name = "mounts", .mode = link_777, .show = show_mounts_link},
    {.name = "self", .mode = link_777, .show = show_self},
    {.name = "thread-self", .mode = link_777, .show = show_thread_self},
    {.name = "sys", .mode = directory_555, .children = proc_sys_entries},
    {.name = "sysvipc", .mode = directory_555, .children = sysvipc_entries},
};

int64_t next_process(const proc_subject&, int64_t from) {
    ref_ptr<process> p = process_next(pid_t(std::max<int64_t>(from, 1)));
    return p ? p->pid : -1;
}

// Any thread's number leads to its process, seen from that thread; only the first's is listed.
bool choose_thread(proc_subject& of, int64_t number) {
    ref_ptr<thread> t = thread_find(pid_t(number));
    if (!t)
        return false;
    of.pid = t->proc->pid;
    of.tid = pid_t(number);
    of.whole = true;
    return true;
}

constexpr proc_numbers process_numbers{next_process,
                                       [](proc_subject& of, int64_t n) { of.pid = pid_t(n); },
                                       &proc_process_entry, choose_thread};

} // namespace

constexpr proc_entry proc_root_entry{
    .name = "", .mode = directory_555, .children = root_entries, .numbers = &process_numbers};
