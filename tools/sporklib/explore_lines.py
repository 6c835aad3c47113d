"""What the kernel's recorder wrote, read and checked: docs/explorer-format.md, "A line"."""
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .paths import ROOT, ToolError

SCHEMA = ROOT / "tools" / "explore" / "schema" / "line.schema.json"
STRUCTURES = ("vmspaces", "amaps", "objects")

Line = dict[str, Any]


# What a structure consists of, and how the schema calls an element of each list.
PARTS = {"vmspaces": {"entries": "entry", "ptes": "page_run", "tables": "table"},
         "amaps": {"anons": "anon_run"}, "objects": {"pages": "page_run"}, "procs": {"ledger": "call"}}


class Checker:
    """Checks lines against the schema. An element whose text was checked before is not checked
    again: most of a run's lines repeat what the lines before them said, but for a page or two."""

    def __init__(self) -> None:
        import jsonschema  # of the group `explore` in tools/setup; nothing else here needs it

        schema = json.loads(SCHEMA.read_text())
        definitions = schema["definitions"]

        def validator(definition: str) -> Any:
            return jsonschema.Draft7Validator(
                {"$ref": f"#/definitions/{definition}", "definitions": definitions})

        self._line = jsonschema.Draft7Validator(schema)
        self._one = {name: validator(name) for name in
                     ("vmspace", "amap", "object", "proc", "entry", "page_run", "table", "anon_run", "call",
                      "same")}
        self._seen: set[str] = set()

    def check(self, line: Line, number: int) -> None:
        """ToolError when the line is not as the schema says."""
        snap = line.get("snap")
        if isinstance(snap, dict):
            rest: dict[str, Any] = {}
            for kind, parts in PARTS.items():
                if isinstance(snap.get(kind), list):
                    for each in snap[kind]:
                        if kind in STRUCTURES and _is_same(each):
                            self._check_one("same", each, kind, number)
                        else:
                            self._check_structure(kind, parts, each, number)
                    rest[kind] = []
            line = line | {"snap": snap | rest}
        for problem in self._line.iter_errors(line):
            raise ToolError(f"line {number} of the recording: {_place(problem)}: {problem.message}")

    def _check_structure(self, kind: str, parts: dict[str, str], each: Any, number: int) -> None:
        """A structure: the elements of its lists, and then the rest of it with the lists empty."""
        lists = {part: definition for part, definition in parts.items()
                 if isinstance(each, dict) and isinstance(each.get(part), list)}
        for part, definition in lists.items():
            for element in each[part]:
                self._check_one(definition, element, f"{kind}: {part}", number)
        rest = each | {part: [] for part in lists} if lists else each
        self._check_one(kind[:-1], rest, kind, number)

    def _check_one(self, definition: str, value: Any, where: str, number: int) -> None:
        text = definition + repr(value)
        if text in self._seen:
            return
        for problem in self._one[definition].iter_errors(value):
            raise ToolError(f"line {number} of the recording: {where}: {_place(problem)}: {problem.message}")
        self._seen.add(text)


def _is_same(each: Any) -> bool:
    return isinstance(each, dict) and each.get("same") is True


def _place(problem: Any) -> str:
    return "/".join(str(part) for part in problem.absolute_path) or "the whole"


def read_lines(file: Iterable[bytes], checker: Checker | None = None) -> Iterator[Line]:
    """The lines, with each `same` replaced by the very object that it stands for and all counters in
    each. Stops at a piece of a line at the end; a malformed line elsewhere is a ToolError."""
    last: dict[str, dict[str, Any]] = {kind: {} for kind in STRUCTURES}
    counts: dict[str, dict[str, int]] = {"counters": {}, "others": {}}
    ledgers: dict[int, Any] = {}
    for number, text in enumerate(file, 1):
        if not text.endswith(b"\n"):
            return
        try:
            line = json.loads(text)
        except ValueError as error:
            raise ToolError(f"line {number} of the recording is not JSON: {error}") from error
        if checker is not None:
            checker.check(line, number)
        snap = line["snap"]
        for kind in STRUCTURES:
            whole = []
            for each in snap[kind]:
                if each.get("same"):
                    if each["id"] not in last[kind]:
                        raise ToolError(f"line {number} of the recording: {kind}: {each['id']} is the "
                                        "same as before, but was not there before")
                    each = last[kind][each["id"]]
                else:
                    last[kind][each["id"]] = each
                whole.append(each)
            snap[kind] = whole
        for name, values in counts.items():
            counts[name] = snap[name] = values | snap.get(name, {})
        for proc in snap["procs"]:
            if proc["ledger"] == "same":
                if proc["pid"] not in ledgers:
                    raise ToolError(f"line {number} of the recording: the ledger of process {proc['pid']} is "
                                    "the same as before, but was not there before")
                proc["ledger"] = ledgers[proc["pid"]]
            ledgers[proc["pid"]] = proc["ledger"]
        yield line


def read_recording(path: Path, checker: Checker | None = None) -> list[Line]:
    """The lines of a recorder's file."""
    with path.open("rb") as file:
        return list(read_lines(file, checker))
