"""A hundred programs that map, fork, store and exit at random in 48 MB: the kernel outlives them.

`tests/run system -T vm_stress` is the short form. Whether memory runs out in it depends on how many of
the programs run at a time, and so on the machine's load; user/tests/oom.c makes it run out for
certain. In the long form it does run out, hundreds of times:
`tools/spork run -v --mem 48M --smp 4 -- /tests/vm_stress 100 400 SEED`.
"""
from __future__ import annotations

import re

from guest import spork

PROGRAMS = "100"
STEPS = "100"


def test_vm_stress() -> None:
    machine = ("-v", "--mem", "48M", "--smp", "4")
    ended = spork("/tests/vm_stress", PROGRAMS, STEPS, "3", options=machine)
    said = ended.text + ended.err.decode(errors="replace")
    assert "panic" not in said, said
    assert ended.status == 0, said
    assert "all counters are back at their base" in ended.text, said
    # Who is killed, if anybody is, has a line in the log.
    waited_for = sum(int(n) for n in re.findall(r"(\d+) processes were killed", ended.text))
    logged = re.findall(r"out of memory: killed process (\d+) \(\w+\)", said)
    assert waited_for <= len(logged), said
