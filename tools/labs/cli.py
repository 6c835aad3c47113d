"""The commands of tools/lab."""
from __future__ import annotations

import argparse
import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sporklib import cli
from sporklib.paths import BUILD, KERNEL, ROOT_CPIO, ToolError, refused

from . import handout, prove, reports
from .grade import LIMIT, Grader, Result
from .spec import load, names


def say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


def list_labs(_: argparse.Namespace) -> int:
    for name in names():
        lab = load(name)
        print(f"{name:12} {lab.points:4} points {lab.hours:3} hours  {lab.title}")
    return 0


def cut(arguments: argparse.Namespace) -> int:
    lab = load(arguments.lab)
    said = handout.cut(lab, arguments.output)
    say(f"{arguments.output}: {lab.title}: {said}")
    return 0


def update(arguments: argparse.Namespace) -> int:
    lab = load(arguments.lab)
    patch, changed = handout.update(lab, arguments.handout)
    arguments.output.write_bytes(patch)
    for name in changed:
        say(f"{name}: changed since, and left alone: it is to be handed in")
    say(f"{arguments.output}: git apply puts it into a handout" if patch else "nothing has changed")
    return 0


def grade(arguments: argparse.Namespace) -> int:
    cli.build(KERNEL, ROOT_CPIO)
    lab = load(arguments.lab)
    for submission in arguments.submission:
        if not submission.is_dir():
            raise ToolError(f"{submission}: a submission is a folder")
    outs = [arguments.output / submission.resolve().name for submission in arguments.submission]
    if len(set(outs)) != len(outs):
        raise ToolError("two submissions have one name")
    grader = Grader(lab, arguments.limit, arguments.visible)

    def one(submission: Path, out: Path) -> Result:
        def keep(result: Result) -> None:
            out.mkdir(parents=True, exist_ok=True)
            for file, text_of in reports.FORMATS.values():
                new = out / f"{file}.new"
                new.write_text(text_of(result))
                new.replace(out / file)

        try:
            return grader.grade(submission, keep)
        except OSError as error:  # the others are graded all the same
            lost = grader.nothing(submission, f"it could not be graded: {refused(error)}")
            with contextlib.suppress(OSError):
                keep(lost)
            return lost

    results = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(one, arguments.submission, outs):
            results.append(result)
            sys.stdout.write(reports.page(result))
            sys.stdout.flush()
    (arguments.output / "marks.csv").write_text(reports.table(results))
    return 0 if all(result.complete for result in results) else 1


def prove_labs(arguments: argparse.Namespace) -> int:
    cli.build(KERNEL, ROOT_CPIO)
    proved = [prove.prove(load(name), arguments.only, arguments.limit) for name in arguments.lab or names()]
    return 0 if all(proved) else 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="tools/lab", description="Labs: docs/labs/README.md.")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    each = commands.add_parser("list", help="the labs that there are")
    each.set_defaults(action=list_labs)

    each = commands.add_parser("cut", help="write what a student is given, and search it for the answer")
    each.add_argument("lab")
    each.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    each.set_defaults(action=cut)

    each = commands.add_parser("update", help="a patch for a handout that has been given out")
    each.add_argument("lab")
    each.add_argument("handout", type=Path, help="as it was given out, or a student's: its first commit counts")
    each.add_argument("-o", "--output", type=Path, required=True, metavar="PATCH")
    each.set_defaults(action=update)

    each = commands.add_parser("grade", help="grade submissions: folders with the files to be handed in")
    each.add_argument("lab")
    each.add_argument("submission", type=Path, nargs="+")
    each.add_argument("-o", "--output", type=Path, default=BUILD / "labs" / "results", metavar="DIR",
                      help="a folder for each submission's results (build/labs/results)")
    each.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="so many side by side (1)")
    each.add_argument("--visible", action="store_true", help="the tests alone that a handout has, too")
    each.add_argument("--limit", type=float, default=LIMIT, metavar="S", help=f"seconds for one machine ({LIMIT:.0f})")
    each.set_defaults(action=grade)

    each = commands.add_parser("prove", help="grade starter, solution and the submissions that are kept with a lab")
    each.add_argument("lab", nargs="*")
    each.add_argument("--only", default="", metavar="PATTERN", help="those whose name contains it")
    each.add_argument("--limit", type=float, default=LIMIT, metavar="S", help=f"seconds for one machine ({LIMIT:.0f})")
    each.set_defaults(action=prove_labs)
    return top


def main(argv: list[str]) -> int:
    arguments = parser().parse_args(argv or ["--help"])
    try:
        return int(arguments.action(arguments))
    except ToolError as error:
        say(str(error))
    except OSError as error:
        say(refused(error))
    return 1
