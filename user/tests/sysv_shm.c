// System V shared memory: segments, keys, attachments over fork and exec, removal, permissions.
#include "../lib/fault.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"
#include "../lib/spork.h"

#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

enum { PAGE = 4096, SIZE = 5 * PAGE - 100, PAGES = 5 };

static char* self;

// A segment that is gone when the subtest has ended, whatever happened in it.
static int made[8];
static int made_count;

static void remove_segments(void) {
    for (int i = 0; i < made_count; i++)
        shmctl(made[i], IPC_RMID, NULL);
}

static int segment(key_t key, size_t size, int flags) {
    int id = shmget(key, size, flags);
    need(id >= 0);
    made[made_count++] = id;
    return id;
}

static struct shmid_ds status_now(int id) {
    struct shmid_ds ds;
    need(shmctl(id, IPC_STAT, &ds) == 0);
    return ds;
}

static void exit_with_byte(void* at) { _exit(*(char*)at); }

static void basics(void) {
    int id = segment(IPC_PRIVATE, SIZE, IPC_CREAT | 0640);
    struct shmid_ds ds = status_now(id);
    is(ds.shm_segsz, SIZE, "the size is kept in bytes");
    is(ds.shm_perm.mode & 0777, 0640, "so are the permissions");
    is(ds.shm_cpid, getpid(), "who made it");
    is(ds.shm_lpid, 0, "nobody has attached it");
    is(ds.shm_nattch, 0, "no attachments");
    ok(ds.shm_ctime > 0 && ds.shm_atime == 0 && ds.shm_dtime == 0, "times");
    char* a = shmat(id, NULL, 0);
    need(a != (char*)-1);
    char* b = shmat(id, NULL, 0);
    need(b != (char*)-1);
    ok(a != b && (uintptr_t)a % PAGE == 0, "two places");
    is(a[SIZE - 1], 0, "it is zeros");
    a[PAGE] = 'x';
    is(b[PAGE], 'x', "one memory");
    a[PAGES * PAGE - 1] = 'y';
    is(b[PAGES * PAGE - 1], 'y', "whole pages can be used");
    ds = status_now(id);
    is(ds.shm_nattch, 2, "two attachments");
    is(ds.shm_lpid, getpid(), "by this process");
    ok(ds.shm_atime > 0, "at some time");
    succeeds(shmdt(a), "shmdt");
    is_fault(load_fault(a), SIGSEGV, SEGV_MAPERR, a, "it is unmapped");
    is(b[PAGE], 'x', "the other one is not");
    is_errno(shmdt(a), EINVAL, "once is enough");
    is_errno(shmdt(b + PAGE), EINVAL, "in the middle");
    is_errno(shmdt(b + 1), EINVAL, "within a page");
    ds = status_now(id);
    is(ds.shm_nattch, 1, "one attachment");
    ok(ds.shm_dtime > 0, "detached at some time");
    succeeds(shmdt(b), "the last one");
    a = shmat(id, NULL, 0);
    need(a != (char*)-1);
    is(a[PAGE], 'x', "a segment keeps what is in it while nobody has it");
}

static void get(void) {
    key_t key = ftok("/", getpid() & 0xff) ^ getpid() << 8;
    is_errno(shmget(key, PAGE, 0600), ENOENT, "a key that nobody has");
    int id = segment(key, 2 * PAGE, IPC_CREAT | IPC_EXCL | 0600);
    is(shmget(key, PAGE, 0), id, "the key leads to it");
    is(shmget(key, 0, 0), id, "whatever size is asked for");
    is_errno(shmget(key, 3 * PAGE, 0), EINVAL, "but not more than it has");
    is_errno(shmget(key, PAGE, IPC_CREAT | IPC_EXCL | 0600), EEXIST, "it is not made twice");
    is_errno(shmget(IPC_PRIVATE, 0, IPC_CREAT | 0600), EINVAL, "nothing at all");
    is_errno(shmget(IPC_PRIVATE, (size_t)-1, IPC_CREAT | 0600), EINVAL, "everything");
    is_errno(shmctl(id, IPC_RMID, NULL) == 0 ? shmget(key, PAGE, 0) : 0, ENOENT,
             "a removed one has no key");
    is_errno(shmctl(id, IPC_STAT, &(struct shmid_ds){0}), EINVAL, "and is no more");
    is_errno(shmctl(-1, IPC_STAT, &(struct shmid_ds){0}), EINVAL, "an id that cannot be");
    is_errno(syscall(SYS_shmctl, id, 99, NULL), EINVAL, "a command that is none");
    int next = segment(IPC_PRIVATE, PAGE, 0600);
    ok(next != id, "the next one has another id");
    is_errno(syscall(SYS_shmctl, next, IPC_STAT, (void*)8), EFAULT, "a bad address");
}

static void places(void) {
    int id = segment(IPC_PRIVATE, 3 * PAGE, 0600);
    char* hole = mmap(NULL, 8 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(hole != MAP_FAILED && munmap(hole + PAGE, 6 * PAGE) == 0);
    is(shmat(id, hole + PAGE, 0), hole + PAGE, "where it is wanted");
    is_errno(shmat(id, hole + 3 * PAGE, 0), EINVAL, "not over something");
    is_errno(shmat(id, hole + 4 * PAGE + 8, 0), EINVAL, "not within a page");
    is(shmat(id, hole + 4 * PAGE + 8, SHM_RND), hole + 4 * PAGE, "but rounded");
    is(shmat(id, hole + 2 * PAGE, SHM_REMAP), hole + 2 * PAGE, "in place of something");
    is_errno(shmat(id, NULL, SHM_REMAP), EINVAL, "in place of nowhere");
    char* ro = shmat(id, NULL, SHM_RDONLY);
    need(ro != (char*)-1);
    is_fault(store_fault(ro), SIGSEGV, SEGV_ACCERR, ro, "read-only");
    is_errno(mprotect(ro, PAGE, PROT_READ | PROT_WRITE), EACCES, "for good");
    is_errno(shmat(id + 1000, NULL, 0), EINVAL, "no such segment");
    const int other = id < 32768 ? id + 32768 : id - 32768; // an id is turn * 32768 + place
    is_errno(shmat(other, NULL, 0), EINVAL, "one that had the same place in the table");
    is_errno(shmat(-1, NULL, 0), EINVAL, "none at all");
    char* at = shmat(id, NULL, 0);
    need(at != (char*)-1 && munmap(at + PAGE, PAGE) == 0);
    succeeds(shmdt(at), "what is left of a mapping is detached");
    is_fault(load_fault(at + 2 * PAGE), SIGSEGV, SEGV_MAPERR, at + 2 * PAGE, "all of it");
}

static void across_fork_and_exec(void) {
    int id = segment(IPC_PRIVATE, PAGE, 0600);
    char* at = shmat(id, NULL, 0);
    need(at != (char*)-1);
    struct gate go = gate_make(), there = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        at[0] = 'c';
        gate_open(&there);
        gate_pass(&go);
        char number[16];
        snprintf(number, sizeof number, "%d", id);
        execl(self, self, "count", number, NULL);
        _exit(99);
    }
    gate_pass(&there);
    is(at[0], 'c', "a child has the parent's segments");
    is(status_now(id).shm_nattch, 2, "and counts");
    gate_open(&go);
    is_exit(reap(child), 1, "exec detaches");
    child = spawn(exit_with_byte, at);
    is_exit(reap(child), 'c', "another child");
    is(status_now(id).shm_nattch, 1, "exit detaches");
    pid_t borrower = vfork();
    if (borrower == 0)
        _exit(at[0]);
    is_exit(reap(borrower), 'c', "a vfork child borrows it");
    is(status_now(id).shm_nattch, 1, "which is no attachment");
}

static void removal(void) {
    key_t key = 0x5b0000 ^ getpid();
    int id = segment(key, PAGE, IPC_CREAT | 0600);
    char* at = shmat(id, NULL, 0);
    need(at != (char*)-1);
    at[0] = 'k';
    succeeds(shmctl(id, IPC_RMID, NULL), "removing an attached segment");
    is(at[0], 'k', "leaves it to those who have it");
    struct shmid_ds ds = status_now(id);
    ok(ds.shm_perm.mode & SHM_DEST, "marked");
    is(ds.shm_perm.__key, IPC_PRIVATE, "without its key");
    int other = segment(key, PAGE, IPC_CREAT | IPC_EXCL | 0600);
    ok(other != id, "a new one takes the key");
    char* again = shmat(id, NULL, 0);
    ok(again != (char*)-1 && again[0] == 'k', "it can still be attached by its id");
    succeeds(shmctl(id, IPC_RMID, NULL), "removing it twice");
    succeeds(shmdt(at), "detaching");
    is(status_now(id).shm_nattch, 1, "one is left");
    succeeds(shmdt(again), "the last one");
    is_errno(shmctl(id, IPC_STAT, &ds), EINVAL, "then it is gone");
    is_errno(shmat(id, NULL, 0), EINVAL, "for everybody");
}

static int the_segment;

static void as_another_user(void* unused) {
    (void)unused;
    drop_root();
    need(shmat(the_segment, NULL, 0) == (void*)-1 && errno == EACCES);
    char* ro = shmat(the_segment, NULL, SHM_RDONLY);
    need(ro != (char*)-1);
    struct shmid_ds ds;
    need(shmctl(the_segment, IPC_STAT, &ds) == 0);
    need(shmctl(the_segment, IPC_SET, &ds) == -1 && errno == EPERM);
    need(shmctl(the_segment, IPC_RMID, NULL) == -1 && errno == EPERM);
    need(shmget(ds.shm_perm.__key, 0, 0444) == the_segment);
    need(shmget(ds.shm_perm.__key, 0, 0666) == -1 && errno == EACCES);
}

static void permissions(void) {
    the_segment = segment(0x5c0000 ^ getpid(), PAGE, IPC_CREAT | 0644);
    struct shmid_ds ds = status_now(the_segment);
    ds.shm_perm.mode = 0604;
    succeeds(shmctl(the_segment, IPC_SET, &ds), "IPC_SET");
    is(status_now(the_segment).shm_perm.mode & 0777, 0604, "changes the permissions");
    ds.shm_perm.uid = (uid_t)-1;
    is_errno(shmctl(the_segment, IPC_SET, &ds), EINVAL, "nobody is no owner");
    if (geteuid() == 0)
        is_exit(status_of(as_another_user, NULL), 0, "another user may read it and no more");
    succeeds(shmctl(the_segment, SHM_LOCK, NULL), "SHM_LOCK");
    ok(status_now(the_segment).shm_perm.mode & SHM_LOCKED, "shows");
    succeeds(shmctl(the_segment, SHM_UNLOCK, NULL), "SHM_UNLOCK");
}

static void reports(void) {
    int id = segment(IPC_PRIVATE, 3 * PAGE, 0600);
    char* at = shmat(id, NULL, 0);
    need(at != (char*)-1);
    at[0] = 1;
    struct shminfo limits;
    ok(shmctl(0, IPC_INFO, (struct shmid_ds*)&limits) >= 0, "IPC_INFO");
    ok(limits.shmmni == 4096 && limits.shmmin == 1, "the limits are Linux's");
    struct shm_info sums;
    int highest = shmctl(0, SHM_INFO, (struct shmid_ds*)&sums);
    ok(highest >= 0 && sums.used_ids >= 1 && sums.shm_tot >= 3, "SHM_INFO");
    int found = 0;
    for (int i = 0; i <= highest; i++) {
        struct shmid_ds ds;
        found += shmctl(i, SHM_STAT, &ds) == id;
    }
    is(found, 1, "SHM_STAT by place");
    char line[512] = "", seen[512] = "";
    FILE* f = fopen("/proc/sysvipc/shm", "r");
    need(f != NULL && fgets(line, sizeof line, f) != NULL);
    ok(strstr(line, "shmid perms") != NULL, "/proc/sysvipc/shm has a heading");
    while (fgets(line, sizeof line, f) != NULL) {
        int key, this_id;
        if (sscanf(line, "%d %d", &key, &this_id) == 2 && this_id == id)
            strcpy(seen, line);
    }
    fclose(f);
    unsigned long size = 0, attached = 0, rss = 0;
    int perms = 0, cpid = 0, lpid = 0;
    int n = sscanf(seen, "%*d %*d %o %lu %d %d %lu %*u %*u %*u %*u %*u %*u %*u %lu", &perms, &size,
                   &cpid, &lpid, &attached, &rss);
    ok(n == 6 && perms == 0600 && size == 3 * PAGE && attached == 1 && rss == PAGE,
       "and a line for the segment: %s", seen);
    char path[64];
    snprintf(path, sizeof path, "/SYSV%08x (deleted)", 0);
    f = fopen("/proc/self/maps", "r");
    bool named = false;
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        named |= strstr(line, path) != NULL;
    fclose(f);
    ok(named, "/proc/self/maps names it");
    is(atol(get_file("/proc/sys/kernel/shmmni")), 4096, "/proc/sys/kernel/shmmni");
    ok(strtoul(get_file("/proc/sys/kernel/shmmax"), NULL, 10) > 1ul << 40, "shmmax");
    ok(strtoul(get_file("/proc/sys/kernel/shmall"), NULL, 10) > 256, "shmall");
}

// All segments together, by their sizes. Nothing ends them but IPC_RMID, so they may not take all
// of memory.
static void limit_of_all(void) {
    if (!on_spork())
        return; // no limit there, unless somebody sets one
    const unsigned long all = strtoul(get_file("/proc/sys/kernel/shmall"), NULL, 10);
    const unsigned long memory = (unsigned long)sysconf(_SC_PHYS_PAGES);
    ok(all <= memory / 2 && all > memory / 4, "half of memory: %lu of %lu pages", all, memory);
    const int flags = IPC_CREAT | SHM_NORESERVE | 0600;
    is_errno(shmget(IPC_PRIVATE, (all + 1) * PAGE, flags), ENOSPC, "more than that");
    const int most = segment(IPC_PRIVATE, all * PAGE, flags);
    is_errno(shmget(IPC_PRIVATE, PAGE, flags), ENOSPC, "a page besides all of it");
    need(shmctl(most, IPC_RMID, NULL) == 0);
    ok(segment(IPC_PRIVATE, PAGE, flags) >= 0, "room again when it is removed");
}

static void run(void (*body)(void)) {
    fault_catch(0);
    atexit(remove_segments);
    body();
}

#define RUN(body)                                                                                  \
    static void run_##body(void) { run(body); }
RUN(basics)
RUN(get)
RUN(places)
RUN(across_fork_and_exec)
RUN(removal)
RUN(permissions)
RUN(reports)
RUN(limit_of_all)

int main(int argc, char** argv) {
    if (argc == 3) // how many attachments it has
        _exit((int)status_now(atoi(argv[2])).shm_nattch);
    self = strdup(self_path(argv[0]));
    subtest("a segment and its attachments", run_basics);
    subtest("keys", run_get);
    subtest("places", run_places);
    subtest("fork and exec", run_across_fork_and_exec);
    subtest("removal", run_removal);
    subtest("permissions", run_permissions);
    subtest("what is reported", run_reports);
    subtest("the limit of all", run_limit_of_all);
    return done();
}
