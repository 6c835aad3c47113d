"""A job for a machine: the command, and the archive that takes it there."""
from __future__ import annotations

import mmap
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from . import cpio
from .channel import job_file
from .paths import ROOT_CPIO, ToolError
from .programs import Programs, why_it_cannot_run

DEFAULT_PATH = "/usr/local/bin:/sbin:/usr/sbin:/bin:/usr/bin"


@dataclass
class Job:
    """What init is to run. `additions`: host paths and where they go in the guest; `programs`: likewise those
    that bring their libraries, to their own paths unless it is said where."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    console: bool = False
    terminal: str = "dumb"
    size: tuple[int, int] | None = None
    additions: list[tuple[Path, str]] = field(default_factory=list)
    programs: list[tuple[Path, str | None]] = field(default_factory=list)
    swap: str | None = None  # the disk that is swapped to from the start

    def write_initrd(self, output: Path) -> Path:
        """The base system's archive, and after it one with the job and its additions."""
        variables = {"PATH": DEFAULT_PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root",
                     "TERM": self.terminal} | self.environment
        text = job_file(self.command, variables, self.directory, self.console, self.size)
        with ROOT_CPIO.open("rb") as base, mmap.mmap(base.fileno(), 0, access=mmap.ACCESS_READ) as contents:
            extra = cpio.Archive(contents)
        extra.file("/etc/spork/run", text)
        if self.swap:
            extra.file("/etc/fstab", f"{self.swap} none swap sw 0 0\n".encode())
        programs = Programs(extra)
        for path, to in self.programs:
            programs.add(path, to)
        for host, guest in self.additions:
            extra.add(host, guest)
        shutil.copyfile(ROOT_CPIO, output)  # Linux copies it without a detour through this process
        with output.open("ab") as file:
            file.write(extra.finish())
        return output


def parse_addition(text: str) -> tuple[Path, str]:
    """HOST[:GUEST] of --add; the guest's path is /NAME when it is not given."""
    host, colon, guest = text.rpartition(":")
    if not colon or not guest.startswith("/"):
        host, guest = text, "/" + Path(text).resolve().name
    path = Path(host)
    if not path.exists():
        raise ToolError(f"--add: {host} is not there")
    if why := why_it_cannot_run(path):
        print(f"spork: --add: {host} {why}", file=sys.stderr)
    return path, guest.rstrip("/") or "/"


def find_program(text: str) -> tuple[Path, str | None]:
    """HOST[:GUEST] of --add-with-libs: a program or folder, by its path or a name that is looked up in PATH."""
    host, colon, to = text.rpartition(":")
    if not colon or not to.startswith("/"):
        host, to = text, ""
    found = host if "/" in host else shutil.which(host)
    if found is None or not Path(found).exists():
        raise ToolError(f"--add-with-libs: {host} is not there")
    return Path(found), to or None


def parse_variable(text: str) -> tuple[str, str]:
    """NAME=VALUE of --env."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ToolError(f"--env: {text} is not NAME=VALUE")
    return name, value
