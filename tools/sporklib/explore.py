"""tools/spork explore: runs scenarios under the kernel's recorder and makes the page of them.

docs/explorer.md tells what a user sees of it, docs/explorer-format.md what goes from hand to hand.
"""
from __future__ import annotations

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
from .paths import BUILD, ROOT, ToolError
from .session import Captured
from .symbols import symbolize

PAGE = BUILD / "explore" / "index.html"
TEMPLATE = BUILD / "web" / "page.html"
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
]


def own_scenario(command: str) -> Scenario:
    """The user's own command, which a recorded program executes."""
    words = shlex.split(command)
    if not words:
        raise ToolError("CMD is empty")
    return Scenario("cmd", command, "Your own command, from its exec to its end.",
                    shlex.join(["/explore/record", *words]))


def record(scenario: Scenario, folder: Path) -> tuple[Path, str]:
    """Boots a machine, runs the scenario in it; gives the recorder's file and what was printed."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = folder / f"{scenario.id}.jsonl"
    job = Job(shlex.split(scenario.command))
    config = Config(
        initrd=job.write_initrd(folder / f"{scenario.id}.cpio"), words="norandmaps quiet", smp=1,
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


def make_recording(scenario: Scenario, folder: Path) -> Recording:
    """Runs a scenario, and works out what each of its events changed."""
    path, text = record(scenario, folder)
    lines = read_recording(path, Checker())
    if not lines:
        raise ToolError(f"scenario {scenario.id}: the kernel recorded nothing\n{text}")
    if len(lines) > MOST_STEPS:
        print(f"spork: {scenario.command}: {len(lines)} events; the page has the first "
              f"{MOST_STEPS}", flush=True)
        del lines[MOST_STEPS:]
    return Recording(scenario.id, scenario.title, scenario.about, scenario.command, steps(lines),
                     printed_ledgers(text), scenario.against, step_between(lines[-1], lines[0]))


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
