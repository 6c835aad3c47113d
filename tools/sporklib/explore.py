"""tools/spork explore: runs scenarios under the kernel's recorder and makes the page of them.

docs/explorer.md tells what a user sees of it, docs/explorer-format.md what goes from hand to hand.
"""
from __future__ import annotations

import json
import lzma
import os
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .explore_deltas import step_between, steps
from .explore_events import describe_events
from .explore_lines import Checker, read_recording
from .explore_page import Recording, write_page
from .job import Job
from .machine import Config, Machine, in_option, run_folder
from .paths import BUILD, KERNEL, ROOT, ToolError
from .session import Captured
from .sources import listed
from .symbols import symbolize

PAGE = BUILD / "explore" / "index.html"
TEMPLATE = BUILD / "web" / "page.html"
WRONG = ROOT / "tools" / "explore" / "wrong"
LIMIT = 300.0  # seconds for one scenario: only a hang takes that long
MOST_STEPS = 10_000


@dataclass
class Scenario:
    """What is run, and how the page speaks of it."""

    id: str
    title: str
    about: str
    command: str
    against: str = ""
    # Mistakes of tests/mutants that its kernel has. What is recorded on a wrong kernel is kept in the
    # tree, so that nobody has to build one for the page: `make explore-wrong` takes it anew.
    mistakes: tuple[str, ...] = ()

    @property
    def kept(self) -> Path:
        return WRONG / f"{self.id}.xz"


SCENARIOS = [
    Scenario("fork-write", "fork, then write",
             "The child of a fork writes to one page of eight, then the parent does: what is copied, and when.",
             "/explore/fork_write"),
    Scenario("fork-exec", "fork, then exec",
             "A copy-on-write fork whose child calls exec at once: nothing was copied, but the parent pays at its "
             "next writes.",
             "/explore/fork_exec", "vfork-exec"),
    Scenario("vfork-exec", "vfork, then exec",
             "The child borrows its parent's address space until exec; the parent is blocked, and its map never "
             "changes.",
             "/explore/vfork_exec share", "fork-exec"),
    Scenario("vfork-bsd", "4.4BSD vfork, then exec",
             "4.4BSD's vfork was a copy-on-write fork with the parent blocked: the wait of the one and the cost of "
             "the other.",
             "/explore/vfork_exec bsd", "vfork-exec"),
    Scenario("afork", "afork, then exec",
             "An asynchronous vfork: the child has a stack of its own in the parent's address space, and nobody waits.",
             "/explore/afork_exec", "vfork-exec"),
    Scenario("fork-64m", "fork of 64 MiB",
             "A parent with 16,384 pages in memory: fork goes by map entries, and write-protects; no page is copied.",
             "/explore/fork_write 16384", "fork-write"),
    Scenario("map-shared", "MAP_SHARED",
             "Pages mapped shared are the exception to copy-on-write: what the child writes there, the parent finds.",
             "/explore/map_shared"),
    Scenario("pipeline", "a pipeline: two forks",
             "What a shell does for “producer | consumer”: three processes at a time share the parent's pages.",
             "/explore/pipeline"),
    Scenario("overcommit", "strict overcommit",
             "Under strict accounting a big process's fork fails, and leaves no trace; its vfork needs no promise.",
             "/explore/overcommit"),
    Scenario("exec", "exec tears down",
             "A process that is alone in its address space calls exec: entry by entry the old memory goes.",
             "/explore/exec_teardown"),
    Scenario("overwrite", "fork, and both write",
             "The parent writes to one page and the child to another; each finds there what was there at the fork.",
             "/explore/overwrite"),
    Scenario("wrong-protect", "fork without write-protection",
             "The parent keeps the right to write to what is common now: its child finds the parent's store.",
             "/explore/overwrite", "overwrite", ("01-fork-without-write-protection",)),
    Scenario("wrong-1b", "1B without a copy",
             "A write to a page that others have maps that page, and no copy: the two programs overwrite each other.",
             "/explore/overwrite", "overwrite", ("03-copy-forgotten", "04-writable-while-shared")),
    Scenario("wrong-wake", "no wake-up in exec",
             "exec forgets the parent that waits: it sleeps on, though the child has an address space of its own.",
             "/explore/vfork_exec share", "vfork-exec", ("14-no-wake-up-in-exec",)),
]


def own_scenario(command: str) -> Scenario:
    """The user's own command, which a recorded program executes."""
    words = shlex.split(command)
    if not words:
        raise ToolError("CMD is empty")
    return Scenario("cmd", command, "Your own command, from its exec to its end.",
                    shlex.join(["/explore/record", *words]))


def record(scenario: Scenario, folder: Path, kernel: Path = KERNEL) -> tuple[Path, str]:
    """Boots a machine, runs the scenario in it; gives the recorder's file and what was printed."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = folder / f"{scenario.id}.jsonl"
    job = Job(shlex.split(scenario.command))
    config = Config(
        kernel=kernel, initrd=job.write_initrd(folder / f"{scenario.id}.cpio"), words="norandmaps quiet", smp=1,
        icount=True, extra=["-chardev", f"file,id=record,path={in_option(lines)}", "-device",
                            "isa-debugcon,iobase=0xea,chardev=record"])
    output = bytearray()
    machine_folder = run_folder()
    try:
        with Machine(config, machine_folder) as machine:
            outcome = Captured(machine, lambda _, data: output.extend(data), LIMIT).run()
    finally:
        shutil.rmtree(machine_folder, ignore_errors=True)
        (folder / f"{scenario.id}.cpio").unlink(missing_ok=True)
    text = output.decode(errors="replace")
    if outcome.panic is not None:
        raise ToolError(f"scenario {scenario.id}: {symbolize(outcome.panic, config.kernel)}")
    if outcome.why is not None:
        raise ToolError(f"scenario {scenario.id}: {outcome.why}\n{text}")
    if outcome.status != 0 and scenario.id != "cmd":
        raise ToolError(f"scenario {scenario.id}: {scenario.command} ended with status "
                        f"{outcome.status}\n{text}")
    return lines, text


def printed_ledgers(text: str) -> dict[str, Any]:
    """What a scenario's program printed of its own accord: lines `ledger begin|end COUNTER VALUE`, of
    /proc/uvmexp when the recording began and when it had ended, and `ledger calls LINE`, of its
    /proc/self/ledger then."""
    ledgers: dict[str, Any] = {}
    calls: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if words[:2] == ["ledger", "calls"]:
            calls.append(line.split("calls ", 1)[1])
        elif words[:1] == ["ledger"] and len(words) >= 4 and words[3].isdigit():
            ledgers.setdefault(words[1], {})[words[2]] = int(words[3])
    return ledgers | ({"calls": read_calls(calls)} if calls else {})


CALL = re.compile(r"(\d+) (\w+) pid (\d+)(?: child (\d+) mode (\S+))? \((.*)\)$")
NOT_RECORDED = {"cycles", "blocked_ns"}  # the recorder slows down what it looks at


def read_calls(lines: list[str]) -> list[dict[str, Any]]:
    """The entries of a /proc/PID/ledger, as the recorder writes them."""
    calls: list[dict[str, Any]] = []
    into: dict[str, int] = {}
    for line in lines:
        head = CALL.match(line)
        later = re.match(r"  later, in the (parent|child):", line)
        if head:
            into = {}
            calls.append({"number": int(head[1]), "kind": head[2], "pid": int(head[3]),
                          "child": int(head[4] or 0), "mode": head[5] or "", "name": head[6],
                          "counters": into, "later_parent": {}, "later_child": {}})
        elif later:
            into = calls[-1][f"later_{later[1]}"]
        elif calls and line.startswith("    "):
            into.update({name: int(value) for name, value in re.findall(r"(\w+)\s+(\d+)", line)
                         if name not in NOT_RECORDED})
    return calls


def mistake(name: str) -> Path:
    return ROOT / "tests" / "mutants" / f"{name}.patch"


def read_mistake(name: str) -> dict[str, Any]:
    """A patch, for the page: its sentence, and the lines of each file that it takes out and puts in."""
    text = mistake(name).read_text()
    said, _, diff = text.partition("\n--- a/")
    files: list[dict[str, Any]] = []
    for line in ("--- a/" + diff).splitlines():
        if line.startswith("+++ b/"):
            files.append({"file": line[6:].split("\t")[0], "out": [], "in": []})
        elif line[:1] in "-+" and not line.startswith("---"):
            files[-1]["out" if line[0] == "-" else "in"].append(line[1:])
    return {"name": f"tests/mutants/{name}.patch", "said": said.partition("\n\n")[0], "files": files}


def keep_wrong(names: list[str]) -> None:
    """Builds the kernels of the scenarios with mistakes, runs these, and keeps what was recorded."""
    copy = BUILD / "explore" / "wrong"
    WRONG.mkdir(exist_ok=True)
    for scenario in SCENARIOS:
        if not scenario.mistakes or (names and scenario.id not in names):
            continue
        copy_sources(copy)
        for name in scenario.mistakes:
            subprocess.run(["patch", "-p1", "--forward", "--quiet", "-i", mistake(name)], cwd=copy, check=True)
        spare_init(copy)
        subprocess.run(["make", "-s", f"-j{os.cpu_count() or 1}", "kernel"], cwd=copy, check=True,
                       env={name: value for name, value in os.environ.items() if name != "MAKEFLAGS"})
        lines, text = record(scenario, BUILD / "explore" / "recordings", copy / "build" / "kernel" / "spork.elf")
        whole = (json.dumps({"printed": text}) + "\n").encode() + lines.read_bytes()
        scenario.kept.write_bytes(lzma.compress(whole, preset=9 | lzma.PRESET_EXTREME))
        print(f"{scenario.kept.relative_to(ROOT)}: {scenario.kept.stat().st_size:,} bytes", flush=True)


def spare_init(copy: Path) -> None:
    """init and the shell are to live on a kernel whose copy on write is wrong: they fork in mode copy, and the
    scenario's program chooses cow for itself."""
    modes = copy / "kernel" / "process" / "fork_mode.cc"
    text = modes.read_text()
    changed = text.replace("default_fork{fork_mode::cow}", "default_fork{fork_mode::copy}")
    if changed == text:
        raise ToolError(f"{modes}: the default mode of fork is not where it was")
    modes.write_text(changed)


def copy_sources(copy: Path) -> None:
    """The tree's sources in another folder; what was built there of the same stays good."""
    for name in listed():
        source, target = ROOT / name, copy / name
        if not source.is_file() or target.exists() and target.read_bytes() == source.read_bytes():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def recorded(scenario: Scenario, folder: Path) -> tuple[Path, str]:
    """As record(); of a wrong kernel what was kept."""
    if not scenario.mistakes:
        return record(scenario, folder)
    if not scenario.kept.exists():
        raise ToolError(f"scenario {scenario.id}: {scenario.kept.relative_to(ROOT)} is not there: make explore-wrong")
    first, lines = lzma.decompress(scenario.kept.read_bytes()).split(b"\n", 1)
    path = folder / f"{scenario.id}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines)
    return path, json.loads(first)["printed"]


def make_recording(scenario: Scenario, folder: Path) -> Recording:
    """Runs a scenario, and works out what each of its events changed."""
    path, text = recorded(scenario, folder)
    lines = read_recording(path, Checker())
    if not lines:
        raise ToolError(f"scenario {scenario.id}: the kernel recorded nothing\n{text}")
    if len(lines) > MOST_STEPS:
        print(f"spork: {scenario.command}: {len(lines)} events; the page has the first "
              f"{MOST_STEPS}", flush=True)
        del lines[MOST_STEPS:]
    return Recording(scenario.id, scenario.title, scenario.about, scenario.command, steps(lines),
                     printed_ledgers(text), scenario.against, step_between(lines[-1], lines[0]),
                     [read_mistake(name) for name in scenario.mistakes])


def bundle() -> None:
    """The page without its data, made by the tools that `make explore` has installed."""
    node = shutil.which("node")
    if node is None:
        raise ToolError("node is not installed: run tools/setup explore")
    done = subprocess.run([node, ROOT / "tools" / "explore" / "bundle.mjs", TEMPLATE], cwd=ROOT,
                          check=False)
    if done.returncode != 0:
        raise ToolError("the page could not be bundled")


def explore(names: list[str], command: str, output: Path) -> list[Recording]:
    """Makes the page: of the scenarios with these names (none: all), and of the command if given."""
    chosen = [each for each in SCENARIOS if not names or each.id in names]
    unknown = set(names) - {each.id for each in SCENARIOS}
    if unknown:
        raise ToolError(f"no scenario {', '.join(sorted(unknown))}; there are "
                        f"{', '.join(each.id for each in SCENARIOS)}")
    if command:
        chosen.insert(0, own_scenario(command))
    folder = BUILD / "explore" / "recordings"
    shutil.rmtree(folder, ignore_errors=True)

    def make(scenario: Scenario) -> Recording:
        recording = make_recording(scenario, folder)
        print(f"  {scenario.id}: {len(recording.steps)} events", flush=True)
        return recording

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        recordings = list(pool.map(make, chosen))
    present = {each.id for each in recordings}
    for each in recordings:
        each.against = each.against if each.against in present else ""
    bundle()
    write_page(TEMPLATE, output, recordings, describe_events(ROOT))
    size = output.stat().st_size
    print(f"{output}: {len(recordings)} scenarios, {size / 1e6:.2f} MB", flush=True)
    return recordings
