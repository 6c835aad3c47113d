// Pseudo-terminals: a master and its terminal, by /dev/ptmx and /dev/pts.
#include "../lib/counts.h"
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

static int master, slave;

static void open_pair(void) {
    master = posix_openpt(O_RDWR | O_NOCTTY);
    need(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    need(slave >= 0);
}

static void close_pair(void) {
    close(slave);
    close(master);
}

static void raw(void) {
    struct termios t;
    need(tcgetattr(slave, &t) == 0);
    cfmakeraw(&t);
    need(tcsetattr(slave, TCSANOW, &t) == 0);
}

static int events(int fd) {
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLPRI, 0};
    need(poll(&p, 1, 0) >= 0);
    return p.revents;
}

// What comes, until it is `text`: Linux hands it over a little later.
static int gets(int fd, const char* text) {
    char got[256];
    size_t n = 0;
    while (n < strlen(text)) {
        struct pollfd p = {fd, POLLIN, 0};
        need(poll(&p, 1, 20000) == 1);
        long more = read(fd, got + n, strlen(text) - n);
        if (more <= 0)
            break;
        n += (size_t)more;
    }
    return n == strlen(text) && memcmp(got, text, n) == 0;
}

static void names(void) {
    struct stat of, by_name;
    int m = open("/dev/ptmx", O_RDWR | O_NOCTTY), number = -1, lock = 0;
    need(m >= 0);
    is(ioctl(m, TIOCGPTN, &number), 0, "a number");
    ok(number >= 0, "of its own: %d", number);
    char* name = ptsname(m);
    ok(name && strncmp(name, "/dev/pts/", 9) == 0 && atoi(name + 9) == number, "its name: %s",
       name);
    is_errno(open(name, O_RDWR | O_NOCTTY), EIO, "locked");
    is(ioctl(m, TIOCSPTLCK, &lock), 0, "unlocked");
    int s = open(name, O_RDWR | O_NOCTTY);
    ok(s >= 0, "open");
    need(fstat(s, &of) == 0 && stat(name, &by_name) == 0);
    ok(S_ISCHR(of.st_mode) && of.st_ino == by_name.st_ino && of.st_dev == by_name.st_dev,
       "one node");
    is(major(of.st_rdev), 136, "its device");
    is(minor(of.st_rdev), number, "and number");
    is(of.st_uid, geteuid(), "the caller's");
    char known[32];
    ok(ttyname_r(s, known, sizeof known) == 0 && strcmp(known, name) == 0, "ttyname");
    is(isatty(m), 1, "both are terminals");
    int peer = ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    ok(peer >= 0 && fstat(peer, &of) == 0 && of.st_ino == by_name.st_ino, "TIOCGPTPEER");
    is(fcntl(peer, F_GETFD), FD_CLOEXEC, "closed by exec");
    close(peer);
    is_errno(ioctl(s, TIOCGPTN, &number), ENOTTY, "the terminal has none");
    is_errno(ioctl(m, TIOCGPTN, NULL), EFAULT, "nowhere");
    is_errno(open("/dev/pts/new", O_CREAT | O_RDWR, 0600), EACCES, "no other names");
    close(m);
    is_errno(stat(name, &of), ENOENT, "gone with its master");
    close(s);
}

static void lines(void) {
    char text[64];
    open_pair();
    need(write(master, "hello\n", 6) == 6);
    is(read(slave, text, sizeof text), 6, "a line");
    ok(gets(master, "hello\r\n"), "and its echo");
    need(write(slave, "out\n", 4) == 4);
    ok(gets(master, "out\r\n"), "output is processed");
    need(write(master, "wronx\x7fg\n", 8) == 8);
    is(read(slave, text, sizeof text), 6, "edited");
    ok(memcmp(text, "wrong\n", 6) == 0, "as a line");
    ok(gets(master, "wronx\b \bg\r\n"), "which is seen");
    need(write(master, "\x04", 1) == 1);
    is(read(slave, text, sizeof text), 0, "the end of a file");
    struct termios t, seen;
    need(tcgetattr(slave, &t) == 0);
    t.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
    is(tcsetattr(master, TCSAFLUSH, &t), 0, "set by the master");
    need(tcgetattr(slave, &seen) == 0);
    is(seen.c_lflag, t.c_lflag, "for the terminal");
    need(write(master, "x", 1) == 1);
    is(read(slave, text, sizeof text), 1, "a byte at once");
    is_errno((fcntl(master, F_SETFL, O_NONBLOCK), read(master, text, 1)), EAGAIN, "no echo");
    is(read(master, text, 0), 0, "nothing wanted");
    need(write(slave, "abc", 3) == 3);
    struct pollfd p = {master, POLLIN, 0};
    need(poll(&p, 1, 20000) == 1);
    int n = 0;
    is(ioctl(master, FIONREAD, &n), 0, "FIONREAD");
    is(n, 3, "bytes");
    is(read(master, text, sizeof text), 3, "which are read");
    is(tcdrain(slave), 0, "all has left");
    close_pair();
}

static void ends(void) {
    char text[16];
    open_pair();
    raw();
    is(events(master), POLLOUT, "nothing yet");
    need(write(slave, "last", 4) == 4);
    close(slave);
    ok(events(master) & POLLHUP, "the terminal is closed");
    ok(gets(master, "last"), "what it had sent is there");
    is_errno(read(master, text, 1), EIO, "and then no more");
    is(write(master, "one ", 4), 4, "nobody reads");
    slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    ok(slave >= 0, "open again");
    is(events(master) & POLLHUP, 0, "as before");
    need(write(master, "more", 4) == 4);
    ok(gets(slave, "one more"), "with its settings, and what has come");
    int n = -1;
    ioctl(master, TIOCGPTN, &n);
    close(master);
    is(read(slave, text, 1), 0, "the master is closed: the end");
    is_errno(write(slave, "x", 1), EIO, "no output");
    struct termios t;
    is_errno(tcgetattr(slave, &t), EIO, "no settings");
    ok((events(slave) & (POLLHUP | POLLERR | POLLIN)) == (POLLHUP | POLLERR | POLLIN),
       "told by poll");
    master = posix_openpt(O_RDWR);
    int other = -1;
    ioctl(master, TIOCGPTN, &other);
    ok(n != other, "its number is not given again while it is open");
    close_pair();
    master = posix_openpt(O_RDWR);
    fcntl(master, F_SETFL, O_NONBLOCK);
    is_errno(read(master, text, 1), EAGAIN, "before it was open");
    is(write(master, "x", 1), 1, "it may yet be");
    close(master);
}

static void full(void) {
    static char block[65536];
    open_pair();
    raw();
    fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK);
    fcntl(slave, F_SETFL, O_RDWR | O_NONBLOCK);
    long out = 0, in = 0, n;
    while ((n = write(slave, block, sizeof block)) > 0)
        out += n;
    ok(n < 0 && errno == EAGAIN, "the terminal's output is full");
    is(events(slave) & POLLOUT, 0, "for poll too");
    pid_t waits = fork();
    if (waits == 0) {
        struct pollfd p = {slave, POLLOUT, 0};
        _exit(poll(&p, 1, 20000) == 1 ? 0 : 1);
    }
    while (in < out) {
        struct pollfd p = {master, POLLIN, 0};
        need(poll(&p, 1, 20000) == 1);
        n = read(master, block, sizeof block);
        need(n > 0);
        in += n;
    }
    is(in, out, "all of it comes");
    is_exit(reap(waits), 0, "and there is room again");
    while ((n = write(master, block, sizeof block)) > 0)
        ;
    ok(n < 0 && errno == EAGAIN, "the master's, too");
    close_pair();
}

static void packets(void) {
    char text[16];
    int on = 1, is_on = 0;
    open_pair();
    raw();
    is(ioctl(master, TIOCPKT, &on), 0, "TIOCPKT");
    is(ioctl(master, TIOCGPKT, &is_on), 0, "TIOCGPKT");
    is(is_on, 1, "on");
    need(write(slave, "ab", 2) == 2);
    struct pollfd p = {master, POLLIN, 0};
    need(poll(&p, 1, 20000) == 1);
    is(read(master, text, 16), 3, "data");
    ok(memcmp(text, "\0ab", 3) == 0, "behind a zero");
    need(tcflush(slave, TCIFLUSH) == 0);
    is(events(master) & (POLLPRI | POLLIN), POLLPRI | POLLIN, "something happens");
    is(read(master, text, 16), 1, "a byte alone");
    is(text[0], TIOCPKT_FLUSHREAD, "TIOCPKT_FLUSHREAD");
    need(tcflow(slave, TCOOFF) == 0);
    is(read(master, text, 16), 1, "a byte");
    is(text[0], TIOCPKT_STOP, "TIOCPKT_STOP");
    need(tcflow(slave, TCOON) == 0 && read(master, text, 16) == 1);
    is(text[0], TIOCPKT_START, "TIOCPKT_START");
    struct termios t;
    need(tcgetattr(slave, &t) == 0);
    t.c_iflag |= IXON;
    need(tcsetattr(slave, TCSANOW, &t) == 0 && read(master, text, 16) == 1);
    is(text[0], TIOCPKT_DOSTOP, "TIOCPKT_DOSTOP");
    t.c_iflag &= ~(tcflag_t)IXON;
    need(tcsetattr(slave, TCSANOW, &t) == 0 && read(master, text, 16) == 1);
    is(text[0], TIOCPKT_NOSTOP, "TIOCPKT_NOSTOP");
    is_errno(ioctl(slave, TIOCPKT, &on), ENOTTY, "not the terminal's");
    close_pair();
}

static volatile sig_atomic_t windows, hangs;
static void count_window(int unused) { (void)unused, windows++; }
static void count_hang(int unused) { (void)unused, hangs++; }

// Leads a session with the terminal, in a new process.
static pid_t session(void (*body)(void)) {
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        close(master);
        need(setsid() > 0 && ioctl(slave, TIOCSCTTY, 0) == 0);
        body();
        _exit(0);
    }
    return child;
}

static void wait_for(volatile sig_atomic_t* count) {
    for (int i = 0; !*count && i < 20000; i++)
        usleep(1000);
}

static void leads(void) {
    struct winsize size;
    signal(SIGWINCH, count_window);
    signal(SIGHUP, count_hang);
    int own = open("/dev/tty", O_RDWR);
    need(own >= 0 && tcgetpgrp(own) == getpid() && tcgetsid(slave) == getpid());
    need(write(slave, "ready", 5) == 5);
    wait_for(&windows);
    need(ioctl(slave, TIOCGWINSZ, &size) == 0 && size.ws_row == 50 && size.ws_col == 132);
    need(write(slave, "sized", 5) == 5);
    wait_for(&hangs);
    need(hangs == 1 && read(slave, &size, 1) == 0);
    need(open("/dev/tty", O_RDWR) < 0 && errno == ENXIO);
    _exit(7);
}

static void sessions(void) {
    open_pair();
    raw();
    struct winsize size = {50, 132, 0, 0};
    pid_t child = session(leads);
    ok(gets(master, "ready"), "a session of its own");
    is(tcgetpgrp(master), child, "its group, asked by the master");
    pid_t sid = 0;
    is(ioctl(master, TIOCGSID, &sid), 0, "and its session");
    is(sid, child, "which it leads");
    is(ioctl(master, TIOCSWINSZ, &size), 0, "another size");
    ok(gets(master, "sized"), "SIGWINCH");
    close_pair();
    is_exit(reap(child), 7, "SIGHUP when the master is closed, and no terminal any more");
}

static void reads_line(void) {
    char text[16];
    signal(SIGINT, SIG_DFL);
    need(write(slave, "ready", 5) == 5);
    for (;;)
        need(read(slave, text, 16) > 0 || errno == EINTR);
}

static void typed_signals(void) {
    open_pair();
    pid_t child = session(reads_line);
    ok(gets(master, "ready"), "a program reads");
    need(write(master, "\x03", 1) == 1);
    int status = reap(child);
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, "^C");
    child = session(reads_line);
    ok(gets(master, "^Cready"), "another one");
    is(ioctl(master, TIOCSIG, SIGQUIT), 0, "TIOCSIG");
    status = reap(child);
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGQUIT, "SIGQUIT");
    is_errno(ioctl(master, TIOCSIG, 1000), EINVAL, "no signal");
    close_pair();
}

static void stops_in_background(void) {
    char byte;
    pid_t job = fork();
    if (job == 0) {
        setpgid(0, 0);
        (void)!read(slave, &byte, 1);
        _exit(0);
    }
    int status;
    setpgid(job, job);
    need(waitpid(job, &status, WUNTRACED) == job && WIFSTOPPED(status) &&
         WSTOPSIG(status) == SIGTTIN);
    signal(SIGTTOU, SIG_IGN);
    need(tcsetpgrp(slave, job) == 0 && kill(-job, SIGCONT) == 0);
    need(write(slave, "go", 2) == 2);
    need(waitpid(job, &status, 0) == job && WIFEXITED(status));
    need(tcsetpgrp(slave, getpid()) == 0);
    need(ioctl(slave, TIOCNOTTY) == 0);
    need(open("/dev/tty", O_RDWR) < 0 && errno == ENXIO);
    _exit(9);
}

static void job_control(void) {
    open_pair();
    signal(SIGHUP, SIG_IGN); // TIOCNOTTY sends it
    pid_t child = session(stops_in_background);
    ok(gets(master, "go"), "a job in the foreground");
    need(write(master, "\n", 1) == 1);
    is_exit(reap(child), 9, "SIGTTIN, tcsetpgrp, TIOCNOTTY");
    signal(SIGHUP, SIG_DFL);
    close_pair();
}

// The end of a session: its foreground group hears of it, and the terminal is free for another one.
static void leaves(void) {
    int told[2];
    char byte;
    need(pipe(told) == 0);
    signal(SIGHUP, SIG_DFL);
    if (fork() == 0) {
        setpgid(0, 0);
        signal(SIGTTOU, SIG_IGN);
        need(tcsetpgrp(slave, getpid()) == 0);
        need(write(told[1], "x", 1) == 1);
        pause();
    }
    need(read(told[0], &byte, 1) == 1);
    _exit(3);
}

static void last_session(void) {
    open_pair();
    raw();
    is_exit(reap(session(leaves)), 3, "a leader ends");
    is(tcgetpgrp(master), 0, "nobody is in the foreground");
    need(write(slave, "still", 5) == 5);
    ok(gets(master, "still"), "other descriptions go on");
    is_exit(reap(session(leaves)), 3, "another session has it");
    close(slave);
    char byte;
    is_errno((poll(&(struct pollfd){master, POLLIN, 0}, 1, 20000), read(master, &byte, 1)), EIO,
             "its jobs have ended by SIGHUP");
    close(master);
}

static void by_epoll(void) {
    open_pair();
    raw();
    int e = epoll_create1(0);
    struct epoll_event event = {EPOLLIN | EPOLLET, {.fd = master}};
    need(epoll_ctl(e, EPOLL_CTL_ADD, master, &event) == 0);
    is(epoll_wait(e, &event, 1, 0), 0, "nothing");
    for (int i = 0; i < 2; i++) {
        need(write(slave, "x", 1) == 1);
        is(epoll_wait(e, &event, 1, 20000), 1, "an edge");
    }
    need(gets(master, "xx"));
    close(slave);
    ok(epoll_wait(e, &event, 1, 20000) == 1 && (event.events & EPOLLHUP), "the end");
    close(e);
    close(master);
}

// ---- Hostile

static void limits(void) {
    need(geteuid() != 0 || setuid(65534) == 0);
    int n = 0, fd, last = -1;
    while (n < 5000 && (fd = open("/dev/ptmx", O_RDWR | O_NOCTTY)) >= 0) {
        last = fd;
        n++;
    }
    const int error = errno;
    ok(n < 5000, "too many: %s", strerror(error));
    if (!on_spork()) {
        skip("the limit is another one here");
        return;
    }
    is(error, ENOSPC, "ENOSPC");
    is(n, 256, "of a user");
    for (fd = last - n + 1; fd <= last; fd++)
        close(fd);
    ok(posix_openpt(O_RDWR | O_NOCTTY) >= 0, "there are some again");
}

enum { ROUNDS = 150 };
static _Atomic int shared[2];
static _Atomic bool over;

static void* uses(void* which) {
    char text[64];
    bool reads = ((long)which & 1) != 0;
    while (!over) {
        int fd = shared[(long)which / 2];
        struct winsize size = {(unsigned short)rand(), 80, 0, 0};
        if (reads)
            (void)!read(fd, text, sizeof text);
        else
            (void)!write(fd, "some\x12\x15text\n\x03", 13);
        ioctl(fd, TIOCSWINSZ, &size);
        tcflush(fd, TCIOFLUSH);
        int peer = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK);
        if (peer >= 0)
            close(peer);
    }
    return NULL;
}

// Four threads use both ends, which are closed under them.
static void races(void) {
    pthread_t t[4];
    over = false;
    shared[0] = shared[1] = -1;
    for (long i = 0; i < 4; i++)
        need(pthread_create(&t[i], NULL, uses, (void*)i) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        open_pair();
        fcntl(master, F_SETFL, O_NONBLOCK);
        fcntl(slave, F_SETFL, O_NONBLOCK);
        shared[0] = master;
        shared[1] = slave;
        pid_t child = i % 10 == 0 ? fork() : -1;
        if (child == 0) {
            close(slave);
            close(master);
            _exit(0);
        }
        usleep(200);
        close(i % 2 ? master : slave);
        close(i % 2 ? slave : master);
        if (child > 0)
            reap(child);
    }
    over = true;
    for (int i = 0; i < 4; i++)
        need(pthread_join(t[i], NULL) == 0);
    ok(1, "all came to their end");
}

static void all_again(const void* unused) {
    (void)unused;
    names();
    lines();
    ends();
    sessions();
    last_session();
}

static void nothing_left(void) {
    if (!on_spork()) {
        skip("what the kernel holds is not told here");
        return;
    }
    is(counts_left_by(all_again, NULL), 0, "nothing is left of all this");
}

int main(void) {
    signal(SIGTTOU, SIG_DFL);
    subtest("names", names);
    subtest("lines", lines);
    subtest("ends", ends);
    subtest("full", full);
    subtest("packets", packets);
    subtest("sessions", sessions);
    subtest("typed signals", typed_signals);
    subtest("job control", job_control);
    subtest("the end of a session", last_session);
    subtest("epoll", by_epoll);
    subtest("limits", limits);
    subtest("races", races);
    subtest("nothing left", nothing_left);
    return done();
}
