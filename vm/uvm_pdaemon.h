// The page daemon, as others see it: when it begins, and who waits for it. It keeps some memory free
// by putting pages out to swap (vm/uvm_pageout.h).
//
// There is none before the first swapon; on a machine without a disk nothing is
// queued either, and nothing here costs anything.
//
//      free pages
//      |
//      | target    the daemon stops here
//      |
//      | low       and begins here
//      |
//      | reserve   pages of programs are not given out below this (vm_page_alloc fails): who wants
//      |           one waits, with no lock held
//      0           the kernel's own (page tables, pv entries, pools) are, down to nothing
#pragma once

#include "vm/uvm_swap.h"

#include <cstdint>

struct vm_page;

namespace uvm_pdaemon {

// The first swapon: the daemon has a thread.
void begin_paging();
bool is_running();
// A new page of an anon or an object, whose lock is held, or one that has come in: queued (`from`: as
// uvm_pdpolicy::enqueue), and the daemon woken if free pages have become few.
void enqueue_new(vm_page& page, swap_slot from = 0);
// For the daemon's thread (vm/uvm_pageout.h): waits until somebody wants a turn; how many pages are
// to be free after it. It has ended; `of_use`: it has freed pages, or need not.
uint64_t await_turn();
void end_turn(bool of_use);

// A page was not to be had. Waits for the daemon's next turn: true if it has freed pages, or there
// are free ones anyway, and what has failed is worth another try. No lock may be held that ranks
// behind vm_map, or is one. Also for a thread that is to die: its end wants memory, too, and a turn
// ends.
//
// `doublings`: what is wanted may be more than the daemon keeps free (the copy of a large amap, of pages
// that are all out, is thousands of its own): who has waited for it in vain asks for twice as much.
bool wait_for_memory(unsigned doublings = 0);

// Whether the kernel itself has less than half of the reserve, and the daemon should begin.
bool is_short();

// Whether a program's page is not to be had before the daemon has freed some.
bool would_wait();

// What is free beyond the reserve.
uint64_t spare_pages();

uint64_t reserve();
uint64_t target();
// So much is to be the reserve, or what is usual, if that is more (vm.min_free_kbytes). From the
// first swapon on.
void set_reserve(uint64_t pages);

} // namespace uvm_pdaemon
