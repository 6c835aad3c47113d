"""What tests gave: their results, JUnit files, and TAP as programs and the kernel print it."""
from __future__ import annotations

import re
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Verdict = Literal["passed", "failed", "skipped"]
End = Literal["", "died", "hung", "did not run"]

# Control characters that XML cannot hold.
UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")


@dataclass
class Result:
    """One test's result. `details` explains a failure or a skip; `end` says how a failed one ended that did
    not end by itself. `tests`: how many it stands for, where those that did not run have no names."""

    group: str
    name: str
    verdict: Verdict
    details: str = ""
    seconds: float = 0.0
    end: End = ""
    tests: int = 1


def progress(text: str) -> None:
    print(f"  {text}", flush=True)


def tally(results: list[Result]) -> str:
    """What became of them, in words."""
    def count(verdict: Verdict, *ends: End) -> int:
        return sum(r.tests for r in results if r.verdict == verdict and r.end in ends)

    failed, hung = count("failed", "", "died"), count("failed", "hung")
    text = (f"{count('passed', '') + failed + hung} ran, {failed} failed, {hung} hung, "
            f"{count('failed', 'did not run')} did not run")
    skipped = count("skipped", "")
    return text + (f", {skipped} skipped" if skipped else "")


def junit(suite: str, results: list[Result]) -> str:
    """JUnit's XML of one suite."""
    count = {verdict: sum(r.verdict == verdict for r in results) for verdict in ("failed", "skipped")}
    root = xml.Element("testsuites")
    top = xml.SubElement(
        root, "testsuite", name=suite, tests=str(len(results)), errors="0",
        failures=str(count["failed"]), skipped=str(count["skipped"]),
        time=f"{sum(r.seconds for r in results):.3f}",
    )
    for result in results:
        case = xml.SubElement(
            top, "testcase", classname=f"{suite}.{result.group}" if result.group else suite,
            name=result.name, time=f"{result.seconds:.3f}",
        )
        details = UNPRINTABLE.sub("?", result.details)
        if result.verdict == "failed":
            message = (details.strip().splitlines() or ["failed"])[0]
            xml.SubElement(case, "failure", message=message).text = details
        elif result.verdict == "skipped":
            xml.SubElement(case, "skipped", message=details)
    text: bytes = xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return text.decode() + "\n"


def write_junit(path: Path, suite: str, results: list[Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(junit(suite, results), encoding="utf-8")


def read_junit(path: Path) -> list[Result]:
    """The results in a JUnit file that Catch2 or pytest wrote."""
    results = []
    for case in xml.parse(path).getroot().iter("testcase"):
        verdict: Verdict = "passed"
        details = ""
        for child in case:
            text = f"{child.get('message') or ''}\n{child.text or ''}".strip()
            if child.tag in ("failure", "error"):
                verdict, details = "failed", text
            elif child.tag == "skipped":
                verdict, details = "skipped", child.get("message") or ""
        group = (case.get("classname") or "").removesuffix(".global")
        results.append(
            Result(group, case.get("name") or "", verdict, details, float(case.get("time") or 0))
        )
    return results


@dataclass
class Point:
    """One line `ok` or `not ok` of TAP, and the comment lines that came with it."""

    number: int
    ok: bool
    name: str
    skipped: str | None = None
    comments: list[str] = field(default_factory=list)


class Tap:
    """Reads TAP, or the kernel's KTAP, line by line. Comments belong to the line `not ok` that they
    follow, or to the next point when none is before them."""

    POINT = re.compile(r"^(not )?ok\b ?(\d+)?(?: -)? ?([^#]*)(?:# *(SKIP|TODO)\b *(.*))?", re.I)
    PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*SKIP\b\s*(.*))?", re.I)

    def __init__(self) -> None:
        self.planned: int | None = None
        self.points: list[Point] = []
        self.skip_all: str | None = None
        self.bailed: str | None = None
        self._comments: list[str] = []

    def line(self, text: str) -> Point | None:
        """Takes one line in; gives the point if it was one."""
        text = text.rstrip("\r\n")
        if match := self.PLAN.match(text):
            self.planned = int(match[1])
            self.skip_all = match[2] if match[2] else None
        elif text.startswith("Bail out!"):
            self.bailed = text
        elif match := self.POINT.match(text):
            number = int(match[2]) if match[2] else len(self.points) + 1
            skip = (match[5] or "skipped") if match[4] and match[4].upper() == "SKIP" else None
            point = Point(number, not match[1], match[3].strip(), skip, self._comments)
            self._comments = []
            self.points.append(point)
            return point
        elif text.startswith("#"):
            if self.points and not self.points[-1].ok:
                self.points[-1].comments.append(text)
            else:
                self._comments.append(text)
        return None

    def missing(self) -> list[int]:
        """The planned numbers that no point had."""
        seen = {point.number for point in self.points}
        return [n for n in range(1, (self.planned or 0) + 1) if n not in seen]

    def faults(self) -> list[str]:
        """Everything that makes this run of TAP a failed one, a line each."""
        faults = []
        for point in self.points:
            if not point.ok:
                faults.append(f"not ok {point.number} - {point.name}")
                faults += [f"    {comment}" for comment in point.comments]
        if self.bailed:
            faults.append(self.bailed)
        if self.planned is None:
            faults.append("no plan was printed")
        elif missing := self.missing():
            faults.append(f"planned {self.planned}, without a result: {missing[:20]}")
        elif len(self.points) > self.planned:
            faults.append(f"planned {self.planned}, but {len(self.points)} results came")
        return faults
