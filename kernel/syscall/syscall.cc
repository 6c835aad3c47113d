// The table of system calls, made from kernel/abi/syscalls.def, and the way from a trap frame
// to a handler: each handler's own argument types say how the registers are converted.
#include "kernel/abi/syscalls.h"

#include "arch/uaccess.h"
#include "arch/upcalls.h"
#include "kernel/base/cmdline.h"
#include "kernel/base/printk.h"
#include "kernel/files/file.h"
#include "kernel/files/vnode.h"
#include "kernel/lifecycle/oom.h"
#include "kernel/lifecycle/seams.h"
#include "kernel/observe/strace.h"
#include "kernel/process/process.h"
#include "kernel/signal/signal.h"
#include "kernel/signal/trace.h"
#include "lib/string.h"
#include "vm/phys/event.h"
#include "vm/phys/pool.h"

#include <algorithm>
#include <machine/trap_frame.h>
#include <tuple>
#include <type_traits>
#include <utility>

using namespace linux_abi;

namespace {

template <class T> struct convert { // user_ptr and the types that hold an address
    static T from(uint64_t r) { return T{vaddr_t(r)}; }
};
template <class T>
    requires std::is_integral_v<T>
struct convert<T> {
    static T from(uint64_t r) { return static_cast<T>(r); }
};
template <class Tag, class Int> struct convert<sys_int<Tag, Int>> {
    static sys_int<Tag, Int> from(uint64_t r) { return {static_cast<Int>(r)}; }
};
template <> struct convert<sys_clone_flags> {
    static sys_clone_flags from(uint64_t r) { return {r}; }
};
template <> struct convert<sys_address> {
    static sys_address from(uint64_t r) { return {r}; }
};

template <auto Handler> struct adapter;
template <class... Args, sysresult (*Handler)(Args...)> struct adapter<Handler> {
    static sysresult call(const trap_frame& frame) {
        return [&]<size_t... I>(std::index_sequence<I...>) {
            return Handler(convert<Args>::from(frame.argument(I))...);
        }(std::index_sequence_for<Args...>{});
    }
    static void print(strace_line& line, const uint64_t* r, bool after, int64_t result) {
        [&]<size_t... I>(std::index_sequence<I...>) {
            (print_argument<I>(line, strace_context{r, I, after, result}), ...);
        }(std::index_sequence_for<Args...>{});
    }
    template <size_t I> static void print_argument(strace_line& line, const strace_context& c) {
        using arguments = std::tuple<Args...>;
        using type = std::tuple_element_t<I, arguments>;
        // The mode of open means something only if a file may be made.
        if constexpr (I > 0 && std::is_same_v<type, sys_mode>)
            if constexpr (std::is_same_v<std::tuple_element_t<I - 1, arguments>, sys_open_flags>)
                if (!(c.registers[I - 1] & o_creat))
                    return;
        line.add("%s", I > 0 ? ", " : "");
        strace_argument(line, c, convert<type>::from(c.registers[I]));
    }
};

struct entry {
    const char* name = nullptr;
    sysresult (*call)(const trap_frame&) = nullptr;
    void (*print)(strace_line&, const uint64_t*, bool, int64_t) = nullptr;
};

// Linux's calls, and behind them in the table Spork's own, whose numbers are far above.
constexpr uint64_t linux_calls = 512, own_calls = 16, first_own_call = 0x5000;
constexpr size_t index_of(uint64_t number) {
    if (number < linux_calls) [[likely]]
        return number;
    return linux_calls + std::min(number - first_own_call, own_calls); // below it wraps
}
struct call_table {
    entry entries[linux_calls + own_calls + 1]; // the last one stays empty
    constexpr call_table() {
#define SYSCALL(number, name, ...)                                                                 \
    entries[index_of(number)] = {#name, adapter<sys_##name>::call, adapter<sys_##name>::print};
#include "kernel/abi/syscalls.def"
#undef SYSCALL
    }
};
constexpr call_table table;

// Calls that do not come back, or after which the memory that their arguments are in is another, or
// that a child's calls come in between: strace prints them when they begin.
bool printed_first(uint64_t number) {
    constexpr uint64_t clone = 56, fork = 57, vfork = 58, execve = 59, exit = 60, exit_group = 231,
                       execveat = 322, clone3 = 435, afork = 0x5001;
    for (uint64_t n : {clone, fork, vfork, execve, exit, exit_group, execveat, clone3, afork})
        if (n == number)
            return true;
    return false;
}

// Calls that are not there: each program's number once, for the word log_enosys.
void log_unknown(const thread& self, uint64_t number) {
    static const bool wanted = cmdline_has("log_enosys");
    if (!wanted)
        return;
    struct seen {
        char name[16];
        uint64_t number;
    };
    static spin_lock lock(lock_rank::device, "log_enosys");
    static seen all[128];
    static size_t count;
    {
        lock_guard guard(lock);
        for (size_t i = 0; i < count; i++)
            if (all[i].number == number && strcmp(all[i].name, self.name) == 0)
                return;
        if (count == std::size(all))
            return;
        copy_string(all[count].name, sizeof all[count].name, self.name);
        all[count++].number = number;
    }
    printk("%s: system call %lu is not there", self.name, number);
}

void unknown_call(thread& self, trap_frame& frame) {
    const uint64_t number = frame.syscall_number();
    log_unknown(self, number);
    frame.set_result(-int64_t(Errno::nosys));
    if (strace_wanted(self))
        printk("[%d] syscall_%lu(%#lx, %#lx, %#lx) = -1 ENOSYS", self.tid, number,
               frame.argument(0), frame.argument(1), frame.argument(2));
}

// One that a signal has interrupted is settled on the way out; and so is one that is made again
// because there is memory now, for it has left no trace.
void call_failed(thread& self, trap_frame& frame, Errno error) {
    if (error == Errno::nomem && out_of_memory_in_call(self)) [[unlikely]]
        error = Errno::restartnointr;
    frame.set_result(-int64_t(error));
    if (call_interrupted(frame))
        self.machine.work_pending.store(true);
}

// A call that strace shows.
void traced_call(thread& self, trap_frame& frame, const entry& e) {
    const std::array<uint64_t, 6> arguments = frame.arguments(); // exec puts others there
    const uint64_t number = frame.syscall_number();
    const bool first = printed_first(number);
    if (first) {
        strace_line line;
        line.add("%s(", e.name);
        e.print(line, arguments.data(), false, 0);
        line.add(")");
        strace_print_unfinished(self, line);
    }
    const sysresult result = e.call(frame);
    const int64_t value = result ? *result : -int64_t(result.error());
    if (result)
        frame.set_result(value);
    else
        call_failed(self, frame, result.error());
    if (first) {
        strace_print_resumed(self, e.name, value);
        return;
    }
    strace_line line;
    line.add("%s(", e.name);
    e.print(line, arguments.data(), true, value);
    line.add(")");
    strace_print(self, line, value);
}

} // namespace

const char* syscall_name(uint64_t number) { return table.entries[index_of(number)].name; }

[[gnu::always_inline]] static inline void make_call(thread& self, trap_frame& frame) {
    const uint64_t number = frame.syscall_number();
    const entry& e = table.entries[index_of(number)];
    EVENT(syscall_enter, .number = uint32_t(number), .name = e.name);
    if (!e.call) [[unlikely]]
        unknown_call(self, frame);
    else if (strace_wanted(self)) [[unlikely]]
        traced_call(self, frame, e);
    else if (const sysresult result = e.call(frame)) [[likely]]
        frame.set_result(*result);
    else
        call_failed(self, frame, result.error());
    check_call_seam(self, e.name);
    EVENT(syscall_exit, .number = uint32_t(number), .result = frame.result());
}

// One that a tracer may look at, change, or take away.
[[gnu::noinline, gnu::cold]] static void make_call_before_tracer(thread& self, trap_frame& frame) {
    if (trace_call_begins(self, frame))
        make_call(self, frame);
    trace_call_ends(self, frame);
}

void handle_syscall(trap_frame& frame) {
    thread& self = current_thread();
    self.modes.enter_kernel();
    if (self.signals.traced.load(std::memory_order_relaxed)) [[unlikely]]
        make_call_before_tracer(self, frame);
    else
        make_call(self, frame);
}
