"""tools/setup, where something is missing. What it installs is seen on fresh systems: tools/matrix."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from guest import ROOT


@pytest.fixture(name="nobody")
def _nobody(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who may not sudo, whoever runs the test."""
    for name, body in (("id", "echo 1000"), ("sudo", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def asked(environment: dict[str, str], *words: str) -> tuple[int, str, str]:
    done = subprocess.run([ROOT / "tools" / "setup", *words], env=environment, capture_output=True, text=True,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def without(environment: dict[str, str], pattern: str, folder: Path) -> dict[str, str]:
    """The same, but for the tools of these names."""
    folder.mkdir()
    for place in environment["PATH"].split(":"):
        for tool in Path(place).glob("*"):
            hidden = tool.match(pattern) or tool.resolve().name == "ccache"  # which looks for the compiler in PATH
            if not hidden and not (folder / tool.name).is_symlink():
                (folder / tool.name).symlink_to(tool)
    return environment | {"PATH": str(folder)}


def test_the_choice_of_tools_is_obeyed(nobody: dict[str, str], tmp_path: Path) -> None:
    assert asked(without(nobody, "x86_64-linux-gnu-*", tmp_path / "plain") | {"CROSS": ""}, "run") == (0, "", "")
    status, said, _ = asked(nobody | {"CROSS": "none-", "MUSL_CC": "none-musl"}, "--check", "run")
    assert status == 1
    assert sorted(said.splitlines()) == ["  none-g++ is not installed", "  none-ld is not installed",
                                         "  none-musl is not installed", "setup: needed for run:"]


def test_who_may_not_install_is_told_what_to_ask_for(nobody: dict[str, str]) -> None:
    status, _, said = asked(nobody | {"CROSS": "none-"}, "run")
    assert status == 1
    assert "An administrator installs it by\n  apt-get install --no-install-recommends binutils g++\n" in said


def test_a_tool_that_has_gone_is_missed(nobody: dict[str, str], tmp_path: Path) -> None:
    status, said, _ = asked(without(nobody, "xorriso", tmp_path / "tools"), "--check", "run")
    assert (status, said) == (1, "setup: needed for run:\n  xorriso is not installed\n")
