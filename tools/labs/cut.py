"""Takes the bodies of functions out of C++ sources, by the functions' names.

libclang says where a function begins and ends. The sources bear no marks, and what is not understood (a source with
an error, a name that is met twice or not at all, a body that does not go in) stops the cut.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sporklib.paths import ToolError

from .spec import Cut, LabError

LIBRARY = Path("/usr/lib/llvm-19/lib/libclang-19.so.1")
FUNCTIONS = {"FUNCTION_DECL", "CXX_METHOD", "CONSTRUCTOR", "DESTRUCTOR"}
SCOPES = {"NAMESPACE", "CLASS_DECL", "STRUCT_DECL"}
WORST_HARMLESS = 2  # clang's severity of a warning


@dataclass(frozen=True)
class Place:
    """Where a function lies, in bytes: the comment above it, its name, its body between the braces."""

    comment: int
    start: int
    body: int
    end: int


@dataclass(frozen=True)
class Body:
    """What stands in a starter for a function: a comment, or none to leave the one that is there, and a body."""

    comment: bytes
    body: bytes

    def indented(self, by: bytes) -> Body:
        """As it stands in a class; the brace behind it, too."""
        comment, body = (re.sub(rb"^(?=[^\n])", by, text, flags=re.MULTILINE) for text in (self.comment, self.body))
        return Body(comment, body + (by if body.endswith(b"\n") else b""))


def cindex() -> Any:
    """libclang's Python module."""
    try:
        from clang import cindex as module
    except ImportError as error:
        raise ToolError("/usr/bin/python3 has no module clang: run tools/setup lab") from error
    if not module.Config.loaded and LIBRARY.exists():
        module.Config.set_library_file(str(LIBRARY))
    return module


def flags(tree: Path) -> list[str]:
    return [flag if not flag.startswith("-I") else f"-I{tree / flag[2:]}"
            for flag in (tree / "compile_flags.txt").read_text().split()]


class Source:
    """A parsed source."""

    def __init__(self, tree: Path, file: str, includes: Path | None = None) -> None:
        self.file = file
        self.path = tree / file
        if not self.path.is_file():
            raise LabError(f"there is no file {file}")
        self.text = self.path.read_bytes()
        whole = includes or tree
        beside = f"-I{(whole / file).parent}"  # also of a source that lies in a folder by itself
        self._unit = cindex().Index.create().parse(str(self.path), args=[*flags(whole), beside])
        for said in self._unit.diagnostics:
            if said.severity > WORST_HARMLESS:
                raise LabError(f"{file}: clang does not understand it: {said.spelling}, "
                               f"line {said.location.line}")

    def _functions(self, cursor: Any) -> Iterator[Any]:
        for child in cursor.get_children():
            if child.location.file is None or child.location.file.name != str(self.path):
                continue
            if child.kind.name in SCOPES:
                yield from self._functions(child)
            elif child.kind.name in FUNCTIONS and child.is_definition():
                yield child

    def cursor(self, function: str) -> Any:
        """The one definition of that name. Classes are part of it, name spaces are not."""
        found = [each for each in self._functions(self._unit.cursor) if qualified(each) == function]
        if len(found) != 1:
            raise LabError(f"{self.file}: {function} is defined {len(found)} times, not once")
        return found[0]

    def place(self, function: str) -> Place:
        cursor = self.cursor(function)
        bodies = [child for child in cursor.get_children() if child.kind.name == "COMPOUND_STMT"]
        if len(bodies) != 1:
            raise LabError(f"{self.file}: {function} has no body of its own")
        start = cursor.extent.start.offset
        line = self.text.rfind(b"\n", 0, start) + 1
        comment = re.search(rb"(?:^[ \t]*//[^\n]*\n)*\Z", self.text[:line], re.MULTILINE)
        return Place(comment.start() if comment else line, line, bodies[0].extent.start.offset + 1,
                     bodies[0].extent.end.offset - 1)

    def statement(self, function: str, called: str) -> tuple[int, int]:
        """Where the line of the one statement lies that calls a function of that name, and nothing else."""
        found = []

        def look(cursor: Any) -> None:
            for child in cursor.get_children():
                if cursor.kind.name == "COMPOUND_STMT" and child.kind.name == "CALL_EXPR" and child.spelling == called:
                    found.append(child)
                look(child)

        look(self.cursor(function))
        if len(found) != 1:
            raise LabError(f"{self.file}: {function} calls {called} {len(found)} times, not once")
        start = self.text.rfind(b"\n", 0, found[0].extent.start.offset) + 1
        end = self.text.index(b"\n", found[0].extent.end.offset) + 1
        if not self.text[found[0].extent.end.offset:end].strip() == b";":
            raise LabError(f"{self.file}: in {function} there is more on the line of {called}")
        return start, end


def qualified(cursor: Any) -> str:
    name = str(cursor.spelling)
    parent = cursor.semantic_parent
    while parent is not None and parent.kind.name in ("CLASS_DECL", "STRUCT_DECL"):
        name = f"{parent.spelling}::{name}"
        parent = parent.semantic_parent
    return name


def read_bodies(path: Path) -> dict[str, Body]:
    """What a file of starter/ has: `== FUNCTION`, then the lines of a comment, then those of a body."""
    bodies: dict[str, Body] = {}
    parts = re.split(r"^== (.*)\n", path.read_text(), flags=re.MULTILINE)
    if parts[0].strip():
        raise LabError(f"{path}: it does not begin with == FUNCTION")
    for function, text in zip(parts[1::2], parts[2::2]):
        lines = text.rstrip("\n").split("\n")
        count = next((n for n, line in enumerate(lines) if not line.startswith("//")), len(lines))
        if function in bodies:
            raise LabError(f"{path}: {function} is there twice")
        comment = "".join(f"{line}\n" for line in lines[:count])
        body = "\n" + "".join(f"{line}\n" for line in lines[count:]) if any(lines[count:]) else ""
        bodies[function] = Body(comment.encode(), body.encode())
    return bodies


def bodies_in(folder: Path) -> dict[str, dict[str, Body]]:
    """By source and function, what a folder like starter/ has."""
    return {str(path.relative_to(folder).with_suffix("")): read_bodies(path)
            for path in sorted(folder.rglob("*.txt"))}


def splice(tree: Path, bodies: dict[str, dict[str, Body]], includes: Path | None = None) -> list[tuple[str, str, str]]:
    """Puts the bodies into the tree's sources; gives what was there, by source and function. The headers may be
    those of another tree."""
    removed = []
    for file, functions in bodies.items():
        source = Source(tree, file, includes)
        text = source.text
        places = {function: source.place(function) for function in functions}
        for function, place in sorted(places.items(), key=lambda each: -each[1].start):
            line = text[place.start:place.end]
            new = functions[function].indented(line[:len(line) - len(line.lstrip(b" "))])
            removed.append((file, function, text[place.body:place.end].decode()))
            text = text[:place.body] + new.body + text[place.end:]
            if new.comment:
                removed.append((file, function, text[place.comment:place.start].decode()))
                text = text[:place.comment] + new.comment + text[place.start:]
        source.path.write_bytes(text)
        after = Source(tree, file, includes)
        for function in functions:
            after.place(function)
    return removed


def drop_statement(tree: Path, cut: Cut) -> str:
    """Takes the statement out of the tree's source; gives it."""
    assert cut.statement is not None
    source = Source(tree, cut.file)
    start, end = source.statement(cut.function, cut.statement)
    source.path.write_bytes(source.text[:start] + source.text[end:])
    Source(tree, cut.file)
    return source.text[start:end].decode()


def cut_out(tree: Path, cuts: list[Cut], starter: Path) -> list[tuple[str, str, str]]:
    """Makes the cuts in a tree, with what starter/ has instead; gives what was taken out."""
    bodies = bodies_in(starter)
    whole = {(cut.file, cut.function) for cut in cuts if not cut.statement}
    there = {(file, function) for file, functions in bodies.items() for function in functions}
    if len(set(cuts)) != len(cuts):
        raise LabError("a function is cut twice")
    for file, function in sorted(whole ^ there):
        missing = f"is not in {starter}" if (file, function) in whole else "is in the starter and is not cut"
        raise LabError(f"{file}: {function} {missing}")
    removed = splice(tree, bodies)
    return removed + [(cut.file, cut.function, drop_statement(tree, cut)) for cut in cuts if cut.statement]
