// exit_vs__exit: a child that does not exec leaves by _exit, not by exit.
//
// exit writes stdio's buffers out and calls the functions of atexit. After fork the child has a
// copy of them: what its parent had printed but not written comes out twice. After vfork it has the
// originals: they are written once, by the child, and the parent's atexit functions are called in
// the child, behind the parent's back, and not again when the parent itself exits.
//
// Each case runs in a process whose output goes into a pipe; what comes out is counted.
#include "../lib/spork.h"

#include <sys/wait.h>

static const char text[] = "text ";
static pid_t owner;

static void at_exit(void) {
    const char* who = getpid() == owner ? "P" : "C";
    write(STDOUT_FILENO, who, 1);
}

static void in_a_pipe(pid_t (*make_child)(void), void (*leave)(int)) {
    owner = getpid();
    atexit(at_exit);
    printf("%s", text); // stays in the buffer
    pid_t child = make_child();
    if (child == 0)
        leave(0);
    waitpid(child, NULL, 0);
    exit(0);
}

static void show(const char* what, pid_t (*make_child)(void), void (*leave)(int)) {
    char out[256];
    size_t used = 0;
    int ends[2], copies = 0, by_child = 0, by_parent = 0;
    pipe(ends);
    fflush(stdout);
    pid_t process = fork();
    if (process == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
        in_a_pipe(make_child, leave);
    }
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], out + used, sizeof out - 1 - used)) > 0;)
        used += (size_t)n;
    close(ends[0]);
    waitpid(process, NULL, 0);
    out[used] = 0;
    for (const char* p = out; (p = strstr(p, text)) != NULL; p++)
        copies++;
    for (size_t i = 0; i < used; i++) {
        by_child += out[i] == 'C';
        by_parent += out[i] == 'P';
    }
    printf("%-16s the text comes out %s; atexit's function runs %d time%s in the child, %d in the "
           "parent\n",
           what,
           copies == 1   ? "once"
           : copies == 2 ? "TWICE"
                         : "some times",
           by_child, by_child == 1 ? "" : "s", by_parent);
}

int main(void) {
    show("fork, _exit:", fork, _exit);
    show("fork, exit:", fork, exit);
    show("vfork, _exit:", vfork, _exit);
    show("vfork, exit:", vfork, exit);
    return 0;
}
