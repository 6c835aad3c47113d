"""What the page says of each event: its sentence and the literature's name, from the table of trace
points, and the source lines that did it, from where the tree has TRACE(name."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

# The events that tell a run's story without its details.
MAIN_CATEGORIES = {"process", "exec", "exit", "vmspace"}
MAIN_EVENTS = {"map_entry_inherited", "map_entry_removed", "fault_end", "commit_refused"}
FOLDERS = ("vm", "kernel", "arch/x86_64", "lib")
BEFORE, AFTER = 6, 2  # lines of source quoted around a trace point's statement
MOST_PLACES = 3
# TRACE_POINT(category, NAME, "literature", "sentence", fields), the texts in one or more pieces.
STRINGS = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
POINT = re.compile(r"TRACE_POINT\(\s*(\w+),\s*(\w+),\s*" + STRINGS + r",\s*" + STRINGS)
CALL = re.compile(r"\bEVENT\(\s*(\w+)\b")


def find_calls(root: Path) -> dict[str, list[dict[str, Any]]]:
    """By event, the places in the kernel's sources that emit it, with the lines around each."""
    found: dict[str, list[dict[str, Any]]] = {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in (".cc", ".h", ".S"):
                continue
            lines = path.read_text(errors="replace").splitlines()
            for index, line in enumerate(lines):
                for match in CALL.finditer(line):
                    if line.lstrip().startswith(("#", "//")):
                        continue
                    places = found.setdefault(match[1], [])
                    if len(places) < MOST_PLACES:
                        places.append(quote(path.relative_to(root), lines, index))
    return found


def quote(path: Path, lines: list[str], index: int) -> dict[str, Any]:
    """The lines around one, not beyond the function or the blank line that they are in."""
    first = index
    while first > 0 and index - first < BEFORE and lines[first - 1].strip() and lines[first - 1] != "}":
        first -= 1
    end = index
    while end + 1 < len(lines) and not lines[end].rstrip().endswith(";"):
        end += 1
    last = end
    while last + 1 < len(lines) and last - end < AFTER and lines[last + 1].strip():
        last += 1
    text = lines[first : last + 1]
    indent = min((len(line) - len(line.lstrip()) for line in text if line.strip()), default=0)
    return {"file": str(path), "line": index + 1, "first": first + 1,
            "text": [line[indent:] for line in text]}


def describe_events(root: Path) -> dict[str, Any]:
    """By event of the table: sentence, literature, sources, and whether it is a main one."""
    places = find_calls(root)
    table = read_table(root / "lib" / "trace_points.def")
    return {name: {"sentence": sentence, "literature": literature, "sources": places.get(name, []),
                   "main": category in MAIN_CATEGORIES or name in MAIN_EVENTS}
            for name, (category, literature, sentence) in table.items()}


def read_table(path: Path) -> dict[str, tuple[str, str, str]]:
    """By event: category, the literature's name, sentence. Nothing when there is no table."""
    if not path.exists():
        return {}
    table = {}
    for match in POINT.finditer(path.read_text()):
        literature, sentence = (_joined(match[group]) for group in (3, 4))
        table[match[2]] = (match[1], literature, sentence[:1].upper() + sentence[1:] + ".")
    return table


def _joined(literals: str) -> str:
    """The text of adjacent C string literals."""
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literals)).replace('\\"', '"')
