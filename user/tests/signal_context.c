// The stack on which a signal handler runs, and the context that it interrupts.
#include "../lib/proc.h"

#include <sys/syscall.h>
#include <ucontext.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static volatile uintptr_t handler_stack;

static void on_which_stack(int signo) {
    (void)signo;
    handler_stack = (uintptr_t)__builtin_frame_address(0);
}

static void handle(int flags) {
    struct sigaction action = {.sa_handler = on_which_stack, .sa_flags = flags};
    need(sigaction(SIGUSR1, &action, NULL) == 0);
}

static void alternate_stack(void) {
    static char area[64 * 1024];
    stack_t stack = {.ss_sp = area, .ss_size = sizeof area}, old;
    need(sigaltstack(NULL, &old) == 0);
    is(old.ss_flags, SS_DISABLE, "there is none at first");
    need(sigaltstack(&stack, NULL) == 0);
    handle(SA_ONSTACK);
    raise(SIGUSR1);
    ok(handler_stack - (uintptr_t)area < sizeof area, "SA_ONSTACK: the handler runs on it");
    handle(0);
    raise(SIGUSR1);
    ok(handler_stack - (uintptr_t)area >= sizeof area, "without, on the stack it interrupts");
    handle(SA_ONSTACK);
    pid_t child = fork();
    if (child == 0) {
        raise(SIGUSR1);
        _exit(handler_stack - (uintptr_t)area < sizeof area ? 0 : 1);
    }
    is_exit(reap(child), 0, "a fork's child has it too");
    is_errno(sigaltstack(&(stack_t){.ss_sp = area, .ss_size = 100}, NULL), ENOMEM, "too small");
    stack.ss_flags = 64;
    is_errno(sigaltstack(&stack, NULL), EINVAL, "flags that are none");
}

// SS_AUTODISARM: while a handler runs on the stack there is none, so that it may switch to another
// context, which may be interrupted in its turn; and when it returns, there is one again.
static char disarmed_area[64 * 1024], second_area[64 * 1024];
static volatile int set_in_handler, depth;
static stack_t seen_in_handler, seen_at_depth;

static bool is_in(const char* area, uintptr_t address) {
    return address - (uintptr_t)area < sizeof disarmed_area;
}

static void on_disarmed_stack(int signo, siginfo_t* info, void* context) {
    (void)info;
    const int level = depth++;
    need(sigaltstack(NULL, level == 0 ? &seen_in_handler : &seen_at_depth) == 0);
    handler_stack = (uintptr_t)__builtin_frame_address(0);
    if (level == 0) {
        const stack_t* kept = &((ucontext_t*)context)->uc_stack;
        need(kept->ss_sp == disarmed_area && kept->ss_size == sizeof disarmed_area);
        need((unsigned)kept->ss_flags == SS_AUTODISARM);
        stack_t other = {.ss_sp = second_area, .ss_size = sizeof second_area};
        set_in_handler = sigaltstack(&other, NULL) == 0 ? 0 : errno;
        raise(signo); // on the other one: the first is not overwritten
    }
    depth--;
}

static void disarmed_by_its_use(void) {
    stack_t stack = {.ss_sp = disarmed_area, .ss_size = sizeof disarmed_area}, now;
    stack.ss_flags = (int)SS_AUTODISARM;
    need(sigaltstack(&stack, NULL) == 0 && sigaltstack(NULL, &now) == 0);
    is((unsigned)now.ss_flags, SS_AUTODISARM, "the flag is kept");
    struct sigaction action = {.sa_sigaction = on_disarmed_stack,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    raise(SIGUSR1);
    ok(is_in(second_area, handler_stack), "the inner handler runs on the stack that the outer set");
    is(seen_in_handler.ss_flags, SS_DISABLE, "in the handler there is none");
    is((long)seen_in_handler.ss_size, 0, "nor a size");
    is(set_in_handler, 0, "it may set another one");
    is(seen_at_depth.ss_flags, SS_ONSTACK, "which is in use, being an ordinary one");
    need(sigaltstack(NULL, &now) == 0);
    ok(now.ss_sp == disarmed_area && now.ss_size == sizeof disarmed_area, "it is back afterwards");
    is((unsigned)now.ss_flags, SS_AUTODISARM, "with the flag");
    stack.ss_flags = (int)(SS_DISABLE | SS_AUTODISARM);
    need(sigaltstack(&stack, NULL) == 0 && sigaltstack(NULL, &now) == 0);
    is((unsigned)now.ss_flags, SS_DISABLE | SS_AUTODISARM,
       "none, and the flag, may be set as well");
    need(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL) == 0);
}

// A handler may change where the program goes on, by the context it is given.
static void change_context(int signo, siginfo_t* info, void* context) {
    (void)signo, (void)info;
    ((ucontext_t*)context)->uc_mcontext.gregs[REG_RBX] = 0x1234;
}

static void context(void) {
    struct sigaction action = {.sa_sigaction = change_context, .sa_flags = SA_SIGINFO};
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    long result, rbx = 1, r12 = 0x7777;
    asm volatile("mov %[r12], %%r12\n\tsyscall\n\tmov %%r12, %[r12]"
                 : "=a"(result), "+b"(rbx), [r12] "+m"(r12)
                 : "a"((long)SYS_kill), "D"((long)getpid()), "S"((long)SIGUSR1)
                 : "rcx", "r11", "r12", "memory");
    is(result, 0, "kill returns its own result after the handler");
    is(rbx, 0x1234, "a register that the handler has changed");
    is(r12, 0x7777, "a register that it has not");
}

static volatile unsigned long flags_at_start;
static volatile sig_atomic_t steps;

static void note_flags(int signo) {
    (void)signo;
    unsigned long flags;
    asm volatile("pushfq; pop %0" : "=r"(flags));
    flags_at_start = flags;
}

static void note_step(int signo) {
    note_flags(signo);
    steps++;
}

enum { TRAP_FLAG = 0x100, DIRECTION = 0x400 };

// String instructions go upwards and nobody steps when a handler begins, whatever was interrupted;
// that has its flags again afterwards.
static void flags_of_handlers(void) {
    need(signal(SIGUSR1, note_flags) != SIG_ERR && signal(SIGTRAP, note_step) != SIG_ERR);
    unsigned long after;
    long result;
    asm volatile("std; syscall; pushfq; pop %[after]; cld"
                 : "=a"(result), [after] "=r"(after)
                 : "a"((long)SYS_kill), "D"((long)getpid()), "S"((long)SIGUSR1)
                 : "rcx", "r11", "memory", "cc");
    is(result, 0, "a signal while the direction flag is set");
    is(flags_at_start & DIRECTION, 0, "the handler begins without it");
    is(after & DIRECTION, DIRECTION, "what it interrupted has it again");
    asm volatile("lea -128(%%rsp), %%rsp; pushfq; orl %0, (%%rsp); popfq; nop; nop;"
                 "pushfq; andl %1, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::"i"(TRAP_FLAG),
                 "i"(~TRAP_FLAG)
                 : "memory", "cc");
    is(steps, 5, "a handler for each step");
    is(flags_at_start & TRAP_FLAG, 0, "which takes none itself");
}

int main(void) {
    subtest("the alternate stack", alternate_stack);
    subtest("SS_AUTODISARM", disarmed_by_its_use);
    subtest("the interrupted context", context);
    subtest("flags of handlers", flags_of_handlers);
    return done();
}
