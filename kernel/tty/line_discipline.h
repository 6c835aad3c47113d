// line_discipline: what lies between a serial line and the programs that read and write it. In
// canonical mode a line can be edited until it is ended, and only then be read; control characters
// become signals; what is typed is echoed; output is processed. POSIX.1-2017, chapter 11 (General
// Terminal Interface); where it leaves a choice, as Linux does.
//
//     line -> receive() -> input ring -> read() -> program
//                 | echo
//     line <- take_output() <- output ring <- write() <- program
//
// The input ring is one run of bytes with three positions, which only grow:
//
//     tail_ ........... ended_ ........... head_
//       | lines to be read |  the line being edited |      (in raw mode all may be read)
//
// It knows no lock and no device: its owner (tty) calls it with a lock held. So it runs in a host
// process too.
#pragma once

#include "kernel/abi/termios.h"

#include <cstddef>
#include <cstdint>

class line_discipline {
public:
    static constexpr size_t input_size = 4096, output_size = 8192; // powers of two
    static constexpr size_t echo_reserve = 512; // of the output ring: programs leave it to the echo

    line_discipline() = default;
    line_discipline(const line_discipline&) = delete;

    const linux_termios& settings() const { return settings_; }
    // Only known flags may be set. What has been typed already stays; a line being edited can be
    // read at once when canonical mode ends.
    void set(const linux_termios& settings);
    bool canonical() const { return local(linux_abi::icanon); }

    // A byte from the line. Call only if receive_room() > 0.
    void receive(uint8_t byte);
    void receive_break();
    // How many bytes may come before somebody reads. Beyond that the line is to be held.
    size_t receive_room() const;
    // The signals that control characters have asked for since the last call: bit signo - 1.
    uint64_t take_signals();

    // Whether read() has something: a line (or end of file), or in raw mode a byte.
    bool readable() const { return readable_end() != tail_; }
    // How many bytes read() could give, as FIONREAD says.
    size_t readable_bytes() const;
    // Grows with everything that can be read; for seeing that there is more than before.
    uint32_t readable_position() const { return readable_end(); }
    // Up to `size` bytes of one line; raw: what there is. `line_ended`: the line is through, so
    // that an end of file is 0 with line_ended.
    size_t read(uint8_t* to, size_t size, bool& line_ended);
    void flush_input();

    // How many of a program's bytes were taken: fewer than `size` when the output ring is full.
    size_t write(const uint8_t* from, size_t size);
    // Bytes that a program may write before the ring is full.
    size_t write_room() const;
    // One byte for the line, as it is, whatever settings say; dropped when the ring is full.
    void send(uint8_t byte) { put(byte); }
    // The next bytes for the line; 0 while output is stopped (^S) or there are none.
    size_t take_output(uint8_t* to, size_t size);
    bool output_waiting() const { return out_head_ != out_tail_ && !stopped_; }
    size_t output_bytes() const { return out_head_ - out_tail_; }
    // Grows with everything that is put there.
    uint32_t output_position() const { return out_head_; }
    bool output_stopped() const { return stopped_; }
    void flush_output() { out_tail_ = out_head_; }
    // TCXONC and ^S ^Q.
    void stop_output(bool stop) { stopped_ = stop; }

    // Asserts that the positions and marks agree.
    void check() const;

private:
    bool local(uint32_t flag) const { return settings_.lflag & flag; }
    bool input(uint32_t flag) const { return settings_.iflag & flag; }
    // Whether `c` is the control character `which`. A cc of 0 is none.
    bool is(uint8_t c, unsigned which) const { return c == settings_.cc[which] && c != 0; }

    uint32_t readable_end() const { return canonical() ? ended_ : head_; }
    uint8_t& in(uint32_t position) { return input_[position % input_size]; }
    uint8_t in(uint32_t position) const { return input_[position % input_size]; }
    bool marked(uint32_t position) const;
    void mark(uint32_t position, bool on);
    bool end_of_file_at(uint32_t position) const { return marked(position) && in(position) == 0; }

    bool flow_control(uint8_t c);
    bool signal_character(uint8_t c);
    void raise(int signo);
    bool editing_character(uint8_t c);
    bool store(uint8_t c);
    void end_line(uint8_t c);
    void erase_character();
    void erase_word();
    void erase_line();
    void drop_last(bool show);
    unsigned tab_width_before(uint32_t position) const;
    void reprint();

    void echo(uint8_t c);
    void echo_typed(uint8_t c);
    void echo_raw(uint8_t c) { put(c); }
    bool put(uint8_t c);
    bool put_processed(uint8_t c);

    linux_termios settings_ = linux_abi::default_termios;
    uint8_t input_[input_size] = {};
    uint64_t marks_[input_size / 64] =
        {}; // bytes that end a line; a 0 with a mark is an end of file
    uint32_t tail_ = 0, ended_ = 0, head_ = 0;
    bool literal_next_ = false;

    uint8_t output_[output_size] = {};
    uint32_t out_head_ = 0, out_tail_ = 0;
    bool stopped_ = false;
    unsigned column_ = 0;      // of the terminal's cursor
    unsigned line_column_ = 0; // where the line being edited begins
    uint64_t signals_ = 0;
};
