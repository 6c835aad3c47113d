// What a handler does to the context that it is given, as rt_sigreturn then finds it.
#include "../lib/proc.h"

#include <sys/mman.h>
#include <ucontext.h>

// musl's struct _fpstate is Linux's, and so is its place in the context.
struct fpstate {
    uint16_t control, status, tag, opcode;
    uint64_t rip, rdp;
    uint32_t mxcsr, mxcsr_mask;
    uint32_t st[32], xmm[64], padding[12];
    uint32_t magic1, extended_size;
    uint64_t features;
    uint32_t state_size, rest[7];
};

static void (*change)(ucontext_t*);

static void handler(int signo, siginfo_t* info, void* context) {
    (void)signo, (void)info;
    change(context);
}

static void run(void* with) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    change = (void (*)(ucontext_t*))with;
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    raise(SIGUSR1);
    _exit(50); // it has come back
}

static greg_t* selectors(ucontext_t* c) { return &c->uc_mcontext.gregs[REG_CSGSFS]; }
static struct fpstate* fp(ucontext_t* c) { return (struct fpstate*)c->uc_mcontext.fpregs; }

static void leave_it(ucontext_t* c) { (void)c; }
static void null_code(ucontext_t* c) { *selectors(c) &= ~0xffffL; }
static void kernel_code(ucontext_t* c) { *selectors(c) = (*selectors(c) & ~0xffffL) | 0x10; }
static void data_as_code(ucontext_t* c) { *selectors(c) = (*selectors(c) & ~0xffffL) | 0x2b; }
static void far_code(ucontext_t* c) { *selectors(c) |= 0xffffL; }
static void kernel_stack(ucontext_t* c) {
    *selectors(c) = (*selectors(c) & 0xffffffffffffL) | 0x18L << 48;
}
static void far_stack(ucontext_t* c) { *selectors(c) |= (greg_t)(0xffffUL << 48); }
static void bad_rip(ucontext_t* c) { c->uc_mcontext.gregs[REG_RIP] = 0x1234567812345678; }
static void kernel_rip(ucontext_t* c) {
    c->uc_mcontext.gregs[REG_RIP] = (greg_t)0xffffffff80100000;
}
static void unmapped_rsp_and_rip(ucontext_t* c) {
    c->uc_mcontext.gregs[REG_RSP] = (greg_t)0x8000000000000000;
    c->uc_mcontext.gregs[REG_RIP] = 8;
}
static void all_flags(ucontext_t* c) {
    // Not TF, which would trap; AC and DF are put right again by the program.
    c->uc_mcontext.gregs[REG_EFL] |= 0xffffffff & ~0x40500L;
}
static void reserved_mxcsr(ucontext_t* c) { fp(c)->mxcsr = 0xffffffff; }
static void no_fp(ucontext_t* c) { c->uc_mcontext.fpregs = NULL; }
static void bad_fp(ucontext_t* c) { c->uc_mcontext.fpregs = (void*)0x10; }
static void kernel_fp(ucontext_t* c) { c->uc_mcontext.fpregs = (void*)0xffff800000000000; }
static void plain_fp(ucontext_t* c) { fp(c)->magic1 = 0; }
static void many_features(ucontext_t* c) {
    if (fp(c)->magic1 == 0x46505853)
        *(uint64_t*)((char*)fp(c) + 512) = UINT64_MAX >> 1;
}
static void compacted(ucontext_t* c) {
    if (fp(c)->magic1 == 0x46505853)
        *(uint64_t*)((char*)fp(c) + 520) = 1UL << 63 | 7;
}
static void strange_size(ucontext_t* c) { fp(c)->state_size = 0x7fffffff; }

static void contexts(void) {
    static const struct {
        void (*change)(ucontext_t*);
        const char* what;
        bool comes_back;
    } cases[] = {
        {leave_it, "a context left alone", true},
        {null_code, "no code segment", false},
        {kernel_code, "the kernel's code segment", false},
        {data_as_code, "a data segment for code", false},
        {far_code, "a code segment out of the table", false},
        {kernel_stack, "the kernel's stack segment", false},
        {far_stack, "a stack segment out of the table", false},
        {bad_rip, "a rip that is not canonical", false},
        {kernel_rip, "a rip in the kernel", false},
        {unmapped_rsp_and_rip, "a stack pointer that is not canonical", false},
        {all_flags, "every flag set that a program may not set", true},
        {reserved_mxcsr, "reserved bits in MXCSR", false},
        {no_fp, "no floating-point state", true},
        {bad_fp, "floating-point state that is not mapped", false},
        {kernel_fp, "floating-point state in the kernel", false},
        {plain_fp, "only the FXSAVE part", true},
        {strange_size, "a state of a strange size", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int status = status_of(run, (void*)cases[i].change);
        if (cases[i].comes_back)
            is_exit(status, 50, "%s: goes on", cases[i].what);
        else
            is_killed(status, SIGSEGV, "%s: SIGSEGV", cases[i].what);
    }
    // Whether these are an error depends on the kernel and the processor; they must not do harm.
    status_of(run, (void*)many_features);
    status_of(run, (void*)compacted);
    ok(true, "and headers of the extended state that no processor writes do no harm");
}

static void set_xmm(int signo, siginfo_t* info, void* context) {
    (void)signo, (void)info;
    uint64_t other = 0x2222222222222222;
    asm volatile("movq %0, %%xmm6\n\tmovq %0, %%xmm7" : : "r"(other) : "xmm6", "xmm7");
    memset(&fp(context)->xmm[4 * 7], 0x33, 8);
}

static void vector_registers(void) {
    struct sigaction action = {.sa_sigaction = set_xmm, .sa_flags = SA_SIGINFO};
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    uint64_t six = 0x1111111111111111, seven = six;
    pid_t self = getpid();
    long result;
    asm volatile("movq %[six], %%xmm6\n\tmovq %[seven], %%xmm7\n\tsyscall\n\t"
                 "movq %%xmm6, %[six]\n\tmovq %%xmm7, %[seven]"
                 : "=a"(result), [six] "+r"(six), [seven] "+r"(seven)
                 : "a"(62L), "D"((long)self), "S"((long)SIGUSR1)
                 : "rcx", "r11", "xmm6", "xmm7", "memory");
    ok(six == 0x1111111111111111, "a vector register is as before the handler");
    ok(seven == 0x3333333333333333, "and as the handler has changed it in the context");
}

static void uncontrolled_stack(void* size) {
    static char area[64 * 1024];
    stack_t stack = {.ss_sp = area + sizeof area / 2, .ss_size = *(size_t*)size};
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    change = leave_it;
    need(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    raise(SIGUSR1);
    _exit(50);
}

static void bad_stack_pointer(void* sp) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    change = leave_it;
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    long result = 62;
    asm volatile("mov %%rsp, %%rbx\n\tmov %[sp], %%rsp\n\tsyscall\n\tmov %%rbx, %%rsp"
                 : "+a"(result)
                 : [sp] "r"(sp), "D"((long)getpid()), "S"((long)SIGUSR1)
                 : "rbx", "rcx", "r11", "memory");
    _exit(50);
}

static void stacks(void) {
    size_t enough = 32 * 1024;
    is_exit(status_of(uncontrolled_stack, &enough), 50, "a frame on the alternate stack");
    void* read_only = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(read_only != MAP_FAILED);
    void* const bad[] = {NULL,
                         (void*)64,
                         (char*)read_only + 8192,
                         (void*)0x800000000000,
                         (void*)0xffff800000001000,
                         (void*)0xffffffffffffffff};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        is_killed(status_of(bad_stack_pointer, bad[i]), SIGSEGV, "a handler with its stack at %p",
                  bad[i]);
}

int main(void) {
    subtest("contexts", contexts);
    subtest("vector registers", vector_registers);
    subtest("stacks", stacks);
    return done();
}
