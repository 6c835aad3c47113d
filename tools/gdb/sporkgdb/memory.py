"""Maps, entries, amaps, anons, pages and page tables, as vm/ and the pmap have them."""
from __future__ import annotations

import functools
import struct
from collections.abc import Iterator

import gdb

from . import kernel
from .values import (
    SporkError,
    at,
    atomic,
    each,
    each_in_tree,
    each_slot,
    enumerator,
    is_null,
    member,
    name_of,
    number,
    references,
    static,
    target,
    text,
    type_named,
)

PAGE = 4096
SLOT_OF_ZEROS = 1  # vm/uvm_swap.h
USER_END = 0x0000_7FFF_FFFF_F000

# The bits of a page-table entry (Intel SDM vol. 3, 4.5). Bit 9 is left to software: here, wired.
PRESENT, WRITE, USER, LARGE = 1 << 0, 1 << 1, 1 << 2, 1 << 7
ADDRESS = 0x000F_FFFF_FFFF_F000
BITS = ((0, "P"), (1, "W"), (2, "U"), (3, "PWT"), (4, "PCD"), (5, "A"), (6, "D"), (7, "PS"),
        (8, "G"), (9, "wired"), (63, "NX"))
LEVELS = ((4, "PML4"), (3, "PDPT"), (2, "PD"), (1, "PT"))


# ---- Maps and entries ------------------------------------------------------------------------


def vmspace(pid: int) -> gdb.Value:
    found = kernel.vmspace_of(kernel.process(pid))
    if found is None:
        raise SporkError(f"process {pid} has no address space: it has exited, or is about to")
    return found


def entries(space: gdb.Value) -> Iterator[gdb.Value]:
    return each(member(member(space, "map_"), "entries_"), "vm_map_entry", "on_list")


def bounds(entry: gdb.Value) -> tuple[int, int]:
    return number(member(entry, "start")), number(member(entry, "end"))


def find_entry(space: gdb.Value, address: int) -> gdb.Value | None:
    for entry in entries(space):
        start, end = bounds(entry)
        if start <= address < end:
            return entry
    return None


def entry_at(space: gdb.Value, address: int) -> gdb.Value:
    entry = find_entry(space, address)
    if entry is None:
        raise SporkError(f"nothing is mapped at {address:#x}")
    return entry


def prot(value: gdb.Value) -> str:
    """"rw-" """
    bits = number(value)
    return "".join(letter if bits >> i & 1 else "-" for i, letter in enumerate("rwx"))


def entry_flags(entry: gdb.Value) -> str:
    """The flags of an entry that are set, by name."""
    names = [name for name in ("copy_on_write", "needs_copy", "grows_down", "no_reserve", "charged")
             if number(member(entry, name))]
    if not number(member(entry, "copy_on_write")):
        names.insert(0, "shared")
    if number(member(entry, "wired_count")):
        names.append("wired")
    inheritance = enumerator(member(entry, "inheritance"))
    if inheritance != "copy":
        names.append(f"inherit={inheritance}")
    advice = enumerator(member(entry, "advice"))
    if advice != "normal":
        names.append(f"advice={advice}")
    return " ".join(names)


def amap_of(entry: gdb.Value) -> gdb.Value | None:
    pointer = target(member(member(entry, "aref"), "amap_"))
    return None if is_null(pointer) else pointer.dereference()


def first_slot(entry: gdb.Value) -> int:
    return number(member(member(entry, "aref"), "first_"))


def object_of(entry: gdb.Value) -> gdb.Value | None:
    pointer = target(member(entry, "object"))
    return None if is_null(pointer) else pointer.dereference()


def object_name(thing: gdb.Value) -> str:
    """What /proc/PID/maps calls an object."""
    derived = thing.cast(thing.dynamic_type)
    try:
        return text(member(derived, "name_"), 64)
    except SporkError:
        return name_of(derived.type)


def entry_name(entry: gdb.Value) -> str:
    """The tag of an entry ("[stack]"), or its object's name."""
    tag = text(member(entry, "tag"), 40)
    if tag:
        return tag
    thing = object_of(entry)
    return object_name(thing) if thing is not None else ""


def anons(amap: gdb.Value, first: int = 0, end: int = 1 << 64) -> Iterator[tuple[int, gdb.Value]]:
    """The filled slots of an amap: number and anon."""
    for slot, address in each_slot(member(amap, "slots_"), first, end):
        yield slot, at(address, "vm_anon")


def anons_of(entry: gdb.Value) -> dict[int, gdb.Value]:
    """The anons in the range that an entry maps, by address."""
    amap = amap_of(entry)
    if amap is None:
        return {}
    start, end = bounds(entry)
    first = first_slot(entry)
    return {start + (slot - first) * PAGE: anon
            for slot, anon in anons(amap, first, first + (end - start) // PAGE)}


def slot_references(amap: gdb.Value, slot: int) -> int:
    """How many map entries reference a slot: the count of the last edge at or before it."""
    from .values import each_in_tree

    count = 0
    for edge in each_in_tree(member(amap, "edges_"), "amap_edge", "node"):
        if int(member(edge, "slot")) > slot:
            break
        count = int(member(edge, "count"))
    return count


def describe_anon(anon: gdb.Value) -> str:
    refs = references(anon)
    page, slot = member(anon, "page_"), int(member(anon, "slot_"))
    where = []
    if int(page):
        busy = ", busy" if int(atomic(member(page.dereference(), "busy"))) else ""
        where.append(f"page {frame_of(page):#x}{busy}")
    if slot == SLOT_OF_ZEROS:
        where.append("zeros once the page is gone")
    elif slot:
        where.append(f"in slot {slot:#x} of swap")
    return f"anon {int(anon.address):#x}, {plural(refs, 'reference')}, {', '.join(where)}"


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


# ---- Pages -----------------------------------------------------------------------------------


def page_array() -> tuple[gdb.Value, int, int]:
    """The vm_pages, the frame number of the first one, and how many there are."""
    source = "vm/phys/vm_page.cc"
    pages = static("pages", source)
    if is_null(pages):
        raise SporkError("the kernel has not taken over its memory yet")
    return pages, int(static("first_frame", source)), int(static("frame_count", source))


def frame_of(page: gdb.Value) -> int:
    """The frame number of a vm_page, by a pointer to it."""
    pages, first, _ = page_array()
    return first + (int(page) - int(pages)) // int(type_named("vm_page").sizeof)


def page_of_frame(frame: int) -> gdb.Value:
    pages, first, count = page_array()
    if not first <= frame < first + count:
        raise SporkError(f"frame {frame:#x} is none of the kernel's: it has {first:#x}.."
                         f"{first + count - 1:#x}")
    return (pages + (frame - first)).dereference()


def pmap_names() -> dict[int, str]:
    """Whose page tables each pmap_machine holds: "7 sh"."""
    names: dict[int, list[str]] = {}
    for process in kernel.processes():
        space = kernel.vmspace_of(process)
        if space is not None:
            machine = int(member(member(space, "pmap_").dereference(), "md_").address)
            name = f"{int(member(process, 'pid'))} {kernel.process_name(process)}"
            names.setdefault(machine, []).append(name)
    return {machine: " and ".join(each) for machine, each in names.items()}


def mappings(page: gdb.Value) -> list[tuple[int, int]]:
    """The pv list of a page: pmap_machine and virtual address."""
    md = member(page, "md")
    entries = [member(md, "first")]
    if not int(member(entries[0], "owner")):
        return []
    entries += [member(more, "at") for more in each_in_tree(member(md, "further"), "pv_further", "of_page")]
    return [(int(member(entry, "owner")), int(member(entry, "va"))) for entry in entries]


# ---- Page tables -----------------------------------------------------------------------------


@functools.cache
def direct_map() -> int:
    try:
        return int(static("direct_map_base"))
    except SporkError:
        return 0xFFFF_8000_0000_0000


def pmap_root(space: gdb.Value) -> int:
    """The physical address of a vmspace's top-level table."""
    machine = member(member(space, "pmap_").dereference(), "md_")
    return int(member(machine, "root")) - direct_map()


def read_table(physical: int) -> tuple[int, ...]:
    data = gdb.selected_inferior().read_memory(direct_map() + physical, PAGE)
    return struct.unpack("<512Q", bytes(data))


def bits_of(pte: int) -> str:
    return " ".join(name for bit, name in BITS if pte >> bit & 1) or "-"


def walk(root: int, address: int) -> Iterator[tuple[str, int, int, int]]:
    """The levels of the page-table walk of an address: name, index, the entry's own (virtual) place,
    the entry. Ends at the page, or where nothing is present."""
    table = root
    for level, name in LEVELS:
        index = address >> (12 + 9 * (level - 1)) & 511
        where = direct_map() + table + 8 * index
        entry = kernel.read_word(where)
        yield name, index, where, entry
        if not entry & PRESENT or (entry & LARGE and level in (2, 3)):
            return
        table = entry & ADDRESS


def pte_of(space: gdb.Value, address: int) -> int:
    """The entry that maps an address of a vmspace, without W if a table above has none; 0 when nothing does."""
    entries = [entry for _, _, _, entry in walk(pmap_root(space), address)]
    if len(entries) != 4 or not entries[-1] & PRESENT:
        return 0
    return entries[-1] if all(entry & WRITE for entry in entries) else entries[-1] & ~WRITE


def resident(space: gdb.Value) -> dict[int, int]:
    """The PTEs of the user half of a vmspace that are present, by address; without W if a table above has none."""
    found: dict[int, int] = {}

    def visit(table: int, level: int, base: int, rights: int) -> None:
        span = 1 << (12 + 9 * (level - 1))
        limit = 256 if level == 4 else 512
        for index, entry in enumerate(read_table(table)[:limit]):
            if not entry & PRESENT:
                continue
            if level == 1:
                found[base + index * span] = entry & (rights | ~WRITE)
            else:
                visit(entry & ADDRESS, level - 1, base + index * span, rights & entry)
        if len(found) > 1 << 22:
            raise SporkError("these page tables map over 16 GiB: they are corrupted")

    visit(pmap_root(space), 4, 0, WRITE)
    return found
