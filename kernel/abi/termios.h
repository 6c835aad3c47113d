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

namespace linux_abi {

enum : unsigned { // indices of cc
    vintr,
    vquit,
    verase,
    vkill,
    veof,
    vtime,
    vmin,
    vswtc,
    vstart,
    vstop,
    vsusp,
    veol,
    vreprint,
    vdiscard,
    vwerase,
    vlnext,
    veol2,
};
enum : uint32_t { // iflag
    ignbrk = 1,
    brkint = 2,
    istrip = 040,
    inlcr = 0100,
    igncr = 0200,
    icrnl = 0400,
    ixon = 02000,
    ixany = 04000,
    imaxbel = 020000,
    iutf8 = 040000,
    iflags_known =
        ignbrk | brkint | istrip | inlcr | igncr | icrnl | ixon | ixany | imaxbel | iutf8,
};
enum : uint32_t { // oflag
    opost = 1,
    onlcr = 4,
    ocrnl = 010,
    onocr = 020,
    onlret = 040,
    xtabs = 014000,
    oflags_known = opost | onlcr | ocrnl | onocr | onlret | xtabs,
};
enum : uint32_t { // cflag: the line is always 8 bits without parity at 115,200 baud
    cbaud_b115200 = 010002,
    cs8 = 060,
    cread = 0200,
    hupcl = 02000,
    clocal = 04000,
    cflags_settable = cread | hupcl | clocal,
    cflags_fixed = cbaud_b115200 | cs8,
};
enum : uint32_t { // lflag
    isig = 1,
    icanon = 2,
    echo = 010,
    echoe = 020,
    echok = 040,
    echonl = 0100,
    noflsh = 0200,
    tostop = 0400,
    echoctl = 01000,
    echoke = 04000,
    iexten = 0100000,
    lflags_known =
        isig | icanon | echo | echoe | echok | echonl | noflsh | tostop | echoctl | echoke | iexten,
};

// A terminal as it is at boot; what a shell expects to find.
inline constexpr linux_termios default_termios = {
    .iflag = icrnl | ixon,
    .oflag = opost | onlcr,
    .cflag = cflags_fixed | cread | hupcl | clocal,
    .lflag = isig | icanon | echo | echoe | echok | echoctl | echoke | iexten,
    .line = 0,
    //     INTR QUIT  ERASE KILL EOF TIME MIN SWTC START STOP  SUSP  EOL RPRNT DISC  WERASE LNEXT
    //     EOL2
    .cc = {3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0x0f, 0x17, 0x16, 0, 0, 0},
};

enum : uint64_t { // ioctl(2) commands
    tcgets = 0x5401,
    tcsets,
    tcsetsw,
    tcsetsf,
    tcsbrk = 0x5409,
    tcxonc,
    tcflsh,
    tiocsctty = 0x540e,
    tiocgpgrp = 0x540f,
    tiocspgrp,
    tiocoutq,
    tiocgwinsz = 0x5413,
    tiocswinsz,
    tiocinq = 0x541b,
    tiocnotty = 0x5422,
    tiocgetd = 0x5424,
    tcsbrkp,
    tiocgsid = 0x5429,
    tcgets2 = 0x802c542a,
    tcsets2 = 0x402c542b,
    tcsetsw2,
    tcsetsf2,
    // Of pseudo-terminals.
    tiocpkt = 0x5420,
    tiocgptn = 0x80045430,
    tiocsptlck = 0x40045431,
    tiocsig = 0x40045436,
    tiocgpkt = 0x80045438,
    tiocgptlck = 0x80045439,
    tiocgptpeer = 0x5441,
};
// What a master in packet mode is told.
enum : uint8_t {
    tiocpkt_data = 0,
    tiocpkt_flushread = 1,
    tiocpkt_flushwrite = 2,
    tiocpkt_stop = 4,
    tiocpkt_start = 8,
    tiocpkt_nostop = 16,
    tiocpkt_dostop = 32,
};
enum : uint64_t { tciflush, tcoflush, tcioflush };
enum : uint64_t { tcooff, tcoon, tcioff, tcion };

} // namespace linux_abi
