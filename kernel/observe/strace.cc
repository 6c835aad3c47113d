#include "kernel/observe/strace.h"

#include "arch/uaccess.h"
#include "kernel/abi/clone_flags.h"
#include "kernel/base/cmdline.h"
#include "kernel/base/printk.h"
#include "kernel/files/file.h"
#include "kernel/process/process.h"
#include "lib/format.h"
#include "lib/string.h"

#include <algorithm>
#include <cstdarg>
#include <iterator>

using namespace linux_abi;

namespace {

constexpr size_t shown_bytes = 32, shown_path = 128;

enum class mode : uint8_t { off, all, one };
constinit mode tracing = mode::off;
constinit char wanted_name[16] = {};

constexpr strace_line::flag open_flags[] = {
    {o_wronly, "O_WRONLY"},       {o_rdwr, "O_RDWR"},         {o_creat, "O_CREAT"},
    {o_excl, "O_EXCL"},           {o_noctty, "O_NOCTTY"},     {o_trunc, "O_TRUNC"},
    {o_append, "O_APPEND"},       {o_nonblock, "O_NONBLOCK"}, {o_sync, "O_SYNC"},
    {o_dsync, "O_DSYNC"},         {o_direct, "O_DIRECT"},     {o_largefile, "O_LARGEFILE"},
    {o_directory, "O_DIRECTORY"}, {o_nofollow, "O_NOFOLLOW"}, {o_noatime, "O_NOATIME"},
    {o_cloexec, "O_CLOEXEC"},     {o_path, "O_PATH"},
};
constexpr strace_line::flag prot_flags[] = {{1, "PROT_READ"}, {2, "PROT_WRITE"}, {4, "PROT_EXEC"}};
constexpr strace_line::flag map_flags[] = {
    {3, "MAP_SHARED_VALIDATE"}, {1, "MAP_SHARED"},
    {2, "MAP_PRIVATE"},         {0x10, "MAP_FIXED"},
    {0x20, "MAP_ANONYMOUS"},    {0x100, "MAP_GROWSDOWN"},
    {0x800, "MAP_DENYWRITE"},   {0x1000, "MAP_EXECUTABLE"},
    {0x2000, "MAP_LOCKED"},     {0x4000, "MAP_NORESERVE"},
    {0x8000, "MAP_POPULATE"},   {0x10000, "MAP_NONBLOCK"},
    {0x20000, "MAP_STACK"},     {0x100000, "MAP_FIXED_NOREPLACE"},
};
constexpr strace_line::flag at_flags[] = {
    {0x100, "AT_SYMLINK_NOFOLLOW"}, {0x200, "AT_REMOVEDIR"},   {0x400, "AT_SYMLINK_FOLLOW"},
    {0x800, "AT_NO_AUTOMOUNT"},     {0x1000, "AT_EMPTY_PATH"},
};
constexpr strace_line::flag clone_flags[] = {
#define X(value, name, linux_name) {value, linux_name},
    CLONE_FLAGS(X)
#undef X
};
constexpr const char* clock_names[] = {
    "CLOCK_REALTIME",          "CLOCK_MONOTONIC",     "CLOCK_PROCESS_CPUTIME_ID",
    "CLOCK_THREAD_CPUTIME_ID", "CLOCK_MONOTONIC_RAW", "CLOCK_REALTIME_COARSE",
    "CLOCK_MONOTONIC_COARSE",  "CLOCK_BOOTTIME",
};

// A name out of a table by number, or the number.
template <size_t N> void add_name(strace_line& line, int64_t value, const char* const (&names)[N]) {
    if (value >= 0 && size_t(value) < N)
        line.add("%s", names[value]);
    else
        line.add("%ld", value);
}

void format_result(char* out, size_t size, int64_t result) {
    if (result >= 0 && result <= INT32_MAX)
        format_to(out, size, "%ld", result);
    else if (result < 0 && result >= -4095)
        format_to(out, size, "%s%s", result <= -512 ? "? " : "-1 ", errno_name(Errno(-result)));
    else
        format_to(out, size, "%#lx", uint64_t(result));
}

} // namespace

void strace_line::add(const char* format, ...) {
    va_list args;
    va_start(args, format);
    int n = vformat_to(text_ + length_, sizeof text_ - length_, format, args);
    va_end(args);
    length_ = std::min(length_ + size_t(n), sizeof text_ - 1);
}

static void add_quoted(strace_line& line, const char* bytes, size_t n) {
    line.add("\"");
    for (size_t i = 0; i < n; i++) {
        auto c = static_cast<unsigned char>(bytes[i]);
        switch (c) {
        case '\n': line.add("\\n"); break;
        case '\t': line.add("\\t"); break;
        case '\r': line.add("\\r"); break;
        case '"': line.add("\\\""); break;
        case '\\': line.add("\\\\"); break;
        default: line.add(c >= 32 && c < 127 ? "%c" : "\\%o", c);
        }
    }
    line.add("\"");
}

void strace_line::add_bytes(vaddr_t from, uint64_t size) {
    char bytes[shown_bytes];
    size_t n = std::min<uint64_t>(size, sizeof bytes);
    if (copy_in_partial(bytes, from, n) != n) {
        add("%#lx", from.value());
        return;
    }
    add_quoted(*this, bytes, n);
    if (n < size)
        add("...");
}

void strace_line::add_string(vaddr_t from, size_t shown) {
    if (from.value() == 0) {
        add("NULL");
        return;
    }
    char bytes[shown_path];
    size_t n = copy_in_partial(bytes, from, std::min(shown, sizeof bytes));
    if (n == 0) {
        add("%#lx", from.value());
        return;
    }
    const void* end = memchr(bytes, '\0', n);
    add_quoted(*this, bytes, end ? size_t(static_cast<const char*>(end) - bytes) : n);
    if (!end)
        add("...");
}

void strace_line::add_flags(uint64_t value, const flag* table, size_t count) {
    bool first = true;
    for (size_t i = 0; i < count && value != 0; i++) {
        if ((value & table[i].value) != table[i].value)
            continue;
        add("%s%s", first ? "" : "|", table[i].name);
        value &= ~table[i].value;
        first = false;
    }
    if (value != 0 || first)
        add("%s%#lx", first ? "" : "|", value);
}

void strace_argument(strace_line& line, const strace_context&, int32_t v) { line.add("%d", v); }
void strace_argument(strace_line& line, const strace_context&, uint32_t v) { line.add("%u", v); }
void strace_argument(strace_line& line, const strace_context&, int64_t v) { line.add("%ld", v); }
void strace_argument(strace_line& line, const strace_context&, uint64_t v) {
    line.add(v < 1 << 20 ? "%lu" : "%#lx", v);
}
void strace_argument(strace_line& line, const strace_context&, sys_fd v) {
    line.add("%d", v.value);
}
void strace_argument(strace_line& line, const strace_context&, sys_at_fd v) {
    constexpr int at_fdcwd = -100;
    if (v.value == at_fdcwd)
        line.add("AT_FDCWD");
    else
        line.add("%d", v.value);
}
void strace_argument(strace_line& line, const strace_context&, sys_open_flags v) {
    uint32_t flags = uint32_t(v.value);
    if ((flags & o_accmode) == o_rdonly) {
        line.add("O_RDONLY");
        if (flags == 0)
            return;
        line.add("|");
    }
    line.add_flags(flags, open_flags, std::size(open_flags));
}
void strace_argument(strace_line& line, const strace_context&, sys_mode v) {
    line.add("%#o", v.value);
}
void strace_argument(strace_line& line, const strace_context&, sys_signal v) {
    add_name(line, v.value, signal_names);
}
void strace_argument(strace_line& line, const strace_context&, sys_pid v) {
    line.add("%d", v.value);
}
void strace_argument(strace_line& line, const strace_context&, sys_prot v) {
    if (v.value == 0)
        line.add("PROT_NONE");
    else
        line.add_flags(uint32_t(v.value), prot_flags, std::size(prot_flags));
}
void strace_argument(strace_line& line, const strace_context&, sys_map_flags v) {
    line.add_flags(uint32_t(v.value), map_flags, std::size(map_flags));
}
void strace_argument(strace_line& line, const strace_context&, sys_hex v) {
    line.add("%#x", v.value);
}
void strace_argument(strace_line& line, const strace_context&, sys_at_flags v) {
    if (v.value == 0)
        line.add("0");
    else
        line.add_flags(uint32_t(v.value), at_flags, std::size(at_flags));
}
void strace_argument(strace_line& line, const strace_context&, sys_whence v) {
    static constexpr const char* names[] = {"SEEK_SET", "SEEK_CUR", "SEEK_END", "SEEK_DATA",
                                            "SEEK_HOLE"};
    add_name(line, v.value, names);
}
void strace_argument(strace_line& line, const strace_context&, sys_clock v) {
    add_name(line, v.value, clock_names);
}
void strace_argument(strace_line& line, const strace_context&, sys_clone_flags v) {
    uint64_t flags = v.value & ~uint64_t{csignal};
    if (flags) {
        line.add_flags(flags, clone_flags, std::size(clone_flags));
        if (v.value & csignal)
            line.add("|");
    }
    if ((v.value & csignal) || !flags)
        add_name(line, int64_t(v.value & csignal), signal_names);
}
void strace_argument(strace_line& line, const strace_context&, sys_address v) {
    if (v.value == 0)
        line.add("NULL");
    else
        line.add("%#lx", v.value);
}
void strace_argument(strace_line& line, const strace_context&, sys_path v) {
    line.add_string(v.address, shown_path);
}
void strace_argument(strace_line& line, const strace_context&, sys_string v) {
    line.add_string(v.address, shown_bytes);
}
void strace_argument(strace_line& line, const strace_context&, sys_string_array v) {
    constexpr unsigned shown = 8;
    if (v.address.value() == 0) {
        line.add("NULL");
        return;
    }
    line.add("[");
    for (unsigned i = 0;; i++) {
        expected<uint64_t> at = user_ptr<const uint64_t>(v.address).read_at(i);
        if (!at || *at == 0)
            break;
        line.add("%s", i ? ", " : "");
        if (i == shown) {
            line.add("...");
            break;
        }
        line.add_string(vaddr_t(*at), shown_bytes);
    }
    line.add("]");
}
void strace_argument(strace_line& line, const strace_context& c, sys_in_bytes v) {
    line.add_bytes(v.address, c.registers[c.index + 1]);
}
void strace_argument(strace_line& line, const strace_context& c, sys_out_bytes v) {
    if (c.after && c.result >= 0)
        line.add_bytes(v.address, uint64_t(c.result));
    else
        line.add("%#lx", v.address.value());
}

void strace_init() {
    if (cmdline_has("strace"))
        tracing = mode::all;
    else if (cmdline_value("strace=", wanted_name, sizeof wanted_name))
        tracing = mode::one;
}

bool strace_wanted(const thread& self) {
    return tracing != mode::off && (tracing == mode::all || strcmp(self.name, wanted_name) == 0);
}

void strace_print(const thread& self, const strace_line& call, int64_t result) {
    char text[40];
    format_result(text, sizeof text, result);
    printk("[%d] %s = %s", self.tid, call.text(), text);
}

void strace_print_unfinished(const thread& self, const strace_line& call) {
    printk("[%d] %s <unfinished ...>", self.tid, call.text());
}

void strace_print_resumed(const thread& self, const char* name, int64_t result) {
    char text[40];
    format_result(text, sizeof text, result);
    printk("[%d] <... %s resumed> = %s", self.tid, name, text);
}
