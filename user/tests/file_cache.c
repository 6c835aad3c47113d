// One cache: whoever reads, writes or maps a file has the same bytes, and what is said of them (fsync and
// its kin, posix_fadvise). Of a plain file; and of a disk, if one is named: its first MiB is overwritten.
// `file_cache DISK errors` is for one whose page 8 cannot be written once; `file_cache DISK large MIB` maps
// so much of it, more than there is memory.
#include "../lib/fault.h"
#include "../lib/scratch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PAGE = 4096, PAGES = 256, RW = PROT_READ | PROT_WRITE };

static const char* disk; // a block device, or null

// The file in question, and a second description of it.
static int opened[2];

static void open_both(int flags) {
    const char* name = disk ? disk : "cached";
    for (int i = 0; i < 2; i++) {
        opened[i] = open(name, O_RDWR | O_CREAT | flags, 0600);
        need(opened[i] >= 0);
    }
    if (!disk)
        need(ftruncate(opened[0], PAGES * PAGE) == 0);
}

static char byte_at(int which, off_t at) {
    char byte;
    need(pread(opened[which], &byte, 1, at) == 1);
    return byte;
}

static char* mapped(int which, int flags) {
    char* at = mmap(NULL, PAGES * PAGE, RW, flags, opened[which], 0);
    need(at != MAP_FAILED);
    return at;
}

static void same_bytes(void) {
    open_both(0);
    char page[PAGE];
    for (int i = 0; i < PAGES; i++) {
        memset(page, 'a' + i % 26, PAGE);
        need(pwrite(opened[0], page, PAGE, (off_t)i * PAGE) == PAGE);
    }
    is(byte_at(1, 7 * PAGE), 'h', "a second description reads what was written through the first");
    char *at = mapped(0, MAP_SHARED), *again = mapped(1, MAP_SHARED), *own = mapped(1, MAP_PRIVATE);
    is(again[8 * PAGE + 9], 'i', "a mapping shows it, too");
    at[8 * PAGE] = 'S';
    is(byte_at(1, 8 * PAGE), 'S', "read sees a store at once");
    is(again[8 * PAGE], 'S', "and so does another mapping");
    need(pwrite(opened[1], "W", 1, 8 * PAGE + 1) == 1);
    is(at[8 * PAGE + 1], 'W', "a mapping sees a write");
    own[9 * PAGE] = 'P';
    is(byte_at(0, 9 * PAGE), 'j', "a store into a private mapping does not reach the file");
    is(msync(at, PAGES * PAGE, MS_SYNC), 0, "msync");
    at[8 * PAGE] = 'T';
    is(byte_at(0, 8 * PAGE), 'T', "a store after msync is seen as before");
    is(fsync(opened[0]), 0, "fsync");
    int right = 10;
    while (right < PAGES && at[right * PAGE + right] == 'a' + right % 26)
        right++;
    is(right, PAGES, "every page is right");
}

static void buffer_is_the_file(void) {
    open_both(0);
    char* at = mapped(0, MAP_SHARED);
    memset(at, 'x', 2 * PAGE);
    is(pwrite(opened[1], at, 2 * PAGE, PAGE / 2), 2 * PAGE,
       "a file is written from a mapping of itself");
    is(at[2 * PAGE + PAGE / 2 - 1], 'x', "all of it");
    is(pread(opened[1], at + 4 * PAGE, PAGE, 0), PAGE, "and read into one");
    is(at[4 * PAGE], 'x', "likewise");
}

static void promises(void) {
    open_both(0);
    need(pwrite(opened[0], "promise", 7, 100) == 7);
    is(fdatasync(opened[0]), 0, "fdatasync");
    is(fsync(opened[1]), 0, "fsync by another description");
    is(sync_file_range(opened[0], 0, PAGE, SYNC_FILE_RANGE_WRITE), 0, "sync_file_range");
    is(sync_file_range(opened[0], 0, 0,
                       SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                           SYNC_FILE_RANGE_WAIT_AFTER),
       0, "to the end, and waiting");
    is(sync_file_range(opened[0], 0, PAGE, 0), 0, "without a flag");
    is_errno(sync_file_range(opened[0], 0, PAGE, 8), EINVAL, "a flag that is none");
    is_errno(sync_file_range(opened[0], -1, PAGE, 0), EINVAL, "before the beginning");
    is_errno(sync_file_range(opened[0], 0, -1, 0), EINVAL, "less than nothing");
    is_errno(sync_file_range(opened[0], INT64_MAX, 1, 0), EINVAL, "beyond what an offset can be");
    int ends[2];
    need(pipe(ends) == 0);
    is_errno(sync_file_range(ends[0], 0, PAGE, 0), ESPIPE, "of a pipe");
    is_errno(fsync(ends[0]), EINVAL, "fsync of a pipe");
    is(syncfs(opened[0]), 0, "syncfs");
    is(syncfs(ends[0]), 0, "of a pipe, too: all files have a file system");
    is_errno(syncfs(-1), EBADF, "of no descriptor");
    const int place = open(".", O_PATH);
    is_errno(syncfs(place), EBADF, "of a place");
    is_errno(fsync(place), EBADF, "fsync of one");
    is_errno(sync_file_range(place, 0, 0, 0), EBADF, "sync_file_range of one");
    sync();
}

static void written_through(void) {
    open_both(O_SYNC);
    is(pwrite(opened[0], "sync", 4, 0), 4, "a write with O_SYNC");
    is(byte_at(1, 3), 'c', "is there");
    is(pwrite(opened[0], NULL, 0, 0), 0, "a write of nothing");
}

static void advice(void) {
    open_both(0);
    need(pwrite(opened[0], "advice", 6, 5 * PAGE) == 6);
    is(posix_fadvise(opened[0], 0, 0, POSIX_FADV_SEQUENTIAL), 0, "in order");
    is(posix_fadvise(opened[0], 0, 0, POSIX_FADV_RANDOM), 0, "at random");
    is(posix_fadvise(opened[0], 0, 0, POSIX_FADV_NORMAL), 0, "as usual");
    is(posix_fadvise(opened[0], 0, 0, POSIX_FADV_NOREUSE), 0, "once");
    is(posix_fadvise(opened[0], 4 * PAGE, 4 * PAGE, POSIX_FADV_DONTNEED), 0, "no more");
    is(byte_at(1, 5 * PAGE), 'a', "what was dirty is not lost");
    is(posix_fadvise(opened[0], 0, 16 * PAGE, POSIX_FADV_WILLNEED), 0, "soon");
    is(byte_at(0, 5 * PAGE + 5), 'e', "and it is there");
    is(posix_fadvise(opened[0], -PAGE, PAGE, POSIX_FADV_WILLNEED), 0,
       "before the beginning is nowhere");
    is(posix_fadvise(opened[0], 0, -1, POSIX_FADV_NORMAL), EINVAL, "less than nothing");
    is(posix_fadvise(opened[0], 0, 0, 6), EINVAL, "advice that is none");
}

static void past_the_end(void) {
    if (disk)
        return skip("a disk has no end that moves");
    open_both(0);
    need(ftruncate(opened[0], 2 * PAGE - 100) == 0);
    char* at = mapped(0, MAP_SHARED);
    need(pwrite(opened[0], "end", 3, 2 * PAGE - 103) == 3);
    need(ftruncate(opened[0], PAGE + 50) == 0 && ftruncate(opened[0], 3 * PAGE) == 0);
    is(at[2 * PAGE - 103], 0, "what was cut off does not come back");
    is(byte_at(1, PAGE + 50), 0, "in the page that was cut");
    at[2 * PAGE + 7] = 'z';
    is(byte_at(1, 2 * PAGE + 7), 'z', "a hole is stored into");
    need(ftruncate(opened[0], PAGE) == 0);
    fault_catch(0);
    is_fault(load_fault(at + 2 * PAGE), SIGBUS, BUS_ADRERR, at + 2 * PAGE,
             "past the end is nothing");
}

static void errors(void) {
    open_both(0);
    const int reader = open(disk, O_RDONLY);
    need(pwrite(opened[0], "lost?", 5, 8 * PAGE) == 5);
    is_errno(fsync(opened[0]), EIO, "fsync tells that a page could not be written");
    is(fsync(opened[0]), 0, "once; and tries again");
    is_errno(fdatasync(opened[1]), EIO, "another description that was open hears of it, too");
    is(fdatasync(opened[1]), 0, "once");
    char* at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, reader, 8 * PAGE);
    need(at != MAP_FAILED);
    is_errno(msync(at, PAGE, MS_SYNC), EIO, "a third one by msync");
    const int later = open(disk, O_RDWR);
    is(fsync(later), 0, "one that was opened later does not");
}

static size_t large;

// Each page gets its number; in an order that visits all of them and none before its neighbour.
static void more_than_memory(void) {
    const int fd = open(disk, O_RDWR);
    char* at = mmap(NULL, large, RW, MAP_SHARED, fd, 0);
    need(at != MAP_FAILED);
    const size_t pages = large / PAGE, step = pages / 3 | 1;
    for (size_t i = 0, page = 0; i < pages; i++, page = (page + step) % pages)
        *(volatile size_t*)(at + page * PAGE) = page + 1;
    size_t right = 0;
    while (right < pages && *(volatile size_t*)(at + right * PAGE) == right + 1)
        right++;
    is(right, pages, "every page has its number");
    is(fsync(fd), 0, "fsync");
}

int main(int argc, char** argv) {
    disk = argc > 1 ? argv[1] : NULL;
    if (argc > 3) {
        large = (size_t)atoi(argv[3]) << 20;
        subtest("more than there is memory", more_than_memory);
        return done();
    }
    if (argc > 2) {
        subtest("errors", errors);
        return done();
    }
    scratch_begin();
    subtest("everybody has the same bytes", same_bytes);
    subtest("the buffer is the file", buffer_is_the_file);
    subtest("promises", promises);
    subtest("O_SYNC", written_through);
    subtest("advice", advice);
    subtest("past the end", past_the_end);
    return done();
}
