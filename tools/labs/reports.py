"""A result as others want it: a page for the student, JUnit, Gradescope, Classroom 50, PrairieLearn, CSV.

None of them has a hidden test's name, text or trace: of those there is one line, with their points.
"""
from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

from sporklib import results

from .grade import Mark, Result

NOT_SHOWN = "tests that are not shown"


def shown(result: Result) -> list[Mark]:
    """The visible marks, and one for all others."""
    marks = [mark for mark in result.tests if not mark.hidden]
    hidden = [mark for mark in result.tests if mark.hidden]
    if hidden:
        passed = all(mark.passed for mark in hidden)
        count = sum(mark.passed for mark in hidden)
        marks.append(Mark(NOT_SHOWN, sum(mark.points for mark in hidden), sum(mark.most for mark in hidden), "", False,
                          passed, "" if passed else f"{count} of {len(hidden)} pass"))
    return marks


def page(result: Result) -> str:
    """Markdown."""
    lines = [f"# {result.title}: {result.points} of {result.most} points", ""]
    lines += [f"* {note}" for note in result.notes] + ([""] if result.notes else [])
    for mark in shown(result):
        lines.append(f"{'pass' if mark.passed else 'FAIL'} {mark.points:3}/{mark.most:<3} {mark.name}" +
                     (f": {mark.first}" if mark.first else ""))
    for mark in shown(result):
        if mark.report:
            lines += ["", f"## {mark.name}", "", *(f"    {line}" for line in mark.report.splitlines())]
    lines += ["", f"lab {result.lab}, tests and tool {result.hash[:16]}" +
              ("" if result.complete else "; the grading did not come to its end")]
    return "\n".join(lines) + "\n"


def output(mark: Mark) -> str:
    return f"{mark.first}\n{mark.report}".strip()


def junit(result: Result) -> str:
    return results.junit(result.lab, [results.Result(mark.group, mark.name, "passed" if mark.passed else "failed",
                                                     output(mark), mark.seconds) for mark in shown(result)])


def gradescope(result: Result) -> str:
    tests = [{"score": mark.points, "max_score": mark.most, "status": "passed" if mark.passed else "failed",
              "name": mark.name, "number": str(number), "output": output(mark), "output_format": "text",
              "visibility": "visible"}
             for number, mark in enumerate(shown(result), 1)]
    return json.dumps({"score": result.points, "output": "\n".join(result.notes), "output_format": "text",
                       "visibility": "visible", "stdout_visibility": "hidden", "tests": tests,
                       "extra_data": {"lab": result.lab, "hash": result.hash, "complete": result.complete}},
                      indent=1) + "\n"


def classroom50(result: Result) -> str:
    """The part of classroom50/result/v1 that a grader knows; what the classroom knows, it adds."""
    return json.dumps({"schema": "classroom50/result/v1", "assignment": result.lab, "submission": result.submission,
                       "score": result.points, "max-score": result.most,
                       "tests": [{"test-name": mark.name, "passed": mark.passed, "score": mark.points,
                                  "max-score": mark.most} for mark in shown(result)]}, indent=1) + "\n"


def prairielearn(result: Result) -> str:
    return json.dumps({"gradable": True, "score": result.points / result.most if result.most else 0,
                       "output": "\n".join(result.notes),
                       "tests": [{"name": mark.name, "points": mark.points, "max_points": mark.most,
                                  "message": mark.first, "output": output(mark)} for mark in shown(result)]},
                      indent=1) + "\n"


def table(of: list[Result]) -> str:
    """CSV, a line for each submission; without points for one that could not be graded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [mark.name for mark in shown(of[0])] if of else []
    writer.writerow(["submission", "points", "of", *names, "hash"])
    for result in of:
        points = [str(n) for n in (result.points, result.most, *(mark.points for mark in shown(result)))]
        writer.writerow([result.submission, *(points if result.complete else [""] * len(points)), result.hash])
    return text.getvalue()


FORMATS: dict[str, tuple[str, Callable[[Result], str]]] = {
    "page": ("page.md", page),
    "json": ("result.json", lambda result: result.json()),
    "junit": ("junit.xml", junit),
    "gradescope": ("results.json", gradescope),
    "classroom50": ("classroom50.json", classroom50),
    "prairielearn": ("prairielearn.json", prairielearn),
}
