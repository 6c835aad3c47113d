"""What the page says of each event: its sentence and the literature's name, from the table of trace
points, and the source lines that did it: not the EVENT that tells of it, but the statement that acts."""
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The events that tell a run's story without its details. A fault is told by its case; by its end
# only where it has none (the page sees to that).
MAIN_CATEGORIES = {"process", "exec", "exit", "vmspace"}
MAIN_EVENTS = {"map_entry_inherited", "map_entry_removed", "fault_case", "fault_end", "commit_refused"}
FOLDERS = ("vm", "kernel", "arch/x86_64", "lib")
BEFORE, AFTER = 4, 3  # lines of source quoted around the statement that acts
MOST_PLACES = 3
# TRACE_POINT(category, NAME, "literature", "sentence", fields), the texts in one or more pieces.
STRINGS = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
POINT = re.compile(r"TRACE_POINT\(\s*(\w+),\s*(\w+),\s*" + STRINGS + r",\s*" + STRINGS)
CALL = re.compile(r"\bEVENT\(\s*(\w+)\b")

# What acts: a piece of the statement that an event tells of, in the file of its EVENT, nearest to that, before
# it rather than behind it. Where none is given it is the statement before the EVENT. A test
# (tests/web/test_explore_data.py) finds a piece that is in the tree no more.
ACTS = {
    "page_allocated": ["become_owned("], "page_freed": ["become_free("],
    "commit_refused": ["if (committed_pages > limit"],
    "fault_begin": ["fault_page(address.page_down()"], "fault_end": ["fault_page(address.page_down()"],
    "fault_ahead": ["vm.pmap_->enter(at,"],
    "amap_created": ["amap_pool.create("], "anon_referenced": ["add(slot, ref_ptr<vm_anon>(anon))"],
    "amap_copied": ["from.slots_.visit(", "vm_anon::create_copy(lock()"],
    "amap_released": ["count_range(first_, first_ + pages_, -1)"],
    "anon_created": ["anon_pool.create("], "anon_destroyed": ["vm_page_free(page_)"],
    "anon_released": ["anon.drop_reference()"],
    "map_entry_inserted": ["tree_.insert(entry"], "object_referenced": ["tree_.insert(entry"],
    "map_entry_removed": ["tree_.remove(entry"], "object_detached": ["tree_.remove(entry"],
    "map_entry_clipped": ["e.end = at"], "map_entry_merged": ["e.end = high.end"],
    "needs_copy_cleared": ["needs_copy = false"], "needs_copy_set": ["e.needs_copy = true"],
    "vmspace_created": ["vmspace_pool.create("], "vmspace_unmapped": ["unmap_locked(user_min, user_max"],
    "vmspace_forked": ["put_off_copies(job)"], "map_entry_inherited": ["give_memory(parent, e, c, job.mode)"],
    "vmspace_released": ["vm.reset()", "next.vm = vmspace::exec("],
    "exec_begin": ["execute(at_fd"], "exec_failed": ["execute(at_fd"],
    "exit_zombie": ["process_set_state(p, process_state::zombie)"], "exit_begin": ["signal_thread_exiting(self)"],
    "fork_child_runs": ["sched_first_run()"], "exec_commit": ["thread_enter_vmspace(&vm)"],
    "vmspace_shared": ["TRY(memory_.shared ? share(its->vm)"], "fork_child": ["TRY(child.publish())"],
    "fork_begin": ["memory_choice memory = choose_memory("], "fork_end": ["return child.result()"],
    "vfork_block": ["wait_->wait()"], "vfork_wake": ["wait_->wait()"], "vfork_release": ["waiting->release(record)"],
    "exit_reaped": ["child.reset()"],
    "sched_switch": ["cpu::set_current(next)"], "sched_wakeup": ["enqueue(t)"],
    "syscall_enter": ["e.call(frame)"], "syscall_exit": ["e.call(frame)"],
    "pmap_created": ["pmaps.create()"], "pmap_destroyed": ["pmaps.destroy("],
    "pte_entered": ["pte_atomic(at.pte()).store(entry"],
    "pte_removed": ["remove_some<false>(md_, va, end.value())"],
    "pte_protected": ["pte_lower(at.pte(), prot)"], "pte_copied": ["pte_atomic(pte).store(at.value() & ~left_out"],
    "table_unprotected": ["fetch_or(pte_write"],
    "page_protected": ["try_page_protect(page, prot, changed)"],
    "page_table_made": ["pte_atomic(*at.entry).store("],
    "page_table_freed": ["pte_atomic(*entries[level + 1]).store(0"],
}

# Events that one EVENT tells for several ways: by a field's value a sentence of its own, and what acts.
CASES = {
    "fault_case": ("kind", {
        "case_1a": ("Case 1A: the amap has the page. It was mapped: read-only if others have it, too.",
                    "enter(page, anon_protection(anon))"),
        "case_1b": ("Case 1B: a write to a page that others have, too. It was copied, and the copy was mapped.",
                    "vm_anon::create_copy(amap.lock(), original)"),
        "case_2a": ("Case 2A: the amap has nothing here, the object has the page. It was mapped.",
                    "enter(**page, write() ? prot"),
        "case_2b_copy": ("Case 2B: a write to an object's page that is private here. It was copied into the amap.",
                         "vm_anon::create_copy(amap.lock(), *contents)"),
        "case_2b_zero": ("Case 2B: a write to what nobody has written yet. The amap has a page of zeros now.",
                         "vm_anon::create_zeroed(amap.lock())"),
        "zero_page": ("A read of what nobody has written yet: the one page of zeros was mapped, read-only.",
                      "enter(*zeros,"),
        "takeover": ("The kernel finds the page to be this process's alone: it may be written now, without a copy.",
                     "enter(page, anon_protection(anon))"),
        "spurious": ("Nothing to do: the page is mapped with this right already.",
                     "return mapping && mapping->pa == page.physical() && allows(mapping->prot"),
    }),
    "map_entry_inherited": ("outcome", {
        "not_inherited": ("", "if (e.inheritance != vm_inherit::none)"),
        "untouched": ("", "c.become_untouched()"),
        "shared": ("", "TRY(share_amap(parent, e, c))"),
        "amap_referenced": ("The child's entry refers to the parent's amap; no page was copied: needs_copy.",
                            "c.aref.attach(ref_ptr<vm_amap>(e.aref.amap())"),
        "amap_copied": ("", "c.aref.attach(TRY(c.new_amap"),
        "object_only": ("The child's entry refers to the same object; the parent has written nothing here.",
                        "c.become_private()"),
    }),
}


@dataclass
class Text:
    """A source file."""

    path: str
    lines: list[str]


def find_calls(root: Path) -> dict[str, list[tuple[Text, int]]]:
    """By event, the places in the kernel's sources that emit it."""
    found: dict[str, list[tuple[Text, int]]] = {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in (".cc", ".h", ".S"):
                continue
            text = Text(str(path.relative_to(root)), path.read_text(errors="replace").splitlines())
            for index, line in enumerate(text.lines):
                if not line.lstrip().startswith(("#", "//")):
                    for match in CALL.finditer(line):
                        found.setdefault(match[1], []).append((text, index))
    return found


def nearest(lines: list[str], piece: str, index: int) -> int | None:
    """The line with a piece of a statement that is nearest to line `index`: before it, or else behind it."""
    places = [at for at, line in enumerate(lines) if piece in line]
    before = [at for at in places if at < index]
    return before[-1] if before else places[0] if places else None


def acting(lines: list[str], index: int, pieces: list[str]) -> int:
    """The line that does what the EVENT at `index` tells."""
    known = [at for piece in pieces if (at := nearest(lines, piece, index)) is not None]
    if known:
        return min(known, key=lambda at: (at > index, abs(at - index)))
    at = index - 1
    while at > 0 and (not lines[at].strip() or lines[at].strip() in ("{", "}") or
                      lines[at].lstrip().startswith(("//", "if (", "EVENT("))):
        at -= 1
    while at > 0 and lines[at - 1].strip() and not lines[at - 1].rstrip().endswith((";", "{", "}", ")")):
        at -= 1  # to where the statement begins
    return at


def end_of_statement(lines: list[str], at: int) -> int:
    while at + 1 < len(lines) and not lines[at].split("//")[0].rstrip().endswith((";", "{", "}")):
        at += 1
    return at


def quote(text: Text, at: int) -> dict[str, Any]:
    """The statement at a line and some lines around, not beyond its function, and without EVENTs."""
    lines = text.lines
    end = end_of_statement(lines, at)
    told: set[int] = set()
    for index, line in enumerate(lines):
        if line.lstrip().startswith("EVENT("):
            told |= set(range(index, end_of_statement(lines, index) + 1))

    def shown(first: int, step: int, most: int) -> list[int]:
        found: list[int] = []
        place = first
        while 0 <= place < len(lines) and len(found) < most and lines[place].strip() and \
                (step > 0 or lines[place] != "}"):
            found += [] if place in told else [place]
            if step > 0 and lines[place] == "}":
                break
            place += step
        return found
    numbers = [*reversed(shown(at - 1, -1, BEFORE)), *range(at, end + 1)]
    if lines[end] != "}":
        numbers += shown(end + 1, 1, AFTER)
    indent = min((len(lines[n]) - len(lines[n].lstrip()) for n in numbers), default=0)
    return {"file": text.path, "line": at + 1, "last": end + 1,
            "text": [[n + 1, lines[n][indent:]] for n in numbers]}


def sources_of(places: list[tuple[Text, int]], pieces: list[str]) -> list[dict[str, Any]]:
    quotes = []
    for text, index in places:
        made = quote(text, acting(text.lines, index, pieces))
        if made not in quotes:
            quotes.append(made)
    return quotes[:MOST_PLACES]


def describe_events(root: Path) -> dict[str, Any]:
    """By event of the table: sentence, literature, sources, and whether it is a main one."""
    places = find_calls(root)
    table = read_table(root / "lib" / "trace_points.def")
    events: dict[str, Any] = {}
    for name, (category, literature, sentence) in table.items():
        emitted = places.get(name, [])
        event: dict[str, Any] = {
            "sentence": sentence, "literature": literature, "sources": sources_of(emitted, ACTS.get(name, [])),
            "main": category in MAIN_CATEGORIES or name in MAIN_EVENTS}
        if name in CASES and emitted:
            field, values = CASES[name]
            event["cases"] = {"field": field, "values": {
                value: {"sentence": said or sentence, "sources": sources_of(emitted[:1], [piece])}
                for value, (said, piece) in values.items()}}
        events[name] = event
    return events


def read_table(path: Path) -> dict[str, tuple[str, str, str]]:
    """By event: category, the literature's name, sentence. Nothing when there is no table."""
    if not path.exists():
        return {}
    table = {}
    for match in POINT.finditer(path.read_text()):
        literature, sentence = (_joined(match[group]) for group in (3, 4))
        table[match[2]] = (match[1], literature, sentence[:1].upper() + sentence[1:] + ".")
    return table


def _joined(literals: str) -> str:
    """The text of adjacent C string literals."""
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literals)).replace('\\"', '"')
