// poll, ppoll, select and pselect on pipes and files.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <poll.h>
#include <sys/select.h>

static int in, out; // of a pipe

static void make_pipe(void) {
    int fd[2];
    need(pipe2(fd, O_NONBLOCK) == 0);
    in = fd[0];
    out = fd[1];
}

static int events(int fd, int wanted, int timeout) {
    struct pollfd p = {fd, (short)wanted, 0x7f};
    int n = poll(&p, 1, timeout);
    need(n == (p.revents != 0));
    return p.revents;
}

static void pipe_events(void) {
    static char block[65536];
    make_pipe();
    is(events(in, POLLIN | POLLOUT, 0), 0, "an empty pipe: nothing to read");
    is(events(out, POLLIN | POLLOUT, 0), POLLOUT, "and room to write");
    need(write(out, "x", 1) == 1);
    is(events(in, POLLIN | POLLOUT, 0), POLLIN, "a byte to read");
    is(events(in, 0, 0), 0, "for which nobody asks");
    while (write(out, block, sizeof block) > 0)
        continue;
    is(events(out, POLLOUT, 0), 0, "a full pipe: no room");
    need(read(in, block, sizeof block) > 0);
    is(events(out, POLLOUT, 0), POLLOUT, "read: there is room");
    while (read(in, block, sizeof block) > 0)
        continue;
    close(out);
    is(events(in, POLLIN, 0), POLLHUP, "no writer left");
    is(events(in, 0, 0), POLLHUP, "which is said unasked");
    close(in);
    make_pipe();
    close(in);
    is(events(out, POLLOUT, 0), POLLOUT | POLLERR, "no reader left");
}

static void other_events(void) {
    put_file("file", 0600, "");
    is(events(open("file", O_RDWR), POLLIN | POLLOUT, -1), POLLIN | POLLOUT,
       "a file is always ready");
    is(events(open("/dev/null", O_RDWR), POLLIN | POLLOUT, -1), POLLIN | POLLOUT,
       "and so is /dev/null");
    is(events(900, POLLIN, -1), POLLNVAL, "a descriptor that is not open");
    is(events(-1, POLLIN, 0), 0, "a negative one is left out");
    is(poll(NULL, 0, 0), 0, "none at all");
}

static void several(void) {
    make_pipe();
    int in1 = in, out1 = out;
    make_pipe();
    struct pollfd p[4] = {{in1, POLLIN, 0}, {-1, POLLIN, 0}, {in, POLLIN, 0}, {out, POLLOUT, 0}};
    is(poll(p, 4, -1), 1, "one of several");
    ok(p[0].revents == 0 && p[2].revents == 0 && p[3].revents == POLLOUT, "the right one");
    need(write(out1, "x", 1) == 1);
    is(poll(p, 3, -1), 1, "another one");
    ok(p[0].revents == POLLIN && p[2].revents == 0, "the right one");
}

static void write_when_asleep(void* parent) {
    need(eventually(proc_state((pid_t)(intptr_t)parent) == 'S'));
    need(write(out, "x", 1) == 1);
}

static void waking(void) {
    make_pipe();
    pid_t child = spawn(write_when_asleep, (void*)(intptr_t)getpid());
    is(events(in, POLLIN, -1), POLLIN, "poll sleeps until there is something");
    is_exit(reap(child), 0, "which a child wrote");
    make_pipe();
    child = spawn(write_when_asleep, (void*)(intptr_t)getpid());
    fd_set set;
    FD_ZERO(&set);
    FD_SET(in, &set);
    is(select(in + 1, &set, NULL, NULL, NULL), 1, "so does select");
    ok(FD_ISSET(in, &set), "and says where");
    reap(child);
}

static void time_outs(void) {
    make_pipe();
    int64_t start = now_ns();
    is(events(in, POLLIN, 30), 0, "poll gives up");
    ok(now_ns() - start >= 30000000, "not before its time");
    start = now_ns();
    is(poll(NULL, 0, 20), 0, "with nothing to wait for too");
    ok(now_ns() - start >= 20000000, "not before its time");
    start = now_ns();
    struct pollfd p = {in, POLLIN, 0};
    is(ppoll(&p, 1, &(struct timespec){0, 15000000}, NULL), 0, "ppoll");
    ok(now_ns() - start >= 15000000, "not before its time");
    start = now_ns();
    struct timeval t = {0, 15000};
    is(select(0, NULL, NULL, NULL, &t), 0, "select");
    ok(now_ns() - start >= 15000000, "not before its time");
    is_errno(ppoll(&p, 1, &(struct timespec){-1, 0}, NULL), EINVAL, "a negative time");
    is_errno(ppoll(&p, 1, &(struct timespec){0, 1000000000}, NULL), EINVAL, "too many nanoseconds");
}

static void sets(void) {
    fd_set reading, writing;
    make_pipe();
    FD_ZERO(&reading);
    FD_ZERO(&writing);
    FD_SET(in, &reading);
    FD_SET(out, &writing);
    is(select(out + 1, &reading, &writing, NULL, NULL), 1, "select: room to write");
    ok(!FD_ISSET(in, &reading) && FD_ISSET(out, &writing), "and nothing to read");
    need(write(out, "x", 1) == 1);
    FD_SET(in, &reading);
    is(select(out + 1, &reading, &writing, NULL, &(struct timeval){0, 0}), 2, "both are counted");
    close(out);
    need(read(in, &(char){0}, 1) == 1);
    FD_ZERO(&reading);
    FD_SET(in, &reading);
    is(select(in + 1, &reading, NULL, NULL, NULL), 1, "the end can be read");
    FD_SET(out, &reading);
    is_errno(select(out + 1, &reading, NULL, NULL, NULL), EBADF, "one that is not open");
    int high = fcntl(in, F_DUPFD, 200);
    FD_ZERO(&reading);
    FD_SET(high, &reading);
    is(select(high + 1, &reading, NULL, NULL, NULL), 1, "a high number");
    ok(FD_ISSET(high, &reading), "is found");
    FD_SET(high, &reading);
    is(select(high, &reading, NULL, NULL, &(struct timeval){0, 0}), 0, "the first argument limits");
}

static volatile sig_atomic_t handled;

static void handler(int signo) { handled += signo == SIGUSR1; }

// The mask of ppoll and pselect holds while they wait, and no longer.
static void masks(void) {
    sigset_t blocked, none, now;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    make_pipe();
    struct pollfd p = {in, POLLIN, 0};
    raise(SIGUSR1);
    is_errno(ppoll(&p, 1, NULL, &none), EINTR, "ppoll lets a pending signal through");
    is(handled, 1, "to its handler");
    raise(SIGUSR1);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(in, &set);
    is_errno(pselect(in + 1, &set, NULL, NULL, NULL, &none), EINTR, "so does pselect");
    is(handled, 2, "to its handler");
    sigprocmask(SIG_BLOCK, NULL, &now);
    ok(sigismember(&now, SIGUSR1), "then the mask is as it was");
    raise(SIGUSR1);
    need(write(out, "x", 1) == 1);
    is(ppoll(&p, 1, NULL, &blocked), 1, "what is ready comes first");
    is(handled, 2, "a signal that stays blocked is not handled");
}

int main(void) {
    scratch_begin();
    subtest("events of pipes", pipe_events);
    subtest("events of other files", other_events);
    subtest("several at once", several);
    subtest("sleeping and waking", waking);
    subtest("time-outs", time_outs);
    subtest("select", sets);
    subtest("signal masks", masks);
    return done();
}
