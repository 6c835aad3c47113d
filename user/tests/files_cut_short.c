// spork-only
// Changes of a file system that end half-way: for want of memory (/proc/sys/vm/fail_allocation), or since the
// caller is killed. Each is done as a whole or not at all; what the disk has of it e2fsck looks at.
//
//     files_cut_short DISK FOLDER
//
// The disk is mounted there, has nothing in it, and is mounted again afterwards. Without one there is nothing
// to do.
#include "../lib/tap.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { BLKFLSBUF_CALL = 0x1261, MOST_FAILURES = 300 };

static const char *disk_path, *folder;
static int disk, fail_fd;

static void arm(long n) {
    char text[24];
    const int length = snprintf(text, sizeof text, "%ld", n);
    need(pwrite(fail_fd, text, (size_t)length, 0) == length);
}

// Whether the allocation that was armed has been refused.
static bool has_failed(void) {
    char text[24] = "";
    return pread(fail_fd, text, sizeof text - 1, 0) > 0 && atol(text) == 0;
}

// ---- Want of memory --------------------------------------------------------------------------

static bool there(const char* path) {
    struct stat is;
    return lstat(path, &is) == 0;
}

static bool make_file(const char* path, size_t size) {
    const int fd = open(path, O_CREAT | O_WRONLY, 0600);
    char bytes[1000];
    bool well = fd >= 0;
    memset(bytes, 'a', sizeof bytes);
    for (size_t at = 0; well && at < size; at += sizeof bytes)
        well = write(fd, bytes, sizeof bytes) == sizeof bytes;
    const int error = errno;
    close(fd);
    errno = error;
    return well;
}

static bool do_write(void) { return make_file("a/new", 300000); }
static bool do_cut(void) { return truncate("a/file", 500) == 0; }
static bool do_grow(void) { return truncate("a/file", 400000) == 0; }
static bool do_unlink(void) { return unlink("a/file") == 0; }
static bool do_link(void) { return link("a/file", "b/new") == 0; }
static bool do_rename(void) { return rename("a/file", "b/new") == 0; }
static bool do_replace(void) { return rename("a/file", "b/other") == 0; }
static bool do_move(void) { return rename("a/folder", "b/new") == 0; }
static bool do_mkdir(void) { return mkdir("a/new", 0700) == 0; }
static bool do_rmdir(void) { return rmdir("a/folder") == 0; }
static bool do_symlink(void) {
    return symlink(
               "a text that is so long that it needs a block of its own, since it has more than 59",
               "a/new") == 0;
}
static bool do_exchange(void) {
    return syscall(SYS_renameat2, AT_FDCWD, "a/folder", AT_FDCWD, "b/other",
                   2 /* RENAME_EXCHANGE */) == 0;
}
static bool do_mount(void) { return mount(disk_path, folder, "ext2", 0, "") == 0; }

static void prepare(void) {
    (void)unlink("a/new");
    (void)rmdir("a/new");
    (void)unlink("b/new");
    (void)rmdir("b/new");
    (void)unlink("b/other");
    (void)rmdir("b/other");
    (void)rmdir("a/folder");
    (void)unlink("a/folder");
    (void)mkdir("a", 0700);
    (void)mkdir("b", 0700);
    need(mkdir("a/folder", 0700) == 0);
    need(make_file("a/file", 300000) && make_file("b/other", 3000));
    // Blocks have to be read again, and that needs memory.
    sync();
    need(ioctl(disk, BLKFLSBUF_CALL, 0) == 0);
}

// With each allocation refused in turn, until none is.
static unsigned fail_all(const char* name, bool (*change)(void), bool whole) {
    for (long n = 1; n < MOST_FAILURES; n++) {
        if (whole)
            prepare();
        arm(n);
        const bool well = change();
        const int error = errno;
        const bool failed = has_failed();
        arm(0);
        if (change == do_mount && well)
            need(umount(folder) == 0);
        if (!well && error != ENOMEM) {
            ok(false, "%s, allocation %ld: %s", name, n, strerror(error));
            return 0;
        }
        if (change == do_rename && there("a/file") == there("b/new")) {
            ok(false, "rename, allocation %ld: both names, or none", n);
            return 0;
        }
        if (!failed) {
            ok(well, "%s without a failure", name);
            return (unsigned)n - 1;
        }
    }
    ok(false, "%s fails for ever", name);
    return 0;
}

static void want_of_memory(void) {
    static const struct {
        const char* name;
        bool (*change)(void);
    } all[] = {
        {"write", do_write},     {"cut", do_cut},         {"grow", do_grow},
        {"unlink", do_unlink},   {"link", do_link},       {"rename", do_rename},
        {"replace", do_replace}, {"move", do_move},       {"mkdir", do_mkdir},
        {"rmdir", do_rmdir},     {"symlink", do_symlink}, {"exchange", do_exchange},
    };
    unsigned failures = 0;
    need(chdir(folder) == 0);
    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++)
        failures += fail_all(all[i].name, all[i].change, true);
    need(chdir("/") == 0 && umount(folder) == 0);
    failures += fail_all("mount", do_mount, false);
    need(mount(disk_path, folder, "ext2", 0, "") == 0);
    ok(failures > 30, "%u allocations were refused", failures);
}

// ---- The caller is killed --------------------------------------------------------------------

enum { NAMES = 1500, KILLS = 150 };

// A directory of many blocks, of which the last one was looked at: ".." is far.
static void move_for_ever(void) {
    struct stat is;
    for (;;) {
        (void)stat("a/large/1499", &is);
        (void)rename("a/large", "b/large");
        (void)stat("b/large/1499", &is);
        (void)rename("b/large", "a/large");
    }
}

static void killed(void) {
    char name[40];
    need(chdir(folder) == 0);
    need(mkdir("a/large", 0700) == 0);
    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "a/large/%u", i);
        need(make_file(name, 0));
    }
    unsigned right = 0;
    for (unsigned i = 0; i < KILLS; i++) {
        const pid_t child = fork();
        if (child == 0)
            move_for_ever();
        usleep(1000 + i * 37 % 3000);
        need(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
        const bool in_a = there("a/large"), in_b = there("b/large");
        struct stat up, parent;
        need(stat(in_a ? "a" : "b", &parent) == 0 &&
             stat(in_a ? "a/large/.." : "b/large/..", &up) == 0);
        right += in_a != in_b && up.st_ino == parent.st_ino;
    }
    is(right, (unsigned)KILLS, "a directory that moves has one name, and knows its parent");
}

int main(int argc, char** argv) {
    if (argc < 3) {
        skip("no disk");
        return done();
    }
    disk_path = argv[1];
    folder = argv[2];
    disk = open(disk_path, O_RDWR);
    fail_fd = open("/proc/sys/vm/fail_allocation", O_RDWR);
    need(disk >= 0 && fail_fd >= 0 && mount(disk_path, folder, "ext2", 0, "") == 0);
    subtest("want of memory", want_of_memory);
    subtest("killed", killed);
    need(umount(folder) == 0);
    return done();
}
