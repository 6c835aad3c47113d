// /proc/PID and /proc/PID/task/TID, in Linux's formats.
#include "kernel/files/file.h"
#include "kernel/files/fs_context.h"
#include "kernel/files/lookup.h"
#include "kernel/files/vfs.h"
#include "kernel/proc/proc_facts.h"
#include "kernel/process/call_memory.h"
#include "kernel/process/thread.h"
#include "lib/format.h"
#include "lib/long_work.h"
#include "lib/string.h"
#include "vm/phys/pool.h"
#include "vm/uvm_pages.h"
#include "vm/vmspace.h"

#include <algorithm>

using namespace linux_abi;

namespace {

using ull = unsigned long long;

using image_facts = decltype(vmspace::image);

status show_comm(const proc_subject& of, text_buffer& out) {
    process_facts f = TRY(facts_of(of));
    out.print("%s\n", f.name);
    return {};
}

status store_comm(const proc_subject& of, std::string_view text) {
    ref_ptr<thread> t = of.find_thread();
    if (!t)
        return fail(Errno::srch);
    if (t->proc.get() != &current_process())
        return fail(Errno::inval);
    char name[sizeof(t->name)] = {};
    memcpy(name, text.data(), std::min(text.size(), sizeof(name) - 1));
    lock_guard guard(process_tree_lock);
    memcpy(t->name, name, sizeof(name));
    return {};
}

status show_wchan(const proc_subject& of, text_buffer& out) {
    process_facts f = TRY(facts_of(of));
    out.append(f.wait_reason && f.may_look ? f.wait_reason : "0");
    return {};
}

// ---- Memory ----------------------------------------------------------------------------------

// A range of the process's own memory; what cannot be read ends it.
status show_memory(const proc_subject& of, text_buffer& out, vaddr_t image_facts::* from,
                   vaddr_t image_facts::* to) {
    ref_ptr<vmspace> vm = TRY(vmspace_of(of));
    if (!vm)
        return {};
    image_facts image = vm->image;
    kmem_array<char> page(page_size);
    if (!page)
        return fail(Errno::nomem);
    // The program may have set the bounds anywhere: never more than a stack can hold of arguments.
    constexpr uint64_t most = 1024 * 1024;
    vaddr_t at = image.*from, end = image.*to;
    if (end < at || end - at > most)
        return {};
    while (at < end) {
        uint64_t n = std::min<uint64_t>(end - at, page_size - at.page_offset());
        if (!vm->read_memory(at, page.data(), n))
            break;
        out.append({page.data(), n});
        at += n;
    }
    return {};
}

status show_cmdline(const proc_subject& of, text_buffer& out) {
    return show_memory(of, out, &image_facts::arg_start, &image_facts::arg_end);
}

// The rest of what exec has put onto the stack, as it is now, behind arguments and environment.
status show_auxv(const proc_subject& of, text_buffer& out) {
    ref_ptr<vmspace> vm = TRY(vmspace_of(of));
    if (!vm)
        return {};
    vaddr_t at = image_facts(vm->image).stack_start;
    constexpr unsigned most_words = 1024 * 1024 / 8, most_pairs = 64;
    uint64_t word;
    unsigned nulls = 0;
    at += sizeof word; // argc
    for (unsigned i = 0; i < most_words && nulls < 2; i++, at += sizeof word) {
        if (!vm->read_memory(at, &word, sizeof word))
            return {};
        nulls += word == 0;
        if (i % 512 == 511)
            TRY(long_work::go_on());
    }
    char pair[2 * sizeof word];
    for (unsigned i = 0; i < most_pairs && vm->read_memory(at, pair, sizeof pair); i++) {
        out.append({pair, sizeof pair});
        memcpy(&word, pair, sizeof word);
        if (!word) // AT_NULL
            break;
        at += sizeof pair;
    }
    return {};
}

// Page by page through the kernel: neither side's locks are held while the other takes its faults.
expected<int64_t> move_memory(const proc_subject& of, uio& io, uint64_t offset) {
    if (of.gone())
        return 0;
    ref_ptr<vmspace> vm = TRY(vmspace_of(of));
    if (!vm)
        return 0;
    call_array<char> page(page_size);
    if (!page)
        return fail(Errno::nomem);
    const bool read = io.dir() == uio::direction::read;
    status moved;
    for (vaddr_t at(offset); io.remaining() && moved;) {
        const uint64_t n = std::min<uint64_t>(io.remaining(), page_size - at.page_offset());
        const uint64_t before = io.moved();
        if (read && !vm->read_memory(at, page.data(), n, true))
            return io.result(fail(Errno::io));
        moved = io.move(page.data(), n);
        const uint64_t now = io.moved() - before;
        if (!read && !vm->write_memory(at, page.data(), now, true)) {
            io.retract(now);
            return io.result(fail(Errno::io));
        }
        at += now;
        if (moved)
            moved = long_work::go_on();
    }
    return io.result(moved);
}

status show_environ(const proc_subject& of, text_buffer& out) {
    return show_memory(of, out, &image_facts::env_start, &image_facts::env_end);
}

// ---- Limits ----------------------------------------------------------------------------------

status show_limits(const proc_subject& of, text_buffer& out) {
    struct line {
        const char *name, *unit;
        unsigned resource;
    };
    static constexpr line lines[] = {
        {"Max cpu time", "seconds", rlimit_cpu},
        {"Max file size", "bytes", rlimit_fsize},
        {"Max data size", "bytes", rlimit_data},
        {"Max stack size", "bytes", rlimit_stack},
        {"Max core file size", "bytes", rlimit_core},
        {"Max resident set", "bytes", rlimit_rss},
        {"Max processes", "processes", rlimit_nproc},
        {"Max open files", "files", rlimit_nofile},
        {"Max locked memory", "bytes", rlimit_memlock},
        {"Max address space", "bytes", rlimit_as},
        {"Max file locks", "locks", rlimit_locks},
        {"Max pending signals", "signals", rlimit_sigpending},
        {"Max msgqueue size", "bytes", rlimit_msgqueue},
        {"Max nice priority", "", rlimit_nice},
        {"Max realtime priority", "", rlimit_rtprio},
        {"Max realtime timeout", "us", rlimit_rttime},
    };
    ref_ptr<process> p = of.find_process();
    if (!p)
        return fail(Errno::srch);
    linux_rlimit limits[rlimit_count];
    {
        lock_guard guard(p->lock);
        std::copy(std::begin(p->limits), std::end(p->limits), limits);
    }
    out.print("%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (const line& l : lines) {
        out.print("%-25s", l.name);
        for (uint64_t value : {limits[l.resource].current, limits[l.resource].maximum}) {
            if (value == UINT64_MAX)
                out.print(" %-20s", "unlimited");
            else
                out.print(" %-20llu", ull(value));
        }
        out.print(" %-10s\n", l.unit);
    }
    return {};
}

// ---- Links -----------------------------------------------------------------------------------

status print_path(vnode& node, text_buffer& out) {
    kmem_array<char> path(path_max);
    if (!path)
        return fail(Errno::nomem);
    if (auto length = vfs_path_of(node, path.data(), path.size())) {
        out.append({path.data(), *length});
        return {};
    }
    // A file without a name any more; memory files keep the name that they were made with.
    char name[64] = {};
    if (ref_ptr<uvm_pages> memory = node.memory()) {
        lock_guard guard(memory->lock());
        copy_string(name, sizeof(name), memory->name());
    }
    if (!strchr(name, '('))
        out.print("%s (deleted)", name[0] ? name : "/");
    else
        out.append(name);
    return {};
}

expected<ref_ptr<vnode>> jump_exe(const proc_subject& of) {
    ref_ptr<process> p = of.find_process();
    if (!p)
        return fail(Errno::noent);
    lock_guard guard(p->lock);
    if (!p->executable)
        return fail(Errno::noent);
    return ref_ptr<vnode>(p->executable);
}

expected<ref_ptr<vnode>> jump_cwd(const proc_subject& of) {
    ref_ptr<thread> t = of.find_thread();
    if (!t)
        return fail(Errno::noent);
    lock_guard guard(t->lock);
    if (!t->fs)
        return fail(Errno::noent);
    return t->fs->current_directory();
}

expected<ref_ptr<vnode>> jump_root(const proc_subject& of) {
    if (!of.find_process())
        return fail(Errno::noent);
    return root_directory();
}

template <expected<ref_ptr<vnode>> (*jump)(const proc_subject&)>
status show_jump(const proc_subject& of, text_buffer& out) {
    ref_ptr<vnode> node = TRY(jump(of));
    return print_path(*node, out);
}

status show_fd(const proc_subject& of, text_buffer& out) {
    ref_ptr<file> f = TRY(of.find_file());
    char text[64] = {};
    f->node()->pseudo_path(text, sizeof(text));
    if (text[0]) {
        out.append(text);
        return {};
    }
    return print_path(*f->node(), out);
}

expected<ref_ptr<vnode>> jump_fd(const proc_subject& of) {
    ref_ptr<file> f = TRY(of.find_file());
    return ref_ptr<vnode>(f->node());
}

// ---- Numbers ---------------------------------------------------------------------------------

int64_t next_fd(const proc_subject& of, int64_t from) {
    ref_ptr<thread> t = of.find_thread();
    if (!t)
        return -1;
    ref_ptr<fd_table> files;
    {
        lock_guard guard(t->lock);
        files = t->files;
    }
    return files ? files->next_open(int(from)) : -1;
}

int64_t next_thread(const proc_subject& of, int64_t from) {
    ref_ptr<process> p = of.find_process();
    if (!p)
        return -1;
    int64_t found = -1;
    lock_guard guard(process_tree_lock);
    for (thread& t : p->threads)
        if (t.tid >= from && (found < 0 || t.tid < found))
            found = t.tid;
    return found;
}

constexpr uint32_t file_444 = s_ifreg | 0444, file_644 = s_ifreg | 0644, link_777 = s_iflnk | 0777;

constexpr proc_entry fd_entry{.name = "", .mode = s_iflnk | 0700, .show = show_fd, .jump = jump_fd};
constexpr proc_numbers fd_numbers{next_fd, [](proc_subject& of, int64_t n) { of.fd = int(n); },
                                  &fd_entry};

status show_mounts_of(const proc_subject& of, text_buffer& out) {
    (void)of; // every process sees the same mounts
    constexpr std::string_view white_space = " \t\n\\";
    mount_description m;
    kmem_array<char> path(path_max);
    if (!path)
        return fail(Errno::nomem);
    for (unsigned i = 0; mount_describe(i, m); i++) {
        if (!vfs_path_of(*m.root, path.data(), path.size()))
            continue;
        out.append_escaped(m.source, white_space);
        out.append(' ');
        out.append_escaped(path.data(), white_space);
        out.print(" %s %s", m.type, m.flags & ms_rdonly ? "ro" : "rw");
        struct option {
            uint32_t flag;
            const char* text;
        };
        static constexpr option options[] = {
            {ms_nosuid, ",nosuid"},   {ms_nodev, ",nodev"},           {ms_noexec, ",noexec"},
            {ms_noatime, ",noatime"}, {ms_nodiratime, ",nodiratime"},
        };
        for (const option& o : options)
            if (m.flags & o.flag)
                out.append(o.text);
        if (!(m.flags & (ms_noatime | ms_strictatime)))
            out.append(",relatime");
        out.append(m.options);
        out.append(" 0 0\n");
    }
    return {};
}

// What a process and each of its threads have in common.
#define COMMON_ENTRIES                                                                             \
    {.name = "stat", .mode = file_444, .show = show_process_stat},                                 \
        {.name = "statm", .mode = file_444, .show = show_process_statm},                           \
        {.name = "status", .mode = file_444, .show = show_process_status},                         \
        {.name = "cmdline", .mode = file_444, .show = show_cmdline},                               \
        {.name = "environ", .mode = s_ifreg | 0400, .show = show_environ, .of_memory = true},      \
        {.name = "auxv", .mode = s_ifreg | 0400, .show = show_auxv, .of_memory = true},            \
        {.name = "mem", .mode = s_ifreg | 0600, .move = move_memory, .of_memory = true},           \
        {.name = "comm", .mode = file_644, .show = show_comm, .store = store_comm},                \
        {.name = "maps", .mode = file_444, .show = show_maps, .of_memory = true},                  \
        {.name = "smaps", .mode = file_444, .show = show_smaps, .of_memory = true},                \
        {.name = "smaps_rollup", .mode = file_444, .show = show_smaps_rollup, .of_memory = true},  \
        {.name = "oom_score", .mode = file_444, .show = show_oom_score},                           \
        {.name = "oom_score_adj",                                                                  \
         .mode = file_644,                                                                         \
         .show = show_oom_score_adj,                                                               \
         .store = store_oom_score_adj},                                                            \
        {.name = "exe", .mode = link_777, .show = show_jump<jump_exe>, .jump = jump_exe},          \
        {.name = "cwd", .mode = link_777, .show = show_jump<jump_cwd>, .jump = jump_cwd},          \
        {.name = "root", .mode = link_777, .show = show_jump<jump_root>, .jump = jump_root},       \
        {.name = "fd", .mode = s_ifdir | 0500, .numbers = &fd_numbers},                            \
        {.name = "mounts", .mode = file_444, .show = show_mounts_of},                              \
        {.name = "wchan", .mode = file_444, .show = show_wchan}, {                                 \
        .name = "limits", .mode = file_444, .show = show_limits                                    \
    }

constexpr proc_entry thread_entries[] = {COMMON_ENTRIES};
constexpr proc_entry thread_entry{.name = "", .mode = s_ifdir | 0555, .children = thread_entries};
constexpr proc_numbers thread_numbers{next_thread,
                                      [](proc_subject& of, int64_t n) {
                                          of.tid = pid_t(n);
                                          of.whole = false;
                                      },
                                      &thread_entry};

status show_ledger(const proc_subject& of, text_buffer& out) {
    ref_ptr<process> p = of.find_process();
    if (!p)
        return fail(Errno::srch);
    p->costs.print(out);
    return {};
}

// Whatever is written forgets the past.
status clear_ledger(const proc_subject& of, std::string_view) {
    ref_ptr<process> p = of.find_process();
    if (!p)
        return fail(Errno::srch);
    p->costs.clear();
    return {};
}

constexpr proc_entry process_entries[] = {
    COMMON_ENTRIES,
    {.name = "ledger", .mode = file_644, .show = show_ledger, .store = clear_ledger},
    {.name = "vmspace", .mode = file_444, .show = show_vmspace, .of_memory = true},
    {.name = "vmspace.json", .mode = file_444, .show = show_vmspace_json, .of_memory = true},
    {.name = "record", .mode = file_644, .show = show_recorded, .store = store_recorded},
    {.name = "task", .mode = s_ifdir | 0555, .numbers = &thread_numbers},
};

} // namespace

constexpr proc_entry proc_process_entry{
    .name = "", .mode = s_ifdir | 0555, .children = process_entries};
