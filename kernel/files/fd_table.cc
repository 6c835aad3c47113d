#include "kernel/files/file.h"
#include "kernel/files/file_lock.h"
#include "kernel/files/vnode.h"
#include "kernel/process/process.h"
#include "kernel/process/sync_point.h"
#include "lib/long_work.h"
#include "vm/phys/pool.h"

#include <algorithm>
#include <new>

using namespace linux_abi;

static constinit pool<fd_table> fd_tables{"fd_table"};

// A table that is not larger (a page) is never made smaller.
static constexpr unsigned small_capacity = 256;
// Where all are gone through, others get their turn after so many.
static constexpr unsigned pause_each = 8;
// However high RLIMIT_NOFILE is set.
static constexpr unsigned most_descriptors = 1u << 20;

static unsigned descriptor_limit() {
    return unsigned(std::min<uint64_t>(process_limit(rlimit_nofile), most_descriptors));
}

ref_ptr<file> fd_table::slot::put(ref_ptr<file> f, bool close_on_exec) {
    if (f)
        f->add_descriptors(1);
    if (open)
        open->add_descriptors(-1);
    std::swap(open, f);
    cloexec = close_on_exec;
    reserved = false;
    return f;
}

status fd_table::slot_chunks::allocate(unsigned slots, unsigned first) {
    capacity = (slots + each - 1) / each * each;
    chunks = static_cast<slot**>(kmem_zalloc(count() * sizeof(slot*)));
    if (!chunks)
        return fail(Errno::nomem);
    for (unsigned i = first; i < count(); i++) {
        chunks[i] = static_cast<slot*>(kmem_alloc(each * sizeof(slot)));
        if (!chunks[i])
            return fail(Errno::nomem);
        for (unsigned fd = 0; fd < each; fd++)
            new (&chunks[i][fd]) slot;
        long_work::pause();
    }
    return {};
}

fd_table::slot_chunks::~slot_chunks() {
    if (!chunks)
        return;
    for (unsigned i = 0; i < count(); i++) {
        if (!chunks[i])
            continue;
        for (unsigned fd = 0; fd < each; fd++) {
            chunks[i][fd].~slot();
            long_work::pause();
        }
        kmem_free(chunks[i], each * sizeof(slot));
    }
    kmem_free(chunks, count() * sizeof(slot*));
}

expected<ref_ptr<fd_table>> fd_table::create(unsigned capacity) {
    auto table = ref_ptr<fd_table>::adopt(fd_tables.create());
    if (!table)
        return fail(Errno::nomem);
    if (capacity > first_capacity)
        TRY(table->resize(capacity));
    return table;
}

fd_table::fd_table() {
    for (slot& each : first_)
        new (&each) slot;
}

fd_table::~fd_table() {} // what was in the slots has gone

void fd_table::last_reference_gone() NO_THREAD_SAFETY_ANALYSIS { // nobody else has it
    for (unsigned fd = 0; fd < end_; fd++) {
        // POSIX record locks go when their owner closes the file, and this was the last of its tables.
        if (const ref_ptr<file> last = at(fd).put(nullptr, false))
            file_locks_closed(*last->node(), this);
        if (fd % pause_each == pause_each - 1)
            long_work::pause();
    }
    fd_tables.destroy(this);
}

status fd_table::resize(unsigned count) {
    unsigned before;
    {
        lock_guard guard(lock_);
        before = more_.count();
    }
    slot_chunks fresh; // none, when the first slots are enough
    if (count > first_capacity)
        TRY(fresh.allocate(count, before));
    lock_guard guard(lock_);
    if (more_.count() != before || end_ > std::max(first_capacity, fresh.capacity))
        return {}; // somebody else was faster
    for (unsigned i = 0; i < std::min(before, fresh.count()); i++)
        fresh.chunks[i] = std::exchange(more_.chunks[i], nullptr);
    std::swap(more_.chunks, fresh.chunks);
    std::swap(more_.capacity, fresh.capacity);
    return {};
}

void fd_table::shrink() {
    constexpr unsigned slots_at_once = 1000; // others may wait for the lock
    unsigned unused, count = 0;
    do {
        lock_guard guard(lock_);
        for (unused = 0; unused < slots_at_once && end_ > 0 && !in_use(end_ - 1); unused++)
            end_--;
        if (capacity() > small_capacity && end_ < capacity() / 4)
            count = std::max(2 * end_, first_capacity);
    } while (unused == slots_at_once);
    if (count)
        (void)resize(count);
}

// What the parent had at one instant: where another thread changes the table of a big process while
// some of it has been copied, that is done again, and in the end at one go.
// The analysis cannot see that the copy is nobody else's yet.
expected<ref_ptr<fd_table>> fd_table::copy() NO_THREAD_SAFETY_ANALYSIS {
    constexpr unsigned tries = 4;
    unsigned needed;
    {
        lock_guard guard(lock_);
        needed = end_;
    }
    for (unsigned attempt = 0;; attempt++) {
        auto table = TRY(create(needed));
        lock_guard guard(lock_);
        needed = end_;
        if (needed > table->capacity())
            continue; // another thread opened more meanwhile
        const uint64_t before = changes_;
        for (unsigned fd = 0; fd < needed && changes_ == before; fd++) {
            if (at(fd).open) {
                slot& fresh = table->at(fd);
                fresh.open = at(fd).open;
                fresh.open->add_descriptors(1);
                fresh.cloexec = at(fd).cloexec;
                table->now_in_use(fd);
            }
            if (fd % slot_chunks::each == slot_chunks::each - 1 && attempt < tries)
                long_work::pause_without(guard);
        }
        if (changes_ == before)
            return table;
    }
}

expected<ref_ptr<file>> fd_table::get(int fd) {
    ref_ptr<file> found;
    {
        lock_guard guard(lock_);
        if (!valid(fd))
            return fail(Errno::badf);
        found = at(fd).open;
    }
    at_sync_point(sync_point::object_found);
    return found;
}

unsigned fd_table::lowest_free(unsigned from) {
    unsigned fd = std::max(from, first_free_);
    while (fd < end_ && in_use(fd))
        fd++;
    if (from <= first_free_)
        first_free_ = fd;
    return fd;
}

expected<int> fd_table::install(ref_ptr<file> f, bool close_on_exec, int from) {
    int fd = TRY(reserve(from));
    at_sync_point(sync_point::about_to_publish);
    fill(fd, std::move(f), close_on_exec);
    return fd;
}

void fd_table::fill(int fd, ref_ptr<file> f, bool close_on_exec) {
    lock_guard guard(lock_);
    ASSERT(at(fd).reserved && !at(fd).open);
    (void)at(fd).put(std::move(f), close_on_exec); // nothing was there
    changes_++;
}

void fd_table::release(int fd) {
    bool last;
    {
        lock_guard guard(lock_);
        ASSERT(at(fd).reserved && !at(fd).open);
        at(fd).reserved = false;
        last = now_free(unsigned(fd));
    }
    if (last)
        shrink();
}

expected<int> fd_table::reserve(int from) {
    unsigned limit = descriptor_limit();
    if (from < 0 || unsigned(from) >= limit)
        return fail(from == 0 ? Errno::mfile : Errno::inval);
    for (;;) {
        unsigned fd;
        {
            lock_guard guard(lock_);
            fd = lowest_free(unsigned(from));
            if (fd >= limit)
                return fail(Errno::mfile);
            if (fd < capacity()) {
                at(fd).reserved = true;
                now_in_use(fd);
                return int(fd);
            }
        }
        TRY(resize(fd + 1));
    }
}

status fd_table::install_at(int fd, ref_ptr<file> f, bool close_on_exec) {
    if (fd < 0 || unsigned(fd) >= descriptor_limit())
        return fail(Errno::badf);
    for (;;) {
        bool installed = false;
        {
            lock_guard guard(lock_);
            if (unsigned(fd) < capacity()) {
                if (at(fd).reserved)
                    return fail(Errno::busy);
                f = at(fd).put(std::move(f), close_on_exec);
                now_in_use(unsigned(fd));
                installed = true;
            }
        }
        if (installed) {
            if (f)
                file_locks_closed(*f->node(), this);
            return {};
        }
        TRY(resize(unsigned(fd) + 1));
    }
}

status fd_table::close(int fd) {
    ref_ptr<file> closed;
    bool last;
    {
        lock_guard guard(lock_);
        if (!valid(fd))
            return fail(Errno::badf);
        closed = at(fd).put(nullptr, false);
        last = now_free(unsigned(fd));
    }
    if (last)
        shrink();
    file_locks_closed(*closed->node(), this);
    return {};
}

status fd_table::install_pair(ref_ptr<file> a, ref_ptr<file> b, bool close_on_exec, int out[2]) {
    unsigned limit = descriptor_limit();
    for (;;) {
        unsigned second;
        {
            lock_guard guard(lock_);
            unsigned first = lowest_free(0);
            second = lowest_free(first + 1);
            if (second >= limit)
                return fail(Errno::mfile);
            if (second < capacity()) {
                (void)at(first).put(std::move(a), close_on_exec); // free, both of them
                (void)at(second).put(std::move(b), close_on_exec);
                now_in_use(second);
                out[0] = int(first);
                out[1] = int(second);
                return {};
            }
        }
        TRY(resize(second + 1));
    }
}

expected<bool> fd_table::close_on_exec(int fd) {
    lock_guard guard(lock_);
    if (!valid(fd))
        return fail(Errno::badf);
    return at(fd).cloexec;
}

status fd_table::set_close_on_exec(int fd, bool value) {
    lock_guard guard(lock_);
    if (!valid(fd))
        return fail(Errno::badf);
    at(fd).cloexec = value;
    changes_++;
    return {};
}

void fd_table::close_all_on_exec() {
    for (int fd = next_open(0, true); fd >= 0; fd = next_open(fd + 1, true))
        (void)close(fd);
}

status fd_table::close_range(unsigned first, unsigned last, bool only_mark) {
    if (first > last)
        return fail(Errno::inval);
    if (first > most_descriptors)
        return {};
    for (int fd = next_open(int(first)); fd >= 0 && unsigned(fd) <= last; fd = next_open(fd + 1)) {
        if (only_mark)
            (void)set_close_on_exec(fd, true);
        else
            (void)close(fd);
    }
    return {};
}

int fd_table::next_open(int from, bool marked) {
    for (unsigned fd = unsigned(std::max(from, 0));; long_work::pause()) {
        lock_guard guard(lock_);
        const unsigned stop = std::min(end_, (fd / slot_chunks::each + 1) * slot_chunks::each);
        for (; fd < stop; fd++)
            if (at(fd).open && (!marked || at(fd).cloexec))
                return int(fd);
        if (fd >= end_)
            return -1;
    }
}

unsigned fd_table::open_count() {
    unsigned count = 0;
    for (unsigned from = 0;; from += slot_chunks::each, long_work::pause()) {
        lock_guard guard(lock_);
        if (from >= end_)
            return count;
        for (unsigned fd = from; fd < std::min(from + slot_chunks::each, end_); fd++)
            count += bool(at(fd).open);
    }
}

uint64_t fd_table::footprint() {
    constexpr unsigned at_once = 64;
    constexpr uint64_t open_file = 512; // about
    uint64_t bytes = 0;
    for (unsigned from = 0;; from += at_once) {
        lock_guard guard(lock_);
        if (from >= capacity())
            return bytes;
        for (unsigned fd = from; fd < std::min(from + at_once, capacity()); fd++) {
            bytes += sizeof(slot);
            if (file* open = at(fd).open.get()) // a share of what others have, too
                bytes += (open_file + open->held()) / std::max(1u, open->descriptors());
        }
    }
}
