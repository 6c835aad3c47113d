"""Disks: what is written is there at the next boot; errors, delays, partition tables, a read-only one."""
from __future__ import annotations

import hashlib
import re
import struct
import zlib
from pathlib import Path

import pytest
from guest import Ended, spork, succeeds
from odd_disks import attached, faulty, raw, slow
from sporklib import disks, perfetto
from sporklib.paths import ToolError

MIB = 1 << 20


def blank(path: Path, size: int = 8 * MIB) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def script(text: str, *options: str) -> Ended:
    return spork("sh", "-c", text, options=options)


def test_what_is_written_is_there_at_the_next_boot(tmp_path: Path) -> None:
    image = tmp_path / "a.raw"
    option = ("--disk", f"{image}:8M")
    text = succeeds("sh", "-ec", """
        cat /proc/partitions
        stat -c '%F %t %T %a %U %G' /dev/vda
        for what in size64 ss ro; do blockdev --get$what /dev/vda; done
        seq 1 100000 >/tmp/data
        dd if=/tmp/data of=/dev/vda bs=64k conv=notrunc,fsync 2>/dev/null
        printf 'in the midst' | dd of=/dev/vda bs=1 seek=12345 conv=notrunc 2>/dev/null
        printf X | dd of=/dev/vda bs=1 seek=8388607 conv=notrunc 2>/dev/null
        dd if=/dev/vda bs=1 skip=8388607 2>/dev/null
        dd if=/dev/zero of=/dev/vda bs=4k seek=2048 count=1 2>&1 | grep -o 'No space.*'
        blockdev --flushbufs /dev/vda
        sync
        """, options=option)
    assert re.search(r"^ 254 +0 +8192 vda$", text, re.MULTILINE), text
    assert "block special file fe 0 660 root disk\n" in text
    assert "\n8388608\n512\n0\n" in text
    assert text.endswith("XNo space left on device\n"), text
    wanted = bytearray(b"".join(b"%d\n" % n for n in range(1, 100001)))
    wanted[12345:12357] = b"in the midst"
    assert image.read_bytes()[:len(wanted)] == wanted
    again = succeeds("sh", "-c", f"head -c {len(wanted)} /dev/vda | md5sum", options=option)
    assert again.split()[0] == hashlib.md5(wanted).hexdigest()


@pytest.mark.parametrize(("options", "device"), [
    (("--qemu=-M", "--qemu=q35"), ",disable-legacy=on"),
    (("--qemu=-M", "--qemu=q35"), ",vectors=0"),
    (("--iso",), ",vectors=0"),
])
def test_other_machines_and_interrupts(tmp_path: Path, options: tuple[str, ...], device: str) -> None:
    image = blank(tmp_path / "a.raw")
    image.write_bytes(b"here it is" + bytes(8 * MIB - 10))
    ended = spork("head", "-c", "10", "/dev/vda", options=(
        *attached(raw(image), device), *options, "-v"))
    assert ended.out == b"here it is", ended.err
    by = b"line" if "vectors=0" in device else b"message"
    assert b"write-back, interrupts by " + by in ended.err


def test_line_interrupts_under_qboot(tmp_path: Path) -> None:
    image = blank(tmp_path / "a.raw")
    ended = script("md5sum </dev/vda", *attached(raw(image), ",vectors=0"), "-v")
    assert ended.status == 0 and b"interrupts by line" in ended.err, ended.err


def test_a_read_only_disk(tmp_path: Path) -> None:
    image = blank(tmp_path / "a.raw")
    ended = script("blockdev --getro /dev/vda; echo x >/dev/vda; echo $?; wc -c </dev/vda", *attached(
        {**raw(image), "read-only": True}))
    assert ended.text == f"1\n1\n{8 * MIB}\n" and b"Operation not permitted" in ended.err, ended


@pytest.mark.parametrize("cpus", [pytest.param(2, marks=pytest.mark.long), 4])
def test_several_processes_and_a_slow_disk(tmp_path: Path, cpus: int) -> None:
    """Four readers and four writers at once, of a disk that does 100 things a second."""
    image = blank(tmp_path / "a.raw")
    folder = tmp_path / "trace"
    ended = spork("sh", "-ec", """
        for i in 0 1 2 3; do seq $((i * 100000)) $((i * 100000 + 30000)) >/tmp/$i; done
        for i in 0 1 2 3; do
            dd if=/tmp/$i of=/dev/vda bs=64k seek=$((i * 16)) conv=notrunc,fsync 2>/dev/null &
            dd if=/dev/vda of=/dev/null bs=64k skip=64 count=4 2>/dev/null &
        done
        wait
        for i in 0 1 2 3; do
            dd if=/dev/vda bs=64k skip=$((i * 16)) count=4 2>/dev/null | head -c $(wc -c </tmp/$i) | cmp - /tmp/$i
        done
        """, options=(*slow(image, "x-iops-total=100"), "--smp", str(cpus),
                      "--trace", str(folder), "--trace-only", "disk"))
    assert ended.status == 0, ended
    events = perfetto.read(folder)
    starts = [e for e in events if e.name == "disk_start"]
    assert max(int(e.fields["under_way"]) for e in starts) >= 3
    assert len(starts) == len([e for e in events if e.name == "disk_done"])


def test_errors(tmp_path: Path) -> None:
    """Bad blocks are EIO to who asks for them, every time, and to nobody else; the log tells of it once."""
    image = blank(tmp_path / "a.raw")
    ended = script("""
        for i in 1 2 3; do dd if=/dev/vda bs=4k skip=256 count=1 2>&1 | grep -o 'put error'; done
        dd if=/dev/vda bs=4k skip=257 count=1 2>/dev/null | wc -c
        for i in 1 2 3; do
            dd if=/dev/zero of=/dev/vda bs=4k seek=512 count=1 conv=fsync 2>&1 | grep -o 'put error'
        done
        dd if=/dev/zero of=/dev/vda bs=4k seek=513 count=1 conv=fsync 2>/dev/null && echo written
        dd if=/dev/vda bs=64k 2>/dev/null | wc -c
        dmesg | grep -c 'vda: I/O error'
        """, *faulty(image, {"sector": 2048, "iotype": "read"}, {"sector": 4096, "iotype": "write"}))
    assert ended.text == "put error\n" * 3 + "4096\n" + "put error\n" * 3 + f"written\n{MIB}\n1\n", ended


def test_a_flush_that_fails_is_told_to_who_asked(tmp_path: Path) -> None:
    image = blank(tmp_path / "a.raw")
    ended = script("""
        dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync 2>&1 | grep -o 'put error'
        dd if=/dev/zero of=/dev/vda bs=4k count=1 2>/dev/null && echo written
        """, *faulty(image, {"iotype": "flush"}))
    assert ended.text == "put error\nwritten\n", ended


def test_fsync_is_a_flush(tmp_path: Path) -> None:
    """As a log of all that reaches the disk has it."""
    image, log = blank(tmp_path / "a.raw"), blank(tmp_path / "log.raw", 0)
    ended = script("dd if=/dev/zero of=/dev/vda bs=4k count=8 conv=fsync 2>/dev/null; "
                   "dd if=/dev/zero of=/dev/vda bs=4k count=8 2>/dev/null", *attached({
                       "driver": "raw", "file": {
                           "driver": "blklogwrites", "file": raw(image)["file"], "log": raw(log)["file"],
                           "log-super-update-interval": 1}}))
    assert ended.status == 0, ended
    data = log.read_bytes()
    magic, _, entries, sector = struct.unpack_from("<QQQI", data)
    assert magic == 0x6A736677736872
    at, kinds = sector, ""
    for _ in range(entries):
        _, sectors, flags, _ = struct.unpack_from("<QQQQ", data, at)
        kinds += "F" if flags & 1 else "w"
        at += sector + sectors * 512
    # The last close writes, and promises nothing. QEMU flushes at its end, too.
    assert re.match(r"wF+wF*$", kinds), kinds


def mbr(entries: list[tuple[int, int, int]]) -> bytes:
    table = b"".join(struct.pack("<4xB3xII", *entry) for entry in entries)
    return bytes(446) + table + bytes(64 - len(table)) + b"\x55\xaa"


def gpt(blocks: int, parts: list[tuple[int, int]]) -> bytes:
    kind = bytes.fromhex("af3dc60f838472478e793d69d8477de4")
    array = b"".join(kind + bytes(16) + struct.pack("<QQ", *part) + bytes(80) for part in parts)
    array += bytes(128 * 128 - len(array))
    rest = struct.pack("<QQQQ16xQIII", 1, blocks - 1, 34, blocks - 34, 2, 128, 128, zlib.crc32(array))
    head = b"EFI PART" + struct.pack("<II", 0x10000, 92)
    checked = head + struct.pack("<II", zlib.crc32(head + bytes(8) + rest), 0) + rest
    return mbr([(0xEE, 1, blocks - 1)]) + checked + bytes(512 - 92) + array


def test_partitions(tmp_path: Path) -> None:
    """Good ones are disks with a place; hostile ones are refused, and told of."""
    blocks = 16384
    tables = [mbr([(0x83, 2048, 2048), (0x83, 3000, 10), (0x83, 8192, 8192)]),
              gpt(blocks, [(40, 2047), (2048, 4095), (4000, 5000), (0, 1 << 63)]),
              b"\xff" * 510 + b"\x55\xaa"]
    images = [blank(tmp_path / f"{n}.raw") for n in range(3)]
    for image, table in zip(images, tables):
        with image.open("r+b") as file:
            file.write(table)
    ended = spork("sh", "-ec", """
        tail -n +3 /proc/partitions
        echo first >/dev/vda1
        printf last | dd of=/dev/vdb2 bs=1 seek=$((1024 * 1024 - 4)) 2>/dev/null
        echo more | dd of=/dev/vdb2 bs=1k seek=1024 2>&1 | grep -o 'No space.*'
        dmesg | grep 'partition table'
        """, options=tuple(word for image in images for word in ("--disk", str(image))))
    assert ended.status == 0, ended
    names = re.findall(r"^ 254 +(\d+) +(\d+) (\w+)$", ended.text, re.MULTILINE)
    assert names == [("0", "8192", "vda"), ("1", "1024", "vda1"), ("3", "4096", "vda3"), ("16", "8192", "vdb"),
                     ("17", "1004", "vdb1"), ("18", "1024", "vdb2"), ("32", "8192", "vdc")], ended.text
    assert "No space left" in ended.text
    assert "vda: 1 entries" in ended.text and "vdb: 2 entries" in ended.text, ended.text
    assert images[0].read_bytes()[2048 * 512:][:6] == b"first\n"
    assert images[1].read_bytes()[4096 * 512 - 4:][:5] == b"last\0"


def test_options(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="there is no such file"):
        disks.disk_file(str(tmp_path / "absent"))
    made = disks.disk_file(f"{tmp_path}/made:3M")
    assert made.stat().st_size == 3 * MIB and made.stat().st_blocks == 0
    assert disks.disk_file(f"{made}:9M").stat().st_size == 3 * MIB
    swap = disks.swap_file(tmp_path, "1M").read_bytes()
    assert len(swap) == MIB and swap[4086:4096] == b"SWAPSPACE2"
    assert struct.unpack_from("<III", swap, 1024) == (1, 255, 0)
    text = succeeds("sh", "-c", "cat /proc/partitions; dd if=/dev/vdb bs=1 skip=4086 count=10",
                    options=("--disk", str(made), "--swap", "2M"))
    assert "3072 vda" in text and "2048 vdb" in text and "SWAPSPACE2" in text
