"""A libc built inside Spork, once under each mode of fork and vfork, and what each cost.

The source is the distribution's package of musl with tools/libc/musl-tcc.patch; make, sh, tcc, as and
ar are this machine's own programs. tools/libc/build.sh is what runs inside.
"""
from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import cpio
from .apt import fetch_source
from .job import find_program
from .paths import BUILD, ROOT, ROOT_CPIO, ToolError
from .programs import Programs

PARTS = ROOT / "tools" / "libc"
PATCH = PARTS / "musl-tcc.patch"
SOURCE = BUILD / "libc" / "musl"  # patched, ready to be built
TCC_FILES = "/usr/lib/x86_64-linux-gnu/tcc"  # its headers and libtcc1.a
PROGRAMS = ("make", "/bin/sh", "tcc", "as", "ar")
INSIDE = ("config.mak", "build.sh", "program.c")  # of tools/libc
PHASES = ("configure", "make", "link")
MODES = ("cow:share", "cow:cow", "copy:share", "copy:fork", "cow+pte:fork")
MEMORY = "512M"
BILLION = 1e9


def prepare_source() -> Path:
    """The patched source under build/, fetched when it is not there. MUSL_SOURCE in the environment
    names an unpacked musl to take instead of the distribution's package."""
    stamp = SOURCE / ".patched"
    if stamp.exists() and stamp.stat().st_mtime >= PATCH.stat().st_mtime:
        return SOURCE
    given = os.environ.get("MUSL_SOURCE")
    package = SOURCE.parent / "package"
    if not given and not list(package.glob("unpacked/musl-*/configure")):
        fetch_source("musl", package)
    found = [Path(given)] if given else [p.parent for p in package.glob("unpacked/musl-*/configure")]
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(found[0], SOURCE, ignore=shutil.ignore_patterns(".git", ".pc"))
    done = subprocess.run(["patch", "-p1", "-s", "-N", "-i", str(PATCH)], cwd=SOURCE,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"{PATCH} does not fit {found[0]}:\n{done.stdout}{done.stderr}")
    for path in SOURCE.rglob("*"):
        os.utime(path, (cpio.TIME, cpio.TIME))  # make must not find a file from the future
    stamp.touch()
    return SOURCE


@dataclass
class Build:
    """What one build printed: its counters after each phase, and what is to be shown."""

    mode: str
    status: int = 0
    counters: dict[str, dict[str, float]] = field(default_factory=dict)
    objects: int = 0
    said: list[str] = field(default_factory=list)

    def cost(self, name: str, phases: tuple[str, ...] = PHASES) -> float:
        """How much a counter grew in phases that follow each other."""
        order = ("start", *PHASES)
        before = order[order.index(phases[0]) - 1]
        return self.counters[phases[-1]][name] - self.counters[before][name]


def _counter(line: str) -> Iterator[tuple[str, float]]:
    """The counters of one line: /proc/uvmexp's, and what build.sh takes of /proc/stat and uptime."""
    words = line.split()
    if words[0] == "cpu":
        yield "user", float(words[1]) / 100
        yield "system", float(words[3]) / 100
    elif re.fullmatch(r"[\d.]+", words[0]):
        yield "seconds", float(words[0])
    else:
        yield words[0], float(words[1])


def read_output(lines: Iterator[str], build: Build, progress: Callable[[Build, int], None]) -> None:
    """Takes in what build.sh prints."""
    into: dict[str, float] | None = None
    for line in map(str.strip, lines):
        if line.startswith("counters "):
            into = build.counters.setdefault(line.split()[1], {})
        elif line == ".":
            into = None
        elif into is not None:
            into.update(_counter(line))
        elif match := re.match(r"object (\d+) ", line):
            build.objects += 1
            progress(build, int(match[1]))
        elif line:
            build.said.append(line)


def additions() -> dict[Path | str, str]:
    """Sources and what runs inside, and where they go."""
    where: dict[Path | str, str] = {TCC_FILES: TCC_FILES, prepare_source(): "/libc/musl"}
    where.update((PARTS / name, f"/libc/{name}") for name in INSIDE)
    return where


def disk() -> Path:
    """All that as an archive on a disk, and the tools: for a machine that has no memory for it before it can page."""
    with ROOT_CPIO.open("rb") as base, mmap.mmap(base.fileno(), 0, access=mmap.ACCESS_READ) as contents:
        archive = cpio.Archive(contents)
    programs = Programs(archive)
    for name in PROGRAMS:
        programs.add(*find_program(name))
    for host, guest in additions().items():
        archive.add(Path(host), guest)
    path = SOURCE.parent / "disk.raw"
    path.write_bytes(archive.finish())
    return path


FROM_DISK = "mount -t tmpfs -o size=128M,nr_inodes=8k libc /libc && cd / && cpio -idu </dev/vda && "


def run_build(mode: str, files: list[str], jobs: int, options: list[str],
              progress: Callable[[Build, int], None]) -> Build:
    """One build under "FORK:VFORK". `files`: make's patterns, relative to musl's src."""
    words = [str(ROOT / "tools" / "spork"), "run", "--mem", MEMORY, *options]
    before = ""
    if "--swap" in options:
        words += ["--disk", str(disk())]
        before = FROM_DISK
    else:
        for program in PROGRAMS:
            words += ["--add-with-libs", program]
        for host, guest in additions().items():
            words += ["--add", f"{host}:{guest}"]
    words += ["--", "sh", "-c", f'mkdir -p /libc; {before}exec sh /libc/build.sh "$@"', "build", *mode.split(":"),
              str(jobs), *files]
    build = Build(mode)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          errors="replace") as process:
        assert process.stdout is not None
        read_output(process.stdout, build, progress)
    build.status = process.returncode
    return build


class Progress:
    """A line that says how far a build is: redrawn on a terminal, else now and then a new one."""

    def __init__(self, number: int, builds: int) -> None:
        self._label = f"[{number}/{builds}]"
        self._started = self._shown = time.monotonic()

    def __call__(self, build: Build, objects: int) -> None:
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if now - self._shown < (0.2 if terminal else 30) and build.objects != objects:
            return
        self._shown = now
        minutes, seconds = divmod(int(now - self._started), 60)
        text = f"{self._label} {build.mode}: {build.objects} of {objects} objects, {minutes}:{seconds:02}"
        sys.stderr.write(f"\r\033[K{text}" if terminal else f"{text}\n")
        if terminal and build.objects == objects:
            sys.stderr.write("\n")
        sys.stderr.flush()


COLUMNS: tuple[tuple[str, Callable[[Build], str]], ...] = (
    ("processes", lambda b: f"{b.cost('processes'):.0f}"),
    ("copied maps", lambda b: f"{b.cost('forks'):.0f}"),
    ("borrowed maps", lambda b: f"{b.cost('forks_sharevm'):.0f}"),
    ("faults", lambda b: f"{b.cost('faults'):.0f}"),
    ("pages copied", lambda b: f"{b.cost('pages_copied'):.0f}"),
    ("configure", lambda b: f"{b.cost('seconds', ('configure',)):.2f}"),
    ("make", lambda b: f"{b.cost('seconds', ('make',)):.2f}"),
    ("kernel", lambda b: f"{b.cost('system'):.2f}"),
    ("all", lambda b: f"{b.cost('seconds'):.2f}"),
)


def table(builds: list[Build]) -> str:
    """A Markdown table with a line for each build; what each takes longer than the first is last."""
    rows = [["fork, vfork", *(name for name, _ in COLUMNS), "more than the first"]]
    first = builds[0].cost("seconds")
    for build in builds:
        more = build.cost("seconds") - first
        rows.append([build.mode.replace(":", ", "), *(show(build) for _, show in COLUMNS),
                     f"{more:+.2f} ({100 * more / first:+.1f} %)" if build is not builds[0] else ""])
    rows.insert(1, ["---"] + ["--:"] * (len(rows[0]) - 1))
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)
