// vfork: the child runs in its parent's memory, and the parent does not go on before the child has
// called exec or has ended, in whatever way.
#include "../lib/proc.h"
#include "../lib/rights.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { ROUNDS = 1000 };

static volatile int word;
static volatile char* volatile nowhere = (volatile char*)8;
static char* self;

static void stores_are_seen(void) {
    static int wrong, round; // static: a child of vfork leaves no register as it was
    for (round = 1; round <= ROUNDS; round++) {
        volatile int on_stack = 0;
        word = 0;
        pid_t child = vfork();
        if (child == 0) {
            word = round;
            on_stack = round;
            _exit(round & 0x7f);
        }
        need(child > 0);
        wrong += word != round || on_stack != round;
        wrong += !exited_with(reap(child), round & 0x7f);
    }
    is(wrong, 0, "%d rounds: the parent goes on with the child's stores in its memory", ROUNDS);
}

// Mappings are the address space too.
static void mappings_are_shared(void) {
    static char* volatile mapped;
    pid_t child = vfork();
    if (child == 0) {
        mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped != MAP_FAILED)
            mapped[0] = 'm';
        _exit(0);
    }
    need(child > 0);
    reap(child);
    need(mapped != MAP_FAILED && mapped != NULL);
    is(mapped[0], 'm', "what the child has mapped is there in the parent");
    need(munmap(mapped, 4096) == 0);
}

// Descriptors and the working directory are the child's own.
static void rest_is_copied(void) {
    int ends[2];
    need(pipe(ends) == 0);
    pid_t child = vfork();
    if (child == 0) {
        close(ends[0]);
        _exit(chdir("/dev") == 0 ? 0 : 1);
    }
    need(child > 0);
    is_exit(reap(child), 0, "the child closes a descriptor and changes its directory");
    succeeds(fcntl(ends[0], F_GETFD), "the parent's descriptor is still open");
    char where[PATH_MAX];
    need(getcwd(where, sizeof where) != NULL);
    ok(strcmp(where, "/dev") != 0, "the parent is where it was");
}

static void exec_releases(void) {
    int hold[2];
    need(pipe(hold) == 0);
    need(fcntl(hold[1], F_SETFD, FD_CLOEXEC) == 0);
    char* argv[] = {"child", "wait-for-end-of-file", NULL};
    word = 0;
    pid_t child = vfork();
    if (child == 0) {
        dup2(hold[0], STDIN_FILENO);
        word = 5;
        execv(self, argv);
        _exit(111);
    }
    need(child > 0);
    is(word, 5, "the parent sees a store from before the exec");
    // The new program reads until the last writer is gone, and that is this process.
    is(waitpid(child, NULL, WNOHANG), 0, "the parent goes on while the new program runs");
    close(hold[1]);
    is_exit(reap(child), 42, "the new program ends");
}

static void failed_exec_does_not_release(void) {
    char* argv[] = {"nothing", NULL};
    static int wrong, round;
    for (round = 0; round < 50; round++) {
        word = 0;
        pid_t child = vfork();
        if (child == 0) {
            execv("/no/such/program", argv);
            word = errno;
            for (int i = 0; i < 100; i++) { // time enough for a parent that was let go too early
                execv("/no/such/program", argv);
                word += 1000;
            }
            _exit(1);
        }
        need(child > 0);
        wrong += word != ENOENT + 100000;
        reap(child);
    }
    is(wrong, 0, "after a failed exec the child goes on alone");
}

static void death_releases(void) {
    static const int signals[] = {SIGKILL, SIGTERM, SIGSEGV, SIGABRT};
    for (volatile int i = 0; i < 4; i++) {
        pid_t child = vfork();
        if (child == 0) {
            word = signals[i];
            kill(getpid(), signals[i]);
            _exit(1);
        }
        need(child > 0);
        is(word, signals[i], "the parent goes on when the child is killed by signal %d",
           signals[i]);
        is_killed(reap(child), signals[i], "and the child was");
    }
    pid_t child = vfork();
    if (child == 0) {
        *nowhere = 1;
        _exit(1);
    }
    need(child > 0);
    is_killed(reap(child), SIGSEGV, "and when it faults");
}

// A third process sees to it that the parent sleeps for as long as the child lives.
static void parent_sleeps(void) {
    struct gate in_child = gate_make(), release = gate_make();
    volatile int* resumed =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(resumed != MAP_FAILED);
    pid_t middle = fork();
    need(middle >= 0);
    if (middle == 0) {
        pid_t child = vfork();
        if (child == 0) {
            char byte = 0;
            if (write(in_child.fd[1], &byte, 1) != 1 || read(release.fd[0], &byte, 1) != 1)
                _exit(1);
            _exit(0);
        }
        *resumed = 1;
        _exit(child > 0 && exited_with(reap(child), 0) ? 0 : 1);
    }
    gate_pass(&in_child);
    for (int i = 0; i < 20; i++)
        breathe();
    is(*resumed, 0, "the parent has not gone on while the child waits");
    kill(middle, SIGTERM);
    is_killed(reap(middle), SIGTERM, "a fatal signal kills the waiting parent at once");
    gate_open(&release);
}

static struct gate held;

static void* vfork_and_hold(void* in_child) {
    pid_t child = vfork();
    if (child == 0) {
        char byte = 0;
        const struct gate* gate = in_child;
        if (write(gate->fd[1], &byte, 1) != 1 || read(held.fd[0], &byte, 1) != 1)
            _exit(1);
        _exit(0);
    }
    return NULL;
}

// The exec of one thread ends the others, also one that waits for its child of vfork.
static void exec_by_another_thread(void) {
    struct gate in_child = gate_make();
    held = gate_make();
    pid_t middle = fork();
    need(middle >= 0);
    if (middle == 0) {
        pthread_t waiting;
        need(pthread_create(&waiting, NULL, vfork_and_hold, &in_child) == 0);
        gate_pass(&in_child);
        int null = open("/dev/null", O_RDONLY);
        need(null >= 0 && dup2(null, STDIN_FILENO) == STDIN_FILENO);
        execl(self, "vfork_share", "wait-for-end-of-file", (char*)NULL);
        _exit(1);
    }
    is_exit(reap(middle), 42, "exec by a thread does not wait for the child of another's vfork");
    gate_open(&held);
}

static void grandchildren(void) {
    word = 0;
    pid_t child = vfork();
    if (child == 0) {
        pid_t grandchild = vfork();
        if (grandchild == 0) {
            word += 1;
            _exit(0);
        }
        word += 10;
        waitpid(grandchild, NULL, 0);
        pid_t copy = fork();
        if (copy == 0) {
            word += 100; // a fork's child has its own copy
            _exit(0);
        }
        waitpid(copy, NULL, 0);
        _exit(0);
    }
    need(child > 0);
    is(word, 11, "a vfork within a vfork shares, a fork within a vfork does not");
    is_exit(reap(child), 0, "and the child ends");
}

// What bounds the child does not bind the parent, whose memory it has.
static void limits_are_its_own(void) {
    const size_t size = 16 << 20;
    char* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(memory != MAP_FAILED);
    static struct rlimit before, after;
    static const int resources[] = {RLIMIT_AS, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_MEMLOCK};
    static int i;
    for (i = 0; i < 4; i++) {
        need(getrlimit(resources[i], &before) == 0);
        pid_t child = vfork();
        if (child == 0) {
            const struct rlimit little = {65536, before.rlim_max};
            _exit(setrlimit(resources[i], &little) != 0);
        }
        need(exited_with(reap(child), 0) && getrlimit(resources[i], &after) == 0);
        is(after.rlim_cur, before.rlim_cur, "limit %d is as it was", resources[i]);
    }
    void* more = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ok(more != MAP_FAILED, "the parent maps as much as ever");
    const long end = syscall(SYS_brk, 0);
    is(syscall(SYS_brk, end + (1 << 20)), end + (1 << 20), "its heap grows");
    volatile char deep[1 << 20];
    for (size_t at = sizeof deep; at >= 4096; at -= 4096)
        deep[at - 1] = 1;
    ok(deep[4095] == 1, "and its stack");
    if (geteuid() != 0 || !may(CAP_IPC_LOCK))
        return;
    pid_t child = vfork();
    if (child == 0)
        _exit(syscall(SYS_setuid, 65534) != 0);
    need(exited_with(reap(child), 0));
    is(geteuid(), 0, "a child that becomes another user");
    is(mlock(memory, size), 0, "leaves its parent the superuser's rights, also to lock memory");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "wait-for-end-of-file") == 0) {
        char byte;
        while (read(STDIN_FILENO, &byte, 1) > 0)
            continue;
        return 42;
    }
    self = strdup(self_path(argv[0]));
    subtest("the child's stores are the parent's", stores_are_seen);
    subtest("so are its mappings", mappings_are_shared);
    subtest("descriptors and directory are not", rest_is_copied);
    subtest("nor are limits", limits_are_its_own);
    subtest("exec lets the parent go on", exec_releases);
    subtest("an exec that fails does not", failed_exec_does_not_release);
    subtest("death by a signal lets the parent go on", death_releases);
    subtest("the parent sleeps until then", parent_sleeps);
    subtest("exec by another thread", exec_by_another_thread);
    subtest("nested", grandchildren);
    return done();
}
