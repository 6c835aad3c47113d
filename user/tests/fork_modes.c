// spork-only
// The modes of fork (copy, cow, cow+pte) and of vfork (share, cow, fork): what a program can
// tell of them, whose they are, and what each costs, from the counters of /proc/uvmexp. And
// minherit, which makes exceptions to them.
#include "../lib/proc.h"
#include "../lib/scratch.h"
#include "../lib/spork.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>

extern char** environ;

enum { PAGE = 4096, PAGES = 256 };

static const char* const fork_names[] = {"default", "copy", "cow", "cow+pte"};
static char* self;
static char* area; // PAGES pages that have been written to

static int modes_now(void) { return spork_forkmode(MODE_UNCHANGED, MODE_UNCHANGED); }

static void fill_area(void) {
    area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(area != MAP_FAILED);
    memset(area, 'p', PAGES * PAGE);
}

static void the_call(void) {
    is(modes_now(), 0, "no mode of its own at first");
    is(spork_forkmode(FORK_COPY, VFORK_COW), 0, "setting both returns the old ones");
    is(modes_now(), FORK_COPY | VFORK_COW << 8, "both are set");
    is(spork_forkmode(FORK_COW_PTE, MODE_UNCHANGED), FORK_COPY | VFORK_COW << 8, "one alone");
    is(modes_now(), FORK_COW_PTE | VFORK_COW << 8, "the other one stays");
    is_errno(spork_forkmode(4, VFORK_SHARE), EINVAL, "a fork mode that is none");
    is_errno(spork_forkmode(FORK_COPY, 4), EINVAL, "a vfork mode that is none");
    is_errno(spork_forkmode(-2, MODE_UNCHANGED), EINVAL, "a negative mode");
    is(modes_now(), FORK_COW_PTE | VFORK_COW << 8, "an error changes nothing");
    need(spork_forkmode(FORK_DEFAULT, VFORK_DEFAULT) >= 0);
    is(modes_now(), 0, "back to the default");
}

static void child_has_modes(void* arg) { need(modes_now() == *(int*)arg); }

static void inherited(void) {
    need(spork_forkmode(FORK_COPY, VFORK_COW) == 0);
    int want = FORK_COPY | VFORK_COW << 8;
    is_exit(status_of(child_has_modes, &want), 0, "a child inherits its parent's modes");
    pid_t child = vfork();
    if (child == 0) {
        execl(self, self, "modes", NULL);
        _exit(127);
    }
    need(child > 0);
    is_exit(reap(child), FORK_COPY | VFORK_COW << 4, "exec keeps them");
}

// Stores are private and contents right, whatever the mode.
static void same_meaning(void) {
    fill_area();
    for (int mode = FORK_COPY; mode <= FORK_COW_PTE; mode++) {
        need(spork_forkmode(mode, MODE_UNCHANGED) >= 0);
        struct gate g = gate_make(), back = gate_make();
        pid_t child = fork();
        need(child >= 0);
        if (child == 0) {
            gate_pass(&g);
            int wrong = 0;
            for (int i = 0; i < PAGES; i++)
                wrong += area[i * PAGE] != 'p';
            memset(area, 'c', PAGES * PAGE / 2);
            gate_open(&back);
            _exit(wrong != 0);
        }
        memset(area + PAGES * PAGE / 2, 'q', PAGES * PAGE / 2);
        gate_open(&g);
        gate_pass(&back);
        is(area[0], 'p', "%s: the child's store is its own", fork_names[mode]);
        is_exit(reap(child), 0, "%s: the parent's is not seen", fork_names[mode]);
        memset(area, 'p', PAGES * PAGE);
    }
}

struct cost {
    long forks, ppwait, sharevm, copied, faults;
};

static struct cost costs_now(void) {
    return (struct cost){uvmexp("forks"), uvmexp("forks_ppwait"), uvmexp("forks_sharevm"),
                         uvmexp("pages_copied"), uvmexp("faults")};
}

// What one child costs that reads the area. `how`: fork or vfork.
static struct cost cost_of(pid_t (*how)(void)) {
    static struct cost before;
    before = costs_now();
    pid_t child = how();
    if (child == 0) {
        for (int i = 0; i < PAGES; i++)
            (void)*(volatile char*)&area[i * PAGE];
        _exit(0);
    }
    need(child > 0);
    reap(child);
    struct cost now = costs_now();
    return (struct cost){now.forks - before.forks, now.ppwait - before.ppwait,
                         now.sharevm - before.sharevm, now.copied - before.copied,
                         now.faults - before.faults};
}

static void forks_cost(void) {
    fill_area();
    long faults[FORK_COW_PTE + 1] = {0};
    for (int mode = FORK_COPY; mode <= FORK_COW_PTE; mode++) {
        need(spork_forkmode(mode, MODE_UNCHANGED) >= 0);
        struct cost c = cost_of(fork);
        faults[mode] = c.faults;
        is(c.forks, 1, "%s: one address space copied", fork_names[mode]);
        is(c.ppwait, 0, "%s: no parent that waits", fork_names[mode]);
        is(c.sharevm, 0, "%s: none shared", fork_names[mode]);
        ok((c.copied >= PAGES) == (mode == FORK_COPY), "%s: %ld pages copied", fork_names[mode],
           c.copied);
    }
    // The faults ahead of need make the child's few; its page tables make them fewer.
    ok(faults[FORK_COW_PTE] < faults[FORK_COW], "cow+pte saves faults: %ld against %ld",
       faults[FORK_COW_PTE], faults[FORK_COW]);
}

static void vforks_cost(void) {
    fill_area();
    need(spork_forkmode(FORK_COPY, VFORK_SHARE) >= 0);
    struct cost c = cost_of(vfork);
    is(c.forks, 0, "share: no address space copied");
    is(c.sharevm, 1, "share: one shared");
    is(c.ppwait, 1, "share: the parent waited");
    ok(c.copied < PAGES, "share: %ld pages copied", c.copied);
    need(spork_forkmode(FORK_COPY, VFORK_COW) >= 0);
    c = cost_of(vfork);
    is(c.forks, 1, "cow: one address space copied");
    is(c.sharevm, 0, "cow: none shared");
    is(c.ppwait, 1, "cow: the parent waited");
    ok(c.copied < PAGES, "cow: %ld pages copied, also in fork mode copy", c.copied);
    need(spork_forkmode(FORK_COPY, VFORK_FORK) >= 0);
    c = cost_of(vfork);
    is(c.forks, 1, "fork: one address space copied");
    is(c.ppwait, 1, "fork: the parent waited");
    ok(c.copied >= PAGES, "fork: %ld pages copied in fork mode copy", c.copied);
    need(spork_forkmode(FORK_COW, MODE_UNCHANGED) >= 0);
    c = cost_of(vfork);
    ok(c.copied < PAGES, "fork: %ld in mode cow", c.copied);
}

static volatile int word;

static void vfork_cow_is_private(void) {
    volatile int* shared =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared != MAP_FAILED);
    need(spork_forkmode(MODE_UNCHANGED, VFORK_COW) >= 0);
    pid_t child = vfork();
    if (child == 0) {
        word = 1;
        breathe();
        *shared = 1;
        _exit(0);
    }
    need(child > 0);
    is(*shared, 1, "the parent has waited for its child");
    is(word, 0, "the child's store is its own");
    is_exit(reap(child), 0, "it exits");
}

static void spawn_in_cow(void) {
    need(spork_forkmode(MODE_UNCHANGED, VFORK_COW) >= 0);
    pid_t child;
    char* argv[] = {self, "modes", NULL};
    is(posix_spawn(&child, self, NULL, NULL, argv, environ), 0, "posix_spawn under vfork mode cow");
    is_exit(reap(child), VFORK_COW << 4, "the program runs");
    is(posix_spawn(&child, "/no/such", NULL, NULL, argv, environ), ENOENT, "its error comes back");
    is(WEXITSTATUS(system("exit 6")), 6, "system");
}

static void set_default(const char* path, const char* mode) {
    int fd = open(path, O_WRONLY);
    need(fd >= 0);
    need(write(fd, mode, strlen(mode)) == (ssize_t)strlen(mode));
    need(close(fd) == 0);
}

static const char fork_file[] = "/proc/sys/kernel/fork_mode";
static const char vfork_file[] = "/proc/sys/kernel/vfork_mode";

static void the_default(void) {
    fill_area();
    is_str(get_file(fork_file), "cow\n", "fork's default");
    is_str(get_file(vfork_file), "share\n", "vfork's default");
    set_default(fork_file, "copy\n");
    set_default(vfork_file, "cow\n");
    is_str(get_file(fork_file), "copy\n", "another default");
    struct cost by_default = cost_of(fork), by_vfork = cost_of(vfork);
    need(spork_forkmode(FORK_COW, VFORK_SHARE) == 0);
    struct cost own = cost_of(fork), own_vfork = cost_of(vfork);
    int bad = open(fork_file, O_WRONLY);
    is_errno(write(bad, "cows", 4), EINVAL, "a name that is none");
    set_default(fork_file, "cow");
    set_default(vfork_file, "share");
    ok(by_default.copied >= PAGES, "a process without a mode follows the default");
    is(by_vfork.forks, 1, "... of vfork, too");
    ok(own.copied < PAGES, "a process's own mode comes first");
    is(own_vfork.forks, 0, "... of vfork, too");
}

static void minherit_errors(void) {
    fill_area();
    is_errno(spork_minherit(area, PAGE, 3), EINVAL, "minherit: a kind that is none");
    is_errno(spork_minherit(area, PAGE, -1), EINVAL, "minherit: a negative kind");
    is_errno(spork_minherit(area + 1, PAGE, INHERIT_COPY), EINVAL, "minherit: not at a page");
    succeeds(spork_minherit(area, PAGE, INHERIT_ZERO), "minherit of a part of a mapping");
    pid_t child = fork();
    if (child == 0)
        _exit(area[0] != 0 || area[PAGE] != 'p');
    need(child > 0);
    is_exit(reap(child), 0, "... is for that part");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "modes") == 0)
        return (modes_now() & 0xf) | modes_now() >> 8 << 4;
    self = strdup(self_path(argv[0]));
    subtest("spork_forkmode", the_call);
    subtest("modes are inherited", inherited);
    subtest("every mode means the same", same_meaning);
    subtest("what a fork costs", forks_cost);
    subtest("what a vfork costs", vforks_cost);
    subtest("vfork mode cow", vfork_cow_is_private);
    subtest("posix_spawn under vfork mode cow", spawn_in_cow);
    subtest("the system's default", the_default);
    subtest("minherit", minherit_errors);
    return done();
}
