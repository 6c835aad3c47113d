"""Conversations with a running machine.

    Session     the loop: collects the console, decodes the channel, keeps the deadline
    Piped       a command whose stdin, stdout and stderr go through the channel
    Captured    a command whose output a test reads
    OnConsole   this process's terminal is the machine's console

All waiting is one poll() over the machine's sockets and the host's descriptors; nothing blocks
elsewhere, so a time-out or a signal is always noticed.
"""
from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import select
import signal
import socket
import struct
import termios
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .channel import EXIT_NEVER_RAN, WINDOW_IN, WINDOW_OUT, Decoder, Frame, encode
from .machine import End, Machine

TIMEOUT_STATUS = 124
FAILURE_STATUS = 125
POWER_OFF_GRACE = 20.0  # seconds from the command's end to the machine's
PANIC_GRACE = 10.0  # seconds from the word panic to the machine's end
REPORT_GRACE = 10.0  # seconds for the report of a machine whose time is up
CHUNK = 4096  # a pipe that polls writable takes that much without blocking
CONSOLE_KEPT = 1 << 20
PANIC_TOLD = b"end of panic"
PANIC = re.compile(rb"^.*\bpanic:", re.MULTILINE)

Handler = Callable[[], None]


@dataclass
class Outcome:
    """What came of a session. `status` is the exit status to hand on; `why` is None when that is
    the command's own, else a sentence. `console` is the console's text, its last part at least.
    `ran`: whether the command could be executed at all."""

    status: int
    why: str | None
    console: bytes
    end: End | None
    ran: bool = True

    @property
    def panic(self) -> str | None:
        """The text from the panic on."""
        found = PANIC.search(self.console)
        if found is None:
            return None
        return self.console[found.start() :].decode(errors="replace").replace("\r\n", "\n")


class Session:
    """Talks to a machine until it ends. Alone it only listens to the console."""

    def __init__(
        self,
        machine: Machine,
        timeout: float | None = None,
        on_console: Callable[[bytes], None] | None = None,
    ) -> None:
        self.machine = machine
        self.ready = False
        self.wait_status: int | None = None
        self.ran = True
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._why_stopped: tuple[int, str] | None = None
        self._on_console = on_console
        self._by_hand = False  # ended from the keyboard
        self._console = bytearray()
        self._panic_seen = False
        self._asked = False  # what the machine, whose time is up, hangs in
        self._decoder = Decoder()
        self._open: set[socket.socket] = {machine.console, machine.channel, machine.monitor}
        self._to_channel = bytearray()

    # -- for subclasses --

    def interests(self) -> Iterator[tuple[int, int, Handler]]:
        """The descriptors to wait for now: number, poll events, what to call."""
        yield from ()

    def console_bytes(self, data: bytes) -> None:
        """The console printed `data`."""
        if self._on_console is not None:
            self._on_console(data)

    def frame(self, kind: int, payload: bytes) -> None:
        """A frame came from init."""
        if kind == Frame.READY:
            self.ready = True
        elif kind == Frame.EXIT:
            word = int.from_bytes(payload[:4], "little")
            self.wait_status = word & 0xFFFF
            self.ran = not word & EXIT_NEVER_RAN
            self.send(Frame.BYE)
            self._limit(POWER_OFF_GRACE, FAILURE_STATUS, "the machine did not power off")

    def wake_time(self) -> float | None:
        """When tick() wants to be called, on the monotonic clock."""
        return None

    def tick(self) -> None:
        """wake_time() has passed."""

    def busy(self) -> bool:
        """Whether there is work left although the machine has ended."""
        return False

    # -- the loop --

    def send(self, kind: int, payload: bytes = b"") -> None:
        self._to_channel += encode(kind, payload)

    def run(self) -> Outcome:
        while self._open or self.busy():
            now = time.monotonic()
            if self._deadline is not None and now >= self._deadline and not self._ask_why():
                break
            self._wait_and_dispatch(now)
            wake = self.wake_time()
            if wake is not None and time.monotonic() >= wake:
                self.tick()
        return self._outcome()

    def _ask_why(self) -> bool:
        """The time is up. A kernel that may hang is made to say where, by an NMI, and is given time for it;
        false if it is not to be asked."""
        if self._asked or self._panic_seen or self._by_hand or not self.machine.interrupt():
            return False
        self._asked = True
        self._why_stopped = self._why_stopped or (TIMEOUT_STATUS, "timed out")
        self._deadline = time.monotonic() + REPORT_GRACE
        return True

    def _wait_and_dispatch(self, now: float) -> None:
        poll = select.poll()
        handlers: dict[int, Handler] = {}
        for near in self._open:
            events = select.POLLIN
            if near is self.machine.channel and self._to_channel:
                events |= select.POLLOUT
            poll.register(near, events)
        for fd, events, handler in self.interests():
            poll.register(fd, events)
            handlers[fd] = handler
        wake = min((t for t in (self._deadline, self.wake_time()) if t is not None), default=None)
        for fd, _ in poll.poll(None if wake is None else max(0.0, wake - now) * 1000 + 1):
            if fd in handlers:
                handlers[fd]()
            elif fd == self.machine.console.fileno():
                self._read_console()
            elif fd == self.machine.channel.fileno():
                self._serve_channel()
            elif not self.machine.read_monitor():
                self._open.discard(self.machine.monitor)

    def _receive(self, near: socket.socket) -> bytes:
        try:
            data = near.recv(65536)
        except BlockingIOError:
            return b""
        except ConnectionError:
            data = b""
        if not data:
            self._open.discard(near)
        return data

    def _read_console(self) -> None:
        data = self._receive(self.machine.console)
        self._console += data
        if len(self._console) > 2 * CONSOLE_KEPT:
            del self._console[:-CONSOLE_KEPT]
        if data:
            self.console_bytes(data)
        if not self._panic_seen and PANIC.search(self._console):
            self._panic_seen = True
            if not self._asked:
                self._limit(PANIC_GRACE, FAILURE_STATUS, "the kernel panicked and did not stop")
        if self._panic_seen and self._console.rfind(PANIC_TOLD, -len(data) - len(PANIC_TOLD)) >= 0:
            self.machine.dump_core()

    def _serve_channel(self) -> None:
        if self._to_channel:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                sent = self.machine.channel.send(self._to_channel)
                del self._to_channel[:sent]
        for kind, payload in self._decoder.feed(self._receive(self.machine.channel)):
            self.frame(kind, payload)

    def _limit(self, seconds: float, status: int, why: str) -> None:
        """From here on another deadline, with another meaning, holds too."""
        deadline = time.monotonic() + seconds
        if self._deadline is None or deadline < self._deadline:
            self._deadline = deadline
            self._why_stopped = (status, why)

    def _outcome(self) -> Outcome:
        if self._open:
            self.machine.dump_core()
            self.machine.kill()
            stopped = self._why_stopped or (TIMEOUT_STATUS, "timed out")
            return Outcome(*stopped, bytes(self._console), None)
        end = self.machine.wait(POWER_OFF_GRACE)
        if self._asked and self._why_stopped and self._panic_seen:
            return Outcome(*self._why_stopped, bytes(self._console), end, self.ran)
        return Outcome(*self._judge(end), bytes(self._console), end, self.ran)

    def _judge(self, end: End) -> tuple[int, str | None]:
        if self._panic_seen:
            return FAILURE_STATUS, "kernel panic"
        if end.failed:
            return FAILURE_STATUS, "the kernel ended with a failure"
        if end.status != 0:
            return FAILURE_STATUS, f"QEMU ended with status {end.status}"
        if self.wait_status is not None:
            if os.WIFSIGNALED(self.wait_status):
                return 128 + os.WTERMSIG(self.wait_status), None
            return os.WEXITSTATUS(self.wait_status), None
        if end.reset:
            return FAILURE_STATUS, "the machine reset itself"
        return self.no_status(end)

    def no_status(self, end: End) -> tuple[int, str | None]:
        """The status when the machine powered off and init had not reported one."""
        return 0, None


class _Output:
    """One of the host's output streams: bytes wait here until it takes them."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.pending = bytearray()
        self.broken = False

    def write(self) -> int:
        """Hands on some bytes, and says how many; when nobody reads any more, drops them all."""
        try:
            count = os.write(self.fd, self.pending[:CHUNK])
        except BlockingIOError:
            return 0
        except OSError:
            self.broken = True
            self.pending.clear()
            return 0
        del self.pending[:count]
        return count


class Piped(Session):
    """The command's three streams are the host's. Flow is limited by credit in both directions."""

    def __init__(
        self,
        machine: Machine,
        stdin: int,
        stdout: int,
        stderr: int,
        timeout: float | None = None,
        on_console: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__(machine, timeout, on_console)
        self._stdin: int | None = stdin
        self._credit = WINDOW_IN
        self._outputs = {1: _Output(stdout), 2: _Output(stderr)}
        self._taken = {1: 0, 2: 0}

    def interests(self) -> Iterator[tuple[int, int, Handler]]:
        if self.ready and self._stdin is not None and self._credit > 0:
            yield self._stdin, select.POLLIN, self._read_stdin
        grouped: dict[int, list[int]] = {}
        for stream, output in self._outputs.items():
            if output.pending:
                grouped.setdefault(output.fd, []).append(stream)
        for fd, streams in grouped.items():
            yield fd, select.POLLOUT, functools.partial(self._write, streams[0])

    def busy(self) -> bool:
        return any(output.pending for output in self._outputs.values())

    def frame(self, kind: int, payload: bytes) -> None:
        super().frame(kind, payload)
        stream = kind & 0xF
        if kind & 0xF0 == Frame.DATA and stream in self._outputs:
            if not self._outputs[stream].broken:
                self._outputs[stream].pending += payload
        elif kind == Frame.CLOSE:  # of stream 0: the command reads no more
            self._stdin = None
        elif kind == Frame.CREDIT:
            self._credit += int.from_bytes(payload[:4], "little")

    def no_status(self, end: End) -> tuple[int, str | None]:
        return FAILURE_STATUS, "the machine powered off before the command had ended"

    def _read_stdin(self) -> None:
        assert self._stdin is not None
        try:
            data = os.read(self._stdin, min(self._credit, 1024))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._credit -= len(data)
            self.send(Frame.DATA, data)
        else:
            self._stdin = None
            self.send(Frame.CLOSE)

    def _write(self, stream: int) -> None:
        output = self._outputs[stream]
        self._taken[stream] += output.write()
        if output.broken:
            self.send(Frame.CLOSE + stream)
        elif self._taken[stream] >= WINDOW_OUT // 8:
            self.send(Frame.CREDIT + stream, self._taken[stream].to_bytes(4, "little"))
            self._taken[stream] = 0


class Captured(Session):
    """A command without stdin, whose stdout and stderr go to a function as they come."""

    def __init__(
        self,
        machine: Machine,
        on_output: Callable[[int, bytes], None],
        timeout: float | None = None,
        on_console: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__(machine, timeout, on_console)
        self._on_output = on_output

    def frame(self, kind: int, payload: bytes) -> None:
        super().frame(kind, payload)
        if kind == Frame.READY:
            self.send(Frame.CLOSE)
        elif kind & 0xF0 == Frame.DATA:
            stream = kind & 0xF
            self._on_output(stream, payload)
            self.send(Frame.CREDIT + stream, len(payload).to_bytes(4, "little"))

    def no_status(self, end: End) -> tuple[int, str | None]:
        return FAILURE_STATUS, "the machine powered off before the command had ended"

    def restart_clock(self, seconds: float) -> None:
        """The time-out counts from now."""
        if self._why_stopped is None:
            self._deadline = time.monotonic() + seconds


class OnConsole(Session):
    """The machine's console is this process's stdin and stdout.

    `show_boot`: from the first byte on; else from the command's start. A terminal is put into raw
    mode and gets its settings back. When stdin ends, the console gets end-of-file characters until
    the machine stops: as a terminal that has hung up, every read from it then ends.
    """

    ESCAPE = 0x1D  # Ctrl-]; then q ends the machine
    END_OF_FILE = b"\x04"
    REPEAT = 0.5  # seconds between end-of-file characters

    def __init__(
        self,
        machine: Machine,
        stdin: int,
        stdout: int,
        timeout: float | None = None,
        on_console: Callable[[bytes], None] | None = None,
        show_boot: bool = False,
        may_power_off: bool = True,
    ) -> None:
        super().__init__(machine, timeout, on_console)
        self._stdin: int | None = stdin
        self._terminal = os.isatty(stdin)
        self._output = _Output(stdout)
        self._to_console = bytearray()
        self._show_boot = show_boot
        self._may_power_off = may_power_off
        self._ended_at: float | None = None
        self._escaped = False
        self._wake, self._wake_far = socket.socketpair()
        self._wake.setblocking(False)
        self._wake_far.setblocking(False)

    def run(self) -> Outcome:
        if not self._terminal or self._stdin is None:
            return super().run()
        stdin = self._stdin
        saved = termios.tcgetattr(stdin)
        handler = signal.signal(signal.SIGWINCH, lambda *_: None)
        wakeup = signal.set_wakeup_fd(self._wake_far.fileno())
        try:
            tty.setraw(stdin)
            return super().run()
        finally:
            termios.tcsetattr(stdin, termios.TCSADRAIN, saved)
            signal.set_wakeup_fd(wakeup)
            signal.signal(signal.SIGWINCH, handler)

    def interests(self) -> Iterator[tuple[int, int, Handler]]:
        # A script on stdin waits for the shell: before, it would be typed into GRUB's menu.
        hold = not self._terminal and not self.ready
        if self._stdin is not None and not hold and len(self._to_console) < CHUNK:
            yield self._stdin, select.POLLIN, self._read_stdin
        if self._to_console and self.machine.console in self._open:
            yield self._console_out, select.POLLOUT, self._write_console
        if self._output.pending:
            yield self._output.fd, select.POLLOUT, self._write_output
        yield self._wake.fileno(), select.POLLIN, self._window_changed

    @property
    def _console_out(self) -> int:
        """The console's socket under a number of its own, to poll for writing apart."""
        if not hasattr(self, "_console_duplicate"):
            self._console_duplicate = os.dup(self.machine.console.fileno())
        return self._console_duplicate

    def busy(self) -> bool:
        return bool(self._output.pending)

    def console_bytes(self, data: bytes) -> None:
        super().console_bytes(data)
        if (self.ready or self._show_boot) and not self._output.broken:
            self._output.pending += data

    def frame(self, kind: int, payload: bytes) -> None:
        super().frame(kind, payload)
        if kind == Frame.READY and self._terminal:
            self._send_size()

    def wake_time(self) -> float | None:
        if self._ended_at is None or self.wait_status is not None or not self._open:
            return None
        return self._ended_at

    def tick(self) -> None:
        if not self._to_console:
            self._to_console += self.END_OF_FILE
        self._ended_at = time.monotonic() + self.REPEAT

    def no_status(self, end: End) -> tuple[int, str | None]:
        if self._may_power_off:
            return 0, None
        return FAILURE_STATUS, "the machine powered off before the command had ended"

    def _read_stdin(self) -> None:
        assert self._stdin is not None
        try:
            data = os.read(self._stdin, 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._stdin = None
            self._ended_at = time.monotonic()
        elif self._terminal:
            self._type(data)
        else:
            self._to_console += data

    def _type(self, data: bytes) -> None:
        """Keys from a terminal; Ctrl-] q ends the machine, Ctrl-] twice sends one."""
        for key in data:
            if self._escaped:
                self._escaped = False
                if key in b"qQ":
                    self._by_hand = True
                    self._limit(0, 130, "ended from the keyboard")
                    return
                if key != self.ESCAPE:
                    self._to_console.append(self.ESCAPE)
                self._to_console.append(key)
            elif key == self.ESCAPE:
                self._escaped = True
            else:
                self._to_console.append(key)

    def _write_console(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            sent = self.machine.console.send(self._to_console)
            del self._to_console[:sent]

    def _write_output(self) -> None:
        self._output.write()

    def _window_changed(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(64)
        self._send_size()

    def _send_size(self) -> None:
        size = terminal_size(self._output.fd)
        if size is not None and self.ready:
            self.send(Frame.WINSIZE, struct.pack("<HH", *size))


def terminal_size(fd: int) -> tuple[int, int] | None:
    """Rows and columns of the terminal that `fd` is, if it is one and knows."""
    try:
        rows, columns = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))[:2]
    except OSError:
        return None
    return (rows, columns) if rows and columns else None


def log_to(file: BinaryIO) -> Callable[[bytes], None]:
    """A console listener that writes everything to `file` at once."""

    def write(data: bytes) -> None:
        file.write(data)
        file.flush()

    return write
