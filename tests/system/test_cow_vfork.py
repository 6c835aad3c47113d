"""A vfork child's stores are its parent's, a fork child's are its own: with any number of
processors, a thousand times, and no memory is lost."""
from __future__ import annotations

import re

import pytest
from guest import succeeds

SCRIPT = """\
free() { grep MemFree /proc/meminfo; }
/tests/fork_vfork_1000 10 >/dev/null; free; /tests/fork_vfork_1000 1000; free
"""
CACHED_KB = 512  # what the allocator's own caches may keep


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_fork_and_vfork(cpus: int) -> None:
    text = succeeds("sh", "-ec", SCRIPT, options=("--smp", str(cpus)))
    assert "1000 times the parent saw the store of its vfork child" in text
    assert "not ok" not in text and "\n1..3\n" in text
    before, after = (int(n) for n in re.findall(r"MemFree: *(\d+)", text))
    assert before - after < CACHED_KB, text
