"""Memory that is more than there is: swap areas, the page daemon, and what ends when swap is full."""
from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from guest import Ended, spork
from sporklib import paging_suite
from sporklib.disks import swap_file

FULL = "SPORK_PAGING" in os.environ  # by `make test-paging`


def script(text: str, *options: str) -> Ended:
    return spork("sh", "-c", text, options=options)


def counter(text: str, name: str) -> int:
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    assert found, f"no counter {name} in {text}"
    return int(found[1])


@pytest.mark.parametrize("cpus,policy", [(1, "clock-pro"), (4, "second-chance")]
                         + ([(1, "fifo"), (2, "random"), (2, "lru")] if FULL else []))
def test_all_is_there_that_was_stored(cpus: int, policy: str) -> None:
    """A program larger than what there is for it, under each policy; and swapoff takes the rest back."""
    ended = script(f"""
        echo {policy} >/proc/sys/vm/page_policy
        cat /proc/sys/vm/page_policy
        echo 16000 >/proc/sys/vm/min_free_kbytes
        /tests/paging 6 && echo all is there
        grep -E 'pgswap|pdfreed' /proc/uvmexp
        echo 0 >/proc/sys/vm/min_free_kbytes
        swapoff /dev/vda && cat /proc/swaps
        """, "--mem", "24M", "--swap", "64M", "--smp", str(cpus))
    text = ended.text
    assert f"[{policy}]" in text and "all is there" in text, text
    assert counter(text, "pgswapout") > 1000 and counter(text, "pgswapin") > 1000
    assert text.rstrip().endswith("Priority"), text


def test_swapoff_brings_everything_back_or_stays_on() -> None:
    ended = script("""
        swapon /dev/vda; echo twice $?
        swapoff /dev/vdb; echo none $?
        dd if=/dev/urandom of=/tmp/a bs=1M count=6 2>/dev/null; md5sum </tmp/a >/tmp/sum
        /tests/paging 12 >/dev/null && echo driven out
        md5sum </tmp/a | cmp - /tmp/sum && echo the same
        /tests/paging 12 >/dev/null
        swapoff /dev/vda; echo off $?
        md5sum </tmp/a | cmp - /tmp/sum && echo still the same
        cat /proc/swaps | wc -l
        """, "--mem", "30M", "--swap", "64M")
    text = ended.text
    assert "driven out\nthe same\n" in text and "off 0\nstill the same\n1\n" in text, text
    assert re.search(r"twice [1-9]", text) and re.search(r"none [1-9]", text), text


def test_swapoff_without_room() -> None:
    """It is ENOMEM, and the area is on as before: nobody is killed for it, and all counts are what they were."""
    ended = script("""
        mount -t tmpfs -o size=20M tmpfs /mnt
        dd if=/dev/urandom of=/mnt/a bs=1M count=18 2>/dev/null; md5sum </mnt/a >/tmp/sum
        counts() { tail -1 /proc/swaps | cut -d' ' -f1; grep -E 'SwapTotal|CommitLimit' /proc/meminfo; }
        counts >/tmp/before
        for i in 1 2 3; do swapoff /dev/vda 2>&1 | grep -o 'Cannot.*'; done
        counts | cmp - /tmp/before && echo still on
        md5sum </mnt/a | cmp - /tmp/sum && echo the same
        dmesg | grep "out of memory"
        rm /mnt/a
        swapoff /dev/vda && tail -n +2 /proc/swaps; echo off
        """, "--mem", "28M", "--swap", "64M")
    assert ended.text == "Cannot allocate memory\n" * 3 + "still on\nthe same\noff\n", ended


def test_memory_is_out_when_swap_is_full() -> None:
    """Who wants more than memory and swap is killed, and nobody else; and then all goes on. How soon is
    counted in pages that the daemon looks at. The clock is that of instructions, 10^9 a second, but while all wait for
    the disk it is the host's: what is long by it is only told from what hangs."""
    ended = script("""
        echo 1 >/proc/sys/vm/overcommit_memory
        sleep 1000 &
        /tests/paging 400 | tail -1
        grep pdscans /proc/uvmexp
        dmesg | grep "out of memory"
        grep -E 'pgswapout' /proc/uvmexp
        /tests/paging 4 >/dev/null && echo goes on
        kill $! && echo so does another
        """, "--mem", "24M", "--swap", "8M", "--icount")
    text = ended.text
    killed = re.findall(r"out of memory: killed process \d+ \((.*)\)", text)
    assert killed and set(killed) == {"paging"} and "goes on\nso does another\n" in text, text
    assert counter(text, "pgswapout") > 1500, text
    assert counter(text, "pdscans") < 6 * 6144 * len(killed), text  # each page of memory some times
    times = [float(seconds) for seconds in re.findall(r"\[ *([\d.]+)\] out of memory", text)]
    assert max(later - before for before, later in zip([0.0, *times], times)) < 5, times


@pytest.mark.long
def test_files_that_nobody_has_open() -> None:
    """Twice as much as there is memory, in files that were mapped, stored to, unmapped and closed."""
    ended = script("""
        mount -t tmpfs -o size=52M tmpfs /mnt
        /tests/paging_files 48 /mnt
        dmesg | grep "out of memory"
        grep -E 'pgswap' /proc/uvmexp
        awk 'NR == 2 { print "used", $4 }' /proc/swaps
        swapoff /dev/vda && echo off
        """, "--mem", "24M", "--swap", "96M")
    text = ended.text
    assert "1..2\n" in text and "not ok" not in text and "out of memory" not in text, ended
    assert counter(text, "pgswapout") > 2 * 6000 and counter(text, "pgswapin") > 2 * 6000, text
    assert int(re.findall(r"used (\d+)", text)[0]) < 20000 and text.endswith("off\n"), text  # the root's


def test_what_programs_say_of_their_pages() -> None:
    ended = script("/tests/page_advice swap && swapoff /dev/vda && echo all back",
                   "--mem", "64M", "--swap", "32M")
    assert "not ok" not in ended.text and ended.text.endswith("all back\n"), ended.text


def test_page_ins_are_laid_to_forks() -> None:
    ended = script("/tests/ledger", "--swap", "16M")
    laid = re.findall(r"(?:page-ins|the parent's, of) .*\((\d+)\)", ended.text)
    assert laid == ["8"] * 3 and "not ok" not in ended.text, ended.text


def test_strict_accounting_counts_swap() -> None:
    ended = script("""
        echo 2 >/proc/sys/vm/overcommit_memory
        grep CommitLimit /proc/meminfo
        swapoff /dev/vda
        grep CommitLimit /proc/meminfo
        """, "--swap", "64M")
    limits = [int(kb) for kb in re.findall(r"CommitLimit: +(\d+) kB", ended.text)]
    assert limits[0] - limits[1] == 65536 - 4, limits


def test_the_areas_of_fstab_are_on_from_the_start(tmp_path: Path) -> None:
    ended = script("cat /etc/fstab; tail -n +2 /proc/swaps; swapoff -a; tail -n +2 /proc/swaps", "--swap", "8M")
    assert re.fullmatch(r"/dev/vda none swap sw 0 0\n/dev/vda +partition\s+8188\s+0\s+-1\n", ended.text), ended
    fstab = tmp_path / "fstab"
    fstab.write_text("/dev/vda none swap noauto 0 0\n/dev/vdb none swap sw,pri=7 0 0\n/dev/vdc none swap sw 0 0\n")
    options = ["--add", f"{fstab}:/etc/fstab"]
    for name in "abc":
        (tmp_path / name).mkdir()
        options += ["--disk", str(swap_file(tmp_path / name, "8M"))]
    ended = script("tail -n +2 /proc/swaps", *options)
    assert re.findall(r"^/dev/(vd.).*\s(-?\d+)$", ended.text, re.MULTILINE) == [("vdb", "7"), ("vdc", "-1")], ended


@pytest.mark.long
def test_min_free_kbytes() -> None:
    """The daemon keeps as much free as it is told, and programs have the rest."""
    ended = script("""
        cat /proc/sys/vm/min_free_kbytes
        echo 20000 >/proc/sys/vm/min_free_kbytes
        cat /proc/sys/vm/min_free_kbytes
        /tests/paging 8 >/dev/null && echo all is there
        grep MemFree /proc/meminfo
        echo 20000000 >/proc/sys/vm/min_free_kbytes || echo too much
        """, "--mem", "32M", "--swap", "64M")
    free = re.fullmatch(r"\d+\n20000\nall is there\nMemFree: +(\d+) kB\ntoo much\n", ended.text)
    assert free and int(free[1]) > 19000, ended.text


def test_programs_where_everything_pages() -> None:
    """A sample of user/tests; `make test-paging` runs all of them."""
    results = paging_suite.programs("""
        afork brk efault exec file_copies fork_cow fork_modes fork_stress fork_tables futex madvise mmap_file mremap
        paging_load pipe process_vm threads""".split())
    assert len(results) == 18 and all(result.verdict == "passed" for result in results), results


@pytest.mark.parametrize(("cpus", "programs", "kib", "memory"),
                         [(4, 100, 700, "48M")] if FULL else [(4, 25, 1000, "32M")])
def test_many_programs_at_once(cpus: int, programs: int, kib: int, memory: str) -> None:
    """Nobody is killed, every page is right, all counters are back."""
    ended = script(f"""
        /tests/paging_load {programs} {kib}
        dmesg | grep "out of memory"
        grep pgsw /proc/uvmexp
        swapoff -a && tail -n +2 /proc/swaps
        """, "--mem", memory, "--swap", "256M", "--smp", str(cpus), "--append", "check")
    text = ended.text
    assert re.match(r"(#.*\n)*ok 1 .*\nok 2 .*\nok 3 .*\n1..3\npgswapin \d+\npgswapout \d+\n$", text), ended
    assert counter(text, "pgswapout") > programs * kib / 4 / 4, text


@pytest.mark.long
def test_a_large_process_forks() -> None:
    """NetBSD hung here: the copy of the amap wanted more pages than the daemon would ever free."""
    ended = script("""
        echo 1 >/proc/sys/vm/overcommit_memory
        /tests/paging_fork 700
        dmesg | grep "out of memory"
        """, "--mem", "26M", "--swap", "1G", "--smp", "1", "--timeout", "60")
    assert "1..2\n" in ended.text and "not ok" not in ended.text, ended.text
    assert "out of memory" not in ended.text, ended.text


def test_a_parent_that_is_out_makes_children() -> None:
    """What /demos/paged_parent prints: strict accounting refuses fork's twice the parent, and no way
    of making a child brings the parent in."""
    ended = script("/demos/paged_parent 96 16", "--mem", "64M", "--swap", "128M",
                   "--smp", "1")
    rows: dict[str, tuple[list[str], list[int]]] = {}
    for line in ended.text.replace("a child", "made").splitlines():
        found = re.fullmatch(r"(\S.{15}) +(\w+) +(\w+) +(\w+) +(\d+) +(\d+) +(\d+)", line)
        if found:
            rows[found[1].strip()] = (list(found.groups()[1:4]), [int(n) for n in found.groups()[4:]])
    assert len(rows) == 6, ended.text
    for way, (modes, (exits, writes, copies)) in rows.items():
        borrows = way in ("vfork", "posix_spawn", "afork")
        assert modes == ["made" if borrows else "ENOMEM", "made", "made"], way
        assert exits < 20, way
        assert way == "posix_spawn" or 256 <= writes < 280, way
        assert copies < 10 if borrows else 256 <= copies < 270, way
    assert "16 end well" in ended.text, ended.text


@pytest.mark.parametrize("cpus", [1, 4])
def test_others_meet_a_page_on_its_way(cpus: int) -> None:
    """A fork, an munmap and a kill while one thread is held with the page: by sync points, in each direction."""
    ended = script("/tests/paging_orders", "--swap", "16M", "--smp", str(cpus), "--append", "check")
    assert ended.status == 0 and "SKIP" not in ended.text and ended.text.endswith("1..2\n"), ended


def test_every_call_with_its_memory_in_swap() -> None:
    """Each call of the kernel, with what its arguments point to put out before; in `make test` those of files."""
    ended = script(f"""
        /tests/pairs --out {"" if FULL else "--kind file"}
        grep -E 'pgswap(in|out)' /proc/uvmexp
        """, "--swap", "16M", "--timeout", "300")
    pairs = re.search(r"# (\d+) pairs, seed", ended.text)
    assert pairs and "not ok" not in ended.text and "those were all" in ended.text, ended
    assert counter(ended.text, "pgswapin") > int(pairs[1]), ended.text


if FULL:
    def test_swap_is_full_and_pages_still_come_and_go() -> None:
        """What the daemon frees then are pages that others have just brought in, and are about to copy: it
        freed them for minutes, and nobody was killed (NetBSD's kern/54209)."""
        ended = script("/demos/paged_parent 96 64 | tail -1; dmesg | grep 'out of memory'",
                       "--mem", "64M", "--swap", "128M", "--icount", "--timeout", "60")
        well = re.match(r"64 children at once, .*: (\d+) end well", ended.text)
        assert well and int(well[1]) >= 40, ended.text
        killed = re.findall(r"out of memory: killed process \d+ \((.*?)\)", ended.text)
        assert killed and set(killed) == {"paged_parent"}, ended.text
