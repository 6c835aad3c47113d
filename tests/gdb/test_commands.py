"""Every command, function and printer, at stops where the kernel is in the middle of something."""
from __future__ import annotations

import re

import pytest
from debugger import Answers, debug

COMMANDS = ["spork ps", "spork bt", "spork map", "spork runq", "spork locks", "spork log",
            "spork counters", "spork pools"]


@pytest.fixture(scope="module")
def in_fault() -> Answers:
    """Stopped where process 5 is about to copy the anon that a fork left to it and its child."""
    return debug([
        "tbreak vmspace::fork if $pid() == 5", "continue",
        "break uvm_faultinfo::copy_anon if $pid() == 5", "continue", *COMMANDS,
        "print $pid()", "print $proc(5)->pid", "print $proc(5)->context.object_->vm",
        "print $vmspace(5)->map_.lock_", "print $vmspace(5)->map_.entries_",
        "print $vmspace(5)->map_.tree_", "print $entry(5, 0x401000)->protection",
        "print $entry(5, 0x401000)->start", "print $page(0x1000)->owner_kind", "print this->va",
        "print amap.slots_", "print cpus[0].self->current->on_cpu",
        "spork map 5", "spork amap 5 this->va", "spork amap &amap", "spork anon &anon",
        "spork page anon.page_", "spork pte 5 this->va", "spork pte 5 0x10000", "spork vmdiff 5 6",
        "spork counters flt_acow", "spork pools vm_anon", "spork bt 99", "spork map 99",
        "spork amap 5 0x10000", "spork page 0xfffffffff", "spork walk nowhere", "spork pte 5",
        "help spork", "spork", "spork mop", "bt",
    ], "/demos/walk cow-fault")


@pytest.fixture(scope="module")
def in_vfork() -> Answers:
    """Stopped where the child of a vfork executes: its parent sleeps, whatever the host sends meanwhile."""
    return debug(["break exec_program if $pid() == 6", "continue", "spork ps", "spork bt 5", "print $thread(5)->state"],
                 "/demos/walk vfork")


def test_no_command_fails(in_fault: Answers) -> None:
    assert "FAULT" not in in_fault.text()
    assert "Traceback" not in in_fault.said, in_fault.said


def test_ps_tells_states_and_why_they_sleep(in_vfork: Answers) -> None:
    text = in_vfork["spork ps"]
    assert re.search(r"^ *1 +0 +1 +\w+.* init +0x\w+ x1$", text, re.M), text
    parent = r"^ *5 +1 +5 +asleep \(vfork\) +walk +0x\w+ x2 +shared with 6; waits for its vfork child 6$"
    assert re.search(parent, text, re.M), text
    assert re.search(r"^ *6 +5 +6 +running on CPU 0 +walk +0x\w+ x2 +shared with 5$", text, re.M), text
    assert in_vfork["print $thread(5)->state"].endswith(" = thread_state::sleeping\n")


def test_backtrace_of_the_running_thread(in_fault: Answers) -> None:
    text = in_fault["spork bt"]
    assert text.startswith("thread 5 walk: running on CPU 0"), text
    for function in ("uvm_faultinfo::copy_anon", "vmspace::fault(", "trap_common"):
        assert function in text, text
    assert re.search(r"^user .*exception or interrupt 14", text, re.M), text


def test_backtrace_of_a_sleeping_thread(in_vfork: Answers) -> None:
    text = in_vfork["spork bt 5"]
    assert "asleep (vfork)" in text
    assert "machine_switch" in text and "sched_sleep" in text and "syscall_dispatch" in text, text
    assert re.search(r"^user .*system call", text, re.M), text


def test_map(in_fault: Answers) -> None:
    text = in_fault["spork map 5"]
    assert text == in_fault["spork map"]
    assert "1 reference" in text
    assert re.search(r"^000000401000 +\w+ +r-x +\d+ +\d+ +/demos/walk\n"
                     r"    copy_on_write needs_copy  object 0x\w+\+0x\w+$", text, re.M), text
    assert re.search(r"^7ff\w+ +\w+ +rw- +\d+ +\d+ +\[stack\]\n"
                     r"    .*grows_down.*  amap 0x\w+\+0x\w+$", text, re.M), text
    assert max(map(len, text.splitlines())) <= 100, text


def test_the_anon_is_in_two_amaps(in_fault: Answers) -> None:
    amap, anon = in_fault["spork amap 5 this->va"], in_fault["spork anon &anon"]
    assert in_fault["spork amap &amap"] == amap
    assert "held by thread 5 walk" in amap
    assert re.match(r"anon 0x\w+, 2 references, page 0x\w+\n", anon), anon
    assert anon.splitlines()[0] in amap
    assert "mapped by 5 walk at" in in_fault["spork page anon.page_"]


def test_page_tables(in_fault: Answers) -> None:
    text = in_fault["spork pte 5 this->va"].splitlines()
    assert [line[:4].strip() for line in text[:4]] == ["PML4", "PDPT", "PD", "PT"], text
    assert text[0].endswith("P W U A")
    assert re.search(r"P U A( D)? NX$", text[3]) and text[4].endswith("read-only"), text
    assert in_fault["spork pte 5 0x10000"].endswith("is not mapped: an access faults\n")


def test_vmdiff(in_fault: Answers) -> None:
    text = in_fault["spork vmdiff 5 6"]
    assert re.search(r"rw- /demos/walk: one amap 0x\w+, both needs_copy", text), text
    assert re.search(r"\[stack\]: amaps of their own with 1 anon in common", text), text


def test_the_kernel_as_a_whole(in_fault: Answers) -> None:
    assert "CPU 0: runs thread 5 walk" in in_fault["spork runq"]
    held = in_fault["spork locks"].splitlines()
    assert [re.search(r"holds (\w+) at", line)[1] for line in held] == ["vm_map", "vm_amap"]  # type: ignore[index]
    assert "Spork" in in_fault["spork log"]
    assert re.search(r"^forks +\d+$", in_fault["spork counters"], re.M)
    assert re.search(r"^flt_acow +\d+$", in_fault["spork counters flt_acow"], re.M)
    assert re.search(r"^vm_anon +32 +\d+ +\d+$", in_fault["spork pools vm_anon"], re.M)


def test_functions_and_printers(in_fault: Answers) -> None:
    def printed(expression: str) -> str:
        return in_fault[f"print {expression}"].split(" = ", 1)[1].strip()

    assert printed("$pid()") == "5"
    assert printed("$proc(5)->pid") == "5"
    assert re.fullmatch(r"vmspace \* 0x\w+ \(references 1\)", printed("$proc(5)->context.object_->vm"))
    assert printed("$vmspace(5)->map_.lock_") == '"vm_map" held by 1 reader'
    assert printed("$vmspace(5)->map_.entries_") == printed("$vmspace(5)->map_.tree_")
    assert printed("$vmspace(5)->map_.entries_").startswith("list of 5 vm_map_entry = {0x")
    assert printed("$entry(5, 0x401000)->protection") == "r-x"
    assert printed("$entry(5, 0x401000)->start") == "va 0x401000"
    assert printed("$page(0x1000)->owner_kind").startswith("page_owner::")
    assert re.fullmatch(r"va 0x7ff\w+", printed("this->va"))
    assert printed("amap.slots_").startswith("sparse_slots with 1 filled = {[0x7ff")
    assert printed("cpus[0].self->current->on_cpu") == "true"


def test_mistakes_are_answered(in_fault: Answers) -> None:
    assert "no thread 99" in in_fault.error("spork bt 99")
    assert "no process 99" in in_fault.error("spork map 99")
    assert "nothing is mapped" in in_fault.error("spork amap 5 0x10000")
    assert "frame" in in_fault.error("spork page 0xfffffffff")
    assert "usage: spork walk" in in_fault.error("spork walk nowhere")
    assert "usage: spork pte" in in_fault.error("spork pte 5")


def test_help_lists_every_command(in_fault: Answers) -> None:
    listed = set(re.findall(r"^spork (\w+) -- ", in_fault["help spork"], re.M))
    assert listed >= {"ps", "bt", "map", "amap", "anon", "page", "pte", "vmdiff", "runq", "locks", "log",
                      "counters", "pools", "program", "enter", "leave", "trace", "ledger",
                      "walk"}


def test_the_first_words_are_told(in_fault: Answers) -> None:
    for text in (in_fault["help spork"], in_fault["spork"]):
        assert re.search(r"begin with.*\n\n *spork ps .*\n *spork map .*\n *spork bt .*\n *spork walk fork ",
                         text), text
    words = re.findall(r"^spork (\w+)", in_fault["spork"], re.M)
    assert set(words) == set(re.findall(r"^spork (\w+) -- ", in_fault["help spork"], re.M)), words
    assert max(map(len, in_fault["spork"].splitlines())) <= 100
    assert "there is no spork mop" in in_fault.error("spork mop")


def test_before_the_kernel_has_started() -> None:
    answers = debug(COMMANDS, "/demos/walk exit")
    assert "FAULT" not in answers.text()
    assert "has the kernel started" in answers.error("spork ps")


def test_in_a_panic() -> None:
    answers = debug(["break kernel/base/panic.cc:finish", "continue", *COMMANDS], "sleep 1000",
                    "--run=--append=panic=test", "--run=--smp=4")
    assert "FAULT" not in answers.text()
    assert "panic" in answers["spork bt"] and "panic" in answers["spork log"], answers.text()
    assert "CPU 3" in answers["spork runq"]


def test_with_corrupted_structures() -> None:
    """A list that never ends, one that leads nowhere, a tree that is a ring: an answer, and soon."""
    answers = debug([
        "tbreak vmspace::fork if $pid() == 5", "continue",
        "break uvm_faultinfo::copy_anon if $pid() == 5", "continue",
        "set var $first = $vmspace(5)->map_.entries_.head_.next",
        "set var $first->next = $first", "spork map 5",
        "set var $first->next = (list_node*)0x123456789abc", "spork map 5 ",
        "set var $root = $vmspace(5)->map_.tree_.tree_.root_", "set var $root->left = $root",
        "print $vmspace(5)->map_.tree_", "spork ps",
    ], "/demos/walk cow-fault")
    assert "corrupted" in answers.error("spork map 5")
    assert "0x123456789" in answers.error("spork map 5 ")
    assert "FAULT" not in answers.text()
    assert re.search(r"^ *5 +1 +5 ", answers["spork ps"], re.M), answers.text()
