// fault.h: does something that the processor refuses, and lives to tell which signal came.
#pragma once
#include "tap.h"

#include <setjmp.h>

struct fault {
    int signo;  // 0: nothing happened
    int code;   // si_code
    void* addr; // si_addr
};

static sigjmp_buf fault_return;
static volatile struct fault fault_seen;

TAP_UNUSED static void fault_handler(int signo, siginfo_t* info, void* context) {
    (void)context;
    fault_seen.signo = signo;
    fault_seen.code = info->si_code;
    fault_seen.addr = info->si_addr;
    siglongjmp(fault_return, 1);
}

// Has the signals of faults caught, by a handler with `flags` besides SA_SIGINFO.
TAP_UNUSED static void fault_catch(int flags) {
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    struct sigaction action = {.sa_sigaction = fault_handler, .sa_flags = SA_SIGINFO | flags};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        need(sigaction(signals[i], &action, NULL) == 0);
}

// Calls body(arg) and returns the fault that it met.
TAP_UNUSED static struct fault fault_of(void (*body)(void*), void* arg) {
    fault_seen.signo = fault_seen.code = 0;
    fault_seen.addr = NULL;
    if (sigsetjmp(fault_return, 1) == 0)
        body(arg);
    return (struct fault){fault_seen.signo, fault_seen.code, fault_seen.addr};
}

TAP_UNUSED static void fault_load(void* address) { (void)*(volatile char*)address; }

TAP_UNUSED static void fault_store(void* address) { *(volatile char*)address = 1; }

// One load or store, by hand so that the compiler has no opinion about the address.
TAP_UNUSED static struct fault load_fault(const void* address) {
    return fault_of(fault_load, (void*)(uintptr_t)address);
}

TAP_UNUSED static struct fault store_fault(const void* address) {
    return fault_of(fault_store, (void*)(uintptr_t)address);
}

#define is_fault(got, want_signo, want_code, want_addr, ...)                                       \
    ({                                                                                             \
        struct fault fault_got_ = (got);                                                           \
        bool fault_pass_ =                                                                         \
            tap_result(fault_got_.signo == (want_signo) && fault_got_.code == (want_code) &&       \
                           fault_got_.addr == (void*)(want_addr),                                  \
                       __FILE__, __LINE__, __VA_ARGS__);                                           \
        if (!fault_pass_)                                                                          \
            tap_explain("  got signal %d code %d address %p, want %d code %d address %p",          \
                        fault_got_.signo, fault_got_.code, fault_got_.addr, (want_signo),          \
                        (want_code), (void*)(want_addr));                                          \
        fault_pass_;                                                                               \
    })
