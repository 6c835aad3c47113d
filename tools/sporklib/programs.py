"""Programs of this machine, with what they need to run elsewhere: the loader and the libraries of a
dynamically linked one, the interpreter of a script.

Which file a library's name stands for is the loader's decision: it is asked (`LOADER --list`). What an ELF
file has in it pyelftools says. A release's `spork run` does without that until a program is to be looked into.
"""
from __future__ import annotations

import os
import posixpath
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from .cpio import Archive
from .paths import ToolError

USUAL_LOADER = "/lib64/ld-linux-x86-64.so.2"  # a shared object names none of its own
LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)


class Elf(NamedTuple):
    """What matters here of an ELF file."""
    for_x86_64: bool
    interpreter: str  # its loader; "": it names none
    dynamic: bool
    loaded: list[tuple[int, int, int]]  # of each segment: where it begins in the file, its bytes, its address


def _elf(path: str | Path) -> Elf | None:
    """None of what is no ELF file, or a broken one."""
    with open(path, "rb") as file:
        if file.read(4) != b"\x7fELF":
            return None
        try:
            from elftools.common.exceptions import ELFError
            from elftools.elf.elffile import ELFFile
        except ImportError as error:
            raise ToolError(f"{path}: to look into it takes pyelftools: python3-pyelftools") from error
        try:
            elf = ELFFile(file)
            segments = list(elf.iter_segments())
            return Elf(elf.elfclass == 64 and elf["e_machine"] == "EM_X86_64",
                       next((s.get_interp_name() for s in segments if s["p_type"] == "PT_INTERP"), ""),
                       any(s["p_type"] == "PT_DYNAMIC" for s in segments),
                       [(s["p_offset"], s["p_filesz"], s["p_vaddr"]) for s in segments if s["p_type"] == "PT_LOAD"])
        except (ELFError, OSError, ValueError, KeyError, AttributeError, TypeError):
            return None  # it believes what a file says, and seeks there


def address_of(path: Path, place: int) -> int | None:
    """The address, as its symbols have them, of the byte at `place` in a program for x86-64."""
    elf = _elf(path)
    for offset, size, address in elf.loaded if elf and elf.for_x86_64 else ():
        if offset <= place < offset + size:
            return address + place - offset
    return None


def why_it_cannot_run(path: Path) -> str | None:
    """What keeps a program of this machine, put into the guest as it is, from running there."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        start = file.read(256)
    is_elf, is_script = start.startswith(b"\x7fELF"), start.startswith(b"#!")
    if (is_elf or is_script) and not os.access(path, os.X_OK):
        return "is not executable: chmod +x it"
    elf = _elf(path)
    if is_elf and not elf:
        return "is a broken program"
    if elf and not elf.for_x86_64:
        return "is a program for another processor than x86-64"
    if elf and elf.interpreter:
        return "is dynamically linked: link it with -static, or bring its libraries by --add-with-libs"
    for interpreter in _script_for(start):
        if not interpreter.startswith(("/bin/sh", "/bin/bash", "/bin/ash", "/bin/busybox")):
            return f"is a script for {interpreter}: --add-with-libs brings that, too"
    return None


def static_program(*candidates: str) -> Path | None:
    """The first of the candidates that is a program for x86-64 and needs no other file."""
    for path in map(Path, candidates):
        if path.exists():
            elf = _elf(path)
            if elf and elf.for_x86_64 and not elf.interpreter:
                return path
    return None


def _libraries(program: str) -> list[str]:
    """The loader and the libraries of a program or shared object; none of a static program."""
    elf = _elf(program)
    if not elf or not elf.for_x86_64 or not elf.dynamic:
        return []
    try:
        listing = subprocess.run([elf.interpreter or USUAL_LOADER, "--list", program],
                                 capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolError(f"--add-with-libs: {program}: its loader does not run here: {error}") from error
    if not elf.interpreter and listing.returncode != 0:
        return []  # nothing that can be loaded alone: a static-PIE program, a plugin
    missing = [line.strip() for line in listing.stdout.splitlines() if "not found" in line]
    if listing.returncode != 0 or missing:
        raise ToolError(f"--add-with-libs: {program}: " + "; ".join(missing or [listing.stderr.strip()]))
    return [*filter(None, [elf.interpreter]), *LIBRARY.findall(listing.stdout)]


def _script_for(start: bytes) -> list[str]:
    """What the kernel executes for a script that begins so: the program named by its #! line."""
    words = start[:256].partition(b"\n")[0][2:].split() if start[:2] == b"#!" else []
    return [os.fsdecode(word) for word in words[:1]]


def _wanted(path: str) -> list[str]:
    """What a program or a script needs besides itself."""
    return _libraries(path) or _script_for(Path(path).read_bytes())


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
                        self._files(_libraries(member))
        elif to is None:
            self._file(here)
        else:
            self._archive.add(Path(here).resolve(), to)
            self._files(_wanted(here))

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
                self._files(_wanted(path))
            else:
                raise ToolError(f"--add-with-libs: {path} is not a file")

    def _files(self, paths: list[str]) -> None:
        for path in paths:
            self._file(path)
