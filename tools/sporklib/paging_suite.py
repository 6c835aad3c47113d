"""The programs of user/tests where there is memory for next to nothing and swap for the rest: everything pages."""
from __future__ import annotations

import os
import time

from .paths import ROOT
from .results import Result, progress
from .suites import pytest_folder
from .user_suite import Guest, run_on_spork

# All pages of programs and files together have what is left of the memory: about 4 MiB.
SMALL = Guest(memory="32M", min_free=24000)
PAGES = 50  # at least, that come in and go out for each program, on average
LARGER = {
    "epoll": Guest(memory="64M", min_free=56000),  # how much may be watched goes by the memory
    "mmap_limits": Guest(memory="64M", min_free=40000),  # 65,530 mappings are 12 MiB of the kernel's
    "sysv_shm": Guest(memory="64M", min_free=56000),  # the limit of all segments goes by the memory
    "wait": Guest(memory="48M", min_free=24000),  # 200 processes are 8 MiB of the kernel's
    "vfork_share": Guest(memory="48M", min_free=24000),  # locks 16 MiB
}
EXEMPT = {
    "proc_memory": "compares what /proc says at two moments of pages that are in memory",
    "mlock": "locks more than there is",
    "oom": "wants somebody to be killed for memory, and there is swap",
}


def paging(pattern: str | None) -> list[Result]:
    """Each program, and tests/system/test_paging*.py at their full size."""
    names = sorted(path.stem for path in (ROOT / "user" / "tests").glob("*.c"))
    results = programs([name for name in names if not pattern or pattern in name])
    os.environ["SPORK_PAGING"] = "full"
    return results + pytest_folder("system", f"paging and ({pattern})" if pattern else "paging")


def programs(names: list[str]) -> list[Result]:
    """Each of these programs, and whether they paged."""
    results = [Result("spork", name, "skipped", EXEMPT[name]) for name in names if name in EXEMPT]
    started = time.monotonic()
    total = [0, 0]
    for guest in (SMALL, *LARGER.values()):
        for name, run in run_on_spork([name for name in names if name not in EXEMPT and
                                       LARGER.get(name, SMALL) is guest], guest).items():
            result = run.result("spork", name)
            total = [a + b for a, b in zip(total, run.paged or [0, 0])]
            progress(f"{name}: {result.verdict}, {' in, '.join(map(str, run.paged))} out, in {run.seconds:.1f} s")
            results.append(result)
    progress(f"{total[0]} pages came from swap and {total[1]} went there, in {time.monotonic() - started:.1f} s")
    return results + [Result("spork", "everything pages", "passed" if min(total) > PAGES * len(names) else "failed",
                             f"{total} pages of {len(names)} programs")]
