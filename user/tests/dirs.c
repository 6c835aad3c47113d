// Names: folders, links, renaming and removing, the working directory.
#include "../lib/proc.h"
#include "../lib/scratch.h"

#include <sys/syscall.h>

static bool exists(const char* path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static ino_t inode(const char* path) {
    struct stat st;
    need(lstat(path, &st) == 0);
    return st.st_ino;
}

static nlink_t links(const char* path) {
    struct stat st;
    need(lstat(path, &st) == 0);
    return st.st_nlink;
}

static void folders(void) {
    is(mkdir("d", 0755), 0, "mkdir");
    is_errno(mkdir("d", 0755), EEXIST, "once more");
    is_errno(mkdir("none/d", 0755), ENOENT, "in a folder that is not there");
    put_file("d/file", 0600, "");
    is_errno(mkdir("d/file/e", 0755), ENOTDIR, "below a file");
    is(mkdir("d/e/", 0755), 0, "with a slash at the end");
    is(links("d"), 3, "a folder's links: its name, its dot, its child's dots");
    is_errno(rmdir("d"), ENOTEMPTY, "rmdir of one that is not empty");
    is_errno(rmdir("d/file"), ENOTDIR, "rmdir of a file");
    is_errno(rmdir("d/e/."), EINVAL, "rmdir of a dot");
    is_errno(rmdir("d/e/.."), ENOTEMPTY, "rmdir of dots");
    is_errno(unlink("d/e"), EISDIR, "unlink of a folder");
    is(rmdir("d/e"), 0, "rmdir");
    is(links("d"), 2, "and one link less");
    is_errno(rmdir("d/e"), ENOENT, "it is gone");
    is(unlinkat(AT_FDCWD, "d/file", 0), 0, "unlinkat of a file");
    is(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR), 0, "unlinkat of a folder");
    is(inode("/"), inode("/.."), "above the root is the root");
}

static void renaming(void) {
    put_file("a", 0600, "A");
    put_file("b", 0600, "B");
    ino_t a = inode("a");
    is(rename("a", "c"), 0, "rename");
    ok(!exists("a") && inode("c") == a, "the same file under its new name");
    is(rename("c", "b"), 0, "over another file");
    is_str(get_file("b"), "A", "which is gone");
    is(rename("b", "b"), 0, "to itself");
    is_errno(rename("none", "b"), ENOENT, "of what is not there");
    need(mkdir("d", 0755) == 0 && mkdir("e", 0755) == 0 && mkdir("e/sub", 0755) == 0);
    is_errno(rename("b", "d"), EISDIR, "a file over a folder");
    is_errno(rename("d", "b"), ENOTDIR, "a folder over a file");
    is_errno(rename("d", "e"), ENOTEMPTY, "a folder over one that is not empty");
    is_errno(rename("e", "e/sub/f"), EINVAL, "a folder into itself");
    is(rename("e", "d"), 0, "a folder over an empty one");
    ok(exists("d/sub") && !exists("e"), "with what is in it");
    ino_t d = inode("d");
    need(mkdir("other", 0755) == 0);
    is(rename("d/sub", "other/sub"), 0, "a folder to another place");
    is(inode("other/sub/.."), inode("other"), "its dots follow");
    is(links("other"), 3, "and are counted");
    is(links("d"), 2, "where they are");
    is(inode("d"), d, "the old folder is still itself");
    int fd = open("b", O_RDONLY);
    need(rename("b", "renamed") == 0);
    char byte = 0;
    need(read(fd, &byte, 1) == 1);
    is(byte, 'A', "an open file can be renamed");
    put_file("x", 0600, "");
    need(link("x", "y") == 0);
    is(rename("x", "y"), 0, "two names of one file, one over the other");
    ok(exists("x"), "changes nothing");
}

static void hard_links(void) {
    put_file("one", 0600, "text");
    is(link("one", "two"), 0, "link");
    is(inode("two"), inode("one"), "is the same file");
    is(links("one"), 2, "with two links");
    is_errno(link("one", "two"), EEXIST, "to a name that is taken");
    is_errno(link("none", "three"), ENOENT, "of what is not there");
    is_errno(link(".", "three"), EPERM, "of a folder");
    is(unlink("one"), 0, "unlink one name");
    is_str(get_file("two"), "text", "the other one is there");
    is(links("two"), 1, "alone");
    int fd = open("two", O_RDWR);
    need(unlink("two") == 0);
    is(pwrite(fd, "T", 1, 0), 1, "a file without a name can be written");
    char text[5] = "";
    is(pread(fd, text, 4, 0), 4, "and read");
    is_str(text, "Text", "as long as it is open");
    struct stat st;
    need(fstat(fd, &st) == 0);
    is(st.st_nlink, 0, "it has no link");
}

static void symbolic_links(void) {
    char text[64];
    struct stat st;
    need(mkdir("folder", 0755) == 0);
    put_file("folder/file", 0600, "through");
    is(symlink("folder", "to"), 0, "symlink");
    is_errno(symlink("x", "to"), EEXIST, "where something is");
    is(readlink("to", text, sizeof text), 6, "readlink");
    is(memcmp(text, "folder", 6), 0, "reads what it points to");
    is(readlink("to", text, 3), 3, "or its beginning");
    is_errno(readlink("folder", text, 64), EINVAL, "of what is no link");
    is_str(get_file("to/file"), "through", "a path may go through it");
    need(lstat("to", &st) == 0);
    ok(S_ISLNK(st.st_mode) && st.st_size == 6, "lstat sees the link");
    need(stat("to", &st) == 0);
    ok(S_ISDIR(st.st_mode), "stat what it points to");
    is_errno(rmdir("to"), ENOTDIR, "a link is no folder");
    is_errno(unlink("to/"), ENOTDIR, "nor with a slash");
    need(symlink("../folder/./file", "folder/up") == 0);
    is_str(get_file("folder/up"), "through", "a link is relative to where it is");
    need(symlink("l2", "l1") == 0 && symlink("l1", "l2") == 0);
    is_errno(open("l1", O_RDONLY), ELOOP, "two that point at each other");
    is(rename("l1", "l3"), 0, "a link itself is renamed");
    ok(exists("l3") && exists("l2"), "not what it points to");
    snprintf(text, sizeof text, "f0");
    put_file("f0", 0600, "end");
    for (int i = 1; i <= 41; i++) {
        char from[16], to[16];
        snprintf(from, sizeof from, "f%d", i);
        snprintf(to, sizeof to, "f%d", i - 1);
        need(symlink(to, from) == 0);
    }
    ok(open("f40", O_RDONLY) >= 0, "forty links in a row");
    is_errno(open("f41", O_RDONLY), ELOOP, "are the most");
    is_errno(symlink("", "empty"), ENOENT, "a link to nothing");
    is(unlink("to"), 0, "unlink removes the link");
    ok(exists("folder/file"), "not what it pointed to");
}

struct entry { // of getdents64
    uint64_t inode;
    int64_t next;
    unsigned short size;
    unsigned char type;
    char name[];
};

static void trailing_slashes(void) {
    need(symlink("round", "round") == 0);
    is_errno(open("round", O_RDONLY), ELOOP, "a link to itself");
    is_errno(open("round/", O_CREAT | O_RDWR, 0600), EISDIR, "a slash makes no file, link or not");
    is_errno(open("nothing/", O_CREAT | O_RDWR, 0600), EISDIR, "nor where nothing is");
}

static void listing(void) {
    enum { FILES = 300 };
    char name[16];
    bool seen[FILES] = {false}, dot = false, dots = false, wrong = false;
    need(mkdir("many", 0755) == 0);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "many/n%d", i);
        put_file(name, 0600, "");
    }
    int fd = open("many", O_RDONLY | O_DIRECTORY), count = 0;
    char space[1000] __attribute__((aligned(8))); // several calls for all
    long n;
    while ((n = syscall(SYS_getdents64, fd, space, sizeof space)) > 0) {
        for (long at = 0; at < n;) {
            struct entry* e = (struct entry*)(space + at);
            at += e->size;
            count++;
            if (strcmp(e->name, ".") == 0)
                dot = true;
            else if (strcmp(e->name, "..") == 0)
                dots = true;
            else {
                int i = atoi(e->name + 1);
                wrong = wrong || i < 0 || i >= FILES || seen[i] || e->type != DT_REG;
                if (!wrong)
                    seen[i] = true;
            }
        }
    }
    is(n, 0, "the end of a folder");
    ok(dot && dots && count == FILES + 2 && !wrong, "every name once, with its type");
    lseek(fd, 0, SEEK_SET);
    ok(syscall(SYS_getdents64, fd, space, sizeof space) > 0, "again from the start");
    is_errno(syscall(SYS_getdents64, fd, space, 1), EINVAL, "into too little space");
    fd = open("many/n1", O_RDONLY);
    is_errno(syscall(SYS_getdents64, fd, space, sizeof space), ENOTDIR, "of a file");

    DIR* dir = opendir("many"); // removing what was just listed loses nothing
    for (struct dirent* e; (e = readdir(dir)) != NULL;)
        if (e->d_name[0] == 'n')
            need(unlinkat(dirfd(dir), e->d_name, 0) == 0);
    closedir(dir);
    is(rmdir("many"), 0, "a folder can be emptied while it is listed");
}

static void working_directory(void) {
    char where[PATH_MAX], want[PATH_MAX + 16];
    need(mkdir("w", 0755) == 0 && mkdir("w/x", 0755) == 0);
    int start = open(".", O_RDONLY);
    is(chdir("w/x"), 0, "chdir");
    snprintf(want, sizeof want, "%s/w/x", scratch_path);
    need(getcwd(where, sizeof where) != NULL);
    is_str(where, want, "getcwd");
    is(chdir(".."), 0, "up");
    ok(exists("x"), "paths begin there");
    is(fchdir(start), 0, "fchdir");
    ok(exists("w"), "and there");
    put_file("plain", 0600, "");
    is_errno(chdir("plain"), ENOTDIR, "to a file");
    is_errno(chdir("none"), ENOENT, "to nothing");
    is_errno(fchdir(open("plain", O_RDONLY)), ENOTDIR, "fchdir to a file");
    need(rename("w", "v") == 0 && chdir("v/x") == 0);
    need(rename("../../v", "../../u") == 0);
    snprintf(want, sizeof want, "%s/u/x", scratch_path);
    need(getcwd(where, sizeof where) != NULL);
    is_str(where, want, "a renamed folder: getcwd tells its new name");
    need(rmdir("../x") == 0);
    is(syscall(SYS_getcwd, where, sizeof where) == -1 && errno == ENOENT, 1,
       "a removed one has none");
    is_errno(open("new", O_CREAT | O_WRONLY, 0600), ENOENT, "and nothing can be made in it");
    is(chdir(".."), 0, "but there is a way out");
}

int main(void) {
    scratch_begin();
    subtest("folders", folders);
    subtest("rename", renaming);
    subtest("hard links", hard_links);
    subtest("symbolic links", symbolic_links);
    subtest("trailing slashes", trailing_slashes);
    subtest("listing", listing);
    subtest("the working directory", working_directory);
    return done();
}
