// Floating-point and vector registers are a process's own: kept over switches, system calls and
// signals, copied by fork, fresh after exec.
#include "../lib/proc.h"

#include <cpuid.h>
#include <fenv.h>
#include <sched.h>

static const char* self;

static bool have_avx(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_AVX) || !(c & bit_OSXSAVE))
        return false;
    asm("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (a & 6) == 6;
}

struct vectors {
    unsigned char bytes[16][32];
};

__attribute__((target("avx"))) static void load_avx(const struct vectors* v) {
#define LOAD(n) "vmovdqu 32*" #n "(%0), %%ymm" #n "\n\t"
    asm volatile(LOAD(0) LOAD(1) LOAD(2) LOAD(3) LOAD(8) LOAD(15)::"r"(v) : "memory");
}

__attribute__((target("avx"))) static void store_avx(struct vectors* v) {
#define STORE(n) "vmovdqu %%ymm" #n ", 32*" #n "(%0)\n\t"
    asm volatile(STORE(0) STORE(1) STORE(2) STORE(3) STORE(8) STORE(15)::"r"(v) : "memory");
}

// Fills registers, makes `calls` system calls that let others run, and looks at the registers.
static bool survives(unsigned char seed, int calls, bool avx) {
    struct vectors in = {0}, out = {0};
    for (int r = 0; r < 16; r++)
        for (int i = 0; i < 32; i++)
            in.bytes[r][i] = (unsigned char)(seed + r * 32 + i);
    double x87 = seed * 1.5, x87_after;
    unsigned mxcsr = 0x1f80 | (unsigned)(seed & 3) << 13, mxcsr_after;
    asm volatile("ldmxcsr %0" ::"m"(mxcsr));
    for (int call = 0; call < calls; call++) {
        long number = 24; // sched_yield
        // Registers are filled and read in one piece of assembly each: nothing comes between but
        // the call.
        if (avx) {
            load_avx(&in);
            asm volatile("syscall" : "+a"(number)::"rcx", "r11", "memory");
            store_avx(&out);
            for (int r = 0; r < 16; r++)
                if ((r <= 3 || r == 8 || r == 15) && memcmp(in.bytes[r], out.bytes[r], 32) != 0)
                    return false;
        } else {
            asm volatile(
                "movdqu (%1), %%xmm1\n\tmovdqu 32(%1), %%xmm7\n\tmovdqu 64(%1), %%xmm15\n\t"
                "fldl %3\n\tsyscall\n\tfstpl %4\n\t"
                "movdqu %%xmm1, (%2)\n\tmovdqu %%xmm7, 32(%2)\n\tmovdqu %%xmm15, 64(%2)"
                : "+a"(number)
                : "r"(&in), "r"(&out), "m"(x87), "m"(x87_after)
                : "rcx", "r11", "xmm1", "xmm7", "xmm15", "memory");
            for (int r = 0; r < 3; r++)
                if (memcmp(in.bytes[r], out.bytes[r], 16) != 0)
                    return false;
            if (x87_after != x87)
                return false;
        }
    }
    asm volatile("stmxcsr %0" : "=m"(mxcsr_after));
    return (mxcsr_after & ~0x3fu) == mxcsr;
}

static void switcher(void* seed) {
    need(survives((unsigned char)(uintptr_t)seed, 500, false));
    if (have_avx())
        need(survives((unsigned char)(uintptr_t)seed, 500, true));
}

static void switches(void) {
    enum { COUNT = 6 };
    pid_t child[COUNT];
    for (int i = 0; i < COUNT; i++)
        child[i] = spawn(switcher, (void*)(uintptr_t)(i * 37 + 1));
    for (int i = 0; i < COUNT; i++)
        is_exit(reap(child[i]), 0, "process %d of %d finds its registers as it left them", i + 1,
                COUNT);
}

static void compute(void* seed) {
    // No system call at all: only the timer interrupts this.
    const double start = (double)(uintptr_t)seed;
    double first = 0;
    for (int round = 0; round < 40; round++) {
        double x = start, sum = 0;
        for (int i = 1; i < 20000; i++) {
            x = x * 1.0000001 + 0.5 / i;
            sum += x;
        }
        if (round == 0)
            first = sum;
        need(sum == first);
    }
}

static void computing(void) {
    pid_t child[4];
    for (int i = 0; i < 4; i++)
        child[i] = spawn(compute, (void*)(uintptr_t)(i + 1));
    for (int i = 0; i < 4; i++)
        is_exit(reap(child[i]), 0, "computation %d gives the same sum each time", i + 1);
}

static void spoil_registers(int signo) {
    (void)signo;
    asm volatile("pcmpeqd %%xmm1, %%xmm1\n\tpcmpeqd %%xmm15, %%xmm15\n\tfninit\n\tfldpi" ::
                     : "xmm1", "xmm15", "memory");
    unsigned all = 0x7f80;
    asm volatile("ldmxcsr %0" ::"m"(all));
}

static void signals(void) {
    struct sigaction action = {.sa_handler = spoil_registers};
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    unsigned char in[16] = "0123456789abcde", out[16];
    double x87 = 12.5, after = 0;
    unsigned mxcsr = 0x3f80, mxcsr_after = 0;
    long result = 62; // kill
    asm volatile("ldmxcsr %[csr]\n\tmovdqu %[in], %%xmm15\n\tfldl %[x87]\n\tsyscall\n\t"
                 "fstpl %[after]\n\tmovdqu %%xmm15, %[out]\n\tstmxcsr %[csr_after]"
                 : "+a"(result), [after] "=m"(after), [out] "=m"(out), [csr_after] "=m"(mxcsr_after)
                 : "D"((long)getpid()),
                   "S"((long)SIGUSR1), [in] "m"(in), [x87] "m"(x87), [csr] "m"(mxcsr)
                 : "rcx", "r11", "xmm1", "xmm15", "memory");
    is(memcmp(in, out, 16), 0, "a handler's vector registers are not the program's");
    ok(after == x87, "nor its x87 stack");
    is(mxcsr_after & ~0x3fu, mxcsr, "nor its rounding mode");
}

static void fork_and_exec(void) {
    unsigned mxcsr = 0x7f80; // round to zero
    asm volatile("ldmxcsr %0" ::"m"(mxcsr));
    fesetround(FE_TOWARDZERO);
    unsigned char in[16] = "fork keeps this", out[16];
    long child = 57; // fork
    asm volatile("movdqu %[in], %%xmm9\n\tsyscall\n\tmovdqu %%xmm9, %[out]"
                 : "+a"(child), [out] "=m"(out)
                 : [in] "m"(in)
                 : "rcx", "r11", "xmm9", "memory");
    need(child >= 0);
    if (child == 0)
        _exit(memcmp(in, out, 16) == 0 && fegetround() == FE_TOWARDZERO ? 0 : 1);
    is_exit(reap((pid_t)child), 0, "a fork's child has its parent's registers");
    is(memcmp(in, out, 16), 0, "and the parent keeps them");
    pid_t other = fork();
    if (other == 0) {
        execl(self, "fpu", "after-exec", NULL);
        _exit(111);
    }
    is_exit(reap(other), 0, "exec starts with fresh ones");
}

static int after_exec(void) {
    unsigned mxcsr;
    unsigned short control;
    asm volatile("stmxcsr %0" : "=m"(mxcsr));
    asm volatile("fnstcw %0" : "=m"(control));
    return mxcsr == 0x1f80 && control == 0x37f ? 0 : 1;
}

static void divide(void* unused) {
    (void)unused;
    unsigned short control = 0x37f & ~4; // divide by zero is not masked
    asm volatile("fldcw %0\n\tfld1\n\tfldz\n\tfdivrp\n\tfwait" ::"m"(control) : "memory");
}

static void divide_masked(void* unused) {
    (void)unused;
    asm volatile("fninit\n\tfld1\n\tfldz\n\tfdivrp\n\tfwait\n\tfstp %%st(0)" ::: "memory");
}

// By the x87 unit: an emulated SSE unit may raise none.
static void exceptions(void) {
    is_killed(status_of(divide, NULL), SIGFPE, "a floating-point exception that is not masked");
    is_exit(status_of(divide_masked, NULL), 0, "one that is masked");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "after-exec") == 0)
        return after_exec();
    self = strdup(self_path(argv[0]));
    subtest("switches", switches);
    subtest("interrupted computations", computing);
    subtest("signals", signals);
    subtest("fork and exec", fork_and_exec);
    subtest("exceptions", exceptions);
    return done();
}
