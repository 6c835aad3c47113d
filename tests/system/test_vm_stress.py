"""A hundred programs that map, fork, store and exit at random in 48 MB: the kernel outlives them.

`tests/run system -T vm_stress` is the short form. The long one has more steps and other seeds:
`tools/spork run --mem 48M --smp 4 -- /tests/vm_stress 100 2000 SEED`.
"""
from __future__ import annotations

from guest import spork

PROGRAMS = "100"
STEPS = "40"


def test_vm_stress() -> None:
    ended = spork("/tests/vm_stress", PROGRAMS, STEPS, "3", options=("--mem", "48M", "--smp", "4"))
    text = ended.text + ended.err.decode(errors="replace")
    assert "panic" not in text, text
    assert ended.status == 0, text
    assert "ok 3 - all counters are back at their base" in ended.text, text
