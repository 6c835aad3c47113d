// vfork_sees_store: what a vfork child stores, its parent finds; what a fork child stores is its
// own.
//
// A vfork child has not a copy of its parent's address space but the address space itself, until it
// calls exec or exits. The C standard library's posix_spawn counts on that; a program that uses
// vfork must not be surprised by it. 4.4BSD's vfork was a copy-on-write fork whose parent waits:
// there the child's store is lost. Spork has both.
//
// Safe: the child hands its result over by what is meant for that: its exit status, a pipe, memory
// that is mapped shared.
#include "../lib/spork.h"

#include <sys/wait.h>

static volatile int word; // volatile: the compiler must not keep it in a register over vfork

static void show(const char* what, pid_t (*make_child)(void)) {
    word = 1;
    pid_t child = make_child();
    if (child == 0) {
        word = 2;
        _exit(2);
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("%-20s the child stores 2, the parent finds %d; by the exit status it learns %d\n", what,
           word, WEXITSTATUS(status));
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    show("fork:", fork);
    show("vfork:", vfork);
    if (spork_forkmode(MODE_UNCHANGED, VFORK_COW) >= 0)
        show("vfork of 4.4BSD:", vfork);
    return 0;
}
