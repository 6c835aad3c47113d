"""Backwards: who wrote this page-table entry?"""
from __future__ import annotations

import re

from debugger import debug


def test_a_watchpoint_and_reverse_continue_find_the_writer_of_a_pte() -> None:
    answers = debug([
        "break walk_fork", "continue", "monitor savevm early", "delete",
        "break uvm_faultinfo::copy_anon", "continue", "delete",
        "spork pte $pid() this->va", "watch -l *$pte($pid(), this->va)",
        "reverse-continue", "spork bt", "delete", "reverse-stepi", "reverse-stepi", "spork ps",
    ], "/demos/walk fork", "--replay")
    assert answers["spork pte $pid() this->va"].endswith("read-only\n"), answers.text()
    writer = answers["spork bt"]
    # fork's write-protection took the right away, long before the fault.
    assert re.search(r"^#\d+ .*pmap::write_protect", writer, re.M), answers.text()
    assert "vmspace::fork" in writer and re.search(r"^user .*\(system call 57\)$", writer, re.M), writer
    assert "running on CPU 0  walk" in answers["spork ps"]
