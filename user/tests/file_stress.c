// Files and names against a model of them, by many operations in a row, as fsx and fsstress do it:
//
//     file_stress [DIRECTORY [SEED [keep]]]
//
// One file is written, mapped, cut, lengthened, synced and opened anew, and has after each step the bytes
// that the model has. Many names are made, linked, renamed, exchanged and removed, and each call ends as
// the model says. The directory is of any file system; with `keep` what is there at the end stays.
#include "../lib/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum {
    LARGEST = 200000, // bytes of the one file
    FILE_STEPS = 1500,
    NAMES = 24,
    DIRECTORIES = 4, // the first is the top
    NAME_STEPS = 3000,
    EXCHANGE = 2, // RENAME_EXCHANGE
};

static uint64_t state;
static bool keep;

static unsigned below(unsigned n) { // xorshift (Marsaglia)
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 11) % n);
}

// ---- One file

static unsigned char wanted[LARGEST], got[LARGEST];
static size_t size;
static int fd;
static unsigned step;

static void fail_step(const char* what) {
    diag("  step %u, size %zu: %s (errno %d, %s)", step, size, what, errno, strerror(errno));
    exit(1);
}

static void expect_step(bool holds, const char* what) {
    if (!holds)
        fail_step(what);
}

static void fill(size_t from, size_t n) {
    for (size_t i = from; i < from + n; i++)
        wanted[i] = (unsigned char)(1 + below(255));
}

static void grow_to(size_t end) {
    if (end > size)
        size = end;
}

static void write_some(void) {
    const size_t at = below(LARGEST - 1),
                 n = 1 + below(LARGEST - at > 20000 ? 20000 : (unsigned)(LARGEST - at));
    fill(at, n);
    expect_step(pwrite(fd, wanted + at, n, (off_t)at) == (ssize_t)n, "write");
    grow_to(at + n);
}

static void append(void) {
    const size_t n = 1 + below(3000);
    if (size + n > LARGEST)
        return;
    fill(size, n);
    const int end = open("file", O_WRONLY | O_APPEND);
    expect_step(end >= 0 && write(end, wanted + size, n) == (ssize_t)n, "append");
    close(end);
    grow_to(size + n);
}

static void cut(void) {
    const size_t to = below(LARGEST);
    expect_step(ftruncate(fd, (off_t)to) == 0, "truncate");
    if (to < size)
        memset(wanted + to, 0, size - to);
    size = to;
}

// Stores into a mapping, also behind the end within its last page: that is lost.
static void store(void) {
    if (size == 0)
        return;
    const size_t at = below((unsigned)size), n = 1 + below((unsigned)(size - at));
    const size_t page = at & ~(size_t)4095;
    unsigned char* map =
        mmap(NULL, at + n - page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)page);
    expect_step(map != MAP_FAILED, "mmap");
    fill(at, n);
    memcpy(map + (at - page), wanted + at, n);
    if (below(4) == 0)
        expect_step(msync(map, at + n - page, MS_SYNC) == 0, "msync");
    munmap(map, at + n - page);
}

// Stores by a mapping that is there while the file becomes longer.
static void store_and_lengthen(void) {
    if (size == 0 || size + 5000 > LARGEST)
        return;
    const size_t page = (size - 1) & ~(size_t)4095;
    unsigned char* map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)page);
    expect_step(map != MAP_FAILED, "mmap");
    fill(page, size - page);
    memcpy(map, wanted + page, size - page);
    const size_t longer = size + 1 + below(4000);
    expect_step(ftruncate(fd, (off_t)longer) == 0, "truncate");
    size = longer;
    fill(page, size - page);
    memcpy(map, wanted + page, size - page);
    munmap(map, 8192);
}

static void look(void) {
    struct stat is;
    expect_step(fstat(fd, &is) == 0 && is.st_size == (off_t)size, "size");
    expect_step(pread(fd, got, LARGEST, 0) == (ssize_t)size, "read");
    for (size_t i = 0; i < size; i++)
        if (got[i] != wanted[i]) {
            diag("  byte %zu is %u, not %u", i, got[i], wanted[i]);
            fail_step("contents");
        }
}

static void look_by_mapping(void) {
    if (size == 0)
        return;
    unsigned char* map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    expect_step(map != MAP_FAILED, "mmap");
    expect_step(memcmp(map, wanted, size) == 0, "contents of a mapping");
    munmap(map, size);
}

static void sync_it(void) { expect_step((below(2) ? fsync(fd) : fdatasync(fd)) == 0, "fsync"); }

static void forget_pages(void) {
    sync_it();
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void open_anew(void) {
    close(fd);
    fd = open("file", O_RDWR);
    expect_step(fd >= 0, "open");
}

static void one_file(void) {
    static void (*const steps[])(void) = {
        write_some,         write_some,      append,  cut,          store,    store,
        store_and_lengthen, look_by_mapping, sync_it, forget_pages, open_anew};
    fd = open("file", O_CREAT | O_EXCL | O_RDWR, 0640);
    need(fd >= 0);
    for (step = 0; step < FILE_STEPS; step++) {
        steps[below(sizeof steps / sizeof *steps)]();
        if (step % 4 == 0)
            look();
    }
    look();
    close(fd);
    ok(true, "%d steps", FILE_STEPS);
    if (!keep)
        unlink("file");
}

// ---- Many names

// What a name is of: a file (its number), a directory, or a symbolic link.
enum kind { NONE, REGULAR, DIRECTORY, LINK };
static struct entry {
    enum kind kind;
    unsigned number; // of a regular file: names of one have the same; of a directory: which
} names[DIRECTORIES][NAMES];
static struct place {
    bool there;
    unsigned parent, name;
} directories[DIRECTORIES];
static unsigned next_number = 1;

static void path_of(unsigned directory, unsigned name, char* out, size_t room) {
    char above[256] = "tree";
    unsigned chain[DIRECTORIES], depth = 0;
    for (unsigned d = directory; d; d = directories[d].parent)
        chain[depth++] = d;
    size_t used = strlen(above);
    while (depth--)
        used += (size_t)snprintf(above + used, sizeof above - used, "/name-%u",
                                 directories[chain[depth]].name);
    snprintf(out, room, "%s/name-%u", above, name);
}

static unsigned any_directory(void) {
    unsigned d;
    do
        d = below(DIRECTORIES);
    while (d && !directories[d].there);
    return d;
}

static unsigned count_in(unsigned directory) {
    unsigned n = 0;
    for (unsigned i = 0; i < NAMES; i++)
        n += names[directory][i].kind != NONE;
    return n;
}

static unsigned links_of(unsigned number) {
    unsigned n = 0;
    for (unsigned d = 0; d < DIRECTORIES; d++)
        for (unsigned i = 0; i < NAMES; i++)
            n += names[d][i].kind == REGULAR && names[d][i].number == number;
    return n;
}

static bool within(unsigned directory, unsigned ancestor) {
    for (;; directory = directories[directory].parent) {
        if (directory == ancestor)
            return true;
        if (directory == 0)
            return false;
    }
}

static void expect_call(long result, int error, const char* what, const char* path) {
    const int saw = result < 0 ? errno : 0;
    if (saw == error)
        return;
    diag("  step %u: %s %s: errno %d (%s), not %d (%s)", step, what, path, saw, strerror(saw),
         error, strerror(error));
    exit(1);
}

static void make_file(unsigned d, unsigned i) {
    char path[256];
    path_of(d, i, path, sizeof path);
    struct entry* e = &names[d][i];
    const int made = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    expect_call(made, e->kind ? EEXIST : 0, "open", path);
    if (made < 0)
        return;
    *e = (struct entry){REGULAR, next_number++};
    need(write(made, &e->number, sizeof e->number) == sizeof e->number);
    close(made);
}

static void make_directory(unsigned d, unsigned i) {
    char path[256];
    path_of(d, i, path, sizeof path);
    unsigned free = 1;
    while (free < DIRECTORIES && directories[free].there)
        free++;
    if (free == DIRECTORIES)
        return;
    const int made = mkdir(path, 0700);
    expect_call(made, names[d][i].kind ? EEXIST : 0, "mkdir", path);
    if (made == 0) {
        names[d][i] = (struct entry){DIRECTORY, free};
        directories[free] = (struct place){true, d, i};
    }
}

static void make_symlink(unsigned d, unsigned i) {
    char path[256], text[300];
    path_of(d, i, path, sizeof path);
    memset(text, 'x', sizeof text);
    text[1 + below(sizeof text - 1)] = '\0'; // short ones and long ones
    text[sizeof text - 1] = '\0';
    const int made = symlink(text, path);
    expect_call(made, names[d][i].kind ? EEXIST : 0, "symlink", path);
    if (made == 0)
        names[d][i] = (struct entry){LINK, (unsigned)strlen(text)};
}

static void make_link(unsigned d, unsigned i) {
    char path[256], from[256];
    const unsigned other = any_directory(), name = below(NAMES);
    path_of(d, i, path, sizeof path);
    path_of(other, name, from, sizeof from);
    const struct entry of = names[other][name];
    if (of.kind != REGULAR)
        return;
    const int made = link(from, path);
    expect_call(made, names[d][i].kind ? EEXIST : 0, "link", path);
    if (made == 0)
        names[d][i] = of;
}

static void remove_name(unsigned d, unsigned i) {
    char path[256];
    path_of(d, i, path, sizeof path);
    struct entry* e = &names[d][i];
    if (e->kind == DIRECTORY) {
        const bool full = count_in(e->number) != 0;
        expect_call(rmdir(path), full ? ENOTEMPTY : 0, "rmdir", path);
        if (full)
            return;
        directories[e->number].there = false;
    } else {
        expect_call(unlink(path), e->kind ? 0 : ENOENT, "unlink", path);
    }
    e->kind = NONE;
}

static int rename_error(unsigned d, unsigned i, unsigned e, unsigned j, bool exchange) {
    const struct entry *from = &names[d][i], *to = &names[e][j];
    if (from->kind == NONE || (exchange && to->kind == NONE))
        return ENOENT;
    if (from->kind == DIRECTORY && within(e, from->number))
        return EINVAL;
    if (to->kind == DIRECTORY && within(d, to->number))
        return exchange ? EINVAL : ENOTEMPTY;
    if (exchange || to->kind == NONE || from == to)
        return 0;
    if (from->kind == DIRECTORY && to->kind != DIRECTORY)
        return ENOTDIR;
    if (from->kind != DIRECTORY && to->kind == DIRECTORY)
        return EISDIR;
    return to->kind == DIRECTORY && count_in(to->number) ? ENOTEMPTY : 0;
}

static void moved(unsigned d, unsigned i) {
    if (names[d][i].kind == DIRECTORY)
        directories[names[d][i].number] = (struct place){true, d, i};
}

static void rename_name(unsigned d, unsigned i, bool exchange) {
    char path[256], target[256];
    const unsigned e = any_directory(), j = below(NAMES);
    path_of(d, i, path, sizeof path);
    path_of(e, j, target, sizeof target);
    struct entry *from = &names[d][i], *to = &names[e][j];
    const int error = rename_error(d, i, e, j, exchange);
    const long result = exchange
                            ? syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, target, EXCHANGE)
                            : rename(path, target);
    expect_call(result, error, exchange ? "exchange" : "rename", path);
    if (error || from == to)
        return;
    const struct entry was = *to;
    if (!exchange && was.kind == REGULAR && from->kind == REGULAR && was.number == from->number)
        return; // two names of one file: nothing happens
    if (!exchange && was.kind == DIRECTORY)
        directories[was.number].there = false;
    *to = *from;
    *from = exchange ? was : (struct entry){NONE, 0};
    moved(d, i);
    moved(e, j);
}

static void check_entry(unsigned d, unsigned i) {
    char path[256], text[400];
    struct stat is;
    path_of(d, i, path, sizeof path);
    const struct entry* e = &names[d][i];
    expect_call(lstat(path, &is), e->kind ? 0 : ENOENT, "lstat", path);
    if (e->kind == REGULAR) {
        unsigned number = 0;
        const int opened = open(path, O_RDONLY);
        need(opened >= 0 && read(opened, &number, sizeof number) == sizeof number);
        close(opened);
        need(number == e->number && is.st_nlink == links_of(number) && S_ISREG(is.st_mode));
    } else if (e->kind == LINK) {
        need(S_ISLNK(is.st_mode) && is.st_size == e->number);
        need(readlink(path, text, sizeof text) == (ssize_t)e->number);
    } else if (e->kind == DIRECTORY) {
        unsigned below_it = 0;
        for (unsigned k = 0; k < NAMES; k++)
            below_it += names[e->number][k].kind == DIRECTORY;
        need(S_ISDIR(is.st_mode) && (is.st_nlink == 1 || is.st_nlink == 2 + below_it));
    }
}

static void check_listing(unsigned d) {
    char path[256];
    path_of(d, 0, path, sizeof path);
    *strrchr(path, '/') = '\0';
    DIR* dir = opendir(path);
    need(dir);
    unsigned seen = 0;
    for (struct dirent* e; (e = readdir(dir));)
        if (e->d_name[0] == 'n') {
            const unsigned name = (unsigned)atoi(e->d_name + 5);
            need(name < NAMES && names[d][name].kind != NONE);
            seen++;
        }
    closedir(dir);
    need(seen == count_in(d));
}

static void many_names(void) {
    need(mkdir("tree", 0700) == 0);
    directories[0].there = true;
    for (step = 0; step < NAME_STEPS; step++) {
        const unsigned d = any_directory(), i = below(NAMES);
        switch (below(10)) {
        case 0:
        case 1: make_file(d, i); break;
        case 2: make_directory(d, i); break;
        case 3: make_symlink(d, i); break;
        case 4: make_link(d, i); break;
        case 5:
        case 6: remove_name(d, i); break;
        case 7:
        case 8: rename_name(d, i, false); break;
        default: rename_name(d, i, true);
        }
        if (step % 500 == 0)
            sync();
    }
    for (unsigned d = 0; d < DIRECTORIES; d++) {
        if (!directories[d].there)
            continue;
        check_listing(d);
        for (unsigned i = 0; i < NAMES; i++)
            check_entry(d, i);
    }
    ok(true, "%d steps", NAME_STEPS);
}

// ---- Without a name

static void open_without_a_name(void) {
    char text[8192];
    const int opened = open("gone", O_CREAT | O_RDWR, 0600);
    need(opened >= 0 && unlink("gone") == 0);
    memset(text, 'g', sizeof text);
    is(pwrite(opened, text, sizeof text, 100000), sizeof text,
       "a file without a name is written to");
    struct stat is;
    need(fstat(opened, &is) == 0);
    is(is.st_nlink, 0, "it has no link");
    is(pread(opened, text, 1, 100000), 1, "and is read");
    need(mkdir("directory", 0700) == 0);
    const int inside = open("directory", O_RDONLY);
    need(inside >= 0 && rmdir("directory") == 0);
    is_errno(openat(inside, "new", O_CREAT | O_RDWR, 0600), ENOENT,
             "nothing is made in a removed directory");
}

int main(int argc, char** argv) {
    state = argc > 2 ? strtoull(argv[2], NULL, 0) : 12345;
    keep = argc > 3;
    if (argc > 1)
        need(chdir(argv[1]) == 0);
    else
        scratch_begin();
    subtest("one file", one_file);
    subtest("many names", many_names);
    subtest("open without a name", open_without_a_name);
    return done();
}
