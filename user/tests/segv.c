// What the processor refuses becomes a signal, with the cause in si_code and the place in si_addr.
#include "../lib/fault.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/mman.h>

enum { PAGE = 4096 };

static const char constant[PAGE] = "read-only";

static char* map(size_t pages, int protection) {
    char* at = mmap(NULL, pages * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(at != MAP_FAILED);
    return at;
}

static void mapping_errors(void) {
    fault_catch(0);
    is_fault(load_fault(NULL), SIGSEGV, SEGV_MAPERR, 0, "load from NULL");
    is_fault(store_fault(NULL), SIGSEGV, SEGV_MAPERR, 0, "store to NULL");
    is_fault(load_fault((void*)0x123), SIGSEGV, SEGV_MAPERR, 0x123, "the exact address near NULL");

    char* at = map(3, PROT_READ | PROT_WRITE);
    need(munmap(at + PAGE, PAGE) == 0);
    is_fault(load_fault(at + PAGE), SIGSEGV, SEGV_MAPERR, at + PAGE, "load from an unmapped page");
    is_fault(store_fault(at + 2 * PAGE - 1), SIGSEGV, SEGV_MAPERR, at + 2 * PAGE - 1,
             "store to its last byte");
    is_fault(store_fault(at + PAGE - 1), 0, 0, 0, "the byte before it is fine");
    is_fault(store_fault(at + 2 * PAGE), 0, 0, 0, "and the byte behind it");
    is_fault(load_fault((void*)0x7fffffffe000), SIGSEGV, SEGV_MAPERR, 0x7fffffffe000,
             "the last page of user space");
}

static void protection_errors(void) {
    fault_catch(0);
    is_fault(store_fault(constant + 7), SIGSEGV, SEGV_ACCERR, constant + 7, "store to a constant");
    void* text = (void*)(uintptr_t)map;
    is_fault(store_fault(text), SIGSEGV, SEGV_ACCERR, text, "store to the program's text");
    is_fault(load_fault(text), 0, 0, 0, "which may be read");

    char* at = map(1, PROT_READ);
    is_fault(load_fault(at), 0, 0, 0, "load from a read-only page");
    is_fault(store_fault(at + 5), SIGSEGV, SEGV_ACCERR, at + 5, "store to it");
    at = map(1, PROT_NONE);
    is_fault(load_fault(at + 9), SIGSEGV, SEGV_ACCERR, at + 9, "load from a PROT_NONE page");
    is_fault(store_fault(at + 9), SIGSEGV, SEGV_ACCERR, at + 9, "store to it");
}

static void kernel_addresses(void) {
    static const uintptr_t canonical[] = {0xffff800000000000, 0xffff888000000000,
                                          0xffffffff80000000, 0xffffffff81000000,
                                          0xfffffffffffff000, 0xffffffffffffffff};
    static const uintptr_t other[] = {0x0000800000000000, 0x1234567812345678, 0xffff7fffffffffff,
                                      0x8000000000000000};
    fault_catch(0);
    for (size_t i = 0; i < sizeof canonical / sizeof canonical[0]; i++) {
        is_fault(load_fault((void*)canonical[i]), SIGSEGV, SEGV_MAPERR, canonical[i],
                 "load from the kernel's 0x%lx", canonical[i]);
        is_fault(store_fault((void*)canonical[i]), SIGSEGV, SEGV_MAPERR, canonical[i],
                 "store to it");
    }
    // The processor does not say which address it was.
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        is_fault(load_fault((void*)other[i]), SIGSEGV, SI_KERNEL, 0,
                 "load from 0x%lx, which is not canonical", other[i]);
}

static void call(void* address) { ((void (*)(void))address)(); }

static void execution(void) {
    fault_catch(0);
    char* at = map(1, PROT_READ | PROT_WRITE);
    *(unsigned char*)at = 0xc3; // ret
    is_fault(fault_of(call, at), SIGSEGV, SEGV_ACCERR, at, "run a page that is not executable");
    static unsigned char data[] = {0xc3};
    is_fault(fault_of(call, data), SIGSEGV, SEGV_ACCERR, data, "run data");
    unsigned char stack[16];
    *(volatile unsigned char*)stack = 0xc3;
    is_fault(fault_of(call, stack), SIGSEGV, SEGV_ACCERR, stack, "run the stack");
    need(mprotect(at, PAGE, PROT_READ | PROT_EXEC) == 0);
    is_fault(fault_of(call, at), 0, 0, 0, "made executable, the page runs");
    is_fault(fault_of(call, NULL), SIGSEGV, SEGV_MAPERR, 0, "run NULL");
    is_fault(fault_of(call, (void*)0xffffffff81000000), SIGSEGV, SEGV_MAPERR, 0xffffffff81000000,
             "run the kernel");
    is_fault(fault_of(call, (void*)0x1234567812345678), SIGSEGV, SI_KERNEL, 0,
             "run an address that is not canonical");
}

static void bus_errors(void) {
    fault_catch(0);
    put_file("short", 0600, "four");
    int fd = open("short", O_RDWR);
    need(fd >= 0);
    char* at = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    need(at != MAP_FAILED);
    is_fault(load_fault(at + PAGE - 1), 0, 0, 0, "the rest of a file's last page can be read");
    is(at[PAGE - 1], 0, "and is zero");
    is_fault(load_fault(at + PAGE), SIGBUS, BUS_ADRERR, at + PAGE, "the page behind it is SIGBUS");
    is_fault(store_fault(at + 2 * PAGE + 7), SIGBUS, BUS_ADRERR, at + 2 * PAGE + 7, "for stores");
    need(ftruncate(fd, PAGE + 1) == 0);
    is_fault(load_fault(at + PAGE), 0, 0, 0, "until the file has grown");
    need(ftruncate(fd, 1) == 0);
    is_fault(load_fault(at + PAGE), SIGBUS, BUS_ADRERR, at + PAGE, "and when it has shrunk");
}

static volatile int zero;

static void divide(void* unused) {
    (void)unused;
    zero = 1000 / zero; // does not get that far
}

static void divide_overflow(void* unused) {
    (void)unused;
    asm volatile("mov $0x80000000, %%eax\n\tcdq\n\tmov $-1, %%ecx\n\tidiv %%ecx" ::
                     : "rax", "rcx", "rdx", "cc");
}

static void undefined(void* unused) {
    (void)unused;
    asm volatile("ud2");
}

static void breakpoint(void* unused) {
    (void)unused;
    asm volatile("int3");
}

static void privileged(void* unused) {
    (void)unused;
    asm volatile("hlt");
}

static void instructions(void) {
    fault_catch(0);
    struct fault f = fault_of(divide, NULL);
    is_fault(f, SIGFPE, FPE_INTDIV, f.addr, "divide by zero");
    ok(f.addr != NULL, "at the instruction's address");
    is(fault_of(divide_overflow, NULL).signo, SIGFPE, "a quotient that does not fit");
    f = fault_of(undefined, NULL);
    is_fault(f, SIGILL, ILL_ILLOPN, f.addr, "ud2");
    is(memcmp(f.addr, "\x0f\x0b", 2), 0, "at the instruction's address");
    is(fault_of(breakpoint, NULL).signo, SIGTRAP, "int3");
    is_fault(fault_of(privileged, NULL), SIGSEGV, SI_KERNEL, 0, "hlt");
}

static __attribute__((noinline)) int deeper(volatile char* from) {
    volatile char frame[1000];
    frame[0] = *from;
    return zero == 0 ? deeper(frame) + frame[0] : 0; // always so, but the compiler cannot know
}

static void overflow(void* unused) {
    (void)unused;
    volatile char start = 0;
    deeper(&start);
}

static void stack_overflow(void) {
    static char area[32 * 1024];
    need(sigaltstack(&(stack_t){.ss_sp = area, .ss_size = sizeof area}, NULL) == 0);
    fault_catch(SA_ONSTACK);
    char here;
    struct fault f = fault_of(overflow, NULL);
    is(f.signo, SIGSEGV, "recursion without end is SIGSEGV");
    size_t depth = (size_t)(&here - (char*)f.addr);
    ok(depth > 1 << 20 && depth < 1ul << 30, "when a stack of a decent size is full");
    f = fault_of(overflow, NULL);
    is(f.signo, SIGSEGV, "and again");
    signal(SIGSEGV, SIG_DFL);
    is_killed(status_of(overflow, NULL), SIGSEGV, "without a handler it kills");
}

static void overflow_with_handler(void* unused) {
    fault_catch(0); // and no stack for it to run on
    overflow(unused);
}

static void no_way_out(void) {
    is_killed(status_of(overflow_with_handler, NULL), SIGSEGV,
              "a handler without a stack to run on: killed");
    sigset_t all;
    sigfillset(&all);
    fault_catch(0);
    need(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
    is_killed(status_of(fault_load, NULL), SIGSEGV, "a fault while SIGSEGV is blocked: killed");
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGSEGV, SIG_IGN);
    is_killed(status_of(fault_load, NULL), SIGSEGV, "a fault while SIGSEGV is ignored: killed");
    signal(SIGSEGV, SIG_DFL);
    is_killed(status_of(fault_load, NULL), SIGSEGV, "a fault with the default action: killed");
}

int main(void) {
    scratch_begin();
    subtest("nothing is mapped there", mapping_errors);
    subtest("what is mapped forbids it", protection_errors);
    subtest("addresses that are not the program's", kernel_addresses);
    subtest("running what is no code", execution);
    subtest("past the end of a file", bus_errors);
    subtest("instructions", instructions);
    subtest("stack overflow", stack_overflow);
    subtest("faults that no handler can take", no_way_out);
    return done();
}
