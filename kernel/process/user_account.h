// What one user makes the kernel hold, of things that have a limit for each user.
//
// A user_charge is a number of units of one resource, charged to a user; whatever the kernel holds
// for him owns its charge, and gives it back when it ends.
#pragma once

#include "lib/result.h"

#include <cstdint>
#include <utility>

struct user_account; // of a user who has something charged

enum class user_resource : uint8_t {
    epoll_watches,   // files in epolls: kernel/files/epoll.cc
    file_locks,      // record locks and flock's: kernel/files/file_lock.cc
    files_in_flight, // sent by SCM_RIGHTS, not yet received
    pipe_pages,      // the capacity of pipes: kernel/files/pipe.cc
    ptys,            // pseudo-terminals: kernel/tty/pty.cc
    tasks,           // threads, and zombies that nobody has waited for: process::tasks
    signals,         // RLIMIT_SIGPENDING: queued ones, and timers, which have one each
    count
};

class user_charge {
public:
    static constexpr uint64_t no_limit = UINT64_MAX;

    user_charge() = default;
    // `n` units for the user with the real user id `uid`. `over` if he would have more than `limit`
    // then; ENOMEM.
    static expected<user_charge> take(uint32_t uid, user_resource what, uint64_t n, uint64_t limit,
                                      Errno over);
    user_charge(user_charge&& other) noexcept
        : account_(std::exchange(other.account_, nullptr)), units_(std::exchange(other.units_, 0)),
          what_(other.what_) {}
    user_charge& operator=(user_charge&& other) noexcept {
        std::swap(account_, other.account_);
        std::swap(units_, other.units_);
        std::swap(what_, other.what_);
        return *this;
    }
    ~user_charge();
    // Makes it `n` units, more than none. False, and nothing has changed, if that is more than
    // before and the user would have more than `limit` then.
    bool resize(uint64_t n, uint64_t limit);
    // Takes over what `other` has of the same resource, for the user of this one if it has one.
    void join(user_charge other);
    uint64_t units() const { return units_; }

private:
    user_account* account_ = nullptr; // lives as long as anything is charged to it
    uint64_t units_ = 0;
    user_resource what_{};
};
