// strace: the system calls of all programs (word `strace`) or of those with one name
// (`strace=NAME`), in the log, as Linux's strace writes them:
//
//     [7] openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = -1 ENOENT
//
// How an argument is written follows from its type (kernel/abi/syscalls.h).
#pragma once

#include "kernel/abi/arguments.h"
#include "lib/types.h"

#include <cstddef>
#include <cstdint>

struct thread;

// One line under construction. Text that does not fit is cut off.
class strace_line {
public:
    strace_line() { text_[0] = '\0'; }
    void add(const char* format, ...) __attribute__((format(printf, 2, 3)));
    // Up to 32 bytes of the program's memory, quoted, with an ellipsis if there is more.
    void add_bytes(vaddr_t from, uint64_t size);
    // A string of the program's, up to `shown` characters.
    void add_string(vaddr_t from, size_t shown);
    // "A|B|0x40"
    struct flag {
        uint64_t value;
        const char* name;
    };
    void add_flags(uint64_t value, const flag* table, size_t count);
    const char* text() const { return text_; }

private:
    char text_[400];
    size_t length_ = 0;
};

// What an argument's text may depend on besides its value.
struct strace_context {
    const uint64_t* registers; // all arguments
    unsigned index;            // of this one
    bool after;                // the call has returned...
    int64_t result;            // ... this
};

void strace_argument(strace_line&, const strace_context&, int32_t);
void strace_argument(strace_line&, const strace_context&, uint32_t);
void strace_argument(strace_line&, const strace_context&, int64_t);
void strace_argument(strace_line&, const strace_context&, uint64_t);
void strace_argument(strace_line&, const strace_context&, sys_fd);
void strace_argument(strace_line&, const strace_context&, sys_at_fd);
void strace_argument(strace_line&, const strace_context&, sys_open_flags);
void strace_argument(strace_line&, const strace_context&, sys_mode);
void strace_argument(strace_line&, const strace_context&, sys_signal);
void strace_argument(strace_line&, const strace_context&, sys_pid);
void strace_argument(strace_line&, const strace_context&, sys_prot);
void strace_argument(strace_line&, const strace_context&, sys_map_flags);
void strace_argument(strace_line&, const strace_context&, sys_hex);
void strace_argument(strace_line&, const strace_context&, sys_at_flags);
void strace_argument(strace_line&, const strace_context&, sys_whence);
void strace_argument(strace_line&, const strace_context&, sys_clock);
void strace_argument(strace_line&, const strace_context&, sys_clone_flags);
void strace_argument(strace_line&, const strace_context&, sys_address);
void strace_argument(strace_line&, const strace_context&, sys_path);
void strace_argument(strace_line&, const strace_context&, sys_string);
void strace_argument(strace_line&, const strace_context&, sys_string_array);
void strace_argument(strace_line&, const strace_context&, sys_in_bytes);
void strace_argument(strace_line&, const strace_context&, sys_out_bytes);
template <class T> void strace_argument(strace_line& line, const strace_context&, user_ptr<T> p) {
    if (p)
        line.add("%#lx", p.address().value());
    else
        line.add("NULL");
}

// Whether the running thread's calls are wanted. Cheap when strace is off.
bool strace_wanted(const thread& self);
// Reads the command line. Once, before the first program.
void strace_init();
// Logs a whole call, or with `unfinished` what is known before it returns; then strace_resumed()
// logs the rest.
void strace_print(const thread& self, const strace_line& call, int64_t result);
void strace_print_unfinished(const thread& self, const strace_line& call);
void strace_print_resumed(const thread& self, const char* name, int64_t result);
