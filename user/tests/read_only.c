// A file system becomes read-only while others change it: each change comes before, and the remount
// is refused, or after, and then it is.
#include "../lib/mounts.h"
#include "../lib/proc.h"
#include "../lib/scratch.h"
#include "../lib/sync_points.h"

#include <sys/stat.h>
#include <sys/syscall.h>

enum { EXCHANGE = 2 }; // RENAME_EXCHANGE

static int remount_with(unsigned long flags, const char* options) {
    return mount(NULL, "mounted", NULL, MS_REMOUNT | flags, options);
}

static int remount(unsigned long flags) { return remount_with(flags, NULL); }

static int make_file(void) {
    const int fd = open("mounted/new", O_CREAT | O_RDONLY, 0600);
    return fd < 0 ? fd : close(fd);
}
static int make_directory(void) { return mkdir("mounted/new", 0700); }
static int make_node(void) { return mknod("mounted/new", S_IFIFO | 0600, 0); }
static int make_symlink(void) { return symlink("text", "mounted/new"); }
static int make_link(void) { return link("mounted/file", "mounted/new"); }
static int remove_file(void) { return unlink("mounted/file"); }
static int remove_directory(void) { return rmdir("mounted/directory"); }
static int move_file(void) { return rename("mounted/file", "mounted/new"); }
static int exchange(void) {
    return (int)syscall(SYS_renameat2, AT_FDCWD, "mounted/file", AT_FDCWD, "mounted/directory",
                        EXCHANGE);
}

static const struct change {
    const char* name;
    int (*make)(void);
} changes[] = {
    {"open", make_file},         {"mkdir", make_directory}, {"mknod", make_node},
    {"symlink", make_symlink},   {"link", make_link},       {"unlink", remove_file},
    {"rmdir", remove_directory}, {"rename", move_file},     {"exchange", exchange},
};

static void exit_with_error(void* change) {
    errno = 0;
    (void)((const struct change*)change)->make();
    _exit(errno);
}

// A change that has seen that it may, and that the mount becomes read-only before it comes to pass.
static void read_only_in_between(void) {
    static const char point[] = "about_to_publish";
    if (!own_mounts())
        return;
    if (!control('-', point)) {
        skip("no sync points");
        return;
    }
    need(mount("test", "mounted", "tmpfs", 0, NULL) == 0);
    put_file("mounted/file", 0600, "text");
    need(mkdir("mounted/directory", 0700) == 0);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const char* name = changes[i].name;
        hold(point);
        const pid_t child = spawn(exit_with_error, (void*)&changes[i]);
        need(eventually(is_at(child, point)));
        is(remount(MS_RDONLY), 0, "%s: nothing of it has begun", name);
        let_go(point);
        is_exit(reap(child), EROFS, "%s: and it does not begin any more", name);
        struct stat file, directory;
        ok(stat("mounted/file", &file) == 0 && S_ISREG(file.st_mode) && file.st_nlink == 1 &&
               stat("mounted/directory", &directory) == 0 && S_ISDIR(directory.st_mode) &&
               access("mounted/new", F_OK) < 0,
           "%s: all is as it was", name);
        need(remount(0) == 0);
    }
    is(umount("mounted"), 0, "nothing is left of them");
}

static void change_all_the_time(void* unused) {
    (void)unused;
    for (;;) {
        (void)mkdir("mounted/directory/new", 0700);
        (void)chmod("mounted/directory", 0711);
        (void)rename("mounted/directory/new", "mounted/directory/other");
        (void)chmod("mounted/directory", 0700);
        (void)rmdir("mounted/directory/other");
        (void)utimensat(AT_FDCWD, "mounted/directory", NULL, 0);
    }
}

static bool same_time(struct timespec a, struct timespec b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

// Once the remount has succeeded nothing changes, whatever others were about to do.
static void read_only_at_any_time(void) {
    enum { ROUNDS = 100, LOOKS = 5 };
    int changed = 0, read_only = 0;
    if (!own_mounts())
        return;
    need(mount("test", "mounted", "tmpfs", 0, NULL) == 0);
    need(mkdir("mounted/directory", 0700) == 0);
    const pid_t child = spawn(change_all_the_time, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        sched_yield();
        if (remount(MS_RDONLY) != 0) {
            need(errno == EBUSY);
            continue;
        }
        struct stat then, now;
        read_only++;
        need(stat("mounted/directory", &then) == 0);
        for (int look = 0; look < LOOKS; look++)
            sched_yield();
        need(stat("mounted/directory", &now) == 0);
        changed += now.st_nlink != then.st_nlink || now.st_mode != then.st_mode ||
                   !same_time(now.st_ctim, then.st_ctim);
        need(remount(0) == 0);
    }
    need(kill(child, SIGKILL) == 0 && killed_by(reap(child), SIGKILL));
    diag("read-only %d times", read_only);
    is(changed, 0, "what is read-only does not change");
    is(umount("mounted"), 0, "nothing is left of them");
}

static void exit_when_writable(void* unused) {
    (void)unused;
    while (mkdir("mounted/new", 0700) < 0 && errno == EROFS)
        continue;
}

// Options that cannot be, of which the second is found out late: the flags stay as they were.
static void refused_remounts(void) {
    static const char* const options[] = {"size=1x", "nr_inodes=1"};
    enum { ROUNDS = 1000 };
    int taken = 0;
    if (!own_mounts())
        return;
    need(mount("test", "mounted", "tmpfs", 0, NULL) == 0);
    need(mkdir("mounted/directory", 0700) == 0);
    is_errno(remount_with(MS_RDONLY, options[0]), EINVAL, "a wrong option with MS_RDONLY");
    is_errno(remount_with(MS_RDONLY, options[1]), EINVAL, "too few files");
    succeeds(rmdir("mounted/directory"), "it can still be written to");
    need(mkdir("mounted/directory", 0700) == 0 && remount(MS_RDONLY) == 0);
    const pid_t child = spawn(exit_when_writable, NULL);
    for (int i = 0; i < ROUNDS; i++)
        taken += remount_with(0, options[i % 2]) == 0 || errno != EINVAL;
    is(taken, 0, "nor is it made writable with such");
    need(kill(child, SIGKILL) == 0);
    is_killed(reap(child), SIGKILL, "not for a moment");
    is(umount("mounted"), 0, "nothing is left of them");
}

int main(void) {
    scratch_begin();
    need(mkdir("mounted", 0700) == 0);
    subtest("read-only in the midst of a change", read_only_in_between);
    subtest("read-only at any time", read_only_at_any_time);
    subtest("remounts that are refused", refused_remounts);
    return done();
}
