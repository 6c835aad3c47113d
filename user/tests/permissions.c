// needs-root
// Who may do what with a file: permission bits, owners, the sticky bit, programs that are running.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sched.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { STUDENT = 1000, OTHER = 1001, GROUP = 2000 };

// Becomes an ordinary user, one of GROUP, for the rest of the subtest.
static void become_member(uid_t uid) {
    gid_t group = GROUP;
    need(setgroups(1, &group) == 0);
    need(setgid(uid) == 0);
    need(setuid(uid) == 0);
}

static void bits(void) {
    put_file("mine", 0600, "m");
    put_file("all", 0666, "a");
    put_file("group", 0060, "g");
    put_file("not_owner", 0077, "o");
    need(chown("mine", STUDENT, STUDENT) == 0);
    need(chown("group", 0, GROUP) == 0);
    need(chown("not_owner", STUDENT, STUDENT) == 0);
    need(mkdir("closed", 0700) == 0 && mkdir("through", 0711) == 0);
    put_file("closed/file", 0666, "c");
    put_file("through/file", 0666, "t");
    become_member(STUDENT);
    ok(open("mine", O_RDWR) >= 0, "the owner's bits");
    ok(open("all", O_RDWR) >= 0, "everybody's bits");
    ok(open("group", O_RDWR) >= 0, "a supplementary group's bits");
    is_errno(open("not_owner", O_RDONLY), EACCES, "the owner is not everybody");
    is_errno(open("closed/file", O_RDONLY), EACCES, "no way through a folder without x");
    is_errno(open("closed", O_RDONLY), EACCES, "nor is it read");
    ok(open("through/file", O_RDWR) >= 0, "x alone lets through");
    is_errno(open("through", O_RDONLY), EACCES, "but not read");
    is_errno(open("through/new", O_CREAT | O_RDWR, 0600), EACCES, "nor written");
    is_errno(mkdir("through/new", 0700), EACCES, "by mkdir");
    is_errno(unlink("through/file"), EACCES, "or unlink");
    is_errno(unlink("through/nothing"), ENOENT, "what is not there is not refused");
    is_errno(mkdir("through/file", 0700), EEXIST, "nor what is there already");
    is_errno(rename("through/file", "file"), EACCES, "or rename");
    is_errno(access("through/file", X_OK), EACCES, "access for execution");
    is(access("through/file", R_OK | W_OK), 0, "and for the rest");
    is_errno(truncate("not_owner", 0), EACCES, "truncate wants to write");
    int fd = open("readonly", O_CREAT | O_RDWR | O_EXCL, 0400);
    ok(fd >= 0 && write(fd, "x", 1) == 1, "whoever makes a file may write it, whatever its bits");
    is_errno(open("readonly", O_RDWR), EACCES, "once");
}

static void root(void) {
    put_file("none", 0000, "n");
    need(chown("none", STUDENT, STUDENT) == 0);
    ok(open("none", O_RDWR) >= 0, "root reads and writes everything");
    is_errno(access("none", X_OK), EACCES, "but executes only what somebody may");
    char* argv[] = {"none", NULL};
    is_errno(execv("./none", argv), EACCES, "as exec says");
    need(seteuid(STUDENT) == 0);
    is(access("none", W_OK), 0, "access asks for the real user");
    is_errno(faccessat(AT_FDCWD, "none", W_OK, AT_EACCESS), EACCES, "unless told otherwise");
}

static void owners(void) {
    put_file("file", 04755, "");
    need(chown("file", STUDENT, STUDENT) == 0);
    struct stat st;
    need(stat("file", &st) == 0);
    is(st.st_mode & 07777, 0755, "a new owner: setuid goes");
    need(chmod("file", 06755) == 0);
    put_file("roots", 0644, "");
    become_member(STUDENT);
    is_errno(chmod("roots", 0777), EPERM, "chmod of another's file");
    is_errno(chown("roots", STUDENT, -1), EPERM, "chown to oneself");
    is_errno(chown("file", OTHER, -1), EPERM, "chown to another");
    is_errno(chown("file", -1, OTHER), EPERM, "or to a group that one is not in");
    is(chown("file", -1, GROUP), 0, "to one's own group");
    need(stat("file", &st) == 0);
    is(st.st_gid, GROUP, "is done");
    is(st.st_mode & 07777, 0755, "without setuid and setgid");
    need(chmod("file", 04755) == 0);
    int fd = open("file", O_WRONLY);
    need(fd >= 0 && write(fd, "x", 1) == 1);
    need(stat("file", &st) == 0);
    is(st.st_mode & 07777, 0755, "nor after a write");
    is_errno(utimensat(AT_FDCWD, "roots", (struct timespec[2]){{1, 0}, {2, 0}}, 0), EPERM,
             "times of another's file");
    is_errno(utimensat(AT_FDCWD, "roots", NULL, 0), EACCES,
             "even the present, without write permission");
    is(utimensat(AT_FDCWD, "file", (struct timespec[2]){{1, 0}, {2, 5}}, 0), 0, "one's own");
    need(stat("file", &st) == 0);
    ok(st.st_atime == 1 && st.st_mtime == 2 && st.st_mtim.tv_nsec == 5, "are set");
}

static void sticky(void) {
    need(mkdir("tmp", 0777) == 0 && chmod("tmp", 01777) == 0);
    put_file("tmp/others", 0666, "");
    put_file("tmp/mine", 0666, "");
    need(chown("tmp/others", OTHER, OTHER) == 0 && chown("tmp/mine", STUDENT, STUDENT) == 0);
    become_member(STUDENT);
    is_errno(unlink("tmp/others"), EPERM, "another's file in a sticky folder stays");
    is_errno(rename("tmp/others", "tmp/x"), EPERM, "under its name");
    is_errno(rename("tmp/mine", "tmp/others"), EPERM, "and is not replaced");
    is(rename("tmp/mine", "tmp/x"), 0, "one's own can be renamed");
    is(unlink("tmp/x"), 0, "and removed");
}

static void inherited_group(void) {
    need(mkdir("shared", 0777) == 0 && chown("shared", 0, GROUP) == 0 &&
         chmod("shared", 02777) == 0);
    umask(027);
    put_file("shared/file", 0640, "");
    need(mkdir("shared/folder", 0777) == 0);
    struct stat file, folder;
    need(stat("shared/file", &file) == 0 && stat("shared/folder", &folder) == 0);
    is(file.st_gid, GROUP, "a file in a setgid folder has its group");
    is(folder.st_gid, GROUP, "and so has a folder");
    is(folder.st_mode & 07777, 02750, "which is setgid in turn");
}

static mode_t mode_of(int fd) {
    struct stat st;
    need(fstat(fd, &st) == 0);
    return st.st_mode & 07777;
}

// A group's set-gid folder lends its group to whoever may make files there, but not its power.
static void lent_group(void) {
    need(mkdir("lent", 0777) == 0 && chown("lent", 0, OTHER) == 0 && chmod("lent", 02777) == 0);
    need(mkdir("own", 0777) == 0 && chown("own", 0, GROUP) == 0 && chmod("own", 02777) == 0);
    umask(0);
    become_member(STUDENT);
    int fd = open("lent/program", O_CREAT | O_EXCL | O_RDWR, 02777);
    is(mode_of(fd), 0777, "a program made in another group's folder does not run as that group");
    is(mode_of(open("own/program", O_CREAT | O_RDWR, 02777)), 02777,
       "in one's own group's it does");
    is(mode_of(open("lent/plain", O_CREAT | O_RDWR, 02666)), 02666, "what cannot run keeps it");
    need(mknod("lent/node", S_IFREG | 02777, 0) == 0);
    is(mode_of(open("lent/node", O_RDONLY)), 0777, "nor by mknod");
    need(mkdir("lent/folder", 0777) == 0);
    is(mode_of(open("lent/folder", O_RDONLY)), 02777, "a folder lends in turn");
    is(fchmod(fd, 02777), 0, "chmod afterwards");
    is(mode_of(fd), 0777, "does not give it either");
}

static int six(void) {
    int fd = open("six", O_RDWR | O_CREAT, 0777);
    need(fd >= 0 && fchmod(fd, 06777) == 0 && mode_of(fd) == 06777);
    return fd;
}

// Whatever changes a file's contents or its owner takes its set-id bits.
static void lost_privileges(void) {
    need(chmod(".", 0777) == 0);
    become_member(STUDENT);
    struct stat st;
    int fd = six();
    need(write(fd, "xy", 2) == 2);
    is(mode_of(fd), 0777, "write");
    fd = six();
    need(pwrite(fd, "xy", 2, 1) == 2);
    is(mode_of(fd), 0777, "pwrite");
    fd = six();
    need(fallocate(fd, 0, 0, 8192) == 0);
    is(mode_of(fd), 0777, "fallocate");
    fd = six();
    need(ftruncate(fd, 1) == 0);
    is(mode_of(fd), 0777, "ftruncate");
    fd = six();
    need(truncate("six", 100) == 0);
    is(mode_of(fd), 0777, "truncate");
    fd = six();
    need(open("six", O_RDONLY | O_TRUNC) >= 0);
    is(mode_of(fd), 0777, "O_TRUNC");
    fd = six();
    int from = open("from", O_RDWR | O_CREAT, 0600);
    off_t start = 0;
    need(write(from, "abc", 3) == 3 && sendfile(fd, from, &start, 3) == 3);
    is(mode_of(fd), 0777, "sendfile");
    fd = six();
    need(chown("six", -1, GROUP) == 0 && stat("six", &st) == 0);
    is(mode_of(fd), 0777, "chown");
    fd = six();
    need(fchown(fd, -1, -1) == 0);
    is(mode_of(fd), 0777, "chown that changes nothing");
    fd = six();
    need(fchmod(fd, 06666) == 0 && write(fd, "x", 1) == 1);
    is(mode_of(fd), 02666, "set-gid without x is something else");
    fd = six();
    need(futimens(fd, NULL) == 0 && link("six", "seven") == 0 && rename("seven", "eight") == 0);
    is(mode_of(fd), 06777, "times and names take nothing");
}

// A folder that one may read and not search, entered while one could, and renames that would change
// a folder that one may not write: both sides of an exchange are asked.
static void folders_of_others(void) {
    struct stat st;
    need(mkdir("unsearchable", 0666) == 0 && chmod("unsearchable", 0666) == 0);
    need(mkdir("west", 0777) == 0 && chmod("west", 0777) == 0 && mkdir("west/own", 0700) == 0);
    need(mkdir("east", 0777) == 0 && chmod("east", 0777) == 0 && mkdir("east/closed", 0555) == 0);
    need(chown("west/own", STUDENT, STUDENT) == 0);
    need(chdir("unsearchable") == 0);
    become_member(STUDENT);
    is_errno(stat(".", &st), EACCES, "no way even to the folder itself");
    is_errno(stat("./", &st), EACCES, "with a slash");
    is_errno(open(".", O_RDONLY), EACCES, "or to open it");
    is(stat("/proc/self/cwd", &st), 0, "but by a link that leads there");
    need(chdir(scratch_path) == 0);
    enum { EXCHANGE = 2 };
    is_errno(syscall(SYS_renameat2, AT_FDCWD, "west/own", AT_FDCWD, "east/closed", EXCHANGE),
             EACCES, "exchange with a folder that may not be written");
    is_errno(rename("east/closed", "west/closed"), EACCES, "or moving it");
    is(rename("east/closed", "east/other"), 0, "but it may get another name where it is");
    is(rename("west/own", "east/own"), 0, "and one's own moves");
}

static void strangers_chown(void) {
    put_file("plain", 0755, "");
    put_file("program", 0755, "");
    need(chmod("program", 04755) == 0);
    become_member(STUDENT);
    is(chown("plain", -1, -1), 0, "a chown that changes nothing is nobody's business");
    is_errno(chown("program", -1, -1), EPERM, "unless it would take set-id bits");
}

// chmod is one step: a file that root takes back is never set-user-id by a chmod that was on its
// way.
static void owner_races_chmod(void) {
    put_file("program", 0755, "");
    int stop[2];
    need(pipe(stop) == 0);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        close(stop[1]);
        need(fcntl(stop[0], F_SETFL, O_NONBLOCK) == 0);
        become_member(STUDENT);
        char c;
        while (read(stop[0], &c, 1) < 0)
            (void)chmod("program", 04755);
        _exit(0);
    }
    int bad = 0;
    struct stat st;
    for (int round = 0; round < 300; round++) {
        need(chown("program", STUDENT, STUDENT) == 0);
        sched_yield();
        need(chown("program", 0, 0) == 0);
        for (int look = 0; look < 20; look++) {
            need(stat("program", &st) == 0);
            bad += (st.st_mode & S_ISUID) != 0;
        }
    }
    close(stop[1]);
    int status;
    need(waitpid(child, &status, 0) == child);
    is(bad, 0, "root's file is never set-user-id");
}

static void running(void) {
    int from = open("/proc/self/exe", O_RDONLY), to = open("program", O_CREAT | O_WRONLY, 0755);
    char block[4096];
    for (ssize_t n; (n = read(from, block, sizeof block)) > 0;)
        need(write(to, block, (size_t)n) == n);
    char* argv[] = {"program", "--sleep", NULL};
    is_errno(execv("./program", argv), ETXTBSY, "a program that is being written is not run");
    need(close(to) == 0);
    int ready[2], stop[2];
    need(pipe(ready) == 0 && pipe(stop) == 0);
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        dup2(ready[1], 1);
        dup2(stop[0], 0);
        close(stop[1]);
        execv("./program", argv);
        _exit(1);
    }
    close(ready[1]);
    need(read(ready[0], block, 1) == 1);
    is_errno(open("program", O_WRONLY), ETXTBSY, "a program that runs is not written");
    is_errno(truncate("program", 0), ETXTBSY, "nor truncated");
    ok(open("program", O_RDONLY) >= 0, "but read");
    is(unlink("program"), 0, "and removed");
    close(stop[1]);
    int status;
    need(waitpid(child, &status, 0) == child);
    is(status, 0, "while it goes on");
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "--sleep") == 0) {
        char c;
        return write(1, "r", 1) != 1 || read(0, &c, 1) != 0;
    }
    scratch_begin();
    subtest("permission bits", bits);
    subtest("root", root);
    subtest("owners", owners);
    subtest("the sticky bit", sticky);
    subtest("inherited groups", inherited_group);
    subtest("a lent group", lent_group);
    subtest("bits that are lost", lost_privileges);
    subtest("a stranger's chown", strangers_chown);
    subtest("folders of others", folders_of_others);
    subtest("chown beside chmod", owner_races_chmod);
    subtest("running programs", running);
    return done();
}
