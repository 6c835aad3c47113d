"""Programs of this machine, with what they need to run elsewhere: the loader and the libraries of a
dynamically linked one, the interpreter of a script.

Which file a library's name stands for is the loader's decision: it is asked (`LOADER --list`). ELF is read by
hand here, where all else is left to pyelftools: a release's `spork run` has to do with Python alone.
"""
from __future__ import annotations

import os
import posixpath
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .cpio import Archive
from .paths import ToolError

ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
ELF64 = b"\x7fELF\x02"
X86_64 = 62
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
USUAL_LOADER = "/lib64/ld-linux-x86-64.so.2"  # a shared object names none of its own
LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)


def _segments(elf: bytes) -> Iterator[tuple[int, bytes]]:
    """The type and the contents in the file of each segment of a 64-bit ELF file."""
    header = ELF_HEADER.unpack_from(elf)
    table, entry_size, count = header[5], header[9], header[10]
    for i in range(count):
        kind, _, offset, _, _, size, _, _ = PROGRAM_HEADER.unpack_from(elf, table + i * entry_size)
        yield kind, elf[offset : offset + size]


def address_of(elf: bytes, place: int) -> int | None:
    """The address, as its symbols have them, of the byte at `place` in a 64-bit ELF file."""
    if not is_x86_64(elf):
        return None
    header = ELF_HEADER.unpack_from(elf)
    table, entry_size, count = header[5], header[9], header[10]
    for i in range(count):
        kind, _, offset, address, _, size, _, _ = PROGRAM_HEADER.unpack_from(elf, table + i * entry_size)
        if kind == PT_LOAD and offset <= place < offset + size:
            return int(address + place - offset)
    return None


def is_x86_64(elf: bytes) -> bool:
    return (len(elf) >= ELF_HEADER.size and elf[:5] == ELF64
            and ELF_HEADER.unpack_from(elf)[2] == X86_64)


def why_it_cannot_run(path: Path) -> str | None:
    """What keeps a program of this machine, put into the guest as it is, from running there."""
    if not path.is_file():
        return None
    start = path.read_bytes()[:65536]
    is_elf, is_script = start.startswith(b"\x7fELF"), start.startswith(b"#!")
    if (is_elf or is_script) and not os.access(path, os.X_OK):
        return "is not executable: chmod +x it"
    if is_elf and not is_x86_64(start):
        return "is a program for another processor than x86-64"
    if is_elf and any(kind == PT_INTERP for kind, _ in _segments(start)):
        return "is dynamically linked: link it with -static, or bring its libraries by --add-with-libs"
    for interpreter in _interpreter(start):
        if not interpreter.startswith(("/bin/sh", "/bin/bash", "/bin/ash", "/bin/busybox")):
            return f"is a script for {interpreter}: --add-with-libs brings that, too"
    return None


def static_program(*candidates: str) -> Path | None:
    """The first of the candidates that is a program for x86-64 and needs no other file."""
    for path in map(Path, candidates):
        if path.exists():
            elf = path.read_bytes()
            if is_x86_64(elf) and all(kind != PT_INTERP for kind, _ in _segments(elf)):
                return path
    return None


def _libraries(program: str, elf: bytes) -> list[str]:
    """The loader and the libraries of a program or shared object; none of a static program."""
    if not is_x86_64(elf):
        return []
    segments = dict(_segments(elf))
    if PT_DYNAMIC not in segments:
        return []
    interpreter = os.fsdecode(segments.get(PT_INTERP, b"").rstrip(b"\0"))
    try:
        listing = subprocess.run([interpreter or USUAL_LOADER, "--list", program],
                                 capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolError(f"--add-with-libs: {program}: its loader does not run here: {error}") from error
    if not interpreter and listing.returncode != 0:
        return []  # nothing that can be loaded alone: a static-PIE program, a plugin
    missing = [line.strip() for line in listing.stdout.splitlines() if "not found" in line]
    if listing.returncode != 0 or missing:
        raise ToolError(f"--add-with-libs: {program}: " + "; ".join(missing or [listing.stderr.strip()]))
    return [*filter(None, [interpreter]), *LIBRARY.findall(listing.stdout)]


def _interpreter(script: bytes) -> list[str]:
    """What the kernel executes for a script: the program named by its #! line."""
    words = script[:256].partition(b"\n")[0][2:].split() if script[:2] == b"#!" else []
    return [os.fsdecode(word) for word in words[:1]]


class Programs:
    """Adds programs to an archive, each file once; what they need, at the paths that it has on this machine."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._done: set[str] = set()

    def add(self, path: Path, to: str | None = None) -> None:
        """A program, or a folder with the libraries of each program and shared object in it, at the path that
        it has here or at another one."""
        here = os.path.abspath(path)
        if os.path.isdir(here):
            self._archive.add(Path(here), to or here)
            for folder, _, names in os.walk(here):
                for name in names:
                    member = os.path.join(folder, name)
                    if os.path.isfile(member) and not os.path.islink(member):
                        self._files(_libraries(member, Path(member).read_bytes()))
        elif to is None:
            self._file(here)
        else:
            self._archive.add(Path(here).resolve(), to)
            contents = Path(here).read_bytes()
            self._files(_libraries(here, contents) or _interpreter(contents))

    def _file(self, path: str) -> None:
        """A file and what it needs; a symbolic link stays one, and what it leads to comes along."""
        while (place := self._archive.locate(path)) not in self._done:
            self._done.add(place)
            if os.path.islink(path):
                target = os.readlink(path)
                self._archive.symlink(path, target)
                path = posixpath.join(posixpath.dirname(path), target)
            elif os.path.isfile(path):
                self._archive.add(Path(path), path)
                contents = Path(path).read_bytes()
                self._files(_libraries(path, contents) or _interpreter(contents))
            else:
                raise ToolError(f"--add-with-libs: {path} is not a file")

    def _files(self, paths: list[str]) -> None:
        for path in paths:
            self._file(path)
