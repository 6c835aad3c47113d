// counts.h: what of the kernel is in use on Spork, before and after something that must leave
// nothing behind.
//
//     is(counts_left_by(all_forks, &calls), 0, "nothing is left of them");
//
// The counts are the whole machine's, and others live there, too: init, which passes on what this
// program prints, has a page more from its first frame from the host on, whenever that comes; this
// program itself touches a page of its stack or heap for the first time. Such a page comes once. A
// leak comes again each time that what leaks is done again.
#pragma once
#include "tap.h"

#include <sys/sysinfo.h>

struct count {
    char name[32];
    long live;
};
enum { COUNTS = 120 };
struct counts {
    int n;
    struct count of[COUNTS];
};

// The pools' live objects, the promised memory, and the pages of memory by kind.
TAP_UNUSED static void counts_take(struct counts* c) {
    static const char* const wanted[] = {"Committed_AS:", "AnonPages:", "Shmem:", "Mapped:"};
    char line[128];
    c->n = 0;
    FILE* f = fopen("/proc/pools", "re");
    need(f != NULL && fgets(line, sizeof line, f) != NULL); // the heading
    while (c->n < COUNTS && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "%31s %*s %ld", c->of[c->n].name, &c->of[c->n].live) == 2)
            c->n++;
    fclose(f);
    f = fopen("/proc/meminfo", "re");
    need(f != NULL);
    while (c->n < COUNTS && fgets(line, sizeof line, f) != NULL)
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
            if (strncmp(line, wanted[i], strlen(wanted[i])) == 0) {
                strcpy(c->of[c->n].name, wanted[i]);
                c->of[c->n++].live = atol(line + strlen(wanted[i]));
            }
    fclose(f);
}

// What there was of it; a pool that was not there was empty.
TAP_UNUSED static long counts_live(const struct counts* c, const char* name) {
    for (int i = 0; i < c->n; i++)
        if (strcmp(c->of[i].name, name) == 0)
            return c->of[i].live;
    return 0;
}

TAP_UNUSED static bool there_is_swap(void) {
    struct sysinfo machine;
    return sysinfo(&machine) == 0 && machine.totalswap != 0;
}

// What whoever reads this program's output holds while it sleeps in poll; and what the program
// itself has to tell of its forks (/proc/self/ledger), up to a limit. Where there is swap, the page
// daemon has its part in how many pages are in memory and mapped: of anons and objects there is one
// each, wherever its page is.
TAP_UNUSED static bool counts_may_differ(const char* name) {
    if (strcmp(name, "pv_entry") == 0 || strcmp(name, "AnonPages:") == 0 ||
        strcmp(name, "Shmem:") == 0 || strcmp(name, "Mapped:") == 0)
        return there_is_swap();
    return strcmp(name, "poll_entry") == 0 || strncmp(name, "kmem", 4) == 0 ||
           strcmp(name, "ledger_entry") == 0 || strcmp(name, "vm_aftermath") == 0;
}

// How many counts differ; each is told of, if `loud`.
TAP_UNUSED static int counts_compare(const struct counts* before, const struct counts* after,
                                     bool loud) {
    int differing = 0;
    for (int i = 0; i < after->n; i++) {
        const struct count* now = &after->of[i];
        const long then = counts_live(before, now->name);
        if (counts_may_differ(now->name) || now->live == then)
            continue;
        if (loud)
            diag("%s %ld, was %ld", now->name, now->live, then);
        differing++;
    }
    return differing;
}

// How many counts still differ from `before` once whoever is on its way out is gone, and each is
// told of, if `loud`.
TAP_UNUSED static int counts_left(const struct counts* before, bool loud) {
    struct counts after;
    int differing = 1;
    for (int i = 0; i < 100 && differing; i++) {
        counts_take(&after);
        differing = counts_compare(before, &after, false);
        if (differing)
            breathe();
    }
    return loud ? counts_compare(before, &after, true) : differing;
}

// How many counts differ each time that `body(arg)` has been done; the last time they are told of.
TAP_UNUSED static int counts_left_by(void (*body)(const void*), const void* arg) {
    enum { TIMES = 3 };
    struct counts before;
    for (int i = 1;; i++) {
        counts_take(&before);
        body(arg);
        const int left = counts_left(&before, i == TIMES);
        if (left == 0 || i == TIMES)
            return left;
    }
}

// What there is of it now.
TAP_UNUSED static long counts_now(const char* name) {
    struct counts now;
    counts_take(&now);
    return counts_live(&now, name);
}
