// Tables of very many descriptors: that they grow and shrink, and what a fork sees of one that
// another thread changes; and that many threads' changes at once leave it whole.
#include "../lib/proc.h"

#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>

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

static rlim_t limit_max;
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

// ---- All at once ------------------------------------------------------------------------------

enum { STEPS = 1500, SPREAD = 4000 };

static unsigned draw(unsigned* seed, unsigned below) {
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 8) % below;
}

static void close_some(unsigned from, unsigned* seed) {
    enum { MARK = 4 };
    syscall(SYS_close_range, from, from + draw(seed, SPREAD / 2), draw(seed, 2) ? MARK : 0);
}

static void look_at_some(int from) {
    struct pollfd asked[64];
    for (int i = 0; i < 64; i++)
        asked[i] = (struct pollfd){.fd = from + i, .events = POLLIN};
    poll(asked, 64, 0);
}

static void use_in_child(int from, unsigned* seed) {
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 30; i++)
            dup2(from, 3 + (int)draw(seed, SPREAD));
        _exit(0);
    }
    need(exited_with(reap(child), 0));
}

static void* use_all(void* arg) {
    unsigned seed = (unsigned)(long)arg;
    for (int i = 0; i < STEPS; i++) {
        const int a = 3 + (int)draw(&seed, SPREAD), b = 3 + (int)draw(&seed, SPREAD);
        int ends[2];
        switch (draw(&seed, 10)) {
        case 0:
        case 1: dup2(a, b); break;
        case 2: dup2(0, b); break;
        case 3: close(a); break;
        case 4: close_some((unsigned)a, &seed); break;
        case 5: need(pipe(ends) == 0 || errno == EMFILE); break;
        case 6: fcntl(a, F_DUPFD_CLOEXEC, b); break;
        case 7:
            setrlimit(RLIMIT_NOFILE, &(struct rlimit){64 + draw(&seed, SPREAD), limit_max});
            break;
        case 8: look_at_some(a); break;
        case 9:
            if (draw(&seed, 40) == 0)
                use_in_child(a, &seed);
        }
    }
    return NULL;
}

static void all_at_once(void) {
    enum { THREADS = 4 };
    struct rlimit limit;
    need(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit_max = limit.rlim_max;
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++)
        need(pthread_create(&threads[i], NULL, use_all, (void*)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        need(pthread_join(threads[i], NULL) == 0);
    need(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    need(syscall(SYS_close_range, 3, ~0u, 0) == 0);
    bool lowest_first = true;
    for (int i = 3; i < 300; i++)
        lowest_first = lowest_first && dup(0) == i;
    ok(lowest_first, "when all is closed, the lowest are given again");
}

int main(void) {
    subtest("growing and shrinking", grow_and_shrink);
    subtest("fork beside changes", forks_see_one_instant);
    subtest("all that changes them, at once", all_at_once);
    return done();
}
