// pty: a terminal whose line ends at a program, the master, in place of a serial port (pty(7)).
//
//     master's write -> line_discipline -> the terminal's read
//     master's read  <-       "         <- the terminal's write, and the echo
//
// There are no buffers but the discipline's. It has a number, a name in /dev/pts (kernel/fs/devpts.cc)
// as long as its master is open, and no second master. When that is closed the terminal is hung up for
// good; when the last description of the terminal is closed, the master hears of it.
//
// A pty is kept by its master, by descriptions of the terminal, and by its node in /dev/pts, which it
// keeps in its turn until the master is closed. Its number is free when it ends.
#pragma once

#include "kernel/process/user_account.h"
#include "kernel/tty/tty.h"

class pty final : public tty {
public:
    // Without a master yet. ENOSPC: there are too many, of all or of the caller's; ENOMEM.
    static expected<ref_ptr<pty>> create();
    explicit pty(user_charge charge);
    // The one with this number whose master is open; the first such number from `number` on, or -1.
    static ref_ptr<pty> find(unsigned number);
    static int next(unsigned number);
    // How many there are, and may be: /proc/sys/kernel/pty.
    static unsigned count();
    static constexpr unsigned most = 1024;
    static std::atomic<unsigned> limit;

    unsigned number() const { return number_; }
    uint64_t device() const override;
    uint64_t held() const override { return sizeof(pty); }
    ref_ptr<vnode> node(); // null when the master is closed

    // Its master, once. `slave`: its node. ENOMEM.
    expected<ref_ptr<file>> open_master(vnode& ptmx, ref_ptr<vnode> slave, uint32_t flags);
    // As tty::open(); EIO too if it is locked.
    expected<ref_ptr<file>> open_slave(vnode& node, uint32_t flags);

    // Of the master.
    expected<int64_t> read_master(file& by, uio& io);
    expected<int64_t> write_master(file& by, uio& io);
    expected<int64_t> ioctl_master(uint64_t command, uint64_t argument);
    uint32_t poll_master(poller* p);
    void master_closed();

private:
    void last_reference_gone() override;
    void serve_line(effects& e) override REQUIRES(lock_);
    void settle_line() override EXCLUDES(lock_);
    void tell_line(uint8_t status) override REQUIRES(lock_);
    void users_changed(bool any) override REQUIRES(files_lock_);
    void users_have_changed() override { settle_line(); }

    status wait_for_output(file& by) REQUIRES(lock_);
    status receive(file& by, std::span<const uint8_t> bytes, uint64_t& written) EXCLUDES(lock_);
    expected<int64_t> get(uint64_t argument, int32_t value);
    expected<int64_t> open_peer(uint64_t flags);
    expected<int64_t> send_signal(uint64_t signo);
    expected<int64_t> get_any_session(uint64_t argument);

    wait_queue master_readers_ GUARDED_BY(lock_), master_writers_ GUARDED_BY(lock_);
    poll_queue master_poll_;
    bool ended_ GUARDED_BY(lock_) = false; // the terminal was open, and is not any more
    bool locked_ GUARDED_BY(lock_) = true; // TIOCSPTLCK
    bool by_packets_ GUARDED_BY(lock_) = false;
    uint8_t status_ GUARDED_BY(lock_) = 0; // TIOCPKT_*, not read yet
    // What both sides were told of last: see serve_line().
    uint32_t told_position_ GUARDED_BY(lock_) = 0, told_readable_ GUARDED_BY(lock_) = 0;
    bool told_room_ GUARDED_BY(lock_) = true, told_space_ GUARDED_BY(lock_) = true;
    bool told_stopped_ GUARDED_BY(lock_) = false;

    unsigned number_ CONSTANT_ONCE_SHARED = most;
    bool has_master_ GUARD_UNCHECKED(table_lock) = false;
    ref_ptr<vnode> node_ GUARD_UNCHECKED(table_lock);
    const user_charge charge_;
};
