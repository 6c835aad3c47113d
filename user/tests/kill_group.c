// A signal to a whole process group, or to everybody, while its members fork: nobody escapes. Each
// process that there is then gets it, and one that is forked meanwhile gets it too, or its parent
// had it first.
#include "../lib/proc.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { ROUNDS = 12, MOST = 40, ENOUGH = 60, NOBODY_ELSE = 54322 };

static struct shared {
    int alive; // about: those that are killed do not say so
    int forks;
    int stop;
    int missed, seen;
}* shared;

static bool change_groups;
static volatile sig_atomic_t seen;

static void see(int signo) {
    (void)signo;
    seen = 1;
}

// Forks, and forks, and ends in favour of its children when there are enough.
static void be_a_bomb(void) {
    while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
        if (__atomic_add_fetch(&shared->alive, 1, __ATOMIC_RELAXED) > MOST) {
            __atomic_sub_fetch(&shared->alive, 1, __ATOMIC_RELAXED);
            if (__atomic_sub_fetch(&shared->alive, 1, __ATOMIC_RELAXED) > MOST / 2)
                return;
            __atomic_add_fetch(&shared->alive, 1, __ATOMIC_RELAXED);
            sched_yield();
            continue;
        }
        // A C library's fork may block signals meanwhile, and then they are its parent's alone.
        pid_t child = (pid_t)syscall(SYS_fork);
        if (child < 0)
            __atomic_sub_fetch(&shared->alive, 1, __ATOMIC_RELAXED);
        else if (child > 0)
            __atomic_add_fetch(&shared->forks, 1, __ATOMIC_RELAXED);
        else if (change_groups && getpid() % 3 == 0)
            (void)setpgid(0, 0);
        (void)waitpid(-1, NULL, WNOHANG);
    }
}

static void bomb(void* unused) {
    (void)unused;
    need(setpgid(0, 0) == 0);
    be_a_bomb();
}

// A bomb that has gone off: its group.
static pid_t light(void (*body)(void*)) {
    memset(shared, 0, sizeof *shared);
    shared->alive = 1;
    pid_t group = spawn(body, NULL);
    need(eventually(__atomic_load_n(&shared->forks, __ATOMIC_RELAXED) >= ENOUGH));
    return group;
}

// All who were killed are our children, since their parents are dead.
static void bury_all(void) {
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        continue;
}

// A bomb that goes on costs this subtest and no more.
static void give_up(int signo) {
    (void)signo;
    shared->stop = 1;
    _exit(1);
}

static void prepare(void) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared != MAP_FAILED && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    signal(SIGALRM, give_up);
    alarm(20);
}

static void killed_at_once(void) {
    prepare();
    for (int i = 0; i < ROUNDS; i++) {
        pid_t group = light(bomb);
        need(kill(-group, SIGKILL) == 0);
        bury_all(); // does not end if somebody goes on
    }
    ok(true, "a fork bomb ends with the first SIGKILL to its group");
}

static void see_and_tell(void* unused) {
    signal(SIGUSR1, see);
    bomb(unused);
    if (!__atomic_load_n(&shared->stop, __ATOMIC_SEQ_CST))
        return;
    getppid(); // what was pending when `stop` was set has come by now
    __atomic_add_fetch(seen ? &shared->seen : &shared->missed, 1, __ATOMIC_RELAXED);
}

static void all_see_it(void) {
    int missed = 0, all = 0;
    prepare();
    for (int i = 0; i < ROUNDS; i++) {
        pid_t group = light(see_and_tell);
        need(kill(-group, SIGUSR1) == 0);
        __atomic_store_n(&shared->stop, 1, __ATOMIC_SEQ_CST);
        bury_all();
        missed += shared->missed;
        all += shared->seen;
    }
    is(missed, 0, "a signal to the group is seen by each, or by its parent before");
    ok(all > ROUNDS, "and there were some");
}

// As somebody who has no other processes, since it is for everybody.
static void everybody(void) {
    prepare();
    if (geteuid() != 0) {
        ok(true, "left out: for root");
        return;
    }
    become(NOBODY_ELSE);
    change_groups = true;
    for (int i = 0; i < ROUNDS; i++) {
        (void)light(bomb);
        need(kill(-1, SIGKILL) == 0);
        bury_all();
    }
    ok(true, "and one of many groups with the first SIGKILL to everybody");
}

int main(void) {
    subtest("SIGKILL to a group that forks", killed_at_once);
    subtest("a signal with a handler", all_see_it);
    subtest("kill(-1)", everybody);
    return done();
}
