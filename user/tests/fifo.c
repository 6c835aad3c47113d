// Fifos: pipes with a name. Opening waits for the other end.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <poll.h>

static short events(int fd) {
    struct pollfd p = {fd, POLLIN | POLLOUT, 0};
    need(poll(&p, 1, 0) >= 0);
    return p.revents;
}

static void blocking(void) {
    need(mkfifo("f", 0600) == 0);
    struct stat st;
    need(stat("f", &st) == 0);
    ok(S_ISFIFO(st.st_mode), "stat says that it is one");
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        int out = open("f", O_WRONLY);
        need(out >= 0 && write(out, "through", 7) == 7);
        _exit(0);
    }
    char text[16];
    int in = open("f", O_RDONLY);
    ok(in >= 0, "a reader and a writer wait for each other");
    is(read(in, text, sizeof text), 7, "what the writer wrote");
    need(waitpid(child, NULL, 0) == child);
    is(read(in, text, sizeof text), 0, "then the end");
    ok(events(in) & POLLHUP, "which poll knows");
    int out = open("f", O_WRONLY | O_NONBLOCK);
    ok(out >= 0, "another writer");
    is(events(in), 0, "and it goes on");
    is(write(out, "x", 1), 1, "as before");
    is(read(in, text, sizeof text), 1, "with bytes");
    is_errno(lseek(in, 0, SEEK_CUR), ESPIPE, "but without a place");
}

static void without_blocking(void) {
    need(mkfifo("g", 0600) == 0);
    is_errno(open("g", O_WRONLY | O_NONBLOCK), ENXIO, "a writer without a reader");
    int in = open("g", O_RDONLY | O_NONBLOCK);
    ok(in >= 0, "a reader does not wait");
    char c;
    is(read(in, &c, 1), 0, "and finds the end");
    is(events(in), 0, "but nobody has hung up");
    int out = open("g", O_WRONLY | O_NONBLOCK);
    ok(out >= 0, "now a writer");
    is_errno(read(in, &c, 1), EAGAIN, "nothing yet");
    need(write(out, "left", 4) == 4);
    close(in);
    is_errno((signal(SIGPIPE, SIG_IGN), write(out, "x", 1)), EPIPE, "the reader is gone");
    close(out);
    in = open("g", O_RDONLY | O_NONBLOCK);
    is(read(in, &c, 1), 0, "what nobody read is gone with the last descriptor");
    close(in);
    int both = open("g", O_RDWR);
    ok(both >= 0, "both ends at once");
    is(write(both, "y", 1), 1, "write");
    is(read(both, &c, 1), 1, "and read");
}

static void interrupted(int signo) { (void)signo; }

static void signals(void) {
    need(mkfifo("h", 0600) == 0);
    struct sigaction action = {.sa_handler = interrupted};
    need(sigaction(SIGALRM, &action, NULL) == 0);
    alarm(1);
    is_errno(open("h", O_RDONLY), EINTR, "a signal ends the wait");
}

int main(void) {
    scratch_begin();
    subtest("blocking", blocking);
    subtest("without blocking", without_blocking);
    subtest("signals", signals);
    return done();
}
