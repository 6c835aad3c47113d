// spork-only
// The terminal's stop signals wait until a vfork child has let go of its parent's address space, as
// NetBSD's vfork(2) says; and what /proc says meanwhile. (Linux stops the child, and its parent
// sleeps on.)
#include "../lib/afork.h"

#include "../lib/proc.h"

#include <sys/mman.h>

static char* self;

// What /proc/PID/status says for `key`. Safe in a vfork child: no buffers, no memory of its own.
static bool status_says(pid_t pid, const char* key, const char* value) {
    char path[64], text[4096], want[128];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    snprintf(want, sizeof want, "\n%s:\t%s\n", key, value);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return false;
    text[n] = 0;
    return strstr(text, want) != NULL;
}

static void held_until_exec(void* arg) {
    const int signo = *(int*)arg;
    static volatile int went_on;
    went_on = 0;
    pid_t child = vfork();
    if (child == 0) {
        kill(getpid(), signo);
        went_on = 1;
        execl(self, "x", "exit", NULL);
        _exit(111);
    }
    need(child > 0 && went_on);
    int status = 0;
    need(waitpid(child, &status, WUNTRACED) == child); // now the new program has stopped
    need(WIFSTOPPED(status) && WSTOPSIG(status) == signo);
    need(kill(child, SIGCONT) == 0);
    need(exited_with(reap(child), 3));
}

static void terminal_stops(void) {
    static int signals[] = {SIGTSTP, SIGTTIN, SIGTTOU};
    // In a group that is not orphaned, or the stop would be dropped.
    for (int i = 0; i < 3; i++)
        is_exit(status_of(held_until_exec, &signals[i]), 0,
                "%s to a vfork child waits for its exec", strsignal(signals[i]));
}

static void dropped_by_exit(void) {
    static volatile int went_on;
    pid_t child = vfork();
    if (child == 0) {
        kill(getpid(), SIGTSTP);
        went_on = 1;
        _exit(4);
    }
    ok(went_on, "the child goes on");
    is_exit(reap(child), 4, "and ends without stopping");
}

static void handled_later(void) {
    // SIGCONT takes a waiting stop back, as it does anywhere.
    pid_t child = vfork();
    if (child == 0) {
        kill(getpid(), SIGTSTP);
        kill(getpid(), SIGCONT);
        execl(self, "x", "exit", NULL);
        _exit(111);
    }
    int status;
    is(waitpid(child, &status, WUNTRACED), child, "SIGCONT takes the waiting stop back");
    is_exit(status, 3, "the program does not stop");
}

static void child_stops_itself(void* shared) {
    volatile pid_t* child_pid = shared;
    pid_t child = vfork();
    if (child == 0) {
        *child_pid = getpid();
        kill(getpid(), SIGSTOP);
        _exit(5);
    }
    need(exited_with(reap(child), 5));
}

static void sigstop(void) {
    volatile pid_t* child =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(child != MAP_FAILED);
    pid_t parent = spawn(child_stops_itself, (void*)child);
    ok(eventually(*child != 0 && proc_state(*child) == 'T'),
       "SIGSTOP, which is not the terminal's, stops it");
    ok(eventually(proc_state(parent) == 'D'), "and the parent sleeps on");
    need(kill(*child, SIGCONT) == 0);
    is_exit(reap(parent), 0, "until SIGCONT");
}

static void what_proc_says(void) {
    static volatile bool parent_sleeps, lent, borrowed;
    char mine[64], from_me[64];
    snprintf(from_me, sizeof from_me, "borrowed from %d", getpid());
    ok(status_says(getpid(), "VmSpace", "own"), "VmSpace is a process's own");
    pid_t child = vfork();
    if (child == 0) {
        const pid_t parent = getppid();
        snprintf(mine, sizeof mine, "lent to %d", getpid());
        while (!status_says(parent, "Wchan", "vfork"))
            usleep(1000);
        parent_sleeps = true;
        lent = status_says(parent, "VmSpace", mine);
        borrowed = status_says(getpid(), "VmSpace", from_me);
        execl(self, "x", "own", NULL);
        _exit(111);
    }
    ok(parent_sleeps, "Wchan of the parent is vfork");
    ok(lent, "its VmSpace is %s", mine);
    ok(borrowed, "the child's is %s", from_me);
    is_exit(reap(child), 0, "after its exec the child has its own");
    ok(status_says(getpid(), "VmSpace", "own"), "and so has the parent");
}

static int sleep_raw(void* arg) {
    afork_raw(SYS_pause, 0, 0, 0);
    return (int)(intptr_t)arg;
}

static void what_proc_says_of_afork(void) {
    static char stack[16384];
    char mine[64], from_me[64];
    pid_t child;
    int fd = afork(stack, sizeof stack, sleep_raw, NULL, AFORK_CLOEXEC, &child);
    need(fd >= 0);
    snprintf(mine, sizeof mine, "lent to %d", child);
    snprintf(from_me, sizeof from_me, "borrowed from %d", getpid());
    ok(status_says(getpid(), "VmSpace", mine), "afork: the caller's is %s", mine);
    ok(status_says(child, "VmSpace", from_me), "the child's is %s", from_me);
    ok(eventually(status_says(child, "Wchan", "pause")), "its Wchan is pause");
    need(kill(child, SIGTSTP) == 0);
    ok(eventually(proc_state(child) == 'T'), "nobody waits for it: SIGTSTP stops it");
    need(kill(child, SIGKILL) == 0);
    is_killed(reap(child), SIGKILL, "and SIGKILL kills it");
    close(fd);
}

// ---- At a terminal. tests/system/test_shell.py runs this from a shell and types. -------------

static void say(const char* text) {
    need(write(STDOUT_FILENO, text, strlen(text)) == (ssize_t)strlen(text));
}

// The program that the child executes. Its parent has to have gone on before it reads.
static int read_a_line(int parent_is_on) {
    char byte, line[100];
    need(read(parent_is_on, &byte, 1) == 1);
    ssize_t n = read(STDIN_FILENO, line, sizeof line - 1);
    need(n > 0);
    line[n] = 0;
    say("the new program reads ");
    say(line);
    return 3;
}

// "^Z": the child waits for the key before it lets go. "read": it reads from the terminal.
static int at_terminal(const char* what) {
    char fd[16], byte;
    struct gate gate = gate_make();
    snprintf(fd, sizeof fd, "%d", gate.fd[0]);
    pid_t child = vfork();
    if (child == 0) {
        if (strcmp(what, "^Z") == 0) {
            say("press the key\n");
            while (!status_says(getpid(), "ShdPnd", "0000000000080000")) // SIGTSTP
                usleep(1000);
            say("the child runs on\n");
        } else {
            say(read(STDIN_FILENO, &byte, 1) == -1 && errno == EIO ? "EIO\n" : "it can read\n");
        }
        execl(self, self, "read-a-line", fd, NULL);
        _exit(111);
    }
    need(child > 0);
    say("the parent goes on\n");
    gate_open(&gate);
    say(exited_with(reap(child), 3) ? "and has waited\n" : "the child failed\n");
    return 0;
}

int main(int argc, char** argv) {
    self = strdup(self_path(argv[0]));
    if (argc == 3)
        return strcmp(argv[1], "terminal") == 0 ? at_terminal(argv[2]) : read_a_line(atoi(argv[2]));
    if (argc == 2)
        return strcmp(argv[1], "own") == 0 ? !status_says(getpid(), "VmSpace", "own") : 3;
    subtest("the terminal's stop signals", terminal_stops);
    subtest("a child that exits", dropped_by_exit);
    subtest("taken back", handled_later);
    subtest("SIGSTOP", sigstop);
    subtest("what /proc says", what_proc_says);
    subtest("what /proc says of afork", what_proc_says_of_afork);
    return done();
}
