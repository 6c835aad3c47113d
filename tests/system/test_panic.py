"""A kernel panic is told as one: status 125, what failed, where, and what the others were doing. It leaves a
core, and so does a failed check of a test."""
from __future__ import annotations

import functools
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from guest import ROOT, spork
from sporklib import endings, suites, user_suite
from sporklib.job import Job


def core_of(said: str) -> list[str]:
    """The command that looks at the core, as its words."""
    command = re.search(r"look at it by (gdb .*)", said)
    assert command, said
    return shlex.split(command[1])


def look(said: str, *commands: str) -> str:
    """What GDB says of the core that `said` names."""
    words = [word for each in commands for word in ("-ex", each)]
    done = subprocess.run(["gdb", "-nx", "-batch", *core_of(said)[1:], *words], cwd=ROOT, capture_output=True,
                          text=True, errors="replace", check=False)
    return done.stdout + done.stderr


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


@pytest.mark.parametrize("options", [("--timeout", "3"), ("--append", "panic=test")], ids=["time", "panic"])
def test_core(options: tuple[str, ...]) -> None:
    """GDB opens what --core leaves, with Spork's commands; it takes less room than it is long."""
    ended = spork("sleep", "1000", options=("--core", *options))
    said = ended.err.decode(errors="replace")
    assert ended.status == (124 if "--timeout" in options else 125), said
    assert "end of panic" in said
    core = Path(core_of(said)[2])
    try:
        assert core.stat().st_blocks * 512 < core.stat().st_size / 2
        text = look(said, "thread apply all backtrace", "spork ps")
        assert "do_panic" in text and "[idle]" in text, text
        if "--timeout" in options:
            assert re.search(r"asleep \(nanosleep\) +sleep", text), text
    finally:
        shutil.rmtree(core.parent)


def test_a_failed_check_in_the_kernel_leaves_a_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the moment in which it failed; then the tests run again, all of them."""
    monkeypatch.setattr(endings, "RESULTS", tmp_path)
    [failed] = suites._kernel_tests(1, "a_check_fails panic=check")
    said = failed.details
    assert failed.verdict == "failed" and "# ktest.a_check_fails_when_it_is_asked_to: tests/kernel/" in said, said
    assert "panic: a check of ktest.a_check_fails_when_it_is_asked_to failed: tests/kernel/hang.cc:" in said, said
    text = look(said, "backtrace")
    assert re.search(r"^#\d+ .*ktest_a_check_fails", text, re.MULTILINE), text


FAILING = """
#include "user/lib/tap.h"
static void arithmetic(void) { is(2 + 2, 5, "two and two"); }
int main(void)
{
    subtest("arithmetic", arithmetic);
    return done();
}
"""


def test_a_failed_check_of_a_program_leaves_a_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In which the process is stopped at the check; it runs again to its end, and so does what follows."""
    (tmp_path / "failing.c").write_text(FAILING)
    subprocess.run(["musl-gcc", "-static", "-g", "-O1", "-pthread", f"-I{ROOT}", "-o", "failing", "failing.c"],
                   cwd=tmp_path, check=True)
    monkeypatch.setattr(endings, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(user_suite, "Job", functools.partial(Job, additions=[(tmp_path / "failing", "/tests/failing")]))
    runs = user_suite.run_on_spork(["dup_fcntl", "failing", "fifo"])
    assert [run.result("spork", name).verdict for name, run in runs.items()] == ["passed", "failed", "passed"]
    said = runs["failing"].result("spork", "failing").details
    assert said.count("2 + 2: got 4 (0x4), want 5 (0x5)") == 2 and "1 of 1 checks failed" in said, said
    text = look(said, "spork ps")
    assert re.search(r"\(stopped\) +failing", text), text
