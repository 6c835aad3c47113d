"""Builds a submission's kernel: a pristine tree, the files that may be handed in, and no code of strangers' outside a
sandbox.

The pristine tree is the handout: who compiles in it finds neither the solution nor a hidden test. It is built once, and
of a submission only what was handed in is compiled. What was compiled is linked in a second sandbox, where it is the
only thing that came from the first.
"""
from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sporklib.paths import BUILD, ROOT, ToolError
from sporklib.sources import listed

from .handout import make_tree
from .sandbox import Sandbox, read_plain
from .spec import Lab, programs

LARGEST = 1 << 20  # of a file that is handed in
IGNORED = 20  # so many are named
BUILT = ("kernel", "setup")
MADE_OF = ("arch", "boot", "docs/labs", "kernel", "lib", "tests", "tools", "user", "vm")


@dataclass
class Pristine:
    """A lab's tree, built; and how a source of it is compiled and the kernel linked."""

    tree: Path
    programs: Path
    hash: str
    compile: dict[str, str]
    link: str


@dataclass
class Kernel:
    elf: Path | None  # None: it could not be built
    said: str = ""
    notes: list[str] = field(default_factory=list)
    program: Path | None = None  # where that is what was handed in


def hash_of(lab: Lab) -> str:
    """Of lab, tests and tool: all that git knows, and what else there is where they are."""
    whole = hashlib.sha256(lab.name.encode())
    for name in sorted({*listed(known=True), *listed(*MADE_OF)}):
        if (ROOT / name).is_file():
            whole.update(os.fsencode(name) + b"\0" + hashlib.sha256((ROOT / name).read_bytes()).digest())
    return whole.hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(tree: Path, *words: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(["make", "-s", "--no-print-directory", "SETUP=stamp", *words], cwd=tree, env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"the tree cannot be built before anything is handed in:\n{done.stdout}{done.stderr}")
    return done.stdout


def program_line(source: str, made: str) -> list[str]:
    """How a user program is built."""
    compiler = os.environ.get("MUSL_CC", "musl-gcc").split()
    return [*compiler, "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-static",
            "-o", made, source]


def _build_programs(lab: Lab, folder: Path) -> None:
    """The lab's own."""
    folder.mkdir(exist_ok=True)
    for source in programs(lab):
        done = subprocess.run(program_line(str(source), str(folder / source.stem)), capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise ToolError(f"{source} cannot be compiled:\n{done.stderr}")


def broken_kernel(clean: Pristine, patch: str) -> Path:
    return clean.programs / f"{Path(patch).stem}.elf"


def _build_broken(lab: Lab, tree: Path, clean: Pristine) -> None:
    """The kernels that a program is tried on: the pristine one with a patch each."""
    def change(patch: str, *words: str) -> None:
        done = subprocess.run(["patch", "-p1", "-s", *words, "-i", str(ROOT / patch)], cwd=tree,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ToolError(f"{patch} does not apply: {done.stdout}")

    patches = sorted({test.broken for test in lab.tests if test.broken})
    for patch in patches:
        change(patch, "--forward")
        _make(tree, "build/kernel/spork.elf")
        shutil.copy2(tree / "build/kernel/spork.elf", broken_kernel(clean, patch))
        change(patch, "-R")
    if patches:
        _make(tree, "build/kernel/spork.elf")


def pristine(lab: Lab) -> Pristine:
    """The lab's, made anew when anything has changed."""
    folder = BUILD / "labs" / lab.name
    tree, stamp, made_programs = folder / "tree", folder / "hash", folder / "programs"
    now = hash_of(lab)
    with locked(folder / "lock"):
        if not stamp.exists() or stamp.read_text() != now:
            stamp.unlink(missing_ok=True)
            for old in (tree, made_programs):
                shutil.rmtree(old, ignore_errors=True)
            tree.mkdir(parents=True)
            make_tree(lab, tree)
            for part in BUILT:
                shutil.copytree(BUILD / part, tree / "build" / part)
            _make(tree, "build/kernel/spork.elf")
            _build_programs(lab, made_programs)
            _build_broken(lab, tree, Pristine(tree, made_programs, now, {}, ""))
            stamp.write_text(now)
        if lab.asks_for_program:
            return Pristine(tree, made_programs, now, {}, "")
        told = _make(tree, "-n", *(f"-W{name}" for name in lab.submit), "build/kernel/spork.elf")
    lines = told.splitlines()
    compile_lines = {name: line for name in lab.submit for line in lines
                     if line.rstrip().endswith(f"-c {name} -o build/kernel/{name}.o")}
    links = [line for line in lines if "-Map=build/kernel/spork.map" in line]
    if set(compile_lines) != set(lab.submit) or len(links) != 1:
        raise ToolError(f"make does not tell how {', '.join(lab.submit)} become a kernel")
    return Pristine(tree, made_programs, now, compile_lines, links[0])


def object_name(name: str) -> str:
    return name.replace("/", "_") + ".o"


def printable(name: str) -> str:
    """A stranger's name of a file, fit for a report."""
    return "".join(each if each.isprintable() else "?" for each in name)[:200]


def find(submission: Path, name: str) -> Path | None:
    """A file of the submission; where it came without its folders, by its last name."""
    for path in (submission / name, submission / Path(name).name):
        if os.path.lexists(path):
            return path
    return None


def take_in(lab: Lab, clean: Pristine, submission: Path, folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Copies what may be handed in, and says what has no effect."""
    taken: dict[str, Path] = {}
    notes = []
    mine = set()
    for name in lab.submit:
        path = find(submission, name)
        if path is None:
            notes.append(f"{name} was not handed in: the starter's stands in its place")
            continue
        mine.add(path)
        linked = any(parent.is_symlink() for parent in path.parents if submission in parent.parents)
        data = None if linked else read_plain(path, LARGEST)
        if data is None:
            notes.append(f"{name} is no plain file of at most {LARGEST >> 20} MiB that can be read: the starter's "
                         "stands in its place")
            continue
        taken[name] = folder / name.replace("/", "_")
        taken[name].write_bytes(data)
    ignored = []
    for path in sorted(Path(at) / name for at, _, names in os.walk(submission) for name in names):
        name = str(path.relative_to(submission))
        if path in mine or name.startswith((".git/", "build/")):
            continue
        if (given := read_plain(clean.tree / name)) is None or read_plain(path, len(given)) != given:
            ignored.append(printable(name))
    notes += [f"{name} has no effect: it is not to be handed in" for name in ignored[:IGNORED]]
    if len(ignored) > IGNORED:
        notes.append(f"nor have {len(ignored) - IGNORED} more files")
    return taken, notes


def _build_handed_in(name: str, clean: Pristine, sandbox: Sandbox, compiled: Path, work: Path,
                     notes: list[str]) -> Kernel:
    """The kernel as it is, and the program that is to test it."""
    stem = Path(name).stem
    status, said = sandbox.run(program_line(name, f"/out/{stem}"))
    made = read_plain(compiled / stem) if status == 0 else None
    if made is None:
        return Kernel(None, said or f"the compiler ended with {status}", notes)
    program = work / stem
    program.write_bytes(made)
    program.chmod(0o755)
    return Kernel(clean.tree / "build/kernel/spork.elf", said, notes, program)


def build(lab: Lab, clean: Pristine, submission: Path, work: Path) -> Kernel:
    """The submission's kernel. `work` is an empty folder of its own."""
    given, compiled, linked = (work / name for name in ("given", "compiled", "linked"))
    for each in (given, compiled, linked):
        each.mkdir()
    taken, notes = take_in(lab, clean, submission, given)
    if lab.asks_for_program:
        return _build_handed_in(lab.submit[0], clean, Sandbox(clean.tree, compiled, taken), compiled, work, notes)
    for name in taken:
        command = clean.compile[name].replace(f"build/kernel/{name}.o", f"/out/{object_name(name)}")
        status, said = Sandbox(clean.tree, compiled, taken).run(["sh", "-c", command])
        made = read_plain(compiled / object_name(name)) if status == 0 else None
        if made is None:
            return Kernel(None, said or f"the compiler ended with {status}", notes)
        (linked / object_name(name)).write_bytes(made)
    link = clean.link.replace("build/kernel/spork.map", "/out/spork.map")
    link = link.replace("-o build/kernel/spork.elf", "-o /out/spork.elf")
    for name in taken:
        link = re.sub(rf"(?<!\S)build/kernel/{re.escape(name)}\.o(?!\S)", f"/out/{object_name(name)}", link)
    status, said = Sandbox(clean.tree, linked).run(["sh", "-c", link])
    made = read_plain(linked / "spork.elf") if status == 0 else None
    if made is None:
        return Kernel(None, said or f"the linker ended with {status}", notes)
    elf = work / "spork.elf"
    elf.write_bytes(made)
    return Kernel(elf, said, notes)
