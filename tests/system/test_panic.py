"""A kernel panic is told as one: status 125, what failed, where, and what the others were doing."""
from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from guest import ROOT, spork


@pytest.mark.parametrize("cpus", [1, 4])
def test_panic(cpus: int) -> None:
    ended = spork("sleep", "1000", options=("--append", "panic=test", "--smp", str(cpus)))
    text = ended.err.decode(errors="replace")
    assert ended.status == 125, text
    assert re.search(r"\bpanic: \S", text), text
    # A backtrace with functions, files and lines: at least the panic and who asked for it.
    calls = re.findall(r"\[<[0-9a-f]{16}>\]  (\S.*) at (\S+\.cc):(\d+)", text)
    assert len(calls) >= 2, text
    assert any("panic" in function or "test" in function for function, _, _ in calls), text
    for cpu in range(cpus):
        assert re.search(rf"\bCPU {cpu}, thread: \S", text), text
    assert "end of panic" in text


@pytest.mark.parametrize("options", [("--timeout", "1"), ("--append", "panic=test")], ids=["time", "panic"])
def test_core(options: tuple[str, ...]) -> None:
    """GDB opens what --core leaves, with Spork's commands; it takes less room than it is long."""
    ended = spork("sleep", "1000", options=("--core", *options))
    said = ended.err.decode(errors="replace")
    assert ended.status == (124 if "--timeout" in options else 125), said
    assert "end of panic" in said
    command = re.search(r"look at it by (gdb .*)", said)
    assert command, said
    words = shlex.split(command[1])
    core = Path(words[2])
    try:
        assert core.stat().st_blocks * 512 < core.stat().st_size / 2
        look = ["-ex", "thread apply all backtrace", "-ex", "spork ps"]
        done = subprocess.run([words[0], "-nx", "-batch", *words[1:], *look], cwd=ROOT, capture_output=True,
                              text=True, errors="replace", check=False)
        text = done.stdout + done.stderr
        assert "do_panic" in text and "[idle]" in text, text
        if "--timeout" in options:
            assert re.search(r"asleep \(nanosleep\) +sleep", text), text
    finally:
        shutil.rmtree(core.parent)
