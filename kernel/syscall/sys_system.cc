// Calls about the whole machine: what it has, its log, its end.
#include "arch/machine.h"
#include "arch/timer.h"
#include "kernel/abi/syscalls.h"
#include "kernel/base/printk.h"
#include "kernel/lifecycle/seams.h"
#include "kernel/observe/trace.h"
#include "kernel/process/process.h"
#include "kernel/sched/load_average.h"
#include "vm/phys/pool.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_swap.h"

#include <algorithm>
#include <atomic>

sysresult sys_sysinfo(user_ptr<void> out) {
    struct linux_sysinfo {
        int64_t uptime;
        uint64_t loads[3];
        uint64_t total_ram, free_ram, shared_ram, buffer_ram, total_swap, free_swap;
        uint16_t processes, pad;
        uint64_t total_high, free_high;
        uint32_t unit;
    };
    static_assert(sizeof(linux_sysinfo) == 112);
    linux_sysinfo info{};
    info.uptime = int64_t(now() / nanos_per_second);
    std::ranges::copy(load_average(), info.loads);
    vm_page_statistics pages = vm_page_get_statistics();
    info.total_ram = pages.total * page_size;
    info.free_ram = pages.free * page_size;
    info.total_swap = uvm_swap::total().pages * page_size;
    info.free_swap = uvm_swap::total().free * page_size;
    info.shared_ram = pages.object * page_size;
    info.processes = uint16_t(process_count());
    info.unit = 1;
    TRY(out.as<linux_sysinfo>().write(info));
    return 0;
}

// ---- The log ---------------------------------------------------------------------------------

namespace {

enum : int32_t {
    SYSLOG_CLOSE,
    SYSLOG_OPEN,
    SYSLOG_READ,
    SYSLOG_READ_ALL,
    SYSLOG_READ_CLEAR,
    SYSLOG_CLEAR,
    SYSLOG_CONSOLE_OFF,
    SYSLOG_CONSOLE_ON,
    SYSLOG_CONSOLE_LEVEL,
    SYSLOG_SIZE_UNREAD,
    SYSLOG_SIZE_BUFFER,
};
constexpr int64_t log_size = 1 << 16;

std::atomic<uint64_t> read_position{0}, cleared_position{0};

// The last `size` bytes that have not been cleared.
sysresult read_log(user_ptr<char> buffer, int32_t size, uint64_t from) {
    if (!buffer || size < 0)
        return fail(Errno::inval);
    uint64_t end = printk_end();
    from = std::max({from, printk_begin(), end > uint64_t(size) ? end - uint64_t(size) : 0});
    kmem_array<char> chunk(page_size);
    if (!chunk)
        return fail(Errno::nomem);
    int64_t done = 0;
    while (from < end && done < size) {
        size_t n = std::min({size_t(size - done), chunk.size(), size_t(end - from)});
        size_t got = printk_read(from, {chunk.data(), n});
        if (got == 0)
            break;
        TRY(copy_out(buffer.address() + uint64_t(done), chunk.data(), got));
        done += int64_t(got);
    }
    return done;
}

} // namespace

sysresult sys_syslog(int32_t type, user_ptr<char> buffer, int32_t size) {
    if (type != SYSLOG_READ_ALL && type != SYSLOG_SIZE_BUFFER && !current_credentials().superuser())
        return fail(Errno::perm);
    switch (type) {
    case SYSLOG_CLOSE:
    case SYSLOG_OPEN: return 0;
    case SYSLOG_READ: {
        uint64_t from = std::max(read_position.load(), printk_begin());
        int64_t n =
            TRY(read_log(buffer, std::min<int32_t>(size, int32_t(printk_end() - from)), from));
        read_position.store(from + uint64_t(n));
        return n;
    }
    case SYSLOG_READ_ALL: return read_log(buffer, size, cleared_position.load());
    case SYSLOG_READ_CLEAR: {
        int64_t n = TRY(read_log(buffer, size, cleared_position.load()));
        cleared_position.store(printk_end());
        return n;
    }
    case SYSLOG_CLEAR: cleared_position.store(printk_end()); return 0;
    case SYSLOG_CONSOLE_OFF:
    case SYSLOG_CONSOLE_ON: printk_to_console(type == SYSLOG_CONSOLE_ON); return 0;
    case SYSLOG_CONSOLE_LEVEL:
        // All messages have one level, Linux's default of 4.
        if (size < 1 || size > 8)
            return fail(Errno::inval);
        printk_to_console(size > 4);
        return 0;
    case SYSLOG_SIZE_UNREAD:
        return int64_t(printk_end() - std::max(read_position.load(), printk_begin()));
    case SYSLOG_SIZE_BUFFER: return log_size;
    default: return fail(Errno::inval);
    }
}

// ---- The end ---------------------------------------------------------------------------------

sysresult sys_reboot(sys_hex magic1, sys_hex magic2, sys_hex command, sys_address) {
    constexpr uint32_t first = 0xfee1dead;
    constexpr uint32_t second[] = {672274793, 85072278, 369367448, 537993216};
    constexpr uint32_t restart = 0x01234567, halt = 0xcdef0123, power_off = 0x4321fedc,
                       ctrl_alt_del_on = 0x89abcdef, ctrl_alt_del_off = 0;
    if (!current_credentials().superuser())
        return fail(Errno::perm);
    if (magic1 != first ||
        std::find(std::begin(second), std::end(second), magic2.value) == std::end(second))
        return fail(Errno::inval);
    switch (command) {
    case restart:
        printk("restarting");
        trace_finish();
        machine_reboot();
    case halt: // a machine that is off has halted
    case power_off:
        check_power_off_seam();
        printk("powering off");
        trace_finish();
        machine_power_off(false);
    case ctrl_alt_del_on:
    case ctrl_alt_del_off: return 0; // there is no keyboard whose keys it is about
    default: return fail(Errno::inval);
    }
}
