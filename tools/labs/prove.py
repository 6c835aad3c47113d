"""Proves a lab from the tree as it is: the handout holds no answer; the starter fails exactly what it is to fail; the
solution has all points; each submission that is kept has the points that it deserves."""
from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sporklib.paths import ROOT

from . import handout
from .cut import bodies_in, splice
from .grade import Grader, Result
from .kernels import pristine
from .spec import Lab, LabError, Submission


def copy_files(lab: Lab, tree: Path, folder: Path) -> None:
    for name in lab.submit:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree / name, folder / name)


def change(lab: Lab, submission: Submission, folder: Path) -> None:
    """Makes the submission of the solution, which is in the folder."""
    if submission.patch:
        done = subprocess.run(["patch", "-p1", "--forward", "-s", "-i", str(ROOT / submission.patch)], cwd=folder,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"{submission.patch} does not apply: {done.stdout}")
    if submission.file:
        shutil.copy2(lab.folder / "hidden" / submission.file, folder / lab.submit[0])
    if submission.bodies:
        splice(folder, bodies_in(lab.folder / "hidden" / submission.bodies), includes=ROOT)
    if submission.add:
        name, line = submission.add.split(": ", 1)
        with (folder / name).open("a") as file:
            file.write(line + "\n")
    if submission.drop:
        (folder / submission.drop).unlink()


@contextmanager
def submissions(lab: Lab) -> Iterator[list[tuple[Submission, Path]]]:
    """Starter, solution and those that are kept, each in a folder. The starter has no points, but for tests that
    it is to pass."""
    with tempfile.TemporaryDirectory(prefix="lab-") as made:
        all_of_them: list[tuple[Submission, Path]] = []
        solution = "solution.c" if lab.asks_for_program else None
        passed = sum(test.points for test in lab.tests if test.starter)
        for number, each in enumerate([Submission("starter", passed),
                                       Submission("solution", lab.points, file=solution), *lab.submissions]):
            folder = Path(made) / f"{number:02}"
            folder.mkdir()
            copy_files(lab, pristine(lab).tree if number == 0 else ROOT, folder)
            change(lab, each, folder)
            all_of_them.append((each, folder))
        yield all_of_them


def fault_of(lab: Lab, submission: Submission, result: Result) -> str:
    """Why this is not the mark that it is to be."""
    if submission.name == "starter":
        failed = [mark.name for mark in result.tests if not mark.passed]
        if failed != lab.expected_fail:
            return f"fails {failed}, and is to fail {lab.expected_fail}"
    if result.points != submission.points:
        return f"is to have {submission.points}"
    return ""


def prove(lab: Lab, only: str = "", limit: float = 120.0) -> bool:
    """Prints a line for each submission; whether all is as it should be."""
    with tempfile.TemporaryDirectory(prefix="lab-") as made:
        print(f"{lab.name}: {handout.cut(lab, Path(made) / 'handout')}", flush=True)
    proved = True
    with submissions(lab) as all_of_them:
        for each, folder in all_of_them:
            if only not in each.name:
                continue
            result = Grader(lab, each.limit or limit).grade(folder)
            fault = fault_of(lab, each, result)
            proved = proved and not fault
            why = next((mark.first for mark in result.tests if not mark.passed), "")
            print(f"{lab.name}: {each.name}: {result.points} of {result.most}" + (f", AND {fault}" if fault else "") +
                  (f"; first: {why}" if why else ""), flush=True)
    return proved
