"""Builds what the GDB tests boot, once."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """The kernel and its root file system are up to date; no test builds them again."""
    if "SPORK_NO_BUILD" not in os.environ:
        subprocess.run(["make", "-s", "all"], cwd=ROOT, check=True)
        os.environ["SPORK_NO_BUILD"] = "1"
