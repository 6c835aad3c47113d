// overcommit: under strict accounting a big process cannot fork, but it can vfork.
//
// Fork promises the child a copy of all the private writable memory of its parent, and with strict
// accounting (vm.overcommit_memory = 2) a promise must be kept: when parent and child together are
// over the limit, fork fails, although the child would have written to hardly a page of it before
// exec. A child that borrows the address space is promised nothing.
//
// Needs Spork, where the setting is the demonstration's own; it is put back at the end.
#include "../lib/overcommit.h"
#include "../lib/afork.h"
#include "../lib/spork.h"

#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

extern char** environ;

static char stack[16384] __attribute__((aligned(16)));

static int nothing(void* arg) { return 0; }

static pid_t by_vfork(void) {
    pid_t pid = vfork();
    if (pid == 0)
        _exit(0);
    return pid;
}

static pid_t by_fork(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid;
}

static pid_t by_spawn(void) {
    char* argv[] = {"overcommit", "child", NULL};
    pid_t pid = -1;
    errno = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ);
    return errno == 0 ? pid : -1;
}

static pid_t by_afork(void) {
    pid_t pid = -1;
    int fd = afork(stack, sizeof stack, nothing, NULL, AFORK_CLOEXEC, &pid);
    return fd < 0 ? -1 : pid;
}

static pid_t by_vfork_cow(void) {
    spork_forkmode(MODE_UNCHANGED, VFORK_COW);
    pid_t pid = by_vfork();
    int error = errno;
    spork_forkmode(MODE_UNCHANGED, VFORK_DEFAULT);
    errno = error;
    return pid;
}

static void attempt(const char* what, pid_t (*make_child)(void)) {
    pid_t pid = make_child();
    if (pid < 0)
        printf("    %-16s %s\n", what, strerror(errno));
    else
        printf("    %-16s a child\n", what);
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

static void attempt_all(const char* heading) {
    printf("%s\n", heading);
    attempt("fork", by_fork);
    attempt("vfork of 4.4BSD", by_vfork_cow);
    attempt("vfork", by_vfork);
    attempt("posix_spawn", by_spawn);
    attempt("afork", by_afork);
}

int main(int argc, char** argv) {
    if (argc > 1)
        return 0; // posix_spawn's program
    setvbuf(stdout, NULL, _IONBF, 0);
    if (!on_spork()) {
        printf("needs Spork\n");
        return 0;
    }
    size_t size = (size_t)commit_room_kb() * 1024 / 10 * 6 & ~(size_t)4095;
    void* big = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (big == MAP_FAILED)
        return 1;
    printf("the process has 60 per cent of what the limit leaves\n");
    set_overcommit_mode("2");
    attempt_all("strict accounting:");
    set_overcommit_mode("0");
    attempt_all("heuristic accounting:");
    return 0;
}
