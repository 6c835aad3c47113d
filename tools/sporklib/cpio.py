"""Writes and reads cpio archives in the "newc" format, which the kernel unpacks into its root.

Archives may be concatenated: each ends with a TRAILER!!! entry, and zero bytes may stand between
them. Every file belongs to root and has the same time, so equal contents give equal archives.
"""
from __future__ import annotations

import mmap
import os
import posixpath
import stat
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
HEADER_SIZE = 110
TIME = 1_704_067_200  # 2024-01-01, the time of every file
ALIGNMENT = 512  # of a whole archive
Contents = bytes | mmap.mmap  # an archive, or a file that is one
LINKS_FOLLOWED = 40  # on the way to one file, as the kernel has it


def _pad(size: int, alignment: int = 4) -> bytes:
    return b"\0" * (-size % alignment)


class Archive:
    """An archive that grows in memory. Paths are absolute paths in the guest.

    A symbolic link on the way to a file is followed, as in /lib/x when /lib is a link to usr/lib;
    one with the name of the file itself is replaced.
    """

    def __init__(self, base: Contents = b"") -> None:
        """`base`: an archive that comes before this one; what it makes is there already."""
        self._out = bytearray()
        self._inode = 0
        self._present = {"/"}
        self._links: dict[str, str] = {}
        for path, mode, start, end in _places(base):
            if stat.S_ISDIR(mode):
                self._present.add(path)
            elif stat.S_ISLNK(mode):
                self._links[path] = os.fsdecode(base[start:end])

    def locate(self, path: str) -> str:
        """The path of the same file with every link to a directory on the way followed."""
        at = "/"
        names = path.strip("/").split("/")
        followed = 0
        while names:
            name = names.pop(0)
            if name in ("", "."):
                continue
            at = posixpath.dirname(at) if name == ".." else posixpath.join(at, name)
            if names and at in self._links and followed < LINKS_FOLLOWED:
                followed += 1
                target = self._links[at]
                at = "/" if target.startswith("/") else posixpath.dirname(at)
                names = target.split("/") + names
        return at

    def _entry(self, path: str, mode: int, data: bytes = b"", time: int = TIME,
               device: tuple[int, int] = (0, 0)) -> None:
        name = os.fsencode(path.lstrip("/")) + b"\0"
        self._inode += 1
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (self._inode, mode, 0, 0, links, time, len(data), 0, 0, *device,
                  len(name), 0)
        self._out += MAGIC + b"".join(b"%08X" % field for field in fields) + name
        self._out += _pad(HEADER_SIZE + len(name))
        self._out += data
        self._out += _pad(len(data))

    def _parents(self, path: str) -> None:
        for parent in reversed(Path(path).parents):
            if str(parent) not in self._present:
                self.directory(str(parent))

    def directory(self, path: str, mode: int = 0o755) -> None:
        """A directory. Where a link to one is, that stays."""
        path = self.locate(path + "/.")
        self._parents(path)
        self._present.add(path)
        self._entry(path, stat.S_IFDIR | mode)

    def file(self, path: str, data: bytes, mode: int = 0o644, time: int = TIME) -> None:
        path = self.locate(path)
        self._parents(path)
        self._links.pop(path, None)
        self._entry(path, stat.S_IFREG | mode, data, time)

    def device(self, path: str, major: int, minor: int, mode: int) -> None:
        """A character device."""
        self._parents(path)
        self._entry(path, stat.S_IFCHR | mode, device=(major, minor))

    def symlink(self, path: str, target: str) -> None:
        path = self.locate(path)
        self._parents(path)
        self._links[path] = target
        self._entry(path, stat.S_IFLNK | 0o777, os.fsencode(target))

    def add(self, host: Path, guest: str) -> None:
        """A file or a whole folder of the host, with its modes, its times and the links in it.

        A link named by `host` itself is followed.
        """
        status = host.stat()
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            self.file(guest, host.read_bytes(), mode, int(status.st_mtime))
        elif stat.S_ISDIR(status.st_mode):
            if self.locate(guest + "/.") not in self._present:
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


def _places(archive: Contents) -> Iterator[tuple[str, int, int, int]]:
    """The absolute path and the mode of each entry of one archive, and where its contents begin and end."""
    at = 0
    while archive[at : at + 6] == MAGIC:
        mode, size, name_size = (int(archive[at + place : at + place + 8], 16) for place in (14, 54, 94))
        start = at + HEADER_SIZE
        name = os.fsdecode(archive[start : start + name_size - 1].rstrip(b"\0"))
        if name == TRAILER:
            return
        at = start + name_size
        at += -at % 4
        yield "/" + name.lstrip("/"), mode, at, at + size
        at += size
        at += -at % 4


def entries(archive: Contents) -> Iterator[tuple[str, int, bytes]]:
    """The absolute path, the mode and the contents of each entry of one archive."""
    for path, mode, start, end in _places(archive):
        yield path, mode, archive[start:end]
