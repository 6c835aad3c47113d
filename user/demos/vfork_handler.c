// vfork_handler: a signal handler that runs in a vfork child runs in the parent's memory.
//
// The child has a copy of the table of handlers, but their code works on the address space that the
// process has: between vfork and exec that is the parent's. A handler that counts, frees or
// longjmps does so to the parent.
//
// Safe: block the signals, or set those that are caught to their default in the child, before
// anything can come (posix_spawn does the former).
#include "../lib/spork.h"

#include <signal.h>
#include <sys/wait.h>

static volatile sig_atomic_t handled;

static void handler(int signo) { handled++; }

static void show(const char* what, pid_t (*make_child)(void), int block) {
    sigset_t usr1, old;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    handled = 0;
    if (block)
        sigprocmask(SIG_BLOCK, &usr1, &old);
    pid_t child = make_child();
    if (child == 0) {
        kill(getpid(), SIGUSR1);
        _exit(0);
    }
    if (block)
        sigprocmask(SIG_SETMASK, &old, NULL);
    waitpid(child, NULL, 0);
    printf("%-24s the child got a signal; the parent's count of handled signals is %d\n", what,
           (int)handled);
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    signal(SIGUSR1, handler);
    show("fork:", fork, 0);
    show("vfork:", vfork, 0);
    show("vfork, signal blocked:", vfork, 1);
    return 0;
}
