// Futexes: sleeping in the kernel on the value of a word in memory (Drepper, "Futexes are tricky",
// 2011).
//
// A word is known by its key: in private memory the address space and the address, so that a copy
// made by fork is another word; in shared memory the object and the offset, so that it is one word
// at whatever addresses it is mapped. Whoever says FUTEX_PRIVATE means another word than who does
// not, also in private memory: as on Linux, where the kernel's own wake-ups (the end of a thread,
// robust lists) say nothing of the kind, and programs rely on whom these do not wake. Neither is
// held while somebody waits: the serial number of an object that is gone is never another's.
// Waiters are in a hash table by key; the bucket's lock makes "the word still has that value, so I
// sleep" one step against wakers.
//
// A waiter that is requeued changes its bucket while it sleeps, with the locks of both held: which
// it is in says its home (lib/home.h). The sleeper locks that before it returns, which keeps it
// (and its stack) there until its waker is done with it.
#include "kernel/memory/futex.h"

#include "arch/memory.h"
#include "arch/timer.h"
#include "arch/uaccess.h"
#include "kernel/abi/futex.h"
#include "kernel/abi/syscalls.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/sched/sched.h"
#include "kernel/sched/wall_clock.h"
#include "kernel/signal/signal.h"
#include "lib/home.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/long_work.h"
#include "vm/vmspace.h"

#include <algorithm>

namespace {

constexpr uint32_t any_bit = UINT32_MAX;
constexpr uint32_t owner_died = 0x4000'0000, waiters_bit = 0x8000'0000, tid_bits = 0x3fff'ffff;
constexpr unsigned robust_list_limit = 2048; // as Linux: a list may be a ring

struct futex_key {
    const vmspace* space; // whose thread waits; null for shared memory
    memory_place place;
    bool said_private; // FUTEX_PRIVATE
    friend bool operator==(const futex_key&, const futex_key&) = default;
};

struct bucket;
bucket& bucket_of(const futex_key& key);

struct futex_waiter {
    futex_waiter(const futex_key& waits_for, uint32_t some_of)
        : sleeper(current_thread()), bits(some_of), home_(bucket_of(waits_for)), key(waits_for) {}
    // A mark: waits for nothing, since every word has an owner.
    explicit futex_waiter(bucket& in) : sleeper(current_thread()), bits(0), home_(in), key{} {}

    list_node on_bucket;
    thread& sleeper;
    const uint32_t bits;
    home<bucket> home_;
    futex_key key GUARDED_BY(home_);
    bool woken GUARDED_BY(home_) = false;
    std::atomic<bool> expired{false};
};

struct bucket {
    spin_lock lock{lock_rank::futex, "futex"};
    list<futex_waiter, &futex_waiter::on_bucket> waiters GUARDED_BY(lock);
};

bucket table[256];

bucket& bucket_of(const futex_key& key) {
    const uint64_t owner = key.space ? uint64_t(key.space) >> 4 : key.place.shared_by;
    uint64_t h = owner * 0x9e37'79b9'7f4a'7c15 ^ key.place.offset * 0xff51'afd7'ed55'8ccd;
    return table[h >> 56];
}

// Two buckets locked, in the order of their addresses; once if they are the same.
class SCOPED_CAPABILITY two_buckets {
public:
    two_buckets(bucket& a, bucket& b) ACQUIRE(a.lock, b.lock)
        : first_(std::min(&a, &b)), second_(std::max(&a, &b)) {
        lock();
    }
    ~two_buckets() RELEASE() {
        if (held_)
            unlock();
    }
    void unlock() RELEASE() NO_THREAD_SAFETY_ANALYSIS {
        if (second_ != first_)
            second_->lock.unlock();
        first_->lock.unlock();
        held_ = false;
    }
    void lock() ACQUIRE() NO_THREAD_SAFETY_ANALYSIS {
        first_->lock.lock();
        if (second_ != first_)
            second_->lock.lock_nested();
        held_ = true;
    }

private:
    bucket *first_, *second_;
    bool held_ = false;
};

// Goes through those who wait in a bucket when it begins, and lets go of the lock after some, so
// that others have their turn: marks among them say where it is, and where the end was.
template <class Guard> class bucket_walk {
public:
    bucket_walk(bucket& b, Guard& guard) REQUIRES(b.lock)
        : bucket_(b), guard_(guard), next_(b.waiters.front()), here_(b), end_(b) {}
    ~bucket_walk() {
        if (end_.on_bucket.linked())
            bucket_.waiters.remove(end_);
    }
    bucket_walk(const bucket_walk&) = delete;

    // The next one, which may leave the bucket; null at the end.
    futex_waiter* next() {
        constexpr unsigned at_once = 32;
        bucket_.lock.assert_held();
        if (next_ && ++steps_ % at_once == 0)
            pause();
        futex_waiter* w = next_;
        if (!w || w == &end_)
            return nullptr;
        next_ = bucket_.waiters.next(*w);
        return w;
    }

private:
    void pause() REQUIRES(bucket_.lock) {
        bucket_.waiters.insert_before(*next_, here_);
        if (!end_.on_bucket.linked())
            bucket_.waiters.push_back(end_);
        long_work::pause_without(guard_);
        next_ = bucket_.waiters.next(here_);
        bucket_.waiters.remove(here_);
    }

    bucket& bucket_;
    Guard& guard_;
    futex_waiter* next_;
    unsigned steps_ = 0;
    futex_waiter here_, end_;
};

// Makes the page of a word resident. EFAULT.
status touch(vaddr_t word, bool for_write) {
    uint32_t value;
    TRY(copy_in(&value, word, sizeof value));
    if (!for_write)
        return {};
    return current_vmspace().fault(word, vm_prot::write) == fault_outcome::resolved
               ? status{}
               : fail(Errno::fault);
}

// EINVAL for a word that is not aligned, EFAULT for one that is not there.
expected<futex_key> key_of(vaddr_t word, bool is_private) {
    if (word.value() % sizeof(uint32_t) != 0)
        return fail(Errno::inval);
    if (word >= user_max)
        return fail(Errno::fault);
    vmspace& vm = current_vmspace();
    if (is_private)
        return futex_key{&vm, {0, word.value()}, true};
    // Not said to be private: the mapping decides.
    TRY(touch(word, false));
    memory_place place = TRY(vm.place_of(word));
    return futex_key{place.shared_by ? nullptr : &vm, place, false};
}

// `guard` holds the bucket's lock, and lets go of it now and then.
template <class Guard>
unsigned wake_some(bucket& b, Guard& guard, const futex_key& key, int count, uint32_t bits)
    REQUIRES(b.lock) {
    unsigned woken = 0;
    bucket_walk walk(b, guard);
    while (futex_waiter* w = int(woken) < count ? walk.next() : nullptr) {
        w->home_.assert_is(b);
        if (w->key == key && (w->bits & bits)) {
            b.waiters.remove(*w);
            w->woken = true;
            sched_wake(w->sleeper);
            woken++;
        }
    }
    return woken;
}

expected<unsigned> futex_wake(vaddr_t word, bool is_private, int count, uint32_t bits) {
    if (bits == 0)
        return fail(Errno::inval);
    futex_key key = TRY(key_of(word, is_private));
    bucket& b = bucket_of(key);
    lock_guard guard(b.lock);
    return wake_some(b, guard, key, count, bits);
}

void timer_fired(void* context) {
    auto* w = static_cast<futex_waiter*>(context);
    w->expired.store(true);
    sched_wake(w->sleeper);
}

// Sleeps until woken; intr and timedout otherwise. The waiter is in its bucket, and it is in none
// afterwards.
status sleep(futex_waiter& w, const moment& end) REQUIRES(w.home_) {
    timer_event limit;
    if (end.time != forever)
        limit.set(end.time, timer_fired, &w, end.clock);
    status result;
    while (!w.woken) {
        sched_prepare_to_sleep(sleep_kind::interruptible, "futex");
        w.home_.unlock();
        if (w.expired.load()) // before the state was set
            sched_wake(w.sleeper);
        sched_sleep();
        w.home_.lock();
        if (w.woken)
            break;
        if (w.expired.load())
            result = fail(Errno::timedout);
        else if (signal_pending(w.sleeper))
            result = fail(Errno::intr);
        else
            continue;
        bucket& b = w.home_.queue();
        b.lock.assert_held();
        b.waiters.remove(w);
        break;
    }
    if (end.time != forever)
        limit.cancel(); // may wait for timer_fired(), which takes no lock
    return result;
}

// again: the word has another value. intr, timedout, inval, fault.
status futex_wait(vaddr_t word, bool is_private, uint32_t value, uint32_t bits, const moment& end) {
    if (bits == 0)
        return fail(Errno::inval);
    for (;;) {
        futex_waiter w(TRY(key_of(word, is_private)), bits);
        lock_guard guard(w.home_);
        expected<uint32_t> now_there = user_load(word);
        if (!now_there) {
            guard.unlock();
            if (now_there.error() != Errno::again)
                return fail(now_there.error());
            TRY(touch(word, false));
            continue;
        }
        if (*now_there != value)
            return fail(Errno::again);
        bucket& b = w.home_.queue();
        b.lock.assert_held();
        b.waiters.push_back(w);
        return sleep(w, end);
    }
}

// FUTEX_REQUEUE: wakes `wake_count` and moves up to `move_count` others to `to`.
expected<unsigned> futex_requeue(vaddr_t from, vaddr_t to, bool is_private, int wake_count,
                                 int move_count, const uint32_t* compare) {
    if (wake_count < 0 || move_count < 0)
        return fail(Errno::inval);
    for (;;) {
        futex_key from_key = TRY(key_of(from, is_private)), to_key = TRY(key_of(to, is_private));
        bucket &source = bucket_of(from_key), &target = bucket_of(to_key);
        two_buckets locked(source, target);
        if (compare) {
            expected<uint32_t> value = user_load(from);
            if (!value) {
                locked.unlock();
                if (value.error() != Errno::again)
                    return fail(value.error());
                TRY(touch(from, false));
                continue;
            }
            if (*value != *compare)
                return fail(Errno::again);
        }
        unsigned woken = wake_some(source, locked, from_key, wake_count, any_bit), moved = 0;
        bucket_walk walk(source, locked);
        while (futex_waiter* w = int(moved) < move_count ? walk.next() : nullptr) {
            w->home_.assert_is(source);
            if (w->key == from_key && from_key != to_key) {
                source.waiters.remove(*w);
                target.waiters.push_back(*w);
                w->key = to_key;
                w->home_.move_to(target);
                moved++;
            }
        }
        return woken + moved;
    }
}

// FUTEX_WAKE_OP's operation on the second word, and its comparison with the old value: Linux's
// encoding.
struct wake_operation {
    unsigned operation, comparison;
    int32_t operand, compare_with;

    static expected<wake_operation> decode(uint32_t code) {
        auto sign_extend = [](uint32_t v) { return int32_t(v << 20) >> 20; };
        wake_operation o{code >> 28 & 7, code >> 24 & 15, sign_extend(code >> 12 & 0xfff),
                         sign_extend(code & 0xfff)};
        if (code >> 31) { // FUTEX_OP_OPARG_SHIFT
            o.operand = int32_t(1u << (o.operand & 31));
        }
        if (o.operation > 4 || o.comparison > 5)
            return fail(Errno::nosys);
        return o;
    }
    uint32_t apply(uint32_t old) const {
        auto v = uint32_t(operand);
        switch (operation) {
        case 0: return v;
        case 1: return old + v;
        case 2: return old | v;
        case 3: return old & ~v;
        default: return old ^ v;
        }
    }
    bool holds(uint32_t value) const {
        auto old = int32_t(value);
        switch (comparison) {
        case 0: return old == compare_with;
        case 1: return old != compare_with;
        case 2: return old < compare_with;
        case 3: return old <= compare_with;
        case 4: return old > compare_with;
        default: return old >= compare_with;
        }
    }
};

// Changes a word atomically, with locks held. EAGAIN when its page has to be touched first.
template <class Change> expected<uint32_t> change_word(vaddr_t word, Change change) {
    uint32_t old = TRY(user_load(word));
    for (;;) {
        uint32_t seen = TRY(user_compare_exchange(word, old, change(old)));
        if (seen == old)
            return old;
        old = seen;
    }
}

expected<unsigned> futex_wake_op(vaddr_t word, vaddr_t word2, bool is_private, int count,
                                 int count2, uint32_t code) {
    wake_operation op = TRY(wake_operation::decode(code));
    for (;;) {
        futex_key key = TRY(key_of(word, is_private)), key2 = TRY(key_of(word2, is_private));
        bucket &b = bucket_of(key), &b2 = bucket_of(key2);
        two_buckets locked(b, b2);
        expected<uint32_t> old = change_word(word2, [&](uint32_t v) { return op.apply(v); });
        if (!old) {
            locked.unlock();
            if (old.error() != Errno::again)
                return fail(old.error());
            TRY(touch(word2, true));
            continue;
        }
        unsigned woken = wake_some(b, locked, key, count, any_bit);
        if (op.holds(*old))
            woken += wake_some(b2, locked, key2, count2, any_bit);
        return woken;
    }
}

// ---- Ends of threads -------------------------------------------------------------------------

// The owner of a robust lock is gone: says so in the word, and wakes one waiter to find out.
void robust_word(thread& self, vaddr_t word) {
    if (word.value() % sizeof(uint32_t) != 0)
        return;
    for (;;) {
        bool was_ours = false;
        expected<uint32_t> old = change_word(word, [&](uint32_t v) {
            was_ours = (v & tid_bits) == uint32_t(self.tid);
            return was_ours ? (v & waiters_bit) | owner_died : v;
        });
        if (old) {
            if (was_ours && (*old & waiters_bit))
                (void)futex_wake(word, false, 1, any_bit);
            return;
        }
        if (old.error() != Errno::again || !touch(word, true))
            return;
    }
}

// Linux's struct robust_list_head: { first entry, offset of the word in an entry, entry being taken
// or released }.
void walk_robust_list(thread& self) {
    user_ptr<const uint64_t> head(self.robust_list);
    constexpr uint64_t priority_inheritance =
        1; // bit 0 of a pointer: such words are never made here
    auto first = head.read_at(0), offset = head.read_at(1), pending = head.read_at(2);
    if (!first || !offset || !pending)
        return;
    uint64_t entry = *first;
    for (unsigned n = 0;
         n < robust_list_limit && (entry & ~priority_inheritance) != self.robust_list; n++) {
        uint64_t at = entry & ~priority_inheritance;
        auto next = user_ptr<const uint64_t>(at).read();
        if (at != *pending && !(entry & priority_inheritance))
            robust_word(self, vaddr_t(at + *offset));
        if (!next)
            return;
        entry = *next;
    }
    if (*pending && !(*pending & priority_inheritance))
        robust_word(self, vaddr_t(*pending + *offset));
}

} // namespace

MAY_LOSE("words in pages that the process cannot have: nobody can look at them, either")
void futex_thread_exit(thread& self) {
    if (self.robust_list)
        walk_robust_list(self);
    self.robust_list = 0;
    if (self.clear_child_tid) {
        vaddr_t word(self.clear_child_tid);
        self.clear_child_tid = 0;
        // Where nobody else has the address space, nobody can look.
        if (self.vm->references() > 1 || self.proc->live_threads > 1) {
            uint32_t zero = 0;
            if (copy_out(word, &zero, sizeof zero))
                (void)futex_wake(word, false, 1, any_bit);
        }
    }
}

// ---- The system call -------------------------------------------------------------------------

namespace {

// FUTEX_WAIT's time is relative, that of the bitset form absolute, on the clock that the operation
// names.
expected<moment> end_from_user(uint64_t timeout, uint32_t operation) {
    if (timeout == 0)
        return moment{};
    linux_timespec t = TRY(user_ptr<const linux_timespec>(timeout).read());
    if (t.sec < 0 || t.nsec < 0 || t.nsec >= int64_t(nanos_per_second))
        return fail(Errno::inval);
    constexpr int64_t far = INT64_MAX / int64_t(nanos_per_second) - 1;
    nanos_t time = nanos_t(std::min(t.sec, far)) * nanos_per_second + nanos_t(t.nsec);
    if ((operation & 127) == linux_abi::futex_wait)
        return moment{now() + time, timer_clock::boot};
    return moment{time, operation & linux_abi::futex_clock_realtime ? timer_clock::wall
                                                                    : timer_clock::boot};
}

sysresult wait_or_restart(vaddr_t word, bool is_private, uint32_t value, uint32_t bits,
                          const moment& end) {
    status s = futex_wait(word, is_private, value, bits, end);
    if (s)
        return 0;
    if (s.error() != Errno::intr)
        return fail(s.error());
    if (end.time == forever)
        return fail(Errno::restartsys);
    thread& self = current_thread();
    self.restart = thread::restart_kind::futex;
    self.restart_deadline = end.time;
    self.restart_arguments[0] = word.value();
    self.restart_arguments[1] = uint64_t(end.clock) << 1 | uint64_t(is_private);
    self.restart_arguments[2] = value;
    self.restart_arguments[3] = bits;
    return fail(Errno::restart_block);
}

} // namespace

expected<int64_t> futex_restart(thread& self) {
    return wait_or_restart(vaddr_t(self.restart_arguments[0]), self.restart_arguments[1] & 1,
                           uint32_t(self.restart_arguments[2]), uint32_t(self.restart_arguments[3]),
                           {self.restart_deadline, timer_clock(self.restart_arguments[1] >> 1)});
}

sysresult sys_futex(user_ptr<uint32_t> word, sys_hex operation, uint32_t value,
                    sys_address timeout_or_value2, user_ptr<uint32_t> word2, uint32_t value3) {
    const bool is_private = operation & linux_abi::futex_private;
    const uint32_t what = operation & ~(linux_abi::futex_private | linux_abi::futex_clock_realtime);
    if ((operation & linux_abi::futex_clock_realtime) && what != linux_abi::futex_wait_bitset)
        return fail(Errno::nosys);
    const vaddr_t at = word.address(), at2 = word2.address();
    const int count2 = int(timeout_or_value2.value);
    switch (what) {
    case linux_abi::futex_wait:
    case linux_abi::futex_wait_bitset: {
        const moment end = TRY(end_from_user(timeout_or_value2, operation));
        return wait_or_restart(at, is_private, value,
                               what == linux_abi::futex_wait ? any_bit : value3, end);
    }
    case linux_abi::futex_wake:
        return TRY(futex_wake(at, is_private, std::max(int(value), 1), any_bit));
    case linux_abi::futex_wake_bitset:
        return TRY(futex_wake(at, is_private, std::max(int(value), 1), value3));
    case linux_abi::futex_requeue:
        return TRY(futex_requeue(at, at2, is_private, int(value), count2, nullptr));
    case linux_abi::futex_cmp_requeue:
        return TRY(futex_requeue(at, at2, is_private, int(value), count2, &value3));
    case linux_abi::futex_wake_op: // both wake one at least, as Linux does
        return TRY(futex_wake_op(at, at2, is_private, std::max(int(value), 1), std::max(count2, 1),
                                 value3));
    default: // FUTEX_LOCK_PI and its kin among them
        return fail(Errno::nosys);
    }
}

sysresult sys_set_robust_list(sys_address head, uint64_t size) {
    constexpr uint64_t head_size = 24;
    if (size != head_size)
        return fail(Errno::inval);
    current_thread().robust_list = head;
    return 0;
}

sysresult sys_get_robust_list(sys_pid pid, user_ptr<uint64_t> head, user_ptr<uint64_t> size) {
    uint64_t value;
    if (pid == 0) {
        value = current_thread().robust_list;
    } else {
        ref_ptr<thread> t = thread_find(pid);
        if (!t)
            return fail(Errno::srch);
        process& p = *t->proc;
        ref_ptr<const security_context> context;
        {
            lock_guard guard(p.lock); // exec has cleared the one before it changes the other
            context = p.context;
            value = t->robust_list;
        }
        if (!may_access(p, *context, access_mode::realcreds))
            return fail(Errno::perm);
    }
    TRY(size.write(24));
    TRY(head.write(value));
    return 0;
}
