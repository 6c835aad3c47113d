"""tools/spork run: a command's exit status, its streams, its files and its environment."""
from __future__ import annotations

import hashlib
import random
import shlex
import signal
from pathlib import Path

import pytest
from guest import SPORK, linux, spork, succeeds

SCRIPT = """\
uname -m; ls -d /bin /dev /etc /proc /tmp; head -1 /etc/passwd | cut -d: -f1,3,4
head -3 /proc/meminfo | cut -d: -f1 | head -1
seq 1 1000 | sort -rn | head -1
sleep 0.1 & wait; echo $?
(exit 4); echo $?; false || echo or; echo "$((1 << 20))"
cd /tmp && mkdir -p x.$$/y && touch x.$$/y/z && find x.$$ | wc -l; rm -r x.$$
"""


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -SEGV $$"), 128 + signal.SIGSEGV),
        (("no-such-program",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_exit_status(command: tuple[str, ...], status: int) -> None:
    assert spork(*command).status == status


def test_stdin_and_stdout() -> None:
    ended = spork("cat", stdin=b"hi\n")
    assert (ended.status, ended.out, ended.err) == (0, b"hi\n", b"")


def test_many_bytes_pass_unchanged() -> None:
    data = random.Random(1).randbytes(100_000)
    ended = spork("cat", stdin=data)
    assert ended.status == 0
    assert hashlib.sha256(ended.out).hexdigest() == hashlib.sha256(data).hexdigest()


def test_stderr_is_apart() -> None:
    ended = spork("sh", "-c", "echo out; echo err >&2; echo out again; exit 2")
    assert (ended.status, ended.out, ended.err) == (2, b"out\nout again\n", b"err\n")


def test_the_same_as_on_linux() -> None:
    here, there = spork("busybox", "sh", "-c", SCRIPT), linux("/bin/busybox", "sh", "-c", SCRIPT)
    assert (here.text, here.status) == (there.text, there.status)


def test_the_system_shows_itself() -> None:
    text = succeeds("sh", "-c", "uname -a; ls -l /; head -3 /proc/meminfo; find / -xdev | wc -l; ps")
    lines = text.splitlines()
    assert lines[0].startswith("Spork ") or " spork " in lines[0]
    assert any(line.startswith("MemTotal:") for line in lines)
    assert any(line.isdigit() and int(line) > 300 for line in lines)
    assert any("init" in line for line in lines)


def test_files_and_folders_are_added(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("in a folder\n")
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho $# $1\n")
    program.chmod(0o755)
    options = ("--add", str(folder), "--add", f"{program}:/opt/other/name",
               "--add", str(program))
    text = succeeds("sh", "-c", "cat /folder/inner/file; /opt/other/name x y; /program z",
                    options=options)
    assert text == "in a folder\n2 x\n1 z\n"


def test_environment_and_folder() -> None:
    text = succeeds("sh", "-c", 'echo "$ONE,$TWO,$HOME"; pwd; echo "$0" "$@"', "name", "a b", "",
                    options=("--env", "ONE=1 and", "--env", "TWO=a=b", "--cwd", "/tmp"))
    assert text == "1 and,a=b,/root\n/tmp\nname a b \n"


def test_time_out() -> None:
    ended = spork("sleep", "1000", options=("--timeout", "3"))
    assert ended.status == 124


def test_a_reader_that_goes_away() -> None:
    """`spork run -- yes | head -1` ends: yes gets SIGPIPE."""
    command = f"{shlex.quote(str(SPORK))} run --timeout 60 -- yes | head -1"
    ended = linux("bash", "-c", f"set -o pipefail; {command}; echo $?")
    assert ended.out == f"y\n{128 + signal.SIGPIPE}\n".encode()


def test_background_processes_do_not_outlive_the_command() -> None:
    assert succeeds("sh", "-c", "sleep 1000 & echo started") == "started\n"


def test_counted_instructions() -> None:
    """--icount: one processor, whatever --smp says."""
    text = succeeds("sh", "-c", "seq 1 100 | wc -l; grep -c '^cpu[0-9]' /proc/stat",
                    options=("--icount", "--smp", "4"))
    assert text == "100\n1\n"
