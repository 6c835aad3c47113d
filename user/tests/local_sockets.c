// Local sockets: pairs, streams, datagrams, names, files that travel, and ends that die.
#include "../lib/counts.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"
#include "../lib/spork.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

static int two[2];

static void make_pair(int type) { need(socketpair(AF_UNIX, type, 0, two) == 0); }

static void close_pair(void) {
    close(two[0]);
    close(two[1]);
}

static int events(int fd) {
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    need(poll(&p, 1, 0) >= 0);
    return p.revents;
}

static void bytes(void) {
    char text[64];
    make_pair(SOCK_STREAM);
    is(write(two[0], "first", 5), 5, "write");
    is(send(two[0], "second", 6, 0), 6, "send");
    is(recv(two[1], text, 3, MSG_PEEK), 3, "a look");
    is(recv(two[1], text, sizeof text, MSG_PEEK), 11, "at all there is");
    int n = 0;
    is(ioctl(two[1], FIONREAD, &n) == 0 && n == 11, 1, "which FIONREAD counts");
    is(read(two[1], text, 3), 3, "read less");
    is(read(two[1], text + 3, 60), 8, "and more");
    is(memcmp(text, "firstsecond", 11), 0, "a stream has no seams");
    is_errno(recv(two[1], text, 1, MSG_DONTWAIT), EAGAIN, "empty");
    is(write(two[1], "back", 4), 4, "the other way");
    is(read(two[0], text, 9), 4, "likewise");
    is_errno(lseek(two[0], 0, SEEK_CUR), ESPIPE, "no place");
    is_errno(pread(two[0], text, 1, 0), ESPIPE, "for pread");
    struct stat st;
    ok(fstat(two[0], &st) == 0 && S_ISSOCK(st.st_mode), "stat says that it is one");
    is(events(two[0]), POLLOUT, "room");
    need(write(two[1], "x", 1) == 1);
    is(events(two[0]), POLLOUT | POLLIN, "and a byte");
    is_errno(socketpair(AF_UNIX, SOCK_STREAM, 99, two), EPROTONOSUPPORT, "a protocol");
    is_errno(socketpair(AF_UNIX, 77, 0, two), EINVAL, "a type");
    is_errno(socketpair(AF_UNIX, 4, 0, two), ESOCKTNOSUPPORT, "that there is not");
    is_errno(socket(77, SOCK_STREAM, 0), EAFNOSUPPORT, "a family");
    is_errno(send(0, "x", 1, 0), ENOTSOCK, "no socket");
}

static void full(void) {
    static char block[65536];
    make_pair(SOCK_STREAM | SOCK_NONBLOCK);
    long sent = 0, n, got = 0;
    while ((n = write(two[0], block, sizeof block)) > 0)
        sent += n;
    is(errno, EAGAIN, "full");
    ok(sent > 65536 && sent < 2000000, "after %ld bytes", sent);
    is(events(two[0]), 0, "no room");
    while ((n = read(two[1], block, sizeof block)) > 0)
        got += n;
    is(got, sent, "all arrive");
    is(events(two[0]), POLLOUT, "room again");
    close_pair();
    make_pair(SOCK_STREAM);
    pid_t child = fork();
    if (child == 0) {
        close(two[1]);
        for (int i = 0; i < 50; i++)
            need(write(two[0], block, sizeof block) == (long)sizeof block);
        _exit(0);
    }
    close(two[0]);
    got = 0;
    while ((n = recv(two[1], block, 10000, MSG_WAITALL)) > 0)
        got += n;
    is(got, 50L * 65536, "a writer waits for room");
    need(waitpid(child, NULL, 0) == child);
    int size = 5000;
    socklen_t length = sizeof size;
    make_pair(SOCK_STREAM);
    is(setsockopt(two[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0, "less room");
    is(getsockopt(two[0], SOL_SOCKET, SO_SNDBUF, &size, &length) == 0 && size == 10000, 1, "twice");
    struct timeval t = {0, 20000};
    need(setsockopt(two[1], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0);
    is_errno(read(two[1], block, 1), EAGAIN, "a time that ends");
}

static void ends(void) {
    char text[8];
    signal(SIGPIPE, SIG_IGN);
    make_pair(SOCK_STREAM);
    need(write(two[0], "x", 1) == 1);
    close(two[0]);
    is(events(two[1]), POLLIN | POLLOUT | POLLHUP | POLLRDHUP, "the peer is gone");
    is(read(two[1], text, 8), 1, "what it sent is there");
    is(read(two[1], text, 8), 0, "and then the end");
    is_errno(write(two[1], "x", 1), EPIPE, "nobody reads");
    close(two[1]);
    make_pair(SOCK_STREAM);
    need(write(two[0], "x", 1) == 1);
    close(two[1]);
    is_errno(read(two[0], text, 8), ECONNRESET, "it did not read all");
    is(read(two[0], text, 8), 0, "which is told once");
    close(two[0]);
    make_pair(SOCK_STREAM);
    need(write(two[0], "x", 1) == 1);
    is(shutdown(two[0], SHUT_WR), 0, "half of it");
    is_errno(write(two[0], "x", 1), EPIPE, "no more");
    is(events(two[1]), POLLIN | POLLOUT | POLLRDHUP, "seen from there");
    is(read(two[1], text, 8), 1, "what was sent before");
    is(read(two[1], text, 8), 0, "and the end");
    is(write(two[1], "y", 1), 1, "the other half");
    is(read(two[0], text, 8), 1, "is open");
    is_errno(shutdown(two[0], 7), EINVAL, "a half that is none");
    close_pair();
    signal(SIGPIPE, SIG_DFL);
    make_pair(SOCK_STREAM);
    close(two[1]);
    pid_t child = fork();
    if (child == 0) {
        need(send(two[0], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
        (void)!write(two[0], "x", 1);
        _exit(0);
    }
    int status;
    need(waitpid(child, &status, 0) == child);
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE, "a signal for who does not look");
}

static void packets(int type, const char* name) {
    char text[8];
    make_pair(type);
    need(send(two[0], "abcdef", 6, 0) == 6 && send(two[0], "gh", 2, 0) == 2);
    is(recv(two[1], text, 3, MSG_PEEK | MSG_TRUNC), 6, "%s: how long it is", name);
    struct iovec v = {text, 3};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    is(recvmsg(two[1], &m, 0), 3, "a part of it");
    is(m.msg_flags, MSG_TRUNC, "which is said");
    is(recv(two[1], text, 8, 0), 2, "the rest is lost");
    is(send(two[0], "", 0, 0), 0, "an empty one");
    is(recv(two[1], text, 8, 0), 0, "arrives");
    static char large[300000];
    is_errno(send(two[0], large, sizeof large, 0), EMSGSIZE, "too large");
    int n = 0;
    while (send(two[0], large, 1000, MSG_DONTWAIT) == 1000)
        n++;
    ok(errno == EAGAIN && n >= 10, "full (%d)", n);
    close(two[1]);
    is_errno(send(two[0], "x", 1, MSG_NOSIGNAL), type == SOCK_DGRAM ? ECONNREFUSED : ECONNRESET,
             "nobody is there, who has not read all");
    is_errno(send(two[0], "x", 1, MSG_NOSIGNAL), type == SOCK_DGRAM ? ENOTCONN : EPIPE,
             "nor will be");
}

static void messages(void) {
    packets(SOCK_DGRAM, "datagrams");
    packets(SOCK_SEQPACKET, "a sequence");
}

static socklen_t named(struct sockaddr_un* a, const char* name) {
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    strcpy(a->sun_path + (*name == '@'), name + (*name == '@'));
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + (*name != '@'));
}

static int listener(const char* name, int type, int backlog) {
    struct sockaddr_un a;
    int s = socket(AF_UNIX, type, 0);
    socklen_t n = named(&a, name);
    need(s >= 0 && bind(s, (void*)&a, n) == 0 && listen(s, backlog) == 0);
    return s;
}

static int to(int s, const char* name) {
    struct sockaddr_un a;
    socklen_t n = named(&a, name);
    return connect(s, (void*)&a, n);
}

static void names_of(const char* name, int type) {
    char text[8];
    struct sockaddr_un a, b;
    socklen_t n, wanted = named(&b, name);
    int server = listener(name, type, 5), client = socket(AF_UNIX, type, 0);
    is_errno(bind(socket(AF_UNIX, type, 0), (void*)&b, wanted), EADDRINUSE, "%s is taken", name);
    is_errno(bind(server, (void*)&b, wanted), *name == '@' ? EINVAL : EADDRINUSE,
             "who has a name keeps it");
    is(to(client, name), 0, "connected");
    is_errno(to(client, name), EISCONN, "once");
    is(write(client, "early", 5), 5, "before it is accepted");
    n = sizeof a;
    int s = accept(server, (void*)&a, &n);
    ok(s >= 0 && n == 2 && a.sun_family == AF_UNIX, "who connects has no name");
    is(read(s, text, 8), 5, "what was sent early");
    n = sizeof a;
    is(getpeername(client, (void*)&a, &n) == 0 && n == wanted && memcmp(&a, &b, n) == 0, 1,
       "the name of the peer");
    n = sizeof a;
    is(getsockname(s, (void*)&a, &n) == 0 && n == wanted && memcmp(&a, &b, n) == 0, 1,
       "is its own");
    struct ucred who;
    n = sizeof who;
    is(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &who, &n), 0, "who it is");
    is(who.pid == getpid() && who.uid == geteuid() && who.gid == getegid(), 1, "it is we");
    int yes = 0;
    n = sizeof yes;
    is(getsockopt(server, SOL_SOCKET, SO_ACCEPTCONN, &yes, &n) == 0 && yes, 1, "it listens");
    is_errno(getsockopt(server, SOL_SOCKET, 999, &yes, &n), ENOPROTOOPT, "an option");
    is_errno(read(server, text, 1), type == SOCK_STREAM ? EINVAL : ENOTCONN, "nothing to read");
    int late = socket(AF_UNIX, type, 0);
    need(to(late, name) == 0);
    close(server);
    is_errno(recv(late, text, 1, 0), ECONNRESET, "never accepted");
    is_errno(to(socket(AF_UNIX, type, 0), name), ECONNREFUSED, "nobody listens any more");
}

static void names(void) {
    scratch_begin();
    names_of("@hidden", SOCK_STREAM);
    names_of("@hidden", SOCK_SEQPACKET);
    names_of("here", SOCK_STREAM);
    struct stat st;
    ok(stat("here", &st) == 0 && S_ISSOCK(st.st_mode), "a file");
    is_errno(open("here", O_RDWR), ENXIO, "that cannot be opened");
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    is_errno(to(s, "nowhere"), ENOENT, "no such name");
    is_errno(to(s, "@nowhere"), ECONNREFUSED, "no such hidden name");
    need(close(open("plain", O_CREAT | O_RDWR, 0600)) == 0);
    is_errno(to(s, "plain"), ECONNREFUSED, "another kind of file");
    int d = socket(AF_UNIX, SOCK_DGRAM, 0), l = listener("typed", SOCK_STREAM, 1);
    is_errno(to(d, "typed"), EPROTOTYPE, "another type");
    is_errno(listen(d, 1), EOPNOTSUPP, "datagrams have no backlog");
    is_errno(accept(s, NULL, NULL), EINVAL, "it does not listen");
    is_errno(listen(s, 1), EINVAL, "without a name");
    sa_family_t family = AF_UNIX;
    is(bind(s, (void*)&family, sizeof family), 0, "some name");
    struct sockaddr_un a;
    socklen_t n = sizeof a;
    ok(getsockname(s, (void*)&a, &n) == 0 && n == 8 && a.sun_path[0] == 0, "of five digits");
    is_errno(send(socket(AF_UNIX, SOCK_STREAM, 0), "x", 1, 0), ENOTCONN, "not connected");
    close(l);
}

static void backlog(void) {
    int l = listener("@full", SOCK_STREAM, 1), n = 0, s = -1;
    while ((s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0 && to(s, "@full") == 0)
        n++;
    is(errno, EAGAIN, "a full backlog");
    is(n, 2, "has one more than was said");
    pid_t child = fork();
    if (child == 0)
        _exit(to(socket(AF_UNIX, SOCK_STREAM, 0), "@full"));
    for (int i = 0; i < 20; i++)
        breathe();
    int status;
    is(waitpid(child, &status, WNOHANG), 0, "who may waits");
    need(accept(l, NULL, NULL) >= 0);
    need(waitpid(child, &status, 0) == child);
    is(status, 0, "for room");
    child = fork();
    if (child == 0) {
        close(l);
        is_errno(to(socket(AF_UNIX, SOCK_STREAM, 0), "@full"), ECONNREFUSED, "or the end");
        exit(tap.failures);
    }
    for (int i = 0; i < 20; i++)
        breathe();
    close(l);
    need(waitpid(child, &status, 0) == child);
    is(status, 0, "of who listens");
}

static void datagrams(void) {
    char text[32];
    struct sockaddr_un a, b, from;
    int one = socket(AF_UNIX, SOCK_DGRAM, 0), other = socket(AF_UNIX, SOCK_DGRAM, 0);
    socklen_t an = named(&a, "@one"), bn = named(&b, "@other"), n = sizeof from;
    is_errno(send(one, "x", 1, 0), ENOTCONN, "to nobody");
    need(bind(one, (void*)&a, an) == 0 && bind(other, (void*)&b, bn) == 0);
    is(sendto(one, "hello", 5, 0, (void*)&b, bn), 5, "by name");
    is(recvfrom(other, text, 32, 0, (void*)&from, &n), 5, "from one");
    ok(n == an && memcmp(&from, &a, an) == 0, "by its name");
    is(connect(other, (void*)&a, an), 0, "connected");
    is(send(other, "yes", 3, 0), 3, "no name is needed");
    is(recv(one, text, 32, 0), 3, "there");
    int third = socket(AF_UNIX, SOCK_DGRAM, 0);
    is_errno(sendto(third, "x", 1, 0, (void*)&b, bn), EPERM, "it talks to another one");
    close(one);
    is_errno(send(other, "x", 1, 0), ECONNREFUSED, "who is gone");
    is_errno(sendto(third, "x", 1, 0, (void*)&a, an), ECONNREFUSED, "for all");
    a.sun_family = AF_UNSPEC;
    is(connect(other, (void*)&a, 2), 0, "connected to nobody");
    is(sendto(third, "x", 1, 0, (void*)&b, bn), 1, "all may talk to it");
}

// Who waits for room is told of it, each one.
static void room_for_datagrams(void) {
    enum { SENDERS = 3 };
    struct sockaddr_un a;
    int to_all = socket(AF_UNIX, SOCK_DGRAM, 0), by[SENDERS], right = 0, status;
    socklen_t n = named(&a, "@room");
    need(bind(to_all, (void*)&a, n) == 0);
    for (int i = 0; i < SENDERS; i++) {
        by[i] = socket(AF_UNIX, SOCK_DGRAM, 0);
        need(connect(by[i], (void*)&a, n) == 0);
        while (send(by[i], two, sizeof two, MSG_DONTWAIT) > 0)
            ;
        need(errno == EAGAIN);
    }
    is(events(by[0]) & POLLOUT, 0, "there is no room");
    for (int i = 0; i < SENDERS; i++)
        if (fork() == 0) {
            struct pollfd p = {by[i], POLLOUT, 0};
            _exit(poll(&p, 1, 20000) == 1 ? 0 : 1);
        }
    while (recv(to_all, two, sizeof two, MSG_DONTWAIT) > 0)
        ;
    for (int i = 0; i < SENDERS; i++)
        right += wait(&status) > 0 && status == 0;
    is(right, SENDERS, "all hear of it when there is");
}

// ---- Files that travel

static long send_files(int by, const int* files, int count, const char* text) {
    char control[CMSG_SPACE(sizeof(int) * 300)] __attribute__((aligned(8))) = {0};
    struct iovec v = {(char*)text, strlen(text)};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = CMSG_SPACE(sizeof(int) * (unsigned)count)};
    struct cmsghdr* c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * (unsigned)count);
    memcpy(CMSG_DATA(c), files, sizeof(int) * (unsigned)count);
    return syscall(SYS_sendmsg, by, &m, MSG_DONTWAIT); // musl has less room for control
}

// The files of the next message; their number, or -1. `flags` become its.
static int receive_files(int by, int* files, int room, int* flags) {
    char control[CMSG_SPACE(sizeof(int) * 300)] __attribute__((aligned(8))) = {0};
    char text[64];
    struct iovec v = {text, sizeof text};
    struct msghdr m = {.msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = room ? CMSG_LEN(sizeof(int) * (unsigned)room) : 0};
    if (recvmsg(by, &m, *flags | MSG_DONTWAIT) < 0)
        return -1;
    *flags = m.msg_flags;
    struct cmsghdr* c = CMSG_FIRSTHDR(&m);
    if (!c || c->cmsg_type != SCM_RIGHTS)
        return 0;
    int n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(files, CMSG_DATA(c), (unsigned)n * sizeof(int));
    return n;
}

static void travel(void) {
    int p[2], got[8], flags = MSG_CMSG_CLOEXEC;
    char byte;
    make_pair(SOCK_STREAM);
    need(pipe(p) == 0);
    is(send_files(two[0], p, 2, "both"), 4, "two files");
    close(p[0]);
    close(p[1]);
    is(receive_files(two[1], got, 8, &flags), 2, "arrive");
    ok(fcntl(got[0], F_GETFD) == FD_CLOEXEC, "closed on exec");
    need(write(got[1], "x", 1) == 1);
    is(read(got[0], &byte, 1), 1, "and are what they were");
    need(send_files(two[0], got, 2, "x") == 1);
    flags = 0;
    is(receive_files(two[1], got, 1, &flags), 1, "room for one");
    ok(flags & MSG_CTRUNC, "which is said");
    need(send_files(two[0], got, 1, "x") == 1);
    flags = 0;
    is(receive_files(two[1], got, 0, &flags), 0, "none");
    ok(flags & MSG_CTRUNC, "likewise");
    need(send_files(two[0], got, 1, "first") == 5 && write(two[0], "second", 6) == 6);
    flags = MSG_PEEK;
    is(receive_files(two[1], got + 1, 4, &flags), 1, "a look gives one, too");
    flags = 0;
    is(receive_files(two[1], got + 2, 4, &flags), 1, "and the message has it still");
    char text[16];
    is(read(two[1], text, 16), 6, "a stream stops behind files");
    int wrong = 900;
    is_errno(send_files(two[0], &wrong, 1, "x"), EBADF, "a file that is not open");
    static int many[254];
    is_errno(send_files(two[0], many, 254, "x"), EINVAL, "more than a message takes");
    need(write(two[0], "y", 1) == 1);
    flags = 0;
    is(receive_files(two[1], got, 8, &flags), 0, "of which nothing is left");
}

static void senders(void) {
    make_pair(SOCK_STREAM);
    int yes = 1;
    need(setsockopt(two[1], SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(write(two[0], "child", 5) != 5);
    need(waitpid(child, NULL, 0) == child);
    need(write(two[0], "parent", 6) == 6);
    for (int i = 0; i < 2; i++) {
        char text[32], control[CMSG_SPACE(sizeof(struct ucred))];
        struct iovec v = {text, sizeof text};
        struct msghdr m = {.msg_iov = &v,
                           .msg_iovlen = 1,
                           .msg_control = control,
                           .msg_controllen = sizeof control};
        is(recvmsg(two[1], &m, 0), i ? 6 : 5, "a stream stops between senders");
        struct cmsghdr* c = CMSG_FIRSTHDR(&m);
        ok(c && c->cmsg_type == SCM_CREDENTIALS, "and tells");
        struct ucred who;
        memcpy(&who, CMSG_DATA(c), sizeof who);
        is(who.pid, i ? getpid() : child, "who it was");
    }
}

// Sockets that nobody has but messages in them.
static void circles(const void* unused) {
    (void)unused;
    int a[2], b[2];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, a) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, b) == 0);
    need(send_files(a[0], a, 2, "x") == 1 && send_files(a[1], a, 2, "x") == 1);
    need(send_files(a[0], b, 2, "x") == 1 && send_files(b[0], a, 2, "x") == 1);
    close(a[0]);
    close(b[0]);
    close(b[1]);
    close(a[1]);
    // A chain: each lies in the next one.
    int last[2], next[2];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, last) == 0);
    for (int i = 0; i < 300; i++) {
        need(socketpair(AF_UNIX, SOCK_STREAM, 0, next) == 0);
        need(send_files(next[0], last, 2, "x") == 1);
        close(last[0]);
        close(last[1]);
        memcpy(last, next, sizeof last);
    }
    close(last[0]);
    close(last[1]);
    make_pair(SOCK_STREAM); // whose end looks for what is lost
    close_pair();
}

static void lost(void) {
    circles(NULL);
    ok(1, "circles and chains end");
    if (!on_spork()) {
        skip("what the kernel holds is not told here");
        return;
    }
    is(counts_left_by(circles, NULL), 0, "and nothing is left of them");
}

static void in_flight(void) {
    need(geteuid() != 0 || setuid(65534) == 0);
    struct rlimit limit = {40, 40};
    need(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    make_pair(SOCK_STREAM);
    int n = 0;
    while (n < 1000 && send_files(two[0], two, 2, "x") == 1)
        n++;
    is(errno, ETOOMANYREFS, "too many files under way");
    ok(n >= 19 && n <= 21, "(%d)", n);
    int got[4], flags = 0;
    need(receive_files(two[1], got, 4, &flags) == 2);
    is(send_files(two[0], two, 2, "x"), 1, "what has arrived does not count");
}

enum { ROUNDS = 200 };
static int server;

static void* connects(void* unused) {
    char byte;
    for (int i = 0; i < ROUNDS; i++) {
        int s = socket(AF_UNIX, SOCK_STREAM, 0);
        need(to(s, "@busy") == 0);
        if (i % 3 == 0)
            need(send_files(s, &s, 1, "x") == 1 || errno == EPIPE || errno == ECONNRESET);
        else
            (void)!send(s, "x", 1, MSG_NOSIGNAL);
        if (i % 2)
            (void)!read(s, &byte, 1);
        close(s);
    }
    return unused;
}

static void* accepts(void* unused) {
    int got[4];
    for (int i = 0; i < ROUNDS; i++) {
        int s = accept(server, NULL, NULL), flags = 0;
        need(s >= 0);
        if (i % 5) {
            int n = receive_files(s, got, 4, &flags);
            for (int k = 0; k < n; k++)
                close(got[k]);
        }
        close(s);
    }
    return unused;
}

// Ends come and go on both sides.
static void at_once(void) {
    pthread_t t[6];
    signal(SIGPIPE, SIG_IGN);
    server = listener("@busy", SOCK_STREAM, 3);
    for (int i = 0; i < 6; i++)
        need(pthread_create(&t[i], NULL, i % 2 ? accepts : connects, NULL) == 0);
    for (int i = 0; i < 6; i++)
        need(pthread_join(t[i], NULL) == 0);
    ok(1, "all came to their end");
}

int main(void) {
    subtest("bytes", bytes);
    subtest("a full stream", full);
    subtest("ends", ends);
    subtest("messages", messages);
    subtest("names", names);
    subtest("a full backlog", backlog);
    subtest("datagrams", datagrams);
    subtest("room for datagrams", room_for_datagrams);
    subtest("files that travel", travel);
    subtest("who sends", senders);
    subtest("circles", lost);
    subtest("files under way", in_flight);
    subtest("many at once", at_once);
    return done();
}
