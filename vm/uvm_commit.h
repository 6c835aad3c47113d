// The commit account: how much memory has been promised.
//
// Every page of private memory that is writable, and every page of shared anonymous memory, may
// one day need a page of RAM. The account counts these promises, in pages. What it does about
// them is Linux's three modes (vm.overcommit_memory):
//
//   0  heuristic: only what could never be kept is refused: one request larger than all of memory
//   1  always: nothing is refused
//   2  strict: the sum of all promises stays within commit_limit()
//
// A fork promises the child all that the parent was promised, and strict accounting may therefore
// refuse it; vfork promises nothing.
//
// Who charges: map entries (vmspace keeps its part in its own sum) and charged uvm_aobjs. What is
// charged is given back by whoever has it then, exactly; at rest with no process, the account
// shows its starting value.
#pragma once

#include "lib/result.h"

#include <cstdint>

namespace uvm_commit {

enum class mode : uint8_t { heuristic = 0, always = 1, strict = 2 };

mode get_mode();
void set_mode(mode m);
uint64_t ratio(); // percent of RAM that strict mode promises besides swap; 50 at first
void set_ratio(uint64_t percent); // from now on the ratio counts, not the KiB
uint64_t kbytes();                // if not 0: the limit in KiB, in place of the ratio
void set_kbytes(uint64_t kib);    // the ratio is 0 from now on, as on Linux

// Takes `pages` into the account. ENOMEM as the mode says. Does not sleep.
status charge(uint64_t pages);
void uncharge(uint64_t pages);

uint64_t committed();    // pages
uint64_t commit_limit(); // pages; only strict mode holds to it
// Both without a lock, while nothing changes (vm/observe/vm_snapshot.h).
struct account {
    uint64_t committed, limit;
};
account look();

} // namespace uvm_commit

// A charge that is given back unless it is kept.
class commit_reservation {
public:
    commit_reservation() = default;
    commit_reservation(const commit_reservation&) = delete;
    ~commit_reservation() { uvm_commit::uncharge(pages_); }
    // ENOMEM. Adds to what is held already.
    status take(uint64_t pages);
    // From here on somebody else answers for the charge, or for so many pages of it.
    void keep() { pages_ = 0; }
    void hand_over(uint64_t pages);

private:
    uint64_t pages_ = 0;
};

// One charge in place of another that goes in the same operation: only the difference must fit.
class commit_exchange {
public:
    commit_exchange() = default;
    commit_exchange(const commit_exchange&) = delete;
    ~commit_exchange() { uvm_commit::uncharge(taken_); }
    // `take` pages are to be charged, `give_back` are charged now and will not be. ENOMEM.
    status begin(uint64_t take, uint64_t give_back);
    // The operation has happened.
    void finish();

private:
    uint64_t taken_ = 0;
    uint64_t left_over_ = 0;
};
