"""A kernel panic is told as one: status 125, what failed, where, and what the others were doing."""
from __future__ import annotations

import re

import pytest
from guest import spork


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
