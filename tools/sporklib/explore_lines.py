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


class Checker:
    """Checks lines against the schema. A structure whose text was checked before is not checked
    again: most of a run's lines repeat what the lines before them said."""

    def __init__(self) -> None:
        import jsonschema  # of the group `explore` in tools/setup; nothing else here needs it

        schema = json.loads(SCHEMA.read_text())
        definitions = schema["definitions"]

        def validator(definition: str) -> Any:
            return jsonschema.Draft7Validator(
                {"$ref": f"#/definitions/{definition}", "definitions": definitions})

        self._line = jsonschema.Draft7Validator(schema)
        self._one = {"vmspaces": validator("vmspace"), "amaps": validator("amap"),
                     "objects": validator("object"), "procs": validator("proc")}
        self._seen: set[str] = set()

    def check(self, line: Line, number: int) -> None:
        """ToolError when the line is not as the schema says."""
        for problem in self._line.iter_errors(self._reduced(line, number)):
            raise ToolError(f"line {number} of the recording: {_place(problem)}: {problem.message}")

    def _reduced(self, line: Line, number: int) -> Line:
        """The line without the structures, after those that are new have been checked."""
        snap = line.get("snap")
        if not isinstance(snap, dict):
            return line
        for kind, validator in self._one.items():
            for each in snap.get(kind) or ():
                if isinstance(each, dict) and each.get("same") is True and kind != "procs":
                    continue
                text = kind + json.dumps(each)
                if text in self._seen:
                    continue
                for problem in validator.iter_errors(each):
                    raise ToolError(f"line {number} of the recording: {kind}: {_place(problem)}: "
                                    f"{problem.message}")
                self._seen.add(text)
        rest = {kind: [e for e in snap[kind] if e.get("same")] if kind in STRUCTURES else []
                for kind in self._one if kind in snap}
        return line | {"snap": snap | rest}


def _place(problem: Any) -> str:
    return "/".join(str(part) for part in problem.absolute_path) or "the whole"


def read_lines(file: Iterable[bytes], checker: Checker | None = None) -> Iterator[Line]:
    """The lines, with each `same` replaced by the very object that it stands for. Stops at a piece of
    a line at the end; a malformed line elsewhere is a ToolError."""
    last: dict[str, dict[str, Any]] = {kind: {} for kind in STRUCTURES}
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
        yield line


def read_recording(path: Path, checker: Checker | None = None) -> list[Line]:
    """The lines of a recorder's file."""
    with path.open("rb") as file:
        return list(read_lines(file, checker))
