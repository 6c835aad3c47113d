"""spork walk fork|vfork|exec|cow-fault|page-in|exit: guided walks through the kernel.

A walk is a list of steps. Each has a place (a function, never a line), whom it is for, a sentence about
what is about to happen, and the commands that show it. The first step waits for the first process, other
than init, that comes by; the rest is about that process and its child, whichever comes first. The machine
stops at each step, `continue` goes on to the next.
"""
from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field

import gdb

from . import kernel, memory
from .arguments import WIDTH, Command, say
from .values import (
    SporkError,
    at,
    enumerator,
    is_null,
    member,
    number,
    references,
    target,
    text,
    type_named,
)

CLONE_VM, CLONE_VFORK = 0x100, 0x4000
WRITE = 2  # vm_prot::write


@dataclass
class Step:
    """One stop. `who`: "first" takes whoever comes, "parent" is that one's thread, "child" any thread of
    a child of it, "either" of them. `when`: further conditions. `after`: not at the function but where the
    call that the named step stopped in returns to. `show`: GDB commands, with {names} of the walk's."""

    title: str
    place: str
    who: str
    says: str
    show: tuple[str, ...] = ()
    when: Callable[[Walk], bool] | None = None
    after: str = ""


class Facts(dict[str, str]):
    """What is not known is said to be so."""

    def __missing__(self, name: str) -> str:
        return f"(unknown {name})"


@dataclass
class Walk:
    """A walk under way: what it has found out, by the names that the steps' commands use."""

    name: str
    steps: list[Step]
    only: str = ""
    thread: int = 0
    facts: dict[str, str] = field(default_factory=dict)
    returns: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    stops: list[WalkStop] = field(default_factory=list)
    done: int = 0

    # -- who --

    def is_for(self, step: Step) -> bool:
        process, thread = kernel.current_process(), kernel.current_thread()
        if process is None or thread is None:
            return False
        mine = int(thread.address) == self.thread
        if step.who == "anybody":
            return True
        if step.who == "first":
            named = not self.only or text(member(thread, "name"), 16) == self.only
            return int(member(process, "pid")) != 1 and named
        parent = member(process, "parent")
        child = not is_null(parent) and str(int(member(parent.dereference(), "pid"))) == self.facts["pid"]
        return mine if step.who == "parent" else child if step.who == "child" else mine or child

    def took_first(self) -> None:
        process, thread = kernel.current_process(), kernel.current_thread()
        assert process is not None and thread is not None
        self.thread = int(thread.address)
        self.facts["pid"] = str(int(member(process, "pid")))

    # -- the stops --

    def begin(self) -> None:
        self._arm(self.steps[0])

    def _arm(self, step: Step) -> None:
        if step.after:
            return  # armed when that step is stopped in
        for address in entries_of(step.place):
            self.stops.append(WalkStop(self, step, address))

    def hit(self, step: Step) -> None:
        """A stop has been made: tells about it and sets those that follow from it."""
        for stop in [each for each in self.stops if each.step is step]:
            self.stops.remove(stop)
            stop.delete()
        self.done += 1
        if step is self.steps[0]:
            for other in self.steps[1:]:
                self._arm(other)
        for other in self.steps:
            if other.after == step.title:
                thread = kernel.current_thread()
                assert thread is not None
                stack = argument("rsp")
                stop = WalkStop(self, other, kernel.read_word(stack))
                stop.stack, stop.owner = stack, int(thread.address)
                self.stops.append(stop)
        self.tell(step)
        if not self.stops:
            say(f"== the {self.name} walk is over")
            end_walk()

    def tell(self, step: Step) -> None:
        process = kernel.current_process()
        if step.who == "child" and process is not None:
            self.facts["child"] = str(int(member(process, "pid")))
        self.facts["here"] = str(int(member(process, "pid"))) if process is not None else "0"
        say()
        say(f"== {self.name}, step {self.done} of {len(self.steps)}: {step.title}")
        words = step.says.format_map(Facts(self.facts))
        for line in textwrap.wrap(words, WIDTH):
            say(line)
        show_source(step)
        for command in step.show:
            try:
                command = command.format(**self.facts)
            except KeyError as missing:
                say(f"(nothing to show: {missing} is not known here)")
                continue
            say(f"> {command}")
            try:
                gdb.execute(command)
            except (gdb.error, gdb.GdbError) as error:
                say(str(error))

    def end(self) -> None:
        for stop in self.stops:
            if stop.is_valid():
                stop.delete()
        self.stops.clear()


class WalkStop(gdb.Breakpoint):
    """A hidden breakpoint of a step."""

    def __init__(self, walk: Walk, step: Step, address: int) -> None:
        super().__init__(f"*{address:#x}", gdb.BP_BREAKPOINT, internal=True)
        self.silent = True
        self.walk, self.step = walk, step
        self.stack = self.owner = 0  # of a return: whose, and the stack pointer before it

    def stop(self) -> bool:
        try:
            if self.owner:
                current = kernel.current_thread()
                return (current is not None and int(current.address) == self.owner
                        and argument("rsp") == self.stack + 8)
            if not self.walk.is_for(self.step):
                return False
            if self.step.who == "first" and self.walk.thread == 0:
                if self.step.when is not None and not self.step.when(self.walk):
                    return False
                self.walk.took_first()
                return True
            return self.step.when is None or self.step.when(self.walk)
        except (gdb.error, gdb.GdbError) as error:
            say(f"walk: {error}")
            return True


def show_source(step: Step) -> None:
    """The lines that the machine has stopped at: a function's first ones, or the call that is over."""
    pc = int(gdb.newest_frame().pc())
    if step.after:
        frame = gdb.newest_frame()
        where = gdb.find_pc_line(pc - 1)
        while where.symtab is not None and where.symtab.filename.endswith(".h") and frame.older() is not None:
            frame = frame.older()  # what it returns to begins with a small function of a header
            where = frame.find_sal()
        symtab, first, count = where.symtab, where.line, 1
    else:  # its first instruction may be of a function that is inlined there
        function = function_at(pc, step.place)
        if function is None:
            return
        symtab, first, count = function.symtab, function.line, 5
    if symtab is None:
        return
    say(f"at {symtab.filename}:{first}")
    with contextlib.suppress(OSError), open(symtab.fullname()) as source:
        for n, line in enumerate(source.read().splitlines()[first - 1:first - 1 + count], first):
            say(f"{n}\t{line}".rstrip())
            if line == "}":
                break


def plain(name: str) -> str:
    """A function's name without scopes and parameters."""
    return name.replace("(anonymous namespace)::", "").split("(")[0].split("::")[-1]


def function_at(address: int, name: str) -> gdb.Symbol | None:
    """The function of this name that has the address, as such or inlined into another."""
    block = gdb.block_for_pc(address)
    while block is not None:
        function = block.function
        if function is not None and plain(function.name) == plain(name):
            return function
        block = block.superblock
    return None


def argument(name: str) -> int:
    """A register at a stop: at the first instruction of a function, the arguments are in them."""
    return int(gdb.newest_frame().read_register(name)) & (1 << 64) - 1


def entries_of(function: str) -> list[int]:
    """The first instruction of a function, and the places where it has been inlined."""
    try:
        places = gdb.decode_line(function)[1] or ()
    except gdb.error:
        raise SporkError(f"the kernel has no function {function} any more: this walk needs it") from None
    found = set()
    for place in places:
        address = place.pc
        block = gdb.block_for_pc(address)
        while block is not None and block.function is None:
            block = block.superblock
        if block is not None and block.function is not None:
            named = block.function.name.split("(")[0].split("::")[-1] == function.split("::")[-1]
            address = block.start if named else address
        found.add(address)
    return sorted(found)


# ---- What the steps look at ------------------------------------------------------------------


def clone_flags(walk: Walk) -> int:
    flags = number(member(at(argument("rdi"), "clone_args"), "flags"))
    walk.facts["flags"] = f"{flags:#x}"
    return flags


def fork_mode(walk: Walk) -> bool:
    """vmspace::fork(job), whose result is returned through memory."""
    job = gdb.Value(argument("rdx")).cast(type_named("fork_job").pointer())
    walk.facts["mode"] = enumerator(job["mode"])
    return True


def copies(walk: Walk) -> bool:
    return not clone_flags(walk) & CLONE_VM


def vforks(walk: Walk) -> bool:
    return clone_flags(walk) & (CLONE_VM | CLONE_VFORK) == CLONE_VM | CLONE_VFORK


def made_runnable(walk: Walk) -> bool:
    child = target(member(at(argument("rdi"), "thread"), "proc")).dereference()
    walk.facts["child"] = str(int(member(child, "pid")))
    return walk.facts["child"] != walk.facts["pid"]


def protects_resident(walk: Walk) -> bool:
    """pmap::write_protect(start, end) on something that is mapped writable now."""
    start, end = argument("rsi"), argument("rdx")
    space = memory.vmspace(int(walk.facts["pid"]))
    for va, pte in memory.resident(space).items():
        if start <= va < end and pte & memory.WRITE:
            walk.facts["va"] = f"{va:#x}"
            return True
    return False


def copies_anon(walk: Walk) -> bool:
    """uvm_faultinfo::copy_anon(amap, anon)."""
    fault = at(argument("rdi"), "uvm_faultinfo")
    walk.facts["va"] = f"{number(member(fault, 'va')):#x}"
    walk.facts["amap"], walk.facts["anon"] = f"{argument('rsi'):#x}", f"{argument('rdx'):#x}"
    return True


def cow_write(walk: Walk) -> bool:
    """vmspace::fault(address, access): a store to a page that a fork has left to both sides."""
    address, access = argument("rsi"), argument("rdx") & 7
    process = kernel.current_process()
    space = kernel.vmspace_of(process) if process is not None else None
    if access != WRITE or space is None:
        return False
    page = address & ~(memory.PAGE - 1)
    entry = memory.find_entry(space, page)
    if entry is None or not number(member(entry, "needs_copy")) or not memory.pte_of(space, page):
        return False
    anon, amap = memory.anons_of(entry).get(page), memory.amap_of(entry)
    slot = memory.first_slot(entry) + (page - memory.bounds(entry)[0]) // memory.PAGE
    if anon is None or amap is None or memory.slot_references(amap, slot) < 2:
        return False  # the other side is gone: nothing will be copied
    walk.facts.update(va=f"{page:#x}", anon=f"{int(anon.address):#x}")
    return True


def of_what_is_out(walk: Walk) -> bool:
    """vmspace::fault(address, access): of a page that has a slot of swap."""
    page = argument("rsi") & ~(memory.PAGE - 1)
    process = kernel.current_process()
    space = kernel.vmspace_of(process) if process is not None else None
    entry = memory.find_entry(space, page) if space is not None else None
    anon = memory.anons_of(entry).get(page) if entry is not None else None
    if anon is None or not number(member(anon, "slot_")):
        return False
    walk.facts.update(va=f"{page:#x}", anon=f"{int(anon.address):#x}")
    return (argument("rdx") & 7 == WRITE) == (not is_null(member(anon, "page_")))


def executes(walk: Walk) -> bool:
    walk.facts["path"] = text(gdb.Value(argument("rsi")).cast(gdb.lookup_type("char").pointer()))
    return True


def borrowed(walk: Walk) -> bool:
    """vmspace::exec(current, fresh): references that are passed by address."""
    current = target(at(argument("rsi"), "ref_ptr<vmspace>"))
    walk.facts["references"] = str(references(current.dereference())) if not is_null(current) else "0"
    return True


def status_of(walk: Walk) -> bool:
    walk.facts["status"] = f"{argument('rdi') & 0xFFFFFFFF:#06x}"
    return True


def reaps(walk: Walk) -> bool:
    process = at(argument("rsi"), "process")  # rdi is where the result goes
    walk.facts["status"] = f"{int(member(process, 'wait_status')):#06x}"
    return str(int(member(process, "pid"))) == walk.facts["pid"]


# ---- The walks -------------------------------------------------------------------------------


def fork_walk() -> list[Step]:
    return [
        Step("one function for every kind of child", "process_create", "first",
             "Process {pid} is about to make a child. fork, vfork, clone and clone3 all come here; only "
             "the flags differ ({flags}: no CLONE_VM, so the address space is copied).",
             ("spork ps", "spork bt"), copies),
        Step("the address space is copied", "vmspace::fork", "parent",
             "The mode is {mode}. The parent's map is about to be locked; the child's commit charge is taken, "
             "and then each entry gets a twin in the child's map. In mode cow that references the same "
             "amap, and no page is copied.",
             ("spork map {pid}",), fork_mode),
        Step("the parent loses the right to write", "pmap::write_protect", "parent",
             "The child's entries exist. Now the parent's resident writable pages of this entry are "
             "write-protected: from here on its own stores fault, too. Look at W in the last line.",
             ("spork pte {pid} {va}", "spork counters map_entries"), protects_resident),
        Step("the write bit is gone", "", "parent",
             "pmap::write_protect has returned, with the TLBs flushed: the same walk, without W.",
             ("spork pte {pid} {va}",), after="the parent loses the right to write"),
        Step("the child may run", "sched_make_runnable", "parent",
             "Process {child} is complete and in the tables; it is about to be put on a run queue. What "
             "has an amap, both have, with needs_copy on both sides.",
             ("spork vmdiff {pid} {child}",), made_runnable),
        Step("the first store copies a page", "uvm_faultinfo::copy_anon", "either",
             "Process {here} writes to {va}. The anon has another reference, so this is case 1B: the page "
             "is about to be copied, and the writer's amap gets the copy.",
             ("spork anon {anon}", "spork amap {amap}"), copies_anon),
        Step("each has its own page now", "", "either",
             "The copy is mapped writable in process {here}; the other side still has the old page, with "
             "one reference less.",
             ("spork pte {here} {va}", "spork anon {anon}"), after="the first store copies a page"),
        Step("the child's first step", "child_first_run", "child",
             "The child {child} runs for the first time, in the kernel, on its own stack. Its page tables "
             "are empty: it will fault its pages in, and share the parent's as long as it only reads.",
             ("spork bt", "spork vmdiff {pid} {child}")),
    ]


def vfork_walk() -> list[Step]:
    return [
        Step("the same function, other flags", "process_create", "first",
             "Process {pid} calls vfork: the flags {flags} have CLONE_VM, so nothing will be copied, and "
             "CLONE_VFORK, so this thread will sleep.",
             ("spork ps",), vforks),
        Step("the child may run", "sched_make_runnable", "parent",
             "Process {child} is complete. Its address space is a reference to the parent's.",
             ("spork vmdiff {pid} {child}", "spork counters forks"), made_runnable),
        Step("the parent goes to sleep", "vfork_wait::wait", "parent",
             "Only this thread is about to sleep, until the child lets go of the address space.",
             ("spork ps",)),
        Step("the child runs on the parent's pages", "child_first_run", "child",
             "The child {child} begins. The page tables are the parent's own, still with every right to "
             "write: no fault was caused, and none will be.",
             ("spork ps", "spork bt {pid}")),
        Step("exec's point of no return", "vmspace::exec", "child",
             "The child has found its program. The address space has {references} references; the child is "
             "about to give its own back and to go on in a fresh one. The parent's map was never touched.",
             ("spork map {pid}",), borrowed),
        Step("the parent is released", "vfork_release", "child",
             "The child has let go, and closed what is close-on-exec. It wakes the parent.",
             ("spork ps",)),
        Step("the parent goes on", "", "parent",
             "Awake again, and process_create has returned the child's pid. Whatever the child stored is "
             "there to be read.",
             ("spork ps",), after="the same function, other flags"),
    ]


def exec_walk() -> list[Step]:
    return [
        Step("everything is checked first", "exec_program", "first",
             "Process {pid} executes {path}. Opening the file, reading its headers and copying the "
             "arguments come first: until then an error leaves the process whole.",
             ("spork map {pid}",), executes),
        Step("the point of no return", "vmspace::exec", "parent",
             "The process has no address space at this moment: page tables are the kernel's. The old one "
             "has references: {references}. With one, it is emptied and used again.",
             ("spork ps",), borrowed),
        Step("the old image goes", "vmspace::unmap_all", "parent",
             "Every entry of the old map is about to be removed, with its amap's references and pages.",
             ("spork counters pages", "spork locks")),
        Step("who waits is released", "vfork_release", "parent",
             "The new, empty address space is in place; had this been a vfork child, its parent would "
             "wake now.",
             ("spork map {pid}",)),
        Step("the segments are mapped", "elf_image::map", "parent",
             "The program's segments are about to be mapped, private and copy-on-write over the file's "
             "pages. Not one is read: faults will bring them in.",
             ("spork map {pid}",)),
        Step("a fresh set of registers", "machine_thread_reset_user_state", "parent",
             "Segments, heap and stack are there, the argument strings are on the stack (the only pages "
             "that were touched).",
             ("spork map {pid}",)),
        Step("back to a program that has never run", "", "parent",
             "exec_program has returned: the user frame at the top of the kernel stack holds the new "
             "program's first instruction.",
             ("spork bt",), after="everything is checked first"),
    ]


def cow_fault_walk() -> list[Step]:
    return [
        Step("a store faults", "vmspace::fault", "first",
             "Process {pid} writes to {va}. The page is there, but not writable: a fork has left the amap "
             "to two entries (needs_copy), and the first to write needs one of its own.",
             ("spork pte {pid} {va}", "spork anon {anon}", "print *$entry({pid}, {va})"), cow_write),
        Step("an amap of its own", "vm_map_entry::copy_for_write", "parent",
             "The map is locked for writing. The entry is about to get a new amap whose slots reference "
             "the same anons, and needs_copy is cleared. Still no page is copied.",
             ("spork amap {pid} {va}",)),
        Step("case 1B: the anon is copied", "uvm_faultinfo::copy_anon", "parent",
             "The fault is tried again. Now the amap is the writer's, but the anon has two references: a "
             "new anon with a copy of the page is about to take its slot.",
             ("spork amap {amap}", "spork anon {anon}"), copies_anon),
        Step("the copy is mapped", "pmap::enter", "parent",
             "The copy is about to be entered in the page tables, writable, before the reference to the "
             "old page is dropped: nobody sees a state in between.",
             ("spork locks", "spork pte {pid} {va}")),
        Step("the store will succeed", "", "parent",
             "vmspace::fault returns. The instruction runs again, and finds W.",
             ("spork pte {pid} {va}", "spork anon {anon}", "spork counters flt_"),
             after="a store faults"),
    ]


def page_in_walk() -> list[Step]:
    return [
        Step("a read faults", "vmspace::fault", "first",
             "Process {pid} reads {va}. The page tables have nothing there, and the anon has no page: what it "
             "had is in swap.",
             ("spork pte {pid} {va}", "spork anon {anon}"), of_what_is_out),
        Step("a page for it", "vm_amap::bring_in", "parent",
             "The fault found nothing in memory, let go of its locks, and has locked map and amap once more. "
             "A page is about to be taken; it will be the anon's, and busy, until the disk has filled it.",
             ("spork locks",)),
        Step("the disk, and no lock", "page_in_finish", "parent",
             "The page is about to be read. This thread holds no lock: other faults of this address space, and "
             "who wants to change its map, go on.",
             ("spork locks", "spork anon {anon}")),
        Step("it has come", "vm_anon::page_came", "parent",
             "The disk has answered. With the amap locked, the page is about to be busy no more; who else "
             "waited for it is woken.",
             ("spork locks",)),
        Step("the fault again, from the start", "uvm_faultinfo::map_anon", "parent",
             "The fault has looked everything up again, and finds an anon with a page: case 1A, as any other. "
             "The slot has the same as the page, so that this could go again without being written.",
             ("spork bt", "spork anon {anon}")),
        Step("mapped, but not writable", "", "parent",
             "A page that has a slot is mapped writable by nobody.",
             ("spork pte {pid} {va}", "spork counters pg"), after="a read faults"),
        Step("the first store", "vmspace::fault", "parent",
             "Process {pid} writes to the page: a fault, for want of W.",
             ("spork pte {pid} {va}",), of_what_is_out),
        Step("the slot is given back", "vm_anon::drop_slot", "parent",
             "What the slot has is of no use any more.",
             ("spork anon {anon}",)),
        Step("dirty", "", "parent",
             "Writable, and without a slot: if the page goes again, it has to be written.",
             ("spork pte {pid} {va}", "spork anon {anon}"), after="the first store"),
    ]


def exit_walk() -> list[Step]:
    return [
        Step("the whole process leaves", "process_exit_group", "first",
             "Process {pid} ends with wait status {status}. Its other threads, if it had any, would be "
             "told to leave.",
             ("spork ps",), status_of),
        Step("the thread ends", "thread_exit", "parent",
             "What needs the address space comes first: robust futexes, and the word that "
             "CLONE_CHILD_CLEARTID promised to clear.",
             ("spork map {pid}",)),
        Step("the last reference goes", "vmspace::last_reference_gone", "parent",
             "The last thread has dropped the address space, and nobody else has it. All that is in it "
             "is about to be given back. (A vfork child would only have dropped a reference.)",
             ("spork counters pages", "spork ps")),
        Step("the page tables go", "pmap::destroy", "parent",
             "The entries are gone and their pages are free. The page tables are last.",
             ("spork pools vm", "spork pools pmap")),
        Step("a zombie", "sched_exit", "parent",
             "The process is a pid and a status now; its parent has been told (SIGCHLD). The thread is "
             "about to leave the processor for good.",
             ("spork ps",)),
        Step("the parent has its status", "process_unpublish", "anybody",
             "wait4 hands the status {status} over, and the zombie is taken out of the tables.",
             ("spork bt",), reaps),
    ]


WALKS: dict[str, Callable[[], list[Step]]] = {
    "fork": fork_walk, "vfork": vfork_walk, "exec": exec_walk, "cow-fault": cow_fault_walk,
    "page-in": page_in_walk, "exit": exit_walk,
}
_under_way: list[Walk] = []


def end_walk() -> None:
    while _under_way:
        _under_way.pop().end()


def _on_stop(event: gdb.StopEvent) -> None:
    if not isinstance(event, gdb.BreakpointEvent):
        return
    for stop in event.breakpoints:
        if isinstance(stop, WalkStop) and stop.is_valid():
            with contextlib.suppress(RuntimeError), gdb.with_parameter("language", "c++"):
                try:
                    stop.walk.hit(stop.step)
                except (gdb.error, gdb.GdbError) as error:
                    say(f"walk: {error}")


class WalkCommand(Command):
    """spork walk fork|vfork|exec|cow-fault|page-in|exit [NAME] | off: a guided walk.

The machine will stop at each step, with a sentence about what is about to happen and a look at what it is
about; `continue` goes on. It is about the first process other than init that comes by, or with NAME the
first thread of that name. `make gdb CMD='/demos/walk fork'` has something to see for each of them."""

    name = "walk"

    def run(self, words: list[str]) -> None:
        if not words or len(words) > 2 or (words[0] not in WALKS and words[0] != "off"):
            raise self.usage()
        end_walk()
        if words[0] == "off":
            return
        walk = Walk(words[0], WALKS[words[0]](), words[1] if len(words) == 2 else "")
        for step in walk.steps:  # a place that is not there any more is told now
            if step.place:
                entries_of(step.place)
        walk.begin()
        _under_way.append(walk)
        say(f"{walk.name}: {len(walk.steps)} steps; continue")

    def complete(self, line: str, word: str) -> list[str]:
        return [name for name in (*WALKS, "off") if name.startswith(word)]


def register() -> None:
    gdb.events.stop.connect(_on_stop)
    WalkCommand()
