// The page daemon at work: looks at pages in the policy's order, and puts out those that may go.
//
// After uvm_pageout(9) and uvmpd_scan. It takes no page itself: what it needs to write is there
// beforehand. Who wakes it, and who waits for it: vm/uvm_pdaemon.h.
#pragma once

#include <cstdint>

// The daemon's thread, which never ends (kernel/syscall/sys_swap.cc).
[[noreturn]] void uvm_pageout();
// One turn, until `target` pages are free or all that there is has been looked at: whether it has
// freed pages, or the next one may. Sleeps. For tests that have no thread for it, too.
bool uvm_pageout_turn(uint64_t target);
