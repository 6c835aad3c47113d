"""The commands' base class, and what they take as arguments."""
from __future__ import annotations

from collections.abc import Iterable

import gdb

from . import kernel
from .values import SporkError, number, readable


class Command(gdb.Command):
    """A command under the prefix `spork`. Its doc string is its help; run() does the work."""

    name = ""
    resumes = False  # lets the machine run
    known: list[Command] = []  # all that there are, in the order in which they were registered

    def __init__(self) -> None:
        super().__init__(f"spork {self.name}", gdb.COMMAND_STATUS)
        self.known.append(self)

    def invoke(self, argument: str, from_tty: bool) -> None:
        self.dont_repeat()
        try:
            words = gdb.string_to_argv(argument)
            if self.resumes:  # GDB itself is to choose the language of where that ends
                self.run(words)
                return
            # Stopped in a C program, GDB would take expressions and names to be C's.
            with gdb.with_parameter("language", "c++"):
                self.run(words)
        except gdb.GdbError:
            raise
        except gdb.error as error:
            raise readable(error) from None

    def run(self, words: list[str]) -> None:
        raise NotImplementedError

    def usage(self) -> SporkError:
        return SporkError("usage: " + (self.__doc__ or "").split("\n", 1)[0])


def say(line: str = "") -> None:
    """One line of output, by GDB's pager."""
    gdb.write(line + "\n")


WIDTH = 100  # columns of what is printed, where it can be helped


def say_within(pieces: list[str], indent: int, first: int = 0, separator: str = "  ") -> None:
    """Pieces beside each other, in as many lines as that takes."""
    line = " " * first
    for piece in filter(None, pieces):
        if line.strip() and len(line) + len(separator) + len(piece) > WIDTH:
            say(line)
            line = " " * indent
        line += (separator if line.strip() else "") + piece
    say(line)


def evaluate(words: str) -> int:
    """An expression of GDB's, registers and convenience variables included, as a number."""
    value = gdb.parse_and_eval(words)
    if value.type.strip_typedefs().code == gdb.TYPE_CODE_REF:
        value = value.referenced_value().address
    return number(value) & (1 << 64) - 1


def pid_or_current(words: list[str]) -> int:
    """The first word as a pid; without one, that of the process on the selected processor."""
    if words:
        return evaluate(words[0])
    process = kernel.current_process()
    if process is None:
        raise SporkError("a thread of the kernel's own runs here: say which process (spork ps)")
    return int(process["pid"])


def table(rows: Iterable[Iterable[str]], right: tuple[int, ...] = ()) -> None:
    """Prints rows in columns; the first one is the heading. Columns in `right` are right-aligned."""
    lines = [list(row) for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        cells = [cell.rjust(width) if i in right else cell.ljust(width)
                 for i, (cell, width) in enumerate(zip(line, widths, strict=True))]
        say("  ".join(cells).rstrip())
