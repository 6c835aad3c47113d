"""$pid(), $proc(pid), $thread(tid), $vmspace(pid), $entry(pid, address), $page(address) and
$pte(pid, address)."""
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


class PtePointer(gdb.Function):
    """$pte(pid, address): a pointer to the page-table entry of an address, for a watchpoint."""

    def __init__(self) -> None:
        super().__init__("pte")

    def invoke(self, pid: gdb.Value, address: gdb.Value) -> gdb.Value:
        try:
            space = memory.vmspace(number(pid))
            steps = list(memory.walk(memory.pmap_root(space), number(address) & (1 << 64) - 1))
        except gdb.MemoryError as error:
            raise readable(error) from None
        if len(steps) < 4:
            raise SporkError(f"{number(address):#x} has no page table")
        return gdb.Value(steps[-1][2]).cast(gdb.lookup_type("unsigned long").pointer())


class CurrentPid(gdb.Function):
    """$pid(): the pid of the process on the selected processor; 0 for a thread of the kernel's own."""

    def __init__(self) -> None:
        super().__init__("pid")

    def invoke(self) -> int:
        try:
            process = kernel.current_process()
        except gdb.MemoryError as error:
            raise readable(error) from None
        return int(process["pid"]) if process is not None else 0


def register() -> None:
    CurrentPid()
    PtePointer()
    Function("proc", 1, kernel.process, "$proc(pid): the struct process of a pid.")
    Function("thread", 1, kernel.thread, "$thread(tid): the struct thread of a tid.")
    Function("vmspace", 1, memory.vmspace, "$vmspace(pid): the vmspace of a process.")
    Function("entry", 2, lambda pid, address: memory.entry_at(memory.vmspace(pid), address),
             "$entry(pid, address): the map entry that the address of a process lies in.")
    Function("page", 1, find_page, "$page(pa): the vm_page of a physical address or a frame number.")
