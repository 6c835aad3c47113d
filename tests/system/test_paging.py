"""Memory that is more than there is: swap areas, the page daemon, and what ends when swap is full."""
from __future__ import annotations

import re

import pytest
from guest import Ended, spork


def script(text: str, *options: str) -> Ended:
    return spork("sh", "-c", text, options=options)


def counter(text: str, name: str) -> int:
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    assert found, f"no counter {name} in {text}"
    return int(found[1])


@pytest.mark.parametrize("cpus,policy", [(1, "fifo"), (2, "random"), (4, "second-chance"),
                                         (2, "lru"), (4, "clock-pro")])
def test_all_is_there_that_was_stored(cpus: int, policy: str) -> None:
    """A program larger than what there is for it, under each policy; and swapoff takes the rest back."""
    ended = script(f"""
        echo {policy} >/proc/sys/vm/page_policy
        cat /proc/sys/vm/page_policy
        swapon /dev/vda
        /tests/paging 22 && echo all is there
        grep -E 'pgswap|pdfreed' /proc/uvmexp
        swapoff /dev/vda && cat /proc/swaps
        """, "--mem", "24M", "--swap", "64M", "--smp", str(cpus))
    text = ended.text
    assert f"[{policy}]" in text and "all is there" in text, text
    assert counter(text, "pgswapout") > 1000 and counter(text, "pgswapin") > 1000
    assert text.rstrip().endswith("Priority"), text


def test_swapoff_brings_everything_back_or_stays_on() -> None:
    ended = script("""
        swapon /dev/vda
        swapon /dev/vda; echo twice $?
        swapoff /dev/vdb; echo none $?
        dd if=/dev/urandom of=/tmp/a bs=1M count=6 2>/dev/null; md5sum </tmp/a >/tmp/sum
        /tests/paging 12 >/dev/null && echo driven out
        md5sum </tmp/a | cmp - /tmp/sum && echo the same
        /tests/paging 12 >/dev/null
        swapoff /dev/vda; echo off $?
        md5sum </tmp/a | cmp - /tmp/sum && echo still the same
        cat /proc/swaps | wc -l
        """, "--mem", "28M", "--swap", "64M")
    text = ended.text
    assert "driven out\nthe same\n" in text and "off 0\nstill the same\n1\n" in text, text
    assert re.search(r"twice [1-9]", text) and re.search(r"none [1-9]", text), text


def test_memory_is_out_when_swap_is_full() -> None:
    """Who wants more than memory and swap is killed, and nobody else; and then all goes on."""
    ended = script("""
        echo 1 >/proc/sys/vm/overcommit_memory
        swapon /dev/vda
        sleep 1000 &
        /tests/paging 400 | tail -1
        dmesg | grep "out of memory"
        grep -E 'pgswapout' /proc/uvmexp
        /tests/paging 8 >/dev/null && echo goes on
        kill $! && echo so does another
        """, "--mem", "24M", "--swap", "8M")
    text = ended.text
    killed = re.findall(r"out of memory: killed process \d+ \((.*)\)", text)
    assert killed and set(killed) == {"paging"} and "goes on\nso does another\n" in text, text
    assert counter(text, "pgswapout") > 1500, text


def test_what_programs_say_of_their_pages() -> None:
    ended = script("swapon /dev/vda && /tests/page_advice swap && swapoff /dev/vda && echo all back",
                   "--mem", "64M", "--swap", "32M")
    assert "not ok" not in ended.text and ended.text.endswith("all back\n"), ended.text


def test_strict_accounting_counts_swap() -> None:
    ended = script("""
        echo 2 >/proc/sys/vm/overcommit_memory
        grep CommitLimit /proc/meminfo
        swapon /dev/vda
        grep CommitLimit /proc/meminfo
        """, "--swap", "64M")
    limits = [int(kb) for kb in re.findall(r"CommitLimit: +(\d+) kB", ended.text)]
    assert limits[1] - limits[0] == 65536 - 4, limits
