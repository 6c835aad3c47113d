// After a fork, what one process stores the other does not see, wherever it is stored: data, bss,
// heap, stack, private mappings. Only what is mapped shared is shared.
#include "../lib/proc.h"

#include <sys/mman.h>

enum { PAGE = 4096, PAGES = 8, ROUNDS = 40 };

static char in_data[PAGES * PAGE] = {1};
static char in_bss[PAGES * PAGE];

// The same stores in every kind of memory: byte `value` at the start of each page.
struct places {
    struct {
        const char* name;
        volatile char* at;
    } place[5];
    volatile char* shared;
};

static void fill(volatile char* at, char value) {
    for (int page = 0; page < PAGES; page++)
        at[page * PAGE] = value;
}

static bool all(volatile char* at, char value) {
    for (int page = 0; page < PAGES; page++)
        if (at[page * PAGE] != value)
            return false;
    return true;
}

static char* map_pages(int flags) {
    char* at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    need(at != MAP_FAILED);
    return at;
}

static void one_round(struct places* all_places, int round) {
    const char before = (char)(round * 3 + 1), childs = (char)(before + 1), parents = before + 2;
    const int count = sizeof all_places->place / sizeof all_places->place[0];
    struct gate child_stored = gate_make(), parent_stored = gate_make();

    for (int i = 0; i < count; i++)
        fill(all_places->place[i].at, before);
    fill(all_places->shared, before);

    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        for (int i = 0; i < count; i++)
            need(all(all_places->place[i].at, before));
        for (int i = 0; i < count; i++)
            fill(all_places->place[i].at, childs);
        fill(all_places->shared, childs);
        gate_open(&child_stored);
        gate_pass(&parent_stored);
        for (int i = 0; i < count; i++)
            need(all(all_places->place[i].at, childs));
        need(all(all_places->shared, parents));
        _exit(0);
    }
    gate_pass(&child_stored);
    for (int i = 0; i < count; i++)
        if (!all(all_places->place[i].at, before))
            ok(false, "round %d: the child's store in %s is not seen by the parent", round,
               all_places->place[i].name);
    if (!all(all_places->shared, childs))
        ok(false, "round %d: the child's store in shared memory is seen by the parent", round);
    for (int i = 0; i < count; i++)
        fill(all_places->place[i].at, parents);
    fill(all_places->shared, parents);
    gate_open(&parent_stored);
    int status = reap(child);
    if (!exited_with(status, 0))
        ok(false, "round %d: the child sees its own stores alone: status 0x%x", round, status);
    for (int i = 0; i < 2; i++) {
        close(child_stored.fd[i]);
        close(parent_stored.fd[i]);
    }
}

static void every_kind_of_memory(void) {
    char on_stack[PAGES * PAGE];
    struct places places = {{{"data", in_data},
                             {"bss", in_bss},
                             {"heap", malloc(PAGES * PAGE)},
                             {"stack", on_stack},
                             {"private mapping", map_pages(MAP_PRIVATE)}},
                            map_pages(MAP_SHARED)};
    need(places.place[2].at != NULL);
    for (int round = 0; round < ROUNDS; round++)
        one_round(&places, round);
    ok(tap.failures == 0, "%d rounds of fork, store and compare", ROUNDS);
}

// Each generation changes one page and hands the rest on: the last one sees all the changes.
static void generations(void) {
    char* at = map_pages(MAP_PRIVATE);
    fill(at, 'a');
    pid_t child = 0;
    int depth = 0;
    for (; depth < PAGES; depth++) {
        if ((child = fork()) != 0)
            break;
        at[depth * PAGE] = 'b';
    }
    need(child >= 0);
    bool right = true;
    for (int page = 0; page < PAGES; page++)
        right = right && at[page * PAGE] == (page < depth ? 'b' : 'a');
    if (child != 0)
        right = exited_with(reap(child), 0) && right;
    if (depth > 0)
        _exit(right ? 0 : 1);
    ok(right, "%d generations each see their ancestors' stores and not their descendants'", PAGES);
}

// A page that was never touched before the fork is zero in both, and separate.
static void untouched_pages(void) {
    char* at = map_pages(MAP_PRIVATE);
    struct gate stored = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(all(at, 0));
        fill(at, 7);
        gate_open(&stored);
        _exit(all(at, 7) ? 0 : 1);
    }
    gate_pass(&stored);
    ok(all(at, 0), "a page first touched by the child is still zero in the parent");
    is_exit(reap(child), 0, "and has the child's store in the child");
}

// When the other side is gone, the survivor writes its pages and keeps what it had.
static void survivor(void) {
    char* at = map_pages(MAP_PRIVATE);
    fill(at, 1);
    for (int round = 0; round < ROUNDS; round++) {
        pid_t child = fork();
        need(child >= 0);
        if (child == 0)
            _exit(0);
        reap(child);
        need(all(at, (char)(round + 1)));
        fill(at, (char)(round + 2));
    }
    ok(all(at, ROUNDS + 1), "the parent writes on after %d children have come and gone", ROUNDS);

    // The parent ends first: its orphan still has every page.
    struct gate go = gate_make();
    int result[2];
    need(pipe(result) == 0);
    pid_t parent = fork();
    need(parent >= 0);
    if (parent == 0) {
        if (fork() == 0) {
            gate_pass(&go);
            char good = all(at, ROUNDS + 1) ? 1 : 0;
            fill(at, 9);
            need(write(result[1], &good, 1) == 1);
        }
        _exit(0);
    }
    is_exit(reap(parent), 0, "the parent has ended");
    gate_open(&go);
    char good = 0;
    need(read(result[0], &good, 1) == 1);
    ok(good == 1, "its orphan has every page as it was");
}

// Kernel stores (here read(2)'s) are stores too: they break the sharing as the program's own do.
static void kernel_stores(void) {
    char* at = map_pages(MAP_PRIVATE);
    fill(at, 1);
    int data[2];
    need(pipe(data) == 0);
    need(write(data[1], "xyz", 3) == 3);
    struct gate stored = gate_make(), checked = gate_make();
    pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(read(data[0], at + PAGE - 1, 3) == 3); // over the edge of two pages
        gate_open(&stored);
        gate_pass(&checked);
        _exit(memcmp(at + PAGE - 1, "xyz", 3) == 0 ? 0 : 1);
    }
    gate_pass(&stored);
    ok(all(at, 1) && at[PAGE - 1] == 0, "what the child reads into its pages stays there");
    gate_open(&checked);
    is_exit(reap(child), 0, "and is there");
}

int main(void) {
    subtest("stores after fork are separate, except in shared memory", every_kind_of_memory);
    subtest("generations", generations);
    subtest("pages first touched after the fork", untouched_pages);
    subtest("either side survives the other", survivor);
    subtest("stores by the kernel", kernel_stores);
    return done();
}
