// The stack on which a signal handler runs, and the context that it interrupts.
#include "../lib/proc.h"

#include <sys/syscall.h>
#include <ucontext.h>

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

int main(void) {
    subtest("the alternate stack", alternate_stack);
    subtest("the interrupted context", context);
    return done();
}
