// Programs that mean harm, or have lost their way: each gets its signal or its errno, and the
// machine goes on. What comes to no agreed signal (garbage) only has to end or to live quietly.
#include "../lib/fault.h"
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

// Runs a piece of assembly in a child and checks that the signal kills it, or one of the two.
#define ASM_CASE(text, want) ASM_EITHER(text, want, want)
#define ASM_EITHER(text, want, other)                                                              \
    do {                                                                                           \
        pid_t child_ = fork();                                                                     \
        need(child_ >= 0);                                                                         \
        if (child_ == 0) {                                                                         \
            asm volatile(text ::: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "memory", "cc");       \
            _exit(77);                                                                             \
        }                                                                                          \
        int status_ = reap(child_);                                                                \
        is_killed(status_, killed_by(status_, other) ? other : want, "%s", text);                  \
    } while (0)

static void privileged(void) {
    ASM_CASE("hlt", SIGSEGV);
    ASM_CASE("cli", SIGSEGV);
    ASM_CASE("sti", SIGSEGV);
    ASM_CASE("mov %%cr0, %%rax", SIGSEGV);
    ASM_CASE("xor %%eax, %%eax; mov %%rax, %%cr3", SIGSEGV);
    ASM_CASE("xor %%eax, %%eax; mov %%rax, %%cr4", SIGSEGV);
    ASM_CASE("mov %%dr7, %%rax", SIGSEGV);
    ASM_CASE("in $0x60, %%al", SIGSEGV);
    ASM_CASE("mov $0xfe, %%al; out %%al, $0x64", SIGSEGV);
    ASM_CASE("mov $0xf4, %%dx; xor %%eax, %%eax; out %%eax, %%dx", SIGSEGV);
    ASM_CASE("mov $0xc0000080, %%ecx; rdmsr", SIGSEGV);
    ASM_CASE("mov $0xc0000082, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx; wrmsr", SIGSEGV);
    ASM_CASE("push $0; push $0; lgdt (%%rsp)", SIGSEGV);
    ASM_CASE("push $0; push $0; lidt (%%rsp)", SIGSEGV);
    ASM_CASE("xor %%eax, %%eax; ltr %%ax", SIGSEGV);
    ASM_CASE("invlpg (%%rsp)", SIGSEGV);
    ASM_CASE("clts", SIGSEGV);
    ASM_CASE("swapgs", SIGSEGV);
    ASM_CASE("sysretq", SIGSEGV);
    ASM_CASE("mov $0x10, %%eax; mov %%ax, %%ss", SIGSEGV);
    ASM_CASE("mov $0xfff8, %%eax; mov %%ax, %%ds", SIGSEGV);
}

static void interrupts(void) {
    ASM_CASE("ud2", SIGILL);
    ASM_CASE("int3", SIGTRAP);
    ASM_CASE("int $0", SIGSEGV);
    ASM_CASE("int $2", SIGSEGV); // the vectors of NMI, double fault, page fault, a device, an IPI
    ASM_CASE("int $8", SIGSEGV);
    ASM_CASE("int $14", SIGSEGV);
    ASM_CASE("int $0x20", SIGSEGV);
    ASM_CASE("int $0xfe", SIGSEGV);
    ASM_CASE("int $0xff", SIGSEGV);
}

static void returns_and_jumps(void) {
    // ss, rsp, flags, cs, rip for iretq: to ring 0; to no segment; to an address that is none
    ASM_CASE("push $0x18; push %%rsp; pushfq; push $0x10; push $0; iretq", SIGSEGV);
    ASM_CASE("push $0; push $0; push $0; push $0; push $0; iretq", SIGSEGV);
    ASM_CASE("push $-1; push $-1; push $-1; push $-1; push $-1; iretq", SIGSEGV);
    ASM_CASE("mov %%ss, %%eax; push %%rax; push %%rsp; pushfq; mov %%cs, %%eax; push %%rax;"
             "movabs $0x8000000000000000, %%rax; push %%rax; iretq",
             SIGSEGV);
    ASM_CASE("movabs $0xffffffff80000000, %%rax; jmp *%%rax", SIGSEGV);
    ASM_CASE("movabs $0xffff800000000000, %%rax; call *%%rax", SIGSEGV);
    ASM_CASE("movabs $0x0000800000000000, %%rax; push %%rax; ret", SIGSEGV);
    ASM_CASE("push $0x10; push $0; lretq", SIGSEGV);
    // without a stack
    ASM_CASE("xor %%esp, %%esp; push %%rax", SIGSEGV);
    ASM_CASE("movabs $0xffffffff80001000, %%rsp; push %%rax", SIGSEGV);
    // the processor has a stack fault for this one (SIGBUS); an emulated one may not
    ASM_EITHER("movabs $0x1234567812345678, %%rsp; push %%rax", SIGBUS, SIGSEGV);
    ASM_EITHER("xor %%esp, %%esp; sysenter", SIGILL, SIGSEGV);
}

// A system call needs no stack of the program's, and gives every register but three back.
static void calls_without_a_stack(void) {
    static const uintptr_t stacks[] = {0, 8, 0x1234567812345678, 0xffffffff80000000, ~0ul};
    for (size_t i = 0; i < sizeof stacks / sizeof stacks[0]; i++) {
        // A Linux that returns as from an interrupt (under FRED, or in a guest without hardware help) dies of these.
        if (!on_spork() && stacks[i] > 0x7fffffffffff)
            continue;
        long result, kept;
        asm volatile("mov %%rsp, %%rbx\n\tmov %[bad], %%rsp\n\tsyscall\n\t"
                     "mov %%rsp, %[kept]\n\tmov %%rbx, %%rsp"
                     : "=a"(result), [kept] "=&r"(kept)
                     : "a"((long)SYS_getpid), [bad] "r"(stacks[i])
                     : "rbx", "rcx", "r11", "memory");
        ok(result == getpid() && (uintptr_t)kept == stacks[i], "getpid with rsp 0x%lx", stacks[i]);
    }
    ASM_CASE("xor %%esp, %%esp; mov $39, %%eax; syscall; mov %%eax, %%edi; mov $10, %%esi;"
             "mov $62, %%eax; syscall",
             SIGUSR1); // kill(getpid(), SIGUSR1)
}

static void no_handler(int signo) { (void)signo; }

static void signal_without_a_stack(void* unused) {
    (void)unused;
    signal(SIGUSR1, no_handler);
    asm volatile("xor %%esp, %%esp; mov $39, %%eax; syscall; mov %%eax, %%edi; mov $10, %%esi;"
                 "mov $62, %%eax; syscall; ud2" ::
                     : "memory");
}

// Every flag that a program can set, but the trap flag; then what a call and its return make of it. A Linux may take
// NT away.
static void flags(void) {
    const unsigned long nt = on_spork() ? 0 : 0x4000;
    unsigned long before = 0x3fffff & ~0x100ul, during, after;
    long result;
    asm volatile("push %[set]\n\tpopfq\n\tpushfq\n\tpop %[during]\n\t"
                 "syscall\n\t"
                 "pushfq\n\tpop %[after]\n\tpush $2\n\tpopfq"
                 : "=a"(result), [during] "=&r"(during), [after] "=&r"(after)
                 : "a"((long)SYS_getpid), [set] "r"(before)
                 : "rcx", "r11", "memory", "cc");
    is(result, getpid(), "a call with every flag set");
    is(after & ~nt, during & ~nt, "gives them back");
    is(after & 0x200, 0x200, "interrupts are on");
    is(after & 0x3000, 0, "the I/O privilege level is 0");
    volatile char* fresh =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(fresh != MAP_FAILED);
    asm volatile("push %[set]\n\tpopfq\n\tmovb $1, (%[at])\n\t"
                 "pushfq\n\tpop %[after]\n\tpush $2\n\tpopfq"
                 : [after] "=&r"(after)
                 : [set] "r"(before), [at] "r"(fresh)
                 : "memory", "cc");
    is(after & ~(0x8d5 | nt), during & ~(0x8d5 | nt), "and so does a page fault");
    ASM_CASE("push $0x302; popfq; nop; nop", SIGTRAP); // single step
    ASM_CASE("push $2; popfq; cli", SIGSEGV);          // interrupts on in spite of it
}

static int edit; // which context a handler spoils

static void spoil(int signo, siginfo_t* info, void* context) {
    greg_t* g = ((ucontext_t*)context)->uc_mcontext.gregs;
    (void)signo, (void)info;
    switch (edit) {
    case 0: g[REG_RIP] = 0x1234567812345678; break;
    case 1: g[REG_RIP] = (greg_t)0xffffffff80000000; break;
    case 2: g[REG_CSGSFS] = 0x10; break;   // a kernel's code segment
    case 3: g[REG_CSGSFS] = 0xfff8; break; // none at all
    case 4: g[REG_RSP] = (greg_t)0xffffffff80000000; break;
    case 5: g[REG_RIP] = 0; break;
    case 6: g[REG_EFL] |= 0x3000 | 0x20000; break; // I/O privilege, virtual 8086
    }
}

static void spoil_and_return(void* which) {
    struct sigaction action = {.sa_sigaction = spoil, .sa_flags = SA_SIGINFO};
    edit = *(int*)which;
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    raise(SIGUSR1);
    if (edit == 6)
        asm volatile("cli");
    _exit(77);
}

static void jump_into_sigreturn(void* rsp) {
    asm volatile("mov %0, %%rsp\n\tmov $15, %%eax\n\tsyscall\n\thlt" ::"r"(rsp) : "memory");
}

static void sigreturn_frames(void) {
    is_killed(status_of(signal_without_a_stack, NULL), SIGSEGV, "a signal without a stack");
    for (int which = 0; which <= 6; which++)
        is_killed(status_of(spoil_and_return, &which), SIGSEGV, "spoilt context %d", which);
    static uint64_t frame[512];
    memset(frame, 0xff, sizeof frame);
    void* stacks[] = {NULL, frame, (void*)0x1234567812345678, (void*)0xffffffff80000000};
    for (int i = 0; i < 4; i++)
        is_killed(status_of(jump_into_sigreturn, stacks[i]), SIGSEGV, "sigreturn from %p",
                  stacks[i]);
}

static uint64_t next_random(uint64_t* state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

struct garbage {
    unsigned char* code;
    uint64_t seed;
};

// Random bytes, run with no access to any system call: syscall (0f 05) and int 80 do not occur.
static void run_garbage(void* arg) {
    struct garbage* g = arg;
    uint64_t state = g->seed;
    for (int i = 0; i < 4096; i++) {
        unsigned char byte = (unsigned char)next_random(&state);
        g->code[i] = byte == 0x05 || byte == 0x34 || byte == 0xcd ? 0x90 : byte;
    }
    need(mprotect(g->code, 4096, PROT_READ | PROT_EXEC) == 0);
    ((void (*)(void))(uintptr_t)g->code)();
}

static void garbage(void) {
    enum { RUNS = 100 };
    struct garbage g;
    int strange = 0;
    for (int run = 0; run < RUNS; run++) {
        g.code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        need(g.code != MAP_FAILED);
        g.seed = 0x9e3779b97f4a7c15 * (uint64_t)(run + 1);
        pid_t child = spawn(run_garbage, &g);
        int64_t end = now_ns() + 10000000; // those that loop are left to loop no longer than this
        pid_t ended;
        int status = 0;
        while ((ended = waitpid(child, &status, WNOHANG)) == 0 && now_ns() < end)
            sched_yield();
        if (ended == 0) {
            kill(child, SIGKILL);
            status = reap(child);
        }
        const int s = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        strange += WIFSIGNALED(status) && s != SIGSEGV && s != SIGBUS && s != SIGILL &&
                   s != SIGFPE && s != SIGTRAP && s != SIGKILL;
        munmap(g.code, 4096);
    }
    is(strange, 0, "%d pages of random bytes end by a fault's signal, or not at all", RUNS);
}

int main(void) {
    subtest("privileged instructions", privileged);
    subtest("software interrupts", interrupts);
    subtest("returns and jumps", returns_and_jumps);
    subtest("system calls without a stack", calls_without_a_stack);
    subtest("flags", flags);
    subtest("signal frames", sigreturn_frames);
    subtest("garbage", garbage);
    return done();
}
