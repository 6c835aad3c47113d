"""The kernel's defences: what each is there to stop is stopped, and told by name (tests/kernel/break_in.h)."""
from __future__ import annotations

import re

import pytest
from guest import spork

FAULT = r"page fault in the kernel: {} of 0x[0-9a-f]+, which is {} \(error code 0x{}\)"
BROKEN_IN = {
    "stack-smashed": (r"stack protector: a function has written beyond a variable on its stack", "smash_the_stack"),
    "recursion": (r"double fault: kernel stack overflow", "call_itself"),
    "write-constant": (FAULT.format("write", "read-only", "3"), "start_up"),
    "write-code": (FAULT.format("write", "read-only", "3"), "break_in"),
    "write-alias": (FAULT.format("write", "read-only", "3"), "break_in"),
    "run-data": (FAULT.format("execution", "data", "11"), "break_in"),
    "run-heap": (FAULT.format("execution", "data", "11"), "break_in"),
    "run-program": (FAULT.format("execution", r"a program's \(SMEP\)", "11"), "break_in"),
    "read-program": (FAULT.format("read", r"a program's \(SMAP\)", "1"), "break_in"),
    "write-program": (FAULT.format("write", r"a program's \(SMAP\)", "3"), "break_in"),
}


@pytest.mark.parametrize("how", BROKEN_IN)
def test_is_stopped(how: str) -> None:
    ended = spork("sleep", "1000", options=("--append", f"break_in={how}"))
    said = ended.err.decode(errors="replace")
    told, function = BROKEN_IN[how]
    assert ended.status == 125, said
    assert re.search(rf"\bpanic: {told}\n", said), said
    # Who did it.
    assert re.search(rf"\[<[0-9a-f]{{16}}>\]  .*\b{function}\b", said), said
    assert "end of panic" in said
