"""$proc(pid), $thread(tid), $vmspace(pid), $entry(pid, address), $page(address)."""
from __future__ import annotations

from collections.abc import Callable

import gdb

from . import kernel, memory
from .values import SporkError, number, readable
from .vmcommands import find_page


class Function(gdb.Function):
    """A convenience function; gives the address of what it finds, so that -> follows."""

    def __init__(self, name: str, arguments: int, find: Callable[..., gdb.Value], doc: str) -> None:
        self.__doc__ = doc
        self._arguments = arguments
        self._find = find
        self._name = name
        super().__init__(name)

    def invoke(self, *values: gdb.Value) -> gdb.Value:
        if len(values) != self._arguments:
            raise SporkError(f"${self._name}() takes {self._arguments} arguments")
        try:
            return self._find(*(number(value) & (1 << 64) - 1 for value in values)).address
        except gdb.GdbError:
            raise
        except gdb.error as error:
            raise readable(error) from None


def register() -> None:
    Function("proc", 1, kernel.process, "$proc(pid): the struct process of a pid.")
    Function("thread", 1, kernel.thread, "$thread(tid): the struct thread of a tid.")
    Function("vmspace", 1, memory.vmspace, "$vmspace(pid): the vmspace of a process.")
    Function("entry", 2, lambda pid, address: memory.entry_at(memory.vmspace(pid), address),
             "$entry(pid, address): the map entry that the address of a process lies in.")
    Function("page", 1, find_page, "$page(pa): the vm_page of a physical address or a frame number.")
