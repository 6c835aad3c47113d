"""The cache of disks: programs share it, stores reach the disk, errors are told once, memory is enough."""
from __future__ import annotations

import re
import struct
from pathlib import Path

from guest import spork, succeeds
from odd_disks import faulty

MIB = 1 << 20
PAGE = 4096


def blank(path: Path, size: int = 8 * MIB) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_one_cache(tmp_path: Path) -> None:
    """Through two descriptions, mappings, and the image on the host afterwards."""
    image = blank(tmp_path / "a.raw")
    text = succeeds("/tests/file_cache", "/dev/vda", options=("--disk", str(image)))
    assert "not ok" not in text, text
    data = image.read_bytes()
    assert data[8 * PAGE + 1:8 * PAGE + 3] == b"Wi" and data[5 * PAGE:5 * PAGE + 6] == b"advice"


def test_an_error_is_told_once(tmp_path: Path) -> None:
    image = blank(tmp_path / "a.raw")
    ended = spork("sh", "-c", "/tests/file_cache /dev/vda errors && dmesg | grep -c 'vda: I/O error'",
                  options=faulty(image, {"sector": 64, "iotype": "write", "once": True}))
    assert ended.status == 0 and ended.text.endswith("\n1\n"), ended
    assert image.read_bytes()[8 * PAGE:8 * PAGE + 5] == b"lost?"


def test_more_dirty_pages_than_memory(tmp_path: Path) -> None:
    """80 MiB of a disk, mapped and stored into all over, on a machine of 48: without swap."""
    image = blank(tmp_path / "a.raw", 96 * MIB)
    text = succeeds("sh", "-c", "/tests/file_cache /dev/vda large 80; grep -E '^(pd|pgfile)' /proc/uvmexp",
                    options=("--disk", str(image), "--mem", "48M", "--smp", "2"))
    assert "not ok" not in text, text
    written = re.search(r"^pgfileout (\d+)$", text, re.MULTILINE)
    assert written and int(written[1]) >= 80 * MIB // PAGE, text
    data = image.read_bytes()
    assert all(struct.unpack_from("<Q", data, n * PAGE) == (n + 1,) for n in range(80 * MIB // PAGE))
