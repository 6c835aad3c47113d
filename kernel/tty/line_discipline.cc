#include "kernel/tty/line_discipline.h"

#include "lib/assert.h"
#include "lib/string.h"

#include <algorithm>

using namespace linux_abi;

namespace {

constexpr int signal_interrupt = 2, signal_quit = 3, signal_suspend = 20; // SIGINT SIGQUIT SIGTSTP
constexpr uint8_t bell = 7, backspace = 8;
constexpr unsigned tab_stop = 8;
constexpr size_t longest_output = 8; // of one byte: a tab

bool is_control(uint8_t c) { return c < 32 || c == 127; }
bool is_word(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c >= 128;
}
bool is_utf8_continuation(uint8_t c) { return (c & 0xc0) == 0x80; }

} // namespace

// ---- The input ring ------------------------------------------------------------------------

bool line_discipline::marked(uint32_t position) const {
    uint32_t i = position % input_size;
    return marks_[i / 64] >> (i % 64) & 1;
}

void line_discipline::mark(uint32_t position, bool on) {
    uint32_t i = position % input_size;
    uint64_t bit = uint64_t{1} << (i % 64);
    marks_[i / 64] = on ? marks_[i / 64] | bit : marks_[i / 64] & ~bit;
}

void line_discipline::check() const {
    ASSERT(head_ - tail_ <= input_size && ended_ - tail_ <= head_ - tail_);
    ASSERT(out_head_ - out_tail_ <= output_size);
    for (uint32_t p = ended_; p != head_; p++)
        ASSERT(!marked(p));
}

void line_discipline::set(const linux_termios& settings) {
    const bool was_canonical = canonical();
    settings_ = settings;
    if (!(settings_.iflag & ixon))
        stopped_ = false;
    if (was_canonical == canonical())
        return;
    // What is there was typed under other rules: it can be read, all of it as one piece.
    memset(marks_, 0, sizeof marks_);
    if (canonical() && head_ != tail_)
        mark(head_ - 1, true);
    ended_ = head_;
    literal_next_ = false;
}

size_t line_discipline::receive_room() const {
    const size_t used = head_ - tail_;
    const size_t room = used < input_size - 1 ? input_size - 1 - used : 0;
    // A line that is too long can still be ended, edited and interrupted: what does not fit is
    // dropped.
    if (room == 0 && canonical() && ended_ == tail_)
        return 1;
    return room;
}

size_t line_discipline::readable_bytes() const {
    size_t n = 0;
    for (uint32_t p = tail_; p != readable_end(); p++)
        n += !end_of_file_at(p);
    return n;
}

size_t line_discipline::read(uint8_t* to, size_t size, bool& line_ended) {
    line_ended = false;
    size_t n = 0;
    while (tail_ != readable_end()) {
        if (end_of_file_at(tail_)) {
            // Also behind the last byte that fits: else the next read would take it for another.
            mark(tail_++, false);
            line_ended = true;
            break;
        }
        if (n == size)
            break;
        line_ended = marked(tail_);
        mark(tail_, false);
        to[n++] = in(tail_++);
        if (line_ended)
            break;
    }
    return n;
}

void line_discipline::flush_input() {
    tail_ = ended_ = head_;
    memset(marks_, 0, sizeof marks_);
    literal_next_ = false;
}

bool line_discipline::store(uint8_t c) {
    // The last byte of the ring is kept for the end of the line.
    if (head_ - tail_ >= input_size - 1) {
        if (input(imaxbel))
            put(bell);
        return false;
    }
    if (head_ == ended_)
        line_column_ = column_;
    in(head_++) = c;
    if (!canonical())
        ended_ = head_;
    return true;
}

void line_discipline::end_line(uint8_t c) {
    if (head_ - tail_ >= input_size)
        return;
    in(head_) = c;
    mark(head_++, true);
    ended_ = head_;
}

// ---- From the line -------------------------------------------------------------------------

void line_discipline::receive(uint8_t c) {
    if (input(istrip))
        c &= 0x7f;
    if (literal_next_) {
        literal_next_ = false;
        if (store(c) && local(linux_abi::echo))
            echo(c);
        return;
    }
    if (flow_control(c) || signal_character(c))
        return;
    if (c == '\r') {
        if (input(igncr))
            return;
        if (input(icrnl))
            c = '\n';
    } else if (c == '\n' && input(inlcr)) {
        c = '\r';
    }
    if (canonical() && editing_character(c))
        return;
    if (store(c) && local(linux_abi::echo))
        echo_typed(c);
}

void line_discipline::receive_break() {
    if (input(ignbrk))
        return;
    if (input(brkint))
        raise(signal_interrupt);
    else
        store(0);
}

// ^S and ^Q. With IXANY any byte starts the output again.
bool line_discipline::flow_control(uint8_t c) {
    if (!input(ixon))
        return false;
    if (is(c, vstart) || is(c, vstop)) {
        stopped_ = is(c, vstop);
        return true;
    }
    if (input(ixany))
        stopped_ = false;
    return false;
}

void line_discipline::raise(int signo) {
    signals_ |= uint64_t{1} << (signo - 1);
    stopped_ = false;
    if (!local(noflsh)) {
        flush_input();
        flush_output();
    }
}

bool line_discipline::signal_character(uint8_t c) {
    if (!local(isig))
        return false;
    int signo = is(c, vintr)   ? signal_interrupt
                : is(c, vquit) ? signal_quit
                : is(c, vsusp) ? signal_suspend
                               : 0;
    if (signo == 0)
        return false;
    raise(signo);
    if (local(linux_abi::echo))
        echo(c);
    return true;
}

uint64_t line_discipline::take_signals() {
    uint64_t s = signals_;
    signals_ = 0;
    return s;
}

// Whether `c` edits or ends the line, and was dealt with.
bool line_discipline::editing_character(uint8_t c) {
    const bool extended = local(iexten);
    if (is(c, verase)) {
        erase_character();
    } else if (is(c, vkill)) {
        erase_line();
    } else if (extended && is(c, vwerase)) {
        erase_word();
    } else if (extended && is(c, vlnext)) {
        literal_next_ = true;
        if (local(linux_abi::echo) && local(echoctl)) {
            echo_raw('^');
            echo_raw(backspace);
        }
    } else if (extended && local(linux_abi::echo) && is(c, vreprint)) {
        reprint();
    } else if (c == '\n') {
        if (local(linux_abi::echo) || local(echonl))
            put_processed('\n');
        end_line(c);
    } else if (is(c, veof)) {
        end_line(0);
    } else if (is(c, veol) || (extended && is(c, veol2))) {
        if (local(linux_abi::echo))
            echo(c);
        end_line(c);
    } else {
        return false;
    }
    return true;
}

// ---- Editing -------------------------------------------------------------------------------

void line_discipline::erase_character() {
    if (head_ == ended_)
        return;
    if (local(linux_abi::echo) && !local(echoe)) {
        echo(settings_.cc[verase]);
        drop_last(false);
    } else {
        drop_last(local(linux_abi::echo));
    }
}

void line_discipline::erase_word() {
    bool in_word = false;
    while (head_ != ended_) {
        if (is_word(in(head_ - 1)))
            in_word = true;
        else if (in_word)
            break;
        drop_last(local(linux_abi::echo));
    }
}

void line_discipline::erase_line() {
    if (head_ == ended_)
        return;
    const bool visibly = local(echok) && local(echoke) && local(echoe);
    if (local(linux_abi::echo) && !visibly) {
        head_ = ended_;
        echo(settings_.cc[vkill]);
        if (local(echok))
            put_processed('\n');
        return;
    }
    while (head_ != ended_)
        drop_last(local(linux_abi::echo));
}

// Takes the last character off the line being edited (with IUTF8 all of its bytes), and off the
// screen.
void line_discipline::drop_last(bool show) {
    uint8_t c = in(--head_);
    while (input(iutf8) && is_utf8_continuation(c) && head_ != ended_)
        c = in(--head_);
    if (!show)
        return;
    unsigned columns = 1;
    if (c == '\t')
        columns = tab_width_before(head_);
    else if (is_control(c))
        columns = local(echoctl) ? 2 : 0;
    for (; columns > 0; columns--) {
        put_processed(backspace);
        if (c == '\t')
            continue;
        put_processed(' ');
        put_processed(backspace);
    }
}

// How wide a tab at `position` of the line being edited is shown. What is before the last tab
// before it does not matter, so that erasing a whole line looks at each byte twice and no more.
unsigned line_discipline::tab_width_before(uint32_t position) const {
    unsigned column = 0;
    uint32_t p = position;
    for (; p != ended_ && in(p - 1) != '\t'; p--) {
        uint8_t c = in(p - 1);
        if (is_control(c))
            column += local(echoctl) ? 2 : 0;
        else if (!input(iutf8) || !is_utf8_continuation(c))
            column++;
    }
    if (p == ended_)
        column += line_column_;
    return tab_stop - column % tab_stop;
}

void line_discipline::reprint() {
    echo(settings_.cc[vreprint]);
    put_processed('\n');
    line_column_ = column_;
    for (uint32_t p = ended_; p != head_; p++)
        echo(in(p));
}

// ---- Output --------------------------------------------------------------------------------

void line_discipline::echo_typed(uint8_t c) {
    if (c == '\n')
        put_processed(c);
    else
        echo(c);
}

// Control characters as ^X, with ECHOCTL.
void line_discipline::echo(uint8_t c) {
    if (local(echoctl) && is_control(c) && c != '\t') {
        put_processed('^');
        put_processed(c ^ 0x40);
    } else {
        put_processed(c);
    }
}

bool line_discipline::put(uint8_t c) {
    if (out_head_ - out_tail_ == output_size)
        return false;
    output_[out_head_++ % output_size] = c;
    return true;
}

// One byte with the processing that oflag asks for; keeps the column. False when there was no room.
bool line_discipline::put_processed(uint8_t c) {
    if (!(settings_.oflag & opost))
        return put(c);
    if (output_size - (out_head_ - out_tail_) < longest_output)
        return false;
    switch (c) {
    case '\n':
        if (settings_.oflag & onlcr)
            put('\r');
        if (settings_.oflag & (onlcr | onlret))
            column_ = 0;
        return put('\n');
    case '\r':
        if ((settings_.oflag & onocr) && column_ == 0)
            return true;
        if (settings_.oflag & ocrnl) {
            if (settings_.oflag & onlret)
                column_ = 0;
            return put('\n');
        }
        column_ = 0;
        return put('\r');
    case '\t': {
        unsigned width = tab_stop - column_ % tab_stop;
        column_ += width;
        if ((settings_.oflag & xtabs) != xtabs)
            return put('\t');
        for (; width > 0; width--)
            put(' ');
        return true;
    }
    case backspace:
        if (column_ > 0)
            column_--;
        return put(c);
    default:
        if (!is_control(c) && !(input(iutf8) && is_utf8_continuation(c)))
            column_++;
        return put(c);
    }
}

size_t line_discipline::write_room() const {
    const size_t free = output_size - (out_head_ - out_tail_);
    const size_t kept = echo_reserve + longest_output;
    return free > kept ? free - kept : 0;
}

size_t line_discipline::write(const uint8_t* from, size_t size) {
    size_t taken = 0;
    if (settings_.oflag & opost) {
        while (taken < size && write_room() > 0)
            put_processed(from[taken++]);
        return taken;
    }
    size = std::min(size, write_room());
    while (taken < size) {
        const size_t at = out_head_ % output_size;
        const size_t n = std::min(size - taken, output_size - at);
        memcpy(output_ + at, from + taken, n);
        out_head_ += static_cast<uint32_t>(n);
        taken += n;
    }
    return taken;
}

size_t line_discipline::take_output(uint8_t* to, size_t size) {
    size_t n = 0;
    if (!stopped_)
        while (n < size && out_tail_ != out_head_)
            to[n++] = output_[out_tail_++ % output_size];
    return n;
}
