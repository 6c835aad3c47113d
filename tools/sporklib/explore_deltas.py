"""What each event changed: docs/explorer-format.md, "Page data", STEP.

A snapshot becomes a flat state: values by key, and runs of pages by key. A step is the difference of two
states, to the page.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .explore_lines import Line

# at, n, first PFN, what else is equal in the run (flags or references), PFN step
Run = tuple[int, int, int, Any, int]
Change = list[Any]  # [at, n, [PFN, tag, step] or None]


@dataclass
class State:
    """All of a snapshot, by key."""

    values: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=dict)


def _run(at: int, n: int, pa: str, tag: Any, rest: list[int]) -> Run:
    return at, n, int(pa, 16) >> 12, tag, rest[0] if rest else 1


def _number(text: int | str) -> int:
    return int(text, 16) if isinstance(text, str) else text


def _without(structure: dict[str, Any], *members: str) -> dict[str, Any]:
    return {name: value for name, value in structure.items() if name not in members}


def flatten(snap: dict[str, Any]) -> State:
    """The state that a snapshot says."""
    state = State()
    values, runs = state.values, state.runs
    values["sys"] = {name: snap[name] for name in ("free", "commit", "commit_limit")}
    for proc in snap["procs"]:
        values[f"proc:{proc['pid']}"] = _without(proc, "ledger")
        for call in proc["ledger"]:
            values[f"call:{proc['pid']}:{call['number']}"] = _without(call, "number")
    for vm in snap["vmspaces"]:
        key = vm["id"]
        values[f"vm:{key}"] = _without(vm, "id", "entries", "ptes", "tables")
        for entry in vm["entries"]:
            values[f"entry:{key}:{entry['start']}"] = entry
        for level, va, pa, flags in vm["tables"]:
            values[f"table:{key}:{level}:{va}"] = {"pa": pa, "flags": flags}
        runs[f"ptes:{key}"] = [_run(int(va, 16) >> 12, n, pa, flags, rest)
                               for va, n, pa, flags, *rest in vm["ptes"]]
    for amap in snap["amaps"]:
        values[f"amap:{amap['id']}"] = _without(amap, "id", "anons")
        runs[f"anons:{amap['id']}"] = [_run(slot, n, pa, refs, rest)
                                       for slot, n, refs, pa, *rest in amap["anons"]]
    for each in snap["objects"]:
        values[f"object:{each['id']}"] = _without(each, "id", "pages")
        runs[f"pages:{each['id']}"] = [_run(_number(index), n, pa, flags, rest)
                                       for index, n, pa, flags, *rest in each["pages"]]
    for key, pages in runs.items():
        runs[key] = sorted(pages)
    return state


def diff_runs(old: list[Run], new: list[Run]) -> list[Change]:
    """The pages that differ, as runs, by address. Both lists are sorted and do not overlap."""
    if old == new:
        return []
    changes: list[Change] = []
    bounds = sorted({edge for at, n, *_ in (*old, *new) for edge in (at, at + n)})
    i = j = 0
    for start, end in zip(bounds, bounds[1:]):
        while i < len(old) and old[i][0] + old[i][1] <= start:
            i += 1
        while j < len(new) and new[j][0] + new[j][1] <= start:
            j += 1
        before = _piece(old[i], start, end) if i < len(old) and old[i][0] <= start else None
        after = _piece(new[j], start, end) if j < len(new) and new[j][0] <= start else None
        if before != after:
            _append(changes, start, end - start, after)
    return changes


def _piece(run: Run, start: int, end: int) -> tuple[int, Any, int]:
    """What a run says of [start, end); a single page has no step."""
    at, _, pfn, tag, step = run
    return pfn + step * (start - at), tag, step if end - start > 1 else 1


def _append(changes: list[Change], at: int, n: int, value: tuple[int, Any, int] | None) -> None:
    """Adds a change; one that goes on where the last one ends becomes part of it."""
    if changes and changes[-1][0] + changes[-1][1] == at:
        last = changes[-1]
        if last[2] is None and value is None:
            last[1] += n
            return
        if last[2] is not None and value is not None and last[2][1] == value[1]:
            pfn, tag, step = last[2]
            between = value[0] - (pfn + step * (last[1] - 1))
            fits_last = last[1] == 1 or between == step
            fits_this = n == 1 or between == value[2]
            if between in (-1, 0, 1) and fits_last and fits_this:
                last[1] += n
                last[2] = [pfn, tag, between]
                return
    changes.append([at, n, list(value) if value is not None else None])


def diff(old: State, new: State) -> dict[str, Any]:
    """The members `set`, `del` and `runs` of a step."""
    put = {key: value for key, value in new.values.items() if old.values.get(key) != value}
    gone = [key for key in old.values if key not in new.values]
    runs = []
    for key in {**old.runs, **new.runs}:
        before, after = old.runs.get(key, []), new.runs.get(key, [])
        runs += [[key, *change] for change in diff_runs(before, after)]
    return {"set": put, "del": gone, "runs": runs}


def _step(line: Line, old: State, new: State) -> dict[str, Any]:
    step = {name: line[name] for name in ("t", "cpu", "event", "pid", "tid", "args")}
    if line.get("lost"):
        step["lost"] = line["lost"]
    return step | diff(old, new)


class Ledgers:
    """Lays what the counters moved since the line before to the process that made the event; what
    moved while others ran, to process 0."""

    def __init__(self) -> None:
        self._last: dict[str, dict[str, int]] | None = None
        self._sums: dict[str, int] = {}

    def add_to(self, line: Line, state: State) -> None:
        now = {name: line["snap"][name] for name in ("counters", "others")}
        last = self._last or now
        for counter, value in now["counters"].items():
            moved = value - last["counters"].get(counter, 0)
            foreign = now["others"].get(counter, 0) - last["others"].get(counter, 0)
            self._add(0, counter, foreign)
            self._add(line["pid"], counter, moved - foreign)
        self._last = now
        state.values.update(self._sums)

    def _add(self, pid: int, counter: str, moved: int) -> None:
        if moved:
            key = f"ledger:{pid}:{counter}"
            self._sums[key] = self._sums.get(key, 0) + moved


def steps(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """The steps of a recording."""
    result = []
    state = State()
    ledgers = Ledgers()
    for line in lines:
        after = flatten(line["snap"])
        ledgers.add_to(line, after)
        result.append(_step(line, state, after))
        state = after
    return result


def step_between(last: Line, first: Line) -> dict[str, Any]:
    """The step from a recording's last state to its first."""
    return _step(first, flatten(last["snap"]), flatten(first["snap"]))
