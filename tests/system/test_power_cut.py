"""Power cuts: some states of a few workloads. tools/power-cut tries more of both."""
from __future__ import annotations

from pathlib import Path

import pytest
from sporklib import power_cut


@pytest.mark.parametrize(("seed", "block"), [(101, 1024), (102, 4096)])
def test_promises_outlast_a_power_cut(tmp_path: Path, seed: int, block: int) -> None:
    recording = power_cut.record(tmp_path, power_cut.Workload(seed, block, 12))
    entries = recording.entries
    assert power_cut.disk_of(recording, power_cut.State(len(entries), {})) == recording.last
    flushes = sum(entry.flush for entry in entries)
    assert 12 <= flushes < len(entries), "each promise is a flush, and not each write"
    for state in power_cut.states(recording, 10, seed):
        wrong = power_cut.judge(recording, state, tmp_path)
        assert not wrong, (wrong, power_cut.describe(recording, state))


def check_all(folder: Path, block: int, *intervals: str) -> None:
    """Of operations between marks: each block that was not flushed is lost alone."""
    workload = power_cut.Workload(1, block, 0)
    for interval in intervals:
        for operation in interval.split("; "):
            words: list[str | int] = [int(word) if word.isdigit() else word for word in operation.split()]
            workload.model.do(*words)
        workload.model.mark()
    recording = power_cut.record(folder, workload)
    for state in power_cut.states_with_one_lost(recording):
        wrong = power_cut.judge(recording, state, folder)
        assert not wrong, (wrong, power_cut.describe(recording, state))


def test_a_hole_at_the_end_stays_one(tmp_path: Path) -> None:
    """A file that was made longer ends in a hole, and is written to far behind it: its zeros were promised."""
    check_all(tmp_path, 1024,
              "create old; write old 0 20000 5; create file; write file 0 5000 6; sync",
              "unlink old; truncate file 100; truncate file 6743; fsync file",
              "create other; write file 51738 10 7; fsync other")


@pytest.mark.parametrize("block", [1024, pytest.param(4096, marks=pytest.mark.long)])
def test_numbers_lead_nowhere_else(tmp_path: Path, block: int) -> None:
    """No inode, new or old, leads to a block as one of numbers that was, or is, another file's bytes."""
    check_all(tmp_path, block,
              "create old; write old 0 20000 5; create file; write file 0 5000 6; sync",
              "unlink old; truncate file 1000; write file 50000 3000 7; create other; fsync other",
              "truncate file 100; write other 0 9000 3; fsync other")


@pytest.mark.long
def test_numbers_of_levels(tmp_path: Path) -> None:
    """The same behind the first level: 300 blocks of 1 KiB on, there are two."""
    check_all(tmp_path, 1024,
              "create old; write old 0 20000 5; create file; write file 0 5000 6; sync",
              "unlink old; truncate file 1000; write file 300000 10 7; write file 600000 10 8; "
              "create other; fsync other",
              "truncate file 300010; write other 0 5000 3; fsync other",
              "truncate file 1000; write other 5000 5000 4; fsync other")


def test_a_promise_that_is_broken_is_seen(tmp_path: Path) -> None:
    """Of a disk that lies about its flushes: what it lost is missed."""
    recording = power_cut.record(tmp_path, power_cut.Workload(103, 1024, 12))
    entries = recording.entries
    last = max(n for n, entry in enumerate(entries) if entry.at >= power_cut.FIRST + power_cut.SIZE)
    promised = [n for n in range(last) if not entries[n].flush and entries[n].at < power_cut.FIRST + power_cut.SIZE]
    lost = {n: set(range(0, len(entries[n].data), 1024)) for n in promised[len(promised) // 2:]}
    assert power_cut.judge(recording, power_cut.State(last + 1, lost), tmp_path)
