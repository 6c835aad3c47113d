// spork-only
// /proc/PID/vmspace of a parent and its copy-on-write child, before and after one write; and of a
// vfork child, which borrows its parent's.
#include "../lib/proc.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { PAGE = 4096, PAGES = 4 };

static char text[1 << 18];
static char* area;

// Reads the snapshot of `pid` and returns the part of it that is about `area`.
static char* lines_about_area(pid_t pid) {
    char path[64], start[16];
    snprintf(path, sizeof path, "/proc/%d/vmspace", pid);
    int fd = open(path, O_RDONLY);
    need(fd >= 0);
    size_t size = 0;
    for (ssize_t n; (n = read(fd, text + size, sizeof text - 1 - size)) > 0;)
        size += (size_t)n;
    text[size] = '\0';
    close(fd);
    snprintf(start, sizeof start, "\n%012lx-", (unsigned long)area);
    char* found = strstr(text, start);
    need(found != NULL);
    char* end = strstr(found, "\n\n");
    if (end)
        *end = '\0';
    return found + 1;
}

static bool says(const char* lines, const char* what) {
    bool found = strstr(lines, what) != NULL;
    if (!found)
        printf("# no \"%s\" in:\n# %s\n", what, lines);
    return found;
}

static void copy_on_write(void) {
    area = mmap((void*)0x10000000, PAGES * PAGE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    need(area != MAP_FAILED);
    memset(area, 'p', PAGES * PAGE);
    const char* lines = lines_about_area(getpid());
    ok(says(lines, "references 1\n") && says(lines, "  rw- accessed dirty") &&
           !strstr(lines, "needs copy"),
       "alone: the mappings may be written");

    int go[2], ready[2];
    need(pipe(go) == 0 && pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        char c;
        (void)!read(go[0], &c, 1);
        area[PAGE] = 'c';
        (void)!write(ready[1], "r", 1);
        (void)!read(go[0], &c, 1);
        _exit(0);
    }
    need(child > 0);
    char with_child[32];
    snprintf(with_child, sizeof with_child, ", with %d\n", child);
    lines = lines_about_area(getpid());
    ok(says(lines, "needs copy") && says(lines, "references 2") && says(lines, with_child),
       "after fork: both sides refer to one amap, which needs a copy");
    ok(says(lines, "r-- accessed dirty") && !strstr(lines, "  rw-"),
       "after fork: nothing is mapped writable");

    char c;
    need(write(go[1], "g", 1) == 1 && read(ready[0], &c, 1) == 1);
    lines = lines_about_area(child);
    ok(!strstr(lines, "needs copy") && !strstr(lines, with_child),
       "after the child's write: it has an amap of its own");
    ok(says(lines, "10001000     1 page") && says(lines, "  rw- accessed dirty"),
       "after the child's write: that one page is mapped writable");
    need(write(go[1], "g", 1) == 1);
    need(waitpid(child, NULL, 0) == child);
}

static char during[4096];

static void borrowed(void) {
    area = mmap((void*)0x20000000, PAGE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    need(area != MAP_FAILED);
    pid_t parent = getpid();
    pid_t child = vfork();
    if (child == 0) {
        lines_about_area(getpid());
        snprintf(during, sizeof during, "%.200s", text);
        lines_about_area(parent);
        snprintf(during + 256, sizeof during - 256, "%.200s", text);
        _exit(0);
    }
    need(child > 0 && waitpid(child, NULL, 0) == child);
    char expected[128];
    snprintf(expected, sizeof expected, "process %d, which borrows this address space of %d", child,
             parent);
    ok(says(during, expected), "a vfork child borrows");
    ok(says(during, "references 2"), "and the address space has two references");
    snprintf(expected, sizeof expected, "process %d, asleep until its vfork child %d lets go",
             parent, child);
    ok(says(during + 256, expected), "its parent is asleep until then");
}

int main(void) {
    subtest("a copy-on-write child", copy_on_write);
    subtest("a vfork child", borrowed);
    return done();
}
