"""A machine that does not go on says why: tests/kernel/hang.h, kernel/sched/watchdog.h."""
from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from guest import spork

HANGS = {
    "deadlock": (r'dead-lock: 0/\d+ a waits for the lock "second", which 0/\d+ b holds; '
                 r'0/\d+ b waits for the lock "first", which 0/\d+ a holds'),
    "lost-wake-up": r"0/\d+ a sleeps in answer, which the kernel itself has to end",
    "sleeper": r"0/\d+ a sleeps in answer, which the kernel itself has to end",
    "loop": r"0/\d+ a has run in the kernel, without a sleep",
    "loop-interrupts-off": r"CPU \d has had interrupts off",
}


def told(how: str, *options: str) -> tuple[int, str]:
    ended = spork("sleep", "1000", options=("--append", f"panic={how}", *options))
    return ended.status, ended.err.decode(errors="replace")


@pytest.mark.parametrize("how", [pytest.param(how, marks=pytest.mark.long) if how.startswith("loop") else how
                                 for how in HANGS])
def test_the_watchdog_finds(how: str) -> None:
    status, text = told(how, "--append", "watchdog=2")
    assert status == 125, text
    assert re.search(r"panic: hang: for 2 seconds:? " + HANGS[how], text), text
    # Every processor, and every thread with the reason for its sleep and the function that it sleeps in.
    assert {"0", "1"} <= set(re.findall(r"\bCPU (\d), thread: \S", text)), text
    assert re.search(r"thread \d+/\d+ sleep sleeps in nanosleep, until a signal\n.* sys_clock_nanosleep\(|"
                     r"thread 1/1 init ", text), text
    if how == "sleeper":
        assert re.search(r'thread 0/\d+ a sleeps in answer.*\n.* holds the lock "first"', text), text
        assert re.search(r'0/\d+ b waits for the lock "first", which 0/\d+ a holds, who sleeps in answer', text), text
    if how.startswith("loop"):
        assert "fail_on_purpose" in text, text
    assert "end of panic" in text


def test_the_time_out_finds_a_loop_with_interrupts_off() -> None:
    """On one processor nobody is left to notice, and QEMU has to interrupt it."""
    status, text = told("loop-interrupts-off", "--smp", "1", "--timeout", "6")
    assert status == 124, text
    assert re.search(r"panic: NMI on CPU 0: from outside", text), text
    assert "fail_on_purpose" in text and "end of panic" in text
    assert "spork: timed out" in text


def test_a_machine_that_waits_does_not_hang() -> None:
    """Threads that sleep as long as they like, one that is stopped, one that runs all the time, and a page daemon that
    nobody wants."""
    script = "sleep 100 & kill -STOP $!; (while :; do :; done) & "
    script += "cat /dev/tty 2>/dev/null & sleep 4; kill -9 $!; exit 7"
    assert spork("sh", "-c", script, options=("--append", "watchdog=2", "--swap", "8M")).status == 7


BUSY = r"""
#include <fcntl.h>
#include <time.h>

int main(void) {
    int fd = open("/tmp/locked", O_RDWR | O_CREAT, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_len = 1};
    for (lock.l_start = 0; lock.l_start < 6000; lock.l_start += 2)
        if (fcntl(fd, F_SETLK, &lock))
            return 1;
    lock.l_start -= 2;
    struct timespec begun, now;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    do
        for (int i = 0; i < 100; i++)
            fcntl(fd, F_SETLK, &lock);
    while (clock_gettime(CLOCK_MONOTONIC, &now), now.tv_sec - begun.tv_sec < 6);
    return 7;
}
"""


@pytest.mark.parametrize("processors", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_program_that_is_always_in_a_call_does_not_hang(tmp_path: Path, processors: int) -> None:
    """Alone on its processor it is never switched away from: it is enough that each call returns."""
    (tmp_path / "busy.c").write_text(BUSY)
    subprocess.run(["musl-gcc", "-static", "-O1", "-o", "busy", "busy.c"], cwd=tmp_path, check=True)
    options = ("--smp", str(processors), "--append", "watchdog=2", "--add", str(tmp_path / "busy"))
    ended = spork("/busy", options=options)
    assert ended.status == 7, ended.err.decode(errors="replace")
