// /proc/sys: what of the kernel can be set, in Linux's formats where Linux has it.
#include "kernel/files/epoll.h"
#include "kernel/files/permission.h"
#include "kernel/files/pipe.h"
#include "kernel/memory/sysv_shm.h"
#include "kernel/proc/procfs_node.h"
#include "kernel/process/fork_mode.h"
#include "kernel/process/pid.h"
#include "kernel/process/process.h"
#include "kernel/process/sync_point.h"
#include "kernel/process/utsname.h"
#include "kernel/tty/pty.h"
#include "vm/phys/alloc_fail.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_commit.h"
#include "vm/uvm_pdaemon.h"
#include "vm/uvm_pdpolicy.h"
#include "vm/vmspace.h"

#include <algorithm>
#include <bit>

using namespace linux_abi;

namespace {

using ull = unsigned long long;

// ---- Names -----------------------------------------------------------------------------------

status show_hostname(const proc_subject&, text_buffer& out) {
    char name[utsname_length];
    hostname_get(name);
    out.print("%s\n", name);
    return {};
}

status store_hostname(const proc_subject&, std::string_view text) {
    if (!is_superuser())
        return fail(Errno::perm);
    return hostname_set(text.data(), text.size());
}

template <const char* const& text> status show_text(const proc_subject&, text_buffer& out) {
    out.print("%s\n", text);
    return {};
}

status show_pid_max(const proc_subject&, text_buffer& out) {
    out.print("%d\n", pid_max);
    return {};
}

template <const char* (*name)()> status show_name(const proc_subject&, text_buffer& out) {
    out.print("%s\n", name());
    return {};
}
template <status (*set)(std::string_view)>
status store_name(const proc_subject&, std::string_view text) {
    if (!is_superuser())
        return fail(Errno::perm);
    return set(text);
}

// ---- Numbers ----------------------------------------------------------------------------

// A decimal number that is all there is. EINVAL.
expected<uint64_t> parse_setting(std::string_view text, uint64_t most) {
    if (!is_superuser())
        return fail(Errno::perm);
    if (text.empty())
        return fail(Errno::inval);
    uint64_t n = 0;
    for (char c : text) {
        if (c < '0' || c > '9' || __builtin_mul_overflow(n, uint64_t{10}, &n) ||
            __builtin_add_overflow(n, uint64_t(c - '0'), &n))
            return fail(Errno::inval);
    }
    if (n > most)
        return fail(Errno::inval);
    return n;
}

template <shm_limit which> status show_shm_limit(const proc_subject&, text_buffer& out) {
    out.print("%llu\n", ull(shm_get_limit(which)));
    return {};
}
template <shm_limit which, uint64_t most>
status store_shm_limit(const proc_subject&, std::string_view text) {
    shm_set_limit(which, TRY(parse_setting(text, most)));
    return {};
}

// ---- /proc/sys/vm ----------------------------------------------------------------------------

status show_overcommit_memory(const proc_subject&, text_buffer& out) {
    out.print("%u\n", unsigned(uvm_commit::get_mode()));
    return {};
}
status store_overcommit_memory(const proc_subject&, std::string_view text) {
    uvm_commit::set_mode(uvm_commit::mode(TRY(parse_setting(text, 2))));
    return {};
}

status show_overcommit_ratio(const proc_subject&, text_buffer& out) {
    out.print("%llu\n", ull(uvm_commit::ratio()));
    return {};
}
status store_overcommit_ratio(const proc_subject&, std::string_view text) {
    constexpr uint64_t most = 100'000; // percent
    uvm_commit::set_ratio(TRY(parse_setting(text, most)));
    return {};
}

status show_overcommit_kbytes(const proc_subject&, text_buffer& out) {
    out.print("%llu\n", ull(uvm_commit::kbytes()));
    return {};
}
status store_overcommit_kbytes(const proc_subject&, std::string_view text) {
    uvm_commit::set_kbytes(TRY(parse_setting(text, UINT64_MAX >> 10)));
    return {};
}

status show_max_map_count(const proc_subject&, text_buffer& out) {
    out.print("%llu\n", ull(vm_max_map_count.load()));
    return {};
}
status store_max_map_count(const proc_subject&, std::string_view text) {
    vm_max_map_count.store(TRY(parse_setting(text, INT32_MAX)));
    return {};
}

status show_page_policy(const proc_subject&, text_buffer& out) {
    for (unsigned n = 0; const char* name = uvm_pdpolicy::name(n); n++)
        out.print(name == uvm_pdpolicy::name() ? "[%s] " : "%s ", name);
    out.append('\n');
    return {};
}

status show_min_free(const proc_subject&, text_buffer& out) {
    out.print("%llu\n", ull(uvm_pdaemon::reserve()) << (page_shift - 10));
    return {};
}
status store_min_free(const proc_subject&, std::string_view text) {
    const uint64_t most = vm_page_total() << (page_shift - 10);
    uvm_pdaemon::set_reserve(TRY(parse_setting(text, most)) >> (page_shift - 10));
    return {};
}

template <std::atomic<bool>& flag> status show_flag(const proc_subject&, text_buffer& out) {
    out.print("%d\n", flag.load() ? 1 : 0);
    return {};
}
template <std::atomic<bool>& flag> status store_flag(const proc_subject&, std::string_view text) {
    flag.store(TRY(parse_setting(text, 1)) != 0);
    return {};
}

template <std::atomic<uint64_t>& number> status show_number(const proc_subject&, text_buffer& out) {
    out.print("%llu\n", ull(number.load()));
    return {};
}
template <std::atomic<uint64_t>& number>
status store_number(const proc_subject&, std::string_view text) {
    number.store(TRY(parse_setting(text, UINT64_MAX)));
    return {};
}

status show_pty_max(const proc_subject&, text_buffer& out) {
    out.print("%u\n", pty::limit.load());
    return {};
}
status store_pty_max(const proc_subject&, std::string_view text) {
    pty::limit.store(unsigned(TRY(parse_setting(text, pty::most))));
    return {};
}
status show_pty_count(const proc_subject&, text_buffer& out) {
    out.print("%u\n", pty::count());
    return {};
}

status store_pipe_max_size(const proc_subject&, std::string_view text) {
    const uint64_t size = TRY(parse_setting(text, pipe_largest_size));
    pipe_max_size.store(std::bit_ceil(std::max(size, page_size)));
    return {};
}

status show_sync_points(const proc_subject&, text_buffer& out) {
    sync_points_show(out);
    return {};
}
status store_sync_points(const proc_subject&, std::string_view text) {
    return sync_points_store(text);
}

// For tests: the n-th allocation inside the kernel by the thread that writes n fails, once; 0 takes
// that back. Reads as how many are still to come: 0 once it has failed. EBUSY while another thread
// has one pending.
status show_fail_allocation(const proc_subject&, text_buffer& out) {
    out.print("%llu\n", ull(alloc_fail_pending()));
    return {};
}
status store_fail_allocation(const proc_subject&, std::string_view text) {
    constexpr uint64_t most = 1'000'000'000;
    return alloc_fail_try(TRY(parse_setting(text, most))) ? status() : fail(Errno::busy);
}

// ---- The tables ------------------------------------------------------------------------------

constexpr uint32_t file_444 = s_ifreg | 0444, file_644 = s_ifreg | 0644,
                   directory_555 = s_ifdir | 0555;

constexpr proc_entry pty_entries[] = {
    {.name = "max", .mode = file_644, .show = show_pty_max, .store = store_pty_max},
    {.name = "nr", .mode = file_444, .show = show_pty_count},
};

constexpr proc_entry kernel_entries[] = {
    {.name = "fork_mode",
     .mode = file_644,
     .show = show_name<fork_mode_default_name>,
     .store = store_name<fork_mode_set_default>},
    {.name = "hostname", .mode = file_644, .show = show_hostname, .store = store_hostname},
    {.name = "osrelease", .mode = file_444, .show = show_text<kernel_release>},
    {.name = "ostype", .mode = file_444, .show = show_text<kernel_name>},
    {.name = "pid_max", .mode = file_444, .show = show_pid_max},
    {.name = "pty", .mode = directory_555, .children = pty_entries},
    {.name = "shmall",
     .mode = file_644,
     .show = show_shm_limit<shm_limit::all>,
     .store = store_shm_limit<shm_limit::all, UINT64_MAX>},
    {.name = "shmmax",
     .mode = file_644,
     .show = show_shm_limit<shm_limit::max>,
     .store = store_shm_limit<shm_limit::max, UINT64_MAX>},
    {.name = "shmmni",
     .mode = file_644,
     .show = show_shm_limit<shm_limit::count>,
     .store = store_shm_limit<shm_limit::count, shm_table_size>},
    {.name = "sync_points", .mode = file_644, .show = show_sync_points, .store = store_sync_points},
    {.name = "version", .mode = file_444, .show = show_text<kernel_version>},
    {.name = "vfork_mode",
     .mode = file_644,
     .show = show_name<vfork_mode_default_name>,
     .store = store_name<vfork_mode_set_default>},
};

constexpr proc_entry vm_entries[] = {
    {.name = "overcommit_memory",
     .mode = file_644,
     .show = show_overcommit_memory,
     .store = store_overcommit_memory},
    {.name = "overcommit_ratio",
     .mode = file_644,
     .show = show_overcommit_ratio,
     .store = store_overcommit_ratio},
    {.name = "overcommit_kbytes",
     .mode = file_644,
     .show = show_overcommit_kbytes,
     .store = store_overcommit_kbytes},
    {.name = "max_map_count",
     .mode = file_644,
     .show = show_max_map_count,
     .store = store_max_map_count},
    {.name = "min_free_kbytes", .mode = file_644, .show = show_min_free, .store = store_min_free},
    {.name = "fault_ahead",
     .mode = file_644,
     .show = show_flag<uvm_fault_ahead_enabled>,
     .store = store_flag<uvm_fault_ahead_enabled>},
    {.name = "page_policy",
     .mode = file_644,
     .show = show_page_policy,
     .store = store_name<uvm_pdpolicy::choose>},
    {.name = "rights_ahead",
     .mode = file_644,
     .show = show_flag<uvm_rights_ahead_enabled>,
     .store = store_flag<uvm_rights_ahead_enabled>},
    {.name = "fail_allocation",
     .mode = file_644,
     .show = show_fail_allocation,
     .store = store_fail_allocation},
    {.name = "zero_page",
     .mode = file_644,
     .show = show_flag<uvm_zero_page_enabled>,
     .store = store_flag<uvm_zero_page_enabled>},
    {.name = "check_at_seams",
     .mode = file_644,
     .show = show_flag<uvm_check_at_seams>,
     .store = store_flag<uvm_check_at_seams>},
};

constexpr proc_entry epoll_entries[] = {
    {.name = "max_user_watches",
     .mode = file_644,
     .show = show_number<epoll_max_user_watches>,
     .store = store_number<epoll_max_user_watches>},
};

constexpr proc_entry fs_entries[] = {
    {.name = "epoll", .mode = directory_555, .children = epoll_entries},
    {.name = "pipe-max-size",
     .mode = file_644,
     .show = show_number<pipe_max_size>,
     .store = store_pipe_max_size},
    {.name = "pipe-user-pages-soft",
     .mode = file_644,
     .show = show_number<pipe_user_pages_soft>,
     .store = store_number<pipe_user_pages_soft>},
    {.name = "pipe-user-pages-hard",
     .mode = file_644,
     .show = show_number<pipe_user_pages_hard>,
     .store = store_number<pipe_user_pages_hard>},
};

} // namespace

constexpr proc_entry proc_sys_entries[] = {
    {.name = "fs", .mode = directory_555, .children = fs_entries},
    {.name = "kernel", .mode = directory_555, .children = kernel_entries},
    {.name = "vm", .mode = directory_555, .children = vm_entries},
};
