"""Reading the kernel's C++ values: members, atomics, references, lists, trees, locks.

Types and members are found by name in the debugging information. When a name is not there any more,
the error says which; walks through linked structures end where those are corrupted.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import gdb

LIMIT = 100_000  # elements of a list or tree: more than that is a loop

NOT_STARTED = "this cannot be read now: has the kernel started? (break kernel_main, continue)"


class SporkError(gdb.GdbError):
    """What the user sees in place of a result."""


def readable(error: gdb.error) -> SporkError:
    """GDB's own error in the words of this project."""
    if isinstance(error, gdb.MemoryError):
        try:
            started = int(gdb.parse_and_eval("cpus[0].self")) != 0
        except gdb.error:
            started = False
        return SporkError(f"{error}" if started else f"{error}: {NOT_STARTED}")
    return SporkError(str(error))


@functools.cache
def type_named(name: str) -> gdb.Type:
    try:
        return gdb.lookup_type(name)
    except gdb.error:
        raise SporkError(f"the kernel's debugging information has no type {name}") from None


def member(value: gdb.Value, name: str) -> gdb.Value:
    """A data member, of a base class too."""
    try:
        return value[name]
    except gdb.MemoryError:
        raise
    except gdb.error:
        raise SporkError(f"{name_of(value.type)} has no member {name} any more") from None


def static(name: str, source: str = "") -> gdb.Value:
    """A variable of the kernel. `source`: it is in the anonymous namespace of that file."""
    if not source:
        symbol = gdb.lookup_global_symbol(name) or gdb.lookup_static_symbol(name)
        if symbol is None:
            raise SporkError(f"the kernel has no variable {name}: is build/kernel/spork.elf loaded?")
        return symbol.value()
    for candidate in (f"(anonymous namespace)::{name}", name):
        for symbol in gdb.lookup_static_symbols(candidate):
            if symbol.symtab.filename.endswith(source):
                return symbol.value()
    raise SporkError(f"{source} has no variable {name} any more")


def name_of(kind: gdb.Type) -> str:
    """A type's name as C++ has it, in whatever language the stop is."""
    return kind.strip_typedefs().unqualified().name or ""


def atomic(value: gdb.Value) -> gdb.Value:
    """What a std::atomic holds; any other value itself."""
    for _ in range(4):
        kind = value.type.strip_typedefs()
        if kind.code != gdb.TYPE_CODE_STRUCT or not name_of(kind).startswith("std::"):
            return value
        fields = kind.fields()
        names = {field.name for field in fields}
        inner = next((name for name in ("_M_i", "_M_b", "_M_base", "_M_p") if name in names), None)
        bases = [field for field in fields if field.is_base_class]
        if inner is None and not bases:
            return value
        value = value[inner] if inner is not None else value.cast(bases[0].type)
    return value


def number(value: gdb.Value) -> int:
    """An integer, an enumerator, an atomic, a vaddr_t or a paddr_t as a number."""
    value = atomic(value)
    kind = value.type.strip_typedefs()
    if kind.code == gdb.TYPE_CODE_STRUCT and name_of(kind).startswith("address<"):
        value = value["value_"]
    return int(value)


def target(reference: gdb.Value) -> gdb.Value:
    """The pointer in a ref_ptr."""
    return member(reference, "object_")


def is_null(pointer: gdb.Value) -> bool:
    return int(pointer) == 0


def references(value: gdb.Value) -> int:
    """How many references a ref_counted object has."""
    return number(member(value, "references_"))


def text(pointer: gdb.Value, limit: int = 200) -> str:
    """The C string at a pointer, or of a char array."""
    if pointer.type.strip_typedefs().code == gdb.TYPE_CODE_PTR and is_null(pointer):
        return ""
    if pointer.type.strip_typedefs().code == gdb.TYPE_CODE_ARRAY:
        pointer = pointer[0].address
    try:
        # A string may be as long as it likes, but what follows it may not be mapped.
        found: str = pointer.string(encoding="utf-8", errors="replace", length=-1)
    except gdb.error:
        return f"(unreadable string at {int(pointer):#x})"
    return found[:limit]


def enumerator(value: gdb.Value) -> str:
    """The name of an enum class's value, without the class."""
    plain = atomic(value)
    return str(plain.cast(_complete(plain.type))).rpartition("::")[2]


def _complete(kind: gdb.Type) -> gdb.Type:
    """The enum with its values, where a header that GDB has taken it from only declares it."""
    declared = kind.strip_typedefs()
    if declared.code != gdb.TYPE_CODE_ENUM or declared.fields() or not declared.name:
        return kind
    tracer = gdb.lookup_global_symbol("trace_init()")  # in a source that has them all
    return gdb.lookup_type(declared.name, tracer.symtab.static_block()) if tracer else kind


def at(address: int, type_name: str) -> gdb.Value:
    """The object of a type at an address."""
    return gdb.Value(address).cast(type_named(type_name).pointer()).dereference()


@functools.cache
def offset_of(type_name: str, name: str) -> int:
    """Bytes from the beginning of a type to a member of it, of a base class too."""

    def search(kind: gdb.Type, base: int) -> int | None:
        for field in kind.fields():
            if field.name == name and not field.is_base_class:
                return base + int(field.bitpos) // 8
            if field.is_base_class and not field.artificial:
                found = search(field.type, base + int(field.bitpos) // 8)
                if found is not None:
                    return found
        return None

    result = search(type_named(type_name), 0)
    if result is None:
        raise SporkError(f"{type_name} has no member {name} any more")
    return result


def each(head: gdb.Value, type_name: str, node: str, limit: int = LIMIT) -> Iterator[gdb.Value]:
    """The elements of a list<T, &T::node>, in order."""
    ring = member(head, "head_")
    first = int(ring.address)
    offset = offset_of(type_name, node)
    current = int(member(ring, "next"))
    seen: set[int] = set()
    while len(seen) < limit:
        if current in (0, first):
            return
        if current in seen:
            raise SporkError(f"a list of {type_name} runs in a circle at {current:#x}: it is corrupted")
        seen.add(current)
        yield at(current - offset, type_name)
        current = int(at(current, "list_node")["next"])
    raise SporkError(f"a list of {type_name} has more than {limit} elements: it is corrupted")


def each_in_tree(tree: gdb.Value, type_name: str, node: str, limit: int = LIMIT) -> Iterator[gdb.Value]:
    """The elements of an avl_tree<T, &T::node>, in order."""
    offset = offset_of(type_name, node)
    current = int(member(tree, "root_"))
    above: list[int] = []
    seen: set[int] = set()
    while len(seen) < limit:
        if current:
            if current in seen:
                raise SporkError(f"a tree of {type_name} has {current:#x} twice: it is corrupted")
            seen.add(current)
            above.append(current)
            current = int(at(current, "avl_node")["left"])
        elif above:
            here = above.pop()
            yield at(here - offset, type_name)
            current = int(at(here, "avl_node")["right"])
        else:
            return
    raise SporkError(f"a tree of {type_name} has more than {limit} elements: it is corrupted")


def each_slot(slots: gdb.Value, first: int = 0, end: int = 1 << 64) -> Iterator[tuple[int, int]]:
    """The filled slots of a sparse_slots in [first, end): number, and the address in it."""
    for chunk in each_in_tree(member(slots, "tree_"), "sparse_slots::chunk", "node"):
        base = int(member(chunk, "first"))
        array = member(chunk, "slot")
        size = array.type.range()[1] + 1
        if base + size <= first or base >= end:
            continue
        for index in range(size):
            if first <= base + index < end and (value := int(array[index])):
                yield base + index, value


# ---- Locks -----------------------------------------------------------------------------------


def sleep_lock_owner(lock: gdb.Value) -> int:
    """The address of the thread that holds a sleep_lock, or 0."""
    return number(member(lock, "state_")) & ~1


def describe_lock(lock: gdb.Value, thread_name: Callable[[int], str]) -> str:
    """Who has a lock: "free", "CPU 1", "thread 7 sh", "2 readers, somebody waits"."""
    kind = name_of(lock.type)
    if kind == "spin_lock":
        owner = number(member(lock, "owner_"))
        return f"held by CPU {owner - 1}" if owner else "free"
    state = number(member(lock, "state_"))
    if kind in ("sleep_lock", "amap_lock"):
        waiting = ", somebody waits" if state & 1 else ""
        owner = state & ~1
        return f"held by {thread_name(owner)}{waiting}" if owner else f"free{waiting}"
    waiting = ", somebody waits" if state & 2 else ""
    if state & 1:
        return f"held by {thread_name(number(member(lock, 'writer_')))} for writing{waiting}"
    readers = state >> 2
    if readers:
        return f"held by {readers} reader{'s' if readers > 1 else ''}{waiting}"
    return f"free{waiting}"
