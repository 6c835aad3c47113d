// AF_INET and AF_INET6 on one machine: streams and datagrams by 127.0.0.1 and ::1.
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static struct sockaddr_in at(const char* address, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    need(inet_pton(AF_INET, address, &a.sin_addr) == 1);
    return a;
}

static int port_of(int s) {
    struct sockaddr_in6 a;
    socklen_t n = sizeof a;
    need(getsockname(s, (void*)&a, &n) == 0);
    return ntohs(a.sin6_port); // at one place in both
}

static int server_at(const char* address) {
    struct sockaddr_in a = at(address, 0);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    need(bind(s, (void*)&a, sizeof a) == 0 && listen(s, 5) == 0);
    return s;
}

static int to(int s, const char* address, int port) {
    struct sockaddr_in a = at(address, port);
    return connect(s, (void*)&a, sizeof a);
}

static void streams(void) {
    char text[16];
    int l = server_at("127.0.0.1"), port = port_of(l), one = 1;
    ok(port >= 1024, "a port of its own: %d", port);
    int c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    is(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0, "TCP_NODELAY");
    is(setsockopt(c, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one), 0, "SO_KEEPALIVE");
    is_errno(read(c, text, 1), ENOTCONN, "not connected");
    is(to(c, "127.0.0.1", port), 0, "connected");
    is_errno(to(c, "127.0.0.1", port), EISCONN, "once");
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    int s = accept(l, (void*)&a, &n);
    ok(s >= 0 && n == sizeof a && a.sin_family == AF_INET, "accepted");
    is(ntohs(a.sin_port), port_of(c), "by the port of who connects");
    is(ntohl(a.sin_addr.s_addr), INADDR_LOOPBACK, "and the address");
    is(port_of(s), port, "at the server's port");
    need(getpeername(c, (void*)&a, &n) == 0);
    is(ntohs(a.sin_port), port, "which is the peer's");
    need(write(c, "question", 8) == 8);
    is(read(s, text, 16), 8, "there");
    need(write(s, "answer", 6) == 6);
    is(recv(c, text, 16, 0), 6, "and back");
    is(shutdown(c, SHUT_WR), 0, "half of it");
    is(read(s, text, 16), 0, "the end");
    close(s);
    is(read(c, text, 16), 0, "at both sides");
    close(c);
    is_errno(to(socket(AF_INET, SOCK_STREAM, 0), "127.0.0.1", 1), ECONNREFUSED, "nobody listens");
    close(l);
    is_errno(to(socket(AF_INET, SOCK_STREAM, 0), "127.0.0.1", port), ECONNREFUSED, "any more");
}

static void ports(void) {
    int l = server_at("127.0.0.1"), port = port_of(l), one = 1;
    struct sockaddr_in same = at("127.0.0.1", port), all = at("0.0.0.0", port),
                       other = at("127.0.0.2", port);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    is_errno(bind(s, (void*)&same, sizeof same), EADDRINUSE, "taken");
    is_errno(bind(s, (void*)&all, sizeof all), EADDRINUSE, "by one of all");
    need(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    is_errno(bind(s, (void*)&same, sizeof same), EADDRINUSE, "while somebody listens");
    is(bind(s, (void*)&other, sizeof other), 0, "another address is free");
    is_errno(bind(s, (void*)&same, sizeof same), EINVAL, "once");
    struct sockaddr_in away = at("192.0.2.1", 0);
    is_errno(bind(socket(AF_INET, SOCK_STREAM, 0), (void*)&away, sizeof away), EADDRNOTAVAIL,
             "an address of another machine");
    is_errno(bind(socket(AF_INET, SOCK_STREAM, 0), (void*)&same, 4), EINVAL, "a part of one");
    if (on_spork())
        is_errno(to(socket(AF_INET, SOCK_STREAM, 0), "192.0.2.1", 80), ENETUNREACH, "no way there");
    else
        skip("there may be a network here");
    is_errno(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT, "not by that protocol");
    is_errno(socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){0}), EOPNOTSUPP, "no pairs");
    int u = socket(AF_INET, SOCK_DGRAM, 0);
    is(bind(u, (void*)&same, sizeof same), 0, "datagrams have ports of their own");
    if (geteuid() == 0)
        need(setuid(65534) == 0);
    struct sockaddr_in low = at("127.0.0.1", 1);
    is_errno(bind(socket(AF_INET, SOCK_STREAM, 0), (void*)&low, sizeof low), EACCES,
             "root's ports");
}

// Linux sends a reset for what comes to one that has gone.
static void ends(void) {
    char text[16];
    int l = server_at("127.0.0.1"), port = port_of(l);
    signal(SIGPIPE, SIG_IGN);
    int c = socket(AF_INET, SOCK_STREAM, 0);
    need(to(c, "127.0.0.1", port) == 0);
    int s = accept(l, NULL, NULL);
    need(write(c, "unread", 6) == 6);
    close(s);
    is_errno(write(c, "x", 1), ECONNRESET, "its bytes were not read");
    is_errno(write(c, "x", 1), EPIPE, "which is told once");
    close(c);

    c = socket(AF_INET, SOCK_STREAM, 0);
    need(to(c, "127.0.0.1", port) == 0);
    close(accept(l, NULL, NULL));
    struct pollfd p = {c, POLLIN | POLLOUT | POLLRDHUP, 0};
    need(poll(&p, 1, 1000) == 1);
    is(p.revents, POLLIN | POLLOUT | POLLRDHUP, "after the other's end");
    is(write(c, "x", 1), 1, "the first write is lost");
    is_errno(write(c, "x", 1), EPIPE, "the next one told");
    is(read(c, text, 1), 0, "the end");
    close(c);

    c = socket(AF_INET, SOCK_STREAM, 0);
    need(to(c, "127.0.0.1", port) == 0);
    s = accept(l, NULL, NULL);
    is(shutdown(s, SHUT_RD), 0, "SHUT_RD");
    is(read(s, text, 16), 0, "there is nothing to read");
    is(write(c, "more", 4), 4, "of which its peer knows nothing");
    is(read(s, text, 16), 4, "and what comes is read");
    is(read(s, text, 16), 0, "up to the end");
}

static void reused(void) {
    int one = 1, l = socket(AF_INET, SOCK_STREAM, 0), s = socket(AF_INET, SOCK_STREAM, 0);
    need(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    need(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    struct sockaddr_in a = at("127.0.0.1", 0);
    need(bind(l, (void*)&a, sizeof a) == 0);
    a.sin_port = htons((uint16_t)port_of(l));
    is(bind(s, (void*)&a, sizeof a), 0, "two have one address");
    is(listen(l, 5), 0, "one of them listens");
    is_errno(listen(s, 5), EADDRINUSE, "and no other");
    is(listen(l, 6), 0, "but that one again");
}

static void version_6(void) {
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT}, peer;
    socklen_t n = sizeof peer;
    int l = socket(AF_INET6, SOCK_STREAM, 0), off = 0;
    if (l < 0) {
        skip("there is none here");
        return;
    }
    need(setsockopt(l, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0);
    need(bind(l, (void*)&a, sizeof a) == 0 && listen(l, 5) == 0);
    int port = port_of(l), c = socket(AF_INET6, SOCK_STREAM, 0),
        c4 = socket(AF_INET, SOCK_STREAM, 0);
    a.sin6_port = htons((uint16_t)port);
    a.sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
    is(connect(c, (void*)&a, sizeof a), 0, "by ::1");
    int s = accept(l, (void*)&peer, &n);
    ok(n == sizeof peer && IN6_IS_ADDR_LOOPBACK(&peer.sin6_addr), "from there");
    is(to(c4, "127.0.0.1", port), 0, "by 127.0.0.1");
    n = sizeof peer;
    int s4 = accept(l, (void*)&peer, &n);
    ok(n == sizeof peer && IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr), "seen as ::ffff:127.0.0.1");
    char text[8];
    need(write(c4, "four", 4) == 4 && write(c, "six", 3) == 3);
    is(read(s4, text, 8), 4, "bytes");
    is(read(s, text, 8), 3, "of both");
    int only = socket(AF_INET6, SOCK_STREAM, 0), on = 1;
    need(setsockopt(only, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0);
    a.sin6_port = 0;
    a.sin6_addr = (struct in6_addr)IN6ADDR_ANY_INIT;
    need(bind(only, (void*)&a, sizeof a) == 0 && listen(only, 5) == 0);
    is_errno(to(socket(AF_INET, SOCK_STREAM, 0), "127.0.0.1", port_of(only)), ECONNREFUSED,
             "IPV6_V6ONLY");
    struct sockaddr_in all = at("0.0.0.0", port_of(only));
    is(bind(socket(AF_INET, SOCK_STREAM, 0), (void*)&all, sizeof all), 0, "leaves the other free");
}

static void datagrams(void) {
    char text[16];
    int one = socket(AF_INET, SOCK_DGRAM, 0), two = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = at("127.0.0.1", 0), from;
    socklen_t n = sizeof from;
    need(bind(one, (void*)&a, sizeof a) == 0);
    a.sin_port = htons((uint16_t)port_of(one));
    is(sendto(two, "hello", 5, 0, (void*)&a, sizeof a), 5, "to a port");
    is(recvfrom(one, text, 16, 0, (void*)&from, &n), 5, "arrives");
    is(ntohs(from.sin_port), port_of(two), "from a port that it got");
    need(connect(two, (void*)&a, sizeof a) == 0);
    is(send(two, "again", 5, 0), 5, "connected");
    is(recv(one, text, 3, MSG_TRUNC), 5, "how long it was");
    is_errno(recv(one, text, 16, MSG_DONTWAIT), EAGAIN, "no more");
    close(one);
    is(send(two, "x", 1, 0), 1, "to nobody");
    is_errno(send(two, "x", 1, 0), ECONNREFUSED, "of which one hears later");
    is_errno(send(socket(AF_INET, SOCK_DGRAM, 0), "x", 1, 0), EDESTADDRREQ, "to no address");

    int peer = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0);
    one = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in its = at("127.0.0.1", 0);
    need(bind(one, (void*)&its, sizeof its) == 0 && bind(peer, (void*)&its, sizeof its) == 0);
    its.sin_port = htons((uint16_t)port_of(peer));
    a.sin_port = htons((uint16_t)port_of(one));
    need(connect(one, (void*)&its, sizeof its) == 0);
    is(sendto(other, "other", 5, 0, (void*)&a, sizeof a), 5, "to one that is connected");
    is_errno(recv(one, text, 16, MSG_DONTWAIT), EAGAIN, "which does not hear of it");
    is(sendto(peer, "its", 3, 0, (void*)&a, sizeof a), 3, "but by its peer");
    is(recv(one, text, 16, MSG_DONTWAIT), 3, "it does");
}

// A server of the usual kind: epoll, non-blocking, many clients.
static void serve(int l, int clients) {
    int e = epoll_create1(0), ended = 0;
    struct epoll_event event = {EPOLLIN, {.fd = l}};
    need(epoll_ctl(e, EPOLL_CTL_ADD, l, &event) == 0);
    while (ended < clients) {
        need(epoll_wait(e, &event, 1, -1) == 1);
        if (event.data.fd == l) {
            int s = accept4(l, NULL, NULL, SOCK_NONBLOCK);
            need(s >= 0);
            event = (struct epoll_event){EPOLLIN | EPOLLRDHUP | EPOLLET, {.fd = s}};
            need(epoll_ctl(e, EPOLL_CTL_ADD, s, &event) == 0);
            continue;
        }
        char text[64];
        long n;
        while ((n = read(event.data.fd, text, sizeof text)) > 0)
            need(write(event.data.fd, text, (size_t)n) == n);
        if (n == 0) {
            close(event.data.fd);
            ended++;
        }
    }
    _exit(0);
}

static void servers(void) {
    enum { CLIENTS = 20 };
    int l = server_at("0.0.0.0"), port = port_of(l), right = 0;
    pid_t server = fork();
    if (server == 0)
        serve(l, CLIENTS);
    close(l);
    for (int i = 0; i < CLIENTS; i++)
        if (fork() == 0) {
            char text[32], back[32];
            int s = socket(AF_INET, SOCK_STREAM, 0);
            need(to(s, "127.0.0.1", port) == 0);
            for (int k = 0; k < 20; k++) {
                int n = snprintf(text, sizeof text, "client %d, line %d", i, k);
                need(write(s, text, (size_t)n) == n);
                need(recv(s, back, (size_t)n, MSG_WAITALL) == n &&
                     memcmp(text, back, (size_t)n) == 0);
            }
            _exit(0);
        }
    for (int i = 0, status; i < CLIENTS + 1; i++)
        right += wait(&status) > 0 && status == 0;
    is(right, CLIENTS + 1, "a server and its clients");
}

int main(void) {
    subtest("streams", streams);
    subtest("ports and addresses", ports);
    subtest("ends", ends);
    subtest("one address twice", reused);
    subtest("version 6", version_6);
    subtest("datagrams", datagrams);
    subtest("a server", servers);
    return done();
}
