// What a mapping claims of its file as long as any part of it is there: write access, locks, the
// mount; and when a store through it shows in the file's times.
#include "../lib/mounts.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>

enum { PAGE = 4096, PAGES = 4, RW = PROT_READ | PROT_WRITE };
enum { RAN = 7, TMPFS = 0x01021994 };

// A copy of this program, which exits with RAN, at least PAGES pages long.
static void make_program(const char* name) {
    int from = open("/proc/self/exe", O_RDONLY), to = open(name, O_CREAT | O_WRONLY, 0755);
    char block[PAGE];
    need(from >= 0 && to >= 0);
    for (ssize_t n; (n = read(from, block, sizeof block)) > 0;)
        need(write(to, block, (size_t)n) == n);
    need(close(from) == 0 && close(to) == 0);
}

// Maps the file through a description that only the mapping keeps.
static char* map_through(const char* name, int open_flags, int prot, int flags) {
    int fd = open(name, open_flags);
    need(fd >= 0);
    char* at = mmap(NULL, PAGES * PAGE, prot, flags, fd, 0);
    need(at != MAP_FAILED && close(fd) == 0);
    return at;
}

static void execute(void* name) {
    execl(name, name, "--run", NULL);
    _exit(errno);
}

static void is_busy(const char* why) {
    is_exit(status_of(execute, "program"), ETXTBSY, "%s: not to be run", why);
}

static void is_free(const char* why) {
    is_exit(status_of(execute, "program"), RAN, "%s: to be run", why);
}

static void write_access(void) {
    make_program("program");
    char* at = map_through("program", O_RDWR, RW, MAP_SHARED);
    is_busy("a file that is mapped to be written");
    need(munmap(at, PAGE) == 0);
    is_busy("what is left of the mapping");
    need(mprotect(at + PAGE, PAGE, PROT_READ) == 0 && mprotect(at + 2 * PAGE, PAGE, 0) == 0);
    is_busy("its pieces, whatever they may do now");
    char* moved = mremap(at + 3 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
    need(moved != MAP_FAILED && munmap(at + PAGE, 2 * PAGE) == 0);
    is_busy("a piece that has moved");
    need(munmap(moved, PAGE) == 0);
    is_busy("what it was longer by");
    need(munmap(moved + PAGE, PAGE) == 0);
    is_free("after the last piece");

    at = map_through("program", O_RDWR, PROT_READ, MAP_PRIVATE);
    is_busy("a private mapping through a description for writing");
    need(munmap(at, PAGES * PAGE) == 0);
    at = map_through("program", O_RDONLY, PROT_READ, MAP_SHARED);
    is_free("a mapping through one for reading");
    need(munmap(at, PAGES * PAGE) == 0);
}

static void hold(void* gates) {
    struct gate* g = gates;
    gate_open(&g[0]);
    gate_pass(&g[1]);
    execute("other");
}

static void inherited(void) {
    make_program("program");
    make_program("other");
    struct gate gates[2] = {gate_make(), gate_make()};
    char* at = map_through("program", O_RDWR, RW, MAP_SHARED);
    pid_t child = spawn(hold, gates);
    gate_pass(&gates[0]);
    need(munmap(at, PAGES * PAGE) == 0);
    is_busy("a mapping that a child has");
    gate_open(&gates[1]);
    is_exit(reap(child), RAN, "the child runs another program");
    is_free("and gives it up by that");
}

static void locks(void) {
    put_file("locked", 0600, "text");
    int fd = open("locked", O_RDWR), other = open("locked", O_RDONLY);
    need(flock(fd, LOCK_EX) == 0);
    char* at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    need(at != MAP_FAILED && close(fd) == 0);
    is_errno(flock(other, LOCK_EX | LOCK_NB), EWOULDBLOCK, "the description's lock is kept");
    need(munmap(at, PAGE) == 0);
    is(flock(other, LOCK_EX | LOCK_NB), 0, "until the mapping goes");
}

// The map is locked while references to the description come and go with the pieces.
static void pieces(void) {
    put_file("pieces", 0600, "text");
    char* at = map_through("pieces", O_RDWR, RW, MAP_SHARED);
    need(mprotect(at + PAGE, PAGE, PROT_READ) == 0);
    is(mprotect(at + PAGE, PAGE, RW), 0, "three pieces become one again");
    char* place = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(place != MAP_FAILED);
    ok(mremap(at, PAGES * PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place,
       "one moves and is shorter");
    const struct rlimit full = {1 << 20, RLIM_INFINITY};
    struct rlimit before;
    int fd = open("pieces", O_RDWR);
    need(fd >= 0 && getrlimit(RLIMIT_AS, &before) == 0 && setrlimit(RLIMIT_AS, &full) == 0);
    is_errno(mmap(NULL, 1 << 21, RW, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0, ENOMEM,
             "one beyond the limit is not made");
    is_errno(mremap(place, PAGE, 1 << 21, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0, ENOMEM,
             "nor grown to be");
    need(setrlimit(RLIMIT_AS, &before) == 0 && close(fd) == 0);
    is(place[1], 'e', "what is there stays");
    if (on_spork()) {
        need(spork_minherit(place, PAGE, INHERIT_ZERO) == 0);
        is_exit(status_of(execute, "pieces"), EACCES, "a child may do without");
    }
    need(munmap(place, PAGE) == 0);
}

// ---- Times -----------------------------------------------------------------------------------

static bool touched(const char* name) {
    struct stat st;
    struct timespec past[2] = {{1000, 0}, {1000, 0}};
    need(stat(name, &st) == 0);
    need(utimensat(AT_FDCWD, name, past, 0) == 0);
    return st.st_mtim.tv_sec != 1000;
}

static void times(void) {
    put_file("times", 0600, "text");
    struct statfs fs;
    need(statfs("times", &fs) == 0);
    touched("times");
    char* at = map_through("times", O_RDWR, RW, MAP_SHARED);
    ok(!touched("times"), "a mapping does not change the time of the last change");
    at[0] = 'a';
    need(msync(at, PAGE, MS_SYNC) == 0);
    ok(touched("times"), "a store does, at msync at the latest");
    need(msync(at, PAGE, MS_SYNC) == 0);
    ok(!touched("times"), "once");
    at[1] = 'b';
    need(munmap(at, PAGES * PAGE) == 0);
    if (fs.f_type == TMPFS && !on_spork())
        skip("Linux's tmpfs only looks at the first store");
    else
        ok(touched("times"), "a store to the same page after that does, at munmap at the latest");
    touched("times");
    at = map_through("times", O_RDWR, RW, MAP_PRIVATE);
    at[0] = 'c';
    need(munmap(at, PAGES * PAGE) == 0);
    ok(!touched("times"), "a store into a private mapping does not");
}

// ---- Mounts ----------------------------------------------------------------------------------

static int remount(unsigned long flags) {
    return mount(NULL, "mounted", NULL, MS_REMOUNT | flags, NULL);
}

static void mounts(void) {
    if (!own_mounts())
        return;
    need(mkdir("mounted", 0700) == 0);
    need(mount("test", "mounted", "tmpfs", 0, NULL) == 0);
    put_file("mounted/file", 0600, "text");
    char* at = map_through("mounted/file", O_RDWR, RW, MAP_SHARED);
    is_errno(umount("mounted"), EBUSY, "a mapping keeps the mount");
    is_errno(remount(MS_RDONLY), EBUSY, "and keeps it writable");
    at[1] = 'E';
    need(munmap(at, PAGES * PAGE) == 0);
    is_str(get_file("mounted/file"), "tExt", "as stores through it show");
    at = map_through("mounted/file", O_RDONLY, PROT_READ, MAP_SHARED);
    is_errno(umount("mounted"), EBUSY, "one that cannot be stored to keeps the mount");
    is(remount(MS_RDONLY), 0, "but lets it become read-only");
    is_errno(open("mounted/file", O_RDWR), EROFS, "and then nobody writes");
    is(remount(0), 0, "it becomes writable again");
    int fd = open("mounted/file", O_RDWR);
    ok(fd >= 0, "for everybody");
    is_errno(remount(MS_RDONLY), EBUSY, "a description for writing holds it, too");
    need(close(fd) == 0 && munmap(at, PAGES * PAGE) == 0);
    is(umount("mounted"), 0, "nothing refers to it any more");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "--run") == 0)
        return RAN;
    scratch_begin();
    subtest("write access", write_access);
    subtest("write access of a child", inherited);
    subtest("locks", locks);
    subtest("pieces", pieces);
    subtest("times", times);
    subtest("mounts", mounts);
    return done();
}
