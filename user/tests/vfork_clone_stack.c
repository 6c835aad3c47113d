// clone(CLONE_VM | CLONE_VFORK) gives the child a stack of its own, as posix_spawn in the C
// libraries uses it. The parent waits as after vfork.
#include "../lib/clone.h"
#include "../lib/proc.h"

#include <spawn.h>
#include <sys/mman.h>

enum { STACK = 65536, ROUNDS = 300 };

static char stack[STACK] __attribute__((aligned(16)));
static volatile int word;
static char* self;
extern char** environ;

struct report {
    volatile int value;
    volatile pid_t pid;
    char* volatile stack_address;
};

static int fill_in(void* arg) {
    struct report* r = arg;
    char here;
    r->stack_address = &here;
    r->pid = getpid();
    for (int i = 0; i < 2000; i++) // a parent that does not wait would see a smaller number
        r->value++;
    return 3;
}

static void parent_waits(void) {
    int wrong = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct report r = {0, 0, NULL};
        long child = clone_call(CLONE_VM | CLONE_VFORK | SIGCHLD, stack + STACK, fill_in, &r);
        need(child > 0);
        wrong += r.value != 2000 || r.pid != child;
        wrong += r.stack_address < stack || r.stack_address >= stack + STACK;
        wrong += !exited_with(reap((pid_t)child), 3);
    }
    is(wrong, 0, "%d rounds: the child ran on its own stack, before its parent went on", ROUNDS);
}

static int block(void* arg) {
    struct gate* gates = arg;
    char byte = 0;
    if (write(gates[0].fd[1], &byte, 1) != 1 || read(gates[1].fd[0], &byte, 1) != 1)
        return 1;
    word = 1;
    return 0;
}

// Watches from a third process that the caller of clone sleeps.
static void parent_sleeps(void) {
    struct gate gates[2] = {gate_make(), gate_make()};
    volatile int* resumed =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(resumed != MAP_FAILED);
    pid_t middle = fork();
    need(middle >= 0);
    if (middle == 0) {
        long child = clone_call(CLONE_VM | CLONE_VFORK | SIGCHLD, stack + STACK, block, gates);
        *resumed = 1;
        _exit(child > 0 && exited_with(reap((pid_t)child), 0) && word == 1 ? 0 : 1);
    }
    gate_pass(&gates[0]);
    for (int i = 0; i < 20; i++)
        breathe();
    is(*resumed, 0, "the parent has not gone on while the child waits");
    gate_open(&gates[1]);
    is_exit(reap(middle), 0, "it goes on when the child is gone");
    is(*resumed, 1, "and not before");
}

static int exec_self(void* arg) {
    char* argv[] = {"child", "exit-42", NULL};
    (void)arg;
    word = 2;
    execv(self, argv);
    return 1;
}

static void exec_releases(void) {
    word = 0;
    long child = clone_call(CLONE_VM | CLONE_VFORK | SIGCHLD, stack + STACK, exec_self, NULL);
    need(child > 0);
    is(word, 2, "the store from before the exec is seen");
    is_exit(reap((pid_t)child), 42, "the new program ran");
}

static int store_both(void* shared) {
    for (int i = 0; i < 1000; i++) { // time enough for a parent that does not wait
        word++;
        ++*(volatile int*)shared;
    }
    return 0;
}

// CLONE_VFORK alone: the memory is copied, and the parent waits all the same.
static void vfork_without_vm(void) {
    volatile int* shared =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared != MAP_FAILED);
    int wrong = 0;
    for (int round = 1; round <= 50; round++) {
        word = 0;
        long child = clone_call(CLONE_VFORK | SIGCHLD, stack + STACK, store_both, (void*)shared);
        need(child > 0);
        wrong += *shared != round * 1000 || word != 0;
        reap((pid_t)child);
    }
    is(wrong, 0, "the parent goes on after the child, and does not see its stores");
}

static void spawn_works(void) {
    char* argv[] = {"child", "exit-42", NULL};
    int wrong = 0;
    for (int round = 0; round < 50; round++) {
        pid_t child;
        wrong += posix_spawn(&child, self, NULL, NULL, argv, environ) != 0;
        wrong += !exited_with(reap(child), 42);
    }
    is(wrong, 0, "posix_spawn, 50 times");
    pid_t child;
    is(posix_spawn(&child, "/no/such/program", NULL, NULL, argv, environ), ENOENT,
       "posix_spawn of nothing returns ENOENT");
    is_errno(waitpid(-1, NULL, 0), ECHILD, "and leaves no child");

    FILE* f = popen("echo through a pipe", "r");
    char line[64] = "";
    need(f != NULL && fgets(line, sizeof line, f) != NULL);
    is_str(line, "through a pipe\n", "popen");
    is(pclose(f), 0, "pclose");
    is(WEXITSTATUS(system("exit 9")), 9, "system");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "exit-42") == 0)
        return 42;
    self = strdup(self_path(argv[0]));
    subtest("the parent goes on after the child", parent_waits);
    subtest("the parent sleeps until then", parent_sleeps);
    subtest("exec lets it go on", exec_releases);
    subtest("CLONE_VFORK without CLONE_VM", vfork_without_vm);
    subtest("posix_spawn, popen, system", spawn_works);
    return done();
}
