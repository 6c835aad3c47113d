// Host threads are preempted by the host, or take turns; who is killed says the test.
#include "lib/long_work.h"

#include "host_machine.h"
#include "host_thread.h"
#include "host_turns.h"

static bool nobody_is_killed() { return false; }
bool (*host_is_killed)() = nobody_is_killed;

void long_work::pause() {
    if (host_turn_taker* mine = host_thread::self().turn)
        mine->all.yield();
}

status long_work::go_on() {
    if (host_is_killed())
        return fail(Errno::intr);
    pause();
    return {};
}
