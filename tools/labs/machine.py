"""Runs a lab's program on a kernel, in a sandbox, and looks at the machine's memory while it waits."""
from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sporklib.paths import ROOT

from .sandbox import Limits, Sandbox, open_plain
from .spec import Look

PAGE = 4096
WORDS = 8  # docs/labs/lab.h
MASK = (1 << 64) - 1
KEPT = 1 << 20  # bytes of output
GRACE = 20.0  # seconds for the report of a machine whose time is up


def word(seed: int, generation: int, page: int, number: int) -> int:
    """lab_word() of docs/labs/lab.h."""
    z = (seed + (generation << 40 | page << 8 | number) * 0x9e3779b97f4a7c15) & MASK
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & MASK
    z = (z ^ z >> 27) * 0x94d049bb133111eb & MASK
    return z ^ z >> 31


def contents(seed: int, generation: int, page: int) -> bytes:
    """What a page begins with."""
    return struct.pack(f"<{WORDS}Q", *(word(seed, generation, page, n) for n in range(WORDS)))


def total(seed: int, generation: int, pages: range) -> int:
    """lab_sum()."""
    return sum(word(seed, generation, page, n) for page in pages for n in range(WORDS)) & MASK


@dataclass
class Ran:
    status: int
    output: str = ""
    said: str = ""  # by the tool and the kernel
    values: dict[str, int] = field(default_factory=dict)
    stages: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # of what was seen in memory
    seconds: float = 0.0


class Monitor:
    """QEMU's, at a socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        socket_file = os.open(path, os.O_PATH | os.O_NOFOLLOW)  # the machine might have put a link there
        try:
            self._socket.connect(f"/proc/self/fd/{socket_file}")
        finally:
            os.close(socket_file)
        self._file = self._socket.makefile("rwb", buffering=0)
        self._file.readline()
        self.do("qmp_capabilities")

    def do(self, command: str, **arguments: Any) -> None:
        self._file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while line := self._file.readline():
            answer = json.loads(line)
            if "return" in answer:
                return
            if "error" in answer:
                raise OSError(answer["error"].get("desc", "QEMU refuses"))
        raise OSError("QEMU's monitor has gone")

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def look(monitor: Monitor, out: Path, seed: int, looks: list[Look], memory_size: int) -> list[str]:
    """What is not in memory as it should be. The machine stands still meanwhile."""
    image = out / "memory"
    monitor.do("stop")
    monitor.do("pmemsave", val=0, size=memory_size << 20, filename="/out/memory")
    counts = {contents(seed, each.generation, page): 0 for each in looks for page in each.pages}
    with open_plain(image) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        for at in range(0, len(memory), PAGE):
            if (start := memory[at:at + 8 * WORDS]) in counts:
                counts[start] += 1
    image.unlink()
    monitor.do("cont")
    faults = []
    for each in looks:
        found = [counts[contents(seed, each.generation, page)] for page in each.pages]
        wrong = [count for count in found if count != each.copies]
        if wrong:
            pages = f"pages {each.pages.start} to {each.pages.stop - 1} of generation {each.generation}"
            faults.append(f"at {each.stage}: {pages} are to be in memory {each.copies} times; {len(wrong)} of them are "
                          f"there {min(wrong)} to {max(wrong)} times")
    return faults


def sandbox_for(out: Path, limit: float) -> Sandbox:
    """The tree to read, as QEMU and tools/spork want it. The kernel, in the machine, sees nothing of it."""
    return Sandbox(ROOT, out, limits=Limits(seconds=int(limit + 2 * GRACE), memory=16 << 30),
                   variables={"SPORK_NO_BUILD": "1", "PYTHONDONTWRITEBYTECODE": "1"})


def run(kernel: Path, command: list[str], out: Path, *, seed: int, looks: list[Look], options: list[str],
        program: Path | None, limit: float, memory: int = 128, swap: int = 0) -> Ran:
    """Runs the command on the kernel. `out` is this run's own folder, with a short name for the monitor's socket;
    `memory` and `swap` are MiB."""
    shutil.copy2(kernel, out / "spork.elf")
    words = ["/spork/tools/spork", "run", "--kernel", "/out/spork.elf", "--mem", f"{memory}M",
             "--timeout", str(limit), *options]
    if swap:
        words += ["--swap", f"{swap}M"]
    if looks:
        words += ["--qemu=-qmp", "--qemu=unix:/out/qmp,server=on,wait=off"]
    if program is not None:
        shutil.copy2(program, out / program.name)
        words.append(f"--add=/out/{program.name}:/lab/{program.name}")
    started = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(sandbox_for(out, limit).command([*words, "--", *command]), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=said, start_new_session=True)
        try:
            ran = _converse(process, out, seed, looks, memory, started + limit + GRACE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        ran.said = said.read(KEPT).decode(errors="replace")
    ran.seconds = time.monotonic() - started
    return ran


def _converse(process: subprocess.Popen[bytes], out: Path, seed: int, looks: list[Look], memory: int,
              until: float) -> Ran:
    assert process.stdin and process.stdout
    ran = Ran(124)
    monitor = None
    pending = b""
    left = KEPT
    os.set_blocking(process.stdout.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < until and left > 0:
            if not selector.select(1.0):
                continue
            data = process.stdout.read(65536) or b""
            left -= len(data)
            ran.output += data.decode(errors="replace")
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                if match := re.fullmatch(rb"value (\w{1,40}) (\d{1,20})\r?", line):
                    ran.values[match[1].decode()] = int(match[2])
                elif match := re.fullmatch(rb"stage ([\w-]{1,40})\r?", line):
                    ran.stages.append(match[1].decode())
                    here = [each for each in looks if each.stage == ran.stages[-1]]
                    if here and ran.stages.count(here[0].stage) == 1:
                        try:
                            monitor = monitor or Monitor(out / "qmp")
                            ran.faults += look(monitor, out, seed, here, memory)
                        except (OSError, ValueError) as error:  # the machine has ended, or is no machine any more
                            ran.faults.append(f"at {here[0].stage}: memory cannot be looked at: {error}")
                    _go_on(process.stdin)
            if not data:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    ran.status = process.wait(max(0.0, until - time.monotonic()))
                break
    if monitor is not None:
        monitor.close()
    if left <= 0:
        ran.faults.append(f"it prints more than {KEPT >> 20} MiB")
    return ran


def _go_on(stdin: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        stdin.write(b"\n")
        stdin.flush()
