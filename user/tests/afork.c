// spork-only
// afork: a child in the parent's memory, on a stack of its own, while the parent goes on.
#include "../lib/afork.h"

#include "../lib/proc.h"
#include "../lib/spork.h"

#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

extern char** environ;

static char stack[16384] __attribute__((aligned(16)));
static char* self;
static volatile int word;

static struct afork_record record_of(int fd) {
    struct afork_record record = {0};
    need(read(fd, &record, sizeof record) == sizeof record);
    return record;
}

static short events_of(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    need(poll(&p, 1, 0) >= 0);
    return p.revents;
}

// Waits for a byte, then stores and exits.
static int wait_and_store(void* arg) {
    char byte;
    afork_raw(SYS_read, *(int*)arg, &byte, 1);
    word = 17;
    return 23;
}

static void parent_goes_on(void) {
    struct gate g = gate_make();
    pid_t pid = -1;
    int fd = afork(stack, sizeof stack, wait_and_store, &g.fd[0], 0, &pid);
    need(fd >= 0);
    ok(pid > 0, "the pid is there when afork returns");
    is(events_of(fd), 0, "nothing to read while the child runs");
    is(word, 0, "the parent is ahead of its child");
    gate_open(&g);
    struct afork_record record = record_of(fd);
    is(word, 17, "what the child stores is in the parent's memory");
    is(events_of(fd), POLLIN, "the descriptor is readable");
    is(record.pid, pid, "the record says who");
    is(record.what, AFORK_EXIT, "... has exited");
    is(record.status, 23, "... with what the function returned");
    is(record_of(fd).status, 23, "the record can be read again");
    is_errno(read(fd, &record, 8), EINVAL, "a buffer that is too short");
    is_errno(write(fd, "x", 1), EBADF, "the descriptor cannot be written to");
    need(close(fd) == 0);
    is_exit(reap(pid), 23, "wait4 as usual");
}

static int run_self(void* arg) {
    char* argv[] = {self, arg, NULL};
    afork_raw(SYS_execve, self, argv, environ);
    return 127;
}

static void exec_lets_go(void) {
    pid_t pid;
    int fd = afork(stack, sizeof stack, run_self, "exit-42", 0, &pid);
    need(fd >= 0);
    struct afork_record record = record_of(fd);
    is(record.what, AFORK_EXEC, "exec lets go of the memory");
    is(record.status, 0, "... with success");
    is_exit(reap(pid), 42, "the program has run");
    need(close(fd) == 0);
}

static int sleep_for_ever(void* arg) {
    for (;;)
        afork_raw(SYS_pause, 0, 0, 0);
    return 0;
}

static volatile int* volatile nowhere = (volatile int*)8;

static int fall(void* arg) {
    *nowhere = 1;
    return 0;
}

static void death_lets_go(void) {
    pid_t pid;
    int fd = afork(stack, sizeof stack, sleep_for_ever, NULL, 0, &pid);
    need(fd >= 0);
    need(kill(pid, SIGKILL) == 0);
    struct afork_record record = record_of(fd);
    is(record.what, AFORK_KILLED, "a signal that kills lets go");
    is(record.status, SIGKILL, "... and is named");
    is_killed(reap(pid), SIGKILL, "wait4 agrees");
    need(close(fd) == 0);
    fd = afork(stack, sizeof stack, fall, NULL, 0, &pid);
    need(fd >= 0);
    record = record_of(fd);
    is(record.status, SIGSEGV, "so does a fault");
    is_killed(reap(pid), SIGSEGV, "wait4 agrees");
}

static void flags_work(void) {
    struct gate g = gate_make();
    pid_t pid;
    struct afork_record record;
    int fd = afork(stack, sizeof stack, wait_and_store, &g.fd[0], AFORK_NONBLOCK, &pid);
    need(fd >= 0);
    is_errno(read(fd, &record, sizeof record), EAGAIN, "AFORK_NONBLOCK");
    is(fcntl(fd, F_GETFD), 0, "not close-on-exec");
    gate_open(&g);
    need(close(fd) == 0);
    is_exit(reap(pid), 23, "the descriptor may be closed early");
    gate_open(&g);
    fd = afork(stack, sizeof stack, wait_and_store, &g.fd[0], AFORK_CLOEXEC, NULL);
    need(fd >= 0);
    is(fcntl(fd, F_GETFD), FD_CLOEXEC, "AFORK_CLOEXEC");
    pid = record_of(fd).pid;
    is_exit(reap(pid), 23, "the pid from the record alone");
}

static int exit_0(void* arg) { return 0; }

static long raw_afork(void* at, size_t size, int flags, pid_t* pid) {
    return syscall(SYS_afork, at, size, exit_0, NULL, flags, pid);
}

static void errors(void) {
    pid_t pid;
    is_errno(raw_afork(stack, sizeof stack, 1, &pid), EINVAL, "an unknown flag");
    is_errno(raw_afork(stack, 100, 0, &pid), EINVAL, "a stack that is too small");
    is_errno(raw_afork(stack, (size_t)-4096, 0, &pid), EINVAL, "a stack that wraps round");
    is_errno(raw_afork((void*)4096, 16384, 0, &pid), EFAULT, "a stack where nothing is mapped");
    is_errno(raw_afork(stack, sizeof stack, 0, (pid_t*)8), EFAULT, "a bad address for the pid");
    struct rlimit files;
    need(getrlimit(RLIMIT_NOFILE, &files) == 0);
    int next = dup(0);
    need(next >= 0);
    need(close(next) == 0);
    struct rlimit few = {.rlim_cur = (rlim_t)next, .rlim_max = files.rlim_max};
    need(setrlimit(RLIMIT_NOFILE, &few) == 0);
    is_errno(raw_afork(stack, sizeof stack, 0, &pid), EMFILE, "no descriptor left");
    need(setrlimit(RLIMIT_NOFILE, &files) == 0);
    is_errno(waitpid(-1, NULL, 0), ECHILD, "none of these has left a child");
    is(dup(0), next, "... nor a descriptor");
}

static void one_stack_many_children(void) {
    enum { ROUNDS = 300 };
    int wrong = 0;
    for (int i = 0; i < ROUNDS; i++) {
        pid_t pid;
        int fd = afork(stack, sizeof stack, exit_0, NULL, AFORK_CLOEXEC, &pid);
        need(fd >= 0);
        struct afork_record record = record_of(fd);
        wrong += record.what != AFORK_EXIT || record.pid != pid;
        need(close(fd) == 0);
        wrong += !exited_with(reap(pid), 0);
    }
    is(wrong, 0, "%d children one after the other on the same stack", ROUNDS);
}

static void ignore(int signo) { word = signo; }

static void handlers_are_reset(void) {
    pid_t pid;
    need(signal(SIGUSR1, ignore) != SIG_ERR);
    int fd = afork(stack, sizeof stack, sleep_for_ever, NULL, 0, &pid);
    need(fd >= 0);
    need(kill(pid, SIGUSR1) == 0);
    is(record_of(fd).status, SIGUSR1, "the parent's handler does not run in the child");
    is(word, 0, "... nor in the parent's memory");
    is_killed(reap(pid), SIGUSR1, "it dies of the signal");
}

static void* in_a_thread(void* arg) {
    char* own_stack = malloc(16384);
    pid_t pid;
    int fd = afork(own_stack, 16384, run_self, "exit-42", AFORK_CLOEXEC, &pid);
    need(fd >= 0);
    need(record_of(fd).what == AFORK_EXEC);
    free(own_stack);
    close(fd);
    need(exited_with(reap(pid), 42));
    return NULL;
}

static void from_threads(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        need(pthread_create(&threads[i], NULL, in_a_thread, NULL) == 0);
    for (int i = 0; i < 4; i++)
        need(pthread_join(threads[i], NULL) == 0);
    ok(true, "from four threads at once");
}

// Its child is still there when the program that it was made by has ended.
static int leave_a_child(void* arg) {
    afork(stack, sizeof stack, wait_and_store, arg, 0, NULL);
    return 0;
}

static void parent_ends_first(void) {
    struct gate g = gate_make(), ended = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        close(ended.fd[0]);
        _exit(leave_a_child(&g.fd[0]));
    }
    is_exit(reap(child), 0, "the parent ends first");
    close(ended.fd[1]);
    gate_open(&g);
    char byte;
    is(read(ended.fd[0], &byte, 1), 0, "the child goes on in what was its parent's memory");
}

static void popen_works(void) {
    char line[64] = "";
    char* print[] = {"sh", "-c", "echo printed; exit 3", NULL};
    struct afork_popen* p = afork_popen("/bin/sh", print, "r");
    need(p != NULL && fgets(line, sizeof line, p->stream) != NULL);
    is_str(line, "printed\n", "popen for reading");
    is_exit(afork_pclose(p), 3, "pclose");

    char* read_it[] = {"sh", "-c", "read x; [ \"$x\" = word ]", NULL};
    p = afork_popen("/bin/sh", read_it, "w");
    need(p != NULL && fputs("word\n", p->stream) >= 0);
    is_exit(afork_pclose(p), 0, "popen for writing");

    char* none[] = {"none", NULL};
    p = afork_popen("/no/such/program", none, "r");
    need(p != NULL);
    is(fgetc(p->stream), EOF, "a program that is not there: end of file");
    is_errno(afork_pclose(p), ENOENT, "... and pclose says why");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "exit-42") == 0)
        return 42;
    self = strdup(self_path(argv[0]));
    subtest("the parent goes on", parent_goes_on);
    subtest("exec lets go of the memory", exec_lets_go);
    subtest("death lets go of the memory", death_lets_go);
    subtest("flags", flags_work);
    subtest("errors leave no trace", errors);
    subtest("the stack can be used again", one_stack_many_children);
    subtest("handlers are reset", handlers_are_reset);
    subtest("from threads", from_threads);
    subtest("the parent may end first", parent_ends_first);
    subtest("popen on afork", popen_works);
    return done();
}
