"""Pretty-printers for the kernel's own types and containers."""
from __future__ import annotations

import re
from collections.abc import Iterator

import gdb
import gdb.printing

from . import kernel, memory
from .values import (
    atomic,
    describe_lock,
    each,
    each_in_tree,
    each_slot,
    enumerator,
    is_null,
    member,
    name_of,
    number,
    references,
)

SHOWN = 200  # elements of a container


class AddressPrinter:
    """vaddr_t and paddr_t: va 0x401000, pa 0x3000."""

    def __init__(self, value: gdb.Value) -> None:
        self._value = value

    def to_string(self) -> str:
        tag = "pa" if "paddr_tag" in name_of(self._value.type) else "va"
        return f"{tag} {number(self._value):#x}"


class RefPrinter:
    """ref_ptr, early_ref: the address and the references of what it holds."""

    def __init__(self, value: gdb.Value) -> None:
        self._pointer = member(value, "object_")

    def to_string(self) -> str:
        if is_null(self._pointer):
            return "null"
        try:
            count = f" (references {references(self._pointer.dereference())})"
        except (gdb.error, gdb.GdbError):
            count = ""
        return f"{self._pointer.type} {int(self._pointer):#x}{count}"


class AtomicPrinter:
    """std::atomic: the plain value."""

    def __init__(self, value: gdb.Value) -> None:
        self._value = atomic(value)

    def to_string(self) -> gdb.Value:
        return self._value


class ProtPrinter:
    """vm_prot: r-x."""

    def __init__(self, value: gdb.Value) -> None:
        self._value = value

    def to_string(self) -> str:
        return memory.prot(self._value)


class LockPrinter:
    """spin_lock, sleep_lock, rw_lock, amap_lock: name and holder."""

    def __init__(self, value: gdb.Value) -> None:
        self._value = value

    def to_string(self) -> str:
        name = member(self._value, "name_").string(errors="replace")
        return f'"{name}" {describe_lock(self._value, kernel.thread_label)}'


class ListPrinter:
    """list<T, &T::node>: pointers to the elements."""

    PATTERN = re.compile(r"^list<(.+), &\(?(.+)::(\w+)\)?>$")

    def __init__(self, value: gdb.Value) -> None:
        self._value = value
        match = self.PATTERN.match(name_of(value.type))
        self._type, self._node = (match[1], match[3]) if match else ("", "")

    def _elements(self) -> Iterator[gdb.Value]:
        return each(self._value, self._type, self._node)

    def to_string(self) -> str:
        return f"list of {sum(1 for _ in self._elements())} {self._type}"

    def children(self) -> Iterator[tuple[str, gdb.Value]]:
        for i, element in zip(range(SHOWN), self._elements(), strict=False):
            yield f"[{i}]", element.address

    def display_hint(self) -> str:
        return "array"


class TreePrinter(ListPrinter):
    """avl_tree<T, &T::node>: pointers to the elements in order."""

    PATTERN = re.compile(r"^avl_tree<(.+?), &\(?(.+?)::(\w+)\)?, .*>$")

    def _elements(self) -> Iterator[gdb.Value]:
        return each_in_tree(self._value, self._type, self._node)

    def to_string(self) -> str:
        return f"tree of {sum(1 for _ in self._elements())} {self._type}"


class MapTreePrinter(ListPrinter):
    """vm_map_tree: pointers to the entries in address order."""

    def __init__(self, value: gdb.Value) -> None:
        self._value = member(value, "tree_")
        self._type, self._node = "vm_map_entry", "tree_links"

    def _elements(self) -> Iterator[gdb.Value]:
        return each_in_tree(self._value, self._type, self._node)


class SlotsPrinter:
    """sparse_slots: the filled ones by number."""

    def __init__(self, value: gdb.Value) -> None:
        self._value = value

    def to_string(self) -> str:
        return f"sparse_slots with {int(member(self._value, 'used_'))} filled"

    def children(self) -> Iterator[tuple[str, gdb.Value]]:
        pointer = gdb.lookup_type("void").pointer()
        for _, (slot, address) in zip(range(SHOWN), each_slot(self._value), strict=False):
            yield f"[{slot:#x}]", gdb.Value(address).cast(pointer)


class ExpectedPrinter:
    """expected<T>: the value, or the Errno in its place."""

    def __init__(self, value: gdb.Value) -> None:
        self._value = value

    def to_string(self) -> str:
        names = {field.name for field in self._value.type.strip_typedefs().fields()}
        if "_M_has_value" not in names:
            return "expected (its layout is not the known one)"
        if not bool(self._value["_M_has_value"]):
            return f"Errno {enumerator(self._unexpected())}"
        if "_M_val" not in names and name_of(self._value.type).startswith("std::expected<void"):
            return "ok"
        return f"ok {self._find('_M_val')}"

    def _find(self, name: str) -> gdb.Value:
        kind = self._value.type.strip_typedefs()
        for field in kind.fields():
            if field.name == name:
                return self._value[name]
            if not field.name and field.type.code == gdb.TYPE_CODE_UNION:
                return self._value[field][name]
        return self._value[name]

    def _unexpected(self) -> gdb.Value:
        return self._find("_M_unex")


def build() -> gdb.printing.RegexpCollectionPrettyPrinter:
    printers = gdb.printing.RegexpCollectionPrettyPrinter("spork")
    for name, pattern, printer in (
        ("address", r"^address<.*>$", AddressPrinter),
        ("ref_ptr", r"^ref_ptr<.*>$|^early_ref<.*>$", RefPrinter),
        ("atomic", r"^std::atomic<.*>$", AtomicPrinter),
        ("vm_prot", r"^vm_prot$", ProtPrinter),
        ("lock", r"^(spin_lock|sleep_lock|rw_lock|amap_lock)$", LockPrinter),
        ("list", r"^list<.*>$", ListPrinter),
        ("avl_tree", r"^avl_tree<.*>$", TreePrinter),
        ("vm_map_tree", r"^vm_map_tree$", MapTreePrinter),
        ("sparse_slots", r"^sparse_slots$", SlotsPrinter),
        ("expected", r"^std::expected<.*>$", ExpectedPrinter),
    ):
        printers.add_printer(name, pattern, printer)
    return printers


def register() -> None:
    gdb.printing.register_pretty_printer(None, build(), replace=True)
