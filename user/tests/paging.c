// Memory that is more than there is: what was stored is there when it is looked at again, whoever
// has it, and by whichever way. With a number of MiB, for a machine that has less and swap
// (tests/system/test_paging.py); without, a little, which is the same test without pressure.
#include "../lib/fault.h"
#include "../lib/pages.h"
#include "../lib/spork.h"

#include <fcntl.h>
#include <pthread.h>

static size_t pages = 512;

static void private_memory(void) {
    uint64_t* at = map_pages(pages, MAP_PRIVATE);
    store(at, pages, 1);
    is(wrong(at, pages, 1), 0, "what was stored is there");
    is(wrong(at, pages, 1), 0, "also after it has been read");
    store(at, pages, 2);
    is(wrong(at, pages, 2), 0, "the second store is seen, not the first");
}

static void after_a_fork(void) {
    const size_t n = pages / 2;
    uint64_t* at = map_pages(n, MAP_PRIVATE);
    store(at, n, 1);
    const pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(wrong(at, n, 1) == 0);
        store(at, n, 2);
        need(wrong(at, n, 2) == 0);
        _exit(0);
    }
    is(wrong(at, n, 1), 0, "the parent has what it had");
    ok(exited_with(reap(child), 0), "the child has that, and then its own");
    is(wrong(at, n, 1), 0, "the child's stores are not the parent's");
    store(at, n, 3);
    is(wrong(at, n, 3), 0, "the parent stores again");
}

// A fork that copies at once waits for nobody: what there is no memory for is copied later.
static void after_a_copying_fork(void) {
    const size_t n = pages / 2;
    uint64_t* at = map_pages(n, MAP_PRIVATE);
    store(at, n, 1);
    if (on_spork())
        need(spork_forkmode(FORK_COPY, MODE_UNCHANGED) >= 0);
    const pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(wrong(at, n, 1) == 0);
        store(at, n / 2, 2);
        _exit(wrong(at, n / 2, 2) != 0);
    }
    store(at, n, 3);
    ok(exited_with(reap(child), 0), "the child has what there was, and then its own");
    is(wrong(at, n, 3), 0, "so has the parent");
}

// The same page in ten generations, each of which writes to it.
static void ten_forks(void) {
    enum { FORKS = 10 };
    const size_t n = pages / 16;
    uint64_t* at = map_pages(n, MAP_PRIVATE);
    struct gate all_there = gate_make(), go = gate_make();
    store(at, n, 0);
    pid_t children[FORKS];
    for (uint64_t i = 0; i < FORKS; i++) {
        children[i] = fork();
        need(children[i] >= 0);
        if (children[i] == 0) {
            need(wrong(at, n, i) == 0);
            store(at, n, 100 + i);
            gate_open(&all_there);
            gate_pass(&go);
            _exit(wrong(at, n, 100 + i) != 0);
        }
        store(at, n, i + 1);
    }
    for (int i = 0; i < FORKS; i++)
        gate_pass(&all_there);
    for (int i = 0; i < FORKS; i++)
        gate_open(&go);
    int right = 0;
    for (int i = 0; i < FORKS; i++)
        right += exited_with(reap(children[i]), 0);
    is(right, FORKS, "each of ten children has what it stored in the same places");
    is(wrong(at, n, FORKS), 0, "and the parent, too");
}

static void shared_memory(void) {
    const size_t n = pages / 2;
    uint64_t* at = map_pages(n, MAP_SHARED);
    store(at, n, 1);
    const pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(wrong(at, n, 1) == 0);
        store(at, n, 2);
        _exit(0);
    }
    ok(exited_with(reap(child), 0), "a child finds what is shared");
    is(wrong(at, n, 2), 0, "and its stores are seen");
}

// The rest of a page past the end of a file that was cut off, and grew again, is zeros.
static void a_file(void) {
    const size_t n = 256;
    const int fd = open("/tmp/paging.data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    need(fd >= 0);
    unlink("/tmp/paging.data");
    uint64_t page[WORDS];
    for (size_t i = 0; i < n; i++) {
        memset(page, 0x55, sizeof page);
        page[0] = i;
        need(pwrite(fd, page, PAGE, (off_t)(i * PAGE)) == PAGE);
    }
    uint64_t* other = map_pages(pages, MAP_PRIVATE);
    store(other, pages, 1);
    need(ftruncate(fd, 100 * PAGE + 10) == 0 && ftruncate(fd, (off_t)(n * PAGE)) == 0);
    size_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        need(pread(fd, page, PAGE, (off_t)(i * PAGE)) == PAGE);
        bad += i < 100 ? page[0] != i || page[9] != 0x5555555555555555 : page[9] != 0;
        bad += i == 100 ? page[0] != i : 0;
        bad += i > 100 ? page[0] != 0 : 0;
    }
    is(bad, 0, "a file has what was written, and zeros where it was cut off");
    is(wrong(other, pages, 1), 0, "and so has the memory that drove it out");
}

static void buffers(void) {
    enum { N = 8 };
    uint64_t* buffer = map_pages(N, MAP_PRIVATE);
    uint64_t* other = map_pages(pages, MAP_PRIVATE);
    int ends[2];
    need(pipe(ends) == 0);
    store(buffer, N, 1);
    store(other, pages, 1);
    is(write(ends[1], buffer, N * PAGE), N * PAGE, "write from what may be out");
    store(buffer, N, 2);
    store(other, pages, 2);
    is(read(ends[0], buffer, N * PAGE), N * PAGE, "read to what may be out");
    is(wrong(buffer, N, 1), 0, "what was read is what was written");
}

enum { N = 16 };

static int in_memory(uint64_t* at) {
    unsigned char in[N];
    int there = 0;
    need(mincore(at, N * PAGE, in) == 0);
    for (int i = 0; i < N; i++)
        there += in[i] & 1;
    return there;
}

static void wired(void) {
    uint64_t* mine = map_pages(N, MAP_PRIVATE);
    store(mine, N, 1);
    uint64_t* other = map_pages(pages, MAP_PRIVATE);
    store(other, pages, 1);
    need(mlock(mine, N * PAGE) == 0);
    store(other, pages, 2);
    is(in_memory(mine), N, "wired pages stay in memory");
    is(wrong(mine, N, 1), 0, "with what they had");
}

// One file, by four threads: stores through a mapping, msync, writes, and stores to other memory, which drive the
// file out. Each word of a page has one writer.
static uint64_t* mapped;
static int file;
static _Atomic bool ended;
enum { FILE_PAGES = 64, FILE_ROUNDS = 20 };

static void* store_to_file(void* unused) {
    for (uint64_t round = 1; round <= FILE_ROUNDS; round++)
        for (size_t i = 0; i < FILE_PAGES; i++)
            mapped[i * WORDS]++;
    return unused;
}

static void* write_to_file(void* unused) {
    for (uint64_t round = 1; round <= FILE_ROUNDS; round++)
        for (size_t i = 0; i < FILE_PAGES; i++)
            need(pwrite(file, &round, sizeof round, (off_t)(i * PAGE + 8)) == sizeof round);
    return unused;
}

static void* sync_file(void* unused) {
    while (!ended)
        need(msync(mapped, FILE_PAGES * PAGE, MS_SYNC) == 0);
    return unused;
}

static void* drive_out(void* other) {
    for (uint64_t round = 1; !ended; round++)
        store(other, pages, round);
    return other;
}

static void one_file(void) {
    void* (*const work[])(void*) = {store_to_file, write_to_file, sync_file, drive_out};
    pthread_t threads[4];
    const long before = on_spork() ? uvmexp("pageins") : 0;
    file = open("/tmp/paging.one", O_RDWR | O_CREAT | O_TRUNC, 0600);
    need(file >= 0 && unlink("/tmp/paging.one") == 0 && ftruncate(file, FILE_PAGES * PAGE) == 0);
    mapped = mmap(NULL, FILE_PAGES * PAGE, RW, MAP_SHARED, file, 0);
    need(mapped != MAP_FAILED);
    uint64_t* other = map_pages(pages, MAP_PRIVATE);
    for (int i = 0; i < 4; i++)
        need(pthread_create(&threads[i], NULL, work[i], other) == 0);
    for (int i = 0; i < 4; i++) {
        ended = i >= 2;
        need(pthread_join(threads[i], NULL) == 0);
    }
    size_t bad = 0;
    for (size_t i = 0; i < FILE_PAGES; i++)
        bad += mapped[i * WORDS] != FILE_ROUNDS || mapped[i * WORDS + 1] != FILE_ROUNDS;
    is(bad, 0, "each has what both stored");
    if (on_spork())
        diag("%ld page-ins", uvmexp("pageins") - before);
    need(munmap(mapped, FILE_PAGES * PAGE) == 0 && munmap(other, pages * PAGE) == 0 &&
         close(file) == 0);
}

static void read_byte(void* at) { (void)*(volatile char*)at; }

// Who has locked his memory and takes his right to it away has it in memory all the same.
static void wired_without_rights(int flags) {
    uint64_t* mine = map_pages(N, flags);
    uint64_t* other = map_pages(pages, MAP_PRIVATE);
    int ends[2];
    store(mine, N, 1);
    need(mlock(mine, N * PAGE) == 0 && mprotect(mine, N * PAGE, PROT_NONE) == 0);
    store(other, pages, 1);
    is(in_memory(mine), N, "they stay in memory");
    fault_catch(0);
    is(fault_of(read_byte, mine).signo, SIGSEGV, "out of the program's reach");
    need(pipe(ends) == 0);
    ok(write(ends[1], mine, PAGE) == -1 && errno == EFAULT, "and that of its calls");
    need(mprotect(mine, N * PAGE, RW) == 0);
    is(wrong(mine, N, 1), 0, "with what they had");
    store(mine, N, 2);
    need(mprotect(mine, N * PAGE, PROT_NONE) == 0 && munlock(mine, N * PAGE) == 0);
    store(other, pages, 2);
    need(mprotect(mine, N * PAGE, PROT_READ) == 0);
    is(wrong(mine, N, 2), 0, "also after they were free to go");
    need(munmap(mine, N * PAGE) == 0 && munmap(other, pages * PAGE) == 0);
}

static void wired_private(void) { wired_without_rights(MAP_PRIVATE); }
static void wired_shared(void) { wired_without_rights(MAP_SHARED); }

// Nor does it matter which of the two comes first, or whether the memory is moved then.
static void rights_before_wires(int flags) {
    uint64_t* mine = map_pages(N, flags);
    uint64_t* other = map_pages(pages, MAP_PRIVATE);
    store(mine, N, 1);
    need(mprotect(mine, N * PAGE, PROT_NONE) == 0);
    ok(mlock(mine, N * PAGE) == -1 && errno == ENOMEM, "mlock says that there is no right");
    store(other, pages, 1);
    is(in_memory(mine), N, "and its pages stay in memory");
    uint64_t* to = mmap(NULL, N * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(to != MAP_FAILED);
    need(mremap(mine, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
    store(other, pages, 2);
    is(in_memory(to), N, "also where they are moved to");
    need(mprotect(to, N * PAGE, RW) == 0);
    is(wrong(to, N, 1), 0, "with what they had");
    need(munmap(to, N * PAGE) == 0 && munmap(other, pages * PAGE) == 0);
}

static void rights_private(void) { rights_before_wires(MAP_PRIVATE); }
static void rights_shared(void) { rights_before_wires(MAP_SHARED); }

// Counters of several threads in each page: a page that goes while one of them stores would lose it.
enum { THREADS = 4, ROUNDS = 3 };
static uint64_t* counted;

static void* count(void* word) {
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < pages; i++)
            counted[i * WORDS + (size_t)(uintptr_t)word]++;
    return NULL;
}

static void counters(void) {
    pthread_t threads[THREADS];
    counted = map_pages(pages, MAP_PRIVATE);
    for (uintptr_t i = 0; i < THREADS; i++)
        need(pthread_create(&threads[i], NULL, count, (void*)i) == 0);
    for (int i = 0; i < THREADS; i++)
        need(pthread_join(threads[i], NULL) == 0);
    size_t bad = 0;
    for (size_t i = 0; i < pages; i++)
        for (size_t k = 0; k < THREADS; k++)
            bad += counted[i * WORDS + k] != ROUNDS;
    is(bad, 0, "no increment is lost");
}

int main(int argc, char** argv) {
    if (argc > 1)
        pages = (size_t)atoi(argv[1]) * 256;
    subtest("private memory", private_memory);
    subtest("after a fork", after_a_fork);
    subtest("after a fork that copies at once", after_a_copying_fork);
    subtest("ten forks", ten_forks);
    subtest("shared memory", shared_memory);
    subtest("a file", a_file);
    subtest("buffers of system calls", buffers);
    subtest("wired memory", wired);
    subtest("wired private memory without rights", wired_private);
    subtest("wired shared memory without rights", wired_shared);
    subtest("private memory that is wired without rights", rights_private);
    subtest("shared memory that is wired without rights", rights_shared);
    subtest("counters of several threads", counters);
    subtest("one file", one_file);
    return done();
}
