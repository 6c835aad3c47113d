"""tour: the figures of NetBSD's argument, the same in each run, and for it."""
from __future__ import annotations

from collections import defaultdict

import pytest
from guest import succeeds

Figures = dict[str, dict[tuple[str, int], int]]  # by label; by way and MiB
SIZES = (1, 4)
PAGES = {mib: mib * 256 for mib in SIZES}
COPYING = ("copy", "cow", "cow+pte", "vfork-cow")
DEFERRING = ("cow", "cow+pte", "vfork-cow")
SHARING = ("share", "afork", "spawn")


def counts() -> str:
    """What a machine of its own counts."""
    return succeeds("tour", "--counts", *map(str, SIZES),
                    options=("--icount", "--append", "norandmaps"))


@pytest.fixture(scope="module")
def text() -> str:
    return counts()


@pytest.fixture(scope="module")
def figures(text: str) -> Figures:
    found: Figures = defaultdict(dict)
    for line in text.splitlines():
        _step, label, mib, way, value = line.split("|")
        found[label][way, int(mib)] = int(value)
    return found


def test_two_runs_agree(text: str) -> None:
    assert text == counts()


@pytest.mark.parametrize("label", [
    "amaps now in common", "pages write-protected", "by whole page tables", "TLB flushes",
    "map entries copied", "pages promised",
    "page-table pages made", "PTEs copied", "pages copied", "faults without a copy",
    "pages copied by faults", "map entries freed", "marks cleared at a write", "of them with a new amap",
    "PTEs removed", "page-table pages freed", "faults", "pages copied by them",
    "faults, by tables"])
def test_a_child_that_shares_costs_its_parent_nothing(figures: Figures, label: str) -> None:
    assert {figures[label][way, mib] for way in SHARING for mib in SIZES} == {0}


def test_marking_copy_on_write_goes_by_resident_pages(figures: Figures) -> None:
    protected, tables = figures["pages write-protected"], figures["by whole page tables"]
    for way in DEFERRING:
        assert protected[way, 4] - protected[way, 1] == PAGES[4] - PAGES[1]
        assert protected[way, 1] >= PAGES[1]
        assert tables[way, 4] == PAGES[4] // 512 and tables[way, 1] == 0
    assert protected["copy", 4] == 0


def test_map_is_copied_by_entries(figures: Figures) -> None:
    copied = figures["map entries copied"]
    assert len({copied[way, mib] for way in COPYING for mib in SIZES}) == 1
    assert 4 <= copied["cow", 1] <= 32


def test_only_the_old_fork_copies_pages(figures: Figures) -> None:
    copied = figures["pages copied"]
    assert copied["copy", 4] - copied["copy", 1] == PAGES[4] - PAGES[1]
    assert {copied[way, mib] for way in DEFERRING for mib in SIZES} == {0}


def test_page_table_entries_are_copied_by_one_mode(figures: Figures) -> None:
    copied = figures["PTEs copied"]
    assert copied["cow+pte", 4] - copied["cow+pte", 1] == PAGES[4] - PAGES[1]
    assert {copied[way, 4] for way in ("copy", "cow", "vfork-cow")} == {0}
    less = figures["faults without a copy"]
    assert less["cow+pte", 1] < less["cow", 1]


def test_what_was_promised_comes_back_at_exec(figures: Figures) -> None:
    promised, returned = figures["pages promised"], figures["promised pages returned"]
    for way in COPYING:
        assert promised[way, 4] >= PAGES[4]
        assert returned[way, 4] == promised[way, 4]
    # What the others return has nothing to do with their parents.
    assert len({returned[way, mib] for way in SHARING for mib in SIZES}) == 1
    assert returned["share", 1] < PAGES[1]


def test_marks_of_copy_on_write_are_cleared_by_writes_and_by_nothing_else(figures: Figures) -> None:
    common, cleared, copied = (figures[label] for label in
                               ("amaps now in common", "marks cleared at a write", "of them with a new amap"))
    for way in DEFERRING:
        for mib in SIZES:  # by entries, whatever the size; an entry that nobody writes to keeps its mark
            assert 1 <= cleared[way, mib] <= common[way, mib]
            assert cleared[way, mib] == cleared[way, SIZES[0]]
            assert 0 <= copied[way, mib] < cleared[way, mib]
    assert cleared["copy", 1] == 0
    # Who waits until the child has gone finds every amap his own.
    assert copied["vfork-cow", 1] == 0


def test_each_figure_is_explained_where_it_is_printed() -> None:
    said = succeeds("tour", "1", options=("--icount", "--append", "norandmaps"))
    for label in (line.split("|")[1] for line in counts().splitlines()):
        assert f"\n   {label}: " in said, label


def test_parent_faults_on_every_page_and_copies_hardly_one(figures: Figures) -> None:
    faults, copied = figures["faults"], figures["pages copied by them"]
    for way in DEFERRING:
        for mib in SIZES:
            assert PAGES[mib] <= faults[way, mib] <= PAGES[mib] + 8
            assert copied[way, mib] <= 8
    assert faults["copy", 4] == 0


def test_a_fault_gives_a_table_its_right_back(figures: Figures) -> None:
    faults = figures["faults, by tables"]
    for way in DEFERRING:
        assert PAGES[1] <= faults[way, 1] <= PAGES[1] + 8  # half a table goes page by page
        assert PAGES[4] // 512 <= faults[way, 4] <= PAGES[4] // 512 + 8


def test_a_parent_that_is_out_is_not_read_for_its_child() -> None:
    text = succeeds("tour", "--out", "--counts", "4",
                    options=("--icount", "--append", "norandmaps", "--swap", "64M"))
    found: Figures = defaultdict(dict)
    for line in text.splitlines():
        _step, label, mib, way, value = line.split("|")
        found[label][way, int(mib)] = int(value)
    ways = COPYING + SHARING
    assert {found["page-ins of the call"][way, 4] for way in ways} == {0}
    assert [found["page-ins for the child"][way, 4] for way in ways] == [16] * 6 + [0]
    copied = found["pages copied by faults"]
    assert all(16 <= copied[way, 4] <= 18 for way in COPYING) and {copied[way, 4] for way in SHARING} == {0}
    # Later all of it comes in, whoever had the 16 pages: eight at a time.
    for way in ways:
        assert PAGES[4] - 16 <= found["pages that came with them"][way, 4] <= PAGES[4]
        assert PAGES[4] // 8 <= found["page-ins for the parent"][way, 4] <= PAGES[4] // 5


def test_who_waits(figures: Figures) -> None:
    blocked = figures["parent blocked"]
    assert {way for (way, _mib), value in blocked.items() if value} == {"vfork-cow", "share", "spawn"}
