"""The built-in strace: calls, arguments and results as they are read on Linux."""
from __future__ import annotations

import re

from guest import spork


def test_one_program() -> None:
    ended = spork("sh", "-c", "cat /etc/hostname /no-such-file; echo done",
                  options=("-v", "--append", "strace=cat"))
    assert ended.out == b"spork\ndone\n"
    console = ended.err.decode(errors="replace").replace("\r\n", "\n")
    hostname = re.search(r'openat\(AT_FDCWD, "/etc/hostname", O_RDONLY\) = (\d+)', console)
    assert hostname, console
    assert re.search(r'openat\(AT_FDCWD, "/no-such-file", O_RDONLY\) = -1 ENOENT', console), console
    assert re.search(r"exit_group\(1\)", console), console
    assert '"done' not in console  # the shell's write is not shown


def test_every_program() -> None:
    ended = spork("sh", "-c", "echo one; (echo two)", options=("-v", "--append", "strace"))
    assert ended.out == b"one\ntwo\n"
    console = ended.err.decode(errors="replace").replace("\r\n", "\n")
    assert re.search(r'write\(1, "one\\n", 4\) = 4', console), console
    assert re.search(r'execve\("/bin/sh", ', console), console
    assert re.search(r"wait4\(.*\) = \d+", console), console
