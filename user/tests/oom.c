// spork-only
// Memory that has really run out, in mode 1: whoever holds most is killed, with a line in the log,
// and the others live on; system calls get errors. And oom_score_adj.
#include "../lib/clone.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"
#include "../lib/spork.h"
#include "../lib/sync_points.h"

#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { PAGE = 4096, RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };

static long meminfo_pages(const char* name) {
    const char* line = strstr(get_file("/proc/meminfo"), name);
    need(line != NULL);
    return atol(line + strlen(name)) / 4;
}

static void never_be_chosen(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    need(write(fd, "-1000", 5) == 5 && close(fd) == 0);
}

static void touch(size_t pages) {
    char* at = mmap(NULL, pages * PAGE, RW, ANON | MAP_NORESERVE, -1, 0);
    need(at != MAP_FAILED);
    for (size_t i = 0; i < pages; i++)
        at[i * PAGE] = 1;
}

static void end(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

// So that what is left runs out sooner: somebody who has the rest, and is never killed for it.
static pid_t fill_memory(void) {
    enum { LEFT = 10000 };
    struct gate full = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        never_be_chosen();
        touch((size_t)(meminfo_pages("MemFree:") - LEFT));
        gate_open(&full);
        pause();
    }
    gate_pass(&full);
    return child;
}

static int log_fd;

static void follow_log(void) {
    log_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
    need(log_fd >= 0 && lseek(log_fd, 0, SEEK_END) >= 0);
}

// How many lines of the log have both, since the last call.
static int logged(const char* a, const char* b) {
    char record[1024];
    int found = 0;
    for (ssize_t n; (n = read(log_fd, record, sizeof record - 1)) > 0;) {
        record[n] = 0;
        found += strstr(record, a) != NULL && strstr(record, b) != NULL;
    }
    return found;
}

static void eat_all(void* unused) {
    (void)unused;
    const size_t pages = (size_t)meminfo_pages("MemTotal:") + 1000;
    char* at = mmap(NULL, pages * PAGE, RW, ANON | MAP_NORESERVE, -1, 0);
    need(at != MAP_FAILED);
    for (size_t i = 0; i < pages; i++)
        at[i * PAGE] = 1;
}

static void the_glutton_dies(void) {
    follow_log();
    char* mine = mmap(NULL, 100 * PAGE, RW, ANON, -1, 0);
    need(mine != MAP_FAILED);
    memset(mine, 'm', 100 * PAGE);
    const long free_before = meminfo_pages("MemFree:"), committed = meminfo_pages("Committed_AS:");
    pid_t child = spawn(eat_all, NULL);
    is_killed(reap(child), SIGKILL, "a process that touches more than there is is killed");
    char who[64];
    snprintf(who, sizeof who, "killed process %d (oom)", child);
    is(logged("out of memory", who), 1, "the log says who");
    bool whole = true;
    for (int i = 0; i < 100 * PAGE; i++)
        whole = whole && mine[i] == 'm';
    ok(whole, "the others have their memory");
    is(meminfo_pages("Committed_AS:"), committed, "the promise is given back");
    ok(labs(meminfo_pages("MemFree:") - free_before) < 64, "and the memory");
}

static void write_for_ever(void* end) {
    static char block[16 * PAGE];
    while (write(*(int*)end, block, sizeof block) > 0)
        continue;
}

// ---- Sources without end

static int read_from;

static void read_pipe(void) {
    static int ends[2]; // and the pipe's lock is held while it is read
    need(pipe(ends) == 0);
    spawn(write_for_ever, &ends[1]);
    read_from = ends[0];
}

static void read_random(void) {
    read_from = open("/dev/urandom", O_RDONLY);
    need(read_from >= 0);
}

static void read_file(void) {
    static char block[16 * PAGE];
    read_from = memfd_create("source", 0);
    need(read_from >= 0 && write(read_from, block, sizeof block) == sizeof block);
}

static void read_text(void) {
    read_from = open("/proc/self/maps", O_RDONLY);
    need(read_from >= 0);
}

static void read_directory(void) {
    read_from = open("/bin", O_RDONLY | O_DIRECTORY);
    need(read_from >= 0);
}

static const struct source {
    const char* what;
    void (*open)(void);
    bool directory;
} sources[] = {
    {"a pipe", read_pipe, false},          {"random numbers", read_random, false},
    {"a file", read_file, false},          {"a text of /proc", read_text, false},
    {"a directory", read_directory, true},
};

// Takes the last pages in calls, of memory that nobody has touched.
static void eat_in_call(void* arg) {
    enum { LAST = 2000 };
    const struct source* source = arg;
    source->open();
    const size_t pages = (size_t)meminfo_pages("MemTotal:") + LAST;
    const size_t first = (size_t)meminfo_pages("MemFree:") - LAST;
    char* at = mmap(NULL, pages * PAGE, RW, ANON | MAP_NORESERVE, -1, 0);
    need(at != MAP_FAILED);
    for (size_t i = 0; i < first; i++)
        at[i * PAGE] = 1;
    for (size_t done = first * PAGE; done + 16 * PAGE < pages * PAGE;) {
        ssize_t n = source->directory ? syscall(SYS_getdents64, read_from, at + done, 16 * PAGE)
                                      : read(read_from, at + done, 16 * PAGE);
        need(n >= 0 || errno == ENOMEM); // for the text, say
        if (n < 0)
            at[done] = 1;
        done += n < 0 ? PAGE : (size_t)n;
        if (n < 16 * PAGE && source->open != read_pipe)
            lseek(read_from, 0, SEEK_SET);
    }
}

static void the_glutton_reads(void) {
    const pid_t filler = fill_memory();
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
        is_killed(status_of(eat_in_call, (void*)&sources[i]), SIGKILL,
                  "who reads more from %s than there is is killed", sources[i].what);
    end(filler);
}

// All but a few pages of memory are in a file, of a kind that has no limit. A fork in mode copy
// then wants more than there is, and its parent has nothing to fault on.
static void system_calls_fail(void) {
    enum { LEFT = 600, MINE = 2000 };
    char* mine = mmap(NULL, MINE * PAGE, RW, ANON, -1, 0);
    need(mine != MAP_FAILED);
    memset(mine, 'm', MINE * PAGE);
    need(spork_forkmode(FORK_COPY, MODE_UNCHANGED) >= 0);
    int fd = memfd_create("hog", 0);
    need(fd >= 0);
    long fill = meminfo_pages("MemFree:") - LEFT;
    for (long done = 0; done < fill; done += MINE) {
        const long n = fill - done < MINE ? fill - done : MINE;
        need(pwrite(fd, mine, (size_t)n * PAGE, done * PAGE) == n * PAGE);
    }
    const long free_before = meminfo_pages("MemFree:"), committed = meminfo_pages("Committed_AS:");
    ok(free_before < MINE, "%ld pages are free", free_before);
    for (int i = 0; i < 3; i++)
        is_errno(fork(), ENOMEM, "fork without memory");
    char* more = mmap(NULL, MINE * PAGE, RW, ANON, -1, 0);
    need(more != MAP_FAILED);
    is_errno(madvise(more, MINE * PAGE, MADV_POPULATE_WRITE), ENOMEM,
             "MADV_POPULATE_WRITE without memory");
    need(munmap(more, MINE * PAGE) == 0);
    more = mmap(NULL, MINE * PAGE, RW, ANON, -1, 0);
    is_errno(mlock(more, MINE * PAGE), EAGAIN, "mlock without memory");
    need(munmap(more, MINE * PAGE) == 0);
    is(meminfo_pages("Committed_AS:"), committed, "nothing of them is promised");
    ok(labs(meminfo_pages("MemFree:") - free_before) < 100, "all they took is given back");
    need(close(fd) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(mine[MINE * PAGE - 1] == 'm' ? 3 : 0);
    is_exit(reap(child), 3, "all works again when there is memory");
}

static void adjusting(void) {
    is(atoi(get_file("/proc/self/oom_score_adj")), 0, "oom_score_adj is 0");
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    is(write(fd, "500\n", 4), 4, "writing to it");
    is(atoi(get_file("/proc/self/oom_score_adj")), 500, "it can be set");
    ok(atoi(get_file("/proc/self/oom_score")) > 0, "oom_score has it");
    pid_t child = fork();
    if (child == 0)
        _exit(atoi(get_file("/proc/self/oom_score_adj")) == 500 ? 0 : 1);
    is_exit(reap(child), 0, "a child has it too");
    is_errno(write(fd, "1001", 4), EINVAL, "more than 1000");
    is_errno(write(fd, "-1001", 5), EINVAL, "less than -1000");
    is_errno(write(fd, "x", 1), EINVAL, "no number");
    is(write(fd, "-1000", 5), 5, "-1000");
    is(atoi(get_file("/proc/self/oom_score")), 0, "is never chosen");
}

// One that must live makes another one die, which holds more.
static void protected_process(void) {
    struct gate full = gate_make(), never = gate_make();
    const long part = meminfo_pages("MemFree:") / 2;
    pid_t victim = fork();
    if (victim == 0) {
        char* at = mmap(NULL, (size_t)part * PAGE, RW, ANON, -1, 0);
        need(at != MAP_FAILED);
        for (long i = 0; i < part; i++)
            at[i * PAGE] = 1;
        gate_open(&full);
        gate_pass(&never);
        _exit(0);
    }
    gate_pass(&full);
    pid_t survivor = fork();
    if (survivor == 0) {
        never_be_chosen();
        char* at = mmap(NULL, (size_t)part * 3 / 2 * PAGE, RW, ANON, -1, 0);
        need(at != MAP_FAILED);
        for (long i = 0; i < part * 3 / 2; i++)
            at[i * PAGE] = 1;
        _exit(5);
    }
    is_exit(reap(survivor), 5, "a process with oom_score_adj -1000 goes on");
    is_killed(reap(victim), SIGKILL, "because another one was killed");
}

// ---- Who is chosen ---------------------------------------------------------------------------

enum { USER = 1000 };
static struct gate sleeps, never;

// Takes more than is free, and lives: then somebody else has gone.
static void demand_memory(long more) {
    pid_t eater = fork();
    if (eater == 0) {
        never_be_chosen();
        touch((size_t)(meminfo_pages("MemFree:") + more));
        _exit(5);
    }
    is_exit(reap(eater), 5, "there is memory for one that must live");
}

static pid_t sleeper(void (*hold)(void), uid_t user) {
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(setresuid(user, user, user) == 0);
        hold();
        gate_open(&sleeps);
        gate_pass(&never);
        _exit(0);
    }
    gate_pass(&sleeps);
    return child;
}

static bool lives(pid_t child) { return waitpid(child, NULL, WNOHANG) == 0; }

static long share; // of each small sleeper, in pages
static void hold_share(void) { touch((size_t)share); }
static void hold_three_shares(void) { touch((size_t)share * 3); }

// Each of them holds less than root's program.
static void many_small_ones(void) {
    enum { SLEEPERS = 30 };
    sleeps = gate_make(), never = gate_make();
    share = meminfo_pages("MemFree:") / (SLEEPERS + 10);
    pid_t innocent = sleeper(hold_three_shares, 0), sleepers[SLEEPERS];
    for (int i = 0; i < SLEEPERS; i++)
        sleepers[i] = sleeper(hold_share, USER);
    demand_memory(share / 2);
    int gone = 0;
    for (int i = 0; i < SLEEPERS; i++)
        gone += !lives(sleepers[i]);
    ok(lives(innocent), "root's program lives, though it holds most");
    ok(gone > 0 && gone < SLEEPERS, "%d of the user's sleepers have gone", gone);
    for (int i = 0; i < SLEEPERS; i++)
        end(sleepers[i]);
    end(innocent);
}

static void hold_pages(void) { touch(700); }
static void hold_less(void) { touch(350); }

// A page in each page table.
static void hold_page_tables(void) {
    enum { TABLES = 600 };
    const size_t span = (size_t)512 * PAGE;
    char* at = mmap(NULL, TABLES * span, RW, ANON | MAP_NORESERVE, -1, 0);
    need(at != MAP_FAILED);
    for (size_t i = 0; i < TABLES; i++)
        at[i * span] = 1;
}

static void hold_map_entries(void) {
    enum { ENTRIES = 32000 };
    char* at = mmap(NULL, (size_t)ENTRIES * PAGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    need(at != MAP_FAILED);
    for (size_t i = 0; i < ENTRIES; i += 2)
        need(mprotect(at + i * PAGE, PAGE, PROT_READ) == 0);
}

static void hold_anons_of_parent(void) {
    touch(1500);
    pid_t child = fork();
    need(child >= 0);
    if (child > 0)
        _exit(0);
}

static void* wait_for_ever(void* unused) {
    (void)unused;
    pause();
    return NULL;
}

static void start_threads(int count, void* (*body)(void*)) {
    pthread_attr_t small;
    pthread_t thread;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 0; i < count; i++)
        need(pthread_create(&thread, &small, body, NULL) == 0);
}

static void hold_threads(void) { start_threads(250, wait_for_ever); }

static void hold_pipes(void) {
    enum { PIPES = 80, CAPACITY = 65536 };
    static char full[CAPACITY];
    for (int i = 0; i < PIPES; i++) {
        int fd[2];
        need(pipe(fd) == 0 && write(fd[1], full, CAPACITY) == CAPACITY);
    }
}

// The pages of a pipe stay when what was in them has been read.
static void hold_empty_pipes(void) {
    enum { PIPES = 80, CAPACITY = 65536 };
    static char full[CAPACITY];
    for (int i = 0; i < PIPES; i++) {
        int fd[2];
        need(pipe(fd) == 0 && write(fd[1], full, CAPACITY) == CAPACITY);
        need(read(fd[0], full, CAPACITY) == CAPACITY);
    }
}

static void hold_texts(void) {
    enum { FILES = 450 };
    char byte;
    for (int i = 0; i < FILES; i++) {
        int fd = open("/proc/self/smaps", O_RDONLY);
        need(fd >= 0 && read(fd, &byte, 1) == 1);
    }
}

static void fill_socket(int fd) {
    static char block[4 * PAGE];
    while (send(fd, block, sizeof block, MSG_DONTWAIT) > 0)
        ;
}

static void send_file(int by, int fd) {
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec byte = {"x", 1};
    struct msghdr m = {.msg_iov = &byte,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof control};
    *CMSG_FIRSTHDR(&m) = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(int));
    need(sendmsg(by, &m, 0) == 1);
    close(fd);
}

// Each end has only the message that it is in.
static void hold_travelling(void) {
    enum { PAIRS = 20 };
    int by[2], pair[2];
    need(socketpair(AF_UNIX, SOCK_DGRAM, 0, by) == 0);
    for (int i = 0; i < PAIRS; i++) {
        need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        send_file(by[0], pair[0]);
        fill_socket(pair[1]);
        close(pair[1]);
    }
}

// Nobody accepts, and who has connected has gone.
static void hold_backlog(void) {
    enum { CLIENTS = 20 };
    int l = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un a = {AF_UNIX, "\0held"};
    need(bind(l, (void*)&a, sizeof a) == 0 && listen(l, CLIENTS) == 0);
    for (int i = 0; i < CLIENTS; i++) {
        int c = socket(AF_UNIX, SOCK_STREAM, 0);
        need(connect(c, (void*)&a, sizeof a) == 0);
        fill_socket(c);
        close(c);
    }
}

enum { HELD = 1000 };

static void hold_memory_file(void) {
    static char block[100 * PAGE];
    int fd = memfd_create("held", 0);
    for (int i = 0; i < HELD / 100; i++)
        need(fd >= 0 && write(fd, block, sizeof block) == sizeof block);
}

static void hold_travelling_file(void) {
    static char block[100 * PAGE];
    int by[2], fd = memfd_create("held", 0);
    for (int i = 0; i < HELD / 100; i++)
        need(fd >= 0 && write(fd, block, sizeof block) == sizeof block);
    need(socketpair(AF_UNIX, SOCK_DGRAM, 0, by) == 0);
    send_file(by[0], fd);
}

// In no page table of its own any more, but in the mapping.
static void hold_shared(void) {
    char* at = mmap(NULL, HELD * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(at != MAP_FAILED);
    for (size_t i = 0; i < HELD; i++)
        at[i * PAGE] = 1;
    need(madvise(at, HELD * PAGE, MADV_DONTNEED) == 0);
}

// ---- In calls that last -----------------------------------------------------------------------

enum { ASKED = 65536 };
static struct pollfd asked[ASKED];
static int never_ready;

static void* polls(void* unused) {
    poll(asked, ASKED, -1);
    return unused;
}

static void allow_descriptors(void) {
    need(setrlimit(RLIMIT_NOFILE, &(struct rlimit){2 * ASKED, 1 << 20}) == 0);
}

static void ask_for(int fd, short events) {
    for (int i = 0; i < ASKED; i++)
        asked[i] = (struct pollfd){.fd = fd, .events = events};
}

static bool all_sleep(int threads, const char* in) {
    int asleep = 0;
    DIR* tasks = opendir("/proc/self/task");
    need(tasks != NULL);
    for (struct dirent* task; (task = readdir(tasks)) != NULL;) {
        char path[sizeof "/proc/self/task//wchan" + sizeof task->d_name];
        snprintf(path, sizeof path, "/proc/self/task/%s/wchan", task->d_name);
        asleep += task->d_name[0] != '.' && strcmp(get_file(path), in) == 0;
    }
    closedir(tasks);
    return asleep == threads;
}

static void make_never_ready(void) {
    int fd[2];
    need(pipe(fd) == 0);
    never_ready = fd[0];
}

static void hold_polls(void) {
    enum { THREADS = 5 };
    allow_descriptors();
    make_never_ready();
    ask_for(never_ready, POLLIN);
    start_threads(THREADS, polls);
    need(eventually(all_sleep(THREADS, "poll")));
}

static int source, full_pipe;

static void* sends(void* unused) {
    off_t from = 0;
    sendfile(full_pipe, source, &from, 65536);
    return unused;
}

static void hold_sendfiles(void) {
    enum { THREADS = 70, CAPACITY = 65536 };
    static char block[CAPACITY];
    int fd[2];
    source = memfd_create("source", 0);
    need(pipe(fd) == 0 && write(source, block, CAPACITY) == CAPACITY);
    need(write(fd[1], block, CAPACITY) == CAPACITY);
    full_pipe = fd[1];
    start_threads(THREADS, sends);
    breathe();
}

// ---- Where nobody looks -----------------------------------------------------------------------

// Calls under way refer to a file, too: they make its holder's share no smaller.
static void hold_behind_references(void) {
    hold_memory_file();
    allow_descriptors();
    ask_for(dup(0), 0);
    for (int fd = 3, found = 0; !found; fd++)
        if (lseek(fd, 0, SEEK_END) == (off_t)HELD * PAGE)
            ask_for(fd, 0), found = 1;
    make_never_ready();
    asked[0] = (struct pollfd){.fd = never_ready, .events = POLLIN};
    start_threads(1, polls);
    need(eventually(all_sleep(1, "poll")));
}

// A descriptor for the path alone keeps the file.
static void hold_by_path(void) {
    hold_memory_file();
    for (int fd = 3;; fd++) {
        char path[64];
        if (lseek(fd, 0, SEEK_END) != (off_t)HELD * PAGE)
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        need(open(path, O_PATH) >= 0 && close(fd) == 0);
        break;
    }
}

static int with_own_table(void* unused) {
    (void)unused;
    hold_memory_file();
    gate_open(&sleeps);
    pause();
    return 0;
}

// The sleeper's first thread goes on when the second one has what it holds.
static void hold_in_second_table(void) {
    static char stack[65536] __attribute__((aligned(16)));
    struct gate ready = sleeps;
    need(clone_call(CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD, stack + sizeof stack,
                    with_own_table, NULL) > 0);
    gate_pass(&sleeps);
    sleeps = ready;
}

static void* map_for_ever(void* unused) {
    for (;;) {
        char* at = mmap(NULL, (size_t)64 << 20, RW, ANON | MAP_NORESERVE, -1, 0);
        need(at != MAP_FAILED && munmap(at, (size_t)64 << 20) == 0);
    }
    return unused;
}

// Where the map is hardly ever free.
static void hold_in_busy_map(void) {
    hold_shared();
    start_threads(3, map_for_ever);
}

// What is left of processes that have been waited for.
static void hold_pidfds(void) {
    enum { PROCESSES = 1200 };
    need(setrlimit(RLIMIT_NOFILE, &(struct rlimit){2 * PROCESSES, 1 << 20}) == 0);
    for (int i = 0; i < PROCESSES; i++) {
        pid_t child = vfork();
        if (child == 0)
            _exit(0);
        need(syscall(SYS_pidfd_open, child, 0) >= 0);
        reap(child);
    }
}

// Descriptors of a process that has gone hold nothing of its memory, nor does one of a link to it.
static void files_of_the_dead(void) {
    static const char* const names[] = {"maps",   "smaps",   "vmspace",       "environ", "stat",
                                        "status", "fd",      "cwd",           "exe",     "root",
                                        "ledger", "cmdline", "oom_score_adj", "task",    "."};
    enum { NAMES = sizeof names / sizeof names[0] };
    sleeps = gate_make(), never = gate_make();
    const long before = meminfo_pages("MemFree:");
    pid_t pid = sleeper(hold_memory_file, 0);
    int opened = 0;
    for (int i = 0; i < NAMES; i++) {
        char path[64], byte;
        snprintf(path, sizeof path, "/proc/%d/%s", pid, names[i]);
        int fd = open(path, O_RDONLY);
        if (fd >= 0 && read(fd, &byte, 1) == 1)
            opened++;
        opened += open(path, O_PATH | O_NOFOLLOW) >= 0;
    }
    char path[64];
    for (int fd = 3; fd < 20; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
        opened += open(path, O_PATH | O_NOFOLLOW) >= 0;
    }
    const long held = before - meminfo_pages("MemFree:");
    ok(opened > NAMES && held > HELD, "%d files of a process that holds %ld pages", opened, held);
    end(pid);
    ok(eventually(before - meminfo_pages("MemFree:") < HELD / 4),
       "hold none of them when it is gone");
}

// Nobody waits for them before their parent has ended.
static void hold_zombies(void) {
    enum { ZOMBIES = 1200 };
    for (int i = 0; i < ZOMBIES; i++) {
        pid_t child = vfork();
        if (child == 0)
            _exit(0);
        need(child > 0);
    }
}

// What the kernel keeps for a process counts like its own pages.
static void kernels_memory(void) {
    static const struct {
        const char* what;
        void (*hold)(void);
    } hogs[] = {
        {"page tables", hold_page_tables},
        {"map entries", hold_map_entries},
        {"threads", hold_threads},
        {"pipes", hold_pipes},
        {"sockets that travel", hold_travelling},
        {"a memory file that travels", hold_travelling_file},
        {"a backlog", hold_backlog},
        {"texts of /proc", hold_texts},
        {"a memory file", hold_memory_file},
        {"shared memory", hold_shared},
        {"pipes that were read", hold_empty_pipes},
        {"what poll asks for", hold_polls},
        {"buffers of sendfile", hold_sendfiles},
        {"a file that calls refer to", hold_behind_references},
        {"memory in a busy map", hold_in_busy_map},
        {"a file by its path", hold_by_path},
        {"a second thread's files", hold_in_second_table},
        {"processes that have gone", hold_pidfds},
        {"processes that are not waited for", hold_zombies},
    };
    const pid_t filler = fill_memory();
    for (size_t i = 0; i < sizeof hogs / sizeof hogs[0]; i++) {
        sleeps = gate_make(), never = gate_make();
        pid_t innocent = sleeper(hold_pages, 0), hog = sleeper(hogs[i].hold, 0);
        demand_memory(100);
        ok(eventually(!lives(hog)), "who holds %s is killed", hogs[i].what);
        ok(lives(innocent), "and not one that has more pages");
        end(hog);
        end(innocent);
    }
    end(filler);
}

// ---- As oom_score has it ----------------------------------------------------------------------

static long score(void) { return atol(get_file("/proc/self/oom_score")); }

// Holding `pages` is as many points.
static long points(long pages) { return pages * 1000 / meminfo_pages("MemTotal:") * 2 / 3; }

static int directory;

static void list(void* unused) {
    static char entries[32768];
    (void)unused;
    syscall(SYS_getdents64, directory, entries, sizeof entries);
}

// Whoever lists it waits for a child, which stands still in the midst of that.
static pid_t busy_directory(void) {
    directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    need(directory >= 0);
    pid_t child = fork();
    if (child == 0) {
        char point[64];
        snprintf(point, sizeof point, "object_found %d 2", getpid()); // after the descriptor
        hold(point);
        list(NULL);
        _exit(0);
    }
    need(eventually(is_at(child, "object_found")));
    return child;
}

static void* lists(void* unused) {
    list(unused);
    return unused;
}

static void* sets_groups(void* unused) {
    enum { GROUPS = 65536 };
    static gid_t groups[GROUPS];
    for (;;)
        syscall(SYS_setgroups, GROUPS, groups);
    return unused;
}

// Buffers that are there for no longer than their call.
static void buffers_of_calls(void) {
    static const struct {
        const char* name;
        pid_t (*in_the_way)(void);
        void* (*calls)(void*);
        int threads;
        long pages; // that each has, most of the time
    } kinds[] = {{"getdents", busy_directory, lists, 100, 8},
                 {"setgroups", NULL, sets_groups, 12, 64}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        pid_t child = fork();
        if (child == 0) {
            const pid_t other = kinds[i].in_the_way != NULL ? kinds[i].in_the_way() : 0;
            long with_none = score();
            start_threads(kinds[i].threads, wait_for_ever);
            const long with_threads = 2 * score() - with_none;
            start_threads(kinds[i].threads, kinds[i].calls);
            const long want = with_threads + points(kinds[i].threads * kinds[i].pages * 2 / 3);
            const bool counted = eventually(score() >= want);
            if (other != 0)
                end(other);
            _exit(counted ? 5 : 0);
        }
        is_exit(reap(child), 5, "the buffers of %s count", kinds[i].name);
    }
}

// ---- Buffers of calls that are held ----------------------------------------------------------

enum { READERS = 100 };
static struct {
    volatile int ready;
    volatile bool begin;
}* readers;

static void* reads_itself(void* unused) {
    enum { PIECES = 1024 };
    static char buffer[PAGE];
    static struct iovec pieces[PIECES]; // all alike: it does not matter who fills them in
    for (int i = 0; i < PIECES; i++)
        pieces[i] = (struct iovec){buffer, sizeof buffer};
    __atomic_fetch_add(&readers->ready, 1, __ATOMIC_SEQ_CST);
    while (!readers->begin)
        breathe();
    syscall(SYS_process_vm_readv, getpid(), pieces, PIECES, pieces, PIECES, 0);
    return unused;
}

static void read_itself(void* unused) {
    (void)unused;
    start_threads(READERS, reads_itself);
    pause();
}

static long score_of(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/oom_score", pid);
    return atol(get_file(path));
}

// All of them stand still where they have found the process and both lists are read in.
static void lists_of_pieces(void) {
    readers = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(readers != MAP_FAILED);
    pid_t child = spawn(read_itself, NULL);
    need(eventually(readers->ready == READERS));
    const long want = score_of(child) + points(READERS * 8 * 2 / 3);
    hold("object_found");
    readers->begin = true;
    ok(eventually(score_of(child) >= want), "the lists of process_vm_readv count");
    let_go("object_found");
    end(child);
}

static int hold_table(void* unused) {
    (void)unused;
    pause();
    return 0;
}

// Of a table that others have too, each has a share.
static void shared_tables(void) {
    enum { SHARERS = 9 };
    static char stacks[SHARERS][8192] __attribute__((aligned(16)));
    const long without = score();
    hold_memory_file();
    const long alone = score() - without;
    pid_t sharers[SHARERS];
    for (int i = 0; i < SHARERS; i++) {
        sharers[i] =
            clone_call(CLONE_FILES | SIGCHLD, stacks[i] + sizeof stacks[i], hold_table, NULL);
        need(sharers[i] > 0);
    }
    const long shared = score() - without;
    ok(alone >= points(HELD) - 1, "a memory file is worth %ld points", alone);
    ok(shared <= alone * 2 / (SHARERS + 1) + 1, "and %ld as one of %d", shared, SHARERS + 1);
    for (int i = 0; i < SHARERS; i++)
        end(sharers[i]);
    ok(score() - without >= alone - 1, "and all of it when the others have gone");
}

// ---- Held on their way ------------------------------------------------------------------------

static void* executes(void* unused) {
    (void)unused;
    enum { LONGEST = 128 * 1024, STRINGS = 40 };
    static char text[LONGEST];
    static char* arguments[STRINGS + 1];
    memset(text, 'a', LONGEST - 1);
    for (int i = 0; i < STRINGS; i++)
        arguments[i] = text;
    execv("/proc/self/exe", arguments);
    return NULL;
}

static void exec_with_arguments(void* unused) {
    need(setrlimit(RLIMIT_STACK, &(struct rlimit){64 << 20, 64 << 20}) == 0);
    gate_pass(&sleeps);
    executes(unused);
}

// Less than those arguments, and enough for what the demand costs in the kernel.
static void hold_more(void) { touch(1000); }

// Its arguments are in pages of the kernel's; so it is told to end. Where it is held it cannot: it is
// told once, and given up after a while.
static void exec_under_way(void) {
    sleeps = gate_make(), never = gate_make();
    follow_log();
    pid_t hog = spawn(exec_with_arguments, NULL);
    char point[64], who[64];
    snprintf(point, sizeof point, "exec_is_ready %d 1", hog);
    hold(point);
    gate_open(&sleeps);
    need(eventually(is_at(hog, "exec_is_ready")));
    pid_t next = sleeper(hold_more, 0), innocent = sleeper(hold_less, 0);
    demand_memory(100);
    snprintf(who, sizeof who, "killed process %d (oom)", hog);
    is(logged("out of memory", who), 1, "who holds arguments of an exec is killed, once");
    ok(is_at(hog, "exec_is_ready"), "it cannot end yet");
    is_killed(reap(next), SIGKILL, "after a while the next one is killed");
    ok(lives(innocent), "and no further one");
    let_go("exec_is_ready");
    is_killed(reap(hog), SIGKILL, "the first one comes to its end");
    end(innocent);
}

// The pages of a parent that has gone are in no page table of the child's.
static void inherited_memory(void) {
    sleeps = gate_make(), never = gate_make();
    pid_t innocent = sleeper(hold_pages, 0), parent = fork();
    if (parent == 0) {
        hold_anons_of_parent();
        gate_open(&sleeps);
        gate_pass(&never);
        _exit(0);
    }
    reap(parent);
    gate_pass(&sleeps);
    const long free_before = meminfo_pages("MemFree:");
    demand_memory(100);
    ok(lives(innocent), "who has not the most lives");
    ok(meminfo_pages("MemFree:") > free_before + 1000,
       "the child of the one that had most does not");
    end(innocent);
}

int main(void) {
    scratch_begin();
    subtest("a process that takes all", the_glutton_dies);
    subtest("a process that reads all", the_glutton_reads);
    subtest("system calls without memory", system_calls_fail);
    subtest("oom_score_adj", adjusting);
    subtest("a protected process", protected_process);
    subtest("many small processes of one user", many_small_ones);
    subtest("memory of the kernel's", kernels_memory);
    subtest("files of a process that has gone", files_of_the_dead);
    subtest("buffers of calls", buffers_of_calls);
    subtest("lists of pieces", lists_of_pieces);
    subtest("descriptors that processes share", shared_tables);
    subtest("the arguments of an exec under way", exec_under_way);
    subtest("memory inherited from a parent", inherited_memory);
    return done();
}
