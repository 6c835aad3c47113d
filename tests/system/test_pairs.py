"""Every two calls on one object, from two threads: a sample, on 1 and on 4 processors.

user/tests runs the same program on 2, and on Linux. `make test-pairs` runs all of it.
"""
from __future__ import annotations

import os

import pytest
from guest import spork

SECONDS = "8"


@pytest.mark.parametrize("cpus", [pytest.param(1, marks=pytest.mark.long), 4])
def test_pairs(cpus: int) -> None:
    seed = os.environ.get("SPORK_SEED", "2")
    ended = spork("/tests/pairs", "--seconds", SECONDS, "--seed", seed, options=("--smp", str(cpus)))
    said = ended.text + ended.err.decode(errors="replace")
    assert ended.status == 0, said
    assert "not ok" not in said, said
