// The agent: runs the job, passes its streams through the host channel, reaps.
//
//   host --DATA 0--> stdin_queue --> pipe --> command --> pipes --> DATA 1, DATA 2 --> host
//
// One loop waits for whichever end can go on. Bytes for the command wait in stdin_queue, which is
// as large as the credit the host has; bytes from the command are only read while the host has
// given credit for them.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "channel.h"
#include "init.h"

// Milliseconds, where the line may lead to nobody. A host that has spoken is waited for, however
// long: on a machine that counts instructions, idle seconds pass in no time.
enum { BYE_TIMEOUT = 10000 };

static int channel = -1;   // the serial line, -1 when there is none
static int child_event[2]; // a pipe that the SIGCHLD handler writes to
static int ends[3];        // init's ends of the command's stdin, stdout and stderr, or -1
static size_t out_credit[3];

static uint8_t stdin_queue[CHANNEL_WINDOW_IN];
static size_t stdin_queued;
static bool stdin_ended; // the host has no more

static uint8_t frame[CHANNEL_HEADER + UINT16_MAX]; // the one that is arriving
static size_t frame_filled;
static bool host_speaks, host_said_bye;

static void on_child(int signal) {
    (void)signal;
    int saved = errno;
    if (write(child_event[1], "", 1) < 0) {
        // A full pipe already wakes the loop.
    }
    errno = saved;
}

// ---- Sending -------------------------------------------------------------------------------

static void send_bytes(const void* bytes, size_t size) {
    const char* at = bytes;
    while (size > 0 && channel >= 0) {
        ssize_t count = write(channel, at, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0) {
            complain(CHANNEL_DEVICE);
            channel = -1;
            return;
        }
        at += count;
        size -= (size_t)count;
    }
}

static void send_frame(int type, const void* payload, size_t size) {
    uint8_t header[CHANNEL_HEADER] = {(uint8_t)type, (uint8_t)size, (uint8_t)(size >> 8)};
    send_bytes(header, sizeof header);
    send_bytes(payload, size);
}

static void send_u32(int type, uint32_t value) {
    uint8_t payload[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                          (uint8_t)(value >> 24)};
    send_frame(type, payload, sizeof payload);
}

static void close_end(int stream) {
    close(ends[stream]);
    ends[stream] = -1;
}

// ---- Streams -------------------------------------------------------------------------------

// Writes what the command's stdin takes, gives the host its credit back.
static void feed_stdin(void) {
    if (ends[0] >= 0 && stdin_queued > 0) {
        ssize_t count = write(ends[0], stdin_queue, stdin_queued);
        if (count < 0 && errno != EAGAIN && errno != EINTR) {
            close_end(0); // the command closed its stdin
            send_frame(FRAME_CLOSE | 0, NULL, 0);
            stdin_queued = 0;
        } else if (count > 0) {
            stdin_queued -= (size_t)count;
            memmove(stdin_queue, stdin_queue + count, stdin_queued);
            send_u32(FRAME_CREDIT | 0, (uint32_t)count);
        }
    }
    if (ends[0] >= 0 && stdin_queued == 0 && stdin_ended)
        close_end(0);
}

// Passes on what one read of the command's stdout or stderr gives. False when nothing came.
static bool drain(int stream) {
    static uint8_t bytes[4096];
    size_t room = out_credit[stream] < sizeof bytes ? out_credit[stream] : sizeof bytes;
    ssize_t count = read(ends[stream], bytes, room);
    if (count < 0)
        return false;
    if (count == 0) {
        close_end(stream);
        send_frame(FRAME_CLOSE | stream, NULL, 0);
        return false;
    }
    out_credit[stream] -= (size_t)count;
    send_frame(FRAME_DATA | stream, bytes, (size_t)count);
    return true;
}

// ---- Receiving -----------------------------------------------------------------------------

static void set_window_size(const uint8_t* payload) {
    struct winsize size = {.ws_row = (unsigned short)(payload[0] | payload[1] << 8),
                           .ws_col = (unsigned short)(payload[2] | payload[3] << 8)};
    ioctl(STDIN_FILENO, TIOCSWINSZ, &size);
}

static void on_frame(int type, const uint8_t* payload, size_t size) {
    int stream = type & 0xf;
    if (type == (FRAME_DATA | 0)) {
        if (ends[0] < 0 || size > sizeof stdin_queue - stdin_queued)
            return;
        memcpy(stdin_queue + stdin_queued, payload, size);
        stdin_queued += size;
    } else if (type == (FRAME_CLOSE | 0)) {
        stdin_ended = true;
    } else if ((type & 0xf0) == FRAME_CLOSE && stream <= 2) {
        if (ends[stream] >= 0)
            close_end(stream);
    } else if ((type & 0xf0) == FRAME_CREDIT && stream <= 2 && size == 4) {
        out_credit[stream] += (size_t)payload[0] | (size_t)payload[1] << 8 |
                              (size_t)payload[2] << 16 | (size_t)payload[3] << 24;
    } else if (type == FRAME_BYE) {
        host_said_bye = true;
    } else if (type == FRAME_WINSIZE && size == 4) {
        set_window_size(payload);
    }
}

static void receive(void) {
    ssize_t count = read(channel, frame + frame_filled, sizeof frame - frame_filled);
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (count <= 0) {
        channel = -1; // the line is gone: go on without it
        return;
    }
    frame_filled += (size_t)count;
    size_t done = 0;
    while (frame_filled - done >= CHANNEL_HEADER) {
        const uint8_t* header = frame + done;
        size_t size = (size_t)header[1] | (size_t)header[2] << 8;
        if (frame_filled - done < CHANNEL_HEADER + size)
            break;
        host_speaks = true;
        on_frame(header[0], header + CHANNEL_HEADER, size);
        done += CHANNEL_HEADER + size;
    }
    frame_filled -= done;
    memmove(frame, frame + done, frame_filled);
}

// ---- The loop ------------------------------------------------------------------------------

static void open_channel(void) {
    channel = open(CHANNEL_DEVICE, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (channel < 0)
        return;
    struct termios raw;
    if (tcgetattr(channel, &raw) < 0) {
        close(channel); // no such line in this machine
        channel = -1;
        return;
    }
    cfmakeraw(&raw);
    cfsetspeed(&raw, B115200);
    raw.c_cflag |= CREAD | CLOCAL;
    tcsetattr(channel, TCSANOW, &raw);
    send_bytes(CHANNEL_MAGIC, CHANNEL_MAGIC_SIZE);
}

// Starts the job with pipes whose other ends become `ends`.
static pid_t start_with_pipes(const struct job* job, int* failed) {
    int pipes[3][2];
    for (int fd = 0; fd <= 2; fd++) {
        if (pipe2(pipes[fd], O_CLOEXEC) < 0)
            return -1;
        ends[fd] = pipes[fd][fd == 0 ? 1 : 0];
    }
    int streams[3] = {pipes[0][0], pipes[1][1], pipes[2][1]};
    pid_t child = start(job, streams, failed);
    for (int fd = 0; fd <= 2; fd++)
        close(streams[fd]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    return child;
}

// Reaps whoever has ended. True, with its wait status, when `main_child` was among them.
static bool reap(pid_t main_child, int* status) {
    bool ended = false;
    int each;
    pid_t pid;
    while ((pid = waitpid(-1, &each, WNOHANG)) > 0) {
        if (pid == main_child) {
            *status = each;
            ended = true;
        }
    }
    return ended;
}

// Waits until something can go on, and lets it.
static void step(void) {
    struct pollfd fds[5];
    int count = 0;
    int streams[3] = {-1, -1, -1};
    fds[count++] = (struct pollfd){.fd = child_event[0], .events = POLLIN};
    if (channel >= 0)
        fds[count++] = (struct pollfd){.fd = channel, .events = POLLIN};
    if (ends[0] >= 0 && stdin_queued > 0) {
        streams[0] = count;
        fds[count++] = (struct pollfd){.fd = ends[0], .events = POLLOUT};
    }
    for (int stream = 1; stream <= 2; stream++) {
        if (ends[stream] >= 0 && out_credit[stream] > 0) {
            streams[stream] = count;
            fds[count++] = (struct pollfd){.fd = ends[stream], .events = POLLIN};
        }
    }
    if (poll(fds, (nfds_t)count, -1) < 0)
        return; // EINTR: the next round sees the child's event
    if (fds[0].revents) {
        char events[16];
        if (read(child_event[0], events, sizeof events) < 0)
            complain("read");
    }
    for (int stream = 1; stream <= 2; stream++) {
        if (streams[stream] >= 0 && fds[streams[stream]].revents)
            drain(stream);
    }
    if (channel >= 0 && fds[1].revents)
        receive();
    feed_stdin();
}

// Whether the pipe of `stream` holds bytes at this moment.
static bool holds_bytes(int stream) {
    struct pollfd fd = {.fd = ends[stream], .events = POLLIN};
    return ends[stream] >= 0 && poll(&fd, 1, 0) > 0 && (fd.revents & POLLIN);
}

void supervise(const struct job* job) {
    ends[0] = ends[1] = ends[2] = -1;
    out_credit[1] = out_credit[2] = CHANNEL_WINDOW_OUT;
    if (pipe2(child_event, O_CLOEXEC | O_NONBLOCK) < 0)
        complain("pipe");
    signal(SIGPIPE, SIG_IGN);
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    sigaction(SIGCHLD, &action, NULL);

    open_channel();
    send_frame(FRAME_READY, NULL, 0);
    struct job mine = *job;
    mine.on_console |= channel < 0;
    int failed = -1;
    pid_t child = mine.on_console ? start(&mine, NULL, &failed) : start_with_pipes(&mine, &failed);
    int status = 127 << 8;
    if (child < 0)
        complain("fork");
    while (child > 0 && !reap(child, &status))
        step();

    // What the command wrote is in its pipes; processes it left behind do not count any more.
    for (int stream = 1; stream <= 2; stream++) {
        while (channel >= 0 && holds_bytes(stream)) {
            if (out_credit[stream] > 0)
                drain(stream);
            else
                receive();
        }
    }
    if (ends[0] >= 0)
        close_end(0);
    char byte;
    bool ran = child > 0 && read(failed, &byte, 1) == 0;
    send_u32(FRAME_EXIT, (uint32_t)status | (ran ? 0 : EXIT_NEVER_RAN));
    struct pollfd fd = {.fd = channel, .events = POLLIN};
    while (channel >= 0 && !host_said_bye && poll(&fd, 1, host_speaks ? -1 : BYE_TIMEOUT) != 0)
        receive();
}
