// clone's flags decide which parts of a process the child shares and which it gets a copy of. For
// each flag a child changes all there is; the parent looks at what has changed for itself.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int memory;
static int spare_fd;

static int change_everything(void* arg) {
    (void)arg;
    memory = 1;
    close(spare_fd);
    umask(077);
    signal(SIGUSR1, SIG_IGN);
    return 0;
}

static const char* sees(int changed) { return changed ? "shared" : "copied"; }

static void try_flags(const char* name, int flags) {
    static char stack[65536] __attribute__((aligned(16)));
    int status;
    memory = 0;
    spare_fd = open("/dev/null", O_RDONLY);
    umask(022);
    signal(SIGUSR1, SIG_DFL);
    const pid_t child = clone(change_everything, stack + sizeof stack, flags | SIGCHLD, NULL);
    if (child < 0) {
        perror("clone");
        exit(1);
    }
    waitpid(child, &status, 0);
    const int closed = fcntl(spare_fd, F_GETFD) < 0;
    if (!closed)
        close(spare_fd);
    const int mask = umask(022) == 077;
    struct sigaction action;
    sigaction(SIGUSR1, NULL, &action);
    printf("%-28s memory %s, descriptors %s, umask %s, handlers %s\n", name, sees(memory),
           sees(closed), sees(mask), sees(action.sa_handler == SIG_IGN));
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    try_flags("no flag (fork)", 0);
    try_flags("CLONE_VM", CLONE_VM);
    try_flags("CLONE_FILES", CLONE_FILES);
    try_flags("CLONE_FS", CLONE_FS);
    try_flags("CLONE_VM|CLONE_SIGHAND", CLONE_VM | CLONE_SIGHAND);
    try_flags("CLONE_VM|CLONE_VFORK (vfork)", CLONE_VM | CLONE_VFORK);
    try_flags("all (as a thread has them)", CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND);
    return 0;
}
