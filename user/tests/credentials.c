// needs-root
// Users and groups: who may become whom, who may send whom a signal, and what set-uid programs get.
// The rules of the set*id calls are written down here once more, and every starting state is tried.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

// Nobody else on the machine has these.
enum { ANN = 54321, BOB = 54322, CAT = 54323 };
enum { NONE = -1 };

struct ids {
    long real, effective, saved, fs;
};

// One of the two families of calls. They are called without the C library, which would change all
// threads.
struct family {
    const char* name;
    long set, set_re, set_res, set_fs, get_res;
};
static const struct family users = {"uid",         SYS_setuid,   SYS_setreuid,
                                    SYS_setresuid, SYS_setfsuid, SYS_getresuid};
static const struct family groups = {"gid",         SYS_setgid,   SYS_setregid,
                                     SYS_setresgid, SYS_setfsgid, SYS_getresgid};

static struct ids read_ids(const struct family* f) {
    unsigned r, e, s;
    need(syscall(f->get_res, &r, &e, &s) == 0);
    return (struct ids){r, e, s, syscall(f->set_fs, NONE)};
}

static bool among(struct ids i, long id) {
    return id == i.real || id == i.effective || id == i.saved;
}

// What a call does, by the manual pages. Returns its errno.
static int expect_set(struct ids* i, bool privileged, long id) {
    if (id == NONE)
        return EINVAL;
    if (!privileged && id != i->real && id != i->saved)
        return EPERM;
    if (privileged)
        i->real = i->saved = id;
    i->effective = i->fs = id;
    return 0;
}

static int expect_set_re(struct ids* i, bool privileged, long real, long effective) {
    if (!privileged && real != NONE && real != i->real && real != i->effective)
        return EPERM;
    if (!privileged && effective != NONE && !among(*i, effective))
        return EPERM;
    const long old_real = i->real;
    if (real != NONE)
        i->real = real;
    if (effective != NONE)
        i->effective = effective;
    if (real != NONE || (effective != NONE && effective != old_real))
        i->saved = i->effective;
    i->fs = i->effective;
    return 0;
}

static int expect_set_res(struct ids* i, bool privileged, long real, long effective, long saved) {
    const long wanted[] = {real, effective, saved};
    for (int n = 0; n < 3; n++)
        if (!privileged && wanted[n] != NONE && !among(*i, wanted[n]))
            return EPERM;
    if (real != NONE)
        i->real = real;
    if (effective != NONE)
        i->effective = effective;
    if (saved != NONE)
        i->saved = saved;
    i->fs = i->effective;
    return 0;
}

static void expect_set_fs(struct ids* i, bool privileged, long id) {
    if (id != NONE && (privileged || among(*i, id) || id == i->fs))
        i->fs = id;
}

// A state and a call. Children try them, in memory that the parent sees.
struct attempt {
    const struct family* family;
    struct ids from;
    bool as_ann; // gave up root first; for groups, whose own numbers give no rights
    int kind;    // 0 set, 1 set_re, 2 set_res, 3 set_fs
    long a, b, c;
    int error;
    struct ids after;
};

static void try_in_child(struct attempt* t) {
    pid_t child = vfork();
    if (child == 0) {
        const struct family* f = t->family;
        if (syscall(f->set_res, t->from.real, t->from.effective, t->from.saved) != 0 ||
            (t->as_ann && syscall(SYS_setresuid, ANN, ANN, ANN) != 0))
            _exit(1);
        long result = 0;
        switch (t->kind) {
        case 0: result = syscall(f->set, t->a); break;
        case 1: result = syscall(f->set_re, t->a, t->b); break;
        case 2: result = syscall(f->set_res, t->a, t->b, t->c); break;
        case 3: syscall(f->set_fs, t->a); break;
        }
        t->error = result < 0 ? errno : 0;
        t->after = read_ids(f);
        _exit(0);
    }
    need(exited_with(reap(child), 0));
}

static int tried, wrong;

static void compare(struct attempt t) {
    const bool privileged = t.family == &users ? t.from.effective == 0 : !t.as_ann;
    struct ids want = t.from;
    want.fs = want.effective;
    int error = 0;
    switch (t.kind) {
    case 0: error = expect_set(&want, privileged, t.a); break;
    case 1: error = expect_set_re(&want, privileged, t.a, t.b); break;
    case 2: error = expect_set_res(&want, privileged, t.a, t.b, t.c); break;
    case 3: expect_set_fs(&want, privileged, t.a); break;
    }
    try_in_child(&t);
    tried++;
    if (t.error == error && memcmp(&t.after, &want, sizeof want) == 0)
        return;
    if (wrong++ < 10)
        diag("%s: kind %d (%ld, %ld, %ld) from %ld %ld %ld: errno %d, want %d; now %ld %ld %ld %ld,"
             " want %ld %ld %ld %ld",
             t.family->name, t.kind, t.a, t.b, t.c, t.from.real, t.from.effective, t.from.saved,
             t.error, error, t.after.real, t.after.effective, t.after.saved, t.after.fs, want.real,
             want.effective, want.saved, want.fs);
}

static void every_call_from(struct attempt t) {
    static const long wanted[] = {NONE, 0, ANN, BOB, CAT}, fewer[] = {NONE, ANN, CAT};
    for (int a = 0; a < 5; a++) {
        t.a = wanted[a];
        t.kind = 0;
        compare(t);
        t.kind = 3;
        compare(t);
        t.kind = 1;
        for (int b = 0; b < 5; b++) {
            t.b = wanted[b];
            compare(t);
        }
    }
    t.kind = 2;
    for (int n = 0; n < 27; n++) {
        t.a = fewer[n / 9], t.b = fewer[n / 3 % 3], t.c = fewer[n % 3];
        compare(t);
    }
}

static void every_state(const struct family* f, bool as_ann) {
    static const long from[] = {0, ANN, BOB};
    tried = wrong = 0;
    for (int n = 0; n < 27; n++)
        every_call_from((struct attempt){
            .family = f, .from = {from[n / 9], from[n / 3 % 3], from[n % 3], 0}, .as_ann = as_ann});
}

static void user_ids(void) {
    every_state(&users, false);
    is(wrong, 0, "setuid, setreuid, setresuid, setfsuid: %d calls as by the rules", tried);
}

static void group_ids(void) {
    every_state(&groups, true);
    is(wrong, 0, "setgid, setregid, setresgid, setfsgid: %d calls as by the rules", tried);
    static const long roots[] = {0, ANN, BOB};
    struct attempt t = {.family = &groups, .from = {roots[1], roots[1], roots[2], 0}};
    tried = wrong = 0;
    every_call_from(t);
    is(wrong, 0, "and for root, whatever its groups: %d calls", tried);
}

// The groups that /proc tells of, and whether they are `list`.
static bool told(const gid_t* list, int n) {
    static char text[1 << 20];
    size_t used = 0;
    int fd = open("/proc/self/status", O_RDONLY);
    for (ssize_t got; (got = read(fd, text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)got;
    close(fd);
    text[used] = 0;
    char* at = strstr(text, "Groups:\t");
    if (at == NULL)
        return false;
    at += strlen("Groups:\t");
    for (int i = 0; i < n; i++)
        if (strtoul(at, &at, 10) != list[i])
            return false;
    return strspn(at, " ") == strcspn(at, "\n");
}

static void all_groups(void) {
    enum { MOST = 65536 };
    static gid_t list[MOST + 1], got[MOST + 1];
    put_file("odd", 0040, "o");
    put_file("even", 0040, "e");
    if (chown("odd", 0, 2 * 40000 + 1) != 0 && errno == EINVAL)
        return skip("the name space has fewer groups");
    need(chown("odd", 0, 2 * 40000 + 1) == 0 && chown("even", 0, 2 * 40000) == 0);
    for (unsigned i = 0; i < MOST; i++) // each odd number once, in no order
        list[i] = 2 * (i * 40503 % MOST) + 1;
    is_errno(syscall(SYS_setgroups, MOST + 1, list), EINVAL, "65,537 groups");
    is(syscall(SYS_setgroups, MOST, list), 0, "65,536");
    is(syscall(SYS_getgroups, MOST + 1, got), MOST, "are told");
    for (unsigned i = 0; i < MOST; i++)
        list[i] = 2 * i + 1;
    ok(memcmp(list, got, MOST * sizeof list[0]) == 0, "in order");
    ok(told(list, MOST), "also by /proc");
    is_errno(syscall(SYS_getgroups, MOST - 1, got), EINVAL, "not into less");
    got[MOST / 2] = (gid_t)-1;
    is_errno(syscall(SYS_setgroups, MOST, got), EINVAL, "-1 is no group");
    is_errno(syscall(SYS_setgroups, MOST, 8), EFAULT, "nor what is not there");
    need(setgid(ANN) == 0 && setuid(ANN) == 0);
    is(syscall(SYS_getgroups, 0, NULL), MOST, "they stay, whoever he becomes");
    pid_t child = fork();
    if (child == 0)
        _exit(open("odd", O_RDONLY) < 0);
    is_exit(reap(child), 0, "a child is in each of them");
    is_errno(open("even", O_RDONLY), EACCES, "and in no other");
}

static void group_lists(void) {
    gid_t list[40];
    for (int i = 0; i < 40; i++)
        list[i] = (gid_t)(60000 + i);
    is_errno(syscall(SYS_setgroups, -1, list), EINVAL, "a negative number of groups");
    is_errno(syscall(SYS_setgroups, 65537, list), EINVAL, "too many");
    is_errno(syscall(SYS_setgroups, 2, 8), EFAULT, "from nowhere");
    is(syscall(SYS_setgroups, 3, list), 0, "three");
    is(syscall(SYS_getgroups, 0, NULL), 3, "are counted");
    is_errno(syscall(SYS_getgroups, 2, list), EINVAL, "too little room");
    is_errno(syscall(SYS_getgroups, -1, list), EINVAL, "or less than none");
    list[0] = list[1] = list[2] = 0;
    is(syscall(SYS_getgroups, 3, list), 3, "are told");
    ok(list[0] == 60000 && list[2] == 60002, "as they were set");
    need(setuid(ANN) == 0);
    is_errno(syscall(SYS_setgroups, 0, NULL), EPERM, "nobody but root sets them");
    is_errno(syscall(SYS_setgroups, -1, NULL), EPERM, "which is looked at first");
}

// ---- Files -----------------------------------------------------------------------------------

static void files(void) {
    put_file("anns", 0600, "a");
    put_file("bobs", 0600, "b");
    put_file("cats_group", 0060, "c");
    need(chown("anns", ANN, ANN) == 0 && chown("bobs", BOB, BOB) == 0);
    need(chown("cats_group", 0, CAT) == 0);
    need(syscall(SYS_setgroups, 0, NULL) == 0 && setresgid(ANN, ANN, ANN) == 0);
    need(setresuid(ANN, BOB, 0) == 0);
    ok(open("bobs", O_RDONLY) >= 0, "the effective user opens");
    is_errno(open("anns", O_RDONLY), EACCES, "not the real one");
    ok(access("anns", R_OK) == 0 && access("bobs", R_OK) != 0, "access asks for the real one");
    need(setfsuid(ANN) == BOB);
    ok(open("anns", O_RDONLY) >= 0, "setfsuid changes that");
    is_errno(open("bobs", O_RDONLY), EACCES, "and nothing else");
    is(geteuid(), BOB, "the effective user stays");
    struct stat st;
    int fd = open("new", O_CREAT | O_WRONLY, 0600);
    need(fd >= 0 && fstat(fd, &st) == 0);
    is(st.st_uid, ANN, "a new file belongs to the file system's user");
    need(seteuid(0) == 0);
    ok(open("bobs", O_RDONLY) >= 0, "root opens everything");
    need(setfsuid(ANN) == 0);
    is_errno(open("bobs", O_RDONLY), EACCES, "but not on behalf of another");
    is_errno(open("cats_group", O_RDONLY), EACCES, "a group that one is not in");
    need(setfsgid(CAT) == ANN);
    ok(open("cats_group", O_RDONLY) >= 0, "setfsgid");
    need(setegid(ANN) == 0);
    is_errno(open("cats_group", O_RDONLY), EACCES, "is undone by the effective group");
}

// ---- Signals ---------------------------------------------------------------------------------

static pid_t sleeper(long real, long effective, long saved, bool own_session, bool own_group) {
    struct gate ready = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        if (own_session)
            need(setsid() > 0);
        else if (own_group)
            need(setpgid(0, 0) == 0);
        need(syscall(SYS_setresuid, real, effective, saved) == 0);
        need(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
        gate_open(&ready);
        for (;;)
            pause();
    }
    gate_pass(&ready);
    return child;
}

// kill(pid, signo) by somebody with these ids: its errno.
static int kill_as(long real, long effective, pid_t pid, int signo) {
    volatile int error = 0;
    pid_t child = vfork();
    if (child == 0) {
        if (syscall(SYS_setresuid, real, effective, effective) != 0)
            _exit(1);
        error = kill(pid, signo) == 0 ? 0 : errno;
        _exit(0);
    }
    need(exited_with(reap(child), 0));
    return error;
}

static void signals(void) {
    pid_t target = sleeper(ANN, BOB, CAT, true, false);
    is(kill_as(ANN, ANN, target, 0), 0, "the target's real user may");
    is(kill_as(CAT, CAT, target, 0), 0, "its saved user");
    is(kill_as(BOB, BOB, target, 0), EPERM, "not its effective user");
    is(kill_as(ANN, BOB, target, 0), 0, "the sender's real user counts");
    is(kill_as(BOB, ANN, target, 0), 0, "and its effective user");
    is(kill_as(BOB, 0, target, 0), 0, "root may");
    is(kill_as(0, BOB, target, 0), EPERM, "while it is root");
    is(kill_as(BOB, BOB, target, SIGCONT), EPERM, "SIGCONT to another session");
    kill(target, SIGKILL);
    reap(target);

    target = sleeper(ANN, ANN, ANN, false, true);
    is(kill_as(BOB, BOB, target, SIGTERM), EPERM, "another user's process");
    is(kill_as(BOB, BOB, target, SIGCONT), 0, "but SIGCONT within the session");
    is(kill_as(BOB, BOB, -target, SIGTERM), EPERM, "a group that may not be signalled");
    // A group with one process of ours: it alone gets the signal.
    pid_t ours = sleeper(BOB, BOB, BOB, false, false);
    need(setpgid(ours, target) == 0);
    is(kill_as(BOB, BOB, -target, SIGTERM), 0, "a group of which some may");
    is_killed(reap(ours), SIGTERM, "they get it");
    is(waitpid(target, NULL, WNOHANG), 0, "the others do not");
    need(kill(target, SIGTERM) == 0);
    is_killed(reap(target), SIGTERM, "root's does");

    // Everybody: that is, everybody who may be signalled.
    target = sleeper(ANN, ANN, ANN, false, true);
    pid_t stranger = sleeper(BOB, BOB, BOB, false, true);
    is(kill_as(CAT, CAT, -1, SIGTERM), 0, "kill(-1) with nobody to reach: no error");
    is(kill_as(ANN, ANN, -1, SIGTERM), 0, "kill(-1)");
    is_killed(reap(target), SIGTERM, "reaches one's own");
    is(waitpid(stranger, NULL, WNOHANG), 0, "and nobody else's");
    kill(stranger, SIGKILL);
    reap(stranger);
}

// ---- Scheduling ------------------------------------------------------------------------------

static void priorities(void) {
    pid_t own = sleeper(ANN, ANN, ANN, false, false), other = sleeper(BOB, BOB, BOB, false, false),
          half = sleeper(BOB, ANN, CAT, false, false), no = sleeper(BOB, CAT, ANN, false, false);
    need(setresuid(CAT, ANN, ANN) == 0);
    const int nicest = 19; // who runs this may be nice already
    is(setpriority(PRIO_PROCESS, (id_t)own, nicest), 0, "one's own process is made nicer");
    is(getpriority(PRIO_PROCESS, (id_t)own), nicest, "which it says");
    is_errno(setpriority(PRIO_PROCESS, (id_t)own, 3), EACCES, "not less nice");
    is_errno(setpriority(PRIO_PROCESS, (id_t)other, nicest), EPERM, "nor another's");
    is(setpriority(PRIO_PROCESS, (id_t)half, nicest), 0, "its effective user counts");
    is_errno(setpriority(PRIO_PROCESS, (id_t)no, nicest), EPERM, "its saved user does not");
    cpu_set_t cpus;
    need(sched_getaffinity(other, sizeof cpus, &cpus) == 0);
    is_errno(sched_setaffinity(other, sizeof cpus, &cpus), EPERM, "another's processors");
    is(sched_setaffinity(own, sizeof cpus, &cpus), 0, "one's own");
    struct rlimit limit;
    is_errno(prlimit(other, RLIMIT_CORE, NULL, &limit), EPERM, "another's limits are not read");
    is_errno(setpriority(PRIO_USER, 54399, 1), ESRCH, "a user without processes");
    is_errno(setpriority(7, 0, 1), EINVAL, "a kind that is none");
}

// By their numbers: musl has no such calls, it says.
static void classes(void) {
    const pid_t own = sleeper(ANN, ANN, ANN, false, false),
                other = sleeper(BOB, BOB, BOB, false, false);
    const int zero = 0, five = 5;
    int priority = 7;
    need(setresuid(CAT, ANN, ANN) == 0);
    is(syscall(SYS_sched_getscheduler, own), SCHED_OTHER, "an ordinary process");
    is(syscall(SYS_sched_getscheduler, other), SCHED_OTHER, "as others are");
    is(syscall(SYS_sched_getparam, own, &priority), 0, "its priority");
    is(priority, 0, "is none");
    is(syscall(SYS_sched_setscheduler, own, SCHED_OTHER, &zero), 0, "is set to what it is");
    is(syscall(SYS_sched_setparam, own, &zero), 0, "likewise");
    is_errno(syscall(SYS_sched_setscheduler, own, SCHED_OTHER, &five), EINVAL, "not to another");
    is_errno(syscall(SYS_sched_setparam, own, &five), EINVAL, "nor so");
    is_errno(syscall(SYS_sched_setscheduler, own, SCHED_FIFO, &five), EPERM, "real time");
    is_errno(syscall(SYS_sched_setscheduler, own, SCHED_RR, &zero), EINVAL, "without a priority");
    is_errno(syscall(SYS_sched_setscheduler, own, -1, &zero), EINVAL, "a class that is none");
    is_errno(syscall(SYS_sched_setscheduler, other, SCHED_OTHER, &zero), EPERM, "another's");
    is_errno(syscall(SYS_sched_setscheduler, own, SCHED_OTHER, NULL), EINVAL, "no priority");
    is_errno(syscall(SYS_sched_setscheduler, own, SCHED_OTHER, 8), EFAULT, "a bad address");
    is_errno(syscall(SYS_sched_getparam, own, 8), EFAULT, "and where to read it");
    is_errno(syscall(SYS_sched_getscheduler, -1), EINVAL, "no process id");
    is_errno(syscall(SYS_sched_getscheduler, 4000000), ESRCH, "nobody's");
    is(syscall(SYS_sched_get_priority_min, SCHED_FIFO), 1, "real-time priorities from 1");
    is(syscall(SYS_sched_get_priority_max, SCHED_RR), 99, "to 99");
    is(syscall(SYS_sched_get_priority_max, SCHED_OTHER), 0, "others have none");
    is_errno(syscall(SYS_sched_get_priority_max, 4), EINVAL, "a number without a class");
}

static void nice_limit(void) {
    struct rlimit limit = {18, 18};          // down to 2
    if (setrlimit(RLIMIT_NICE, &limit) != 0) // Linux's root may not be allowed to, in a container
        need(getrlimit(RLIMIT_NICE, &limit) == 0);
    const int lowest = 20 - (int)limit.rlim_cur;
    need(setuid(ANN) == 0);
    need(setpriority(PRIO_PROCESS, 0, 19) == 0);
    for (int wanted = 9; wanted >= 1; wanted -= 8) {
        errno = 0;
        setpriority(PRIO_PROCESS, 0, wanted);
        is(errno, wanted < lowest ? EACCES : 0, "RLIMIT_NICE %d and a niceness of %d",
           (int)limit.rlim_cur, wanted);
    }
}

// ---- Programs --------------------------------------------------------------------------------

static void copy_self(const char* to, uid_t uid, gid_t gid, mode_t mode) {
    int in = open("/proc/self/exe", O_RDONLY), out = open(to, O_CREAT | O_WRONLY | O_EXCL, 0700);
    char block[16384];
    need(in >= 0 && out >= 0);
    for (ssize_t n; (n = read(in, block, sizeof block)) > 0;)
        need(write(out, block, (size_t)n) == n);
    need(fchown(out, uid, gid) == 0 && fchmod(out, mode) == 0);
    need(close(in) == 0 && close(out) == 0);
}

// What a program finds when it is called with "report".
struct report {
    struct ids uid, gid;
    unsigned long secure;
    int death_signal, dumpable;
};

static int write_report(void) {
    struct report r = {read_ids(&users), read_ids(&groups), getauxval(AT_SECURE), 0, 0};
    need(prctl(PR_GET_PDEATHSIG, &r.death_signal) == 0);
    r.dumpable = prctl(PR_GET_DUMPABLE) == 1;
    need(write(3, &r, sizeof r) == sizeof r);
    return 0;
}

// Who calls it, and how.
struct caller {
    uid_t uid, euid;
    bool no_new_privs;
    int shares; // with a process that lives on: CLONE_*
};
static const struct caller plain_ann = {ANN, ANN, false, 0};

static int call(void* path) {
    execl(path, path, "report", NULL);
    _exit(99);
}

static struct report report_to(const char* path, struct caller as) {
    static char stack[65536] __attribute__((aligned(16)));
    int to[2];
    need(pipe(to) == 0);
    pid_t child = fork();
    if (child == 0) {
        need(dup2(to[1], 3) == 3);
        need(as.uid == 0 || setresgid(ANN, ANN, ANN) == 0);
        need(setresuid(as.uid, as.euid, as.euid) == 0);
        need(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
        need(!as.no_new_privs || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        if (!as.shares)
            call((void*)path);
        pid_t sharer = clone(call, stack + sizeof stack, as.shares | SIGCHLD, (void*)path);
        need(sharer > 0);
        _exit(exited_with(reap(sharer), 0) ? 0 : 98);
    }
    need(exited_with(reap(child), 0));
    struct report r;
    need(read(to[0], &r, sizeof r) == sizeof r);
    close(to[0]);
    close(to[1]);
    return r;
}

static struct report report_of(const char* path, bool no_new_privs) {
    struct caller as = plain_ann;
    as.no_new_privs = no_new_privs;
    return report_to(path, as);
}

static bool are(struct ids i, long real, long effective) {
    return i.real == real && i.effective == effective && i.saved == effective && i.fs == effective;
}

static void programs(void) {
    copy_self("plain", BOB, BOB, 0755);
    copy_self("setuid", BOB, BOB, 04755);
    copy_self("setgid", BOB, BOB, 02755);
    copy_self("nogroup", BOB, BOB, 02745); // setgid without x for the group: a locking mark
    struct report r = report_of("./plain", false);
    ok(are(r.uid, ANN, ANN) && are(r.gid, ANN, ANN), "an ordinary program changes nothing");
    is(r.secure, 0, "and is not told to be careful");
    is(r.death_signal, SIGUSR1, "PR_SET_PDEATHSIG outlives exec");
    is(r.dumpable, 1, "it can be looked into");
    r = report_of("./setuid", false);
    ok(are(r.uid, ANN, BOB) && are(r.gid, ANN, ANN), "set-uid: the effective and the saved user");
    is(r.secure, 1, "AT_SECURE says so");
    is(r.death_signal, 0, "PR_SET_PDEATHSIG is forgotten");
    is(r.dumpable, 0, "it cannot be looked into");
    r = report_of("./setgid", false);
    ok(are(r.uid, ANN, ANN) && are(r.gid, ANN, BOB), "set-gid: the group");
    is(r.secure, 1, "AT_SECURE says so, too");
    r = report_of("./nogroup", false);
    ok(are(r.gid, ANN, ANN), "not if the group may not execute it");
    r = report_of("./setuid", true);
    ok(are(r.uid, ANN, ANN), "PR_SET_NO_NEW_PRIVS: neither");
    is(r.secure, 0, "so that nothing is to be careful about");
}

// Who shares a current directory and umask with a program steers it: no rights for that.
static void shared_programs(void) {
    copy_self("setugid", BOB, BOB, 06755);
    struct caller as = plain_ann;
    as.shares = CLONE_FS;
    struct report r = report_to("./setugid", as);
    ok(are(r.uid, ANN, ANN) && are(r.gid, ANN, ANN), "a shared directory: no set-uid, no set-gid");
    is(r.secure, 1, "though it is to be careful");
    is(r.dumpable, 1, "it can be looked into");
    as.shares = CLONE_FS | CLONE_FILES | CLONE_VM | CLONE_SIGHAND;
    r = report_to("./setugid", as);
    ok(are(r.uid, ANN, ANN), "nor for one who shares everything");
    as.shares = CLONE_FILES | CLONE_VM | CLONE_SIGHAND;
    r = report_to("./setugid", as);
    ok(are(r.uid, ANN, BOB) && are(r.gid, ANN, BOB), "what exec makes its own does not matter");
    r = report_to("./setugid", (struct caller){0, 0, false, CLONE_FS});
    ok(are(r.uid, 0, BOB), "and root gives its rights away as it likes");
}

// What of the caller's own rights is left by exec.
static void programs_of_two_users(void) {
    copy_self("bobs_plain", BOB, BOB, 0755);
    copy_self("unreadable", BOB, BOB, 0711);
    struct report r = report_to("./bobs_plain", (struct caller){ANN, BOB, false, 0});
    ok(are(r.uid, ANN, BOB), "another effective user stays");
    is(r.secure, 1, "which is a reason to be careful");
    is(r.dumpable, 0, "and not to be looked into");
    r = report_of("./unreadable", false);
    ok(are(r.uid, ANN, ANN), "a program that the caller cannot read runs");
    is(r.dumpable, 0, "and cannot be read in memory either");
}

static void death_signal_and_ids(void) {
    int signo;
    need(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
    need(syscall(SYS_setresuid, ANN, NONE, NONE) == 0);
    need(prctl(PR_GET_PDEATHSIG, &signo) == 0);
    is(signo, SIGUSR1, "another real user: PR_SET_PDEATHSIG stays");
    is(prctl(PR_GET_DUMPABLE) == 1, 1, "and the process can be looked into");
    need(syscall(SYS_setresuid, NONE, BOB, NONE) == 0);
    need(prctl(PR_GET_PDEATHSIG, &signo) == 0);
    is(signo, 0, "another effective user: it goes");
    is(prctl(PR_GET_DUMPABLE) == 1, 0, "and it cannot");
    need(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
    need(syscall(SYS_setresuid, NONE, BOB, NONE) == 0);
    need(prctl(PR_GET_PDEATHSIG, &signo) == 0);
    is(signo, SIGUSR1, "the same user again changes nothing");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "report") == 0)
        return write_report();
    scratch_begin();
    subtest("user ids", user_ids);
    subtest("group ids", group_ids);
    subtest("lists of groups", group_lists);
    subtest("as many groups as there may be", all_groups);
    subtest("files", files);
    subtest("signals", signals);
    subtest("priorities", priorities);
    subtest("scheduling classes", classes);
    subtest("RLIMIT_NICE", nice_limit);
    subtest("set-uid programs", programs);
    subtest("set-uid programs that share", shared_programs);
    subtest("programs of two users", programs_of_two_users);
    subtest("another user, and PR_SET_PDEATHSIG", death_signal_and_ids);
    return done();
}
