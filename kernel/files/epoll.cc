// epoll(7).
//
// Each file in an epoll has an item there, which is a poller of the file: what happens to the file
// tells the item, and the item goes to the epoll's list of what may be ready and wakes who waits. So
// a wait looks at that list and at nothing else, however many files are idle. What it finds there it
// asks again: an item that has nothing any more leaves the list, one that is level-triggered stays.
//
// An item keeps neither its file nor its epoll: whichever ends first takes it away. Items come and
// go under epoll_links, the one lock of all epolls, which guards who watches whom; and under the
// epoll's lock_, which guards its set of items. So who holds lock_ may ask the file of any of its
// items, also one whose last reference is gone: its end waits for lock_.
//
//     epoll_links > lock_ (an outer epoll's, then that of one in it) > poll_queue > ready_lock_
//
// An epoll may be in another one. They make no circle, and at most most_in_a_row lie in each other
// (ELOOP), so poll() of the outermost goes no deeper.
#include "kernel/files/epoll.h"

#include "kernel/abi/epoll.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/anonymous.h"
#include "kernel/files/file.h"
#include "kernel/files/poll.h"
#include "kernel/process/process.h"
#include "kernel/process/security.h"
#include "kernel/process/thread.h"
#include "kernel/process/user_account.h"
#include "kernel/signal/signal.h"
#include "lib/long_work.h"

using namespace linux_abi;

constinit std::atomic<uint64_t> epoll_max_user_watches{0};

static sleep_lock epoll_links{lock_rank::epoll_links, "epoll links"};

static constexpr uint32_t epoll_flags = epollexclusive | epollwakeup | epolloneshot | epollet;
static constexpr unsigned most_in_a_row = 5;
// Of one file: who tells them holds a spin lock.
static constexpr uint32_t most_watches = 4096;

class epoll_file;

// A file in an epoll, by the descriptor that it had.
struct epoll_item final : poller {
    epoll_item(epoll_file& by, file& f, int descriptor, const linux_epoll_event& e, user_charge c)
        : owner(by), of(f), fd(descriptor), wanted(e.events), data(e.data), charge(std::move(c)) {}
    bool told(uint32_t events) override;
    bool exclusive() const override { return wanted.load() & epollexclusive; }
    // What it is there for and holds now. Its owner's lock_ is held.
    uint32_t now() { return of.poll(nullptr) & wanted.load(); }

    epoll_file& owner;
    file& of;
    const int fd;
    // POLL* and epoll_flags; no POLL* is left of one that was oneshot and was reported. Changed under
    // the owner's lock_.
    std::atomic<uint32_t> wanted;
    uint64_t data GUARD_UNCHECKED(owner.lock_);
    avl_node among_items GUARD_UNCHECKED(owner.lock_);
    list_node among_ready GUARD_UNCHECKED(owner.ready_lock_);
    // If `of` is an epoll; and those of one file, from file::watched_by on.
    list_node among_nested GUARD_UNCHECKED(epoll_links);
    epoll_item *next_of_file GUARD_UNCHECKED(epoll_links) = nullptr,
                             *previous_of_file GUARD_UNCHECKED(epoll_links) = nullptr;
    const user_charge charge;
};

class epoll_file final : public file {
public:
    explicit epoll_file(uint32_t uid)
        : file(anonymous_node(anonymous_kind::epoll), o_rdwr), uid_(uid) {}
    void closed() override;
    bool pollable() const override { return true; }
    uint32_t poll(poller* p) override;
    epoll_file* as_epoll() override { return this; }
    uint64_t held() override { return count_.load(std::memory_order_relaxed) * sizeof(epoll_item); }

    status add(file& f, int fd, const linux_epoll_event& event);
    status modify(file& f, int fd, const linux_epoll_event& event);
    status remove(file& f, int fd);
    // Takes away an item; epoll_links is held.
    void drop(epoll_item& item) REQUIRES(epoll_links);
    // As epoll_wait(2).
    expected<int64_t> wait(user_ptr<linux_epoll_event> out, int32_t most, nanos_t deadline);
    // `item` may have something; returns whether a waiter was woken.
    bool ready(epoll_item& item);

private:
    // One walk over epolls, level by level.
    struct walk_level {
        epoll_file* first = nullptr;
        uint64_t stamp = 0;
        void add(epoll_file& e) REQUIRES(epoll_links);
    };
    static unsigned levels(epoll_file& from, bool inward, const epoll_file* avoid, bool& met)
        REQUIRES(epoll_links);
    status may_hold(epoll_file& inner) REQUIRES(epoll_links);
    epoll_item* find(const file& f, int fd) const REQUIRES(lock_);
    static bool before(const epoll_item& item, const file& f, int fd) {
        return &item.of < &f || (&item.of == &f && item.fd < fd);
    }
    void link(epoll_item& item) REQUIRES(epoll_links, lock_);
    void unlink(epoll_item& item) REQUIRES(epoll_links, lock_);
    uint64_t begin_to_look() REQUIRES(lock_);
    epoll_item* next_ready() REQUIRES(lock_);
    void put_back(epoll_item& item, bool first) REQUIRES(lock_);
    expected<int64_t> collect(user_ptr<linux_epoll_event> out, int32_t most);

    sleep_lock lock_{lock_rank::epoll, "epoll"};
    avl_tree<epoll_item, &epoll_item::among_items> items_ GUARDED_BY(lock_);
    std::atomic<uint64_t> count_{0}; // of them
    const uint32_t uid_;             // who made it: his are the items

    spin_lock ready_lock_{lock_rank::epoll_ready, "epoll ready"};
    list<epoll_item, &epoll_item::among_ready> ready_ GUARDED_BY(ready_lock_);
    uint64_t ready_count_ GUARDED_BY(ready_lock_) = 0;
    wait_queue waiters_ GUARDED_BY(ready_lock_);
    // Whoever waits for this epoll as a file was told, and has not looked since: once is enough. So
    // what one change costs is bounded by how often somebody looked before.
    bool told_ GUARDED_BY(ready_lock_) = false;
    poll_queue pollers_;

    list<epoll_item, &epoll_item::among_nested> nested_ GUARDED_BY(epoll_links);
    epoll_file* next_in_level_ GUARDED_BY(epoll_links) = nullptr;
    uint64_t in_level_ GUARDED_BY(epoll_links) = 0;
};

namespace {
constinit pool<epoll_item> items{"epoll_item"};
constinit pool<epoll_file> epolls{"epoll"};
} // namespace

void epoll_init(uint64_t memory) {
    // Of a 25th of memory, as on Linux.
    epoll_max_user_watches.store(memory / 25 / sizeof(epoll_item));
}

// ---- What is ready ---------------------------------------------------------------------------

bool epoll_item::told(uint32_t events) {
    if (!(events & wanted.load() & ~epoll_flags))
        return false;
    // Of a hang-up all are told.
    return owner.ready(*this) && !(events & pollhup);
}

bool epoll_file::ready(epoll_item& item) {
    bool woke, tell;
    {
        lock_guard guard(ready_lock_);
        if (!item.among_ready.linked()) {
            ready_.push_back(item);
            ready_count_++;
        }
        woke = waiters_.wake_one() != nullptr;
        tell = !std::exchange(told_, true);
    }
    if (tell)
        pollers_.notify_nested(pollin | pollrdnorm);
    return woke;
}

// How many there are to look at: what comes meanwhile, or is put back, is for the next time.
uint64_t epoll_file::begin_to_look() {
    lock_guard guard(ready_lock_);
    told_ = false;
    return ready_count_;
}

epoll_item* epoll_file::next_ready() {
    lock_guard guard(ready_lock_);
    epoll_item* item = ready_.pop_front();
    if (item)
        ready_count_--;
    return item;
}

void epoll_file::put_back(epoll_item& item, bool first) {
    lock_guard guard(ready_lock_);
    if (item.among_ready.linked()) // it was told meanwhile
        return;
    if (first)
        ready_.push_front(item);
    else
        ready_.push_back(item);
    ready_count_++;
    if (first)
        waiters_.wake_one(); // who has not seen it meanwhile may sleep by now
}

// An outer epoll's lock_ may be held, but none of one inside it: see the top.
uint32_t epoll_file::poll(poller* p) {
    if (p)
        p->add(pollers_);
    lock_guard guard(lock_, nested_lock());
    for (uint64_t left = begin_to_look(); left; left--) {
        epoll_item* item = next_ready();
        if (!item)
            break;
        if (item->now()) {
            put_back(*item, true);
            return pollin | pollrdnorm;
        }
        long_work::pause();
    }
    return 0;
}

expected<int64_t> epoll_file::collect(user_ptr<linux_epoll_event> out, int32_t most) {
    int64_t n = 0;
    status written;
    {
        lock_guard guard(lock_);
        for (uint64_t left = begin_to_look(); left && n < most; left--) {
            long_work::pause();
            epoll_item* item = next_ready();
            if (!item)
                break;
            const uint32_t wanted = item->wanted.load(), events = item->now();
            if (!events)
                continue;
            written = out.write_at(size_t(n), {events, item->data});
            if (!written) {
                put_back(*item, true);
                break;
            }
            n++;
            if (wanted & epolloneshot)
                item->wanted.store(wanted & epoll_flags);
            else if (!(wanted & epollet))
                put_back(*item, false);
        }
    }
    // What is left is for another one.
    lock_guard guard(ready_lock_);
    if (!ready_.empty())
        waiters_.wake_one();
    if (n == 0 && !written)
        return fail(written.error());
    return n;
}

expected<int64_t> epoll_file::wait(user_ptr<linux_epoll_event> out, int32_t most,
                                   nanos_t deadline) {
    for (;;) {
        const int64_t n = TRY(collect(out, most));
        if (n || deadline == 0)
            return n;
        TRY(long_work::go_on());
        lock_guard guard(ready_lock_);
        while (ready_.empty()) {
            status woken = waiters_.wait_interruptible(ready_lock_, "epoll", deadline);
            if (woken)
                continue;
            if (woken.error() != Errno::timedout)
                return fail(woken.error());
            deadline = 0; // what has come with the end of the time is reported
            break;
        }
    }
}

// ---- What is in it ---------------------------------------------------------------------------

epoll_item* epoll_file::find(const file& f, int fd) const {
    epoll_item* item = items_.first_where([&](const epoll_item& i) { return !before(i, f, fd); });
    return item && &item->of == &f && item->fd == fd ? item : nullptr;
}

void epoll_file::link(epoll_item& item) {
    items_.insert_before(
        items_.first_where([&](const epoll_item& i) { return !before(i, item.of, item.fd); }),
        item);
    count_++;
    item.next_of_file = item.of.watched_by;
    if (item.next_of_file)
        item.next_of_file->previous_of_file = &item;
    item.of.watched_by = &item;
    item.of.watches.fetch_add(1, std::memory_order_relaxed);
    if (item.of.as_epoll())
        nested_.push_back(item);
}

void epoll_file::unlink(epoll_item& item) {
    item.leave();
    {
        lock_guard guard(ready_lock_);
        if (item.among_ready.linked()) {
            ready_.remove(item);
            ready_count_--;
        }
    }
    items_.erase(item);
    count_--;
    (item.previous_of_file ? item.previous_of_file->next_of_file : item.of.watched_by) =
        item.next_of_file;
    if (item.next_of_file)
        item.next_of_file->previous_of_file = item.previous_of_file;
    if (item.among_nested.linked())
        nested_.remove(item);
    item.of.watches.fetch_sub(1, std::memory_order_release); // from here on the file may end
}

void epoll_file::drop(epoll_item& item) {
    {
        lock_guard guard(lock_);
        unlink(item);
    }
    items.destroy(&item);
}

// `f` is the caller's until it returns.
status epoll_file::add(file& f, int fd, const linux_epoll_event& event) {
    lock_guard links(epoll_links);
    if (epoll_file* inner = f.as_epoll())
        TRY(may_hold(*inner));
    lock_guard guard(lock_);
    if (find(f, fd))
        return fail(Errno::exist);
    if (f.watches == most_watches)
        return fail(Errno::inval);
    auto charge = TRY(user_charge::take(uid_, user_resource::epoll_watches, 1,
                                        epoll_max_user_watches.load(), Errno::nospc));
    epoll_item* item = items.create(*this, f, fd, event, std::move(charge));
    if (!item)
        return fail(Errno::nomem);
    link(*item);
    const uint32_t now = f.poll(item);
    if (item->no_memory()) {
        unlink(*item);
        items.destroy(item);
        return fail(Errno::nomem);
    }
    if (now & event.events)
        ready(*item);
    return {};
}

status epoll_file::modify(file& f, int fd, const linux_epoll_event& event) {
    lock_guard guard(lock_);
    epoll_item* item = find(f, fd);
    if (!item)
        return fail(Errno::noent);
    if (item->exclusive())
        return fail(Errno::inval);
    item->data = event.data;
    item->wanted.store(event.events);
    if (item->now())
        ready(*item);
    return {};
}

status epoll_file::remove(file& f, int fd) {
    lock_guard links(epoll_links);
    epoll_item* item;
    {
        lock_guard guard(lock_);
        item = find(f, fd);
    }
    if (!item)
        return fail(Errno::noent);
    drop(*item);
    return {};
}

void epoll_file_ends(file& f) {
    for (;; long_work::pause()) {
        lock_guard links(epoll_links);
        epoll_item* item = f.watched_by;
        if (!item)
            return;
        item->owner.drop(*item);
    }
}

void epoll_file::closed() {
    for (;; long_work::pause()) {
        lock_guard links(epoll_links);
        epoll_item* item;
        {
            lock_guard guard(lock_);
            item = items_.root();
        }
        if (!item)
            break;
        drop(*item);
    }
    epolls.destroy(this);
}

// ---- Epolls in epolls ------------------------------------------------------------------------

void epoll_file::walk_level::add(epoll_file& e) {
    if (e.in_level_ == stamp)
        return;
    e.in_level_ = stamp;
    e.next_in_level_ = first;
    first = &e;
}

// How many lie in a row from `from` on, with it: those in it, or those that it is in. More than
// most_in_a_row are not counted. `met`: `avoid` is among them.
unsigned epoll_file::levels(epoll_file& from, bool inward, const epoll_file* avoid, bool& met) {
    static uint64_t stamps GUARDED_BY(epoll_links);
    walk_level level{.first = nullptr, .stamp = ++stamps};
    level.add(from);
    unsigned depth = 0;
    for (; level.first && depth <= most_in_a_row; depth++) {
        walk_level next{.first = nullptr, .stamp = ++stamps};
        for (epoll_file *e = level.first, *after; e; e = after) {
            after = e->next_in_level_; // `next` may take it over
            met = met || e == avoid;
            if (inward) {
                for (epoll_item& item : e->nested_)
                    next.add(*item.of.as_epoll());
            } else {
                for (epoll_item* item = e->watched_by; item; item = item->next_of_file)
                    next.add(item->owner);
            }
            long_work::pause();
        }
        level = next;
    }
    return depth;
}

status epoll_file::may_hold(epoll_file& inner) {
    bool met = false;
    const unsigned below = levels(inner, true, this, met);
    if (met || below + levels(*this, false, nullptr, met) > most_in_a_row)
        return fail(Errno::loop);
    return {};
}

// ---- The calls -------------------------------------------------------------------------------

static expected<ref_ptr<file>> usable(int fd) {
    ref_ptr<file> f = TRY(current_thread().files->get(fd));
    if (f->flags() & o_path)
        return fail(Errno::badf);
    return f;
}

sysresult sys_epoll_create1(sys_open_flags flags) {
    if (uint32_t(flags) & ~o_cloexec)
        return fail(Errno::inval);
    auto made = ref_ptr<file>::adopt(epolls.create(current_credentials().uid));
    if (!made)
        return fail(Errno::nomem);
    return TRY(current_thread().files->install(std::move(made), uint32_t(flags) & o_cloexec));
}

sysresult sys_epoll_create(int32_t size) {
    if (size <= 0)
        return fail(Errno::inval);
    return sys_epoll_create1(sys_open_flags{0});
}

sysresult sys_epoll_ctl(sys_fd epoll, int32_t operation, sys_fd fd,
                        user_ptr<const linux_epoll_event> user) {
    linux_epoll_event event{};
    if (operation != epoll_ctl_del)
        event = TRY(user.read());
    event.events |= pollerr | pollhup;
    const bool exclusive = event.events & epollexclusive;
    constexpr uint32_t with_exclusive =
        pollin | pollout | pollerr | pollhup | epollwakeup | epollet | epollexclusive;
    ref_ptr<file> by = TRY(usable(epoll)), f = TRY(usable(fd));
    if (!f->pollable())
        return fail(Errno::perm);
    epoll_file* const e = by->as_epoll();
    if (!e || by == f)
        return fail(Errno::inval);
    switch (operation) {
    case epoll_ctl_add:
        if (exclusive && (f->as_epoll() || (event.events & ~with_exclusive)))
            return fail(Errno::inval);
        TRY(e->add(*f, fd, event));
        return 0;
    case epoll_ctl_mod:
        if (exclusive)
            return fail(Errno::inval);
        TRY(e->modify(*f, fd, event));
        return 0;
    case epoll_ctl_del: TRY(e->remove(*f, fd)); return 0;
    default: return fail(Errno::inval);
    }
}

// `deadline` 0: only what is ready.
static sysresult epoll_wait_until(int fd, user_ptr<linux_epoll_event> out, int32_t most,
                                  nanos_t deadline) {
    if (most <= 0 || most > INT32_MAX / int32_t(sizeof(linux_epoll_event)))
        return fail(Errno::inval);
    ref_ptr<file> by = TRY(usable(fd));
    epoll_file* const e = by->as_epoll();
    if (!e)
        return fail(Errno::inval);
    return e->wait(out, most, deadline);
}

static status take_mask(user_ptr<const uint64_t> mask, uint64_t mask_size) {
    if (!mask)
        return {};
    if (mask_size != sizeof(sigset))
        return fail(Errno::inval);
    signal_set_temporary_mask(current_thread(), TRY(mask.read()));
    return {};
}

sysresult sys_epoll_wait(sys_fd epoll, user_ptr<linux_epoll_event> out, int32_t most,
                         int32_t timeout_ms) {
    return epoll_wait_until(epoll, out, most, timeout_ms == 0 ? 0 : poll_deadline(timeout_ms));
}

sysresult sys_epoll_pwait(sys_fd epoll, user_ptr<linux_epoll_event> out, int32_t most,
                          int32_t timeout_ms, user_ptr<const uint64_t> mask, uint64_t mask_size) {
    TRY(take_mask(mask, mask_size));
    return sys_epoll_wait(epoll, out, most, timeout_ms);
}

sysresult sys_epoll_pwait2(sys_fd epoll, user_ptr<linux_epoll_event> out, int32_t most,
                           user_ptr<const linux_timespec> timeout, user_ptr<const uint64_t> mask,
                           uint64_t mask_size) {
    nanos_t deadline = forever;
    if (timeout) {
        const linux_timespec t = TRY(timeout.read());
        deadline = TRY(poll_deadline(t));
        if (t.sec == 0 && t.nsec == 0)
            deadline = 0;
    }
    TRY(take_mask(mask, mask_size));
    return epoll_wait_until(epoll, out, most, deadline);
}
