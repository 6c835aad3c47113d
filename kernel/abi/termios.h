// The settings of a terminal: Linux's numbers for x86-64 (termios(3) says what each does).
#pragma once

#include <cstdint>

struct linux_termios { // what TCGETS and TCSETS move
    uint32_t iflag, oflag, cflag, lflag;
    uint8_t line;
    uint8_t cc[19];
    friend bool operator==(const linux_termios&, const linux_termios&) = default;
};
static_assert(sizeof(linux_termios) == 36);

struct linux_winsize {
    uint16_t rows, columns, x_pixels, y_pixels;
    friend bool operator==(const linux_winsize&, const linux_winsize&) = default;
};

enum : unsigned { // indices of cc
    VINTR_,
    VQUIT_,
    VERASE_,
    VKILL_,
    VEOF_,
    VTIME_,
    VMIN_,
    VSWTC_,
    VSTART_,
    VSTOP_,
    VSUSP_,
    VEOL_,
    VREPRINT_,
    VDISCARD_,
    VWERASE_,
    VLNEXT_,
    VEOL2_,
};
enum : uint32_t { // iflag
    IGNBRK_ = 1,
    BRKINT_ = 2,
    ISTRIP_ = 040,
    INLCR_ = 0100,
    IGNCR_ = 0200,
    ICRNL_ = 0400,
    IXON_ = 02000,
    IXANY_ = 04000,
    IMAXBEL_ = 020000,
    IUTF8_ = 040000,
    iflags_known =
        IGNBRK_ | BRKINT_ | ISTRIP_ | INLCR_ | IGNCR_ | ICRNL_ | IXON_ | IXANY_ | IMAXBEL_ | IUTF8_,
};
enum : uint32_t { // oflag
    OPOST_ = 1,
    ONLCR_ = 4,
    OCRNL_ = 010,
    ONOCR_ = 020,
    ONLRET_ = 040,
    XTABS_ = 014000,
    oflags_known = OPOST_ | ONLCR_ | OCRNL_ | ONOCR_ | ONLRET_ | XTABS_,
};
enum : uint32_t { // cflag: the line is always 8 bits without parity at 115,200 baud
    CBAUD_B115200_ = 010002,
    CS8_ = 060,
    CREAD_ = 0200,
    HUPCL_ = 02000,
    CLOCAL_ = 04000,
    cflags_settable = CREAD_ | HUPCL_ | CLOCAL_,
    cflags_fixed = CBAUD_B115200_ | CS8_,
};
enum : uint32_t { // lflag
    ISIG_ = 1,
    ICANON_ = 2,
    ECHO_ = 010,
    ECHOE_ = 020,
    ECHOK_ = 040,
    ECHONL_ = 0100,
    NOFLSH_ = 0200,
    TOSTOP_ = 0400,
    ECHOCTL_ = 01000,
    ECHOKE_ = 04000,
    IEXTEN_ = 0100000,
    lflags_known = ISIG_ | ICANON_ | ECHO_ | ECHOE_ | ECHOK_ | ECHONL_ | NOFLSH_ | TOSTOP_ |
                   ECHOCTL_ | ECHOKE_ | IEXTEN_,
};

// A terminal as it is at boot; what a shell expects to find.
inline constexpr linux_termios default_termios = {
    .iflag = ICRNL_ | IXON_,
    .oflag = OPOST_ | ONLCR_,
    .cflag = cflags_fixed | CREAD_ | HUPCL_ | CLOCAL_,
    .lflag = ISIG_ | ICANON_ | ECHO_ | ECHOE_ | ECHOK_ | ECHOCTL_ | ECHOKE_ | IEXTEN_,
    .line = 0,
    //     INTR QUIT  ERASE KILL EOF TIME MIN SWTC START STOP  SUSP  EOL RPRNT DISC  WERASE LNEXT
    //     EOL2
    .cc = {3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0x0f, 0x17, 0x16, 0, 0, 0},
};
