// vfork_returns: a vfork child must not return from the function that called vfork.
//
// Child and parent are on one stack. When the child returns from the function, it gives that
// function's frame up, and the next calls that it makes write over it: over the local variables,
// and over the address to which the function returns. Then the parent wakes up in the function, in
// what is left of its frame.
//
//      the stack                child returns; trample(), leave()   parent wakes in the function
//      frame of the caller      frame of the caller                 frame of the caller
//      return address           return address of leave       <--   returns there!
//      local = 1111             2222                          <--   finds local = 2222
//
// Safe: the child stays in the function, and leaves by exec or _exit.
#include "../lib/spork.h"

#include <signal.h>
#include <sys/wait.h>

enum { FRAME = 512, CHILDS_CODE = 7 };

__attribute__((noinline)) static void trample(void) {
    volatile char frame[FRAME];
    for (int i = 0; i < FRAME; i++)
        frame[i] = 0x22;
    (void)frame[0];
}

static volatile int ends = 1;

// Ends the child. As far as the compiler knows it might return: the address behind it matters here.
__attribute__((noipa)) static void leave(void) {
    if (ends)
        _exit(CHILDS_CODE);
}

static int say(const char* text) { return (int)write(1, text, strlen(text)); }

__attribute__((noinline)) static pid_t unsafe(void) {
    volatile long local = 0x1111;
    pid_t child = vfork();
    if (child != 0) // the parent, when the child has ended
        say(local == 0x1111 ? "unsafe: the parent finds its local variable as it was\n"
                            : "unsafe: the parent finds its local variable overwritten\n");
    return child;
}

__attribute__((noinline)) static pid_t safe(void) {
    volatile long local = 0x1111;
    pid_t child = vfork();
    if (child == 0) {
        trample();
        _exit(CHILDS_CODE);
    }
    if (local == 0x1111)
        say("safe:   the parent finds its local variable as it was\n");
    return child;
}

// Ends with 0 if the parent comes back from `function`.
static void try(pid_t (*function)(void)) {
    pid_t child = function();
    if (child == 0) {
        trample();
        leave(); // the unsafe child ends in there, and its parent returns from there
        say("unsafe: the parent comes back behind the call that ended its child\n");
        _exit(CHILDS_CODE);
    }
    say(child > 0 ? "        the parent is back where it called from\n" : "        lost\n");
    _exit(0);
}

static void watch(const char* what, pid_t (*function)(void)) {
    int status = 0;
    pid_t victim = fork();
    if (victim == 0)
        try(function);
    waitpid(victim, &status, 0);
    if (WIFSIGNALED(status))
        printf("%s the parent's process was killed: %s\n", what, strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == CHILDS_CODE)
        printf("%s the parent went on in its child's place, and ended with the child's code\n",
               what);
    else
        printf("%s the parent's process ended with %d\n", what, WEXITSTATUS(status));
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    watch("safe:  ", safe);
    watch("unsafe:", unsafe);
    return 0;
}
