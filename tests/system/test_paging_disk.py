"""A disk to swap to that fails, or is slow: who hears of it, and that nobody else does."""
from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from guest import Ended, spork
from odd_disks import faulty, slow
from sporklib.disks import swap_file

FULL = "SPORK_PAGING" in os.environ  # by `make test-paging`
SECTORS = 8  # in a slot
# The lowest slots are for what is older than the test.
BAD = range(5000, 16000, 250)


def script(text: str, *options: str) -> Ended:
    return spork("sh", "-c", text, options=options)


def count(text: str, pattern: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    assert found, f"no {pattern} in {text}"
    return int(found[1])


def bad_slots(iotype: str) -> list[dict[str, object]]:
    return [{"sector": slot * SECTORS, "iotype": iotype} for slot in BAD]


def test_a_page_that_cannot_be_read_is_lost_alone(tmp_path: Path) -> None:
    """SIGBUS for who wants it, each time, EFAULT for a call with it as its buffer, EIO for a read of the file that it
    is of; the area stays on for its sake, and goes when nobody has it any more."""
    image = swap_file(tmp_path, "64M")
    ended = script("""
        swapon /dev/vda
        /tests/paging_disk 40
        dmesg | grep -c 'vda: I/O error'
        swapoff /dev/vda; echo off $?
        """, "--mem", "40M", *faulty(image, *bad_slots("read")))
    text = ended.text
    assert "not ok" not in text, text
    assert 1 <= count(text, r"# +(\d+) pages of private memory are lost") <= len(BAD), text
    assert 1 <= count(text, r"# +(\d+) pages of a file are lost") <= len(BAD), text
    assert count(text, r"^(\d+)\noff 0$") <= 5, text


def test_a_slot_that_cannot_be_written_is_not_used(tmp_path: Path) -> None:
    """Its page stays, and goes to another; each such slot is tried once, and the log has a line for the first."""
    image = swap_file(tmp_path, "64M")
    ended = script("""
        swapon /dev/vda
        echo 20000 >/proc/sys/vm/min_free_kbytes
        /tests/paging 16 && echo all is there
        echo 0 >/proc/sys/vm/min_free_kbytes
        dmesg | grep -c 'vda: I/O error'
        swapoff /dev/vda; echo off $?
        """, "--mem", "40M", *faulty(image, *bad_slots("write")))
    assert re.search(r"all is there\n[1-5]\noff 0\n$", ended.text), ended.text


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    """Every write fails: nothing is lost, there is a bounded number of tries, and then swap is full."""
    image = swap_file(tmp_path, "8M")
    ended = script("""
        swapon /dev/vda
        seq 1 300000 | md5sum >/tmp/sum
        seq 1 300000 >/tmp/numbers
        sleep 1000 &
        /tests/paging 40 | tail -1
        md5sum </tmp/numbers | cmp - /tmp/sum && echo the same
        /tests/paging 2 >/dev/null && echo goes on
        kill $! && echo so does another
        echo errors $(dmesg | grep -c 'vda: I/O error')
        grep -E 'pdpageouts|pgswapout' /proc/uvmexp
        swapoff /dev/vda; echo off $?
        """, "--mem", "32M", *faulty(image, {"iotype": "write"}))
    text = ended.text
    assert "the same\ngoes on\nso does another\n" in text and text.endswith("off 0\n"), text
    assert count(text, r"^pdpageouts (\d+)") <= 8 * 256 and count(text, r"^errors (\d+)$") <= 5, text


@pytest.mark.parametrize("cpus", [1, 4] if FULL else [4])
def test_a_slow_disk(tmp_path: Path, cpus: int) -> None:
    """Who waits for it can be killed, and it can be taken away, while others use it and end."""
    image = swap_file(tmp_path, "32M")
    ended = script("""
        swapon /dev/vda
        /tests/paging_disk 26 /dev/vda
        cat /proc/uvmexp
        """, "--mem", "28M", "--smp", str(cpus), *slow(image, "x-iops-total=1500"))
    text = ended.text
    assert "not ok" not in text and re.search(r"^ok 2", text, re.MULTILINE), text
    written, looked = (count(text, rf"^{name} (\d+)$") for name in ("pgswapout", "pdscans"))
    assert 500 < written and looked < 100 * written, text


@pytest.mark.long
def test_the_watchdog_knows_a_slow_disk(tmp_path: Path) -> None:
    """A thread waits for a page, and another for the disk, that takes longer than the watchdog has patience."""
    image = swap_file(tmp_path, "32M")
    ended = script("swapon /dev/vda; /tests/paging_disk 0 once", "--append", "watchdog=2",
                   *slow(image, "x-bps-write=16000"))
    assert ended.status == 0 and ended.text.endswith("1..1\n"), ended
