// pipe_channel: a byte channel; behind pipe(2) and behind fifos.
//
// The bytes are in a ring of pages. Readers take turns by read_lock_, writers by write_lock_; both
// are sleep locks and held over the copies from and to programs. Since there is one reader and one
// writer at a time, the bytes in [tail_, head_) are the reader's to copy and the rest is the
// writer's; the spin lock state_ is held only to look at the positions and to move them.
#pragma once

#include "kernel/files/file.h"
#include "kernel/files/poll.h"
#include "kernel/process/user_account.h"
#include "lib/lock.h"
#include "vm/phys/pool.h"

#include <atomic>

// What an ordinary user may have (/proc/sys/fs/pipe-*): bytes of room in a pipe, a power of two;
// pages of room in all of his pipes, 0 for no limit. Beyond pipe_user_pages_soft he gets pipes of
// smallest_capacity, and makes none larger; beyond pipe_user_pages_hard he gets none.
inline constexpr uint64_t pipe_largest_size = uint64_t{1} << 31; // that pipe_max_size may be
extern std::atomic<uint64_t> pipe_max_size, pipe_user_pages_soft, pipe_user_pages_hard;

class pipe_channel final : public ref_counted<pipe_channel> {
public:
    static constexpr auto end_takes = lock_rank::accounts;
    static constexpr uint64_t atomic_size = 4096; // PIPE_BUF
    static constexpr uint64_t default_capacity = 64 * 1024;
    static constexpr uint64_t smallest_capacity = 8 * 1024;

    // Charged to the caller. ENFILE beyond pipe_user_pages_hard; ENOMEM.
    static expected<ref_ptr<pipe_channel>> create();
    explicit pipe_channel(user_charge pages);
    ~pipe_channel();
    void last_reference_gone();

    expected<int64_t> read(uio& io, bool nonblocking);
    // EPIPE and SIGPIPE without readers. `packets` (O_DIRECT): each write, or each PIPE_BUF of a
    // long one, is read by itself.
    expected<int64_t> write(uio& io, bool nonblocking, bool packets = false);
    uint32_t poll(poller* p, bool reader, bool writer, uint64_t hangup_mark);
    uint64_t available(); // bytes
    // Bytes of its pages, whatever is in them.
    uint64_t held() const { return pages_made_.load(std::memory_order_relaxed) * page_size; }
    uint64_t capacity();
    // Rounded up to a power of two pages. EBUSY: more is in it; EPERM if it grows beyond
    // pipe_max_size, or what its maker may have; ENOMEM.
    expected<uint64_t> set_capacity(uint64_t bytes);

    // An end appears (fifo: waits for the other unless nonblocking; ENXIO) and goes.
    void add_end(bool reader, bool writer);
    void remove_end(bool reader, bool writer);
    // `seen`: ends_ever() of the other end before ours appeared. One that has come and gone since
    // will do.
    status wait_for_other_end(bool reader, bool writer, bool nonblocking, uint64_t seen);
    uint64_t ends_ever(bool readers); // how many have been opened so far
    // For poll(): a reader that finds no writer is not hung up until one has come and gone.
    uint64_t hangup_mark();

private:
    struct ring_page {
        char* data;   // made when first written to
        uint32_t end; // where its bytes end, once the writer has left it
        bool packet;
    };
    ring_page& page_at(uint64_t position) const {
        return ring_.data()[(position >> page_shift) % ring_.size()];
    }
    void empty_ring();
    status take(uio& io, uint64_t& at, uint64_t head) REQUIRES(read_lock_);
    status put(uio& io, uint64_t& at, uint64_t n, bool packet) REQUIRES(write_lock_);
    uint64_t room(bool packet) const REQUIRES(state_);
    status write_some(uio& io, bool whole, bool packets, uint64_t& sent);
    status wait_for_room(uint64_t bytes, bool nonblocking, bool packets);
    status move_to(kmem_array<ring_page>& ring, char*& spare) REQUIRES(read_lock_, write_lock_);

    sleep_lock read_lock_{lock_rank::pipe, "pipe read"};
    sleep_lock write_lock_{lock_rank::pipe, "pipe write"};
    // A page for each page_size of capacity. The array changes under both sleep locks and state_,
    // its elements under write_lock_.
    kmem_array<ring_page> ring_ GUARD_UNCHECKED(read_lock_, write_lock_, state_);
    std::atomic<uint64_t> pages_made_{0}; // of ring_: they stay when they have been read
    // As many units as ring_ has pages.
    user_charge charge_ GUARD_UNCHECKED(read_lock_, write_lock_, state_);

    spin_lock state_{lock_rank::pipe_state, "pipe"};
    uint64_t head_ GUARDED_BY(state_) = 0,
                   tail_ GUARDED_BY(state_) =
                       0; // positions: bytes, and what was left of pages before packets
    unsigned readers_ GUARDED_BY(state_) = 0, writers_ GUARDED_BY(state_) = 0; // open ends
    uint64_t readers_ever_ GUARDED_BY(state_) = 0, writers_ever_ GUARDED_BY(state_) = 0;
    wait_queue read_waiters_ GUARDED_BY(state_);
    wait_queue write_waiters_ GUARDED_BY(state_);
    wait_queue open_waiters_ GUARDED_BY(state_);
    poll_queue pollers_;
};

// A description of an end (or, O_RDWR, of both) of a fifo's pipe. Blocks for the other end as
// open(2) does.
expected<ref_ptr<file>> pipe_open(vnode& node, ref_ptr<pipe_channel> channel, uint32_t flags);
// The two ends of a new pipe: read, write. `flags`: O_NONBLOCK, O_DIRECT.
struct pipe_ends {
    ref_ptr<file> read, write;
};
expected<pipe_ends> pipe_make(uint32_t flags);
