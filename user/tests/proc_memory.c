// What /proc says of memory: maps, smaps, smaps_rollup, statm, status, meminfo, and that the
// figures add up.
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <dirent.h>
#include <sys/mman.h>

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };

// The figures of a region, in KiB, in smaps' order.
enum field {
    SIZE,
    RSS,
    PSS,
    SHARED_CLEAN,
    SHARED_DIRTY,
    PRIVATE_CLEAN,
    PRIVATE_DIRTY,
    REFERENCED,
    ANONYMOUS,
    SWAP,
    LOCKED,
    FIELDS
};
static const char* const names[FIELDS] = {
    "Size:",         "Rss:",           "Pss:",           "Shared_Clean:",
    "Shared_Dirty:", "Private_Clean:", "Private_Dirty:", "Referenced:",
    "Anonymous:",    "Swap:",          "Locked:",
};
struct region {
    long kb[FIELDS];
    int found; // bits of the fields that there were
    char flags[128], perms[8];
    int count;
};

static void take_line(struct region* r, const char* line) {
    for (int i = 0; i < FIELDS; i++)
        if (strncmp(line, names[i], strlen(names[i])) == 0) {
            r->kb[i] += atol(line + strlen(names[i]));
            r->found |= 1 << i;
        }
    if (strncmp(line, "VmFlags:", 8) == 0)
        snprintf(r->flags, sizeof r->flags, "%.100s", line + 8);
}

// The region that `at` lies in; all of them when it is null.
static struct region region_of(const char* path, const void* at) {
    struct region r = {.count = 0};
    char line[512];
    FILE* f = fopen(path, "re");
    need(f != NULL);
    bool inside = false;
    while (fgets(line, sizeof line, f) != NULL) {
        unsigned long start, end;
        char perms[8];
        if (sscanf(line, "%lx-%lx %7s", &start, &end, perms) == 3) {
            inside = at == NULL || (start <= (unsigned long)at && (unsigned long)at < end);
            r.count += inside;
            if (inside)
                strcpy(r.perms, perms);
        } else if (inside) {
            take_line(&r, line);
        }
    }
    fclose(f);
    return r;
}

static struct region region_at(const void* at) { return region_of("/proc/self/smaps", at); }

static long value_in(const char* path, const char* name) {
    char line[256];
    long kb = -1;
    FILE* f = fopen(path, "re");
    need(f != NULL);
    while (kb < 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            kb = atol(line + strlen(name));
    fclose(f);
    return kb;
}

// Between two others that differ from it, so that no neighbour is merged with it.
static char* apart(int pages, int prot, int flags) {
    char* at = mmap(NULL, (size_t)(pages + 2) * PAGE, PROT_NONE, ANON, -1, 0);
    need(at != MAP_FAILED);
    need(mmap(at + PAGE, (size_t)pages * PAGE, prot, flags | MAP_FIXED, -1, 0) == at + PAGE);
    return at + PAGE;
}

static void a_region(void) {
    char* at = apart(8, RW, ANON);
    struct region r = region_at(at);
    is(r.count, 1, "a mapping is a region");
    is_str(r.perms, "rw-p", "with its permissions");
    is(r.found, (1 << FIELDS) - 1, "and all figures");
    ok(r.kb[SIZE] == 32 && r.kb[RSS] == 0 && r.kb[PSS] == 0, "nothing of it is resident");
    // A Linux that shares no page of zeros has made one.
    const long zeros = at[5 * PAGE] == 0 ? region_at(at).kb[RSS] : 1;
    ok(zeros == 0 || (!on_spork() && zeros == 4), "the page of zeros is nobody's");
    at[0] = at[PAGE] = at[2 * PAGE] = 1;
    r = region_at(at);
    const long used = 12 + zeros;
    ok(r.kb[RSS] == used && r.kb[PSS] == used && r.kb[ANONYMOUS] == used, "three pages are");
    ok(r.kb[PRIVATE_DIRTY] == used &&
           r.kb[PRIVATE_CLEAN] + r.kb[SHARED_CLEAN] + r.kb[SHARED_DIRTY] == 0,
       "private and dirty");
    is(r.kb[REFERENCED], used, "and used");
    need(mlock(at, 8 * PAGE) == 0);
    r = region_at(at);
    ok(r.kb[LOCKED] == 32 && r.kb[RSS] == 32, "locked");
    ok(strstr(r.flags, " lo") != NULL && strstr(r.flags, " wr") != NULL, "flags:%s", r.flags);
    need(munlock(at, 8 * PAGE) == 0);
    need(madvise(at, 8 * PAGE, MADV_RANDOM) == 0 && madvise(at, 8 * PAGE, MADV_DONTFORK) == 0);
    r = region_at(at);
    ok(strstr(r.flags, " rr") != NULL && strstr(r.flags, " dc") != NULL, "advice:%s", r.flags);
    ok(strstr(r.flags, " sh") == NULL && strstr(r.flags, " lo") == NULL, "and no more");
    char* shared = apart(4, RW, MAP_SHARED | MAP_ANONYMOUS);
    shared[0] = 1;
    r = region_at(shared);
    ok(strcmp(r.perms, "rw-s") == 0 && strstr(r.flags, " sh") != NULL, "shared memory");
    ok(r.kb[RSS] == 4 && r.kb[ANONYMOUS] == 0, "is not anonymous");
}

static void shared_with_a_child(void) {
    char* at = apart(4, RW, ANON);
    char* shared = apart(4, RW, MAP_SHARED | MAP_ANONYMOUS);
    memset(at, 'x', 4 * PAGE);
    memset(shared, 'y', 4 * PAGE);
    struct gate go = gate_make(), ready = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        char sum = 0;
        for (int i = 0; i < 4; i++)
            sum = (char)(sum + at[i * PAGE] + shared[i * PAGE]);
        at[0] = sum;
        gate_open(&ready);
        gate_pass(&go);
        _exit(0);
    }
    gate_pass(&ready);
    struct region r = region_at(at);
    ok(r.kb[RSS] == 16 && r.kb[SHARED_DIRTY] + r.kb[SHARED_CLEAN] == 12 &&
           r.kb[PRIVATE_DIRTY] + r.kb[PRIVATE_CLEAN] == 4,
       "what a child has not written to is shared");
    is(r.kb[PSS], 10, "and counts half");
    r = region_at(shared);
    ok(r.kb[SHARED_DIRTY] == 16 && r.kb[PSS] == 8, "so does shared memory");
    gate_open(&go);
    reap(child);
    r = region_at(at);
    ok(r.kb[PSS] == 16 && r.kb[SHARED_DIRTY] == 0, "until the child is gone");
}

static void sums(void) {
    char* at = apart(64, RW, ANON);
    memset(at, 'x', 64 * PAGE);
    char* shared = apart(16, RW, MAP_SHARED | MAP_ANONYMOUS);
    memset(shared, 'x', 16 * PAGE);
    need(mlock(at, 4 * PAGE) == 0);
    (void)value_in("/proc/self/status", "VmRSS:"); // stdio has its buffers
    struct region all = region_at(NULL);
    struct region roll = region_of("/proc/self/smaps_rollup", NULL);
    is(roll.count, 1, "smaps_rollup is one region");
    for (int i = RSS; i < FIELDS; i++)
        ok(labs(all.kb[i] - roll.kb[i]) <= (i == PSS || i == LOCKED ? all.count : 8),
           "%s sum of smaps %ld, smaps_rollup %ld", names[i], all.kb[i], roll.kb[i]);
    is(all.kb[RSS],
       all.kb[SHARED_CLEAN] + all.kb[SHARED_DIRTY] + all.kb[PRIVATE_CLEAN] + all.kb[PRIVATE_DIRTY],
       "Rss is made of clean and dirty, shared and private pages");
    long rss = value_in("/proc/self/status", "VmRSS:");
    is(rss,
       value_in("/proc/self/status", "RssAnon:") + value_in("/proc/self/status", "RssFile:") +
           value_in("/proc/self/status", "RssShmem:"),
       "VmRSS is made of RssAnon, RssFile and RssShmem");
    // Linux keeps these counts per thread and is behind by up to 64 pages for each.
    ok(labs(rss - all.kb[RSS]) <= (on_spork() ? 8 : 1024), "VmRSS %ld, Rss of smaps %ld", rss,
       all.kb[RSS]);
    long size = value_in("/proc/self/status", "VmSize:");
    ok(labs(size - all.kb[SIZE]) <= 8 + (on_spork() ? 0 : 4), "VmSize %ld, Size of smaps %ld", size,
       all.kb[SIZE]); // Linux's vsyscall page is in smaps alone
    is(value_in("/proc/self/status", "VmLck:"), 16, "VmLck");
    ok(value_in("/proc/self/status", "VmPeak:") >= size, "VmPeak");
    const long behind = on_spork() ? 0 : 1024; // as above
    ok(value_in("/proc/self/status", "VmHWM:") >= rss - behind, "VmHWM");
    long data = value_in("/proc/self/status", "VmData:"),
         stack = value_in("/proc/self/status", "VmStk:");
    long pages[7];
    FILE* f = fopen("/proc/self/statm", "re");
    need(f != NULL && fscanf(f, "%ld %ld %ld %ld %ld %ld %ld", &pages[0], &pages[1], &pages[2],
                             &pages[3], &pages[4], &pages[5], &pages[6]) == 7);
    fclose(f);
    is(pages[0] * 4, size, "statm: size");
    ok(labs(pages[1] * 4 - rss) <= (on_spork() ? 8 : 1024), "resident");
    is(pages[3] * 4, value_in("/proc/self/status", "VmExe:"), "text");
    is(pages[5] * 4, data + stack, "data and stack");
    need(munmap(at, 64 * PAGE) == 0);
    ok(value_in("/proc/self/status", "VmHWM:") >= rss - behind, "VmHWM stays when memory goes");
    ok(value_in("/proc/self/status", "VmPeak:") >= size, "so does VmPeak");
}

static void machine(void) {
    static const char* const wanted[] = {
        "MemTotal:",     "MemFree:",        "MemAvailable:", "Buffers:",      "Cached:",
        "SwapCached:",   "Active:",         "Inactive:",     "Active(anon):", "Inactive(anon):",
        "Active(file):", "Inactive(file):", "Unevictable:",  "Mlocked:",      "SwapTotal:",
        "SwapFree:",     "Dirty:",          "Writeback:",    "AnonPages:",    "Mapped:",
        "Shmem:",        "KReclaimable:",   "Slab:",         "SReclaimable:", "SUnreclaim:",
        "KernelStack:",  "PageTables:",     "CommitLimit:",  "Committed_AS:",
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        ok(value_in("/proc/meminfo", wanted[i]) >= 0, "meminfo has %s", wanted[i]);
    if (!on_spork())
        return;
    static const char* const parts[] = {
        "MemFree:", "AnonPages:", "Cached:", "Slab:", "KernelStack:", "PageTables:"};
    // One reading: the parts of one moment.
    char text[8192];
    int fd = open("/proc/meminfo", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    need(n > 0 && close(fd) == 0);
    text[n] = 0;
    long sum = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        sum += atol(strstr(text, parts[i]) + strlen(parts[i]));
    long total = atol(strstr(text, "MemTotal:") + 9);
    ok(labs(total - sum) <= 16, "MemTotal %ld is the sum of its parts, %ld", total, sum);
}

// Every page that some process has mapped is in the Pss of the processes that have it, once in all.
// On Linux others come and go meanwhile, and their pages are not all to be seen.
static void everybody(void) {
    if (!on_spork()) {
        skip("needs a machine to itself");
        return;
    }
    enum { CHILDREN = 3 };
    char* at = apart(96, RW, ANON);
    char* shared = apart(32, RW, MAP_SHARED | MAP_ANONYMOUS);
    memset(at, 'x', 96 * PAGE);
    memset(shared, 'x', 32 * PAGE);
    struct gate go = gate_make(), ready = gate_make();
    for (int i = 0; i < CHILDREN; i++)
        if (fork() == 0) {
            for (int page = i; page < 96; page++)
                at[page * PAGE + 1] = (char)(at[page * PAGE] + shared[page / 3 * PAGE]);
            gate_open(&ready);
            gate_pass(&go);
            _exit(0);
        }
    for (int i = 0; i < CHILDREN; i++)
        gate_pass(&ready);
    long pss = 0, regions = 0;
    DIR* dir = opendir("/proc");
    need(dir != NULL);
    for (struct dirent* e; (e = readdir(dir)) != NULL;) {
        char path[300];
        snprintf(path, sizeof path, "/proc/%s/smaps", e->d_name);
        if (atoi(e->d_name) <= 0)
            continue;
        struct region r = region_of(path, NULL);
        pss += r.kb[PSS];
        regions += r.count;
    }
    closedir(dir);
    long used = value_in("/proc/meminfo", "AnonPages:") + value_in("/proc/meminfo", "Mapped:");
    // Each region's Pss is cut to whole KiB.
    ok(pss <= used + 32 && pss + regions + 32 >= used,
       "the sum of Pss is %ld kB, the pages in use are %ld kB (%ld regions)", pss, used, regions);
    for (int i = 0; i < CHILDREN; i++)
        gate_open(&go);
    for (int i = 0; i < CHILDREN; i++)
        need(wait(NULL) > 0);
}

int main(void) {
    subtest("a region", a_region);
    subtest("shared with a child", shared_with_a_child);
    subtest("sums", sums);
    subtest("the machine", machine);
    subtest("all processes", everybody);
    return done();
}
