// spork-only
// fork_stress [ROUNDS [SEED]]: every way of making a process, mixed, from threads, with children
// killed at random; afterwards nothing is left of it in the kernel: the counts of live objects in
// /proc/pools and the promised memory are what they were before.
#include "../lib/afork.h"

#include "../lib/counts.h"
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>

extern char** environ;

enum { THREADS = 4, STACK = 65536, AREA = 64 * 4096 };
enum {
    FORK,
    FORK_DIRTY,
    VFORK,
    NESTED,
    CLONE_STACK,
    SHARE,
    SPAWN,
    AFORK_IT,
    THREAD_EXEC,
    MODES,
    THREAD,
    WAYS
};

static const char* const way_names[WAYS] = {
    "fork",          "fork, both write", "vfork", "vfork in vfork", "clone vfork",
    "clone, shared", "posix_spawn",      "afork", "exec by thread", "modes",
    "thread"};

static char* self;
static long rounds = 50; // of each thread
static unsigned long made[THREADS][WAYS];

struct maker {
    pthread_t thread;
    int number;
    uint64_t random;
    char* stack; // of its children
    char* area;  // memory that it writes to
};

static unsigned draw(struct maker* m, unsigned below) {
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(m->random >> 33) % below;
}

// What a child does; raw calls alone, for it may be in its parent's memory.
struct act {
    int what;
    char* argv[3];
};
enum { EXIT, EXEC, EXEC_FAILS, PAUSE, FAULT, ACTS };

static volatile int* volatile nowhere = (volatile int*)8;

static int play(void* arg) {
    struct act* act = arg;
    switch (act->what) {
    case EXEC: afork_raw(SYS_execve, self, act->argv, environ); break;
    case EXEC_FAILS: afork_raw(SYS_execve, "/no/such", act->argv, environ); break;
    case PAUSE: afork_raw(SYS_pause, 0, 0, 0); break;
    case FAULT: *nowhere = 1; break;
    default: break;
    }
    return 0;
}

static void kill_soon(struct maker* m, pid_t pid) {
    for (unsigned n = draw(m, 20); n > 0; n--)
        sched_yield();
    kill(pid, SIGKILL);
}

static void* do_nothing(void* arg) { return arg; }

static void* exec_in_thread(void* arg) {
    struct act* act = arg;
    execve(self, act->argv, environ);
    _exit(1);
}

// In a child of its own: one thread executes a program while the first one runs.
static void exec_by_thread(struct act* act) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, exec_in_thread, act) == 0)
        for (;;)
            pause();
    _exit(1);
}

static int clone_stack(struct maker* m, struct act* act) {
    return clone(play, m->stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, act);
}

static void one(struct maker* m) {
    const unsigned way = draw(m, WAYS);
    struct act act = {(int)draw(m, ACTS), {self, "child", NULL}};
    made[m->number][way]++;
    pid_t pid = -1;
    switch (way) {
    case FORK:
    case FORK_DIRTY:
        pid = fork();
        if (pid == 0) {
            if (way == FORK_DIRTY)
                memset(m->area, 1, AREA / 2);
            _exit(play(&act));
        }
        if (way == FORK_DIRTY)
            memset(m->area, 2, AREA);
        break;
    case VFORK:
        act.what = act.what == PAUSE ? EXIT : act.what; // nobody could end it
        pid = vfork();
        if (pid == 0)
            _exit(play(&act));
        break;
    case NESTED:
        act.what = act.what == PAUSE ? EXIT : act.what;
        pid = vfork();
        if (pid == 0) {
            if (vfork() == 0)
                _exit(play(&act));
            _exit(0);
        }
        break;
    case SHARE: pid = clone(play, m->stack + STACK, CLONE_VM | SIGCHLD, &act); break;
    case THREAD_EXEC:
        pid = fork();
        if (pid == 0)
            exec_by_thread(&act);
        break;
    case CLONE_STACK:
        act.what = act.what == PAUSE ? EXEC : act.what;
        pid = clone_stack(m, &act);
        break;
    case SPAWN:
        if (posix_spawn(&pid, act.what == EXEC_FAILS ? "/no/such" : self, NULL, NULL, act.argv,
                        environ) != 0)
            return;
        break;
    case AFORK_IT: {
        struct afork_record record;
        int fd = afork(m->stack, STACK, play, &act, AFORK_CLOEXEC, &pid);
        need(fd >= 0);
        if (draw(m, 2) == 0 || act.what == PAUSE)
            kill_soon(m, pid);
        need(read(fd, &record, sizeof record) == sizeof record);
        need(record.pid == pid);
        need(close(fd) == 0);
        break;
    }
    case MODES: need(spork_forkmode((int)draw(m, 4), (int)draw(m, 3)) >= 0); return;
    case THREAD: {
        pthread_t thread;
        if (pthread_create(&thread, NULL, do_nothing, NULL) == 0)
            pthread_join(thread, NULL);
        return;
    }
    }
    need(pid > 0);
    kill_soon(m, pid);
    reap(pid);
}

static void* make_children(void* arg) {
    for (long i = 0; i < rounds; i++)
        one(arg);
    return NULL;
}

static unsigned long seed = 1;

static void stress(void* arg) {
    static struct maker makers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        makers[i] = (struct maker){.number = i, .random = seed + (unsigned)i};
        makers[i].stack = malloc(STACK);
        makers[i].area = malloc(AREA);
        need(makers[i].stack != NULL && makers[i].area != NULL);
        need(pthread_create(&makers[i].thread, NULL, make_children, &makers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        need(pthread_join(makers[i].thread, NULL) == 0);
    for (int way = 0; way < WAYS; way++) {
        unsigned long sum = 0;
        for (int i = 0; i < THREADS; i++)
            sum += made[i][way];
        if (sum > 0)
            diag("%6lu %s", sum, way_names[way]);
    }
    need(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
}

// How many processes the machine has made since it was started.
static long processes_made(void) {
    char line[256];
    long made_so_far = -1;
    FILE* f = fopen("/proc/stat", "re");
    need(f != NULL);
    while (made_so_far < 0 && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "processes %ld", &made_so_far) != 1)
            made_so_far = -1;
    fclose(f);
    return made_so_far;
}

// ---- What is left of it ----------------------------------------------------------------------

static void run(const void* unused) {
    (void)unused;
    const long made_before = processes_made();
    const int64_t start = now_ns();
    is_exit(status_of(stress, NULL), 0, "every process ended as it should");
    diag("%ld processors, %ld ms, %ld processes and threads made", sysconf(_SC_NPROCESSORS_ONLN),
         (long)((now_ns() - start) / 1000000), processes_made() - made_before);
}

int main(int argc, char** argv) {
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return 0;
    if (argc > 1)
        rounds = atol(argv[1]);
    if (argc > 2)
        seed = strtoul(argv[2], NULL, 0);
    self = strdup(self_path(argv[0]));
    diag("%d threads, %ld rounds each, seed %lu", THREADS, rounds, seed);
    const long wanted = rounds;
    rounds = 0;
    (void)counts_left_by(run, NULL); // touches what stays touched
    rounds = wanted;
    is(counts_left_by(run, NULL), 0, "nothing is left of them");
    return done();
}
