#include "vm/uvm_pdaemon.h"

#include "arch/cpu.h"
#include "lib/wait_queue.h"
#include "vm/phys/alloc_fail.h"
#include "vm/phys/vm_page.h"
#include "vm/uvm_pdpolicy.h"

#include <algorithm>

namespace uvm_pdaemon {

namespace {

struct daemon_state {
    spin_lock lock{lock_rank::wait, "page daemon"};
    wait_queue idle GUARDED_BY(lock);     // the daemon
    wait_queue waiting GUARDED_BY(lock);  // who wants memory
    uint64_t wanted GUARDED_BY(lock) = 0; // the turn that somebody waits for
    uint64_t turns GUARDED_BY(lock) = 0;  // that have ended
    uint64_t goal GUARDED_BY(lock) = 0; // free pages that somebody waits for, if more than target()
    uint64_t helpful GUARDED_BY(lock) = 0;   // those after which who waited may try again
    bool of_use GUARDED_BY(lock) = true;     // the last one: it has freed pages itself, or need not
    bool had_spare GUARDED_BY(lock) = false; // it began with some, for others to take meanwhile
    bool running GUARDED_BY(lock) = false, at_work GUARDED_BY(lock) = false;
};
constinit daemon_state daemon;

std::atomic<uint64_t> least_free{0}; // set_reserve()

constexpr unsigned most_doublings = 10; // makes more than all memory

} // namespace

// What waits with the processors is given out without a look at it.
static uint64_t usual_reserve() {
    return std::clamp<uint64_t>(vm_page_total() / 64, 64, 1024) + 64 * cpu::count();
}

uint64_t reserve() { return std::max(usual_reserve(), least_free.load()); }

uint64_t target() { return reserve() + usual_reserve(); }

static void keep_reserve() REQUIRES(daemon.lock) {
    vm_page_set_reserve({.reserve = reserve(), .low = reserve() + usual_reserve() / 2});
}

void begin_paging() {
    lock_guard guard(daemon.lock);
    keep_reserve();
    daemon.running = true;
}

bool is_running() { return vm_page_get_reserve() != 0; }

void set_reserve(uint64_t pages) {
    lock_guard guard(daemon.lock);
    least_free = pages;
    if (!daemon.running)
        return;
    keep_reserve();
    daemon.wanted = std::max(daemon.wanted, daemon.turns + 1);
    daemon.idle.wake_one();
}

uint64_t await_turn() {
    lock_guard guard(daemon.lock);
    while (daemon.wanted <= daemon.turns)
        daemon.idle.wait(daemon.lock, "page daemon");
    daemon.at_work = true;
    daemon.had_spare = spare_pages() != 0;
    return std::max(target(), std::exchange(daemon.goal, 0));
}

void end_turn(bool of_use) {
    lock_guard guard(daemon.lock);
    daemon.at_work = false;
    daemon.of_use = of_use;
    daemon.helpful += of_use || daemon.had_spare || spare_pages() != 0;
    daemon.turns++;
    daemon.waiting.wake_all();
}

// Asks for a turn, unless there is or will be one, or the last one was of no use: then who waits for
// memory has to ask.
static void begin_turn() {
    vm_page_are_low.store(false, std::memory_order_relaxed);
    lock_guard guard(daemon.lock);
    if (!daemon.running || daemon.at_work || daemon.wanted > daemon.turns || !daemon.of_use)
        return;
    daemon.wanted = daemon.turns + 1;
    daemon.idle.wake_one();
}

void enqueue_new(vm_page& page, swap_slot from) {
    uvm_pdpolicy::enqueue(page, from);
    if (vm_page_are_low.load(std::memory_order_relaxed))
        begin_turn();
}

uint64_t spare_pages() {
    const uint64_t free = vm_page_count_free(), kept = vm_page_get_reserve();
    return free > kept ? free - kept : 0;
}

bool is_short() { return vm_page_count_free() < vm_page_get_reserve() / 2; }

bool would_wait() { return vm_page_get_reserve() != 0 && spare_pages() == 0; }

bool wait_for_memory(unsigned doublings) {
    if (!uvm_pdpolicy::on() || alloc_fail_armed.load(std::memory_order_relaxed))
        return false;
    lock_guard guard(daemon.lock);
    if (!daemon.running)
        return false;
    // The turn that is going on may help; if it does not, it may have begun too early.
    const uint64_t before = daemon.turns, mine = before + (daemon.at_work ? 2 : 1);
    daemon.wanted = std::max(daemon.wanted, mine);
    daemon.goal = std::max(daemon.goal, target() << std::min(doublings, most_doublings));
    daemon.idle.wake_one();
    // Who is woken may run when the next turn has ended already.
    const uint64_t helpful = daemon.helpful;
    while (daemon.turns < mine && daemon.helpful == helpful)
        daemon.waiting.wait(daemon.lock, "memory");
    return daemon.helpful != helpful;
}

} // namespace uvm_pdaemon
