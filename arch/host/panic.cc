// panic() in a host process: message, locks, backtrace, abort; or an exception where a test
// expects it.
#include "lib/assert.h"

#include "host_machine.h"
#include "host_thread.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace {

void print_locks(const char* kind, const held_locks& held) {
    for (unsigned i = 0; i < held.count; i++)
        std::fprintf(stderr, "  holds %s %s\n", kind, held.entries[i].name);
}

} // namespace

void (*host_on_panic)(const char* message) = nullptr;

void panic(const char* format, ...) {
    host_panic thrown;
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(thrown.message, sizeof thrown.message, format, arguments);
    va_end(arguments);

    host_thread& me = host_thread::self();
    if (me.panics_expected != 0)
        throw thrown;
    if (host_on_panic)
        host_on_panic(thrown.message);
    std::fprintf(stderr, "panic on CPU %u: %s\n", me.cpu, thrown.message);
    print_locks("spin lock", me.cpu_locks);
    print_locks("sleep lock", me.thread_locks);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_print_stack_trace();
#endif
    std::abort();
}

host_panic_expected::host_panic_expected()
    : thread_locks_(thread_held_locks()), cpu_locks_(cpu_held_locks()),
      interrupt_depth_(host_thread::self().interrupt_depth) {
    host_thread::self().panics_expected++;
}

host_panic_expected::~host_panic_expected() {
    host_thread& me = host_thread::self();
    me.panics_expected--;
    me.thread_locks = thread_locks_;
    me.cpu_locks = cpu_locks_;
    me.interrupt_depth = interrupt_depth_;
}
