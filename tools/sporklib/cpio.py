"""Writes and reads cpio archives in the "newc" format, which the kernel unpacks into its root.

Archives may be concatenated: each ends with a TRAILER!!! entry, and zero bytes may stand between
them. Every file belongs to root and has the same time, so equal contents give equal archives.
"""
from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
HEADER_SIZE = 110
TIME = 1_704_067_200  # 2024-01-01, the time of every file
ALIGNMENT = 512  # of a whole archive


def _pad(size: int, alignment: int = 4) -> bytes:
    return b"\0" * (-size % alignment)


class Archive:
    """An archive that grows in memory. Paths are absolute paths in the guest."""

    def __init__(self, present: set[str] | None = None) -> None:
        """`present`: directories that an earlier archive already makes."""
        self._out = bytearray()
        self._inode = 0
        self._present = {"/"} | (present or set())

    def _entry(self, path: str, mode: int, data: bytes = b"", time: int = TIME) -> None:
        name = path.lstrip("/").encode() + b"\0"
        self._inode += 1
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (self._inode, mode, 0, 0, links, time, len(data), 0, 0, 0, 0, len(name), 0)
        self._out += MAGIC + b"".join(b"%08X" % field for field in fields) + name
        self._out += _pad(HEADER_SIZE + len(name))
        self._out += data
        self._out += _pad(len(data))

    def _parents(self, path: str) -> None:
        for parent in reversed(Path(path).parents):
            if str(parent) not in self._present:
                self.directory(str(parent))

    def directory(self, path: str, mode: int = 0o755) -> None:
        self._parents(path)
        self._present.add(path)
        self._entry(path, stat.S_IFDIR | mode)

    def file(self, path: str, data: bytes, mode: int = 0o644, time: int = TIME) -> None:
        self._parents(path)
        self._entry(path, stat.S_IFREG | mode, data, time)

    def symlink(self, path: str, target: str) -> None:
        self._parents(path)
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def add(self, host: Path, guest: str) -> None:
        """A file or a whole folder of the host, with its modes, its times and the links in it.

        A link named by `host` itself is followed.
        """
        status = host.stat()
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            self.file(guest, host.read_bytes(), mode, int(status.st_mtime))
        elif stat.S_ISDIR(status.st_mode):
            if guest not in self._present:
                self.directory(guest, mode)
            for child in sorted(host.iterdir()):
                path = f"{guest.rstrip('/')}/{child.name}"
                if child.is_symlink():
                    self.symlink(path, os.readlink(child))
                else:
                    self.add(child, path)

    def finish(self) -> bytes:
        """The archive's bytes, ended and padded so that another one may follow."""
        self._entry(TRAILER, 0, time=0)
        self._out += _pad(len(self._out), ALIGNMENT)
        return bytes(self._out)


def entries(archive: bytes) -> Iterator[tuple[str, int]]:
    """The absolute path and the mode of each entry of one archive."""
    at = 0
    while archive[at : at + 6] == MAGIC:
        field = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = field[1], field[6], field[11]
        start = at + HEADER_SIZE
        name = archive[start : start + name_size - 1].decode()
        if name == TRAILER:
            return
        yield "/" + name.lstrip("/"), mode
        at = start + name_size
        at += -at % 4 + size
        at += -at % 4


def directories(archive: bytes) -> set[str]:
    """The paths of the directories that an archive makes."""
    return {path for path, mode in entries(archive) if stat.S_ISDIR(mode)}
