"""make bench: the program runs on Spork, and the figures bear out what they are for."""
from __future__ import annotations

from pathlib import Path

import pytest
from sporklib import bench
from sporklib.paths import KERNEL

SIZES = (1, 16)
CHEAP = ("vfork_exec", "clone_vm_exec", "afork_exec", "spawn_exec")


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> bench.Figures:
    folder: Path = tmp_path_factory.mktemp("bench")
    archive = folder / "root.cpio"
    archive.write_bytes(bench.make_archive(SIZES, (*CHEAP, "null_call", "fork_call_dirty")))
    text = bench.boot(KERNEL, bench.SPORK_WORDS, archive, folder / "log", True, [], 120)
    return bench.parse(text)


def test_everything_asked_for_was_measured(figures: bench.Figures) -> None:
    by_size = {(name, mib) for name in (*CHEAP, "fork_call_dirty") for mib in SIZES}
    assert set(figures.rows) == by_size | {("null_call", 0), ("boot_to_init", 0)}
    assert not figures.missing


@pytest.mark.parametrize("name", CHEAP)
def test_sharing_costs_the_same_whatever_the_size(figures: bench.Figures, name: str) -> None:
    small, large = (figures.rows[name, mib] for mib in SIZES)
    assert large == pytest.approx(small, rel=0.02)


def test_fork_costs_by_the_page(figures: bench.Figures) -> None:
    slope = figures.slope("fork_call_dirty")
    assert slope is not None and 1 < slope < 200
