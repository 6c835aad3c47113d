"""The bugs of tests/kernel/planted: the sanitizer must find each, and tell whose fault it is."""
from __future__ import annotations

import os
import re
import subprocess
import time

from .paths import ROOT, SANITIZE
from .results import Result, progress, tally

LIMIT = 30

# What the panic says first, and then, in this order, what else.
PLANTED: dict[str, dict[str, tuple[str, ...]]] = {
    "undefined": {
        "overflow": ("signed addition overflows: 0x7fffffff, 0x1", "plant_bug"),
        "shift": ("shift of a value by a number of bits: 0x1, 0x28", "plant_bug"),
        "not-aligned": ("a pointer that is not aligned", "plant_bug"),
    },
    "address": {
        "reference-let-go": ("read of 8 bytes at .* it is free", "reference_let_go", "it was allocated in",
                             "reference_let_go", "it was freed in", "last_reference_gone"),
        "page-freed": ("write of 8 bytes at .* it is free", "page_freed", "it was allocated in", "vm_page_alloc",
                       "page_freed", "it was freed in", "vm_page_free", "page_freed"),
        "freed-twice": ("write of 1 bytes at .* it is free", "freed_twice", "it was allocated in", "freed_twice",
                        "it was freed in", "freed_twice"),
        "no-room-for-the-nul": ("write of 1 bytes at .* it is behind an object", "no_room_for_the_nul",
                                "it was allocated in", "kmem_alloc"),
        "array-ended": ("write of 4 bytes at .* it is free", "array_ended", "it was allocated in", "kmem_alloc",
                        "it was freed in", "kmem_free"),
        "stack-freed": ("read of 8 bytes at .* it is free", "stack_freed"),
        "one-more": ("write of 4 bytes at .* it is behind a global object", "one_more"),
    },
    "thread": {
        "counter": ("data race: .* by another processor", r"\bcount\b", "the other processor was in", r"\bcount\b"),
        "flag": ("data race: .* of 1 at .* by another processor", "_flag", "the other processor was in", "_flag"),
        "lock-forgotten": ("data race: ", r"_with(out)?_lock", "the other processor was in", r"_with(out)?_lock"),
        "atomic-on-one-side": ("data race: read of 8 bytes at .* atomic write of 8", "read_plainly",
                               "the other processor was in", "add_atomically"),
        "table": ("data race: .* by another processor", "write_(all|one)", "the other processor was in",
                  "write_(all|one)"),
    },
}


def planted(pattern: str | None) -> list[Result]:
    """Without a sanitizer there is nothing to be found."""
    results = [_find(name, told) for name, told in PLANTED.get(SANITIZE, {}).items()
               if not pattern or pattern in name]
    progress(tally(results))
    return results


def _find(name: str, told: tuple[str, ...]) -> Result:
    started = time.monotonic()
    done = subprocess.run([ROOT / "tools" / "spork", "run", "--smp", "2", "--timeout", str(LIMIT), "--append",
                           f"plant={name}", "--", "sleep", "1000"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", env=os.environ | {"SPORK_NO_BUILD": "1"}, check=False)
    said = done.stderr.partition("panic: ")[2]
    found = re.search(r"[\s\S]*?".join(f"(?:{each})" for each in told), said)
    return Result(SANITIZE, name, "passed" if found else "failed", "" if found else done.stderr,
                  time.monotonic() - started)
