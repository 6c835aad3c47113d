"""Makes what a student is given: the tree without the answers, as a fresh repository."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from sporklib.paths import ROOT
from sporklib.sources import listed

from .cut import cut_out
from .leaks import leaks
from .spec import LABS, Lab, LabError, Passage

# What tells the answers, or grades them: nobody is given it, whatever the lab.
LEFT_OUT = ("tests/faults", "tests/mutants", "tools/test-faults", "tools/test-mutants", "tools/explore/wrong",
            "docs/mutants.md", "docs/known-faults.md", "tests/system/test_labs.py")
NOT_OF_A_LAB = ("starter", "hidden")
WHEN = "2024-01-01T00:00:00Z"
WHO = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
       for what, value in (("NAME", "Spork"), ("EMAIL", "spork@localhost"), ("DATE", WHEN))}


def git(tree: Path, *words: str) -> bytes:
    """git, with nobody's settings, in this tree: also when called by a git that works on another."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = mine | WHO | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", "-c", "safe.directory=*", *words], cwd=tree, env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise LabError(f"git {words[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def copy_sources(tree: Path) -> None:
    """Every source that git knows, as it is now, with its time: what was built of it need not be built again. What
    else lies about, submissions or somebody's copy of an answer, stays where it is."""
    for name in listed(known=True):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)


def leave_out(tree: Path, lab: Lab) -> None:
    """Takes out whole files and folders."""
    mine = tree / LABS.relative_to(ROOT)
    others = [path for path in mine.iterdir() if path.is_dir() and path.name != lab.name]
    for path in [*(tree / name for name in (*LEFT_OUT, *lab.leave_out)), *others,
                 *(mine / lab.name / name for name in NOT_OF_A_LAB)]:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        elif path not in [tree / name for name in LEFT_OUT] and path.name not in NOT_OF_A_LAB:
            raise LabError(f"{path.relative_to(tree)}: it is to be left out and is not there")


def hide(tree: Path, passage: Passage) -> tuple[str, str, str]:
    """Takes a passage out; gives it."""
    path = tree / passage.file
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    starts = [n for n, line in enumerate(lines) if passage.first in line]
    ends = [n for n, line in enumerate(lines) if passage.last in line and starts and n >= starts[0]]
    if len(starts) != 1 or not ends:
        raise LabError(f"{passage.file}: a passage from {passage.first!r} to {passage.last!r} is not there, "
                       "or more than once")
    removed = "".join(lines[starts[0]:ends[0] + 1])
    path.write_text("".join(lines[:starts[0]]) + passage.instead + "\n" + "".join(lines[ends[0] + 1:]))
    return passage.file, "a passage", removed


LINK = re.compile(r"\[([^\]]*)\]\(([^()#\s]+)(?:#[^()\s]*)?\)")


def unlink_left_out(tree: Path) -> None:
    """Of a link to what was left out, its text stays."""
    for page in tree.rglob("*.md"):
        def text_of(link: re.Match[str], page: Path = page) -> str:
            target = page.parent / link[2]
            gone = not target.exists() and (ROOT / page.relative_to(tree).parent / link[2]).exists()
            return link[1] if gone else link[0]

        text = page.read_text()
        if (new := LINK.sub(text_of, text)) != text:
            page.write_text(new)


def make_tree(lab: Lab, tree: Path) -> list[tuple[str, str, str]]:
    """The handout's files in an empty folder; gives what was taken out."""
    copy_sources(tree)
    removed = cut_out(tree, lab.cuts, lab.folder / "starter")
    leave_out(tree, lab)
    for passage in lab.passages:
        hide(tree, passage)
    unlink_left_out(tree)
    return removed


def make_repository(lab: Lab, tree: Path) -> None:
    """One commit, by nobody, whose name depends on nothing but the files."""
    git(tree, "init", "-q", "-b", "main")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", f"Lab {lab.name}: {lab.title}")


def cut(lab: Lab, out: Path) -> str:
    """Writes the handout to a folder that is not there yet, or is empty. Says what it is."""
    if out.exists() and any(out.iterdir()):
        raise LabError(f"{out}: there is something in it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".lab-") as made:
        tree = Path(made) / "tree"
        tree.mkdir()
        removed = make_tree(lab, tree)
        make_repository(lab, tree)
        starter = [path.read_text() for path in (lab.folder / "starter").rglob("*.txt")]
        found, count = leaks(tree, removed, starter + lab.harmless)
        if found:
            raise LabError(f"{lab.name}: the handout would hold the answer:\n" +
                           "\n".join(f"  {leak}" for leak in found))
        out.mkdir(exist_ok=True)
        for path in tree.iterdir():
            shutil.move(path, out / path.name)
    return f"{len(lab.cuts)} cuts; none of {count} rows of eight tokens is left"


def update(lab: Lab, handed_out: Path) -> tuple[bytes, list[str]]:
    """A patch from a handout as it was given out (its first commit) to one of today, and the files to be handed in
    that would change and do not."""
    with tempfile.TemporaryDirectory(prefix="lab-") as made:
        new = Path(made) / "new"
        cut(lab, new)
        old = git(handed_out, "rev-list", "--max-parents=0", "HEAD").decode().split()
        if len(old) != 1:
            raise LabError(f"{handed_out}: it is not a handout: {len(old)} commits have no parent")
        git(new, "fetch", "-q", str(handed_out.resolve()), old[0])
        changed = git(new, "diff", "--name-only", "--no-renames", old[0], "HEAD", "--", *lab.submit)
        others = [f":(exclude){name}" for name in lab.submit]
        patch = git(new, "diff", "--binary", "--no-renames", old[0], "HEAD", "--", ".", *others)
    return patch, changed.decode().split()
