"""Grades a submission: runs the lab's tests on its kernel, and says of each that fails which rule broke.

A mark is given for what this side has seen, never for a line that says so: the values that the program prints must be
those that this side works out of the random number that it chose, and the frames in the machine's memory as many as
they must be. What ends early, hangs or floods costs its own test.
"""
from __future__ import annotations

import json
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sporklib.results import UNPRINTABLE

from . import machine
from .kernels import Kernel, Pristine, broken_kernel, build, pristine
from .sandbox import works
from .spec import Lab, Test

SCHEMA = "spork/lab-result/1"
LIMIT = 120.0  # seconds for one machine: only a hang takes that long
WHOLE_LIMIT = 1500.0  # and for all of a submission's
TEXT = 4000  # characters of a report

Seen = Callable[["Result"], None]

# What says most, in this order: the rule that broke, who does not go on, who died, which check failed.
TELLING = (r"panic: (?!NMI)(.*)", r"(thread \d+/\d+ \S+ sleeps in (?!poll|tty|wait|nanosleep).*)", r"panic: (NMI.*)",
           r"spork: (.* died of .*)", r"(not ok .*)", r"(lab: .*)", r"spork: (.*)")


@dataclass
class Mark:
    """What one test gave."""

    name: str
    points: int
    most: int
    group: str
    hidden: bool
    passed: bool = False
    first: str = "not run"
    report: str = ""
    seconds: float = 0.0


@dataclass
class Result:
    lab: str
    title: str
    submission: str
    hash: str
    tests: list[Mark]
    notes: list[str] = field(default_factory=list)
    complete: bool = False
    schema: str = SCHEMA

    @property
    def points(self) -> int:
        return sum(mark.points for mark in self.tests)

    @property
    def most(self) -> int:
        return sum(mark.most for mark in self.tests)

    def json(self) -> str:
        return json.dumps(asdict(self) | {"points": self.points, "most": self.most}, indent=1) + "\n"


def plain(text: str) -> str:
    """What a stranger's kernel has printed, fit for every format."""
    return UNPRINTABLE.sub("?", text)


def first_words(text: str) -> str:
    for pattern in TELLING:
        if found := re.search(pattern, text):
            return found[1].strip()[:200]
    return ""


def faults_of(test: Test, ran: machine.Ran, seed: int) -> list[str]:
    """What is not as it must be."""
    if test.broken:  # that it did not end is no finding
        noticed = ran.status not in (0, 124) or "panic: " in ran.said
        return [] if noticed else ["it did not end in time" if ran.status == 124 else "it does not notice the fault"]
    faults = list(ran.faults)
    missing = [stage for stage in dict.fromkeys(each.stage for each in test.looks) if ran.stages.count(stage) != 1]
    faults += [f"the program came {ran.stages.count(stage)} times to the stage {stage}, not once" for stage in missing]
    for each in test.sums:
        if each.value not in ran.values:
            faults.append(f"the program did not come to tell {each.value}")
        elif ran.values[each.value] != machine.total(seed, each.generation, each.pages):
            faults.append(f"{each.value}: pages {each.pages.start} to {each.pages.stop - 1} do not hold what was "
                          "written to them")
    for bounds, word, holds in ((test.at_most, "at most", int.__le__), (test.at_least, "at least", int.__ge__)):
        for name, bound in bounds.items():
            value = ran.values.get(name)
            if value is None:
                faults.append(f"the program did not come to tell {name}")
            elif not holds(value, bound):
                faults.append(f"{name} is {value}, and is to be {word} {bound}")
    if ran.status != 0:
        faults.append("it did not end in time" if ran.status == 124 else f"it ended with status {ran.status}")
    return faults


class Grader:
    def __init__(self, lab: Lab, limit: float = LIMIT, only_visible: bool = False) -> None:
        works()
        self.lab = lab
        self.limit = limit
        self.clean = pristine(lab)
        self.tests = [test for test in lab.tests if not (only_visible and test.hidden)]

    def nothing(self, submission: Path, *notes: str) -> Result:
        """Of a submission of which no test has run."""
        return Result(self.lab.name, self.lab.title, submission.resolve().name, self.clean.hash,
                      [Mark(test.name, 0, test.points, test.group, test.hidden) for test in self.tests], list(notes))

    def grade(self, submission: Path, seen: Seen = lambda _: None) -> Result:
        """Builds and runs it. `seen` is told the result after each test."""
        clean = self.clean
        result = self.nothing(submission)
        with tempfile.TemporaryDirectory(prefix="lab-") as work:
            kernel = build(self.lab, clean, submission, Path(work))
            result.notes = kernel.notes
            self._run(clean, kernel, result, seen)
        result.complete = True
        seen(result)
        return result

    def _run(self, clean: Pristine, kernel: Kernel, result: Result, seen: Seen) -> None:
        started = time.monotonic()
        marks = {mark.name: mark for mark in result.tests}
        for test in self.tests:
            mark = marks[test.name]
            if kernel.elf is None:
                mark.first, mark.report = "the kernel cannot be built", plain(kernel.said[:TEXT])
            elif test.after is not None and not marks[test.after].passed:
                mark.first = f"not run: it counts when {test.after!r} passes"
            elif time.monotonic() - started > WHOLE_LIMIT:
                mark.first = "not run: the time for all tests is over"
            else:
                self._one(clean, kernel, test, mark)
            seen(result)

    def _one(self, clean: Pristine, kernel: Kernel, test: Test, mark: Mark) -> None:
        seed = random.SystemRandom().getrandbits(63)
        ran = self._machine(clean, kernel, test, seed, test.check)
        faults = faults_of(test, ran, seed)
        mark.seconds = ran.seconds
        mark.passed = not faults
        if mark.passed:
            mark.points, mark.first = test.points, ""
            return
        said = ran.said + ran.output
        if not test.check and not test.broken and "panic: " not in said:
            # The kernel looks at its own rules now: what breaks is said where it breaks.
            again = self._machine(clean, kernel, test, seed, True)
            if "panic: " in again.said:
                said = again.said
        told = first_words(said)
        mark.first = plain(told if told and "panic: " in said else faults[0])
        mark.report = plain("\n".join([*faults, *([f"the kernel says: {told}"] if told else []), "",
                                       said[-TEXT:]]).strip())

    def _machine(self, clean: Pristine, kernel: Kernel, test: Test, seed: int, check: bool) -> machine.Ran:
        assert kernel.elf is not None
        elf = broken_kernel(clean, test.broken) if test.broken else kernel.elf
        program = clean.programs / test.program.stem if test.program else kernel.program
        options = ["--icount", "--append", "norandmaps"] if test.icount else ["--smp", str(test.smp)]
        out = Path(tempfile.mkdtemp(prefix="lab-"))
        try:
            return machine.run(elf, words_of(test, seed), out, seed=seed, looks=test.looks,
                               options=options + (["--check"] if check else []), limit=self.limit,
                               memory=test.memory, swap=test.swap, program=program)
        finally:
            shutil.rmtree(out, ignore_errors=True)


def words_of(test: Test, seed: int) -> list[str]:
    """The command; what follows `sh -ec` is one word."""
    words = [word.replace("{seed}", str(seed)) for word in test.command]
    return [*words[:2], " ".join(words[2:])] if words[:2] == ["sh", "-ec"] else words
