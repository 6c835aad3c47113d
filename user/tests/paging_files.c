// Many files, of which each is mapped, stored to, unmapped and closed, before anybody looks at them again:
// what nobody has mapped and nobody has open is dirty all the same, has to go when memory is short, and to
// come back. `paging_files MIB FOLDER`, for a machine that has less memory, and swap
// (tests/system/test_paging.py); without, a little.
#include "../lib/pages.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { EACH = 64 }; // pages

static size_t files = 8;
static const char* folder = "/tmp";

static int open_file(size_t n, int flags) {
    char name[128];
    snprintf(name, sizeof name, "%s/paging_files.%zu", folder, n);
    const int fd = open(name, flags | O_CLOEXEC, 0600);
    need(fd >= 0);
    return fd;
}

static uint64_t* map_file(int fd) {
    uint64_t* at = mmap(NULL, EACH * PAGE, RW, MAP_SHARED, fd, 0);
    need(at != MAP_FAILED && close(fd) == 0);
    return at;
}

static void store_file(size_t n, uint64_t round) {
    const int fd = open_file(n, O_RDWR | O_CREAT);
    need(ftruncate(fd, EACH * PAGE) == 0);
    uint64_t* at = map_file(fd);
    for (size_t i = 0; i < EACH; i++)
        store_page(at + i * WORDS, n * EACH + i, round);
    need(munmap(at, EACH * PAGE) == 0);
}

// By a mapping, or by read(2).
static size_t wrong_in_file(size_t n, uint64_t round) {
    static uint64_t page[WORDS];
    const int fd = open_file(n, O_RDWR);
    size_t bad = 0;
    if (n % 2) {
        for (size_t i = 0; i < EACH; i++)
            bad += read(fd, page, PAGE) != PAGE || !is_page(page, n * EACH + i, round);
        need(close(fd) == 0);
        return bad;
    }
    uint64_t* at = map_file(fd);
    for (size_t i = 0; i < EACH; i++)
        bad += !is_page(at + i * WORDS, n * EACH + i, round);
    need(munmap(at, EACH * PAGE) == 0);
    return bad;
}

static size_t all_wrong(uint64_t round) {
    size_t bad = 0;
    for (size_t n = 0; n < files; n++)
        bad += wrong_in_file(n, round);
    return bad;
}

int main(int argc, char** argv) {
    if (argc > 2) {
        files = (size_t)atoi(argv[1]) * 256 / EACH;
        folder = argv[2];
    }
    for (uint64_t round = 1; round <= 2; round++) {
        for (size_t n = 0; n < files; n++)
            store_file(n, round);
        is(all_wrong(round), 0, "each file has what was stored by a mapping that is gone");
    }
    for (size_t n = 0; n < files; n++) {
        char name[128];
        snprintf(name, sizeof name, "%s/paging_files.%zu", folder, n);
        need(unlink(name) == 0);
    }
    return done();
}
