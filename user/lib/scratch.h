// scratch.h: a folder of its own for a test to write in, gone when main's process has ended.
#pragma once
#include "tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

static char scratch_path[PATH_MAX];
static pid_t scratch_owner;

// Removes a folder with what is in it. The tests make no deep trees: recursion is no danger.
TAP_UNUSED static void scratch_remove(const char* folder) {
    chmod(folder, 0700);
    DIR* dir = opendir(folder);
    if (dir == NULL)
        return;
    for (struct dirent* e; (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char path[PATH_MAX];
        struct stat st;
        snprintf(path, sizeof path, "%.2000s/%.255s", folder, e->d_name);
        if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
            scratch_remove(path);
        else
            unlink(path);
    }
    closedir(dir);
    rmdir(folder);
}

TAP_UNUSED static void scratch_end(void) {
    if (getpid() != scratch_owner) // a subtest, or another child that calls exit
        return;
    if (chdir("/") == 0)
        scratch_remove(scratch_path);
}

// Makes the folder, open to all users, and changes to it.
TAP_UNUSED static void scratch_begin(void) {
    const char* under = getenv("TMPDIR");
    if (under == NULL || access(under, W_OK) != 0)
        under = access("/tmp", W_OK) == 0 ? "/tmp" : "";
    snprintf(scratch_path, sizeof scratch_path, "%s/spork-XXXXXX", under);
    need(mkdtemp(scratch_path) != NULL);
    need(chmod(scratch_path, 0777) == 0);
    need(chdir(scratch_path) == 0);
    scratch_owner = getpid();
    need(atexit(scratch_end) == 0);
}

// A file with `text` in it.
TAP_UNUSED static void put_file(const char* path, mode_t mode, const char* text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    need(fd >= 0);
    need(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    need(fchmod(fd, mode) == 0);
    need(close(fd) == 0);
}

// The first bytes of a file, as a string in a buffer that the next call reuses.
TAP_UNUSED static const char* get_file(const char* path) {
    static char text[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    need(fd >= 0);
    size_t used = 0;
    for (ssize_t n; (n = read(fd, text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)n;
    close(fd);
    text[used] = 0;
    return text;
}
