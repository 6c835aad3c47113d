"""Disks of a machine: raw files, and fresh ones to swap to."""
from __future__ import annotations

import os
import re
import struct
from pathlib import Path

from .machine import bytes_of
from .paths import ToolError

PAGE = 4096
SECTOR = 512


def disk_file(text: str) -> Path:
    """The file of --disk FILE[:SIZE]; made, with nothing in it, if it is missing and has a size."""
    match = re.fullmatch(r"(.+):(\d+[KMGkmg]?)", text)
    name, size = (match[1], match[2]) if match else (text, None)
    path = Path(name)
    if not path.exists() and size is not None:
        try:
            _sparse(path, bytes_of(size, "--disk"))
        except OSError as error:
            raise ToolError(f"--disk {text}: {error.strerror}") from None
    if not path.is_file():
        raise ToolError(f"--disk {name}: there is no such file; {name}:64M makes one")
    if not os.access(path, os.R_OK | os.W_OK):
        raise ToolError(f"--disk {name}: it cannot be read and written")
    if path.stat().st_size < SECTOR:
        raise ToolError(f"--disk {name}: it is smaller than a sector")
    return path


def swap_file(folder: Path, size: str) -> Path:
    """A fresh file with the header that mkswap writes (Linux's include/linux/swap.h)."""
    bytes_wanted = bytes_of(size, "--swap") // PAGE * PAGE
    if bytes_wanted < 10 * PAGE:
        raise ToolError(f"--swap {size}: ten pages, 40K, are the least")
    path = folder / "swap.raw"
    _sparse(path, bytes_wanted)
    with path.open("r+b") as file:
        file.seek(1024)
        file.write(struct.pack("<III", 1, bytes_wanted // PAGE - 1, 0) + os.urandom(16))
        file.seek(PAGE - 10)
        file.write(b"SWAPSPACE2")
    return path


def _sparse(path: Path, size: int) -> None:
    with path.open("xb") as file:
        file.truncate(size)
