// ioctl on terminals. The commands about groups and sessions end in tty_session.cc.
#include "arch/timer.h"
#include "kernel/base/user_ptr.h"
#include "kernel/process/process.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/signal.h"
#include "kernel/tty/tty.h"
#include "lib/string.h"

namespace {

enum : uint64_t {
    TCGETS_ = 0x5401,
    TCSETS_,
    TCSETSW_,
    TCSETSF_,
    TCSBRK_ = 0x5409,
    TCXONC_,
    TCFLSH_,
    TIOCSCTTY_ = 0x540e,
    TIOCGPGRP_ = 0x540f,
    TIOCSPGRP_,
    TIOCOUTQ_,
    TIOCGWINSZ_ = 0x5413,
    TIOCSWINSZ_,
    TIOCINQ_ = 0x541b,
    TIOCNOTTY_ = 0x5422,
    TIOCGETD_ = 0x5424,
    TCSBRKP_,
    TIOCGSID_ = 0x5429,
    TCGETS2_ = 0x802c542a,
    TCSETS2_ = 0x402c542b,
    TCSETSW2_,
    TCSETSF2_,
};

struct linux_termios2 {
    linux_termios common;
    uint32_t input_speed, output_speed;
};
static_assert(sizeof(linux_termios2) == 44);
constexpr uint32_t line_speed = 115200;

enum : uint64_t { TCIFLUSH_, TCOFLUSH_, TCIOFLUSH_ };
enum : uint64_t { TCOOFF_, TCOON_, TCIOFF_, TCION_ };
constexpr nanos_t break_length = nanos_per_second / 4;
constexpr nanos_t drain_poll = nanos_per_second / 1000;

// A flag that the terminal does not have stays off, as tcgetattr then shows (tcsetattr succeeds if
// it could do any of what was asked for).
linux_termios settable(linux_termios wanted) {
    wanted.iflag &= iflags_known;
    wanted.oflag &= oflags_known;
    wanted.cflag = (wanted.cflag & cflags_settable) | cflags_fixed;
    wanted.lflag &= lflags_known;
    wanted.line = 0;
    return wanted;
}

bool has_time_to_drain(uint64_t command) {
    return command == TCSETSW_ || command == TCSETSF_ || command == TCSETSW2_ ||
           command == TCSETSF2_;
}

} // namespace

status tty::get_settings(uint64_t command, uint64_t argument) {
    linux_termios2 settings{{}, line_speed, line_speed};
    {
        lock_guard guard(lock_);
        settings.common = discipline_.settings();
    }
    return copy_out(vaddr_t(argument), &settings,
                    command == TCGETS2_ ? sizeof settings : sizeof settings.common);
}

status tty::set_settings(tty_file& by, uint64_t command, uint64_t argument) {
    TRY(check_foreground(SIGTTOU_));
    // The speeds of a termios2 are not looked at: there is only one.
    const linux_termios wanted = settable(TRY(user_ptr<const linux_termios>(argument).read()));
    if (has_time_to_drain(command))
        TRY(drain(by));
    effects e;
    {
        lock_guard guard(lock_);
        if (command == TCSETSF_ || command == TCSETSF2_)
            discipline_.flush_input();
        discipline_.set(wanted);
        serve(e);
        readers_.wake_all(); // what is readable may have become another matter
    }
    e.notify = true;
    settle(e);
    return {};
}

status tty::set_size(uint64_t argument) {
    const linux_winsize wanted = TRY(user_ptr<const linux_winsize>(argument).read());
    {
        lock_guard guard(lock_);
        if (size_ == wanted)
            return {};
        size_ = wanted;
    }
    signal_send_group(foreground_.load(), SIGWINCH_, nullptr);
    return {};
}

// Waits until all output has left.
status tty::drain(tty_file& by) {
    lock_guard guard(lock_);
    while (!by.hung_up() && (discipline_.output_bytes() > 0 || !uart_.idle())) {
        // The port has no interrupt for its last byte.
        const nanos_t deadline = discipline_.output_bytes() > 0 ? forever : now() + drain_poll;
        status slept = writers_.wait_interruptible(lock_, "ttydrain", deadline);
        if (!slept && slept.error() != Errno::timedout)
            return fail(Errno::restartsys);
    }
    return {};
}

status tty::flush(uint64_t which) {
    TRY(check_foreground(SIGTTOU_));
    if (which > TCIOFLUSH_)
        return fail(Errno::inval);
    effects e;
    {
        lock_guard guard(lock_);
        if (which != TCOFLUSH_)
            discipline_.flush_input();
        if (which != TCIFLUSH_) {
            discipline_.flush_output();
            writers_.wake_all();
            e.notify = true;
        }
        serve(e);
    }
    settle(e);
    return {};
}

status tty::flow(uint64_t which) {
    TRY(check_foreground(SIGTTOU_));
    effects e;
    {
        lock_guard guard(lock_);
        const uint8_t* cc = discipline_.settings().cc;
        switch (which) {
        case TCOOFF_:
        case TCOON_: discipline_.stop_output(which == TCOOFF_); break;
        case TCIOFF_:
        case TCION_:
            // Asks the other side, by the characters that it would understand.
            discipline_.send(cc[which == TCIOFF_ ? VSTOP_ : VSTART_]);
            break;
        default: return fail(Errno::inval);
        }
        serve(e);
    }
    settle(e);
    return {};
}

status tty::send_break(tty_file& by) {
    TRY(check_foreground(SIGTTOU_));
    TRY(drain(by));
    {
        lock_guard guard(lock_);
        uart_.send_break(true);
    }
    sched_sleep_until(now() + break_length);
    lock_guard guard(lock_);
    uart_.send_break(false);
    return {};
}

expected<int64_t> tty::ioctl(tty_file& by, uint64_t command, uint64_t argument) {
    if (by.hung_up())
        return fail(command == TIOCSPGRP_ ? Errno::notty : Errno::io);
    switch (command) {
    case TCGETS_:
    case TCGETS2_: TRY(get_settings(command, argument)); return 0;
    case TCSETS_:
    case TCSETSW_:
    case TCSETSF_:
    case TCSETS2_:
    case TCSETSW2_:
    case TCSETSF2_: TRY(set_settings(by, command, argument)); return 0;
    case TCSBRK_: // with an argument it only drains: that is tcdrain
        if (argument != 0) {
            TRY(check_foreground(SIGTTOU_));
            TRY(drain(by));
            return 0;
        }
        [[fallthrough]];
    case TCSBRKP_: TRY(send_break(by)); return 0;
    case TCXONC_: TRY(flow(argument)); return 0;
    case TCFLSH_: TRY(flush(argument)); return 0;
    case TIOCGWINSZ_: {
        linux_winsize size;
        {
            lock_guard guard(lock_);
            size = size_;
        }
        TRY(user_ptr<linux_winsize>(argument).write(size));
        return 0;
    }
    case TIOCSWINSZ_: TRY(set_size(argument)); return 0;
    case TIOCINQ_:
    case TIOCOUTQ_: {
        int32_t n;
        {
            lock_guard guard(lock_);
            n = int32_t(command == TIOCINQ_ ? discipline_.readable_bytes()
                                            : discipline_.output_bytes());
        }
        TRY(user_ptr<int32_t>(argument).write(n));
        return 0;
    }
    case TIOCSCTTY_: {
        const bool superuser = current_credentials().superuser();
        TRY(acquire(by.readable() || superuser, argument == 1 && superuser));
        return 0;
    }
    case TIOCNOTTY_: TRY(release_by_process()); return 0;
    case TIOCGPGRP_: return get_group(argument);
    case TIOCSPGRP_: TRY(set_group(argument)); return 0;
    case TIOCGSID_: TRY(get_session(argument)); return 0;
    case TIOCGETD_: // the discipline: N_TTY
        TRY(user_ptr<int32_t>(argument).write(0));
        return 0;
    default: return fail(Errno::notty);
    }
}
