"""The guided walks: each stops at every step and shows what it says."""
from __future__ import annotations

import re
from pathlib import Path

import pytest
from debugger import debug

ROOT = Path(__file__).resolve().parents[2]

# The steps of each walk, and what must be seen there. Parent and child come in either order.
WALKS = {
    "fork": {
        "one function for every kind of child": r"0x0: no CLONE_VM",
        "the address space is copied": r"The mode is cow\.(.|\n)*rw- .*/demos/walk\n +copy_on_write charged",
        "the parent loses the right to write": r"^PT .* W .*\n.* writable$",
        "the write bit is gone": r"^PT .* P U A.*\n.* read-only$",
        "the child may run": r"one amap 0x\w+, both needs_copy",
        "the first store copies a page": r"anon 0x\w+, 2 references",
        "each has its own page now": r" writable$(.|\n)*, 1 reference,",
        "the child's first step": r"child_first_run",
    },
    "vfork": {
        "the same function, other flags": r"CLONE_VFORK",
        "the child may run": r"5 and 6 have one vmspace, 0x\w+, with 2 references",
        "the parent goes to sleep": r"x2  shared with 6",
        "the child runs on the parent's pages": r"asleep \(vfork\) .*waits for its vfork child 6",
        "exec's point of no return": r"2 references",
        "the parent is released": r"^ *6 .* x1$",
        "the parent goes on": r"^ *5 +1 +5 +running .* x1$",
    },
    "exec": {
        "everything is checked first": r"executes /demos/walk(.|\n)*/sbin/init",
        "the point of no return": r"^ *5 .* none$",
        "the old image goes": r"pages_zeroed",
        "who waits is released": r"0 pages in 0 entries",
        "the segments are mapped": r"0 pages in 0 entries",
        "a fresh set of registers": r"/demos/walk$(.|\n)*\[stack\]$",
        "back to a program that has never run": r"_start",
    },
    "cow-fault": {
        "a store faults": r"read-only$(.|\n)*needs_copy = true",
        "an amap of its own": r"amap 0x\w+: 2 map entries attached",
        "case 1B: the anon is copied": r"amap 0x\w+: 1 map entry attached(.|\n)*2 references",
        "the copy is mapped": r"holds vm_amap(.|\n)*read-only$",
        "the store will succeed": r" writable$(.|\n)*, 1 reference,",
    },
    "page-in": {
        "a read faults": r"1 reference, in slot 0x10000001 of swap",
        "a page for it": r"holds vm_map",
        "the disk, and no lock": r"busy",
        "it has come": r"holds vm_amap",
        "the fault again, from the start": r"uvm_faultinfo::resolve(.|\n)*in slot 0x10000001 of swap",
        "mapped, but not writable": r" read-only$(.|\n)*^pgswapin +1$",
        "the first store": r" read-only$",
        "the slot is given back": r"in slot 0x10000001 of swap",
        "dirty": r" writable$(.|\n)*, 1 reference, page",
    },
    "exit": {
        "the whole process leaves": r"wait status 0x0700",
        "the thread ends": r"\[stack\]$",
        "the last reference goes": r"^ *6 .* none$",
        "the page tables go": r"^vmspace +\d",
        "a zombie": r"^ *6 +5 +zombie",
        "the parent has its status": r"0x0700(.|\n)*sys_wait4",
    },
}


@pytest.mark.parametrize("walk", WALKS)
def test_walk(walk: str) -> None:
    expected = WALKS[walk]
    answers = debug([f"spork walk {walk}", *["continue"] * len(expected)], f"/demos/walk {walk}",
                    *["--run=--swap=16M"] * (walk == "page-in"))
    text = answers.text()
    assert "FAULT" not in text and "(nothing to show" not in text, text
    parts = re.split(rf"^== {walk}, step \d+ of {len(expected)}: (.*)$", text, flags=re.M)[1:]
    seen = dict(zip(parts[::2], parts[1::2], strict=True))
    assert seen.keys() == expected.keys(), text
    assert f"== the {walk} walk is over" in text
    for title, said in seen.items():  # each shows the lines that it has stopped at
        place = re.search(r"^at (\S+):(\d+)\n((?:\d+\t?.*\n)+)", said, re.M)
        assert place, f"{title}: {said}"
        quoted = dict(re.findall(r"^(\d+)\t?(.*)$", place[3], re.M))
        source = (ROOT / place[1]).read_text().splitlines()
        assert place[2] in quoted and all(source[int(n) - 1] == line for n, line in quoted.items()), f"{title}: {said}"
    for title, pattern in expected.items():
        assert re.search(pattern, seen[title], re.M), f"{title}: no {pattern} in\n{seen[title]}"
