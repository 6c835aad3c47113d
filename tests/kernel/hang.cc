#include "tests/kernel/hang.h"

#include "arch/cpu.h"
#include "kernel/base/cmdline.h"
#include "kernel/process/thread.h"
#include "kernel/sched/kernel_thread.h"
#include "kernel/sched/sched.h"
#include "lib/assert.h"
#include "lib/lock.h"
#include "tests/kernel/ktest.h"

#include <cstring>

namespace {

sleep_lock first(lock_rank::vnode, "first"), second(lock_rank::vnode, "second");
std::atomic<unsigned> ready{0};
spin_lock queue_lock(lock_rank::wait, "queue");
wait_queue queue GUARDED_BY(queue_lock);

void start(const char* name, void (*entry)(void*)) {
    if (!kernel_thread_start(name, entry, nullptr))
        panic("no memory for a thread");
}

// With one lock, until another thread has the other one.
void meet(unsigned threads) {
    ready++;
    while (ready < threads)
        thread_yield();
}

void take(sleep_lock& a, sleep_lock& b) NO_THREAD_SAFETY_ANALYSIS {
    a.lock();
    meet(2);
    b.lock_nested(); // of one rank: the checker believes it
}

void sleep_for_ever(const char* why) {
    lock_guard guard(queue_lock);
    for (;;)
        queue.wait(queue_lock, why);
}

void take_and_sleep(void*) NO_THREAD_SAFETY_ANALYSIS {
    first.lock();
    ready++;
    sleep_for_ever("answer");
}

[[gnu::noinline]] void loop_for_ever() {
    for (;;)
        cpu::relax();
}

} // namespace

void fail_on_purpose(const char* how) {
    auto is = [&](const char* word) { return strcmp(how, word) == 0; };
    if (is("test"))
        panic("as the command line asks");
    if (is("deadlock")) {
        start("a", [](void*) { take(first, second); });
        start("b", [](void*) { take(second, first); });
    } else if (is("lost-wake-up")) {
        start("a", [](void*) { sleep_for_ever("answer"); });
    } else if (is("sleeper")) {
        start("a", take_and_sleep);
        start("b", [](void*) {
            meet(2);
            lock_guard guard(first);
        });
    } else if (is("loop")) {
        start("a", [](void*) { loop_for_ever(); });
    } else if (is("loop-interrupts-off")) {
        start("a", [](void*) {
            cpu::interrupts_push_off();
            loop_for_ever();
        });
    }
}

KTEST(ktest, a_check_fails_when_it_is_asked_to) {
    char how[32] = "";
    (void)cmdline_value("panic=", how, sizeof how);
    EXPECT(strcmp(how, "check") != 0);
}
