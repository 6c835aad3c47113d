#include "kernel/files/pipe.h"

#include "kernel/abi/ioctl.h"
#include "kernel/base/user_ptr.h"
#include "kernel/files/anonymous.h"
#include "kernel/files/file.h"
#include "kernel/files/permission.h"
#include "kernel/process/process.h"
#include "kernel/process/security.h"
#include "kernel/process/thread.h"
#include "kernel/signal/signal.h"
#include "lib/format.h"
#include "lib/string.h"

#include <algorithm>
#include <bit>

using namespace linux_abi;

static constinit pool<pipe_channel> pipes{"pipe"};

constinit std::atomic<uint64_t> pipe_max_size{1024 * 1024};
constinit std::atomic<uint64_t> pipe_user_pages_soft{16384};
constinit std::atomic<uint64_t> pipe_user_pages_hard{0};

namespace {

// What a setting says for the caller. The superuser has no limit.
uint64_t for_caller(const std::atomic<uint64_t>& pages) {
    const uint64_t most = pages.load();
    return most == 0 || is_superuser() ? user_charge::no_limit : most;
}

// For a new pipe of the caller's.
expected<user_charge> charge_for_caller() {
    const uint32_t uid = current_credentials().uid;
    const uint64_t soft = for_caller(pipe_user_pages_soft), hard = for_caller(pipe_user_pages_hard);
    uint64_t capacity = pipe_channel::default_capacity;
    if (!is_superuser())
        capacity = std::min(capacity, pipe_max_size.load());
    auto charge = user_charge::take(uid, user_resource::pipe_pages, capacity / page_size,
                                    std::min(soft, hard), Errno::nfile);
    if (charge || charge.error() != Errno::nfile || hard < soft)
        return charge;
    return user_charge::take(uid, user_resource::pipe_pages,
                             pipe_channel::smallest_capacity / page_size, hard, Errno::nfile);
}

} // namespace

pipe_channel::pipe_channel(user_charge pages)
    : ring_(size_t(pages.units())), charge_(std::move(pages)) {}

expected<ref_ptr<pipe_channel>> pipe_channel::create() {
    auto p = ref_ptr<pipe_channel>::adopt(pipes.create(TRY(charge_for_caller())));
    if (!p || !p->ring_)
        return fail(Errno::nomem);
    return p;
}

void pipe_channel::empty_ring() {
    for (ring_page& page : ring_)
        if (page.data)
            kmem_free(std::exchange(page.data, nullptr), page_size);
    pages_made_ = 0;
}

pipe_channel::~pipe_channel() { empty_ring(); }

void pipe_channel::last_reference_gone() { pipes.destroy(this); }

// Copies out the bytes from `at` on, which moves on; of packets only one. What of a packet finds no
// room is lost.
status pipe_channel::take(uio& io, uint64_t& at, uint64_t head) {
    for (bool packet = false; at != head && io.remaining() && !packet;) {
        const ring_page& page = page_at(at);
        const bool being_filled = at >> page_shift == head >> page_shift;
        const uint64_t in = at & page_mask, end = being_filled ? head & page_mask : page.end;
        const uint64_t before = io.moved();
        status copied = io.move(page.data + in, std::min(end - in, io.remaining()));
        packet = page.packet;
        if (!packet)
            at += io.moved() - before;
        TRY(std::move(copied));
        // Where a page is left before its end; a full one leads to the next by itself.
        if (packet || (!being_filled && (at & page_mask) == end))
            at = (at | page_mask) + 1;
    }
    return {};
}

// Copies `n` bytes in at `at`, which moves on; they are within one page.
status pipe_channel::put(uio& io, uint64_t& at, uint64_t n, bool packet) {
    ring_page& page = page_at(at);
    if (!page.data) {
        page.data = static_cast<char*>(kmem_alloc(page_size));
        if (!page.data)
            return fail(Errno::nomem);
        pages_made_++;
    }
    const uint64_t before = io.moved();
    status copied = io.move(page.data + (at & page_mask), n);
    if (packet && !copied)
        return copied; // all of it or nothing
    if ((at & page_mask) == 0)
        page.packet = packet;
    page.end = packet ? uint32_t(n) : uint32_t(page_size);
    at += packet ? page_size : io.moved() - before;
    return copied;
}

// How much room there is for bytes; for a packet, which begins at the next page, all of one or
// none. The writer comes round into the page that is being read, unless that one has an end to be
// kept.
uint64_t pipe_channel::room(bool packet) const {
    const uint64_t size = ring_.size() * page_size;
    if (packet) {
        if (head_ == tail_)
            return page_size;
        const uint64_t from = page_round_down(tail_), to = page_round_up(head_);
        return to - from < size ? page_size : 0;
    }
    const uint64_t from = page_at(tail_).end == page_size ? tail_ : page_round_down(tail_);
    return size - (head_ - from);
}

expected<int64_t> pipe_channel::read(uio& io, bool nonblocking) {
    if (io.remaining() == 0)
        return 0;
    for (;;) {
        {
            lock_guard turn(read_lock_);
            uint64_t tail, head;
            {
                lock_guard guard(state_);
                tail = tail_;
                head = head_;
            }
            if (tail != head) {
                status copied = take(io, tail, head);
                {
                    lock_guard guard(state_);
                    tail_ = tail;
                    write_waiters_.wake_all();
                }
                pollers_.notify(pollout | pollwrnorm);
                return io.result(copied);
            }
        }
        lock_guard guard(state_);
        if (head_ != tail_)
            continue;
        if (writers_ == 0)
            return 0;
        if (nonblocking)
            return fail(Errno::again);
        if (!read_waiters_.wait_interruptible(state_, "pipe_read"))
            return fail(Errno::restartsys);
    }
}

// Puts in what there is room for now (with `packets`, one packet); `whole`: all of it or nothing.
// Adds to `sent` how many bytes went in.
status pipe_channel::write_some(uio& io, bool whole, bool packets, uint64_t& sent) {
    lock_guard turn(write_lock_);
    uint64_t head, space;
    {
        lock_guard guard(state_);
        if (packets && head_ == tail_) // nobody reads: no page is left half used
            head_ = tail_ = page_round_up(head_);
        head = head_;
        space = readers_ ? room(packets) : 0;
    }
    const uint64_t before = head;
    status copied;
    if (packets && space) {
        uint64_t at = page_round_up(head);
        copied = put(io, at, std::min(io.remaining(), atomic_size), true);
        if (copied) {
            head = at;
            sent = io.moved();
        }
    } else if (!packets) {
        const uint64_t n = whole && space < io.remaining() ? 0 : std::min(space, io.remaining());
        while (head - before < n && copied)
            copied =
                put(io, head, std::min(n - (head - before), page_size - (head & page_mask)), false);
        sent = io.moved();
    }
    if (head != before) {
        lock_guard guard(state_);
        if (packets && (before & page_mask)) // it is left before its end
            page_at(before).end = uint32_t(before & page_mask);
        head_ = head;
        read_waiters_.wake_all();
    }
    return copied;
}

// Until there may be room for `bytes`. EPIPE EAGAIN; restartsys.
status pipe_channel::wait_for_room(uint64_t bytes, bool nonblocking, bool packets) {
    lock_guard guard(state_);
    if (readers_ == 0)
        return fail(Errno::pipe);
    if (room(packets) >= bytes)
        return {};
    if (nonblocking)
        return fail(Errno::again);
    if (!write_waiters_.wait_interruptible(state_, "pipe_write"))
        return fail(Errno::restartsys);
    return {};
}

expected<int64_t> pipe_channel::write(uio& io, bool nonblocking, bool packets) {
    const bool whole = io.remaining() <= atomic_size;
    uint64_t sent = 0;
    status result;
    while (result && io.remaining() != 0) {
        result = write_some(io, whole, packets, sent);
        if (sent)
            pollers_.notify(pollin | pollrdnorm);
        if (result && io.remaining() != 0)
            result = wait_for_room(whole ? io.remaining() : 1, nonblocking, packets);
    }
    if (!result && result.error() == Errno::pipe)
        signal_send_thread(current_thread(), sigpipe, nullptr);
    if (!result && sent == 0)
        return fail(result.error());
    return int64_t(sent);
}

uint32_t pipe_channel::poll(poller* p, bool reader, bool writer, uint64_t hangup_mark) {
    if (p)
        p->add(pollers_);
    lock_guard guard(state_);
    uint32_t events = 0;
    if (reader) {
        if (head_ != tail_)
            events |= pollin | pollrdnorm;
        // A fifo that was opened without a writer has not been hung up.
        if (writers_ == 0 && writers_ever_ != hangup_mark)
            events |= pollhup;
    }
    if (writer) {
        if (room(false) >= atomic_size)
            events |= pollout | pollwrnorm;
        if (readers_ == 0)
            events |= pollerr;
    }
    return events;
}

uint64_t pipe_channel::available() {
    lock_guard guard(state_);
    uint64_t bytes = 0;
    for (uint64_t at = tail_; at >> page_shift < head_ >> page_shift; at = (at | page_mask) + 1)
        bytes += page_at(at).end - (at & page_mask);
    // Of the page that is being filled.
    return bytes + head_ - std::max(tail_, page_round_down(head_));
}

uint64_t pipe_channel::capacity() {
    lock_guard turn(write_lock_);
    return ring_.size() * page_size;
}

// Moves what is in the pipe to `ring`, which becomes its own: whole pages, so they are counted from
// the first that is still in use. EBUSY: they are too many. `spare` is a page that may be needed.
status pipe_channel::move_to(kmem_array<ring_page>& ring, char*& spare) {
    lock_guard guard(state_);
    uint64_t first = tail_ >> page_shift, last = (head_ + page_mask) >> page_shift;
    if (last - first > ring.size())
        return fail(Errno::busy);
    if (last - first > ring_.size()) {
        // Full, with its two ends in one page: they part.
        memcpy(spare, ring_[first % ring_.size()].data, page_size);
        last--;
        std::swap(ring[last % ring.size()].data, spare);
    }
    for (uint64_t page = first; page < last; page++)
        std::swap(ring[page % ring.size()], ring_[page % ring_.size()]);
    std::swap(ring, ring_);
    pages_made_ = uint64_t(std::ranges::count_if(ring_, [](auto& page) { return page.data; }));
    write_waiters_.wake_all();
    return {};
}

expected<uint64_t> pipe_channel::set_capacity(uint64_t bytes) {
    if (bytes > pipe_largest_size)
        return fail(Errno::inval);
    const uint64_t wanted = std::bit_ceil(std::max(bytes, page_size));
    const bool any_size = wanted <= pipe_max_size.load() || is_superuser();
    if (!any_size && wanted > capacity())
        return fail(Errno::perm);
    const uint64_t most_pages =
        std::min(for_caller(pipe_user_pages_soft), for_caller(pipe_user_pages_hard));
    kmem_array<ring_page> ring(wanted / page_size);
    auto* spare = static_cast<char*>(kmem_alloc(page_size));
    status moved = ring && spare ? status() : fail(Errno::nomem);
    if (moved) {
        // Both of one rank: always the reader's first, and nothing else takes the two together.
        lock_guard reading(read_lock_);
        write_lock_.lock_nested();
        if (ring.size() > ring_.size() && !(any_size && charge_.resize(ring.size(), most_pages)))
            moved = fail(Errno::perm);
        else if (ring.size() != ring_.size())
            moved = move_to(ring, spare);
        (void)charge_.resize(ring_.size(), user_charge::no_limit); // less, or as it is
        write_lock_.unlock();
    }
    for (ring_page& page : ring)
        if (page.data)
            kmem_free(page.data, page_size);
    if (spare)
        kmem_free(spare, page_size);
    TRY(std::move(moved));
    pollers_.notify();
    return wanted;
}

void pipe_channel::add_end(bool reader, bool writer) {
    lock_guard guard(state_);
    readers_ += reader;
    readers_ever_ += reader;
    writers_ += writer;
    writers_ever_ += writer;
    open_waiters_.wake_all();
}

void pipe_channel::remove_end(bool reader, bool writer) {
    bool unused;
    {
        lock_guard guard(state_);
        readers_ -= reader;
        writers_ -= writer;
        unused = readers_ == 0 && writers_ == 0;
        read_waiters_.wake_all();
        write_waiters_.wake_all();
    }
    pollers_.notify();
    if (!unused)
        return;
    // A fifo that nobody has open forgets what was in it.
    lock_guard reading(read_lock_);
    write_lock_.lock_nested(); // as in set_capacity()
    bool forget;
    {
        lock_guard guard(state_);
        forget = readers_ == 0 && writers_ == 0;
        if (forget)
            tail_ = head_ = 0;
    }
    if (forget)
        empty_ring();
    write_lock_.unlock();
}

uint64_t pipe_channel::ends_ever(bool readers) {
    lock_guard guard(state_);
    return readers ? readers_ever_ : writers_ever_;
}

uint64_t pipe_channel::hangup_mark() {
    lock_guard guard(state_);
    return writers_ ? UINT64_MAX : writers_ever_;
}

status pipe_channel::wait_for_other_end(bool reader, bool writer, bool nonblocking, uint64_t seen) {
    if (reader && writer)
        return {};
    lock_guard guard(state_);
    if (nonblocking)
        return writer && readers_ == 0 ? status(fail(Errno::nxio)) : status();
    while ((reader ? writers_ : readers_) == 0 && (reader ? writers_ever_ : readers_ever_) == seen)
        if (!open_waiters_.wait_interruptible(state_, "fifo_open"))
            return fail(Errno::restartsys);
    return {};
}

namespace {

class pipe_end final : public file {
public:
    pipe_end(vnode& node, ref_ptr<pipe_channel> channel, uint32_t flags, bool fifo)
        : file(node, flags), pipe_(std::move(channel)), others_seen_(pipe_->ends_ever(writable())),
          hangup_mark_(fifo ? pipe_->hangup_mark() : UINT64_MAX) {
        pipe_->add_end(readable(), writable());
    }
    ~pipe_end() override { pipe_->remove_end(readable(), writable()); }
    void closed() override;

    // Before it can be used: a reader of a fifo that has had no writer yet is not hung up.
    status wait_for_other_end() {
        return pipe_->wait_for_other_end(readable(), writable(), nonblocking(), others_seen_);
    }
    expected<int64_t> read(uio& io) override { return pipe_->read(io, nonblocking()); }
    expected<int64_t> write(uio& io) override {
        return pipe_->write(io, nonblocking(), flags() & o_direct);
    }
    bool pollable() const override { return true; }
    uint32_t poll(poller* p) override {
        return pipe_->poll(p, readable(), writable(), hangup_mark_);
    }
    expected<int64_t> ioctl(uint64_t command, uint64_t argument) override {
        if (command != fionread)
            return fail(Errno::notty);
        TRY(user_ptr<int32_t>(argument).write(int32_t(pipe_->available())));
        return 0;
    }
    uint64_t held() override { return pipe_->held(); }
    expected<int64_t> pipe_size() override { return int64_t(pipe_->capacity()); }
    expected<int64_t> set_pipe_size(uint64_t size) override {
        return int64_t(TRY(pipe_->set_capacity(size)));
    }

private:
    const ref_ptr<pipe_channel> pipe_;
    const uint64_t others_seen_; // how many openings the other end had had before ours
    const uint64_t hangup_mark_; // of a pipe, which has had both ends from the start: none
};
constinit pool<pipe_end> pipe_ends_pool{"pipe_end"};

void pipe_end::closed() { pipe_ends_pool.destroy(this); }

expected<ref_ptr<pipe_end>> make_end(vnode& node, ref_ptr<pipe_channel> channel, uint32_t flags,
                                     bool fifo) {
    auto end =
        ref_ptr<pipe_end>::adopt(pipe_ends_pool.create(node, std::move(channel), flags, fifo));
    if (!end)
        return fail(Errno::nomem);
    return end;
}

// ---- Pipes, which have no name ---------------------------------------------------------------

nameless_file_system pipefs{"pipefs", 0x50495045};

class pipe_node final : public vnode {
public:
    pipe_node(ref_ptr<pipe_channel> channel, uint32_t uid, uint32_t gid)
        : vnode(pipefs, pipefs.new_inode(), {s_ififo | 0600, uid, gid}), pipe_(std::move(channel)) {
    }
    void last_reference_gone() override;
    // By /proc/PID/fd/N: the pipe is there already, so nobody is waited for.
    expected<ref_ptr<file>> open(uint32_t flags) override {
        return ref_ptr<file>(TRY(make_end(*this, pipe_, flags, false)));
    }
    void pseudo_path(char* out, size_t size) override {
        format_to(out, size, "pipe:[%lu]", (unsigned long)inode());
    }

private:
    const ref_ptr<pipe_channel> pipe_;
};
constinit pool<pipe_node> pipe_nodes{"pipe_node"};

void pipe_node::last_reference_gone() { pipe_nodes.destroy(this); }

} // namespace

expected<ref_ptr<file>> pipe_open(vnode& node, ref_ptr<pipe_channel> channel, uint32_t flags) {
    auto end = TRY(make_end(node, std::move(channel), flags, true));
    TRY(end->wait_for_other_end());
    return ref_ptr<file>(std::move(end));
}

expected<pipe_ends> pipe_make(uint32_t flags) {
    const file_owner owner = owner_for_caller();
    auto node =
        ref_ptr<vnode>::adopt(pipe_nodes.create(TRY(pipe_channel::create()), owner.uid, owner.gid));
    if (!node)
        return fail(Errno::nomem);
    auto read = TRY(node->open(o_rdonly | flags));
    auto write = TRY(node->open(o_wronly | flags));
    return pipe_ends{std::move(read), std::move(write)};
}
