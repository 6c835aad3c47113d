"""spork map, amap, anon, page, pte, vmdiff: address spaces laid open."""
from __future__ import annotations

from collections import Counter

import gdb

from . import kernel, memory
from .arguments import WIDTH, Command, evaluate, pid_or_current, say, say_within
from .memory import PAGE, plural
from .values import (
    at,
    each_in_tree,
    enumerator,
    is_null,
    member,
    number,
    references,
    describe_lock,
    target,
)


class Map(Command):
    """spork map [PID]: the map entries of a process, as vm_map has them.

ANON counts the anons in the entry's range, RES the pages that the page tables map. Below each entry are
its flags, and its layers: the amap (pages of its own) with the slot of the first page, and the object with
the offset. An entry with needs_copy gets an amap of its own at the first write."""

    name = "map"

    def run(self, words: list[str]) -> None:
        pid = pid_or_current(words)
        space = memory.vmspace(pid)
        show_summary(pid, space)
        show_entries(space)


def show_summary(pid: int, space: gdb.Value) -> None:
    sums = member(member(space, "map_"), "sums_")
    lock = describe_lock(member(member(space, "map_"), "lock_"), kernel.thread_label)
    say_within([f"vmspace {int(space.address):#x} of process {pid}: {plural(references(space), 'reference')}, "
                f"{int(member(sums, 'all'))} pages in {int(member(member(space, 'map_'), 'count_'))} entries, "
                f"{int(member(sums, 'charged'))} charged;", f"map {lock}"], indent=4, separator=" ")


def show_entries(space: gdb.Value, only: gdb.Value | None = None) -> None:
    there = memory.resident(space)
    say("START         END           PROT  ANON   RES  NAME")
    for entry in [only] if only is not None else memory.entries(space):
        start, end = memory.bounds(entry)
        amap, thing = memory.amap_of(entry), memory.object_of(entry)
        present = sum(start <= va < end for va in there)
        head = f"{start:012x}  {end:012x}  {memory.prot(member(entry, 'protection')):4}  " \
               f"{len(memory.anons_of(entry)):4}  {present:4}  "
        name = memory.entry_name(entry)
        room = WIDTH - len(head)
        say((head + (name if len(name) <= room else "..." + name[3 - room:])).rstrip())
        layers = [f"amap {int(amap.address):#x}+{memory.first_slot(entry):#x}"] if amap is not None else []
        if thing is not None:
            layers.append(f"object {int(thing.address):#x}+{int(member(entry, 'offset')):#x}")
        say_within([memory.entry_flags(entry), *layers], indent=4, first=4)


class Amap(Command):
    """spork amap ADDRESS | PID ADDRESS: an amap, and the anons in its slots with their references.

With a pid, the amap of the map entry at that address, and only the slots that the entry maps."""

    name = "amap"

    def run(self, words: list[str]) -> None:
        if len(words) == 1:
            show_amap(at(evaluate(words[0]), "vm_amap"))
        elif len(words) == 2:
            entry = memory.entry_at(memory.vmspace(evaluate(words[0])), evaluate(words[1]))
            show_entry_amap(entry)
        else:
            raise self.usage()


def show_entry_amap(entry: gdb.Value) -> None:
    start, end = memory.bounds(entry)
    amap = memory.amap_of(entry)
    if amap is None:
        say(f"the entry at {start:#x} has no amap: nothing private has been written there")
        return
    first = memory.first_slot(entry)
    show_amap(amap, first, first + (end - start) // PAGE)


def show_amap(amap: gdb.Value, first: int = 0, end: int = 1 << 64) -> None:
    lock = describe_lock(target(member(amap, "lock_")).dereference(), kernel.thread_label)
    say(f"amap {int(amap.address):#x}: {plural(int(member(amap, 'attached_')), 'map entry')} "
        .replace("entrys", "entries")
        + f"attached, {plural(int(member(member(amap, 'slots_'), 'used_')), 'anon')}; {lock}")
    edges = [(int(member(e, "slot")), int(member(e, "count")))
             for e in each_in_tree(member(amap, "edges_"), "amap_edge", "node")]
    for (slot, count), (following, _) in zip(edges, edges[1:], strict=False):
        if count:
            say(f"  slots {slot:#x}..{following - 1:#x}: {plural(count, 'reference')}")
    shown = 0
    for slot, anon in memory.anons(amap, first, end):
        if shown == 64:
            say("  ... and more")
            return
        say(f"  slot {slot:#x}: {memory.describe_anon(anon)}")
        shown += 1


class Anon(Command):
    """spork anon ADDRESS: an anon, its references, its page and who maps that."""

    name = "anon"

    def run(self, words: list[str]) -> None:
        if len(words) != 1:
            raise self.usage()
        anon = at(evaluate(words[0]), "vm_anon")
        say(memory.describe_anon(anon))
        if not int(member(anon, "page_")):
            return
        page = member(anon, "page_").dereference()
        if number(member(page, "anon")) != int(anon.address):
            say("  but that page says that it belongs to another: this is no live anon")
        show_mappings(page)


class Page(Command):
    """spork page FRAME | ADDRESS: whose a physical page is, and everybody who maps it.

A number below the number of frames is a frame number; larger ones are a physical address, an address
in the kernel's direct map, or that of a vm_page."""

    name = "page"

    def run(self, words: list[str]) -> None:
        if len(words) != 1:
            raise self.usage()
        show_page(find_page(evaluate(words[0])))


def find_page(value: int) -> gdb.Value:
    pages, first, count = memory.page_array()
    size = pages.dereference().type.sizeof
    if int(pages) <= value < int(pages) + count * size:
        return memory.page_of_frame(first + (value - int(pages)) // size)
    if value < first + count:
        return memory.page_of_frame(value)
    if value >= memory.direct_map():
        value -= memory.direct_map()
    return memory.page_of_frame(value // PAGE)


def show_page(page: gdb.Value) -> None:
    frame = memory.frame_of(page.address)
    kind = enumerator(member(page, "owner_kind"))
    line = f"page {frame:#x} (physical {frame * PAGE:#x}): {kind}"
    if kind == "anon":
        anon = member(page, "anon")
        line += f" {int(anon):#x}"
        if not is_null(anon):
            line += f" with {plural(references(anon.dereference()), 'reference')}"
    elif kind == "object":
        thing = member(page, "object").dereference()
        line += f" {int(thing.address):#x} {memory.object_name(thing)}, page {int(member(page, 'index'))}"
    wires = int(member(page, "wire_count"))
    say(line + (f", wired or held {wires} times" if wires else ""))
    if kind in ("anon", "object"):
        show_mappings(page)
    elif int(member(page, "index")) == 2**64 - 1:  # vm_page::unlisted
        say("  the page of zeros: its mappings are on no list")


def show_mappings(page: gdb.Value) -> None:
    names = memory.pmap_names()
    frame = memory.frame_of(page.address)
    found = memory.mappings(page)
    if not found:
        say("  nobody maps it")
    for machine, va in found:
        who = names.get(machine, f"a pmap that is no process's ({machine:#x})")
        root = int(member(at(machine, "pmap_machine"), "root")) - memory.direct_map()
        steps = list(memory.walk(root, va))
        pte = steps[-1][3] if len(steps) == 4 else 0
        state = memory.bits_of(pte) if pte & memory.ADDRESS == frame * PAGE else "but its PTE does not"
        say(f"  mapped by {who} at {va:#x}: {state}")


class Pte(Command):
    """spork pte PID ADDRESS: the page-table walk of an address, each level's entry with its bits named.

P present, W writable, U for user mode, A accessed, D dirty, G global, PS a large page, NX no execute;
wired is the kernel's own. An access needs W and U at every level."""

    name = "pte"

    def run(self, words: list[str]) -> None:
        if len(words) != 2:
            raise self.usage()
        address = evaluate(words[1])
        space = memory.vmspace(evaluate(words[0]))
        show_walk(space, address)


def show_walk(space: gdb.Value, address: int) -> None:
    entry = 0
    steps = list(memory.walk(memory.pmap_root(space), address))
    for name, index, where, entry in steps:
        frame = entry & memory.ADDRESS
        end = f"-> {frame:#x}" if entry & memory.PRESENT else "not present"
        say(f"{name:<4} [{index:3}] at {where:#x}: {entry:#018x} {end}  {memory.bits_of(entry)}")
    if not entry & memory.PRESENT:
        say(f"{address:#x} is not mapped: an access faults")
        return
    writable = all(step[3] & memory.WRITE for step in steps)
    say(f"{address:#x} is page {(entry & memory.ADDRESS) // PAGE:#x}, "
        f"{'writable' if writable else 'read-only'}")


class VmDiff(Command):
    """spork vmdiff PID PID: what two address spaces share, and where they differ.

Entry by entry: the same amap (the copy of a fork is still put off), or amaps of their own with so many
anons in common; and from the page tables, how many pages both map to one frame, or each to its own."""

    name = "vmdiff"

    def run(self, words: list[str]) -> None:
        if len(words) != 2:
            raise self.usage()
        show_difference(evaluate(words[0]), evaluate(words[1]))


def show_difference(a: int, b: int) -> None:
    first, second = memory.vmspace(a), memory.vmspace(b)
    if int(first.address) == int(second.address):
        say(f"{a} and {b} have one vmspace, {int(first.address):#x}, with "
            f"{plural(references(first), 'reference')}: every store of one is the other's")
        return
    ours = {memory.bounds(entry): entry for entry in memory.entries(first)}
    theirs = {memory.bounds(entry): entry for entry in memory.entries(second)}
    resident_a, resident_b = memory.resident(first), memory.resident(second)
    for span in sorted({*ours, *theirs}):
        start, end = span
        head = f"{start:012x}-{end:012x}"
        if span not in theirs or span not in ours:
            there = a if span in ours else b
            say(f"{head} only in {there}: {memory.entry_name((ours | theirs)[span])}")
            continue
        what = compare(ours[span], theirs[span])
        tables = compare_tables({va: p for va, p in resident_a.items() if start <= va < end},
                                {va: p for va, p in resident_b.items() if start <= va < end}, a, b)
        say(f"{head} {memory.prot(member(ours[span], 'protection'))} "
            f"{memory.entry_name(ours[span]) or 'anonymous'}: {what}; {tables}")


def compare(mine: gdb.Value, other: gdb.Value) -> str:
    notes = []
    for flag in ("needs_copy", "copy_on_write", "protection", "inheritance", "wired_count"):
        x, y = number(member(mine, flag)), number(member(other, flag))
        if x != y:
            notes.append(f"{flag} {x} and {y}")
    one, two = memory.amap_of(mine), memory.amap_of(other)
    if one is None and two is None:
        thing = memory.object_of(mine)
        notes.insert(0, "no amap" if thing is None else "the object alone")
    elif one is None or two is None:
        notes.insert(0, "an amap on one side only")
    elif int(one.address) == int(two.address):
        both = number(member(mine, "needs_copy")) and number(member(other, "needs_copy"))
        notes.insert(0, f"one amap {int(one.address):#x}" + (", both needs_copy" if both else ""))
    else:
        here, there = ({va: int(anon.address) for va, anon in memory.anons_of(entry).items()}
                       for entry in (mine, other))
        same = sum(here[va] == there.get(va) for va in here)
        notes.insert(0, f"amaps of their own with {plural(same, 'anon')} in common, "
                        f"{len(here) - same} and {len(there) - same} not")
    return ", ".join(notes)


def compare_tables(x: dict[int, int], y: dict[int, int], a: int, b: int) -> str:
    count: Counter[str] = Counter()
    for va in {*x, *y}:
        if va in x and va in y:
            same = x[va] & memory.ADDRESS == y[va] & memory.ADDRESS
            count["mapped by both" if same else "different"] += 1
        else:
            count[f"only in {a}" if va in x else f"only in {b}"] += 1
    return "pages: " + (", ".join(f"{n} {what}" for what, n in sorted(count.items())) or "none")


def register() -> None:
    for command in (Map, Amap, Anon, Page, Pte, VmDiff):
        command()
