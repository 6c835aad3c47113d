"""Where strangers' code is compiled and run: name spaces by bubblewrap, and limits.

Nothing is there but what is named: /usr and its like to read, a tree to read at /spork, a folder to write at /out. No
network, no other process, no variable of ours.
"""
from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sporklib.paths import ToolError

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
MOST = 400 << 20  # bytes of one file
TOLD = 64 << 10  # bytes of what a command says that are kept


@dataclass
class Limits:
    seconds: int = 120  # of the clock; of the processors four times as many
    memory: int = 3 << 30  # of one process
    file: int = MOST  # of one file
    processes: int = 512
    temporary: int = 64 << 20  # all of /tmp


@dataclass
class Sandbox:
    """`tree` is /spork, and `out` is /out; `over` are single files in place of the tree's."""

    tree: Path
    out: Path
    over: dict[str, Path] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    variables: dict[str, str] = field(default_factory=dict)

    def command(self, words: list[str]) -> list[str]:
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            raise ToolError("bwrap is not installed: run tools/setup lab")
        limits = self.limits
        command = ["prlimit", f"--as={limits.memory}", f"--fsize={limits.file}", f"--cpu={4 * limits.seconds}",
                   "--core=0", bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv",
                   "--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev",
                   "--size", str(limits.temporary), "--tmpfs", "/tmp"]
        for path in map(Path, SYSTEM):
            if path.is_symlink():
                command += ["--symlink", str(path.readlink()), str(path)]
            elif path.exists():
                command += ["--ro-bind", str(path), str(path)]
        command += ["--ro-bind", str(self.tree), "/spork", "--bind", str(self.out), "/out"]
        for name, path in self.over.items():
            command += ["--ro-bind", str(path), f"/spork/{name}"]
        for name, value in {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", **self.variables}.items():
            command += ["--setenv", name, value]
        return [*command, "--chdir", "/spork", "--", "prlimit", f"--nproc={limits.processes}", *words]

    def run(self, words: list[str]) -> tuple[int, str]:
        """The status, and the end of what was said."""
        with tempfile.TemporaryFile() as said:
            try:
                done = subprocess.run(self.command(words), stdin=subprocess.DEVNULL, stdout=said,
                                      stderr=subprocess.STDOUT, timeout=self.limits.seconds, check=False)
                status = done.returncode
            except subprocess.TimeoutExpired:
                status = 124
            said.seek(0)
            return status, said.read(TOLD).decode(errors="replace")


def open_plain(path: Path) -> BinaryIO:
    """For what strangers' code has left, or a stranger has handed in: a link is not followed, and what is no plain
    file is refused. OSError."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return file


def read_plain(path: Path, most: int = MOST) -> bytes | None:
    """What is in it; None if it cannot be had, or is more than that."""
    with contextlib.suppress(OSError), open_plain(path) as file:
        data = file.read(most + 1)
        return data if len(data) <= most else None
    return None


def works() -> None:
    """Whether this machine lets bubblewrap make name spaces."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise ToolError("bwrap is not installed: run tools/setup lab")
    tried = subprocess.run([bwrap, "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"],
                           capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise ToolError(f"no name spaces are to be had here, and strangers' code is not run without: {tried.stderr}")
