// What stat tells, and what changes it: modes and their mask, owners, times, lengths.
#include "../lib/proc.h"
#include "../lib/scratch.h"

static struct stat stat_of(const char* path) {
    struct stat st;
    need(lstat(path, &st) == 0);
    return st;
}

static bool later(struct timespec a, struct timespec b) {
    return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static bool same(struct timespec a, struct timespec b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static void fields(void) {
    put_file("file", 0640, "12345");
    need(mkdir("folder", 0751) == 0 && symlink("file", "link") == 0);
    struct stat st = stat_of("file"), by_fd, folder = stat_of("folder");
    is(st.st_mode, S_IFREG | 0640, "a file's type and mode");
    is(st.st_size, 5, "its length");
    is(st.st_nlink, 1, "its links");
    is(st.st_uid, geteuid(), "its owner");
    ok(st.st_blksize >= 512, "a block size");
    int fd = open("file", O_RDONLY);
    need(fstat(fd, &by_fd) == 0);
    ok(by_fd.st_ino == st.st_ino && by_fd.st_dev == st.st_dev, "fstat sees the same file");
    ok(S_ISDIR(folder.st_mode) && folder.st_ino != st.st_ino, "a folder");
    ok(S_ISLNK(stat_of("link").st_mode), "a link");
    need(fstatat(AT_FDCWD, "link", &by_fd, 0) == 0);
    is(by_fd.st_ino, st.st_ino, "fstatat follows it");
    need(fstatat(AT_FDCWD, "link", &by_fd, AT_SYMLINK_NOFOLLOW) == 0);
    ok(S_ISLNK(by_fd.st_mode), "unless told not to");
    need(fstatat(fd, "", &by_fd, AT_EMPTY_PATH) == 0);
    is(by_fd.st_ino, st.st_ino, "an empty path is the descriptor itself, if so told");
    is_errno(fstatat(fd, "", &by_fd, 0), ENOENT, "and nothing otherwise");
    st = stat_of("/dev/null");
    ok(S_ISCHR(st.st_mode) && st.st_rdev == 0x103, "a device, with its number");
}

static void modes(void) {
    put_file("m", 0600, "");
    is(chmod("m", 0751), 0, "chmod");
    is(stat_of("m").st_mode & 07777, 0751, "sets the mode");
    int fd = open("m", O_RDONLY);
    is(fchmod(fd, 0444), 0, "fchmod");
    is(stat_of("m").st_mode & 07777, 0444, "too");
    is_errno(chmod("none", 0600), ENOENT, "of nothing");

    is(umask(027), 022, "umask gives the old mask");
    need(open("masked", O_CREAT | O_WRONLY, 0777) >= 0 && mkdir("maskdir", 0777) == 0);
    is(stat_of("masked").st_mode & 0777, 0750, "a new file's mode is masked");
    is(stat_of("maskdir").st_mode & 0777, 0750, "and a new folder's");
    is(chmod("masked", 0777), 0, "chmod");
    is(stat_of("masked").st_mode & 0777, 0777, "is not");
    pid_t child = fork();
    if (child == 0)
        _exit(umask(0) == 027 ? 0 : 1);
    is_exit(reap(child), 0, "a child has its parent's mask");
    is(umask(022), 027, "and cannot change it there");
}

static void permission(void) {
    struct stat st;
    put_file("open", 0666, "");
    put_file("closed", 0, "");
    put_file("read-only", 0444, "");
    need(mkdir("shut", 0700) == 0 && mkdir("fixed", 0755) == 0);
    put_file("shut/file", 0666, "");
    put_file("fixed/file", 0666, "");
    need(chmod("shut", 0) == 0 && chmod("fixed", 0555) == 0);
    drop_root();
    is(access("open", R_OK | W_OK), 0, "access: allowed");
    is_errno(access("closed", R_OK), EACCES, "access: forbidden");
    is(access("closed", F_OK), 0, "what is forbidden is still there");
    is_errno(access("open", X_OK), EACCES, "not executable");
    is_errno(access("none", F_OK), ENOENT, "not there");
    is_errno(open("closed", O_RDONLY), EACCES, "open: forbidden");
    is_errno(open("read-only", O_RDWR), EACCES, "open for writing: forbidden");
    ok(open("read-only", O_RDONLY) >= 0, "open for reading: allowed");
    is_errno(open("shut/file", O_RDONLY), EACCES, "a folder that may not be searched");
    is_errno(stat("shut/file", &st), EACCES, "for stat too");
    is_errno(open("fixed/new", O_CREAT | O_WRONLY, 0600), EACCES, "a folder not to be written");
    is_errno(unlink("fixed/file"), EACCES, "for unlink too");
    is_errno(mkdir("fixed/new", 0700), EACCES, "for mkdir too");
    is_errno(rename("fixed/file", "fixed/other"), EACCES, "for rename too");
    is_errno(chmod("/", 0777), EPERM, "another's file: no chmod");
    is_errno(chown("/", 1, 1), EPERM, "no chown");
}

static void set_times(void) {
    put_file("t", 0600, "x");
    struct timespec times[2] = {{1000000000, 123456789}, {1234567890, 987654321}};
    is(utimensat(AT_FDCWD, "t", times, 0), 0, "utimensat");
    ok(same(stat_of("t").st_atim, times[0]), "sets the time of access");
    ok(same(stat_of("t").st_mtim, times[1]), "and of modification, to the nanosecond");
    struct timespec omit[2] = {{0, UTIME_OMIT}, {5, 0}};
    is(utimensat(AT_FDCWD, "t", omit, 0), 0, "UTIME_OMIT");
    ok(same(stat_of("t").st_atim, times[0]) && stat_of("t").st_mtim.tv_sec == 5, "leaves one out");
    struct timespec now, set[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
    is(utimensat(AT_FDCWD, "t", set, 0), 0, "UTIME_NOW");
    clock_gettime(CLOCK_REALTIME, &now);
    ok(stat_of("t").st_mtim.tv_sec <= now.tv_sec && stat_of("t").st_mtim.tv_sec > now.tv_sec - 100,
       "is now");
    int fd = open("t", O_RDONLY);
    is(futimens(fd, times), 0, "futimens");
    ok(same(stat_of("t").st_mtim, times[1]), "sets them by descriptor");
    need(symlink("t", "l") == 0);
    is(utimensat(AT_FDCWD, "l", omit, AT_SYMLINK_NOFOLLOW), 0, "a link's own times");
    ok(same(stat_of("t").st_mtim, times[1]), "are not the file's");
    times[0].tv_nsec = 1000000000;
    is_errno(utimensat(AT_FDCWD, "t", times, 0), EINVAL, "nanoseconds beyond a second");
}

// Each change is made at least once at a time that is later than the one recorded.
static void kept_times(void) {
    const struct timespec past[2] = {{1000, 0}, {1000, 0}};
    put_file("k", 0600, "x");
    need(mkdir("kd", 0700) == 0);
    int fd = open("k", O_RDWR);

    need(futimens(fd, past) == 0 && write(fd, "y", 1) == 1);
    ok(later(stat_of("k").st_mtim, past[1]), "write sets the time of modification");
    need(futimens(fd, past) == 0 && ftruncate(fd, 0) == 0);
    ok(later(stat_of("k").st_mtim, past[1]), "so does ftruncate");
    need(futimens(fd, past) == 0 && chmod("k", 0640) == 0);
    ok(same(stat_of("k").st_mtim, past[1]), "chmod does not");
    ok(later(stat_of("k").st_ctim, past[1]), "but the time of change");
    char byte;
    need(futimens(fd, past) == 0 && read(fd, &byte, 1) == 0);
    ok(same(stat_of("k").st_mtim, past[1]), "nor does read");

    need(utimensat(AT_FDCWD, "kd", past, 0) == 0);
    put_file("kd/new", 0600, "");
    ok(later(stat_of("kd").st_mtim, past[1]), "a new name modifies the folder");
    need(utimensat(AT_FDCWD, "kd", past, 0) == 0 && rename("kd/new", "kd/old") == 0);
    ok(later(stat_of("kd").st_mtim, past[1]), "a rename does");
    need(utimensat(AT_FDCWD, "kd", past, 0) == 0 && unlink("kd/old") == 0);
    ok(later(stat_of("kd").st_mtim, past[1]), "a removal does");
}

int main(void) {
    umask(022);
    scratch_begin();
    subtest("fields", fields);
    subtest("modes and umask", modes);
    subtest("permissions of an ordinary user", permission);
    subtest("setting times", set_times);
    subtest("times that are kept", kept_times);
    return done();
}
