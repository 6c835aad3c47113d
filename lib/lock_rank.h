// The one lock order of the kernel, outermost first. A thread may take a lock only if its rank
// is greater than that of every lock it holds; builds with checks verify this at run time
// (lock_nested() is the exception for two locks of one rank, with its own rule at the caller).
// Sleep locks come before spin locks: a spin lock is never held while sleeping.
#pragma once

#include <cstdint>

enum class lock_rank : uint8_t {
    none,
    // Sleep locks.
    file_position,  // vnode_file::position_lock_
    generated_text, // proc_file::lock_, while its text is made or read
    page_policy,    // who chooses the page daemon's policy
    standstill,     // one at a time stops the other CPUs
    mount,          // the mount table
    node_walk,      // ext2::walk_: who goes through all nodes in memory
    directory,      // the names of one file system: tmpfs::names_, ext2::names_
    vnode,          // vnode::lock_: the contents of a file
    buffer_caches,  // the caches of disks that there are: kernel/fs/buffer.cc
    itimer,         // interval_timers::setting
    pipe,           // pipe::lock_
    epoll_links,    // who watches which file: kernel/files/epoll.cc
    epoll,          // epoll_file::lock_
    orphans,        // ext2::orphans_lock_: files without a name that are open
    block_map,      // ext2_map::lock: which blocks a file has
    block_groups,   // ext2_volume::lock_: which blocks and inodes are taken
    vm_map,         // vm_map::lock_
    vm_amap,        // vm_amap::lock_
    uvm_object,     // uvm_object::lock_
    ledger,         // ledger::lock_: what a process's calls cost
    file_locks,     // file_lock_list::guard: the advisory locks on one file
    groups,         // group_lock: one at a time goes through a process group, or moves processes
    // Spin locks: is_spin_rank(). First those that no interrupt handler takes: interrupts stay on
    // while they are held.
    sysv_shm,       // the table of System V segments
    fd_table,       // fd_table::lock_
    clock_watchers, // timerfds that are told when the wall clock is set
    attributes,     // vnode::attribute_lock_
    vm_shadows,     // uvm_object::shadows_
    dirty_objects,  // the list of objects that have dirty pages: vm/uvm_vnode.cc
    vm_commit,      // the commit account
    pmap,           // pmap::lock_
    pv,             // pv lists of pages
    paging,         // the queue of the pages that may be put out: vm/uvm_pdpolicy.h
    swap,           // the slots of swap areas: vm/uvm_swap.cc
    process_tree,   // the pid table, parents, children, groups, sessions
    pipe_state,     // pipe::state_
    sockets,        // who is whose peer, and what is in which queue: kernel/sockets/
    signal,         // sig_handlers::lock_, pending signals
    futex,          // a futex hash bucket
    poll,           // poll_queue::lock_
    process,        // process::lock_, thread::lock_
    fs_context,     // fs_context::lock_
    accounts,       // what users make the kernel hold
    lock_waits,     // who waits for an advisory lock, and for whose
    epoll_ready,    // epoll_file::ready_lock_
    wait,           // wait_queue guards that have no better name
    sleep_lock,     // the spin lock inside a sleep lock
    pty,            // a pseudo-terminal's line discipline, and who waits for it
    // Those that interrupt handlers take too, each for a short time.
    tty,         // tty and line-discipline buffers, shared with the interrupt handler
    disk,        // a disk's requests, and who waits for some
    timer,       // timer queues
    scheduler,   // run queues
    pool,        // allocators: pools
    page_queues, // free pages
    device,      // uart and other registers
    console,     // printk's buffer
    trace,       // the trace port
};

constexpr bool is_spin_rank(lock_rank rank) { return rank >= lock_rank::sysv_shm; }
// Whether interrupts are off while a spin lock of this rank is held, as they must be where a
// handler takes it: it would wait for ever for what it has interrupted. These come last in the
// order, so that what a handler takes is inside whatever it has interrupted, too.
constexpr bool taken_by_interrupts(lock_rank rank) { return rank >= lock_rank::tty; }
