// What a program sees of a disk to swap to that fails, or is slow. `paging_disk MIB [DEVICE]`, for a
// machine that has less memory and such a disk (tests/system/test_paging_disk.py); without, a little,
// of which nothing is lost. With DEVICE it is taken away and given back meanwhile.
#include "../lib/fault.h"
#include "../lib/pages.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/swap.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static size_t pages = 512;
static const char* device;

// What is to be lost is what the test looks at, and not the test.
static void begin(void) {
    fault_catch(0);
    need(mlockall(MCL_CURRENT) == 0);
}

// A page that cannot be read is so for each access and each call, and for nothing else.
static void check_lost(uint64_t* page, const int ends[2]) {
    const struct fault again = load_fault(page);
    need(again.signo == SIGBUS && again.code == BUS_ADRERR && again.addr == page);
    need(store_fault(page + 1).signo == SIGBUS);
    need(write(ends[1], page, 8) == -1 && errno == EFAULT);
    need(write(ends[1], "12345678", 8) == 8);
    need(read(ends[0], page, 8) == -1 && errno == EFAULT);
    uint64_t word;
    need(read(ends[0], &word, 8) == 8);
    const pid_t child = vfork(); // a fork would copy what is locked
    need(child >= 0);
    if (child == 0) {
        signal(SIGBUS, SIG_DFL);
        _exit(page[0] != 0);
    }
    need(killed_by(reap(child), SIGBUS));
}

static void private_memory(void) {
    int ends[2];
    begin();
    need(pipe(ends) == 0);
    uint64_t* at = map_pages(pages, MAP_PRIVATE);
    store(at, pages, 1);
    size_t lost = 0, bad = 0;
    for (size_t i = 0; i < pages; i++) {
        uint64_t* page = at + i * WORDS;
        if (load_fault(page).signo != 0) {
            check_lost(page, ends);
            lost++;
        } else {
            bad += !is_page(page, i, 1);
        }
    }
    diag("%zu pages of private memory are lost", lost);
    is(bad, 0, "every other page has what was stored");
    need(munmap(at, pages * PAGE) == 0);
    at = map_pages(16, MAP_PRIVATE);
    store(at, 16, 2);
    is(wrong(at, 16, 2), 0, "there is other memory");
}

static void a_file(void) {
    begin();
    const int fd = memfd_create("paging_disk", 0);
    need(fd >= 0 && ftruncate(fd, (off_t)(pages * PAGE)) == 0);
    uint64_t* at = mmap(NULL, pages * PAGE, RW, MAP_SHARED, fd, 0);
    need(at != MAP_FAILED);
    store(at, pages, 1);
    size_t lost = 0, bad = 0;
    for (size_t i = 0; i < pages; i++) {
        uint64_t page[WORDS];
        const ssize_t n = pread(fd, page, PAGE, (off_t)(i * PAGE));
        if (n == -1 && errno == EIO) {
            lost++;
            need(load_fault(at + i * WORDS).signo == SIGBUS);
            need(pwrite(fd, page, 8, (off_t)(i * PAGE)) == -1 && errno == EIO);
        } else {
            bad += n != PAGE || !is_page(page, i, 1);
        }
    }
    diag("%zu pages of a file are lost", lost);
    is(bad, 0, "every other page has what was stored");
    need(ftruncate(fd, 0) == 0 && ftruncate(fd, (off_t)(pages * PAGE)) == 0);
    is(at[0], 0, "what is cut off may be made anew");
}

static void use_memory(void* unused) {
    (void)unused;
    uint64_t* at = map_pages(pages, MAP_PRIVATE);
    for (uint64_t round = 1;; round++) {
        store(at, pages, round);
        need(wrong(at, pages, round) == 0);
    }
}

// Whether the kernel says that it waits for memory or for a page.
static bool waits_for_the_disk(pid_t pid) {
    char path[64], line[128];
    bool waits = false;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE* f = fopen(path, "re");
    need(f != NULL);
    while (fgets(line, sizeof line, f) != NULL)
        waits |= strcmp(line, "Wchan:\tdisk\n") == 0 || strcmp(line, "Wchan:\tpage\n") == 0 ||
                 strcmp(line, "Wchan:\tmemory\n") == 0;
    fclose(f);
    return waits;
}

static void killed_while_it_waits(void) {
    enum { TIMES = 5 };
    int dead = 0;
    for (int i = 0; i < TIMES; i++) {
        const pid_t child = spawn(use_memory, NULL);
        while (device != NULL && !waits_for_the_disk(child))
            usleep(1000);
        need(kill(child, SIGKILL) == 0);
        dead += killed_by(reap(child), SIGKILL);
    }
    is(dead, TIMES, "who waits for a page is killed");
}

// Three requests: the last page is on its way for as long as they take.
enum { CLUSTERS = 48 };

static void* put_out(void* at) {
    madvise(at, CLUSTERS * PAGE, MADV_PAGEOUT);
    return NULL;
}

static bool last_is_there(uint64_t* at) {
    unsigned char in[CLUSTERS];
    need(mincore(at, CLUSTERS * PAGE, in) == 0);
    return in[CLUSTERS - 1] & 1;
}

static void long_requests(void) {
    pthread_t thread;
    uint64_t* at = map_pages(CLUSTERS, MAP_PRIVATE);
    store(at, CLUSTERS, 1);
    need(pthread_create(&thread, NULL, put_out, at) == 0);
    need(eventually(!last_is_there(at)));
    const int64_t from = now_ns();
    ok(is_page(at + (CLUSTERS - 1) * WORDS, CLUSTERS - 1, 1), "who waits for a page has it");
    ok(now_ns() - from > 2000000000, "after the watchdog has looked");
    need(pthread_join(thread, NULL) == 0);
}

// ---- Without its disk now and then -------------------------------------------------------------

enum { USERS = 3, ROUNDS = 3 };
static volatile bool* over;

static void use_some_memory(void* unused) {
    (void)unused;
    const size_t n = pages / 3 / USERS; // for all there is room without the disk
    uint64_t* at = map_pages(n, MAP_PRIVATE);
    for (uint64_t round = 1; !*over; round++) {
        store(at, n, round);
        need(wrong(at, n, round) == 0);
    }
}

static void off_and_on(void) {
    pid_t users[USERS];
    over = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(over != MAP_FAILED);
    for (int i = 0; i < USERS; i++)
        users[i] = spawn(use_some_memory, NULL);
    int times = 0, errors = 0;
    for (int round = 0; round < ROUNDS; round++) {
        if (swapoff(device) == 0) {
            times++;
            need(swapon(device, 0) == 0);
        } else {
            errors += errno != ENOMEM;
        }
        pid_t* one = &users[round % USERS];
        need(kill(*one, SIGKILL) == 0 && killed_by(reap(*one), SIGKILL));
        *one = spawn(use_some_memory, NULL);
    }
    *over = true;
    int bad = 0;
    for (int i = 0; i < USERS; i++)
        bad += !exited_with(reap(users[i]), 0);
    diag("swapoff took all back %d times", times);
    is(errors, 0, "or there was no room");
    is(bad, 0, "nothing is lost meanwhile");
    succeeds(swapoff(device), "at last all comes back");
    succeeds(swapon(device, 0), "and it is a disk to swap to again");
}

int main(int argc, char** argv) {
    if (argc > 1)
        pages = (size_t)atoi(argv[1]) * 256;
    if (argc > 2)
        device = argv[2];
    if (device == NULL) {
        subtest("private memory", private_memory);
        subtest("a file", a_file);
    }
    if (device != NULL && strcmp(device, "once") == 0) {
        subtest("long requests", long_requests);
        return done();
    }
    subtest("killed while it waits", killed_while_it_waits);
    if (device != NULL)
        subtest("off and on", off_and_on);
    return done();
}
