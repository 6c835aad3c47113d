// File systems on a disk in which some bytes are wrong:
//
//     wrong_images DISK [COUNT [SEED]]
//
// What is on the disk is kept, a copy with a few wrong bytes is put there, mounted, gone through, changed
// and unmounted, so often; then the disk has again what it had. Whatever a call returns is right, as long as
// it returns. Without a disk there is nothing to do.
#include "../lib/tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

static uint64_t state = 1;
static unsigned below(unsigned n) { // xorshift (Marsaglia)
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 11) % n);
}

static void read_file(const char* path) {
    char bytes[4096];
    const int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0)
        return;
    for (unsigned i = 0; i < 40 && read(fd, bytes, sizeof bytes) > 0; i++)
        ;
    (void)lseek(fd, -100, SEEK_END);
    (void)read(fd, bytes, sizeof bytes);
    close(fd);
}

// A damaged directory may lead round in a circle.
static unsigned left;
static void walk(const char* folder, unsigned depth) {
    DIR* dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent* e; left && (e = readdir(dir));) {
        char path[1024], text[5000];
        struct stat is;
        left--;
        snprintf(path, sizeof path, "%.700s/%.255s", folder, e->d_name);
        if (lstat(path, &is) != 0 || !strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (S_ISDIR(is.st_mode) && depth < 4)
            walk(path, depth + 1);
        else if (S_ISREG(is.st_mode))
            read_file(path);
        else if (S_ISLNK(is.st_mode))
            (void)readlink(path, text, sizeof text);
    }
    closedir(dir);
}

static void change(void) {
    char bytes[20000];
    memset(bytes, 'x', sizeof bytes);
    const int made = open("new", O_CREAT | O_RDWR, 0600);
    if (made >= 0) {
        (void)write(made, bytes, sizeof bytes);
        (void)pwrite(made, bytes, 100, 400000);
        (void)fsync(made);
        (void)ftruncate(made, 3000);
        close(made);
    }
    const int old = open("folder/text", O_RDWR);
    if (old >= 0) {
        (void)pwrite(old, bytes, 5000, 150000);
        (void)ftruncate(old, 20000);
        close(old);
    }
    (void)mkdir("directory", 0700);
    (void)rename("new", "directory/moved");
    (void)rename("directory", "folder/directory");
    (void)link("set", "linked");
    (void)symlink("text", "symlink");
    (void)unlink("folder/text");
    (void)rmdir("folder");
    (void)unlink("set");
    sync();
}

static void spoil(unsigned char* bytes, size_t size) {
    for (unsigned n = 1 + below(8); n;) {
        const size_t at = 1024 + below((unsigned)(size - 1024));
        const bool empty = bytes[at] == 0 && below(50) != 0; // most of it is free
        if (empty)
            continue;
        bytes[at] =
            below(3) ? (unsigned char)below(256) : (unsigned char)(bytes[at] ^ 1u << below(8));
        n--;
    }
}

static void put(int disk, const unsigned char* bytes, size_t size) {
    need(pwrite(disk, bytes, size, 0) == (ssize_t)size && fsync(disk) == 0);
}

int main(int argc, char** argv) {
    if (argc < 2) {
        skip("no disk");
        return done();
    }
    const unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 100;
    state = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
    const int disk = open(argv[1], O_RDWR);
    need(disk >= 0);
    const size_t size = (size_t)lseek(disk, 0, SEEK_END);
    unsigned char *whole = malloc(size), *copy = malloc(size);
    need(whole && copy && pread(disk, whole, size, 0) == (ssize_t)size);
    unsigned mounted = 0;
    for (unsigned i = 0; i < count; i++) {
        memcpy(copy, whole, size);
        spoil(copy, size);
        put(disk, copy, size);
        if (mount(argv[1], "/mnt", "ext2", i % 4 ? 0 : MS_RDONLY, "") != 0)
            continue;
        mounted++;
        left = 500;
        walk("/mnt", 0);
        if (chdir("/mnt") == 0)
            change();
        left = 500;
        walk("/mnt", 0);
        need(chdir("/") == 0);
        if (umount("/mnt") != 0) {
            diag("image %u: umount: %s", i, strerror(errno));
            return 1;
        }
    }
    put(disk, whole, size);
    ok(true, "%u of %u were mounted", mounted, count);
    return done();
}
