// tty: a terminal, as programs see it. What is typed and printed goes through a line_discipline; who
// may read and write is a matter of sessions and the foreground process group. What is at the other
// end of its line is for those who derive from it: a serial port (serial.cc), or a program (pty.h).
//
// Locks: tty::lock_ (a spin lock) guards the discipline, the line and the waiting. The session and the
// foreground group are guarded by process_tree_lock. Signals are sent, and pollers notified, with
// neither held.
#pragma once

#include "kernel/files/file.h"
#include "kernel/process/process_tree.h"
#include "kernel/sched/sched.h"
#include "kernel/tty/line_discipline.h"
#include "lib/list.h"
#include "lib/lock.h"

#include <atomic>
#include <cstdint>
#include <span>

struct process;
struct session;
class tty;

inline constexpr unsigned tty_line_count = 2;

// The serial lines: 0 is ttyS0 and the console, 1 is ttyS1. Finds the ports and turns their interrupts
// on. Once, when interrupts can be registered; they never go away.
void tty_init();
// Opens one, as tty::open(). ENXIO: there is no such port in this machine.
expected<ref_ptr<file>> tty_open(vnode& node, unsigned line, uint32_t flags);
// /dev/tty: the caller's controlling terminal. ENXIO without one.
expected<ref_ptr<file>> tty_open_controlling(vnode& node, uint32_t flags);
// The controlling terminal of a process as a device number (for /proc/PID/stat), 0 without one, and
// its foreground group or -1.
struct tty_facts {
    uint64_t device;
    int32_t foreground;
};
tty_facts tty_of(process& p);

// An open description of a terminal.
class tty_file final : public file {
public:
    tty_file(vnode& node, tty& terminal, uint32_t flags, int32_t session);
    void closed() override;
    expected<int64_t> read(uio& io) override;
    expected<int64_t> write(uio& io) override;
    expected<int64_t> ioctl(uint64_t command, uint64_t argument) override;
    bool pollable() const override { return true; }
    uint32_t poll(poller* p) override;
    uint64_t held() override;

    // After a hang-up reads find the end of file and writes fail with EIO.
    bool hung_up() const { return hung_up_.load(std::memory_order_relaxed); }

private:
    friend class tty;
    const int32_t session_; // of the process that opened it
    std::atomic<bool> hung_up_{false};
    const ref_ptr<tty> tty_;
    list_node among_files_ GUARD_UNCHECKED(tty::files_lock_);
};

class tty : public ref_counted<tty> {
public:
    static constexpr auto end_takes = lock_rank::accounts; // of who has made a pseudo-terminal
    explicit tty(lock_rank rank) : lock_(rank, "tty") {}
    virtual ~tty() = default;
    virtual void last_reference_gone() = 0;
    virtual uint64_t device() const = 0;
    virtual uint64_t held() const { return 0; } // as file::held()

    // ENOMEM; EIO: it was hung up for good. If it is opened for reading without O_NOCTTY by the leader
    // of a session that has no terminal, and it is no other session's, it becomes that session's.
    expected<ref_ptr<file>> open(vnode& node, uint32_t flags);
    // The same, but it becomes nobody's.
    expected<ref_ptr<file>> open_only(vnode& node, uint32_t flags);
    void closed(tty_file& by);
    // Makes it the controlling terminal of the running process's session, which the process leads.
    // `may_read`: the caller could read from it, as its owner will. `steal`: even if it is another
    // session's. EPERM.
    status acquire(bool may_read, bool steal);

    expected<int64_t> read(tty_file& by, uio& io);
    expected<int64_t> write(tty_file& by, uio& io);
    expected<int64_t> ioctl(tty_file& by, uint64_t command, uint64_t argument);
    uint32_t poll(tty_file& by, poller* p);

protected:
    friend void tty_session_ends(session& s);
    friend tty_facts tty_of(process& p);

    // Who is to be woken, notified or sent a signal when the lock has been released.
    struct effects {
        bool readers = false, writers = false, pollers = false;
        bool line = false, signals = false; // settle_line(), send_signals()
        bool any() const { return readers || writers || pollers || line || signals; }
    };
    void serve(effects& e) REQUIRES(lock_);
    void settle(effects& e) EXCLUDES(lock_);
    void send_signals() EXCLUDES(lock_); // `signals_`, to the foreground group

    // ---- What is at the other end
    // The discipline has output, or room for input: moves what can be moved.
    virtual void serve_line(effects& e) REQUIRES(lock_) = 0;
    virtual void settle_line() {}
    // There are signals; from now on they are sent by whoever is told here.
    virtual void signals_typed(effects& e) REQUIRES(lock_) { e.signals = true; }
    // Whether output has gone as far as tcdrain(3) waits for.
    virtual bool drained() REQUIRES(lock_) { return true; }
    // False: there are no breaks.
    virtual bool set_break(bool) { return false; }
    // TIOCPKT_*: for who is in packet mode.
    virtual void tell_line(uint8_t) REQUIRES(lock_) {}
    // Whether there are descriptions; and that there is the first or has been the last.
    virtual void users_changed(bool) REQUIRES(files_lock_) {}
    virtual void users_have_changed() {}
    // The end of its session also ends the descriptions that the session has made.
    virtual bool hangs_up_with_session() const { return false; }

    // What all may ask for; `by`: null for who is at the other end. ENOTTY.
    expected<int64_t> control(tty_file* by, uint64_t command, uint64_t argument);
    // All descriptions, also those to come, and the session: only its leader is told by this.
    void hang_up_for_good();

    // Whether the running process may use the terminal now. A process in the background: its group
    // gets `signo`, and the call begins again afterwards (restartsys); EIO if that would be in
    // vain.
    status check_foreground(int signo);
    status begin_writing(tty_file& by) REQUIRES(lock_);
    status write_chunk(tty_file& by, std::span<const uint8_t> bytes, effects& e, uint64_t& written)
        REQUIRES(lock_);
    // One go at what there is: up to the end of a line. Adds to `got`.
    status copy_input(uio& io, uint64_t& got, bool& line_ended) REQUIRES(lock_);

    status get_settings(uint64_t command, uint64_t argument);
    status set_settings(tty_file* by, uint64_t command, uint64_t argument);
    status get_size(uint64_t argument);
    status set_size(uint64_t argument);
    status get_bytes(bool input, uint64_t argument);
    status drain(tty_file* by);
    status drain_in_foreground(tty_file* by);
    status flush(uint64_t which);
    status flow(uint64_t which);
    status send_break(tty_file* by);
    expected<int64_t> get_group(uint64_t argument);
    status set_group(uint64_t argument);
    status get_session(uint64_t argument);
    status release_by_process();
    void hang_up(pid_t sid);

    spin_lock lock_;
    line_discipline discipline_ GUARDED_BY(lock_);
    linux_winsize size_ GUARDED_BY(lock_){};
    wait_queue readers_ GUARDED_BY(lock_), writers_ GUARDED_BY(lock_);
    uint64_t signals_ GUARDED_BY(lock_) = 0; // for the foreground group
    bool reading_ GUARDED_BY(lock_) = false,
                  writing_ GUARDED_BY(lock_) = false; // somebody is in the middle of it
    poll_queue poll_;
    spin_lock files_lock_{lock_rank::wait, "tty files"};
    list<tty_file, &tty_file::among_files_> files_ GUARDED_BY(files_lock_); // that are open
    bool gone_ GUARDED_BY(files_lock_) = false;                             // was hung up for good

    // Whose controlling terminal it is.
    session* session_ GUARDED_BY(process_tree_lock) = nullptr;
    std::atomic<int32_t> foreground_{0}; // process group; written under process_tree_lock
};

inline tty_file::tty_file(vnode& node, tty& terminal, uint32_t flags, int32_t session)
    : file(node, flags), session_(session), tty_(&terminal) {}
inline expected<int64_t> tty_file::read(uio& io) { return tty_->read(*this, io); }
inline expected<int64_t> tty_file::write(uio& io) { return tty_->write(*this, io); }
inline expected<int64_t> tty_file::ioctl(uint64_t command, uint64_t argument) {
    return tty_->ioctl(*this, command, argument);
}
inline uint32_t tty_file::poll(poller* p) { return tty_->poll(*this, p); }
inline uint64_t tty_file::held() { return tty_->held(); }
