// fork_vfork_1000 [COUNT]: COUNT times, a vfork child's store is its parent's, and a fork child's
// store is its own. Small enough to be run with any number of processors, and under a debugger.
#include "../lib/proc.h"

static volatile long vfork_word, fork_word;
static long vfork_wrong, fork_wrong, status_wrong;

static void one_round(long i) {
    pid_t child = vfork();
    if (child == 0) {
        vfork_word = i;
        _exit(0);
    }
    need(child > 0);
    vfork_wrong += vfork_word != i; // at once: the child has ended before vfork returns here
    status_wrong += !exited_with(reap(child), 0);

    fork_word = -i;
    child = fork();
    if (child == 0) {
        fork_word = i;
        _exit(fork_word == i ? 0 : 1);
    }
    need(child > 0);
    status_wrong += !exited_with(reap(child), 0);
    fork_wrong += fork_word != -i;
}

int main(int argc, char** argv) {
    const long count = argc > 1 ? atol(argv[1]) : 1000;
    for (long i = 1; i <= count; i++)
        one_round(i);
    is(vfork_wrong, 0, "%ld times the parent saw the store of its vfork child", count);
    is(fork_wrong, 0, "%ld times the parent kept its own after a fork", count);
    is(status_wrong, 0, "every child ended well");
    return done();
}
