// The host channel: how the program that started the machine and init talk, over the second
// serial line. tools/sporklib/channel.py is the other end.
//
// init opens the conversation with CHANNEL_MAGIC, which also ends whatever a firmware may have
// printed there; from then on either side sends frames: type (1 byte), length of the payload
// (2 bytes, little-endian), payload. For a stream frame the low four bits of the type are the
// descriptor of the command that it is about: 0, 1 or 2.
//
// Nobody sends more DATA for a stream than the other side has room for: a stream starts with
// CHANNEL_WINDOW bytes of credit, DATA uses it up, and a CREDIT frame from the reader gives it
// back once the bytes have gone on. So no queue on the way can overflow.
#ifndef SPORK_USER_INIT_CHANNEL_H
#define SPORK_USER_INIT_CHANNEL_H

#define CHANNEL_DEVICE "/dev/ttyS1"
#define CHANNEL_MAGIC "\0SPORK1\n"
#define CHANNEL_MAGIC_SIZE 8
#define CHANNEL_HEADER 3

enum {
    FRAME_DATA = 0x10,   // bytes of stream 0 (from the host), 1 or 2 (to the host)
    FRAME_CLOSE = 0x20,  // writer to reader: end of file; reader to writer: nobody reads on
    FRAME_CREDIT = 0x30, // u32: that many bytes of the stream were taken
    FRAME_READY = 0x40,  // to the host, once: the command or shell starts now
    FRAME_EXIT = 0x41,   // to the host: u32, the command's wait status, and EXIT_NEVER_RAN
    FRAME_BYE = 0x42,    // from the host: everything has arrived, power off
    FRAME_WINSIZE = 0x43 // from the host: u16 rows, u16 columns of the console
};

// In FRAME_EXIT: the command could not be executed; its status is what a shell says of that.
#define EXIT_NEVER_RAN 0x10000u

enum {
    CHANNEL_WINDOW_IN = 2048,  // stdin: less than a terminal's input queue
    CHANNEL_WINDOW_OUT = 65536 // stdout and stderr, each
};

#endif
