"""What a lab's lab.toml says, checked: a word that nobody knows is an error, and so is a sum that is wrong.

docs/labs/README.md explains each word. A handout has the same file, but not the folder hidden/.
"""
from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sporklib.paths import ROOT, ToolError

LABS = ROOT / "docs" / "labs"


class LabError(ToolError):
    """A lab that is not what it says; or something in it that this tool does not understand."""


@dataclass(frozen=True)
class Cut:
    """A function whose body goes, or one statement of it: the call of `statement`."""

    file: str
    function: str
    statement: str | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.function}" + (f": {self.statement}" if self.statement else "")


@dataclass(frozen=True)
class Passage:
    """Text that tells the answer: in `file`, from the line with `first` to that with `last`, once and only once."""

    file: str
    first: str
    last: str
    instead: str


@dataclass(frozen=True)
class Look:
    """What memory must hold, seen from outside while the program waits at a stage: so many frames with each page's
    contents of that generation."""

    stage: str
    pages: range
    generation: int
    copies: int


@dataclass(frozen=True)
class Sum:
    """A value that the program must print, which this side works out for itself: over the pages' contents."""

    value: str
    pages: range
    generation: int


@dataclass
class Test:
    name: str
    points: int
    command: list[str]  # in the machine; {seed} stands for the random number of this run
    hidden: bool
    group: str = ""
    program: Path | None = None  # the C source of the lab's own program, /lab/NAME in the machine
    after: str | None = None  # the test without which this one gives nothing
    starter: bool = False  # whether the starter passes it
    smp: int = 2
    icount: bool = False
    check: bool = False
    memory: int = 128  # MiB
    swap: int = 0  # MiB of a disk to swap to; 0: none
    broken: str | None = None  # a patch: on the kernel that has it the program must fail
    at_most: dict[str, int] = field(default_factory=dict)
    at_least: dict[str, int] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    sums: list[Sum] = field(default_factory=list)


@dataclass(frozen=True)
class Submission:
    """One that `tools/lab prove` grades: what is changed in the solution, and the points that it deserves."""

    name: str
    points: int
    patch: str | None = None  # a patch of the tree
    file: str | None = None  # of hidden/: what is handed in, where that is a program
    bodies: str | None = None  # a folder with bodies, as starter/ has them
    drop: str | None = None  # a file that is not handed in
    add: str | None = None  # "FILE: a line that is added at its end"
    limit: int = 0  # seconds for a machine, where one is to hang


@dataclass
class Lab:
    name: str
    folder: Path
    title: str
    points: int
    hours: int
    submit: list[str]
    asks_for_program: bool  # what is handed in is a program that tests kernels, not a part of a kernel
    cuts: list[Cut]
    passages: list[Passage]
    tests: list[Test]
    submissions: list[Submission]
    expected_fail: list[str]
    leave_out: list[str]
    harmless: list[str]


def numbers(text: str) -> range:
    """`0-99` is a range of a hundred."""
    match = re.fullmatch(r"(\d+)-(\d+)", text)
    if not match or int(match[1]) > int(match[2]):
        raise LabError(f"{text}: pages are FIRST-LAST")
    return range(int(match[1]), int(match[2]) + 1)


def take(table: dict[str, Any], where: str, known: dict[str, Any]) -> dict[str, Any]:
    """The table's values, each of the type that `known` has for its key. An instance in place of a type is what
    stands for a key that is missing."""
    if strange := set(table) - set(known):
        raise LabError(f"{where}: nobody knows {', '.join(sorted(strange))}")
    taken = {}
    for key, wanted in known.items():
        kind = wanted if isinstance(wanted, type) else type(wanted)
        if key not in table:
            if isinstance(wanted, type):
                raise LabError(f"{where}: {key} is missing")
            taken[key] = wanted
        elif type(table[key]) is not kind:
            raise LabError(f"{where}: {key} is to be {kind.__name__}")
        else:
            taken[key] = table[key]
    return taken


def read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LabError(f"{path}: {error}") from error


def cut_of(text: str) -> Cut:
    parts = text.split(": ")
    if len(parts) not in (2, 3):
        raise LabError(f"{text}: a cut is FILE: FUNCTION, or FILE: FUNCTION: what a statement of it calls")
    return Cut(*parts)


def test_of(table: dict[str, Any], folder: Path, where: str, hidden: bool) -> Test:
    words = take(table, where, {
        "name": str, "points": int, "run": str, "group": "", "program": "", "after": "", "starter": False, "smp": 2,
        "icount": False, "check": False, "memory": 128, "swap": 0, "broken": "", "at_most": {}, "at_least": {},
        "look": [], "sum": []})
    program = folder / words["program"] if words["program"] else None
    if program is not None and not program.is_file():
        raise LabError(f"{where}: there is no program {program}")
    looks = [Look(stage=look["stage"], pages=numbers(look["pages"]), generation=look["generation"],
                  copies=look["copies"])
             for look in (take(each, f"{where}: look", {"stage": str, "pages": str, "generation": int, "copies": int})
                          for each in words["look"])]
    sums = [Sum(value=each["value"], pages=numbers(each["pages"]), generation=each["generation"])
            for each in (take(each, f"{where}: sum", {"value": str, "pages": str, "generation": int})
                         for each in words["sum"])]
    if looks and words["icount"]:
        raise LabError(f"{where}: time stands still for nobody who waits in a machine that counts instructions")
    return Test(words["name"], words["points"], words["run"].split(), hidden, words["group"], program,
                words["after"] or None, words["starter"], words["smp"], words["icount"], words["check"],
                words["memory"], words["swap"], words["broken"] or None, words["at_most"], words["at_least"],
                looks, sums)


def tests_of(path: Path, tables: list[dict[str, Any]], hidden: bool) -> list[Test]:
    return [test_of(table, path.parent, f"{path}: test {table.get('name', number)!r}", hidden)
            for number, table in enumerate(tables, 1)]


def check_tests(lab: Lab, complete: bool) -> None:
    """Whether names, prerequisites and sums are right."""
    earlier: set[str] = set()
    for test in lab.tests:
        if test.name in earlier:
            raise LabError(f"{lab.name}: two tests are called {test.name!r}")
        if test.after is not None and test.after not in earlier:
            raise LabError(f"{lab.name}: {test.name!r} comes after {test.after!r}, which does not come before it")
        if test.points < 0:
            raise LabError(f"{lab.name}: {test.name!r} has {test.points} points")
        earlier.add(test.name)
    if complete and (total := sum(test.points for test in lab.tests)) != lab.points:
        raise LabError(f"{lab.name}: the tests have {total} points, lab.toml says {lab.points}")


def load(name: str, labs: Path = LABS) -> Lab:
    """The lab of that name; without its hidden part where that is not there."""
    folder = labs / name
    path = folder / "lab.toml"
    if not path.is_file():
        there = ", ".join(names(labs)) or "none"
        raise LabError(f"there is no lab {name}; there are: {there}")
    words = take(read(path), str(path), {
        "title": str, "points": int, "hours": int, "submit": list, "test": list, "kind": "kernel"})
    if words["kind"] not in ("kernel", "program") or (words["kind"] == "program" and len(words["submit"]) != 1):
        raise LabError(f"{path}: kind is kernel, or program: then one C source is handed in")
    tests = tests_of(path, words["test"], hidden=False)
    hidden = folder / "hidden" / "lab.toml"
    asks_for_program = words["kind"] == "program"
    more = take(read(hidden) if hidden.is_file() else {"cut": []}, str(hidden), {
        "cut": [] if asks_for_program else list, "passage": [], "leave_out": [], "harmless": [], "test": [],
        "submission": []})
    tests += tests_of(hidden, more["test"], hidden=True)
    submissions = [Submission(each["name"], each["points"], each["patch"] or None, each["file"] or None,
                              each["bodies"] or None, each["drop"] or None, each["add"] or None, each["limit"])
                   for each in (take(each, f"{hidden}: submission", {"name": str, "points": int, "patch": "",
                                                                     "file": "", "bodies": "", "drop": "", "add": "",
                                                                     "limit": 0})
                                for each in more["submission"])]
    passages = [Passage(**take(each, f"{hidden}: passage", {"file": str, "first": str, "last": str,
                                                            "instead": "*(This is what the lab asks for.)*"}))
                for each in more["passage"]]
    lab = Lab(name, folder, words["title"], words["points"], words["hours"], words["submit"],
              asks_for_program, [cut_of(each) for each in more["cut"]], passages, tests, submissions,
              [test.name for test in tests if not test.starter], more["leave_out"], more["harmless"])
    if strange := {cut.file for cut in lab.cuts} - set(lab.submit):
        raise LabError(f"{hidden}: what is cut in {', '.join(sorted(strange))} cannot be handed in")
    if not asks_for_program and any(test.broken for test in tests):
        raise LabError(f"{hidden}: a submission that is a part of a kernel is not tried on others")
    check_tests(lab, hidden.is_file())
    return lab


def names(labs: Path = LABS) -> list[str]:
    return sorted(path.parent.name for path in labs.glob("*/lab.toml"))


def programs(lab: Lab) -> Iterable[Path]:
    return sorted({test.program for test in lab.tests if test.program is not None})
