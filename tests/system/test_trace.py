"""Traces: what the reader finds in them is what the run did; nothing is lost in silence."""
from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import bt2
import pytest
from guest import ROOT, SPORK, spork
from sporklib import perfetto, trace


def traced(folder: Path, *command: str, options: tuple[str, ...] = ()) -> tuple[str, list[perfetto.Event]]:
    """Runs a command that must succeed, and gives what `spork` said and the trace's events."""
    ended = spork(*command, options=("--trace", str(folder), *options))
    said = ended.err.decode(errors="replace")
    assert ended.status == 0, said
    return said, perfetto.read(folder)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[perfetto.Event]]:
    """A shell that forks, a program that is executed, and a fork of its own whose pages are written."""
    folder = tmp_path_factory.mktemp("trace") / "walk"
    said, events = traced(folder, "/demos/walk", "fork", options=("--smp", "2"))
    return folder, said, events


def named(events: list[perfetto.Event], name: str) -> list[perfetto.Event]:
    return [e for e in events if e.name == name]


def test_babeltrace2_reads_it(walk: tuple[Path, str, list[perfetto.Event]]) -> None:
    folder, said, events = walk
    done = subprocess.run(["babeltrace2", str(folder)], capture_output=True, text=True, check=True)
    assert done.stderr == "", done.stderr
    assert len(done.stdout.splitlines()) == len(events)
    assert re.search(rf"trace: {len(events)} events of 2 processors, 0 lost", said), said


def test_serials_leave_no_gap(walk: tuple[Path, str, list[perfetto.Event]]) -> None:
    folder, _, _ = walk
    serials = sorted(int(m.event.common_context_field["serial"])
                     for m in bt2.TraceCollectionMessageIterator(str(folder))
                     if type(m) is bt2._EventMessageConst)
    assert serials == list(range(len(serials)))


def test_a_fork_is_told_from_call_to_copy(walk: tuple[Path, str, list[perfetto.Event]]) -> None:
    _, _, events = walk
    begin = [e for e in named(events, "fork_begin") if e.fields["mode"] == "cow"][-1]
    parent = begin.tid
    end = next(e for e in named(events, "fork_end") if e.tid == parent and e.time >= begin.time)
    within = [e for e in events if e.tid == parent and begin.time <= e.time <= end.time]
    child = next(e for e in within if e.name == "fork_child")
    assert child.fields["child_pid"] == end.fields["result"]
    assert begin.fields["kind"] == "fork"
    forked = next(e for e in within if e.name == "vmspace_forked")
    assert forked.fields["child"] == child.fields["vmspace"]
    inherited = named(within, "map_entry_inherited")
    assert len([e for e in inherited if e.fields["outcome"] != "not_inherited"]) == forked.fields["entries"]
    # Every entry whose amap both have now needs_copy, and no page was copied.
    referenced = {e.fields["start"] for e in inherited if e.fields["outcome"] == "amap_referenced"}
    assert {e.fields["start"] for e in named(within, "needs_copy_set")} <= referenced
    assert not named(within, "anon_copied")
    # The writer's fault: an anon copied, its own page mapped writable at the address.
    copied = [e for e in named(events, "fault_case")
              if e.fields["kind"] == "case_1b" and e.tid in (parent, child.fields["child_tid"])]
    assert copied
    fault = copied[0]
    entered = [e for e in named(events, "pte_entered")
               if e.fields["va"] == fault.fields["va"] and e.fields["page"] == fault.fields["page"]]
    assert entered and entered[0].fields["prot"].startswith("rw")
    assert any(e.fields["page"] == fault.fields["page"] for e in named(events, "anon_copied"))


def test_what_is_made_is_destroyed(walk: tuple[Path, str, list[perfetto.Event]]) -> None:
    _, _, events = walk
    assert len(named(events, "exit_begin")) >= 2
    for made, gone, what in (("vmspace_created", "vmspace_destroyed", "vmspace"),
                             ("pmap_created", "pmap_destroyed", "pmap"),
                             ("amap_created", "amap_destroyed", "amap"),
                             ("anon_created", "anon_destroyed", "anon")):
        alive: set[int] = set()
        for e in events:
            if e.name == made:
                assert e.fields[what] not in alive, e
                alive.add(e.fields[what])
            elif e.name == gone:
                alive.discard(e.fields[what])
        # What is left is init's, and its helper's.
        assert len(alive) < len(named(events, made)), made
    # Every system call that begins and comes back tells its number twice.
    by_thread: dict[int, int] = {}
    for e in events:
        if e.name == "syscall_enter":
            by_thread[e.tid] = e.fields["number"]
        elif e.name == "syscall_exit" and e.tid in by_thread:
            assert by_thread.pop(e.tid) == e.fields["number"]


def test_categories_can_be_chosen(tmp_path: Path) -> None:
    _, events = traced(tmp_path / "t", "true", options=("--trace-only", "exec,exit"))
    names = {e.name for e in events}
    assert "exec_done" in names and "exit_begin" in names, names
    assert all(name.startswith(("exec_", "exit_")) for name in names), names
    paths = [e.fields["path"] for e in named(events, "exec_begin")]
    assert any(path.endswith("true") for path in paths), paths


def test_overflow_is_counted_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    said, events = traced(folder, "sh", "-c", "for i in 1 2 3 4 5; do ls / >/dev/null; done", options=(
        "--smp", "1", "--trace-full", "drop", "--trace-buffer", "64"))
    found = re.search(r"trace: (\d+) events of 1 processors, (\d+) lost", said)
    assert found and int(found[1]) == len(events) and int(found[2]) > 0, said
    done = subprocess.run(["babeltrace2", str(folder)], capture_output=True, text=True, check=True)
    assert re.search(rf"WARNING: Tracer discarded {found[2]} events", done.stderr) or \
        f"{found[2]} event" in done.stderr, done.stderr


def test_a_panic_is_in_the_trace(tmp_path: Path) -> None:
    # panic=test comes before tracing begins; an init that ends does not.
    ended = spork("true", options=("--trace", str(tmp_path / "t"), "--append", "init=/bin/true"))
    assert ended.status == 125
    assert b"Attempted to kill init" in ended.err
    names = [e.name for e in perfetto.read(tmp_path / "t") if e.tid == 1]
    assert "exit_begin" in names and "exit_zombie" not in names, names[-40:]
    assert "vmspace_destroyed" in names[names.index("exit_begin") :], names[-40:]


# ---- The picture -------------------------------------------------------------------------------

# The Trace Event Format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
COMMON: dict[str, type | tuple[type, ...]] = {"name": str, "ph": str, "pid": int, "tid": int, "ts": (int, float)}


def check_event(e: dict[str, Any]) -> None:
    for key, kind in COMMON.items():
        assert isinstance(e[key], kind), e
    assert e["ts"] >= 0, e
    match e["ph"]:
        case "X":
            assert isinstance(e["dur"], (int, float)) and e["dur"] >= 0 and isinstance(e["args"], dict), e
        case "i":
            assert e["s"] in ("g", "p", "t"), e
        case "s":
            assert "id" in e and e["cat"], e
        case "f":
            assert "id" in e and e["cat"] and e.get("bp") == "e", e
        case "M":
            assert e["name"] in ("process_name", "thread_name") and isinstance(e["args"]["name"], str), e
        case _:
            raise AssertionError(e)


def picture(folder: Path, output: Path) -> list[dict[str, Any]]:
    subprocess.run([SPORK, "trace", "--perfetto", folder, "-o", output], check=True, capture_output=True)
    whole = json.loads(output.read_text())
    assert set(whole) == {"traceEvents", "displayTimeUnit"} and whole["displayTimeUnit"] in ("ms", "ns")
    events: list[dict[str, Any]] = whole["traceEvents"]
    for e in events:
        check_event(e)
    return events


def enclosing(slices: list[dict[str, Any]], e: dict[str, Any]) -> list[dict[str, Any]]:
    return [s for s in slices if (s["pid"], s["tid"]) == (e["pid"], e["tid"])
            and s["ts"] <= e["ts"] <= s["ts"] + s["dur"]]


def test_the_picture_of_a_vfork(tmp_path: Path) -> None:
    traced(tmp_path / "t", "/demos/walk", "vfork")
    events = picture(tmp_path / "t", tmp_path / "p.json")
    slices = [e for e in events if e["ph"] == "X"]
    # Slices of one track lie within one another, or apart.
    for track in {(s["pid"], s["tid"]) for s in slices}:
        ends: list[float] = []
        for s in sorted((s for s in slices if (s["pid"], s["tid"]) == track),
                        key=lambda s: (s["ts"], -s["dur"])):
            while ends and ends[-1] <= s["ts"]:
                ends.pop()
            assert not ends or s["ts"] + s["dur"] <= ends[-1] + 0.001, s
            ends.append(s["ts"] + s["dur"])
    blocked = [s for s in slices if s["name"].startswith("blocked by vfork child")]
    assert blocked
    for b in blocked:
        child = int(b["name"].split()[-1])
        ran = [s for s in slices if s["cat"] == "cpu" and s["args"]["tid"] == child]
        # On another processor it may have begun before the parent blocked, and even let go.
        assert any(s["ts"] < b["ts"] + b["dur"] for s in ran), b
    # Every arrow has both ends, begins in the parent's fork and ends in the child's life.
    starts = {e["id"]: e for e in events if e["ph"] == "s"}
    ends_by_id = {e["id"]: e for e in events if e["ph"] == "f"}
    assert starts and set(ends_by_id) <= set(starts)
    for child, arrow in ends_by_id.items():
        assert arrow["ts"] >= starts[child]["ts"] and arrow["tid"] == child
        assert any(s["cat"] == "life" for s in enclosing(slices, arrow)), arrow
        assert any(s["cat"] == "fork" for s in enclosing(slices, starts[child])), starts[child]
    assert any(e["ph"] == "i" and e["name"].startswith("fault case_") for e in events)


# ---- The table ---------------------------------------------------------------------------------


def test_the_document_has_every_point() -> None:
    text = (ROOT / "docs" / "trace.md").read_text()
    assert text.endswith(trace.table()), "docs/trace.md: put in what `tools/spork trace --points` prints"
    declared = (ROOT / "lib" / "trace_points.def").read_text().count("\nTRACE_POINT(")
    assert len(trace.points()[2]) == declared
