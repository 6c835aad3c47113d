"""Builds what the system tests boot, once, and finds tools/sporklib for them."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: left to `make test-system`; another test is the cut of it in `make test`")


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """The kernel, its root file system and the ISO are up to date; no test builds them again."""
    if "SPORK_NO_BUILD" not in os.environ:
        subprocess.run(["make", "-s", "all", "iso", "bench-programs"], cwd=ROOT, check=True)
        os.environ["SPORK_NO_BUILD"] = "1"
