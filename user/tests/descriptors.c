// Tables of very many descriptors: that they grow and shrink, and what a fork sees of one that
// another thread changes.
#include "../lib/proc.h"

#include <pthread.h>
#include <sys/resource.h>

enum { HIGH = 1500, MOST = 70000, FORKS = 60 };

static void raise_limit(void) {
    struct rlimit limit;
    need(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max < MOST + 1 ? limit.rlim_max : MOST + 1;
    need(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

// Around the places where the kernel's memory for them ends.
static const int places[] = {31, 32, 127, 128, 255, 256, 257, 511, 512, 4095, 4096, HIGH};
enum { PLACES = sizeof places / sizeof *places };

static bool all_open(void) {
    for (int i = 0; i < PLACES; i++)
        if (!is_open(places[i]))
            return false;
    return true;
}

static void look_and_end(void* unused) {
    (void)unused;
    _exit(all_open() && !is_open(258) && !is_open(HIGH + 1) ? 0 : 1);
}

static void grow_and_shrink(void) {
    raise_limit();
    for (int i = PLACES; i-- > 0;)
        need(dup2(0, places[i]) == places[i]);
    ok(all_open(), "descriptors far apart");
    is(fcntl(0, F_DUPFD, 255), 258, "the lowest free from 255 on");
    need(close(258) == 0);
    is_exit(status_of(look_and_end, NULL), 0, "a child has the same");
    struct rlimit limit;
    need(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const int last = (int)limit.rlim_cur - 1;
    is(dup2(0, last), last, "one at the limit");
    is_exit(status_of(look_and_end, NULL), 0, "the others are there");
    need(close(last) == 0);
    ok(all_open() && !is_open(last), "and when it is closed again");
    for (int i = PLACES; i-- > 1;)
        need(close(places[i]) == 0);
    ok(is_open(31) && !is_open(32) && dup2(0, 33) == 33 && is_open(31),
       "but for the lowest all closed");
}

static int low;
static volatile bool stop;

static void* move_about(void* unused) {
    while (!stop) {
        need(dup2(low, HIGH) == HIGH && close(low) == 0);
        need(dup2(HIGH, low) == low && close(HIGH) == 0);
    }
    return unused;
}

static void forks_see_one_instant(void) {
    pthread_t mover;
    int lost = 0;
    raise_limit();
    low = dup(0);
    need(dup2(0, HIGH + 1000) > 0);
    need(pthread_create(&mover, NULL, move_about, NULL) == 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        need(child >= 0);
        if (child == 0)
            _exit(is_open(low) || is_open(HIGH) ? 0 : 1);
        lost += !exited_with(reap(child), 0);
    }
    stop = true;
    need(pthread_join(mover, NULL) == 0);
    is(lost, 0, "a descriptor that moves about is somewhere in each child");
}

int main(void) {
    subtest("growing and shrinking", grow_and_shrink);
    subtest("fork beside changes", forks_see_one_instant);
    return done();
}
