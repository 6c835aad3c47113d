"""No call keeps the processor or interrupts, in instructions, on the kernel without its checks."""
from __future__ import annotations

import os

import pytest
from sporklib import latency

LONGEST_WITHOUT_INTERRUPTS = 20_000


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> latency.Measured:
    """Of the calls whose name has "exit" where the whole is left to `make test-system`."""
    return latency.measure(tmp_path_factory.mktemp("latency"), only="exit" if "SPORK_CUT" in os.environ else "")


def test_others_have_their_turn(measured: latency.Measured) -> None:
    assert measured.gaps and not measured.failures


def test_interrupts_are_never_off_for_long(measured: latency.Measured) -> None:
    if not measured.stretches:
        pytest.skip("this QEMU takes no such plugin")
    too_long = {call: text for call, (length, text) in measured.stretches.items()
                if length > LONGEST_WITHOUT_INTERRUPTS}
    assert not too_long
