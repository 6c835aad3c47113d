"""How the machine of a test ended, and the core file that it left."""
from __future__ import annotations

from pathlib import Path

from .machine import gdb_on_core
from .paths import BUILD, KERNEL
from .results import End
from .session import TIMEOUT_STATUS, Outcome
from .symbols import symbolize

RESULTS = BUILD / "test-results"
CORES_KEPT = 3


def core_file(name: str) -> Path:
    """Where a machine of this name leaves its core file; the oldest of those that are there make room."""
    folder = RESULTS / "cores"
    (folder / name).unlink(missing_ok=True)
    there = sorted(folder.glob("*"), key=lambda each: each.stat().st_mtime)
    for each in there[: max(0, len(there) - CORES_KEPT + 1)]:
        each.unlink()
    return folder / name


def why_it_ended(outcome: Outcome, core: Path | None = None) -> str:
    """What became of a machine that did not end well; with a panic's text if there was one."""
    text = outcome.why or ""
    if outcome.panic is not None:
        text += "\n" + symbolize(outcome.panic, KERNEL)
        if core is not None and core.exists():
            text = f"{text.rstrip()}\nlook at it by {gdb_on_core(KERNEL, core)}"
    elif outcome.console:
        tail = outcome.console.decode(errors="replace").replace("\r\n", "\n").splitlines()[-20:]
        text += "\nthe console's last lines:\n" + "\n".join(tail)
    return text


def how_it_ended(outcome: Outcome) -> End:
    """Likewise, in a word."""
    return "hung" if outcome.status == TIMEOUT_STATUS and outcome.panic is None else "died"
