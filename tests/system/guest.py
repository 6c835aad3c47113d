"""What the system tests share: commands on the kernel, sessions on its terminal, the same on Linux."""
from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pexpect

ROOT = Path(__file__).resolve().parents[2]
SPORK = ROOT / "tools" / "spork"
LIMIT = 60.0  # seconds for one machine or one answer: only a hang takes that long

_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Ended:
    """How a command ended and what it said."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode(errors="replace")


def _call(command: list[str], stdin: bytes, limit: float) -> Ended:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=limit, check=False)
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return Ended(status, done.stdout, done.stderr)


def spork(*command: str, options: tuple[str, ...] = (), stdin: bytes = b"") -> Ended:
    """Runs `command` on the kernel by `tools/spork run`."""
    words = [str(SPORK), "run", "--timeout", str(LIMIT), *options, "--", *command]
    return _call(words, stdin, LIMIT + 30)


def linux(*command: str, stdin: bytes = b"") -> Ended:
    """Runs `command` on this machine."""
    return _call(list(command), stdin, LIMIT)


def succeeds(*command: str, options: tuple[str, ...] = (), stdin: bytes = b"") -> str:
    """What a command that must succeed on the kernel prints."""
    ended = spork(*command, options=options, stdin=stdin)
    assert ended.status == 0, (ended.text, ended.err.decode(errors="replace"))
    return ended.text


class Terminal:
    """A shell on the machine's terminal, which is a terminal of this process's making."""

    PROMPT = b"\nspork% "  # on a new line: the line editor draws it again behind a mere return
    # The prompt is set by words that do not contain it: their echo is not mistaken for it.
    SET_PROMPT = b"PS1='spo''rk% '\r"
    FIRST_PROMPT = re.compile(rb"[#$] (\x1b\[[0-9;?]*[A-Za-z])*$")

    def __init__(self, *options: str, rows: int = 24, columns: int = 80) -> None:
        command = ["run", "--timeout", str(5 * LIMIT), *options]
        environment = os.environ | {"TERM": "vt100"}
        self.process = pexpect.spawn(str(SPORK), command, timeout=LIMIT, env=environment,
                                     dimensions=(rows, columns))
        self.process.delaybeforesend = None
        self.expect(self.FIRST_PROMPT)
        self.process.send(self.SET_PROMPT)
        self.wait_for_prompt()

    def send(self, keys: bytes) -> None:
        self.process.send(keys)

    def expect(self, pattern: bytes | re.Pattern[bytes]) -> bytes:
        """Waits for a pattern (bytes: exactly them) and gives what came before it."""
        if isinstance(pattern, bytes):
            self.process.expect_exact(pattern)
        else:
            self.process.expect(pattern)
        before: bytes = self.process.before
        return before

    def wait_for_prompt(self) -> str:
        """What comes before the next prompt, with plain line ends and without control sequences."""
        before = _CONTROL.sub(b"", self.expect(self.PROMPT) + b"\n")
        return before.decode(errors="replace").replace("\r\n", "\n").replace("\r", "")

    def answer(self) -> str:
        """The lines between the echo of a command line and the next prompt."""
        _, _, after = self.wait_for_prompt().partition("\n")
        return after

    def command(self, line: str) -> str:
        """Types a line, shorter than the terminal is wide, and gives what it prints."""
        self.send(line.encode() + b"\r")
        return self.answer()

    def status(self) -> int:
        """The exit status of the last command."""
        return int(self.command("echo $?"))

    def close(self) -> None:
        self.process.close(force=True)

    def exit_status(self) -> int:
        """Waits for the machine's end."""
        self.process.expect(pexpect.EOF)
        self.process.close()
        status: int = self.process.exitstatus
        return status
