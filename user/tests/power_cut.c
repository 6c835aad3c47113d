// A workload for a power cut, as tools/power-cut makes it:
//
//     power_cut FOLDER DISK MARKS < OPERATIONS
//
// A line is an operation, in FOLDER. `mark N` says that what was asked for before it has been promised: N goes
// to the begin of MARKS, a disk of its own in the same log. `push FIRST SIZE` has that part of DISK written that
// is dirty, without a promise, as it may be at any time. Without a disk there is nothing to do.
#include "../lib/tap.h"

#include <fcntl.h>
#include <sys/stat.h>

static char a[1000], b[1000];
static long long x, y, z;
static const char *disk, *marks;

// Byte `at` of what write number `seed` writes: tools/power-cut knows it, too.
static char byte_of(long long seed, long long at) {
    return (char)(seed * 37 + at * 11 + (at >> 9) * 5 + 1);
}

static bool closed(int fd, bool well) { return close(fd) == 0 && well; }

static bool put_bytes(const char* path, int flags) {
    const int fd = open(path, O_WRONLY | flags);
    char* bytes = malloc((size_t)y);
    if (fd < 0 || !bytes)
        return false;
    for (long long i = 0; i < y; i++)
        bytes[i] = byte_of(z, x + i);
    const bool well = pwrite(fd, bytes, (size_t)y, x) == y;
    free(bytes);
    return closed(fd, well);
}

static bool sync_one(int (*call)(int)) {
    const int fd = open(a, O_RDONLY);
    return fd >= 0 && closed(fd, call(fd) == 0);
}

static bool push(void) {
    const int fd = open(disk, O_RDWR);
    return fd >= 0 && closed(fd, sync_file_range(fd, x, y, 7) == 0);
}

static bool mark(void) {
    const int fd = open(marks, O_WRONLY);
    return fd >= 0 && closed(fd, pwrite(fd, &x, sizeof x, 0) == sizeof x && fsync(fd) == 0);
}

static bool create(void) {
    const int fd = open(a, O_WRONLY | O_CREAT | O_EXCL, 0644);
    return fd >= 0 && closed(fd, true);
}

static bool is_call(const char* line, const char* name, const char* format, void* one, void* two) {
    const size_t length = strlen(name);
    return !strncmp(line, name, length) && line[length] == ' ' &&
           sscanf(line + length, format, one, two) >= 1;
}

static bool carry_out(const char* line) {
    if (!strncmp(line, "sync\n", 5))
        return sync(), true;
    if (is_call(line, "push", "%lld %lld", &x, &y))
        return push();
    if (is_call(line, "mark", "%lld", &x, NULL))
        return mark();
    if (is_call(line, "truncate", "%999s %lld", a, &x))
        return truncate(a, x) == 0;
    if (is_call(line, "rename", "%999s %999s", a, b))
        return rename(a, b) == 0;
    if (is_call(line, "link", "%999s %999s", a, b))
        return link(a, b) == 0;
    if (is_call(line, "create", "%999s", a, NULL))
        return create();
    if (is_call(line, "mkdir", "%999s", a, NULL))
        return mkdir(a, 0755) == 0;
    if (is_call(line, "rmdir", "%999s", a, NULL))
        return rmdir(a) == 0;
    if (is_call(line, "unlink", "%999s", a, NULL))
        return unlink(a) == 0;
    if (is_call(line, "fsync", "%999s", a, NULL))
        return sync_one(fsync);
    if (is_call(line, "fdatasync", "%999s", a, NULL))
        return sync_one(fdatasync);
    if (is_call(line, "syncfs", "%999s", a, NULL))
        return sync_one(syncfs);
    const bool safe = !strncmp(line, "osync ", 6);
    return sscanf(line, "%*s %999s %lld %lld %lld", a, &x, &y, &z) == 4 &&
           put_bytes(a, safe ? O_SYNC : 0);
}

int main(int argc, char** argv) {
    if (argc < 4) {
        skip("no disk");
        return done();
    }
    need(chdir(argv[1]) == 0);
    disk = argv[2];
    marks = argv[3];
    char line[2100];
    unsigned n = 0;
    for (; fgets(line, sizeof line, stdin); n++)
        if (!carry_out(line)) {
            ok(false, "line %u: %.*s: %s", n + 1, (int)strcspn(line, "\n"), line, strerror(errno));
            return done();
        }
    ok(true, "%u operations", n);
    return done();
}
