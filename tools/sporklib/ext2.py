"""Images with an ext2 file system, made by mke2fs (e2fsprogs) from an archive of the root file system."""
from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from .cpio import entries
from .machine import bytes_of
from .paths import ToolError


def tool(name: str) -> str:
    """A program of e2fsprogs, which Debian keeps where only root looks."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise ToolError(f"there is no {name}: run tools/setup run")
    return found


def call(name: str, *arguments: str | Path, stdin: str = "") -> str:
    done = subprocess.run([tool(name), *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"{name}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def make(output: Path, size: str, archive: bytes = b"", *options: str) -> None:
    """An image of `size` ("64M") with what is in the archive, all of it root's. `options` are mke2fs's."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        owners = unpack(archive, tree)
        output.unlink(missing_ok=True)
        call("mke2fs", "-q", "-t", "ext2", "-F", "-E", "root_owner=0:0", *options, "-d", tree, output,
             f"{bytes_of(size, '--size') // 1024}k")
    if os.getuid():
        call("debugfs", "-w", "-f", "-", output, stdin=owners)


def unpack(archive: bytes, tree: Path) -> str:
    """Puts the archive's files there; returns what tells debugfs that they are root's."""
    owners = []
    modes: list[tuple[Path, int]] = []
    for path, mode, contents in entries(archive):
        place = tree / path.strip("/")
        if stat.S_ISDIR(mode):
            place.mkdir(parents=True, exist_ok=True)
        elif stat.S_ISLNK(mode):
            place.unlink(missing_ok=True)
            place.symlink_to(os.fsdecode(contents))
        else:
            place.write_bytes(contents)
        if not stat.S_ISLNK(mode):
            modes.append((place, stat.S_IMODE(mode)))
        owners += [f'sif "{path}" {field} 0' for field in ("uid", "gid")]
    for place, bits in modes:
        place.chmod(bits)
    return "\n".join(owners) + "\n"
