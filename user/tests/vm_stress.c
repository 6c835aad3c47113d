// vm_stress [PROGRAMS [STEPS [SEED]]]: programs that each map, store, protect, move, unmap, fork,
// wait and exit at random, all at once, and look whether their memory is what they made it. They
// may find no memory, and be killed for it; on Spork nothing of them may be left.
#include "../lib/counts.h"
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>

extern char** environ;

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };
enum { REGIONS = 8, MOST_PAGES = 32, GENERATIONS = 2 };

// A mapping and the first byte of each of its pages as it should be.
struct region {
    unsigned char* at; // null: none
    int pages;
    bool shared, writable;
    unsigned char bytes[MOST_PAGES];
};

static struct region regions[REGIONS];
static uint64_t state;
static int generation;

static unsigned draw(unsigned below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state >> 33) % below;
}

// Memory is not what it should be: the parent sees it by the exit status.
static void check(bool right) {
    if (!right)
        _exit(66);
}

static void verify(const struct region* r) {
    for (int i = 0; i < r->pages; i++)
        check(r->shared || r->at[i * PAGE] == r->bytes[i]);
}

static void drop(struct region* r) {
    if (r->at != NULL)
        check(munmap(r->at, (size_t)r->pages * PAGE) == 0);
    r->at = NULL;
}

static void map(struct region* r) {
    drop(r);
    r->pages = 1 + (int)draw(MOST_PAGES);
    r->shared = draw(4) == 0;
    r->writable = true;
    memset(r->bytes, 0, sizeof r->bytes);
    void* at = MAP_FAILED;
    if (r->shared && draw(2) == 0) {
        int id = shmget(IPC_PRIVATE, (size_t)r->pages * PAGE, 0600);
        if (id >= 0) {
            at = shmat(id, NULL, 0);
            check(shmctl(id, IPC_RMID, NULL) == 0);
        }
    } else {
        at = mmap(NULL, (size_t)r->pages * PAGE, RW, r->shared ? MAP_SHARED | MAP_ANONYMOUS : ANON,
                  -1, 0);
    }
    r->at = at == MAP_FAILED ? NULL : at;
}

static void store(struct region* r) {
    if (!r->writable)
        return;
    for (unsigned n = draw(MOST_PAGES); n > 0; n--) {
        int page = (int)draw((unsigned)r->pages);
        r->at[page * PAGE] = r->bytes[page] = (unsigned char)draw(256);
    }
}

static void move(struct region* r) {
    int pages = 1 + (int)draw(MOST_PAGES);
    if (r->shared && pages > r->pages) // there is no more of it
        pages = r->pages;
    void* to = mremap(r->at, (size_t)r->pages * PAGE, (size_t)pages * PAGE, MREMAP_MAYMOVE);
    if (to == MAP_FAILED)
        return;
    r->at = to;
    for (int i = r->pages; i < pages; i++)
        r->bytes[i] = 0;
    r->pages = pages;
}

static void advise(struct region* r) {
    int first = (int)draw((unsigned)r->pages), n = 1 + (int)draw((unsigned)(r->pages - first));
    if (r->shared || madvise(r->at + first * PAGE, (size_t)n * PAGE, MADV_DONTNEED) != 0)
        return;
    memset(r->bytes + first, 0, (size_t)n);
}

static void live(unsigned steps);

// A child that only leaves: by vfork it has this one's memory for so long.
static void make_child(void) {
    pid_t child = vfork();
    if (child == 0)
        _exit(0);
    int status = 0;
    if (child > 0 && draw(2) == 0)
        check(waitpid(child, &status, 0) == child && exited_with(status, 0));
}

static void fork_and_live(unsigned steps) {
    if (generation == GENERATIONS)
        return;
    pid_t child = fork();
    if (child == 0) {
        generation++;
        state ^= (uint64_t)getpid() << 20;
        live(steps / 2);
        _exit(0);
    }
    if (child < 0 || draw(3) == 0)
        return; // it is somebody else's to wait for, if this one ends first
    int status = 0;
    check(waitpid(child, &status, 0) == child);
    check(exited_with(status, 0) || killed_by(status, SIGKILL)); // no memory
}

static void live(unsigned steps) {
    while (steps-- > 0) {
        struct region* r = &regions[draw(REGIONS)];
        const unsigned what = draw(16);
        if (what == 0)
            make_child();
        else if (what == 1)
            fork_and_live(steps);
        else if (r->at == NULL || what == 2)
            map(r);
        else if (what == 3)
            drop(r);
        else if (what == 4)
            move(r);
        else if (what == 5)
            advise(r);
        else if (what == 6)
            r->writable =
                mprotect(r->at, (size_t)r->pages * PAGE, r->writable ? PROT_READ : RW) == 0
                    ? !r->writable
                    : r->writable;
        else if (what < 12)
            store(r);
        else
            verify(r);
    }
    for (int i = 0; i < REGIONS; i++)
        if (regions[i].at != NULL)
            verify(&regions[i]);
}

static char* self;
static unsigned programs = 12, steps = 60;
static unsigned long seed = 1;

// All programs at once, when all have started; and the end of all of them and of the children that
// they left behind.
static void run(const void* unused) {
    (void)unused;
    char numbers[3][24];
    unsigned started = 0, killed = 0, wrong = 0;
    int go[2];
    need(pipe(go) == 0 && fcntl(go[1], F_SETFD, FD_CLOEXEC) == 0);
    snprintf(numbers[0], sizeof numbers[0], "%u", steps);
    snprintf(numbers[2], sizeof numbers[2], "%d", go[0]);
    for (unsigned i = 0; i < programs; i++) {
        snprintf(numbers[1], sizeof numbers[1], "%lu", seed + i);
        char* argv[] = {self, "program", numbers[0], numbers[1], numbers[2], NULL};
        pid_t child;
        started += posix_spawn(&child, self, NULL, NULL, argv, environ) == 0;
    }
    close(go[0]);
    close(go[1]); // the end of the pipe is what they wait for
    int status;
    while (wait(&status) > 0) {
        killed += killed_by(status, SIGKILL);
        const bool right = exited_with(status, 0) || killed_by(status, SIGKILL) ||
                           killed_by(status, SIGSEGV); // exec's stack, without memory
        if (!right)
            diag("wait status 0x%x", status);
        wrong += !right;
    }
    diag("%u of %u programs started; %u processes were killed for want of memory", started,
         programs, killed);
    is(wrong, 0, "every process found its memory as it made it");
}

int main(int argc, char** argv) {
    if (argc == 5 && strcmp(argv[1], "program") == 0) {
        const int go = atoi(argv[4]);
        char byte;
        check(read(go, &byte, 1) == 0 && close(go) == 0);
        state = strtoul(argv[3], NULL, 0) * 2654435761u + 1;
        live((unsigned)atoi(argv[2]));
        return 0;
    }
    if (argc > 1)
        programs = (unsigned)atoi(argv[1]);
    if (argc > 2)
        steps = (unsigned)atoi(argv[2]);
    if (argc > 3)
        seed = strtoul(argv[3], NULL, 0);
    self = strdup(self_path(argv[0]));
    need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    diag("%u programs, %u steps each, seed %lu", programs, steps, seed);
    if (!on_spork()) {
        run(NULL);
        return done();
    }
    const unsigned wanted = programs;
    programs = 2;
    (void)counts_left_by(run, NULL); // touches what stays touched
    programs = wanted;
    is(counts_left_by(run, NULL), 0, "all counters are back at their base");
    return done();
}
