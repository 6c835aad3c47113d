// spork-only
// Others meet a page that is on its way to swap or back: the kernel's sync points
// (kernel/process/sync_point.h) hold the thread that moves it. Where there is swap
// (tests/system/test_paging.py); without, nothing moves.
#include "../lib/counts.h"
#include "../lib/pages.h"
#include "../lib/sync_points.h"

#include <pthread.h>
#include <sys/syscall.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static struct {
    _Atomic pid_t mover;
    _Atomic bool went_on;
}* shared;
static struct gate begin, go_on;
static uint64_t* page;
static bool comes; // the page is held on its way in, not out

static void* move(void* unused) {
    shared->mover = (pid_t)syscall(SYS_gettid);
    gate_pass(&begin);
    if (comes)
        (void)*(volatile uint64_t*)page;
    else
        madvise(page, PAGE, MADV_PAGEOUT);
    return unused;
}

static pthread_t start_mover(void) {
    pthread_t thread;
    page = map_pages(1, MAP_PRIVATE);
    store_page(page, 0, 7);
    if (comes)
        need(madvise(page, PAGE, MADV_PAGEOUT) == 0);
    need(pthread_create(&thread, NULL, move, NULL) == 0);
    gate_pass(&go_on);
    return thread;
}

// The address space is to be changed by others meanwhile, and to be forked.
static void fork_meanwhile(void* unused) {
    (void)unused;
    pthread_t thread = start_mover();
    need(munmap(map_pages(1, MAP_PRIVATE), PAGE) == 0);
    const pid_t child = fork();
    need(child >= 0);
    if (child == 0) {
        need(is_page(page, 0, 7));
        store_page(page, 0, 8);
        _exit(!is_page(page, 0, 8));
    }
    shared->went_on = true;
    need(is_page(page, 0, 7));
    store_page(page, 0, 9);
    need(exited_with(reap(child), 0) && is_page(page, 0, 9));
    need(pthread_join(thread, NULL) == 0);
}

static void unmap_meanwhile(void* unused) {
    (void)unused;
    pthread_t thread = start_mover();
    need(munmap(page, PAGE) == 0);
    shared->went_on = true;
    if (!comes) // who comes finds nothing there
        need(pthread_join(thread, NULL) == 0);
    _exit(0);
}

static void die_meanwhile(void* unused) {
    (void)unused;
    start_mover();
    shared->went_on = true;
    pause();
}

// Whether body() goes on while a thread of its process is held with the page; how it ends.
static int meanwhile(void (*body)(void*), int kill_it) {
    const char* const point = comes ? "page_comes" : "page_goes";
    char text[64];
    shared->mover = 0;
    shared->went_on = false;
    begin = gate_make();
    go_on = gate_make();
    const pid_t child = spawn(body, NULL);
    need(eventually(shared->mover != 0));
    snprintf(text, sizeof text, "%s %d 1", point, shared->mover);
    hold(text);
    gate_open(&begin);
    need(eventually(is_at(shared->mover, point)));
    gate_open(&go_on);
    ok(eventually(shared->went_on), "the others go on");
    if (kill_it)
        need(kill(child, SIGKILL) == 0);
    let_go(point);
    for (int i = 0; i < 2; i++)
        close(begin.fd[i]), close(go_on.fd[i]);
    return reap(child);
}

static void each(const void* unused) {
    (void)unused;
    is_exit(meanwhile(fork_meanwhile, 0), 0, "a fork: each has the page, and then its own");
    const int status = meanwhile(unmap_meanwhile, 0);
    ok(exited_with(status, 0) || (comes && killed_by(status, SIGSEGV)), "it is unmapped");
    is_killed(meanwhile(die_meanwhile, SIGKILL), SIGKILL, "its process is killed");
}

static void on_its_way_out(void) {
    comes = false;
    is(counts_left_by(each, NULL), 0, "nothing is left of them");
}

static void on_its_way_in(void) {
    comes = true;
    is(counts_left_by(each, NULL), 0, "nothing is left of them");
}

int main(void) {
    struct sysinfo machine;
    need(sysinfo(&machine) == 0);
    if (machine.totalswap == 0 || !control('-', "page_goes")) {
        skip("there is no swap, or there are no sync points");
        return done();
    }
    shared = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared != MAP_FAILED);
    subtest("a page on its way out", on_its_way_out);
    subtest("a page on its way in", on_its_way_in);
    return done();
}
