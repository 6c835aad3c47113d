// The line discipline: what is typed, what a program reads, and what the terminal shows.
#include "arch/timer.h"
#include "kernel/tty/line_discipline.h"
#include "tests/kernel/ktest.h"

#include <algorithm>
#include <new>
#include <string_view>

using namespace linux_abi;

namespace {

using std::string_view;

// A terminal without a line. One at a time: it is too large for a stack.
class terminal {
public:
    terminal() { d = new (storage) line_discipline; }
    ~terminal() { d->check(); }

    line_discipline* operator->() { return d; }
    void type(string_view keys) {
        for (char c : keys)
            d->receive(static_cast<uint8_t>(c));
        d->check();
    }
    // What one read of `size` bytes gives; "(none)" where it would wait.
    string_view read(size_t size = sizeof in_) {
        if (!d->readable())
            return "(none)";
        bool ended;
        size_t n = d->read(reinterpret_cast<uint8_t*>(in_), std::min(size, sizeof in_), ended);
        d->check();
        return {in_, n};
    }
    // What has been shown since the last call.
    string_view shown() {
        size_t n = d->take_output(reinterpret_cast<uint8_t*>(out_), sizeof out_);
        return {out_, n};
    }
    void write(string_view text) {
        EXPECT_EQ(d->write(reinterpret_cast<const uint8_t*>(text.data()), text.size()),
                  text.size());
    }
    template <class F> void change(F f) {
        linux_termios t = d->settings();
        f(t);
        d->set(t);
    }
    void raw() {
        change([](linux_termios& t) { t.lflag = 0, t.iflag = 0, t.oflag = 0; });
    }

    line_discipline* d;

private:
    alignas(line_discipline) static unsigned char storage[sizeof(line_discipline)];
    char in_[256], out_[256];
};
alignas(line_discipline) unsigned char terminal::storage[sizeof(line_discipline)];

constexpr uint64_t bit(int signo) { return uint64_t{1} << (signo - 1); }

} // namespace

KTEST(line_discipline, a_line_is_read_when_it_has_ended) {
    terminal t;
    t.type("hello");
    EXPECT(t.read() == "(none)");
    EXPECT_EQ(t->readable_bytes(), 0);
    t.type("\r");
    EXPECT_EQ(t->readable_bytes(), 6);
    t.type("next\nthird");
    EXPECT(t.shown() == "hello\r\nnext\r\nthird");
    EXPECT(t.read(4) == "hell");
    EXPECT(t.read(100) == "o\n");
    EXPECT(t.read() == "next\n");
    EXPECT(t.read() == "(none)");
}

KTEST(line_discipline, end_of_file) {
    terminal t;
    t.type("\x04");
    EXPECT(t.read() == "");
    EXPECT(t.read() == "(none)");
    t.type("part\x04");
    EXPECT_EQ(t->readable_bytes(), 4);
    EXPECT(t.read() == "part");
    EXPECT(t.read() == "(none)");
    t.type("four\x04"); // the end just behind the last byte that fits
    EXPECT(t.read(4) == "four");
    EXPECT(t.read() == "(none)");
    t.type("x\n\x04");
    EXPECT(t.read() == "x\n");
    EXPECT(t.read() == "");
}

KTEST(line_discipline, erasing) {
    terminal t;
    t.type("ab\x7f");
    EXPECT(t.shown() == "ab\b \b");
    t.type("\x7f\x7f\x7f");
    EXPECT(t.shown() == "\b \b"); // nothing is left for the others
    t.type("\x01"
           "x\x7f\x7f"); // a control character is shown as two
    EXPECT(t.shown() == "^Ax\b \b\b \b\b \b");
    t.type("one two\x17");
    EXPECT(t.shown() == "one two\b \b\b \b\b \b");
    t.type("2, three \x17\x17"
           "3\n");
    EXPECT(t.read() == "one 3\n");
    t.shown();
    t.type("gone\x15"
           "kept\n");
    EXPECT(t.shown() == "gone\b \b\b \b\b \b\b \bkept\r\n");
    EXPECT(t.read() == "kept\n");
}

KTEST(line_discipline, erasing_a_tab_goes_back_over_all_of_it) {
    terminal t;
    t.write("$ "); // the line begins at column 2
    t.shown();
    t.type("abc\t\x7f");
    EXPECT(t.shown() == "abc\t\b\b\b");
    t.type("\t\tx\x7f\x7f");
    EXPECT(t.shown() == "\t\tx\b \b\b\b\b\b\b\b\b\b");
    t.type("ab\tc\x16\x01\t\x7f"); // what is between two tabs counts, a ^A for two
    EXPECT(t.shown() == "ab\tc^\b^A\t\b\b\b\b\b");
}

// The column that a tab begins at was counted anew from the start of the line for each: 8 million
// steps for one key, in the interrupt.
KTEST(line_discipline, erasing_a_line_of_tabs_is_no_work) {
    terminal t;
    const auto time_to_erase = [&](char c) {
        uint64_t least = UINT64_MAX;
        for (int i = 0; i < 5; i++) {
            while (t->receive_room() > 1)
                t->receive(static_cast<uint8_t>(c));
            t->flush_output();
            const nanos_t start = now();
            t->receive(0x15); // ^U
            least = std::min(least, now() - start);
            t->flush_output();
        }
        return least;
    };
    const nanos_t plain = time_to_erase('x');
    EXPECT(time_to_erase('\t') < 50 * plain);
    t.type("\x12"); // the line is empty: reprint shows no more than that
    EXPECT(t.shown() == "^R\r\n");
}

KTEST(line_discipline, erasing_in_other_styles) {
    terminal t;
    t.change([](linux_termios& s) { s.lflag &= ~uint32_t{echoe}; });
    t.type("ab\x7f");
    EXPECT(t.shown() == "ab^?");
    t.type("\x15");
    EXPECT(t.shown() == "^U\r\n");
    t.change([](linux_termios& s) { s.lflag |= echoe, s.iflag |= iutf8; });
    t.type("\xc3\xa9\x7f"
           "e\n");
    EXPECT(t.shown() == "\xc3\xa9\b \be\r\n");
    EXPECT(t.read() == "e\n");
    t.change([](linux_termios& s) { s.lflag &= ~uint32_t{linux_abi::echo}, s.lflag |= echonl; });
    t.type("secret\x7f\n");
    EXPECT(t.shown() == "\r\n");
    EXPECT(t.read() == "secre\n");
}

KTEST(line_discipline, literal_next_and_reprint) {
    terminal t;
    t.type("\x16\x03"
           "\x16\x7f\n");
    EXPECT(t.shown() == "^\b^C^\b^?\r\n");
    EXPECT_EQ(t->take_signals(), 0);
    EXPECT(t.read() == "\x03\x7f\n");
    t.type("ab\x12\n");
    EXPECT(t.shown() == "ab^R\r\nab\r\n");
    EXPECT(t.read() == "ab\n");
    t.change([](linux_termios& s) { s.lflag &= ~uint32_t{iexten}; });
    t.type("a\x16\n");
    EXPECT(t.read() == "a\x16\n");
}

KTEST(line_discipline, signals) {
    terminal t;
    t.type("lost\x03");
    EXPECT_EQ(t->take_signals(), bit(2));
    EXPECT_EQ(t->take_signals(), 0);
    EXPECT(t.shown() == "^C"); // the output before it is dropped
    t.type("kept\n");
    EXPECT(t.read() == "kept\n");
    t.type("\x1c\x1a");
    EXPECT_EQ(t->take_signals(), bit(3) | bit(20));
    t.change([](linux_termios& s) { s.lflag |= noflsh; });
    t.type("ab\x03"
           "c\n");
    EXPECT_EQ(t->take_signals(), bit(2));
    EXPECT(t.read() == "abc\n");
    t.change([](linux_termios& s) { s.lflag &= ~uint32_t{isig}; });
    t.type("\x03\n");
    EXPECT_EQ(t->take_signals(), 0);
    EXPECT(t.read() == "\x03\n");
}

KTEST(line_discipline, raw_mode_is_binary_clean) {
    terminal t;
    t.raw();
    for (unsigned c = 0; c < 256; c++)
        t->receive(static_cast<uint8_t>(c));
    EXPECT_EQ(t->readable_bytes(), 256);
    string_view got = t.read();
    EXPECT_EQ(got.size(), 256);
    for (unsigned c = 0; c < got.size(); c++)
        EXPECT_EQ(static_cast<uint8_t>(got[c]), c);
    EXPECT(t.shown() == "");
    EXPECT_EQ(t->take_signals(), 0);
    uint8_t all[256];
    for (unsigned c = 0; c < 256; c++)
        all[c] = static_cast<uint8_t>(c);
    EXPECT_EQ(t->write(all, sizeof all), sizeof all);
    string_view sent = t.shown();
    EXPECT(sent.size() == 256 &&
           std::equal(sent.begin(), sent.end(), reinterpret_cast<char*>(all)));
}

KTEST(line_discipline, changing_the_mode_keeps_what_was_typed) {
    terminal t;
    t.type("line\npart");
    t.raw();
    EXPECT(t.read() == "line\npart");
    t.type("more");
    t.change([](linux_termios& s) { s = default_termios; });
    EXPECT(t.read() == "more");
    t.type("on\n");
    EXPECT(t.read() == "on\n");
}

KTEST(line_discipline, newline_mappings) {
    terminal t;
    t.change([](linux_termios& s) { s.iflag = inlcr | igncr, s.lflag = 0; });
    t.type("a\rb\nc");
    EXPECT(t.read() == "ab\rc");
    t.change([](linux_termios& s) { s.iflag = istrip; });
    t.type("\xe1");
    EXPECT(t.read() == "a");
    t.change([](linux_termios& s) { s.oflag = opost | ocrnl; });
    t.write("a\rb\n");
    EXPECT(t.shown() == "a\nb\n");
    t.change([](linux_termios& s) { s.oflag = opost | onlcr | xtabs | onocr; });
    t.write("\n\rab\t.\n");
    EXPECT(t.shown() == "\r\nab      .\r\n");
}

KTEST(line_discipline, flow_control) {
    terminal t;
    t.write("before");
    t.type("\x13");
    EXPECT(t.shown() == "" && !t->output_waiting());
    t.write(" after");
    t.type("\x11");
    EXPECT(t.shown() == "before after");
    t.type("\x13");
    t.write("x");
    t.type("\x03"); // a signal starts the output again, without what was there
    EXPECT(t.shown() == "^C");
    t->take_signals();
    EXPECT(t.read() == "(none)");
}

KTEST(line_discipline, a_full_ring_holds_the_line_and_loses_nothing) {
    terminal t;
    t.raw();
    uint32_t sent = 0, got = 0;
    for (unsigned round = 0; round < 20; round++) {
        while (t->receive_room() > 0)
            t->receive(static_cast<uint8_t>(sent++ * 7));
        t->check();
        for (size_t burst = 1 + ktest_random(3000); burst > 0 && t->readable();) {
            string_view bytes = t.read(std::min<size_t>(burst, 200));
            for (char c : bytes)
                EXPECT_EQ(static_cast<uint8_t>(c), static_cast<uint8_t>(got++ * 7));
            burst -= bytes.size();
        }
    }
    EXPECT_EQ(sent - got, t->readable_bytes());
    EXPECT(sent > 4 * line_discipline::input_size);
}

KTEST(line_discipline, a_line_that_is_too_long_can_still_be_ended) {
    terminal t;
    for (unsigned i = 0; i < 2 * line_discipline::input_size; i++) {
        EXPECT(t->receive_room() > 0);
        t->receive('a');
        t.shown();
    }
    t.type("\x7f"
           "b\n");
    size_t length = 0;
    string_view last;
    while (t->readable()) {
        last = t.read(100);
        length += last.size();
    }
    EXPECT_EQ(length, line_discipline::input_size);
    EXPECT(last.ends_with("ab\n"));
    for (unsigned i = 0; i < line_discipline::input_size / 2; i++)
        t.type("\n");
    EXPECT(t->receive_room() > 0);
    while (t->receive_room() > 0)
        t->receive('\n');
    EXPECT(t->readable());
    t->flush_input();
    EXPECT(!t->readable() && t->receive_room() > 0);
}

KTEST(line_discipline, a_full_output_ring_keeps_room_for_the_echo) {
    terminal t;
    uint8_t text[256];
    std::fill(std::begin(text), std::end(text), uint8_t{'o'});
    size_t taken;
    do
        taken = t->write(text, sizeof text);
    while (taken == sizeof text);
    EXPECT_EQ(t->write_room(), 0);
    const size_t before = t->output_bytes();
    t.type("typed");
    EXPECT_EQ(t->output_bytes(), before + 5);
    for (unsigned i = 0; i < 2 * line_discipline::echo_reserve; i++)
        t->receive('e'); // what has no room is not shown, but it is there
    t->receive('\n');
    t->check();
    EXPECT_EQ(t->readable_bytes(), 5 + 2 * line_discipline::echo_reserve + 1);
}
