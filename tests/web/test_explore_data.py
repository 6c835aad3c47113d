"""The explorer's host side: reading the recorder's lines, and what events changed."""
from __future__ import annotations

import copy
import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from sporklib.explore import SCENARIOS, printed_ledgers, read_mistake  # noqa: E402  (the path above comes first)
from sporklib.explore_deltas import Run, diff_runs, step_between, steps  # noqa: E402
from sporklib.explore_events import ACTS, CASES, find_calls, sources_of  # noqa: E402
from sporklib.explore_lines import Checker, read_lines  # noqa: E402
from sporklib.paths import ToolError  # noqa: E402

ENTRY: dict[str, Any] = {
    "start": "0x400000", "end": "0x404000", "prot": "rw-", "max": "rwx", "inherit": "copy",
    "advice": "normal", "wired": 0, "cow": True, "needs_copy": False, "name": "", "object": None,
    "offset": 0, "amap": "0xa0", "slot": 0,
}
VMSPACE: dict[str, Any] = {
    "id": "0x10", "refs": 1, "pages_resident": 4, "commit": 4, "entries": [ENTRY],
    "ptes": [["0x400000", 4, "0x8000", "pwuad"]], "tables": [[4, "0x0", "0x1000", ""]],
}
AMAP: dict[str, Any] = {"id": "0xa0", "refs": 1, "shared": False, "slots": 4, "anons": [[0, 4, 1, "0x8000"]]}
CALL: dict[str, Any] = {"number": 1, "kind": "exec", "pid": 2, "child": 0, "mode": "", "name": "x",
                        "counters": {"ptps_made": 4}, "later_parent": {}, "later_child": {}}
SNAP: dict[str, Any] = {
    "free": 100, "commit": 4, "commit_limit": 50, "counters": {"faults": 7}, "others": {"faults": 5},
    "procs": [{"pid": 2, "ppid": 1, "name": "x", "state": "run", "why": "", "waits_for": 0,
               "vmspace": "0x10", "ledger": [CALL]}],
    "vmspaces": [VMSPACE], "amaps": [AMAP], "objects": [],
}


def line(**changes: Any) -> dict[str, Any]:
    whole = {"t": 1, "cpu": 0, "event": "begin", "pid": 2, "tid": 2, "args": {}, "snap": SNAP}
    return copy.deepcopy(whole | changes)


def read(*lines: dict[str, Any], tail: bytes = b"") -> list[dict[str, Any]]:
    return list(read_lines([json.dumps(each).encode() + b"\n" for each in lines] +
                           ([tail] if tail else []), Checker()))


def test_same_stands_for_what_was_there() -> None:
    second = line(event="mark", args={"text": "x"})
    second["snap"]["vmspaces"] = [{"id": "0x10", "same": True}]
    first_read, second_read = read(line(), second)
    assert second_read["snap"]["vmspaces"] == first_read["snap"]["vmspaces"]


def test_same_as_nothing_is_refused() -> None:
    only = line()
    only["snap"]["amaps"] = [{"id": "0xb0", "same": True}]
    with pytest.raises(ToolError, match="not there before"):
        read(only)


def test_a_piece_at_the_end_is_dropped() -> None:
    assert len(read(line(), tail=b'{"t":2,"cpu"')) == 1


def test_counters_not_written_are_as_before() -> None:
    second = line()
    second["snap"] |= {"counters": {"forks": 1}, "others": {}}
    assert [each["snap"]["counters"] for each in read(line(), second)] == [{"faults": 7}, {"faults": 7, "forks": 1}]


def test_a_ledger_like_none_is_refused() -> None:
    only = line()
    only["snap"]["procs"][0]["ledger"] = "same"
    with pytest.raises(ToolError, match="not there before"):
        read(only)


@pytest.mark.parametrize("spoil", [
    lambda each: each["snap"]["procs"][0]["ledger"][0].pop("kind"),
    lambda each: each["snap"]["counters"].update(faults=-1),
    lambda each: each.pop("args"),
    lambda each: each["snap"]["procs"][0].update(state="odd"),
    lambda each: each["snap"]["vmspaces"][0]["ptes"][0].__setitem__(3, "wp"),
    lambda each: each["snap"]["vmspaces"][0]["entries"][0].pop("cow"),
    lambda each: each["snap"]["amaps"][0].update(refs=-1),
    lambda each: each["snap"].update(more=1),
])
def test_a_line_against_the_schema_is_refused(spoil: Any) -> None:
    spoiled = line()
    spoil(spoiled)
    with pytest.raises(ToolError, match="line 2 of the recording"):
        read(line(), spoiled)


def test_a_step_lists_what_changed_and_no_more() -> None:
    second = line(event="fault", t=5)
    snap = second["snap"]
    snap["vmspaces"][0]["ptes"] = [["0x400000", 1, "0x8000", "pwuad"], ["0x401000", 1, "0x20000", "pwuad"],
                                   ["0x402000", 2, "0xa000", "pwuad"]]
    snap["vmspaces"][0]["entries"][0]["needs_copy"] = True
    snap["counters"] = {"faults": 10, "forks": 1}
    snap["others"] = {"faults": 6}
    snap["procs"][0]["ledger"] = "same"
    first, step = steps(read(line(), second))
    assert first["set"]["call:2:1"]["counters"] == {"ptps_made": 4}
    assert first["runs"] == [["ptes:0x10", 0x400, 4, [8, "pwuad", 1]], ["anons:0xa0", 0, 4, [8, 1, 1]]]
    assert step["runs"] == [["ptes:0x10", 0x401, 1, [0x20, "pwuad", 1]]]
    assert set(step["set"]) == {"entry:0x10:0x400000", "ledger:0:faults", "ledger:2:faults", "ledger:2:forks"}
    assert step["set"]["ledger:2:faults"] == 2
    assert step["set"]["ledger:0:faults"] == 1
    assert step["del"] == []


def test_what_is_gone_is_listed_as_gone() -> None:
    second = line()
    second["snap"].update(procs=[], vmspaces=[], amaps=[])
    step = steps([line(), second])[1]
    assert set(step["del"]) == {"proc:2", "call:2:1", "vm:0x10", "entry:0x10:0x400000",
                                "table:0x10:4:0x0", "amap:0xa0"}
    assert step["runs"] == [["ptes:0x10", 0x400, 4, None], ["anons:0xa0", 0, 4, None]]
    again = step_between(second, line())
    assert set(again["set"]) == set(step["del"])


def pages(runs: list[Run]) -> dict[int, tuple[int, Any]]:
    return {at + i: (pfn + step * i, tag) for at, n, pfn, tag, step in runs for i in range(n)}


def random_runs(chance: random.Random) -> list[Run]:
    runs: list[Run] = []
    at = chance.randrange(4)
    while at < 60:
        n = chance.randrange(1, 12)
        runs.append((at, n, chance.randrange(100, 140), chance.choice(("pw", "p")), chance.choice((-1, 0, 1))))
        at += n + chance.randrange(3) * chance.randrange(5)
    return runs


def test_page_changes_make_one_list_of_runs_into_another() -> None:
    chance = random.Random(6)
    for _ in range(3000):
        old, new = random_runs(chance), random_runs(chance)
        if chance.random() < 0.5:  # mostly the same
            new = sorted({*old[: len(old) // 2], *(run for run in new if not old or run[0] >= old[len(old) // 2][0])})
            new = [run for i, run in enumerate(new) if i == 0 or new[i - 1][0] + new[i - 1][1] <= run[0]]
        state = pages(old)
        for at, n, value in diff_runs(old, new):
            for i in range(n):
                if value is None:
                    assert at + i in state
                    del state[at + i]
                else:
                    put = (value[0] + value[2] * i, value[1])
                    assert state.get(at + i) != put or n > 1
                    state[at + i] = put
        assert state == pages(new)


def test_printed_ledgers_are_found() -> None:
    text = ("hello\nledger begin faults 3\nledger end forks 1\nledger end faults 5\nledger of nothing\n"
            "ledger calls # 2 entries; 0 older ones forgotten, 0 lost for want of memory\n"
            "ledger calls 1 fork pid 3 child 4 mode cow (a program (odd))\n"
            "ledger calls     cycles                         77   blocked_ns                      0\n"
            "ledger calls     forks                           1\n"
            "ledger calls   later, in the parent:\n"
            "ledger calls     write_copied                    2   amap_copied                     1\n"
            "ledger calls   later, in the child:\n"
            "ledger calls 2 exit pid 4 (x)\n"
            "ledger calls     anons_freed                     5\n")
    call = {"child": 0, "mode": "", "later_parent": {}, "later_child": {}}
    assert printed_ledgers(text) == {
        "begin": {"faults": 3}, "end": {"forks": 1, "faults": 5},
        "calls": [call | {"number": 1, "kind": "fork", "pid": 3, "child": 4, "mode": "cow", "name": "a program (odd)",
                          "counters": {"forks": 1}, "later_parent": {"write_copied": 2, "amap_copied": 1}},
                  call | {"number": 2, "kind": "exit", "pid": 4, "name": "x", "counters": {"anons_freed": 5}}]}


def test_the_statement_that_acts_is_quoted_and_not_its_event(tmp_path: Path) -> None:
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm" / "x.cc").write_text(
        "void f() {\n    a(1,\n      2);\n    if (c)\n        EVENT(first, a,\n              b);\n    b();\n}\n\n"
        "// TRACE(never)\nvoid g() {\n    h();\n    EVENT(second);\n    act(now);\n}\n")
    found = find_calls(tmp_path)
    assert list(found) == ["first", "second"]
    assert sources_of(found["first"], []) == [{"file": "vm/x.cc", "line": 2, "last": 3, "text": [
        [1, "void f() {"], [2, "    a(1,"], [3, "      2);"], [4, "    if (c)"], [7, "    b();"], [8, "}"]]}]
    (second,) = sources_of(found["second"], ["act("])
    assert (second["line"], second["text"][-2:]) == (14, [[14, "    act(now);"], [15, "}"]])


def test_what_acts_is_in_the_tree() -> None:
    calls = find_calls(ROOT)
    pieces = [(name, piece) for name, some in ACTS.items() for piece in some]
    pieces += [(name, piece) for name, (_, values) in CASES.items() for _, piece in values.values()]
    gone = [(name, piece) for name, piece in pieces
            if not any(piece in line for text, _ in calls.get(name, []) for line in text.lines)]
    assert gone == [], "tools/sporklib/explore_events.py names what is there no more"


def test_the_values_of_cases_are_those_of_the_table() -> None:
    table = (ROOT / "lib" / "trace_points.def").read_text()
    for enumeration, event in (("fault_kind", "fault_case"), ("inherit_outcome", "map_entry_inherited")):
        values = re.search(rf"TRACE_ENUM\({enumeration},(.*?)\)\n\n?TRACE_ENUM", table, re.DOTALL)
        assert values and set(re.findall(r"TRACE_VALUE\((\w+)\)", values[1])) == set(CASES[event][1])


def test_mistakes_are_read_from_their_patches() -> None:
    for scenario in SCENARIOS:
        for name in scenario.mistakes:
            read = read_mistake(name)
            assert read["said"].endswith(".") and any(each["out"] for each in read["files"])
        assert not scenario.mistakes or scenario.kept.stat().st_size < 20_000
