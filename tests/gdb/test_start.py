"""tools/gdb/start as a person uses it: ^C interrupts the machine, a shell has a terminal, nothing stays."""
from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pexpect
from debugger import LIMIT, ROOT, START


def begin(*words: str) -> pexpect.spawn:
    session = pexpect.spawn(str(START), ["--gdb=-nx", "--gdb=-iex=set style enabled off", *words],
                            timeout=LIMIT, encoding="utf-8", dimensions=(50, 200))
    session.expect_exact("(gdb) ")
    return session


def machines() -> list[str]:
    """The command lines of the machines that tests of this file would leave behind."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "qemu-system" in line and "spork-gdb-test" in line:
            lines.append(line)
    return lines


def test_interrupt_look_and_quit() -> None:
    session = begin("--run=--qemu=-name", "--run=--qemu=spork-gdb-test", "sleep 1000")
    assert len(machines()) == 1
    # The machine idles with sleep asleep when this is printed by a breakpoint's condition.
    session.sendline("break sched_sleep if $_streq(cpus[0].self->current->name, \"sleep\")")
    session.expect_exact("(gdb) ")
    session.sendline("continue")
    session.expect_exact("(gdb) ")
    session.sendline("delete")
    session.expect_exact("(gdb) ")
    session.sendline("continue")
    session.expect_exact("Continuing.")
    session.sendintr()
    session.expect_exact("(gdb) ")
    session.sendline("spork ps")
    session.expect(r"asleep \(\w+\) +sleep")
    session.expect_exact("(gdb) ")
    session.sendline("quit")
    session.expect(pexpect.EOF)
    session.close()
    assert session.exitstatus == 0
    assert not machines()


def test_a_shell_has_a_terminal_of_its_own() -> None:
    session = pexpect.spawn(str(START), ["--gdb=-nx", "--gdb=-iex=set style enabled off"],
                            timeout=LIMIT, encoding="utf-8", dimensions=(50, 200))
    session.expect(r"the shell's terminal: tools/gdb/console (/dev/\S+)\r\n")
    path = session.match[1]
    session.expect_exact("(gdb) ")
    console = pexpect.spawn(str(ROOT / "tools" / "gdb" / "console"), [path], timeout=LIMIT,
                            encoding="utf-8")
    session.sendline("continue")
    console.expect(re.compile(r"[#$] "))
    console.send("echo $((6 * 7))-\r")
    console.expect_exact("42-")
    console.send("\x1d")
    console.expect(pexpect.EOF)
    session.sendintr()
    session.expect_exact("(gdb) ")
    session.sendline("quit")
    session.expect(pexpect.EOF)
    session.close()


def run_test(name: str, *words: str) -> str:
    done = subprocess.run([START, "--gdb=-nx", "--gdb=-batch", *words, "--test", name], capture_output=True,
                          text=True, errors="replace", check=False, timeout=LIMIT)
    return done.stdout + done.stderr


def test_a_test_runs_up_to_where_it_fails() -> None:
    """To a panic in the kernel, and to a check in the kernel and in a program."""
    said = run_test("record_comes_with_the_release", "--run=--append=panic=test")
    assert re.search(r"Breakpoint 1, .*do_panic", said), said
    assert re.search(r"^#\d+ .*fail_on_purpose", said, re.MULTILINE), said
    said = run_test("a_check_fails_when_it_is_asked_to", "--run=--append=panic=check")
    assert re.search(r"Breakpoint 2, .*ktest_fail", said), said
    assert re.search(r"^#\d+ .*ktest_a_check_fails", said, re.MULTILINE), said
    said = run_test("dup_fcntl", "--run=--env=TMPDIR=/proc")
    assert re.search(r"Breakpoint 2\S*, .*tap_stop", said), said
    assert re.search(r"^#\d+ .*scratch_begin", said, re.MULTILINE), said


def test_a_test_that_does_not_fail_is_waited_for() -> None:
    said = run_test("dup_fcntl")
    assert re.search(r"Breakpoint 2 at .*tap\.h", said), said
    assert "Breakpoint 1," not in said and "Breakpoint 2," not in said, said
    assert "is called nosuch" in run_test("nosuch")
