// The objects of the pairs test: how each kind is made, how its state is told, and how it ends.
#pragma once

#include "pairs_calls.h"

#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

// Descriptors that the test itself has are below; what a call makes gets the lowest free ones.
enum { OBJECT_FD = 100, OTHER_FD = 101, FREE_FD = 102, PROBE_FD = 103, FIRST_MADE = 16 };
enum { MEMORY_FILE_FD = 10, SCRATCH_FD = 11, POINTS_FD = 12, LAST_OWN_FD = 15 };

// Some calls change owner and mode of what they are given, and of /dev/ptmx there is one, for everybody.
static const char the_ptmx[] = "/dev/ptmx";
static struct stat ptmx_before;

static void remember_ptmx(void) { need(getuid() != 0 || stat(the_ptmx, &ptmx_before) == 0); }

static void give_ptmx_back(void) {
    need(getuid() != 0 || (chown(the_ptmx, ptmx_before.st_uid, ptmx_before.st_gid) == 0 &&
                           chmod(the_ptmx, ptmx_before.st_mode & 07777) == 0));
}

static char* const at_object = (char*)0x200000000;
static char* const at_other = (char*)0x200100000;

struct object {
    unsigned kind;
    long id, other;
    char x[PATH_MAX], y[PATH_MAX];
};

struct kind {
    unsigned bit;
    const char* name;
    bool loose; // results depend on when others run: only what must hold in any case is looked at
};
static const struct kind kinds[] = {
    {K_FILE, "file", false},
    {K_PIPE_R, "reader", false},
    {K_PIPE_W, "writer", false},
    {K_DIR, "directory", false},
    {K_EVENT, "eventfd", false},
    {K_TIMERFD, "timerfd", false},
    {K_SIGNAL, "signalfd", false},
    {K_PIDFD, "pidfd", false},
    {K_MEMFD, "memfd", false},
    {K_PATH, "O_PATH", false},
    {K_FIFO, "fifo", false},
    {K_SOCKET, "socket", false},
    {K_EPOLL, "epoll", false},
    {K_PROC, "file of /proc", false},
    {K_DEVICE, "device", false},
    {K_TTY, "terminal", false},
    {K_MASTER, "master", false},
    {K_NAME, "free name", false},
    {K_NAME_FILE, "name of a file", false},
    {K_NAME_DIR, "name of a directory", false},
    {K_NAME_LINK, "name of a link", false},
    {K_PRIVATE, "private mapping", false},
    {K_SHARED, "shared mapping", false},
    {K_MAPPED, "file mapping", false},
    {K_FUTEX, "futex word", false},
    {K_TIMER, "timer", false},
    {K_SEGMENT, "segment", false},
    {K_CHILD, "process", true},
    {K_ZOMBIE, "zombie", false},
    {K_THREAD, "thread", false},
    {K_SELF, "own process", true},
};

static pid_t sleeping_thread; // of the worker: K_THREAD's object
static volatile unsigned thread_word;

static void place(int fd, int at) {
    need(fd >= 0);
    if (fd != at) {
        need(dup2(fd, at) == at);
        close(fd);
    }
}

static int file_with(const char* name, const char* text) {
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, RW);
    need(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    need(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static struct flock whole_lock(short type, off_t start, off_t length) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
}

static void fill_pipe(int fd) {
    static char full[PAGE];
    need(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    while (write(fd, full, sizeof full) > 0)
        continue;
    need(fcntl(fd, F_SETFL, 0) == 0);
}

static void object_make_descriptor(struct object* o) {
    int ends[2];
    o->id = OBJECT_FD;
    o->other = OTHER_FD;
    strcpy(o->x, "x");
    strcpy(o->y, "y");
    switch (o->kind) {
    case K_FILE: {
        place(file_with("f", "0123456789"), OBJECT_FD);
        place(file_with("g", "abcdefghij"), OTHER_FD);
        place(open("f", O_RDWR), PROBE_FD);
        struct flock l = whole_lock(F_WRLCK, 3, 1);
        need(fcntl(PROBE_FD, F_OFD_SETLK, &l) == 0);
        need(flock(PROBE_FD, LOCK_SH) == 0);
        return;
    }
    case K_PIPE_R:
        need(pipe(ends) == 0);
        place(ends[0], OBJECT_FD);
        place(ends[1], OTHER_FD);
        return;
    case K_PIPE_W:
        need(pipe(ends) == 0);
        place(ends[1], OBJECT_FD);
        place(ends[0], OTHER_FD);
        need(fcntl(OBJECT_FD, F_SETPIPE_SZ, PAGE) >= 0);
        fill_pipe(OBJECT_FD);
        return;
    case K_DIR:
        need(mkdir("d", 0700) == 0);
        place(open("d", O_RDONLY | O_DIRECTORY), OBJECT_FD);
        close(openat(OBJECT_FD, "x", O_RDWR | O_CREAT, RW));
        break;
    case K_EVENT: place(eventfd(1, 0), OBJECT_FD); break;
    case K_TIMERFD: place(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), OBJECT_FD); break;
    case K_SIGNAL: {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR2);
        place(signalfd(-1, &set, SFD_NONBLOCK), OBJECT_FD);
        break;
    }
    case K_PIDFD: {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        siginfo_t info;
        need(child > 0 && waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
        place((int)syscall(SYS_pidfd_open, child, 0), OBJECT_FD);
        break;
    }
    case K_SOCKET:
        need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
        place(ends[0], OBJECT_FD);
        place(ends[1], OTHER_FD);
        need(write(OBJECT_FD, "there", 5) == 5 && write(OTHER_FD, "here", 4) == 4);
        return;
    case K_EPOLL: {
        struct epoll_event event = {EPOLLIN, {0}};
        place(epoll_create1(0), OBJECT_FD);
        place(eventfd(1, 0), OTHER_FD);
        need(epoll_ctl(OBJECT_FD, EPOLL_CTL_ADD, OTHER_FD, &event) == 0);
        return;
    }
    case K_MEMFD: place((int)syscall(SYS_memfd_create, "m", 0), OBJECT_FD); break;
    case K_PATH:
        close(file_with("f", "0123456789"));
        place(open("f", O_PATH), OBJECT_FD);
        break;
    case K_FIFO:
        need(mkfifo("p", RW) == 0);
        place(open("p", O_RDWR), OBJECT_FD);
        break;
    case K_PROC:
        need(prctl(PR_SET_NAME, "pairs") == 0); // by the first thread, whose name it is
        place(open("/proc/self/comm", O_RDWR), OBJECT_FD);
        break;
    case K_DEVICE:
        need(mknod("p", S_IFCHR | RW, makedev(1, 5)) == 0);
        place(open("p", O_RDWR), OBJECT_FD);
        break;
    case K_MASTER: {
        const int unlocked = 0;
        place(open(the_ptmx, O_RDWR | O_NOCTTY | O_NONBLOCK), OBJECT_FD);
        need(ioctl(OBJECT_FD, TIOCSPTLCK, &unlocked) == 0);
        place(ioctl(OBJECT_FD, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK), OTHER_FD);
        need(write(OTHER_FD, "line\n", 5) == 5);
        return;
    }
    case K_TTY: {
        static struct termios settings; // as they were at first
        const struct winsize size = {.ws_row = 24, .ws_col = 80};
        need(mknod("p", S_IFCHR | RW, makedev(4, 64)) == 0);
        place(open("p", O_RDWR | O_NOCTTY), OBJECT_FD);
        if (settings.c_cflag == 0)
            need(tcgetattr(OBJECT_FD, &settings) == 0);
        need(tcsetattr(OBJECT_FD, TCSANOW, &settings) == 0 && tcflow(OBJECT_FD, TCOON) == 0);
        need(ioctl(OBJECT_FD, TIOCSWINSZ, &size) == 0);
        break;
    }
    }
    place(file_with("g", "abcdefghij"), OTHER_FD);
}

static void object_make_name(struct object* o) {
    need(mkdir("d", 0700) == 0);
    // Not from the working directory, which a call may change.
    snprintf(o->x, sizeof o->x, "%.2000s/d/x", scratch_path);
    snprintf(o->y, sizeof o->y, "%.2000s/d/y", scratch_path);
    if (o->kind == K_NAME_FILE)
        close(file_with("d/x", "0123"));
    if (o->kind == K_NAME_DIR)
        need(mkdir("d/x", 0700) == 0);
    if (o->kind == K_NAME_LINK) {
        close(file_with("d/z", "0123"));
        need(symlink("z", "d/x") == 0);
    }
}

static void object_make_mapping(struct object* o) {
    int flags = o->kind == K_SHARED    ? MAP_SHARED | MAP_ANONYMOUS
                : o->kind == K_PRIVATE ? MAP_PRIVATE | MAP_ANONYMOUS
                                       : MAP_PRIVATE;
    char* p = mmap(at_object, 4 * PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED,
                   o->kind == K_MAPPED ? MEMORY_FILE_FD : -1, 0);
    need(p == at_object);
    for (int i = 0; i < 4; i++)
        if (i != 2)
            p[i * PAGE] = (char)('a' + i);
    o->id = (long)at_object;
    o->other = getpid();
}

static void sleep_until_killed(void) {
    for (;;)
        pause();
}

static void object_make(struct object* o, unsigned kind) {
    memset(o, 0, sizeof *o);
    o->kind = kind;
    if (kind & FD) {
        object_make_descriptor(o);
    } else if (kind & NAME) {
        object_make_name(o);
    } else if (kind & MAPPING) {
        object_make_mapping(o);
    } else if (kind == K_FUTEX) {
        unsigned* word = mmap(at_object, 2 * PAGE, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        need(word == (void*)at_object);
        word[0] = word[PAGE / 4] = 0;
        o->id = (long)at_object;
        o->other = (long)(at_object + PAGE);
    } else if (kind == K_TIMER) {
        int id;
        need(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &id) == 0);
        o->id = id;
    } else if (kind == K_SEGMENT) {
        o->id = shmget(KEY, PAGE, IPC_CREAT | IPC_EXCL | RW);
        need(o->id >= 0 && shmat((int)o->id, at_object, 0) == at_object);
    } else if (kind & PROCESS) {
        pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (kind == K_ZOMBIE)
                _exit(7);
            sleep_until_killed();
        }
        siginfo_t info;
        need(child > 0);
        if (kind == K_ZOMBIE)
            need(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
        o->id = child;
    } else if (kind == K_THREAD) {
        o->id = sleeping_thread;
        o->other = getpid();
    } else if (kind == K_SELF) {
        strcpy(o->x, "/proc/self/exe");
        o->id = getpid();
    }
}

// What ends a wait in a call as it should end.
TAP_UNUSED static void object_finish(struct object* o) {
    static char buffer[PAGE];
    if (o->kind == K_FILE) {
        struct flock l = whole_lock(F_UNLCK, 0, 0);
        fcntl(PROBE_FD, F_OFD_SETLK, &l);
        flock(PROBE_FD, LOCK_UN);
    } else if (o->kind == K_PIPE_R) {
        fcntl(OTHER_FD, F_SETFL, O_NONBLOCK);
        if (write(OTHER_FD, buffer, 16) != 16)
            errno = 0;
    } else if (o->kind == K_PIPE_W) {
        fcntl(OTHER_FD, F_SETFL, O_NONBLOCK);
        if (read(OTHER_FD, buffer, PAGE) != PAGE)
            errno = 0;
    } else if (o->kind == K_CHILD) {
        siginfo_t info;
        kill((pid_t)o->id, SIGKILL);
        waitid(P_PID, (id_t)o->id, &info, WEXITED | WNOWAIT); // unless a call has waited for it
    }
}

// An outcome: what two calls have returned, and what of it, and of the object, is compared.
struct text {
    long results[2];
    int waited_for; // how many of them have waited for the object
    char at[512];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void tell(struct text* t, const char* format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->at + t->used, sizeof t->at - t->used, format, args);
    va_end(args);
    t->used += (size_t)n < sizeof t->at - t->used ? (size_t)n : sizeof t->at - t->used - 1;
}

static void tell_descriptor(struct text* t, int fd) {
    struct stat st;
    if (fcntl(fd, F_GETFD) < 0) {
        tell(t, " %d closed", fd);
        return;
    }
    need(fstat(fd, &st) == 0);
    tell(t, " %d: %o %ld links %ld flags %x cloexec %d at %ld", fd, st.st_mode, (long)st.st_size,
         (long)st.st_nlink, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD), (long)lseek(fd, 0, SEEK_CUR));
    int waiting;
    if (S_ISFIFO(st.st_mode) && ioctl(fd, FIONREAD, &waiting) == 0)
        tell(t, " bytes %d of %d", waiting, fcntl(fd, F_GETPIPE_SZ));
    if (S_ISSOCK(st.st_mode) && ioctl(fd, FIONREAD, &waiting) == 0) {
        struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
        need(poll(&p, 1, 0) >= 0);
        tell(t, " bytes %d events %x", waiting, p.revents);
    }
    struct epoll_event e;
    int ready = epoll_wait(fd, &e, 1, 0);
    if (ready >= 0)
        tell(t, " ready %d", ready);
}

static void tell_name(struct text* t, const char* name) {
    struct stat st;
    if (lstat(name, &st) != 0)
        tell(t, " %s: errno %d", name, errno);
    else
        tell(t, " %s: %o %ld links %ld owner %d", name, st.st_mode,
             S_ISDIR(st.st_mode) ? 0 : (long)st.st_size, (long)st.st_nlink, st.st_uid);
}

static void tell_page(struct text* t, char* at) {
    char byte;
    struct iovec own = {&byte, 1}, theirs = {at, 1};
    if (syscall(SYS_process_vm_readv, getpid(), &own, 1L, &theirs, 1L, 0L) != 1)
        tell(t, " -");
    else
        tell(t, " %c%d",
             syscall(SYS_process_vm_writev, getpid(), &own, 1L, &theirs, 1L, 0L) == 1 ? 'w' : 'r',
             byte);
}

static void tell_locked(struct text* t) {
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    char* line = strstr(text, "VmLck:");
    tell(t, " locked %d", line ? atoi(line + 6) : -1);
}

// In what is told of an object, where no order of whatever calls leads.
#define IMPOSSIBLE "IMPOSSIBLE:"

// What anybody could see of the object now.
static void object_tell(const struct object* o, struct text* t) {
    struct shmid_ds ds;
    if (o->kind & FD) {
        need(fchdir(SCRATCH_FD) == 0);
        tell_descriptor(t, OBJECT_FD);
        tell_descriptor(t, OTHER_FD);
        tell_descriptor(t, FREE_FD);
        if (o->kind == K_FILE) {
            char data[16] = "";
            struct flock l = whole_lock(F_WRLCK, 0, 0);
            need(fcntl(PROBE_FD, F_OFD_GETLK, &l) == 0);
            if (l.l_type != F_UNLCK)
                tell(t, " lock %d %ld+%ld of %s", l.l_type, (long)l.l_start, (long)l.l_len,
                     l.l_pid == -1 ? "a file" : "a process");
            if (l.l_type != F_UNLCK && l.l_pid != -1 && fcntl(OBJECT_FD, F_GETFD) < 0)
                tell(t, " " IMPOSSIBLE " whose file is closed");
            tell(t, " flock %d", flock(PROBE_FD, LOCK_EX | LOCK_NB) == 0 ? 0 : errno);
            ssize_t n = pread(PROBE_FD, data, 15, 0);
            for (ssize_t i = 0; i < n; i++)
                tell(t, "%c", data[i] < ' ' ? '~' : data[i]);
        }
        struct termios settings;
        struct winsize size;
        if (o->kind == K_TTY && tcgetattr(OBJECT_FD, &settings) == 0 &&
            ioctl(OBJECT_FD, TIOCGWINSZ, &size) == 0)
            tell(t, " modes %x rows %d", settings.c_lflag, size.ws_row);
        if (o->kind == K_DIR) {
            tell_name(t, "d/x");
            tell_name(t, "d/y");
        }
        tell_name(t, "y");
    } else if (o->kind & NAME) {
        need(fchdir(SCRATCH_FD) == 0);
        tell_name(t, "d");
        tell_name(t, "d/x");
        tell_name(t, "d/y");
        tell_name(t, "d/z");
    } else if (o->kind & MAPPING) {
        for (int i = 0; i < 6; i++)
            tell_page(t, at_object + i * PAGE);
        tell(t, " at DEST");
        for (int i = 0; i < 6; i++)
            tell_page(t, at_other + i * PAGE);
        tell_locked(t);
    } else if (o->kind == K_FUTEX) {
        tell_page(t, at_object);
        tell_page(t, at_object + PAGE);
    } else if (o->kind == K_TIMER) {
        struct itimerspec its;
        long got = syscall(SYS_timer_gettime, (int)o->id, &its);
        tell(t, got == 0 ? its.it_value.tv_sec ? " armed" : " not armed" : " gone");
    } else if (o->kind == K_SEGMENT) {
        if (shmctl((int)o->id, IPC_STAT, &ds) != 0)
            tell(t, " gone");
        else
            tell(t, " mode %o attached %ld", ds.shm_perm.mode, (long)ds.shm_nattch);
        tell_page(t, at_object);
    } else if (o->kind == K_CHILD) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)o->id, &info, WEXITED | WNOWAIT | WNOHANG) != 0)
            tell(t, " errno %d", errno);
        else
            tell(t, " %d by %d", info.si_code, info.si_status);
    } else if (o->kind == K_ZOMBIE) {
        tell(t, " %d", kill((pid_t)o->id, 0) == 0 ? 0 : errno);
    }
}

static void object_end(struct object* o) {
    if (o->kind & NAME) // a mount at a name, if one was made
        while (umount2("d/x", 0) == 0 || umount2("d/y", 0) == 0)
            continue;
    need(fchdir(SCRATCH_FD) == 0);
    if (o->kind & MAPPING) {
        munlockall();
        while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
            continue;
    }
    if ((o->kind & MAPPING) || o->kind == K_FUTEX) {
        munmap(at_object, 16 * PAGE);
        munmap(at_other, 16 * PAGE);
    } else if (o->kind == K_TIMER) {
        syscall(SYS_timer_delete, (int)o->id);
    } else if (o->kind == K_SEGMENT) {
        shmctl((int)o->id, IPC_RMID, NULL);
        int id = shmget(KEY, 0, 0);
        if (id >= 0)
            shmctl(id, IPC_RMID, NULL);
        shmdt(at_object);
    } else if (o->kind & PROCESS) {
        kill((pid_t)o->id, SIGKILL);
    } else if (o->kind == K_THREAD) {
        setpriority(PRIO_PROCESS, (id_t)o->id, 0);
    }
    syscall(SYS_close_range, FIRST_MADE, ~0U, 0);
    while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
        continue;
    if (o->kind & (FD | NAME)) {
        chmod("d", 0700); // a call may have taken the right to what is in it
        static const char* const files[] = {"f", "g", "p", "x", "y", "d/x", "d/y", "d/z"};
        for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
            if (unlink(files[i]) != 0)
                rmdir(files[i]);
        rmdir("d");
    }
}
