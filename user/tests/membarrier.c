// membarrier: who may give which command, and that it is a barrier for the other threads.
#include "../lib/proc.h"
#include "../lib/spork.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

// MEMBARRIER_CMD_...
enum { QUERY, GLOBAL, EXPEDITED = 8, ANNOUNCE = 16, SYNC_CORE = 32, ANNOUNCE_SYNC_CORE = 64 };

static long membarrier(int command, unsigned flags) {
    return syscall(SYS_membarrier, command, flags, 0);
}

static void call_it(void* command) { _exit(membarrier(*(int*)command, 0) == 0 ? 0 : errno); }

static int announce(void* unused) {
    (void)unused;
    _exit(membarrier(ANNOUNCE, 0) != 0);
}

static void commands(void) {
    static char stack[65536] __attribute__((aligned(16)));
    int expedited = EXPEDITED;
    const long known = membarrier(QUERY, 0);
    const long wanted = GLOBAL | EXPEDITED | ANNOUNCE | SYNC_CORE | ANNOUNCE_SYNC_CORE;
    is(known & wanted, wanted, "the commands are known");
    is_errno(membarrier(QUERY, 1), EINVAL, "but no flags");
    is_errno(membarrier(GLOBAL | EXPEDITED, 0), EINVAL, "one at a time");
    is_errno(membarrier(-1, 0), EINVAL, "no others");
    is(membarrier(GLOBAL, 0), 0, "of all processors");
    const int64_t before = now_ns();
    for (int i = 0; i < 5; i++)
        need(membarrier(GLOBAL, 0) == 0);
    // On Linux they interrupt nobody.
    ok(!on_spork() || now_ns() - before > 4 * 9000000, "which it is asked for seldom");
    is_errno(membarrier(EXPEDITED, 0), EPERM, "one's own, which were not announced");
    is_errno(membarrier(SYNC_CORE, 0), EPERM, "nor that for changed code");
    is_errno(membarrier(ANNOUNCE, 1), EINVAL, "flags");
    is_exit(status_of(call_it, &expedited), EPERM, "a child has not announced it either");

    pid_t child = clone(announce, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
    need(child > 0);
    is_exit(reap(child), 0, "another process in this memory announces it");
    is(membarrier(EXPEDITED, 0), 0, "which is the memory's");
    is_errno(membarrier(SYNC_CORE, 0), EPERM, "of the one only");
    is(membarrier(ANNOUNCE_SYNC_CORE, 0), 0, "the other one");
    is(membarrier(SYNC_CORE, 0), 0, "may be given then");
    is_exit(status_of(call_it, &expedited), 0, "a child has it from its parent");
}

static const char* self;

static void exec_itself(void* unused) {
    (void)unused;
    need(membarrier(ANNOUNCE, 0) == 0);
    execl(self, self, "again", NULL);
}

static void next_program(void) {
    is_exit(status_of(exec_itself, NULL), EPERM, "the next program has announced nothing");
}

// ---- It is a barrier
// -----------------------------------------------------------------------------

enum { ROUNDS = 2000 };

// Each thread writes its own word and reads the other's; at least one of them reads what was
// written. The quick one leaves its barrier to the other one.
static struct word {
    _Alignas(64) volatile unsigned value;
} quick, slow, turn, seen;

static long processors;

static void run_on(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    need(sched_setaffinity(0, sizeof set, &set) == 0);
}

static void wait_for(volatile unsigned* word, unsigned value) {
    for (int i = 0; *word != value; i++)
        if (i % 256 == 255)
            sched_yield();
}

static void* quick_main(void* unused) {
    (void)unused;
    run_on(processors > 1);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        wait_for(&turn.value, round);
        quick.value = round;
        seen.value = slow.value == round ? 2 * round + 1 : 2 * round;
    }
    return NULL;
}

static void barrier(void) {
    pthread_t thread;
    processors = sysconf(_SC_NPROCESSORS_ONLN);
    run_on(0);
    need(membarrier(ANNOUNCE, 0) == 0);
    need(pthread_create(&thread, NULL, quick_main, NULL) == 0);
    const long before = uvmexp("shootdown_interrupts");
    int wrong = 0;
    for (unsigned round = 1; round <= ROUNDS; round++) {
        turn.value = round;
        for (volatile unsigned i = 0; i < round % 64; i++)
            continue;
        slow.value = round;
        need(membarrier(EXPEDITED, 0) == 0);
        const bool read = quick.value == round;
        while (seen.value / 2 != round)
            sched_yield();
        wrong += !read && seen.value % 2 == 0;
    }
    pthread_join(thread, NULL);
    is(wrong, 0, "of two threads at least one sees what the other wrote");
    // An order that shows it is rare.
    ok(!on_spork() || processors == 1 || uvmexp("shootdown_interrupts") - before >= ROUNDS / 2,
       "the other one's processor is asked each time");
}

int main(int argc, char** argv) {
    self = self_path(argv[0]);
    if (argc > 1)
        return membarrier(EXPEDITED, 0) == 0 ? 0 : errno;
    subtest("commands", commands);
    subtest("exec", next_program);
    subtest("two threads", barrier);
    return done();
}
