// spork-only
// /proc/PID/ledger: what a creation, an exec and an exit cost, the faults that are laid to a fork,
// and where the entries go.
#include "../lib/counts.h"
#include "../lib/proc.h"
#include "../lib/spork.h"
#include "../lib/tap.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
enum { PAGE = 4096, PAGES = 32 };

static char text[65536];

static void read_ledger(void) {
    ssize_t size = 0, n;
    int fd = open("/proc/self/ledger", O_RDONLY);
    need(fd >= 0);
    while ((n = read(fd, text + size, sizeof text - 1 - (size_t)size)) > 0)
        size += n;
    text[size] = '\0';
    close(fd);
}

static void forget(void) {
    int fd = open("/proc/self/ledger", O_WRONLY);
    need(fd >= 0 && write(fd, "0", 1) == 1);
    close(fd);
}

// The first entry of that kind by that process; null when there is none.
static const char* entry(const char* kind, pid_t pid) {
    char start[64];
    snprintf(start, sizeof start, " %s pid %d ", kind, pid);
    return strstr(text, start);
}

// A figure of an entry: of the call itself, or with "later" of the parent's or the child's side.
static long figure(const char* at, const char* side, const char* name) {
    char word[64];
    const char* end = at;
    while ((end = strchr(end, '\n')) != NULL && end[1] == ' ')
        end++;
    if (side != NULL) {
        snprintf(word, sizeof word, "  later, in the %s:\n", side);
        at = strstr(at, word);
        if (at == NULL || (end != NULL && at > end))
            return 0;
        at += strlen(word);
    }
    const char* later = strstr(at, "  later");
    if (later != NULL && (end == NULL || later < end))
        end = later;
    snprintf(word, sizeof word, " %s ", name);
    const char* found = strstr(at, word);
    return found == NULL || (end != NULL && found > end) ? 0 : atol(found + strlen(word));
}

static char* written_pages(void) {
    char* p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(p != MAP_FAILED);
    for (int i = 0; i < PAGES; i++)
        p[i * PAGE] = 1;
    return p;
}

// A child that ends at once, and then a write to each page at `p`: the entry of the child's making.
static const char* child_then_writes(char* p, bool by_vfork, pid_t* child) {
    forget();
    *child = by_vfork ? vfork() : fork();
    if (*child == 0)
        _exit(0);
    need(waitpid(*child, NULL, 0) == *child);
    for (int i = 0; i < PAGES; i++)
        p[i * PAGE]++;
    read_ledger();
    const char* e = entry(by_vfork ? "vfork" : "fork", getpid());
    need(e != NULL);
    return e;
}

static void gone_child(void) {
    char* p = written_pages();
    pid_t child;
    const char* e = child_then_writes(p, false, &child);
    ok(figure(e, NULL, "ptes_protected") >= PAGES, "the resident pages were write-protected");
    ok(figure(e, NULL, "pages_copied") == 0, "nothing was copied in the call");
    ok(figure(e, NULL, "commit_charged") >= PAGES, "the child was promised the memory");
    ok(figure(e, NULL, "cycles") > 0, "it took time");
    long copied = figure(e, "parent", "write_copied"), reused = figure(e, "parent", "write_reused");
    ok(reused >= PAGES, "each write afterwards faulted, and copied nothing (%ld)", reused);
    ok(copied + reused <= figure(e, NULL, "ptes_protected"), "once for each page");
    e = entry("exit", child);
    ok(e != NULL && figure(e, NULL, "commit_returned") >= PAGES,
       "the child's exit has come with it, and gave the promise back");
    munmap(p, PAGES * PAGE);
}

static void live_child(void) {
    char* p = written_pages();
    int go[2];
    need(pipe(go) == 0);
    forget();
    pid_t child = fork();
    if (child == 0) {
        char byte;
        close(go[1]);
        for (int i = 0; i < 4; i++)
            p[i * PAGE] = 2;
        _exit(read(go[0], &byte, 1) == 0 && p[PAGE * 8] == 1 ? 0 : 1);
    }
    for (int i = 8; i < 16; i++)
        p[i * PAGE] = 3;
    close(go[0]);
    close(go[1]);
    int status;
    need(waitpid(child, &status, 0) == child);
    ok(status == 0, "the child had its own copy");
    read_ledger();
    const char* e = entry("fork", getpid());
    need(e != NULL);
    ok(figure(e, "parent", "write_copied") >= 8, "the parent's writes copied");
    ok(figure(e, "child", "write_copied") >= 4, "the child's writes copied");
    ok(figure(e, "parent", "amap_copied") + figure(e, "child", "amap_copied") >= 1,
       "an amap was copied first");
    munmap(p, PAGES * PAGE);
}

// What the child of a fork takes to call exec: everything that its one system call needs lies in
// this page, ...
static struct {
    char path[24], name[16], word[8];
    const char* arguments[3];
    const char* environment[1];
} __attribute__((aligned(PAGE))) program;

// ... and the child executes these instructions alone. `pushes`: it also stores to its stack.
static pid_t fork_to_exec(bool pushes) {
    long result = SYS_fork;
    register long stores __asm__("r8") = pushes;
    __asm__ volatile(".balign 64\n\t"
                     "syscall\n\t"
                     "test %%eax, %%eax\n\t"
                     "jnz 2f\n\t"
                     "test %%r8d, %%r8d\n\t"
                     "jz 1f\n\t"
                     "push %%r8\n"
                     "1:\tmov %[execve], %%eax\n\t"
                     "syscall\n\t"
                     "mov %[exit], %%eax\n\t"
                     "syscall\n"
                     "2:"
                     : "+a"(result)
                     : "D"(program.path), "S"(program.arguments), "d"(program.environment),
                       "r"(stores), [execve] "i"(SYS_execve), [exit] "i"(SYS_exit_group)
                     : "rcx", "r11", "memory");
    return (pid_t)result;
}

static void only_exec(size_t pages) {
    char* p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(p != MAP_FAILED);
    for (size_t i = 0; i < pages; i++)
        p[i * PAGE] = 1;
    strcpy(program.path, "/proc/self/exe");
    strcpy(program.name, "ledger");
    strcpy(program.word, "exit");
    program.arguments[0] = program.name;
    program.arguments[1] = program.word;
    for (int pushes = 0; pushes <= 1; pushes++) {
        forget();
        pid_t child = fork_to_exec(pushes);
        int status;
        need(waitpid(child, &status, 0) == child && status == 0);
        read_ledger();
        const char* e = entry("fork", getpid());
        need(e != NULL && strstr(e, "mode cow") != NULL);
        const char* how = pushes ? "with a push" : "by registers alone";
        ok(figure(e, "child", "read_object") == 1, "%s, %zu pages: it needs a page of code", how,
           pages);
        ok(figure(e, "child", "read_anon") == 1, "and one with exec's arguments");
        // The copy is the parent's, and the page the child's own, if the parent wrote first.
        long copied = figure(e, "child", "write_copied"),
             reused = figure(e, "child", "write_reused");
        long amaps = figure(e, "child", "amap_copied") + figure(e, "child", "amap_reused");
        ok(copied + reused == pushes && amaps == pushes,
           "and writes to %d page: its stack's (%ld copied)", pushes, copied);
        ok(figure(e, NULL, "pages_copied") == 0, "the call has copied no page");
        e = entry("exec", child);
        ok(e != NULL && figure(e, NULL, "map_entries_made") > 0, "wait has brought its exec");
        e = entry("exit", child);
        ok(e != NULL && figure(e, NULL, "map_entries_freed") > 0, "and its exit");
    }
    munmap(p, pages * PAGE);
}

static void small_and_exec(void) { only_exec(256); }
static void large_and_exec(void) { only_exec(16384); }

static void borrowed(void) {
    char* p = written_pages();
    pid_t child;
    const char* e = child_then_writes(p, true, &child);
    ok(strstr(e, "mode share") != NULL, "mode share");
    ok(figure(e, NULL, "ptes_protected") == 0, "no page was write-protected");
    ok(figure(e, NULL, "map_entries_copied") == 0, "no map entry was copied");
    ok(figure(e, NULL, "commit_charged") == 0, "nothing was promised");
    ok(figure(e, NULL, "blocked_ns") > 0, "the parent was blocked");
    ok(figure(e, "parent", "write_reused") == 0 && figure(e, "child", "read_anon") == 0,
       "no faults have come of it");
    munmap(p, PAGES * PAGE);
}

static void copied_at_once(void) {
    char* p = written_pages();
    int old = spork_forkmode(FORK_COPY, MODE_UNCHANGED);
    need(old >= 0);
    forget();
    pid_t child = fork();
    if (child == 0)
        _exit(p[PAGE] == 1 ? 0 : 1);
    spork_forkmode(old & 0xff, MODE_UNCHANGED);
    need(waitpid(child, NULL, 0) == child);
    read_ledger();
    const char* e = entry("fork", getpid());
    need(e != NULL);
    ok(figure(e, NULL, "pages_copied") >= PAGES, "every page was copied in the call");
    ok(figure(e, NULL, "ptes_protected") == 0, "and none write-protected");
    ok(figure(e, "parent", "write_reused") == 0, "so that the parent takes no fault");
    munmap(p, PAGES * PAGE);
}

// ---- Page-ins, where there is swap: without any no page goes out, and none comes --------------

static long laid(pid_t child, const char* side) {
    char word[32];
    read_ledger();
    snprintf(word, sizeof word, " child %d ", child);
    const char* e = strstr(text, word);
    need(e != NULL);
    return figure(e, side, "paged_in");
}

static void put_out(char* p, int count) {
    need(madvise(p, (size_t)count * PAGE, MADV_PAGEOUT) == 0);
}

// From behind, so that no page comes along with another one.
static void look(volatile char* p, int count) {
    for (int i = count - 1; i >= 0; i--)
        need(p[i * PAGE] != 0);
}

static bool as_many(long laid, int pages) { return there_is_swap() ? laid >= pages : laid == 0; }

static void parent_that_is_out(void) {
    char* p = written_pages();
    struct gate looked = gate_make(), go_on = gate_make();
    char* untouched =
        mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(untouched != MAP_FAILED);
    put_out(p, PAGES);
    forget();
    pid_t child = fork();
    if (child == 0) {
        look(p, 8);
        memset(untouched, 1, 8 * PAGE);
        put_out(untouched, 8);
        look(untouched, 8);
        gate_open(&looked);
        gate_pass(&go_on);
        _exit(0);
    }
    gate_pass(&looked);
    const long of_child = laid(child, "child");
    ok(as_many(of_child, 8), "the child's page-ins of what it has from its parent (%ld)", of_child);
    look(p + 16 * PAGE, 8);
    const long of_parent = laid(child, "parent");
    ok(as_many(of_parent, 8), "the parent's, of what the child has, too (%ld)", of_parent);
    gate_open(&go_on);
    need(waitpid(child, NULL, 0) == child);
    put_out(p, PAGES);
    look(p, PAGES);
    is(laid(child, "parent"), of_parent, "once the child is gone it is the parent's alone");
    munmap(p, PAGES * PAGE);
    munmap(untouched, 8 * PAGE);
}

static void borrower_of_a_parent_that_is_out(void) {
    char* p = written_pages();
    put_out(p, PAGES);
    forget();
    pid_t child = vfork();
    if (child == 0) {
        look(p, 8);
        _exit(0);
    }
    need(waitpid(child, NULL, 0) == child);
    const long of_child = laid(child, "child");
    ok(as_many(of_child, 8), "page-ins of a child that borrows (%ld)", of_child);
    put_out(p, PAGES);
    look(p, PAGES);
    is(laid(child, "child"), of_child, "the parent's are not its");
    munmap(p, PAGES * PAGE);
}

static void bounded(void) {
    forget();
    pid_t child = 0;
    for (int i = 0; i < 40; i++) {
        child = fork();
        if (child == 0)
            _exit(0);
        need(waitpid(child, NULL, 0) == child);
    }
    read_ledger();
    unsigned entries = 0;
    unsigned long forgotten = 0, lost = 1;
    need(sscanf(text, "# %u entries; %lu older ones forgotten, %lu lost", &entries, &forgotten,
                &lost) == 3);
    ok(entries == 32 && forgotten == 48 && lost == 0, "32 of 80 entries are kept");
    ok(entry("exit", child) != NULL, "the newest are");
    forget();
    read_ledger();
    ok(strcmp(text, "# 0 entries; 0 older ones forgotten, 0 lost for want of memory\n") == 0,
       "writing to the file forgets all");
}

// A process that ends gives back all that it remembered. This one's own map entries remember forks,
// too, a few rounds long more of them.
static void nothing_left(void) {
    enum { ROUNDS = 5 };
    long entries[ROUNDS], aftermath[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        pid_t child = fork();
        if (child == 0) {
            for (int i = 0; i < 20; i++) {
                pid_t grandchild = fork();
                if (grandchild == 0)
                    _exit(0);
                waitpid(grandchild, NULL, 0);
            }
            forget();
            _exit(0);
        }
        need(waitpid(child, NULL, 0) == child);
        forget();
        entries[round] = counts_now("ledger_entry");
        aftermath[round] = counts_now("vm_aftermath");
    }
    const int last = ROUNDS - 1;
    ok(entries[0] == entries[last], "entries: %ld, then %ld", entries[0], entries[last]);
    ok(aftermath[last - 1] == aftermath[last], "remembered forks: %ld, then %ld",
       aftermath[last - 1], aftermath[last]);
}

int main(int argc, char** argv) {
    if (argc > 1 && strcmp(argv[1], "exit") == 0)
        return 0;
    subtest("a fork whose child is gone", gone_child);
    subtest("a fork whose child lives", live_child);
    subtest("a small parent, a child that only calls exec", small_and_exec);
    subtest("a large parent, a child that only calls exec", large_and_exec);
    subtest("vfork", borrowed);
    subtest("fork mode copy", copied_at_once);
    subtest("a parent that is out", parent_that_is_out);
    subtest("a child that borrows from one", borrower_of_a_parent_that_is_out);
    subtest("a bounded history", bounded);
    subtest("nothing is left", nothing_left);
    return done();
}
