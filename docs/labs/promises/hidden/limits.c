// Where the limits of the three modes lie, to a page.
#include "../tests/account.h"

enum { BOTH = PROT_READ | PROT_WRITE, OWN = MAP_PRIVATE | MAP_ANONYMOUS };

static void mode(int number) { set("/proc/sys/vm/overcommit_memory", number); }

// Whether memory of that size can be had, where it must lie if `at` is given. It is kept if it was given.
static int can_map(void* at, long pages) {
    errno = 0;
    const int flags = OWN | (at ? MAP_FIXED : 0);
    void* got = mmap(at, (size_t)pages * LAB_PAGE, BOTH, flags, -1, 0);
    if (got != MAP_FAILED && !at)
        lab_need(munmap(got, (size_t)pages * LAB_PAGE) == 0, "munmap");
    return got != MAP_FAILED ? 1 : errno == ENOMEM ? 0 : -1;
}

static void modes(void) {
    const long total = pages_of("MemTotal:");
    lab_value("more", can_map(NULL, total / 2) == 1);
    lab_value("never", can_map(NULL, total + 1) == 0);
    void* half = mmap(NULL, (size_t)total / 2 * LAB_PAGE, BOTH, OWN, -1, 0);
    lab_value("sum", half != MAP_FAILED && can_map(NULL, total * 3 / 4) == 1);
    mode(1);
    lab_value("always", can_map(NULL, 1l << 30) == 1);
}

static void exchange(long pages) {
    char* own = mmap(NULL, (size_t)pages * LAB_PAGE, BOTH, OWN, -1, 0);
    lab_need(own != MAP_FAILED, "mmap");
    const long left = 200, base = pages_of("Committed_AS:");
    set("/proc/sys/vm/overcommit_kbytes", 4 * (base + left));
    mode(2);
    lab_value("last", can_map(NULL, left) == 1);
    lab_value("beyond", can_map(NULL, left + 1) == 0);
    // As much again in its place needs no room; a little more needs a little.
    lab_value("replaced", can_map(own, pages) == 1);
    void* grown =
        mremap(own, (size_t)pages * LAB_PAGE, (size_t)(pages + left) * LAB_PAGE, MREMAP_MAYMOVE);
    lab_value("grown", grown != MAP_FAILED);
    lab_need(grown != MAP_FAILED, "mremap");
    lab_value("full", can_map(NULL, 1) == 0);
    lab_value("smaller", can_map(grown, pages) == 1);
    lab_need(munmap(grown, (size_t)(pages + left) * LAB_PAGE) == 0, "munmap");
    lab_value("kept", (uint64_t)labs(pages_of("Committed_AS:") - (base - pages)));
}

// Four at once: nothing is lost, nothing is left.
static void crowd(void) {
    const long base = pages_of("Committed_AS:");
    pid_t child[4];
    for (int i = 0; i < 4; i++) {
        lab_need((child[i] = fork()) >= 0, "fork");
        if (child[i] == 0) {
            for (int round = 0; round < 3000; round++) {
                void* at = mmap(NULL, 7 * LAB_PAGE, BOTH, OWN, -1, 0);
                lab_need(at != MAP_FAILED && munmap(at, 7 * LAB_PAGE) == 0, "mmap");
            }
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++)
        lab_reap(child[i]);
    lab_value("left", (uint64_t)labs(pages_of("Committed_AS:") - base));
}

int main(int argc, char** argv) {
    const uint64_t seed = lab_seed(argc, argv);
    lab_need(argc > 2, "modes, exchange or crowd?");
    if (strcmp(argv[2], "modes") == 0)
        modes();
    else if (strcmp(argv[2], "exchange") == 0)
        exchange(1000 + (long)(seed % 3000));
    else
        crowd();
    return 0;
}
