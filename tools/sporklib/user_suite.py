"""The programs of user/tests, each on Linux and on Spork."""
from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .disks import swap_file
from .endings import CORES_KEPT, core_file, how_it_ended, why_it_ended
from .job import Job
from .machine import DEFAULT_MEMORY, Config, Machine, gdb_on_core, run_folder
from .paths import BUILD, KERNEL, ROOT, SANITIZE
from .results import End, Result, Tap, progress, tally
from .session import Captured, Outcome

PROGRAM_LIMIT = 360.0 if SANITIZE else 120.0  # for one program
SANITIZED_CPUS = (1, 2, 4)


@dataclass(frozen=True)
class Guest:
    """The machine that the programs run on. `min_free`: so many KiB of its memory are not theirs, and it has swap."""

    cpus: int = 2
    memory: str = DEFAULT_MEMORY
    min_free: int | None = None
    swap: str = "256M"

    def config(self, job: Job, folder: Path, core: Path | None) -> Config:
        disks = []
        if self.min_free is not None:
            disks, job.swap = [swap_file(folder, self.swap)], "/dev/vda"
            script = f'echo {self.min_free} >/proc/sys/vm/min_free_kbytes && exec "$@"'
            job.command = ["/bin/sh", "-c", script, "sh", *job.command]
        return Config(initrd=job.write_initrd(folder / "root.cpio"), words="onpanic=halt check", smp=self.cpus,
                      memory=self.memory, core=core, disks=disks)


class _Run:
    """One program's run on one of the two kernels."""

    def __init__(self) -> None:
        self.output: list[str] = []
        self.status: int | None = None
        self.died: str | None = None  # what ended the run, when the program did not itself
        self.stopped: str | None = None  # the first failed check of a run before, and its core
        self.end: End = ""
        self.seconds = 0.0
        self.paged: list[int] = []  # pages that came from swap and went there meanwhile

    @property
    def tap(self) -> Tap:
        tap = Tap()
        for line in self.output:
            tap.line(line)
        return tap

    def result(self, group: str, name: str) -> Result:
        tap = self.tap
        faults = tap.faults()
        if self.died is not None:
            faults.append(self.died)
        elif self.status != 0:
            faults.append(f"exit status {self.status}")
        if self.stopped is not None:
            faults += [] if faults else ["it passed when it ran again"]
            faults.append(self.stopped)
        if not faults and tap.planned == 0:
            return Result(group, name, "skipped", tap.skip_all or "nothing to do", self.seconds)
        if not faults:
            return Result(group, name, "passed", "", self.seconds)
        details = "\n".join(faults)
        if self.output:
            details += "\noutput:\n" + "\n".join(f"    {line}" for line in self.output[-60:])
        return Result(group, name, "failed", details, self.seconds, self.end)

    def outcomes(self) -> dict[str, str]:
        """What a user sees of it: each point's outcome, and the exit status."""
        seen = {f"{p.number} - {p.name}": "ok" if p.ok else "not ok" for p in self.tap.points}
        seen["exit status"] = self.died or str(self.status)
        return seen


def user(pattern: str | None) -> list[Result]:
    """Each program of user/tests on Linux and on Spork; both must pass. With a sanitizer, on Spork alone."""
    names = sorted(path.stem for path in (ROOT / "user" / "tests").glob("*.c"))
    names = [name for name in names if not pattern or pattern in name]
    if SANITIZE:
        return [result for cpus in SANITIZED_CPUS for result in _user_sanitized(names, cpus)]
    alone = {name for name in names if _is_marked(name, "spork-only")}
    as_root, no_root = _root_command()

    def on_linux(name: str) -> _Run | None:
        rooted = _is_marked(name, "needs-root")
        return None if name in alone or rooted and no_root else _run_on_linux(name, as_root if rooted else [])

    with ThreadPoolExecutor(1) as beside:
        there = [beside.submit(on_linux, name) for name in names]
        on_spork = run_on_spork(names)
    results = []
    for name, ran in zip(names, there):
        spork, linux = on_spork[name], ran.result()
        both = [spork.result("spork", name)]
        if name not in alone:
            both.insert(0, linux.result("linux", name) if linux else
                        Result("linux", name, "skipped", no_root or "this machine cannot run it"))
            if linux:
                _show_differences(name, linux, spork)
        results += both
        progress(f"{name}: " + ", ".join(f"{r.verdict} on {r.group.title()}" for r in both))
    return results


def _user_sanitized(names: list[str], cpus: int) -> list[Result]:
    started = time.monotonic()
    results = [run.result(f"smp{cpus}", name) for name, run in run_on_spork(names, Guest(cpus)).items()]
    progress(f"{cpus} processor{'s' if cpus > 1 else ''}: {tally(results)}, in {time.monotonic() - started:.1f} s")
    return results


def _is_marked(name: str, mark: str) -> bool:
    text = (ROOT / "user" / "tests" / f"{name}.c").read_text(errors="replace")
    return re.search(rf"^// *{mark}\b", text, re.MULTILINE) is not None


def _root_command() -> tuple[list[str], str | None]:
    """What makes a program root among many users here, or why nothing does. A user who is not root
    is it in a name space of his own, with the further users that /etc/subuid gives him."""
    if os.geteuid() == 0:
        return [], None
    words = ["unshare", "--map-root-user", "--map-users=auto", "--map-groups=auto"]
    try:
        tried = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    except OSError as error:
        return [], f"needs root, and {error}"
    said = tried.stderr.strip().splitlines()
    return words, f"needs root, and {said[-1] if said else 'unshare failed'}" if tried.returncode else None


def _kill_session(leader: int) -> None:
    """All of its groups: who is left would keep the output open, and what reads it waiting."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if os.getsid(int(entry.name)) == leader:
                os.kill(int(entry.name), signal.SIGKILL)


def _run_on_linux(name: str, prefix: list[str]) -> _Run | None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return None
    run = _Run()
    started = time.monotonic()
    environment = {"PATH": os.environ.get("PATH", "/bin:/usr/bin"), "HOME": "/root", "TERM": "dumb"}
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            # nohup and a shell's & leave some signals ignored.
            ["env", "--default-signal", *prefix, BUILD / "user" / "tests" / name], cwd=folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=PROGRAM_LIMIT)
        except subprocess.TimeoutExpired:
            _kill_session(process.pid)
            output, _ = process.communicate()
            run.died = f"did not end in {PROGRAM_LIMIT:.0f} s"
            run.end = "hung"
    status = process.returncode
    run.output = output.decode(errors="replace").splitlines()
    run.status = status if status >= 0 else 128 - status
    run.seconds = time.monotonic() - started
    return run


TAP_STOPPED = "#   stopped (TAP_STOP)"  # user/lib/tap.h

# Runs in the guest. The marks stand on lines of their own whatever a program prints.
GUEST_LOOP = """\
paged() { sed -n 's/^pgswap.* //p' /proc/uvmexp; }
for name in "$@"; do
    mkdir -p /tmp/$name && cd /tmp/$name
    echo "@@ begin $name" $(paged)
    /tests/$name </dev/null 2>&1
    status=$?
    echo
    echo "@@ end $name $status" $(paged)
done
"""


def run_on_spork(names: list[str], guest: Guest = Guest()) -> dict[str, _Run]:
    """Runs the programs in one machine, and in a new one what a dying machine left over. The first failed
    check of a program, of CORES_KEPT programs at most, stops the machine for its core; the program then
    runs again to its end, in a machine of its own."""
    runs = {name: _Run() for name in names}
    left = list(names)
    while left:
        again = runs[left[0]].stopped is not None
        stop = not again and sum(run.stopped is not None for run in runs.values()) < CORES_KEPT
        outcome, ended = _spork_boot(left[:1] if again else left, runs, stop, guest)
        left = left[ended:]
        if left and not again and runs[left[0]].stopped is not None:
            continue
        if ended == 0:  # it did not even come to the first one
            runs[left[0]].died, runs[left[0]].end = why_it_ended(outcome), "did not run"
            left = left[1:]
    return runs


def _spork_boot(names: list[str], runs: dict[str, _Run], stop: bool, guest: Guest) -> tuple[Outcome, int]:
    """One boot, until a check fails if it is to `stop` there; gives how it ended and how many of the programs
    are done with."""
    pending = b""
    current: str | None = None
    started = 0.0
    ended = 0
    paged_before: list[int] = []

    def line(text: str) -> None:
        nonlocal current, started, ended, paged_before
        word, _, rest = text.partition(" ")
        if word == "@@" and rest.startswith("begin "):
            _, current, *counts = rest.split()
            started, paged_before = time.monotonic(), [int(count) for count in counts]
            session.restart_clock(PROGRAM_LIMIT)
        elif word == "@@" and rest.startswith("end ") and current is not None:
            run = runs[current]
            _, _, status, *counts = rest.split()
            run.status = int(status)
            run.paged = [int(count) - before for count, before in zip(counts, paged_before)]
            run.seconds = time.monotonic() - started
            if run.output and run.output[-1] == "":
                run.output.pop()
            current = None
            ended += 1
        elif current is not None:
            runs[current].output.append(text)
            if text.endswith(TAP_STOPPED):
                machine.dump_core()

    def output(stream: int, data: bytes) -> None:
        nonlocal pending
        *lines, pending = (pending + data).split(b"\n")
        for each in lines:
            line(each.decode(errors="replace"))

    folder = run_folder()
    job = Job(["/bin/sh", "-c", GUEST_LOOP, "tests", *names], {"TAP_STOP": "1"} if stop else {})
    core = core_file("user")
    with Machine(guest.config(job, folder, core), folder) as machine:
        session = Captured(machine, output, PROGRAM_LIMIT)
        outcome = session.run()
    shutil.rmtree(folder, ignore_errors=True)
    if current is not None:
        if pending:
            runs[current].output.append(pending.decode(errors="replace"))
        if core.exists():  # what is left over runs in another machine
            core = core.rename(core_file(f"user-{current}"))
        run = runs[current]
        if run.output and run.output[-1].endswith(TAP_STOPPED):
            run.stopped = "\n".join(["its first failed check:", *run.output[-4:],
                                     f"look at it by {gdb_on_core(KERNEL, core)}"])
            run.output = []
            return outcome, ended
        runs[current].died = "the machine ended: " + why_it_ended(outcome, core)
        runs[current].end = how_it_ended(outcome)
        ended += 1
    elif outcome.status != 0 and ended == len(names):
        runs[names[-1]].died = "the machine ended badly after it: " + why_it_ended(outcome)
        runs[names[-1]].end = how_it_ended(outcome)
    return outcome, ended


def _show_differences(name: str, linux: _Run, spork: _Run) -> None:
    there, here = linux.outcomes(), spork.outcomes()
    for what in dict.fromkeys([*there, *here]):
        if there.get(what) != here.get(what):
            first = (here.get(what) or "nothing").splitlines()[0]
            progress(f"    {name}: {what}: Linux {there.get(what) or 'nothing'}, Spork {first}")
