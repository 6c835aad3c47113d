"""The host's end of the channel to init. user/init/channel.h describes it and must agree."""
from __future__ import annotations

import enum
import struct
from collections.abc import Iterator

MAGIC = b"\0SPORK1\n"
WINDOW_IN = 2048  # credit for stdin at the start
WINDOW_OUT = 65536  # credit that init has for stdout and for stderr
EXIT_NEVER_RAN = 0x10000  # in EXIT's word: the command could not be executed
HEADER = struct.Struct("<BH")


class Frame(enum.IntEnum):
    """Types of frames; a stream's number is added to the first three."""

    DATA = 0x10
    CLOSE = 0x20
    CREDIT = 0x30
    READY = 0x40
    EXIT = 0x41
    BYE = 0x42
    WINSIZE = 0x43


def encode(kind: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(payload)) + payload


class Decoder:
    """Cuts a stream of bytes into frames, from the magic word on."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._synchronised = False

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that are complete now: type and payload."""
        self._pending += data
        if not self._synchronised:
            at = self._pending.find(MAGIC)
            if at < 0:
                return
            del self._pending[: at + len(MAGIC)]
            self._synchronised = True
        while len(self._pending) >= HEADER.size:
            kind, size = HEADER.unpack_from(self._pending)
            if len(self._pending) < HEADER.size + size:
                return
            payload = bytes(self._pending[HEADER.size : HEADER.size + size])
            del self._pending[: HEADER.size + size]
            yield kind, payload


def job_file(
    arguments: list[str],
    environment: dict[str, str],
    directory: str,
    console: bool,
    size: tuple[int, int] | None,
) -> bytes:
    """What init finds as /etc/spork/run; user/init/job.c describes it. `size`: rows, columns."""
    lines = [f"cwd={directory}"]
    if console:
        lines.append("console=1")
    if size is not None:
        lines.append(f"size={size[0]}x{size[1]}")
    lines += [f"env={name}={value}" for name, value in environment.items()]
    lines += [f"arg={argument}" for argument in arguments]
    return b"".join(line.encode(errors="surrogateescape") + b"\0" for line in lines)
