// vfork_fifo_deadlock: a vfork child must not wait for something that only its parent can do.
//
// The child opens a fifo for writing, which waits until somebody opens it for reading; that is what
// its parent means to do next. But the parent waits in vfork for the child to exec. Neither will
// ever go on. (A shell that vforks and then sees to redirections in the child meets this with
// `cat <fifo & echo x >fifo`.)
//
// The demonstration makes the attempt in a process of its own and gives it two seconds. A child
// made by fork, or by Spork's afork, can wait as long as it likes: its parent goes on.
#include "../lib/afork.h"
#include "../lib/spork.h"

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { LIMIT_MS = 2000 };

static char fifo[64];
static char stack[16384] __attribute__((aligned(16)));

static pid_t by_fork(void);
static pid_t by_vfork(void);

// Raw calls: the child of afork, too, may make these.
static int child(void* arg) {
    long fd = afork_raw(SYS_open, fifo, O_WRONLY, 0); // waits for a reader
    afork_raw(SYS_write, fd, "x", 1);
    return 0;
}

static pid_t by_afork(void) {
    pid_t pid = -1;
    int fd = afork(stack, sizeof stack, child, NULL, AFORK_CLOEXEC, &pid);
    return fd < 0 ? -1 : pid;
}

static pid_t by_fork(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(child(NULL));
    return pid;
}

static pid_t by_vfork(void) {
    pid_t pid = vfork();
    if (pid == 0)
        _exit(child(NULL));
    return pid;
}

static void show(const char* what, pid_t (*make_child)(void)) {
    int ended[2]; // its other end is closed when the whole attempt is over
    pipe(ended);
    pid_t attempt = fork();
    if (attempt == 0) {
        char byte = 0;
        setpgid(0, 0);
        pid_t pid = make_child();
        int fd = open(fifo, O_RDONLY);
        read(fd, &byte, 1);
        waitpid(pid, NULL, 0);
        _exit(byte == 'x' ? 0 : 1);
    }
    setpgid(attempt, attempt);
    close(ended[1]);
    struct pollfd p = {.fd = ended[0], .events = POLLIN};
    int over = poll(&p, 1, LIMIT_MS);
    if (over == 0)
        kill(-attempt, SIGKILL); // the child too: the parent dies when it is released
    close(ended[0]);
    int status = 0;
    waitpid(attempt, &status, 0);
    printf("%-7s %s\n", what,
           over == 0 ? "DEAD-LOCK: the child waits for a reader, the parent for its child"
           : WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "the byte came through the fifo"
                                                           : "failed");
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    snprintf(fifo, sizeof fifo, "/tmp/fifo-%d", getpid());
    mkfifo(fifo, 0600);
    show("fork:", by_fork);
    show("vfork:", by_vfork);
    if (on_spork())
        show("afork:", by_afork);
    unlink(fifo);
    return 0;
}
