// ioctl on terminals. The commands about groups and sessions end in tty_session.cc.
#include "arch/timer.h"
#include "kernel/abi/termios.h"
#include "kernel/base/user_ptr.h"
#include "kernel/process/process.h"
#include "kernel/sched/sched.h"
#include "kernel/signal/signal.h"
#include "kernel/tty/tty.h"
#include "lib/string.h"

using namespace linux_abi;

namespace {

struct linux_termios2 {
    linux_termios common;
    uint32_t input_speed, output_speed;
};
static_assert(sizeof(linux_termios2) == 44);
constexpr uint32_t line_speed = 115200;

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
    return command == tcsetsw || command == tcsetsf || command == tcsetsw2 || command == tcsetsf2;
}

} // namespace

status tty::get_settings(uint64_t command, uint64_t argument) {
    linux_termios2 settings{{}, line_speed, line_speed};
    {
        lock_guard guard(lock_);
        settings.common = discipline_.settings();
    }
    return copy_out(vaddr_t(argument), &settings,
                    command == tcgets2 ? sizeof settings : sizeof settings.common);
}

// ^S and ^Q, to who may do as he likes about them by himself (TIOCPKT).
static bool usual_flow_control(const linux_termios& t) {
    return (t.iflag & ixon) && t.cc[vstop] == 0x13 && t.cc[vstart] == 0x11;
}

status tty::set_settings(tty_file* by, uint64_t command, uint64_t argument) {
    TRY(check_foreground(sigttou));
    // The speeds of a termios2 are not looked at: there is only one.
    const linux_termios wanted = settable(TRY(user_ptr<const linux_termios>(argument).read()));
    if (has_time_to_drain(command))
        TRY(drain(by));
    effects e;
    {
        lock_guard guard(lock_);
        if (command == tcsetsf || command == tcsetsf2) {
            discipline_.flush_input();
            tell_line(tiocpkt_flushread);
        }
        const bool flow = usual_flow_control(wanted);
        if (flow != usual_flow_control(discipline_.settings()))
            tell_line(flow ? tiocpkt_dostop : tiocpkt_nostop);
        discipline_.set(wanted);
        serve(e);
    }
    e.readers = e.pollers = true; // what is readable may have become another matter
    settle(e);
    return {};
}

status tty::get_size(uint64_t argument) {
    linux_winsize size;
    {
        lock_guard guard(lock_);
        size = size_;
    }
    return user_ptr<linux_winsize>(argument).write(size);
}

// How many can be read, or have still to leave.
status tty::get_bytes(bool input, uint64_t argument) {
    int32_t n;
    {
        lock_guard guard(lock_);
        n = int32_t(input ? discipline_.readable_bytes() : discipline_.output_bytes());
    }
    return user_ptr<int32_t>(argument).write(n);
}

status tty::set_size(uint64_t argument) {
    const linux_winsize wanted = TRY(user_ptr<const linux_winsize>(argument).read());
    {
        lock_guard guard(lock_);
        if (size_ == wanted)
            return {};
        size_ = wanted;
    }
    signal_send_group(foreground_.load(), sigwinch, nullptr);
    return {};
}

// Waits until all output has left.
status tty::drain(tty_file* by) {
    lock_guard guard(lock_);
    while (!(by && by->hung_up()) && !drained()) {
        // The port has no interrupt for its last byte.
        const nanos_t deadline = discipline_.output_bytes() > 0 ? forever : now() + drain_poll;
        status slept = writers_.wait_interruptible(lock_, "ttydrain", deadline);
        if (!slept && slept.error() != Errno::timedout)
            return fail(Errno::restartsys);
    }
    return {};
}

status tty::flush(uint64_t which) {
    TRY(check_foreground(sigttou));
    if (which > tcioflush)
        return fail(Errno::inval);
    effects e;
    {
        lock_guard guard(lock_);
        if (which != tcoflush) {
            discipline_.flush_input();
            tell_line(tiocpkt_flushread);
        }
        if (which != tciflush) {
            discipline_.flush_output();
            tell_line(tiocpkt_flushwrite);
            e.writers = e.pollers = true;
        }
        serve(e);
    }
    settle(e);
    return {};
}

status tty::flow(uint64_t which) {
    TRY(check_foreground(sigttou));
    effects e;
    {
        lock_guard guard(lock_);
        const uint8_t* cc = discipline_.settings().cc;
        switch (which) {
        case tcooff:
        case tcoon: discipline_.stop_output(which == tcooff); break;
        case tcioff:
        case tcion:
            // Asks the other side, by the characters that it would understand.
            discipline_.send(cc[which == tcioff ? vstop : vstart]);
            break;
        default: return fail(Errno::inval);
        }
        serve(e);
    }
    settle(e);
    return {};
}

status tty::drain_in_foreground(tty_file* by) {
    TRY(check_foreground(sigttou));
    return drain(by);
}

status tty::send_break(tty_file* by) {
    TRY(drain_in_foreground(by));
    if (set_break(true)) {
        sched_sleep_until(now() + break_length);
        set_break(false);
    }
    return {};
}

expected<int64_t> tty::ioctl(tty_file& by, uint64_t command, uint64_t argument) {
    if (by.hung_up())
        return fail(command == tiocspgrp ? Errno::notty : Errno::io);
    return control(&by, command, argument);
}

expected<int64_t> tty::control(tty_file* by, uint64_t command, uint64_t argument) {
    switch (command) {
    case tcgets:
    case tcgets2: TRY(get_settings(command, argument)); return 0;
    case tcsets:
    case tcsetsw:
    case tcsetsf:
    case tcsets2:
    case tcsetsw2:
    case tcsetsf2: TRY(set_settings(by, command, argument)); return 0;
    case tcsbrk: TRY(argument ? drain_in_foreground(by) : send_break(by)); return 0; // tcdrain
    case tcsbrkp: TRY(send_break(by)); return 0;
    case tcxonc: TRY(flow(argument)); return 0;
    case tcflsh: TRY(flush(argument)); return 0;
    case tiocgwinsz: TRY(get_size(argument)); return 0;
    case tiocswinsz: TRY(set_size(argument)); return 0;
    case tiocinq:
    case tiocoutq: TRY(get_bytes(command == tiocinq, argument)); return 0;
    case tiocsctty: {
        const bool superuser = current_credentials().superuser();
        TRY(acquire(!by || by->readable() || superuser, argument == 1 && superuser));
        return 0;
    }
    case tiocnotty: TRY(release_by_process()); return 0;
    case tiocgpgrp: return get_group(argument);
    case tiocspgrp: TRY(set_group(argument)); return 0;
    case tiocgsid: TRY(get_session(argument)); return 0;
    case tiocgetd: // the discipline: N_TTY
        TRY(user_ptr<int32_t>(argument).write(0));
        return 0;
    default: return fail(Errno::notty);
    }
}
