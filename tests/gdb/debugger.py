"""What the GDB tests share: one GDB on one machine, given a list of commands."""
from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = ROOT / "tools" / "gdb" / "start"
LIMIT = 300.0  # seconds for one session: only a hang takes that long, also on a busy machine


@dataclass
class Answer:
    """What a command printed, and the error that it ended with."""

    command: str
    output: str
    error: str

    def __str__(self) -> str:
        return f"(gdb) {self.command}\n{self.output}{self.error}"


class Answers:
    """The answers of a session, by command; of a command that came several times, the last."""

    def __init__(self, answers: list[Answer], said: str) -> None:
        self.all = answers
        self.said = said
        self._by_command = {answer.command: answer for answer in answers}

    def __getitem__(self, command: str) -> str:
        """What it printed. The command must have succeeded."""
        answer = self._by_command[command]
        assert not answer.error, f"{answer}\n{self.said}"
        return answer.output

    def error(self, command: str) -> str:
        answer = self._by_command[command]
        assert answer.error and not answer.error.startswith("FAULT"), answer
        return answer.error

    def text(self) -> str:
        return "\n".join(map(str, self.all))


def debug(commands: list[str], program: str, *options: str) -> Answers:
    """Runs GDB's commands on a machine that runs `program`; `options` are tools/gdb/start's. With
    instructions counted, and nothing laid out at random, every run is the same: how many pages of
    its stack a program touches depends on where the stack begins."""
    with tempfile.TemporaryDirectory() as folder:
        script, answers = Path(folder) / "script", Path(folder) / "answers"
        script.write_text(json.dumps(["set pagination off", "set width 0", *commands]))
        environment = os.environ | {"SPORK_GDB_SCRIPT": str(script), "SPORK_GDB_ANSWERS": str(answers)}
        counted = [] if {"--replay", "--run=--smp=4"} & set(options) else ["--run=--icount"]
        words = [str(START), "--run=--append=norandmaps", *counted, *options, "--gdb=-nx", "--gdb=-batch", "--gdb=-x",
                 f"--gdb={Path(__file__).parent / 'drive.py'}", program]
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False,
                              env=environment, stdin=subprocess.DEVNULL)
        said = done.stdout + done.stderr
        assert answers.exists(), said
        return Answers([Answer(**each) for each in json.loads(answers.read_text())], said)
