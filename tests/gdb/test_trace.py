"""spork trace: the newest events of the rings, at a breakpoint and after a panic."""
from __future__ import annotations

import re

from debugger import debug

LINE = re.compile(r"^\[ *\d+\.\d{9}\] +(\d+) CPU (\d+) (\d+)/(\d+) (\w+)((?: \w+=\S*)*)$")


def test_the_tail_ends_where_the_machine_stopped() -> None:
    answers = debug(["tbreak vmspace::fork if $pid() == 5", "continue",
                     "break uvm_faultinfo::copy_anon if $pid() == 5", "continue", "spork trace 200",
                     "spork trace 3", "spork trace 0", "output/x this->va.value_"],
                    "/demos/walk cow-fault", "--run=--append=trace=all")
    lines = answers["spork trace 200"].splitlines()
    parsed = [LINE.match(line) for line in lines]
    assert len(lines) == 200 and all(parsed), lines
    serials = [int(m[1]) for m in parsed if m]
    assert serials == list(range(serials[0], serials[0] + 200)), serials
    assert lines[-3:] == answers["spork trace 3"].splitlines()
    # The store that faulted, its amap made the writer's own, and then nothing: the copy is next.
    va = int(answers["output/x this->va.value_"], 16)
    begun = [m for m in parsed if m and m[5] == "fault_begin" and m[3] == "5"][-1]
    found = re.search(r"va=(0x\w+) access=w$", begun[6])
    assert found and int(found[1], 16) & ~0xFFF == va, begun[0]
    after = [m[5] for m in parsed[parsed.index(begun) :] if m]
    assert "needs_copy_cleared" in after and "anon_copied" not in after, after
    assert answers["spork trace 0"] == ""


def test_after_a_panic() -> None:
    answers = debug(["break kernel/base/panic.cc:finish", "continue", "spork trace 500"], "true",
                    "--run=--append=trace=all", "--run=--append=init=/bin/true")
    lines = answers["spork trace 500"].splitlines()
    assert any(re.search(r" 1/1 exit_begin status=0x0$", line) for line in lines), lines
    # init is not made a zombie: that is what the panic is about.
    assert " 1/1 vmspace_destroyed " in lines[-1] and not any("exit_zombie" in line for line in lines), lines


def test_nothing_is_recorded() -> None:
    answers = debug(["break uvm_faultinfo::copy_anon", "continue", "spork trace"], "/demos/walk cow-fault")
    assert "boot with trace=all" in answers.error("spork trace")
