"""spork ledger: what a process's forks, execs and its end have cost (kernel/process/ledger.h)."""
from __future__ import annotations

import gdb

from . import kernel
from .arguments import Command, pid_or_current, say
from .values import each, enumerator, is_null, member, number, target, text, type_named

SIDES = ("parent", "child")


def names_of(enumeration: str) -> list[str]:
    """The enumerators, without the last one, which is their number."""
    return [field.name.rpartition("::")[2] for field in type_named(enumeration).fields()][:-1]


class Ledger(Command):
    """spork ledger [PID]: the ledger of a process: what each creation, exec and exit cost.

Below a creation that copied an address space: the faults that it has caused since, in parent and child.
What has not happened is left out. /proc/PID/ledger shows the same to programs."""

    name = "ledger"

    def run(self, words: list[str]) -> None:
        process = kernel.process(pid_or_current(words))
        costs = member(process, "costs")
        lost = number(member(costs, "lost_"))
        found = False
        for entry in each(member(costs, "entries_"), "ledger_entry", "on_ledger"):
            found = True
            self._entry(entry)
        if lost:
            say(f"{lost} entries were lost for want of memory")
        if not found:
            say("nothing has been entered")

    @staticmethod
    def _entry(entry: gdb.Value) -> None:
        child, mode = int(member(entry, "child")), member(entry, "mode")
        words = [f"{number(member(entry, 'number'))}:", enumerator(member(entry, "kind")),
                 f"by {int(member(entry, 'pid'))} ({text(member(entry, 'name'), 16)})"]
        words += [f"of {child}"] if child else []
        words += [f"mode {text(mode)}"] if not is_null(mode) else []
        blocked = number(member(entry, "blocked"))
        words += [f"blocked {blocked} ns"] if blocked else []
        say(" ".join([*words, f"cycles {number(member(entry, 'cycles'))}"]))
        counters = member(entry, "counters")
        for i, name in enumerate(names_of("uvm_counter")[:counters.type.range()[1] + 1]):  # not all of them
            if value := number(counters[i]):
                say(f"    {name} {value}")
        aftermath = target(member(entry, "aftermath"))
        if is_null(aftermath):
            return
        counts = member(aftermath.dereference(), "counts_")
        for i, side in enumerate(SIDES):
            for j, kind in enumerate(names_of("vm_aftermath::kind")):
                if value := number(counts[i][j]):
                    say(f"    later, in the {side}: {kind} {value}")


def register() -> None:
    Ledger()
