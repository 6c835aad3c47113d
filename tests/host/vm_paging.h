// A machine that pages, for tests: simulated disks as swap areas, and the page daemon as a thread.
//
//     paging_machine m(seed);            // before the first page that is to go is made
//     sim_disk& d = m.add_disk(64);
//     REQUIRE(m.swap_on(d));
//     m.put_out(10);                     // a turn of the daemon, by the caller
//     m.turns.start([] { ... });         // another thread; they take turns (arch/host/host_turns.h)
//
// At its end, when all memory that was put out is gone or has come back, nothing is as it was before
// but the count of the daemon's turns.
#pragma once

#include "arch/host/host_turns.h"
#include "tests/host/sim_disk.h"
#include "vm/uvm_aobj.h"
#include "vm/vm_anon.h"

#include <deque>
#include <optional>

class paging_machine {
public:
    explicit paging_machine(uint64_t seed = 1);
    ~paging_machine();

    sim_disk& add_disk(uint64_t pages); // with mkswap's header
    std::deque<sim_disk>& disks() { return disks_; }
    status swap_on(sim_disk& d, int priority = -1);
    // The caller does what the daemon does in a turn, until `pages` more are free. What has become
    // free.
    uint64_t put_out(uint64_t pages);
    // Puts out whatever can go.
    void put_all_out();
    // Whether nobody but the caller has anything to do, and no request is under way.
    bool quiet() const;
    void seed(uint64_t seed);

    // The n-th request to each disk fails (1: the next), once.
    void fail_request_after(uint64_t n);
    uint64_t requests_failed() const; // so far
    void mend();

private:
    bool answer_one();

    std::deque<sim_disk> disks_;
    std::minstd_rand random_;
    bool daemon_ = false;

public:
    host_turns turns; // last: its end lets the others come to theirs
};

// The same for tests with threads that the host lets run: one answers the disk's requests, one is the
// daemon. The disk is on.
class free_paging_machine {
public:
    explicit free_paging_machine(uint64_t pages);
    ~free_paging_machine();

    sim_disk disk;

private:
    std::optional<sim_disk_thread> answers_;
    std::optional<host_endless> daemon_;
};

// Where a page is, and what is in it: in memory, or in a slot of a simulated disk.
struct page_place {
    bool there = false;            // at all
    bool resident = false;         // in memory, and not
    bool busy = false;             // on its way
    swap_slot slot = 0;            // also where the page is in memory
    const uint8_t* data = nullptr; // null: busy
};
page_place place_of(vm_anon& anon);
page_place place_of(uvm_aobj& object, uint64_t index); // its lock is held
// Which of the disk's pages has it.
struct swap_page {
    sim_disk* disk;
    uint64_t page;
};
swap_page disk_page_of(swap_slot slot);
