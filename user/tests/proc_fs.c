// /proc, as ps, top, free and test harnesses read it.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static const char *argv0, *self;
static int in_data = 1;

struct region {
    uintptr_t start, end;
    char protection[5], name[64];
};

// The line of /proc/self/maps that has an address.
static struct region region_of(const void* address) {
    struct region r = {0, 0, "", ""};
    char line[512];
    FILE* maps = fopen("/proc/self/maps", "r");
    need(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        struct region now = {0, 0, "", ""};
        need(sscanf(line, "%lx-%lx %4s %*x %*s %*u %63s", &now.start, &now.end, now.protection,
                    now.name) >= 3);
        if ((uintptr_t)address >= now.start && (uintptr_t)address < now.end)
            r = now;
    }
    fclose(maps);
    return r;
}

static void maps(void) {
    char here;
    struct region r = region_of(&here);
    is_str(r.protection, "rw-p", "the stack");
    is_str(r.name, "[stack]", "by its name");
    is_str(region_of((void*)(uintptr_t)maps).protection, "r-xp", "this program's text");
    is_str(region_of(&in_data).protection, "rw-p", "its data");
    char* page = mmap(NULL, 3 * 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(page != MAP_FAILED);
    is_str(region_of(page).protection, "r--s", "a shared mapping");
    need(mprotect(page + 4096, 4096, PROT_NONE) == 0);
    r = region_of(page + 4096);
    is_str(r.protection, "---s", "a part that was forbidden");
    is(r.end - r.start, 4096, "of a page");
    need(munmap(page, 3 * 4096) == 0);
    is(region_of(page).end, 0, "an unmapped one is not there");
    long end_of_heap = syscall(SYS_brk, syscall(SYS_brk, 0) + 8192);
    is_str(region_of((void*)(end_of_heap - 4096)).name, "[heap]", "what brk gave");

    FILE* f = fopen("/proc/self/maps", "r");
    char line[512];
    uintptr_t last = 0, start, end;
    bool ordered = true;
    while (fgets(line, sizeof line, f) != NULL && sscanf(line, "%lx-%lx", &start, &end) == 2) {
        ordered = ordered && start >= last && end > start && start % 4096 == 0;
        last = end;
    }
    fclose(f);
    ok(ordered, "in order, none over another");
}

static void hold(void* gate) {
    need(prctl(PR_SET_NAME, "odd ) name (", 0, 0, 0) == 0);
    gate_open(&((struct gate*)gate)[0]);
    gate_pass(&((struct gate*)gate)[1]);
}

static void status(void) {
    struct gate gates[2] = {gate_make(), gate_make()};
    char path[64], name[64] = "", letter = 0;
    pid_t child = spawn(hold, gates);
    gate_pass(&gates[0]);
    need(eventually(proc_state(child) == 'S'));
    snprintf(path, sizeof path, "/proc/%d/stat", child);
    const char *text = get_file(path), *rest = strrchr(text, ')');
    int pid = 0, parent = 0, group = 0, session = 0, fields = 1;
    need(rest != NULL);
    is(sscanf(text, "%d (%63[^\n]", &pid, name), 2, "/proc/PID/stat");
    is(pid, child, "its id");
    is(strncmp(name, "odd ) name () ", 14), 0, "its name, in brackets");
    is(sscanf(rest, ") %c %d %d %d", &letter, &parent, &group, &session), 4, "then");
    is(letter, 'S', "its state");
    is(parent, getpid(), "its parent");
    is(group, getpgrp(), "its group");
    is(session, getsid(0), "its session");
    for (const char* c = rest + 1; *c != 0; c++)
        fields += *c == ' ';
    ok(fields >= 44, "and the other fields");

    snprintf(path, sizeof path, "/proc/%d/status", child);
    text = get_file(path);
    ok(strncmp(text, "Name:\todd ) name (\n", 19) == 0, "/proc/PID/status: its name");
    ok(strstr(text, "\nState:\tS (sleeping)\n") != NULL, "its state");
    snprintf(name, sizeof name, "\nPid:\t%d\n", child);
    ok(strstr(text, name) != NULL, "its id");
    snprintf(name, sizeof name, "\nPPid:\t%d\n", getpid());
    ok(strstr(text, name) != NULL, "its parent");
    const char* size = strstr(text, "\nVmRSS:");
    ok(size != NULL && atoi(size + 7) > 0 && strstr(size, " kB\n") != NULL, "its memory");
    ok(strstr(text, "\nUid:\t") != NULL && strstr(text, "\nThreads:\t1\n") != NULL, "and more");
    need(kill(child, SIGSTOP) == 0 && waitpid(child, NULL, WUNTRACED) == child);
    is(proc_state(child), 'T', "stopped: T");
    kill(child, SIGCONT);
    gate_open(&gates[1]);
    reap(child);
    is(access(path, F_OK), -1, "gone when it has been waited for");
}

static void own_entries(void) {
    char text[PATH_MAX], want[PATH_MAX];
    ssize_t n = readlink("/proc/self", text, sizeof text - 1);
    need(n > 0);
    text[n] = 0;
    is(atoi(text), getpid(), "/proc/self is this process");
    int fd = open("/proc/self/cmdline", O_RDONLY);
    n = read(fd, text, sizeof text);
    is_str(text, argv0, "/proc/self/cmdline");
    is(n, (long)strlen(argv0) + 1, "ends in a zero byte");
    is_str(self_path(argv0), self, "/proc/self/exe");
    fd = open("/proc/self/comm", O_RDONLY);
    n = read(fd, text, sizeof text);
    is(n > 0 ? text[n - 1] : 0, '\n', "/proc/self/comm is a line");
    n = readlink("/proc/self/cwd", text, sizeof text - 1);
    need(n > 0 && getcwd(want, sizeof want) != NULL);
    text[n] = 0;
    is_str(text, want, "/proc/self/cwd");
}

static void descriptors(void) {
    char path[64], text[PATH_MAX], want[PATH_MAX + 8];
    put_file("opened", 0600, "text");
    int fd = open("opened", O_RDONLY), wanted = 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, text, sizeof text - 1);
    need(n > 0);
    text[n] = 0;
    snprintf(want, sizeof want, "%s/opened", scratch_path);
    is_str(text, want, "/proc/self/fd/N points to the file");
    char byte = 0;
    int again = open(path, O_RDONLY);
    ok(again >= 0 && read(again, &byte, 1) == 1 && byte == 't', "and can be opened");
    DIR* dir = opendir("/proc/self/fd");
    need(dir != NULL);
    for (struct dirent* e; (e = readdir(dir)) != NULL;)
        wanted += atoi(e->d_name) == fd && e->d_name[0] != '.';
    closedir(dir);
    is(wanted, 1, "it is listed, once");
    close(fd);
    is_errno(readlink(path, text, sizeof text), ENOENT, "closed, it is gone");
}

static struct gate thread_ready, thread_may_end;
static pid_t second_thread;

static void* be_second(void* unused) {
    need(prctl(PR_SET_NAME, "second", 0, 0, 0) == 0);
    second_thread = (pid_t)syscall(SYS_gettid);
    gate_open(&thread_ready);
    gate_pass(&thread_may_end);
    return unused;
}

// Whether a directory of /proc lists a number.
static bool lists(const char* path, pid_t number) {
    bool listed = false;
    DIR* dir = opendir(path);
    need(dir != NULL);
    for (struct dirent* e; (e = readdir(dir)) != NULL;)
        listed = listed || atoi(e->d_name) == number;
    closedir(dir);
    return listed;
}

static long minor_faults(const char* path) {
    long faults = -1;
    const char* rest = strrchr(get_file(path), ')');
    need(rest != NULL && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %ld", &faults) == 1);
    return faults;
}

// A thread's number stands for its process, seen from that thread, but is not listed.
static void a_thread_by_its_number(void) {
    enum { PAGES = 100 };
    char path[64], text[PATH_MAX], want[64];
    pthread_t thread;
    thread_ready = gate_make(), thread_may_end = gate_make();
    need(pthread_create(&thread, NULL, be_second, NULL) == 0);
    gate_pass(&thread_ready);
    char* pages = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0); // this thread's faults
    need(pages != MAP_FAILED);
    for (int i = 0; i < PAGES; i++)
        *(volatile char*)(pages + i * 4096) = 1;

    ok(!lists("/proc", second_thread), "/proc does not list a second thread");
    snprintf(path, sizeof path, "/proc/%d", second_thread);
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    ok(dir >= 0, "but has it");
    snprintf(want, sizeof want, "/proc/self/fd/%d", dir);
    ssize_t n = readlink(want, text, sizeof text - 1);
    need(n > 0);
    text[n] = 0;
    is_str(text, path, "by this name");
    snprintf(path, sizeof path, "/proc/%d/status", second_thread);
    const char* status = get_file(path);
    ok(strncmp(status, "Name:\tsecond\n", 13) == 0, "its name");
    snprintf(want, sizeof want, "\nTgid:\t%d\n", getpid());
    ok(strstr(status, want) != NULL, "its process");
    snprintf(want, sizeof want, "\nPid:\t%d\n", second_thread);
    ok(strstr(status, want) != NULL, "its own number");
    snprintf(path, sizeof path, "/proc/%d/stat", second_thread);
    snprintf(want, sizeof want, "%d (second) ", second_thread);
    ok(strncmp(get_file(path), want, strlen(want)) == 0, "stat: number and name");
    ok(minor_faults(path) >= PAGES, "faults of the whole process");
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", getpid(), second_thread);
    ok(minor_faults(path) < PAGES, "unlike in task/");
    snprintf(path, sizeof path, "/proc/%d/task", second_thread);
    ok(lists(path, second_thread) && lists(path, getpid()), "its task/ has all the threads");
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", second_thread, second_thread);
    ok(minor_faults(path) < PAGES, "each with what is its own");
    snprintf(path, sizeof path, "/proc/%d/exe", second_thread);
    n = readlink(path, text, sizeof text - 1);
    need(n > 0);
    text[n] = 0;
    is_str(text, self, "the same program");

    gate_open(&thread_may_end);
    need(pthread_join(thread, NULL) == 0 && munmap(pages, PAGES * 4096) == 0);
    ok(eventually(access(path, F_OK) == -1 && errno == ENOENT), "gone when it has ended");
    is_errno(openat(dir, "stat", O_RDONLY), ESRCH, "also for who has it open");
    char entry[512];
    is_errno(syscall(SYS_getdents64, dir, entry, sizeof entry), ENOENT, "who finds nothing in it");
    close(dir);
}

static long kilobytes(const char* text, const char* name) {
    const char* line = strstr(text, name);
    return line == NULL ? -1 : atol(line + strlen(name));
}

static void machine(void) {
    const char* text = get_file("/proc/meminfo");
    const long total = kilobytes(text, "MemTotal:"), unused = kilobytes(text, "MemFree:");
    ok(total > 1000 && unused > 0 && unused <= total, "/proc/meminfo: MemTotal and MemFree");
    ok(kilobytes(text, "MemAvailable:") > 0, "MemAvailable");
    ok(kilobytes(text, "SwapFree:") >= 0, "SwapFree");
    double up = -1, idle = -1;
    is(sscanf(get_file("/proc/uptime"), "%lf %lf", &up, &idle), 2, "/proc/uptime");
    ok(up > 0 && idle >= 0, "is sane");
    text = get_file("/proc/stat");
    ok(strncmp(text, "cpu ", 4) == 0 && strstr(text, "\ncpu0 ") != NULL, "/proc/stat: processors");
    ok(strstr(get_file("/proc/cpuinfo"), "processor\t: 0\n") != NULL, "/proc/cpuinfo");
    double load;
    is(sscanf(get_file("/proc/loadavg"), "%lf", &load), 1, "/proc/loadavg");
    ok(strstr(get_file("/proc/self/mounts"), " /proc proc ") != NULL, "/proc/self/mounts");
    ok(strlen(get_file("/proc/version")) > 5, "/proc/version");
    bool self = false;
    DIR* dir = opendir("/proc");
    need(dir != NULL);
    for (struct dirent* e; (e = readdir(dir)) != NULL;)
        self = self || atoi(e->d_name) == getpid();
    closedir(dir);
    ok(self, "/proc lists this process");
    is_errno(open("/proc/self/none", O_RDONLY), ENOENT, "what is not there");
    is_errno(open("/proc/999999999/stat", O_RDONLY), ENOENT, "a process that is none");
    ok(mkdir("/proc/new", 0755) == -1, "nothing can be made there");
}

// How many lines of a file of /proc begin so.
static int lines_with(const char* path, const char* start) {
    int n = 0;
    char line[512];
    FILE* f = fopen(path, "r");
    need(f != NULL);
    while (fgets(line, sizeof line, f) != NULL)
        n += strncmp(line, start, strlen(start)) == 0;
    fclose(f);
    return n;
}

// Names that programs choose make no lines of their own.
static void hostile_names(void) {
    need(prctl(PR_SET_NAME, "a\\b\nUid:\t0\t0") == 0);
    is(lines_with("/proc/self/status", "Uid:"), 1, "status: a line break in the program's name");
    is(lines_with("/proc/self/status", "Name:\ta\\\\b\\nUid:\t0\t0\n"), 1, "is written as \\n");
    is_str(get_file("/proc/self/comm"), "a\\b\nUid:\t0\t0\n", "comm has it as it is");
    static const char name[] = "x\\\n7f0000000000-7f0000001000 rwxp";
    int fd = open(name, O_CREAT | O_RDWR, 0600);
    need(fd >= 0 && ftruncate(fd, 4096) == 0);
    char* map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    need(map != MAP_FAILED);
    is(lines_with("/proc/self/maps", "7f0000000000-"), 0, "maps: one in a file's name");
    const char* end =
        strstr(get_file("/proc/self/maps"), "/x\\\\0127f0000000000-7f0000001000 rwxp\n");
    ok(end != NULL, "is written as \\012");
    is(lines_with("/proc/self/smaps", "7f0000000000-"), 0, "smaps too");
    char path[64], link[PATH_MAX] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    need(readlink(path, link, sizeof link - 1) > 0);
    ok(strstr(link, name) != NULL, "a link has it as it is");
    if (access("/proc/self/vmspace", R_OK) == 0) // Spork's own
        is(lines_with("/proc/self/vmspace", "7f0000000000-"), 0, "vmspace too");
    if (access("/proc/self/ledger", R_OK) == 0) {
        pid_t child = fork();
        need(child >= 0);
        if (child == 0)
            _exit(0);
        need(waitpid(child, NULL, 0) == child);
        is(lines_with("/proc/self/ledger", "Uid:"), 0, "ledger too");
    }
}

int main(int argc, char** argv) {
    (void)argc;
    argv0 = argv[0];
    self = strdup(self_path(argv[0]));
    scratch_begin();
    subtest("maps", maps);
    subtest("stat and status", status);
    subtest("this process", own_entries);
    subtest("a thread by its number", a_thread_by_its_number);
    subtest("descriptors", descriptors);
    subtest("hostile names", hostile_names);
    subtest("the machine", machine);
    return done();
}
