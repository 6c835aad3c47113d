"""Mutants of a C++ source: libclang says where conditions, bounds, calls, stores, flags and errnos are, and each place
gets a switch (tests/mutation/mutant.h). All mutants of a source are in one text, with the lines of the original."""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labs.cut import cindex, flags

from .paths import ROOT, ToolError

# What a mutant does, and how a table says it.
KINDS = {"turn": "condition turned", "half": "half of a condition lost", "bound": "bound off by one",
         "call": "call dropped", "store": "store dropped", "sum": "sum and difference exchanged",
         "flag": "flag lost", "errno": "another errno", "result": "result turned"}
BOUNDS = {"<": "mutant_lt", "<=": "mutant_le", ">": "mutant_gt", ">=": "mutant_ge"}
SUMS = {"+": "mutant_add", "-": "mutant_sub"}
# Whose arguments are no code of the source's own: what is said of a fault, and what is only looked at.
MACROS_WITH_A_VALUE = {"TRY"}
INTEGERS = {"INT", "UINT", "LONG", "ULONG", "LONGLONG", "ULONGLONG", "SHORT", "USHORT", "UCHAR", "SCHAR", "CHAR_S"}


@dataclass(frozen=True)
class Mutant:
    """One change, by itself."""

    number: int
    file: str
    line: int
    function: str
    kind: str
    text: str  # what it is a change of

    def __str__(self) -> str:
        return f"{self.number} {self.file}:{self.line}: {self.function}: {KINDS[self.kind]}: {self.text}"


@dataclass
class Edits:
    """Insertions into a text, which may lie in each other, and replacements of operators."""

    around: list[tuple[int, int, int, bytes, bytes]] = field(default_factory=list)  # start, end, order, before, after
    instead: list[tuple[int, int, bytes]] = field(default_factory=list)

    def wrap(self, start: int, end: int, before: str, after: str) -> None:
        self.around.append((start, end, len(self.around), before.encode(), after.encode()))

    def apply(self, text: bytes) -> bytes:
        events: list[tuple[int, int, int, bytes, int]] = []  # position, close/replace/open, order, text, length
        for start, end, order, before, after in self.around:
            events.append((start, 2, order, before, 0))
            events.append((end, 0, -order, after, 0))
        events += [(start, 1, 0, new, end - start) for start, end, new in self.instead]
        out, at = [], 0
        for position, _, _, new, length in sorted(events, key=lambda e: e[:3]):
            out += [text[at:position], new]
            at = position + length
        return b"".join([*out, text[at:]])


class Source:
    """A source and its mutants. What lies further out in the syntax tree is met first."""

    def __init__(self, file: str, first: int, without: frozenset[tuple[int, str]] = frozenset()) -> None:
        self.file = file
        self.path = ROOT / file
        self.text = self.path.read_bytes()
        self.first = first
        self.without = without  # line and kind of those that a compiler refuses
        self.mutants: list[Mutant] = []
        self.edits = Edits()
        self.function = ""
        module = cindex()
        self.dropped: set[int] = set()
        unit = module.Index.create().parse(str(self.path), args=flags(ROOT))
        if wrong := [said.spelling for said in unit.diagnostics if said.severity > 2]:
            raise ToolError(f"{file}: clang does not understand it: {wrong[0]}")
        # Macros have names in capitals, and nothing else has.
        self.macros = [(found.start(), _closing(self.text, found.end()) + 1, found[1].decode())
                       for found in re.finditer(rb"\b([A-Z][A-Z_0-9]+)\(", self.text)]
        for child in unit.cursor.get_children():
            if self._is_mine(child):
                self._declarations(child)

    def mutated(self) -> bytes:
        head = f'#include "tests/mutation/mutant.h"\n#line 1 "{self.file}"\n'
        return head.encode() + self.edits.apply(self.text)

    # ---- Where

    def _is_mine(self, cursor: Any) -> bool:
        return cursor.location.file is not None and cursor.location.file.name == str(self.path)

    def _span(self, cursor: Any) -> tuple[int, int]:
        return cursor.extent.start.offset, cursor.extent.end.offset

    def _said(self, start: int, end: int) -> str:
        return re.sub(r"\s+", " ", self.text[start:end].decode())

    def _macro(self, start: int, end: int) -> str | None:
        """The macro in which that lies, or that begins there."""
        return next((name for a, b, name in self.macros if a <= start < b or a < end <= b), None)

    # ---- What

    def _add(self, kind: str, cursor: Any, said: str) -> int | None:
        number = self.first + len(self.mutants)
        line = cursor.extent.start.line
        if (line, kind) in self.without:
            return None
        self.mutants.append(Mutant(number, self.file, line, self.function, kind, said[:100]))
        return number

    def _wrap(self, kind: str, cursor: Any, before: str, after: str = ")") -> None:
        start, end = self._span(cursor)
        if self._macro(start, end) is None and end > start:
            if number := self._add(kind, cursor, self._said(start, end)):
                self.edits.wrap(start, end, before.format(number), after)

    def _declarations(self, cursor: Any) -> None:
        """Looks for functions with a body."""
        if cursor.kind.name in ("FUNCTION_DECL", "CXX_METHOD", "CONSTRUCTOR", "DESTRUCTOR", "FUNCTION_TEMPLATE",
                                "CONVERSION_FUNCTION"):
            before, self.function = self.function, cursor.spelling
            for child in cursor.get_children():
                if child.kind.name == "COMPOUND_STMT":
                    self._visit(child)
            self.function = before
        elif cursor.kind.name in ("NAMESPACE", "STRUCT_DECL", "CLASS_DECL", "CLASS_TEMPLATE"):
            for child in cursor.get_children():
                if self._is_mine(child):
                    self._declarations(child)

    def _visit(self, cursor: Any) -> None:
        kind = cursor.kind.name
        start, end = self._span(cursor)
        if kind in ("STATIC_ASSERT", "STRUCT_DECL", "CLASS_DECL") or (
                self._macro(start, end) is not None and not self._is_statement_of_value(start, end)):
            return
        children = list(cursor.get_children())
        if kind in ("IF_STMT", "WHILE_STMT", "FOR_STMT"):
            self._condition(cursor, children)
        elif kind == "CONDITIONAL_OPERATOR":
            self._wrap("turn", children[0], "mutant_turn({}, ")
        elif kind == "RETURN_STMT" and children and children[0].type.get_canonical().kind.name == "BOOL":
            self._wrap("result", children[0], "mutant_turn({}, ")
        elif kind == "BINARY_OPERATOR" and len(children) == 2:
            self._binary(cursor, children)
        elif kind == "DECL_REF_EXPR" and cursor.referenced is not None and \
                cursor.referenced.kind.name == "ENUM_CONSTANT_DECL" and \
                cursor.referenced.semantic_parent.spelling == "Errno":
            self._wrap("errno", cursor, "mutant_errno({}, ")
        for child in self._statements(cursor, children):
            self._drop(child)
        for index, child in enumerate(children):
            if not (kind == "CASE_STMT" and index == 0):
                self._visit(child)

    def _is_statement_of_value(self, start: int, end: int) -> bool:
        return any(a == start and b == end and name in MACROS_WITH_A_VALUE for a, b, name in self.macros)

    def _condition(self, cursor: Any, children: list[Any]) -> None:
        start, end = self._span(cursor)
        opened = re.match(rb"(if|while|for)\s*\(", self.text[start:end])
        if opened is None:  # if constexpr, if consteval
            return
        begin = start + opened.end()
        close = _closing(self.text, begin)
        inside = [child for child in children if begin <= child.extent.start.offset < close]
        if opened[1] == b"for":
            parts = _semicolons(self.text, begin, close)
            inside = [c for c in inside if len(parts) == 2 and parts[0] < c.extent.start.offset < parts[1]]
        if not inside or not inside[-1].kind.is_expression():
            return
        first, last = self._span(inside[-1])
        # One that declares a variable, of which the expression may be the use, is left as it is.
        head = re.split(rb"[;(]", self.text[start:first])[-1]
        if not head.strip() and self.text[last:last + 1] in b");":
            self._wrap("turn", inside[-1], "mutant_turn({}, ")

    def _binary(self, cursor: Any, children: list[Any]) -> None:
        (a, b), (c, d) = map(self._span, children)
        start, end = self._span(cursor)
        operator = self.text[b:c].strip().decode(errors="replace")
        if self._macro(start, end) is not None or not start <= a < b <= c < d <= end:
            return
        if operator in ("&&", "||"):
            test = "mutant_on({})" if operator == "&&" else "!mutant_on({})"
            link = " || " if operator == "&&" else " && "
            self._wrap("half", children[0], f"({test}{link}(", "))")
            self._wrap("half", children[1], f"({test}{link}(", "))")
        elif operator in BOUNDS or (operator in SUMS and all(
                child.type.get_canonical().kind.name in INTEGERS for child in children)):
            name = BOUNDS.get(operator) or SUMS[operator]
            if number := self._add("bound" if operator in BOUNDS else "sum", cursor, self._said(start, end)):
                self.edits.wrap(start, end, f"{name}({number}, ", ")")
                self.edits.instead.append((b, c, self.text[b:c].replace(operator.encode(), b",")))
        elif operator == "|":
            self._wrap("flag", children[1], "mutant_none({}, ")

    def _statements(self, cursor: Any, children: list[Any]) -> Iterator[Any]:
        """Those of the children that are statements made of an expression."""
        kind = cursor.kind.name
        if kind == "COMPOUND_STMT":
            yield from (child for child in children if child.kind.is_expression())
        elif kind in ("IF_STMT", "WHILE_STMT", "FOR_STMT", "CXX_FOR_RANGE_STMT"):
            start, end = self._span(cursor)
            opened = re.match(rb"(if|while|for)(\s+constexpr)?\s*\(", self.text[start:end])
            if opened:
                close = _closing(self.text, start + opened.end())
                yield from (c for c in children if c.extent.start.offset > close and c.kind.is_expression())

    def _drop(self, child: Any) -> None:
        start, end = self._span(child)
        if not self.text[end:end + 1] == b";" or end <= start or start in self.dropped:
            return
        self.dropped.add(start)
        if self._macro(start, end) is not None and not self._is_statement_of_value(start, end):
            return
        said = self._said(start, end)
        store = re.match(r"(\+\+|--)|[^(]*?[^=!<>]=[^=]|.*(\+\+|--)$", said) is not None
        if number := self._add("store" if store else "call", child, said):
            self.edits.wrap(start, end, f"if (mutant_on({number})) {{}} else ", "")


def _closing(text: bytes, at: int) -> int:
    """Where the parenthesis that is open at `at` closes."""
    depth = 1
    while depth:
        depth += {ord("("): 1, ord(")"): -1}.get(text[at], 0)
        at += 1
    return at - 1


def _semicolons(text: bytes, at: int, end: int) -> list[int]:
    found, depth = [], 0
    for position in range(at, end):
        depth += {ord("("): 1, ord("{"): 1, ord(")"): -1, ord("}"): -1}.get(text[position], 0)
        if text[position] == ord(";") and depth == 0:
            found.append(position)
    return found


def write(path: Path, text: bytes) -> None:
    """Leaves the time of what stays as it is."""
    if not path.exists() or path.read_bytes() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
