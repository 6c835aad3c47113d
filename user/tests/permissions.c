// Who may do what with a file: permission bits, owners, the sticky bit, programs that are running.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <grp.h>
#include <sys/wait.h>

enum { STUDENT = 1000, OTHER = 1001, GROUP = 2000 };

// Becomes an ordinary user for the rest of the subtest.
static void become(uid_t uid) {
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
    become(STUDENT);
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
    become(STUDENT);
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
    become(STUDENT);
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
    subtest("running programs", running);
    return done();
}
