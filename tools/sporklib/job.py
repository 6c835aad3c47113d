"""A job for a machine: the command, and the archive that takes it there."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from . import cpio
from .channel import job_file
from .paths import ROOT_CPIO, ToolError

DEFAULT_PATH = "/usr/local/bin:/sbin:/usr/sbin:/bin:/usr/bin"


@dataclass
class Job:
    """What init is to run. `additions`: host paths and where they go in the guest."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    console: bool = False
    terminal: str = "dumb"
    size: tuple[int, int] | None = None
    additions: list[tuple[Path, str]] = field(default_factory=list)

    def write_initrd(self, output: Path) -> Path:
        """The base system's archive, and after it one with the job and its additions."""
        base = ROOT_CPIO.read_bytes()
        variables = {"PATH": DEFAULT_PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root",
                     "TERM": self.terminal} | self.environment
        text = job_file(self.command, variables, self.directory, self.console, self.size)
        extra = cpio.Archive(cpio.directories(base))
        extra.file("/etc/spork/run", text)
        for host, guest in self.additions:
            extra.add(host, guest)
        output.write_bytes(base + extra.finish())
        return output


def parse_addition(text: str) -> tuple[Path, str]:
    """HOST[:GUEST] of --add; the guest's path is /NAME when it is not given."""
    host, colon, guest = text.rpartition(":")
    if not colon or not guest.startswith("/"):
        host, guest = text, "/" + Path(text).resolve().name
    path = Path(host)
    if not path.exists():
        raise ToolError(f"--add: {host} is not there")
    return path, guest.rstrip("/") or "/"


def parse_variable(text: str) -> tuple[str, str]:
    """NAME=VALUE of --env."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ToolError(f"--env: {text} is not NAME=VALUE")
    return name, value
