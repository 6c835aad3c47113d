// No call keeps a processor, however much it is asked to do: another process, which only counts,
// gets its turn beside each of them, and a killed caller comes to its end.
//
// With the argument "measure" it is meant for one processor on which a nanosecond is an instruction
// (tools/spork run --icount): the calls are large, and the longest time that the counting process
// did not get is printed and limited. A call stands between two long no-ops whose operand has its
// number, so that a plugin of QEMU's can tell them apart (tools/qemu/irqs_off.c). Without the
// argument the calls are small and only their results are looked at.
#include "../lib/clone.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"
#include "../lib/spork.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>

enum { FUTEX_WAIT, FUTEX_WAKE, FUTEX_REQUEUE = 3 };
// Both are at the lowest priority, where a turn is 0.5 ms: what exceeds it is the call's doing.
enum { TURN = 500000, LONGEST_GAP = TURN + 1500000 };

static bool measuring;
static size_t megabytes = 2; // what most calls are about
static int many = 200;       // and how many things others are

// ---- The calls -------------------------------------------------------------------------------

static char* memory;
static size_t size;
static int file = -1;
static struct iovec pieces[1024];

static void no_memory(void) {}

static void map_memory(void) {
    size = megabytes << 20;
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(memory != MAP_FAILED);
}

static void touch_memory(void) {
    map_memory();
    for (size_t i = 0; i < size; i += 4096)
        memory[i] = 1;
}

static void long_pieces(void) {
    map_memory();
    for (int i = 0; i < 1024; i++)
        pieces[i] = (struct iovec){memory, measuring ? 1 << 20 : 64};
}

static void open_file(void) {
    char path[] = "file-XXXXXX";
    file = mkstemp(path);
    need(file >= 0 && unlink(path) == 0);
}

static void empty_file(void) {
    touch_memory();
    open_file();
}

static void filled_file(void) {
    empty_file();
    need(write(file, memory, size) == (ssize_t)size && lseek(file, 0, SEEK_SET) == 0);
}

static void mapped_file(void) {
    filled_file();
    memory = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
    need(memory != MAP_FAILED);
}

static void many_mappings(void) {
    size = (size_t)many * 2 * 4096;
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(memory != MAP_FAILED);
    for (int i = 0; i < many; i++)
        need(mprotect(memory + (size_t)i * 2 * 4096, 4096, PROT_READ) == 0);
}

static void limit_descriptors(void) {
    struct rlimit limit = {(rlim_t)many * 4, 1 << 20};
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max > (rlim_t)many * 4)
        limit.rlim_cur = (rlim_t)many * 4;
    need(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void many_descriptors(void) {
    limit_descriptors();
    while (dup(0) >= 0)
        continue;
    need(errno == EMFILE);
}

static void copying_fork(void) {
    if (on_spork())
        need(spork_forkmode(FORK_COPY, MODE_UNCHANGED) >= 0);
}

static void touched_copying_fork(void) {
    touch_memory();
    copying_fork();
}

static void* stay(void* unused) {
    for (;;)
        pause();
    return unused;
}

static void many_threads(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 16384);
    for (int i = 0; i < (measuring ? 200 : 20); i++)
        need(pthread_create(&thread, &attributes, stay, NULL) == 0);
}

static void make_children(int count, bool own_groups) {
    const pid_t parent = getpid();
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        need(child >= 0);
        if (child == 0) {
            need(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
            if (getppid() == parent)
                stay(NULL);
            _exit(0);
        }
        if (own_groups)
            need(setpgid(child, child) == 0);
    }
}

static void some_children(void) { make_children(15, false); }
static void many_children(void) { make_children(measuring ? 200 : 20, false); }
static void many_groups(void) { make_children(measuring ? 40 : 20, true); }

// Children that cost little: they have our memory and our descriptors. They stay until the process
// beside us closes its end of `leave`, and have no turn before.
static struct gate leave;
static pid_t* children;
static int child_count;

static int stay_until_told(void* unused) {
    char byte;
    (void)unused;
    return read(leave.fd[0], &byte, 1) == 0 ? 0 : 1;
}

static int end_at_once(void* unused) {
    (void)unused;
    return 0;
}

static uint32_t word, other_word;

static int wait_on_word(void* unused) {
    (void)unused;
    syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
    return 0;
}

static int requeue(uint32_t* from, uint32_t* to) {
    return (int)syscall(SYS_futex, from, FUTEX_REQUEUE, 0, (long)child_count, to, 0);
}

static void make_crowd(unsigned long flags, int (*body)(void*), int count) {
    enum { STACK = 2048 };
    sigset_t user1;
    char* stacks = malloc((size_t)count * STACK);
    children = calloc((size_t)count, sizeof *children);
    child_count = count;
    sigemptyset(&user1);
    sigaddset(&user1, SIGUSR1);
    need(stacks != NULL && children != NULL && sigprocmask(SIG_BLOCK, &user1, NULL) == 0);
    for (int i = 0; i < count; i++) {
        children[i] = (pid_t)clone_call(flags, stacks + (size_t)(i + 1) * STACK, body, NULL);
        need(children[i] > 0);
    }
}

static void make_light(int (*body)(void*), int count) {
    make_crowd(CLONE_VM | CLONE_FILES | CLONE_FS | SIGCHLD, body, count);
}

// The same, and all of them have come to where they sleep.
static int come;

static void make_sleepers(int (*body)(void*), int count) {
    make_light(body, count);
    while (__atomic_load_n(&come, __ATOMIC_ACQUIRE) < count)
        sched_yield();
    for (int i = 0; i < 3; i++) // each has its turn
        sched_yield();
}

static void come_here(void) { __atomic_fetch_add(&come, 1, __ATOMIC_ACQ_REL); }

static int very_many(void) { return measuring ? 2000 : 20; }
static void very_many_children(void) { make_light(stay_until_told, very_many()); }
static void very_many_groups(void) {
    very_many_children();
    for (int i = 0; i < child_count; i++)
        need(setpgid(children[i], children[i]) == 0);
}
static void one_other_group(void) {
    very_many_children();
    need(setpgid(children[child_count - 1], 0) == 0);
}
static void very_many_zombies(void) {
    siginfo_t info;
    make_light(end_at_once, very_many());
    for (int i = 0; i < child_count; i++)
        need(waitid(P_PID, (id_t)children[i], &info, WEXITED | WNOWAIT) == 0);
}
// All of them have come when all have been moved to another word, and back. One that wakes up by
// chance, as Linux lets it, waits on the first word again.
static void waiters(int count) {
    int moved = 0;
    make_light(wait_on_word, count);
    while ((moved += requeue(&word, &other_word)) < count)
        sched_yield();
    while (requeue(&other_word, &word) < count) {
        sched_yield();
        (void)requeue(&word, &other_word);
    }
}
static void many_waiters(void) { waiters(measuring ? 400 : 20); }
static void very_many_waiters(void) { waiters(very_many()); }
static void high_limit(void) {
    need(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1 << 20, 1 << 20}) == 0 || !measuring);
}
static void very_many_threads(void) {
    make_crowd(CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD, stay_until_told,
               very_many());
}
// A child that has them.
static void have_threads(void* ready) {
    very_many_threads();
    gate_open(ready);
    stay(NULL);
}
static pid_t crowd;
static void process_of_threads(void) {
    struct gate ready = gate_make();
    crowd = spawn(have_threads, &ready);
    gate_pass(&ready);
}
static int crowded[2]; // a pipe
static int read_crowded(void* unused) {
    char byte;
    (void)unused;
    come_here();
    return read(crowded[0], &byte, 1) == 1 ? 0 : 1;
}
static int poll_crowded(void* unused) {
    struct pollfd fd = {.fd = crowded[0], .events = POLLIN};
    (void)unused;
    come_here();
    return poll(&fd, 1, -1) == 1 ? 0 : 1;
}
static void crowded_pipe(void) {
    need(pipe(crowded) == 0);
    make_sleepers(read_crowded, very_many());
}
static void polled_pipe(void) {
    need(pipe(crowded) == 0);
    make_sleepers(poll_crowded, very_many());
}
// One that waits for the same pipe very often.
static void poll_often(void* ready) {
    const size_t times = measuring ? 1 << 17 : 500;
    struct pollfd* fds = calloc(times, sizeof *fds);
    need(fds != NULL);
    for (size_t i = 0; i < times; i++)
        fds[i] = (struct pollfd){.fd = crowded[0], .events = POLLIN};
    gate_open(ready);
    need(poll(fds, times, -1) == (int)times);
}
static void often_polled_pipe(void) {
    struct gate ready = gate_make();
    high_limit();
    need(pipe(crowded) == 0);
    spawn(poll_often, &ready);
    gate_pass(&ready);
    usleep(measuring ? 50000 : 1000); // it polls by then; if not, the write has less to do
}
// Timerfds that want to know when the clock is set: as many as there may be descriptors.
static void many_clock_watchers(void) {
    const struct itimerspec later = {.it_value.tv_sec = 1LL << 40};
    const int flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
    limit_descriptors();
    for (int fd; (fd = timerfd_create(CLOCK_REALTIME, 0)) >= 0;)
        need(timerfd_settime(fd, flags, &later, NULL) == 0);
    need(errno == EMFILE);
}
static struct timespec same_moment;
static int sleep_until_moment(void* unused) {
    (void)unused;
    come_here();
    return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &same_moment, NULL);
}
static void choose_moment(void) {
    const int64_t at = now_ns() + (int64_t)very_many() * 150000;
    same_moment = (struct timespec){at / 1000000000, at % 1000000000};
}
static void many_sleepers(void) {
    choose_moment();
    make_sleepers(sleep_until_moment, very_many());
}
static timer_t timers[1000];
static int timer_count(void) { return measuring ? 1000 : 20; }
// A signal for each, which nobody takes.
static void many_timers(clockid_t clock) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    sigset_t user1;
    sigemptyset(&user1);
    sigaddset(&user1, SIGUSR1);
    need(sigprocmask(SIG_BLOCK, &user1, NULL) == 0);
    for (int i = 0; i < timer_count(); i++)
        need(timer_create(clock, &event, &timers[i]) == 0);
}
static void set_timers(int flags, struct timespec at) {
    for (int i = 0; i < timer_count(); i++)
        need(timer_settime(timers[i], flags, &(struct itimerspec){.it_value = at}, NULL) == 0);
}
static void timers_and_threads(void) {
    very_many_threads();
    choose_moment();
    many_timers(CLOCK_MONOTONIC);
    set_timers(TIMER_ABSTIME, same_moment);
}
static void cpu_timers_and_threads(void) {
    make_crowd(CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD, stay_until_told,
               timer_count());
    many_timers(CLOCK_PROCESS_CPUTIME_ID);
}
static int high_descriptor(void) { return measuring ? 1 << 17 : 500; }
static void high_descriptors(void) {
    high_limit();
    need(dup2(0, high_descriptor()) >= 0);
}

static char long_link[32], long_path[4096];
static void links_to_links(void) {
    // Each of 39 links is a path of very many steps that ends in the next.
    char name[32];
    need(mkdir("links", 0777) == 0 || errno == EEXIST);
    for (int i = 0; i < 39; i++) {
        memset(long_path, '/', sizeof long_path);
        for (size_t at = 0; at + 1 < 3900; at += 2)
            long_path[at] = '.';
        snprintf(long_path + 3900, 64, "l%d", i + 1);
        snprintf(name, sizeof name, "links/l%d", i);
        (void)unlink(name);
        need(symlink(long_path, name) == 0);
    }
    (void)unlink("links/l39");
    need(mkdir("links/l39", 0777) == 0 || errno == EEXIST);
    snprintf(long_link, sizeof long_link, "links/l0");
}

static void many_names(void) {
    char name[32];
    need(mkdir("names", 0777) == 0 || errno == EEXIST);
    for (int i = 0; i < many * 4; i++) {
        snprintf(name, sizeof name, "names/%d", i);
        need(mknod(name, S_IFREG | 0600, 0) == 0 || errno == EEXIST);
    }
}

static void do_nothing(void) { sched_yield(); }
static void do_read_random(void) {
    file = open("/dev/urandom", O_RDONLY);
    need(readv(file, pieces, 1024) > 0);
}
static void do_read_zeros(void) {
    file = open("/dev/zero", O_RDONLY);
    need(readv(file, pieces, 1024) > 0);
}
static void do_process_vm(void) {
    need(process_vm_readv(getpid(), pieces, 1024, pieces, 1024, 0) > 0);
}
static void do_write(void) { need(write(file, memory, size) == (ssize_t)size); }
static void do_read(void) { need(read(file, memory, size) == (ssize_t)size); }
static void do_truncate(void) { need(ftruncate(file, 0) == 0); }
static void do_close(void) { need(close(file) == 0); }
static void do_sendfile(void) {
    int from = file;
    open_file();
    need(sendfile(file, from, NULL, size) > 0);
}
static void do_fallocate(void) { need(posix_fallocate(file, 0, (off_t)size) == 0); }
static void do_munmap(void) { need(munmap(memory, size) == 0); }
static void do_dontneed(void) { need(madvise(memory, size, MADV_DONTNEED) == 0); }
static void do_mprotect(void) { need(mprotect(memory, size, PROT_READ) == 0); }
static void do_mremap(void) {
    need(mremap(memory, size, size + 4096 * 1024, MREMAP_MAYMOVE) != MAP_FAILED);
}
static void do_msync(void) { need(msync(memory, size, MS_SYNC) == 0); }
static void do_mincore(void) {
    static unsigned char resident[1 << 16];
    need(mincore(memory, size, resident) == 0);
}
static void do_mlock(void) {
    need(mlock(memory, size) == 0);
    need(munlock(memory, size) == 0);
}
static void do_populate(void) {
    need(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
              0) != MAP_FAILED);
}
static void do_fork(void) {
    pid_t child = fork();
    need(child >= 0);
    if (child == 0)
        _exit(0);
    need(exited_with(reap(child), 0));
}
static void do_exit(void) { _exit(0); }
static void do_exec(void) {
    execl("/proc/self/exe", "latency", "exit", NULL);
    need(false);
}
static void do_exec_long(void) {
    static char text[100000];
    static char name[] = "latency", what[] = "exit";
    char* words[20] = {name, what};
    memset(text, 'x', sizeof text - 1);
    for (int i = 2; i < 19; i++)
        words[i] = text;
    execv("/proc/self/exe", words);
    need(false);
}
static void do_poll(void) {
    int count = many * 4;
    struct pollfd* fds = calloc((size_t)count, sizeof *fds);
    for (int i = 0; i < count; i++)
        fds[i] = (struct pollfd){.fd = 0, .events = POLLPRI};
    need(poll(fds, (nfds_t)count, 0) >= 0);
}
static void read_all(const char* path) {
    char text[4096];
    int fd = open(path, O_RDONLY);
    need(fd >= 0);
    while (read(fd, text, sizeof text) > 0)
        continue;
    close(fd);
}
static void do_maps(void) { read_all("/proc/self/maps"); }
static void do_smaps(void) { read_all("/proc/self/smaps"); }
static void do_meminfo(void) { read_all("/proc/meminfo"); }
static void do_list(void) {
    struct dirent** names;
    int n = scandir("names", &names, NULL, NULL);
    need(n == many * 4 + 2);
}
static void do_stat_links(void) {
    struct stat st;
    need(stat(long_link, &st) == 0);
}
static void do_wait_any(void) {
    for (int i = 0; i < 100; i++)
        need(waitpid(-1, NULL, WNOHANG) == 0);
}
// Those that are killed have their turns, too, on their way out: they are few.
static void do_kill_children(void) {
    need(signal(SIGTERM, SIG_IGN) != SIG_ERR && kill(0, SIGTERM) == 0);
    while (waitpid(-1, NULL, 0) > 0)
        continue;
}
static void do_kill_blocked(void) { need(kill(0, SIGUSR1) == 0); }
static void do_wait_each(void) {
    for (int i = child_count; i-- > 0;)
        need(waitpid(children[i], NULL, 0) == children[i]);
}
static void do_wait_group(void) { need(waitpid(-children[child_count - 1], NULL, WNOHANG) == 0); }
static void do_wait_clones(void) {
    need(waitpid(-1, NULL, WNOHANG | (int)__WCLONE) == -1 && errno == ECHILD);
}
static void do_subreaper(void) { need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0); }
static void do_setpgid(void) { need(setpgid(0, children[child_count - 1]) == 0); }
static void do_futex_wake(void) {
    need(syscall(SYS_futex, &word, FUTEX_WAKE, child_count, NULL, NULL, 0) == child_count);
}
static void do_futex_requeue(void) { need(requeue(&word, &other_word) > 0); }
static void do_grow(void) { need(dup2(0, high_descriptor()) >= 0); }
static void do_status(void) { read_all("/proc/self/status"); }
static void do_sigaction(void) {
    need(signal(SIGUSR1, SIG_IGN) != SIG_ERR && signal(SIGUSR1, SIG_DFL) != SIG_ERR);
}
static void do_send_self(void) { need(kill(getpid(), SIGUSR1) == 0); }
static void do_rusage(void) {
    struct rusage usage;
    need(getrusage(RUSAGE_SELF, &usage) == 0);
}
static void do_own_stat(void) { read_all("/proc/self/stat"); }
static void do_kill(void) { need(kill(crowd, SIGKILL) == 0 && reap(crowd) != 0); }
static void do_stop(void) {
    int status;
    need(kill(crowd, SIGSTOP) == 0 && waitpid(crowd, &status, WUNTRACED) == crowd);
    need(WIFSTOPPED(status) && kill(crowd, SIGCONT) == 0);
    need(waitpid(crowd, &status, WCONTINUED) == crowd);
}
static void do_write_crowded(void) { need(write(crowded[1], "", 1) == 1); }
static void do_sleep(void) {
    need(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &same_moment, NULL) == 0);
    usleep(1000);
}
static void do_set_clock(void) { // not that of somebody's Linux
    struct timespec time;
    need(clock_gettime(CLOCK_REALTIME, &time) == 0);
    need(!on_spork() || clock_settime(CLOCK_REALTIME, &time) == 0);
}
static void do_set_cpu_timers(void) {
    set_timers(0, (struct timespec){.tv_nsec = 50000000});
    set_timers(0, (struct timespec){.tv_nsec = 1});
}

// `crowds`: it wakes thousands, each of which has its turn before ours comes round.
enum ending { by_itself, killed, crowds };
static const struct call {
    const char* name;
    void (*prepare)(void);
    void (*run)(void);
    enum ending ending;
} calls[] = {
    {"sched_yield", no_memory, do_nothing, by_itself},
    {"readv of /dev/urandom, 1 GiB", long_pieces, do_read_random, killed},
    {"readv of /dev/zero, 1 GiB", long_pieces, do_read_zeros, killed},
    {"process_vm_readv, 1 GiB", long_pieces, do_process_vm, killed},
    {"write to a file", empty_file, do_write, by_itself},
    {"read of a file", filled_file, do_read, by_itself},
    {"sendfile", filled_file, do_sendfile, by_itself},
    {"fallocate", empty_file, do_fallocate, by_itself},
    {"ftruncate", filled_file, do_truncate, by_itself},
    {"ftruncate, mapped", mapped_file, do_truncate, by_itself},
    {"close of a file without a name", filled_file, do_close, by_itself},
    {"munmap", touch_memory, do_munmap, by_itself},
    {"munmap, many mappings", many_mappings, do_munmap, by_itself},
    {"mprotect", touch_memory, do_mprotect, by_itself},
    {"mprotect, many mappings", many_mappings, do_mprotect, by_itself},
    {"madvise(DONTNEED)", touch_memory, do_dontneed, by_itself},
    {"mremap", touch_memory, do_mremap, by_itself},
    {"msync", mapped_file, do_msync, by_itself},
    {"mincore", touch_memory, do_mincore, by_itself},
    {"mlock, munlock", touch_memory, do_mlock, by_itself},
    {"mmap(POPULATE)", map_memory, do_populate, by_itself},
    {"fork", touch_memory, do_fork, by_itself},
    {"fork, copying", touched_copying_fork, do_fork, by_itself},
    {"fork, many mappings", many_mappings, do_fork, by_itself},
    {"fork, many descriptors", many_descriptors, do_fork, by_itself},
    {"exit", touch_memory, do_exit, by_itself},
    {"exit, many mappings", many_mappings, do_exit, by_itself},
    {"exit, many descriptors", many_descriptors, do_exit, by_itself},
    {"exit, many threads", many_threads, do_exit, by_itself},
    {"exit, many children", many_children, do_exit, by_itself},
    {"exit, many groups", many_groups, do_exit, by_itself},
    {"exec", touch_memory, do_exec, by_itself},
    {"exec, 1.7 MB of arguments", no_memory, do_exec_long, by_itself},
    {"poll, many descriptors", many_descriptors, do_poll, by_itself},
    {"/proc/PID/maps, many mappings", many_mappings, do_maps, by_itself},
    {"/proc/PID/smaps", touch_memory, do_smaps, by_itself},
    {"/proc/PID/status", touch_memory, do_status, by_itself},
    {"/proc/meminfo", touch_memory, do_meminfo, by_itself},
    {"stat, 39 long links", links_to_links, do_stat_links, by_itself},
    {"getdents, 16,000 names", many_names, do_list, by_itself},
    {"wait4, many children", many_children, do_wait_any, by_itself},
    {"kill of a group", some_children, do_kill_children, by_itself},
    {"kill of a group of 2,000", very_many_children, do_kill_blocked, by_itself},
    {"exit, 2,000 children", very_many_children, do_exit, by_itself},
    {"exit, 2,000 children in groups of their own", very_many_groups, do_exit, by_itself},
    {"setpgid, 2,000 children", one_other_group, do_setpgid, by_itself},
    {"PR_SET_CHILD_SUBREAPER, 2,000 children", very_many_children, do_subreaper, by_itself},
    {"wait4 of each of 2,000, last first", very_many_zombies, do_wait_each, by_itself},
    {"wait4 of a group, 2,000 children", one_other_group, do_wait_group, by_itself},
    {"wait4 of none of 2,000 children", very_many_children, do_wait_clones, by_itself},
    {"FUTEX_WAKE of 400", many_waiters, do_futex_wake, by_itself},
    {"FUTEX_REQUEUE of 2,000", very_many_waiters, do_futex_requeue, by_itself},
    {"sigaction, 2,000 threads", very_many_threads, do_sigaction, by_itself},
    {"kill, blocked by 2,000 threads", very_many_threads, do_send_self, by_itself},
    {"getrusage, 2,000 threads", very_many_threads, do_rusage, by_itself},
    {"/proc/PID/stat, 2,000 threads", very_many_threads, do_own_stat, by_itself},
    {"kill of a process of 2,000 threads", process_of_threads, do_kill, crowds},
    {"stop and continue 2,000 threads", process_of_threads, do_stop, crowds},
    {"1,000 timers of 2,000 threads at one moment", timers_and_threads, do_sleep, by_itself},
    {"1,000 timers of 1,000 threads' used time", cpu_timers_and_threads, do_set_cpu_timers,
     by_itself},
    {"clock_nanosleep, 2,000 until one moment", many_sleepers, do_sleep, crowds},
    {"write to a pipe with 2,000 readers", crowded_pipe, do_write_crowded, crowds},
    {"write to a pipe with 2,000 in poll", polled_pipe, do_write_crowded, crowds},
    {"write to a pipe polled 131,072 times", often_polled_pipe, do_write_crowded, by_itself},
    {"clock_settime, 16,000 timerfds", many_clock_watchers, do_set_clock, by_itself},
    {"dup2 to 131,072", high_limit, do_grow, by_itself},
    {"fork, 131,072 descriptors", high_descriptors, do_fork, by_itself},
};
enum { CALLS = sizeof calls / sizeof *calls };

// ---- Beside them -----------------------------------------------------------------------------

// Runs a long no-op with `operand`.
static void mark(uint32_t operand) {
    unsigned char code[] = {0x0f, 0x1f, 0x80, 0, 0, 0, 0, 0xc3}; // nopl operand(%rax); ret
    unsigned char* page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(page != MAP_FAILED);
    memcpy(code + 3, &operand, sizeof operand);
    memcpy(page, code, sizeof code);
    need(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
    ((void (*)(void))page)();
    need(munmap(page, 4096) == 0);
}

static struct gate prepared, go;
static volatile bool* returned; // from the call; shared with the one who makes it

static void call_it(void* of) {
    const struct call* call = of;
    need(setpgid(0, 0) == 0 && close(leave.fd[1]) == 0);
    call->prepare();
    gate_open(&prepared);
    gate_pass(&go);
    mark(0x5a5b0000 + (uint32_t)(call - calls));
    call->run();
    // The end of a process that has much is another call. First the other one has its turn.
    sched_yield();
    *returned = true;
}

// The parent does nothing but look at the clock and whether the child has ended.
static void call_beside_us(const struct call* call) {
    leave = gate_make();
    pid_t child = spawn(call_it, (void*)call);
    int early;
    while (poll(&(struct pollfd){prepared.fd[0], POLLIN, 0}, 1, 100) == 0)
        if (waitpid(child, &early, WNOHANG) == child) {
            (void)kill(-child, SIGKILL); // those that it has made, and who wait
            need(exited_with(early, 0));
        }
    gate_pass(&prepared);
    const int64_t begun = now_ns(), limit = measuring ? 20000000 : 0;
    int64_t last = begun, gap = 0;
    int status = 0;
    pid_t ended = 0;
    bool told = call->ending != killed;
    *returned = false;
    gate_open(&go);
    while (ended == 0) {
        ended = waitpid(child, &status, WNOHANG);
        const int64_t time = now_ns();
        if (time - last > gap && !*returned)
            gap = time - last;
        last = time;
        if (ended == 0 && !told && time - begun > limit) {
            told = true;
            need(kill(child, SIGKILL) == 0);
        }
    }
    mark(0x5a5c0000);
    close(leave.fd[0]);
    close(leave.fd[1]);
    (void)kill(-child, SIGKILL); // who is left of its group
    need(ended == child);
    if (call->ending == killed && measuring)
        is_killed(status, SIGKILL, "%s: killed", call->name);
    else
        ok(exited_with(status, 0) || killed_by(status, SIGKILL), "%s: done", call->name);
    if (!measuring)
        return;
    diag("gap %9lld of %10lld: %s", (long long)gap, (long long)(last - begun), call->name);
    if (call->ending != crowds)
        ok(gap <= LONGEST_GAP, "%s: others had their turn", call->name);
}

int main(int argc, char** argv) {
    if (argc > 1 && strcmp(argv[1], "exit") == 0)
        return 0; // what exec has made
    measuring = argc > 1 && strcmp(argv[1], "measure") == 0;
    scratch_begin();
    if (measuring) {
        megabytes = 32;
        many = 4000;
        need(setpriority(PRIO_PROCESS, 0, 19) == 0);
    }
    returned = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(returned != MAP_FAILED);
    prepared = gate_make();
    go = gate_make();
    for (int i = 0; i < CALLS; i++)
        if (argc < 3 || strstr(calls[i].name, argv[2]))
            call_beside_us(&calls[i]);
    return done();
}
