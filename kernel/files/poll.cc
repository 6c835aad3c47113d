// poll(2), ppoll(2), select(2) and pselect6(2).
//
// A call scans its files once and registers its poller with each on the way. If none is ready it
// sleeps until a registered poll_queue notifies, and scans again.
#include "kernel/files/poll.h"

#include "arch/timer.h"
#include "kernel/abi/syscalls.h"
#include "kernel/files/file.h"
#include "kernel/process/call_memory.h"
#include "kernel/process/process.h"
#include "kernel/process/thread.h"
#include "kernel/signal/signal.h"
#include "lib/long_work.h"

#include <algorithm>
#include <optional>

using namespace linux_abi;

namespace {

// The files of one call, each looked up once and held until its end.
using polled_files = call_pages<ref_ptr<file>>;

// Remembers what `fd` means now; false if it is not open.
bool look_up(polled_files& files, size_t index, int fd) {
    auto f = current_thread().files->get(fd);
    if (!f)
        return false;
    files[index] = std::move(*f);
    return true;
}

// Runs `scan(poller or null)`, which counts what is ready, until that is not zero or the deadline
// is past.
template <class Scan> expected<int64_t> poll_until(nanos_t deadline, Scan scan) {
    poll_sleeper p;
    int64_t ready = scan(&p);
    const call_memory kept(p.bytes());
    while (ready == 0) {
        if (status woken = p.wait(deadline); !woken) {
            if (woken.error() != Errno::timedout)
                return fail(woken.error());
            return scan(nullptr);
        }
        ready = scan(nullptr);
    }
    return ready;
}

linux_timespec time_left(nanos_t deadline) {
    nanos_t current = now();
    nanos_t left = deadline > current ? deadline - current : 0;
    return {int64_t(left / nanos_per_second), int64_t(left % nanos_per_second)};
}

expected<int64_t> poll_user(user_ptr<linux_pollfd> user, uint32_t count, nanos_t deadline) {
    if (count > process_limit(rlimit_nofile))
        return fail(Errno::inval);
    auto fds = TRY(call_pages<linux_pollfd>::create(count));
    TRY(fds.for_each_page([&](call_array<linux_pollfd>& page, size_t first) {
        return copy_in(page.data(), user.address() + first * sizeof(linux_pollfd),
                       page.size() * sizeof(linux_pollfd));
    }));
    auto files = TRY(polled_files::create(count));
    for (uint32_t i = 0; i < count; i++) {
        TRY(long_work::go_on());
        fds[i].revents = 0;
        if (fds[i].fd >= 0 && !look_up(files, i, fds[i].fd))
            fds[i].revents = pollnval;
    }
    int64_t ready = TRY(poll_until(deadline, [&](poller* p) {
        int64_t n = 0;
        for (uint32_t i = 0; i < count; i++) {
            long_work::pause();
            if (files[i]) {
                uint32_t wanted = uint16_t(fds[i].events) | pollerr | pollhup;
                // Once one is ready the call will not sleep: there is no need to register more.
                fds[i].revents = int16_t(files[i]->poll(n ? nullptr : p) & wanted);
            }
            n += fds[i].revents != 0;
        }
        return n;
    }));
    for (uint32_t i = 0; i < count; i++) {
        TRY(long_work::go_on());
        TRY(copy_out(user.address() + i * sizeof(linux_pollfd) + offsetof(linux_pollfd, revents),
                     &fds[i].revents, sizeof(fds[i].revents)));
    }
    return ready;
}

// The bits of select's three sets, in the order in, out, except; 1024 descriptors and more.
struct select_sets {
    call_array<uint64_t> words; // 3 * per_set asked for, then 3 * per_set results
    size_t per_set = 0;
    uint64_t& asked(unsigned set, size_t word) { return words[set * per_set + word]; }
    uint64_t& result(unsigned set, size_t word) { return words[(3 + set) * per_set + word]; }
};

constexpr uint32_t select_events[3] = {
    pollin | pollrdnorm | pollrdband | pollhup | pollerr,
    pollout | pollwrnorm | pollwrband | pollerr,
    pollpri,
};

expected<int64_t> select_user(int32_t count, const user_ptr<uint64_t> (&user)[3],
                              nanos_t deadline) {
    if (count < 0)
        return fail(Errno::inval);
    // Descriptors beyond the table's reach cannot be open; Linux cuts the count there as well.
    uint64_t descriptors = std::min<uint64_t>(uint64_t(count), process_limit(rlimit_nofile));
    descriptors = std::min<uint64_t>(descriptors, 1u << 20);
    select_sets sets;
    sets.per_set = (descriptors + 63) / 64;
    if (sets.per_set) {
        sets.words = call_array<uint64_t>(6 * sets.per_set);
        if (!sets.words)
            return fail(Errno::nomem);
    }
    for (unsigned s = 0; s < 3; s++)
        if (user[s] && sets.per_set)
            TRY(copy_in(&sets.asked(s, 0), user[s].address(), sets.per_set * sizeof(uint64_t)));

    auto files = TRY(polled_files::create(descriptors));
    for (size_t fd = 0; fd < descriptors; fd++) {
        TRY(long_work::go_on());
        uint64_t bit = uint64_t{1} << (fd % 64);
        bool wanted = false;
        for (unsigned s = 0; s < 3; s++)
            wanted = wanted || (sets.asked(s, fd / 64) & bit);
        if (wanted && !look_up(files, fd, int(fd)))
            return fail(Errno::badf);
    }
    int64_t ready = TRY(poll_until(deadline, [&](poller* p) {
        int64_t n = 0;
        for (size_t fd = 0; fd < descriptors; fd++) {
            long_work::pause();
            if (!files[fd])
                continue;
            uint32_t events = files[fd]->poll(n ? nullptr : p);
            uint64_t bit = uint64_t{1} << (fd % 64);
            for (unsigned s = 0; s < 3; s++) {
                if ((sets.asked(s, fd / 64) & bit) && (events & select_events[s])) {
                    sets.result(s, fd / 64) |= bit;
                    n++;
                }
            }
        }
        return n;
    }));
    for (unsigned s = 0; s < 3; s++)
        if (user[s] && sets.per_set)
            TRY(copy_out(user[s].address(), &sets.result(s, 0), sets.per_set * sizeof(uint64_t)));
    return ready;
}

} // namespace

static nanos_t deadline_after(uint64_t nanos) {
    nanos_t start = now();
    return nanos > forever - start ? forever : start + nanos;
}

nanos_t poll_deadline(int32_t milliseconds) {
    constexpr uint64_t nanos_per_milli = 1'000'000;
    return milliseconds < 0 ? forever : deadline_after(uint64_t(milliseconds) * nanos_per_milli);
}

expected<nanos_t> poll_deadline(const linux_timespec& t) {
    if (t.sec < 0 || t.nsec < 0 || t.nsec >= int64_t(nanos_per_second))
        return fail(Errno::inval);
    if (uint64_t(t.sec) > forever / nanos_per_second / 2)
        return forever;
    return deadline_after(uint64_t(t.sec) * nanos_per_second + uint64_t(t.nsec));
}

static sysresult poll_or_restart(user_ptr<linux_pollfd> fds, uint32_t count, nanos_t deadline) {
    auto result = poll_user(fds, count, deadline);
    if (result || result.error() != Errno::intr)
        return result;
    thread& self = current_thread();
    self.restart = thread::restart_kind::poll;
    self.restart_deadline = deadline;
    self.restart_arguments[0] = fds.address().value();
    self.restart_arguments[1] = count;
    return fail(Errno::restart_block);
}

sysresult poll_restart(thread& self) {
    self.restart = thread::restart_kind::none;
    return poll_or_restart(user_ptr<linux_pollfd>(self.restart_arguments[0]),
                           uint32_t(self.restart_arguments[1]), self.restart_deadline);
}

sysresult sys_poll(user_ptr<linux_pollfd> fds, uint32_t count, int32_t timeout_ms) {
    return poll_or_restart(fds, count, poll_deadline(timeout_ms));
}

// The end of a call that takes a relative time and a signal mask: says how much time is left, and
// lets a call that was interrupted start again if no handler runs.
template <class Time>
static sysresult finish_wait(sysresult result, user_ptr<Time> timeout, nanos_t deadline) {
    if (timeout) {
        linux_timespec left = time_left(deadline);
        Time value;
        if constexpr (std::is_same_v<Time, linux_timeval>)
            value = {left.sec, left.nsec / 1000};
        else
            value = left;
        // What cannot be said does not undo what was waited for.
        (void)timeout.write(value);
    }
    if (!result && result.error() == Errno::intr)
        return fail(Errno::restartnohand);
    return result;
}

sysresult sys_ppoll(user_ptr<linux_pollfd> fds, uint32_t count, user_ptr<linux_timespec> timeout,
                    user_ptr<const uint64_t> mask, uint64_t mask_size) {
    nanos_t deadline = forever;
    if (timeout)
        deadline = TRY(poll_deadline(TRY(timeout.read())));
    if (mask) {
        if (mask_size != sizeof(sigset))
            return fail(Errno::inval);
        signal_set_temporary_mask(current_thread(), TRY(mask.read()));
    }
    return finish_wait(poll_user(fds, count, deadline), timeout, deadline);
}

sysresult sys_select(int32_t count, user_ptr<uint64_t> in, user_ptr<uint64_t> out,
                     user_ptr<uint64_t> except, user_ptr<linux_timeval> timeout) {
    nanos_t deadline = forever;
    if (timeout) {
        linux_timeval t = TRY(timeout.read());
        if (t.sec < 0 || t.usec < 0)
            return fail(Errno::inval);
        deadline = TRY(
            poll_deadline(linux_timespec{t.sec + t.usec / 1'000'000, t.usec % 1'000'000 * 1000}));
    }
    return finish_wait(select_user(count, {in, out, except}, deadline), timeout, deadline);
}

sysresult sys_pselect6(int32_t count, user_ptr<uint64_t> in, user_ptr<uint64_t> out,
                       user_ptr<uint64_t> except, user_ptr<linux_timespec> timeout,
                       user_ptr<const uint64_t> mask) {
    nanos_t deadline = forever;
    if (timeout)
        deadline = TRY(poll_deadline(TRY(timeout.read())));
    if (mask) {
        // The sixth argument points to the set's address and its size.
        uint64_t set = TRY(mask.read_at(0)), size = TRY(mask.read_at(1));
        if (set) {
            if (size != sizeof(sigset))
                return fail(Errno::inval);
            signal_set_temporary_mask(current_thread(), TRY(user_ptr<const uint64_t>(set).read()));
        }
    }
    return finish_wait(select_user(count, {in, out, except}, deadline), timeout, deadline);
}
