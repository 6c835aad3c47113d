"""What tools/gdb/spork.py loads. Each module registers its own commands when it is imported.

    values      C++ values of the kernel: members, lists, trees, locks
    kernel      processes, threads, processors
    memory      maps, amaps, pages, page tables
    printers    pretty-printers
    functions   $proc() and its like
    commands    spork ps, bt, runq, locks, log, counters, pools
    vmcommands  spork map, amap, anon, page, pte, vmdiff
    programs    symbols of the user program that runs; spork program, enter, leave
    tracering   spork trace
    ledgers     spork ledger
    walks       spork walk
"""
from __future__ import annotations


def install() -> None:
    """Registers everything with GDB."""
    from . import commands, functions, ledgers, printers, programs, tracering, vmcommands, walks

    for module in (printers, functions, commands, vmcommands, programs, ledgers, tracering, walks):
        module.register()
