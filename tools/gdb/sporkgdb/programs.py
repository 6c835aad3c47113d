"""Symbols of the user program that runs.

Whenever the target stops, the program of the selected processor's process is looked up by the name of
the file that it executes, and the symbols of the host's copy of that file take the place of the last
program's. Which host file is which guest file is told by `spork program` and the environment variable
SPORK_PROGRAMS (make gdb sets it); the project's own programs are known.

`spork enter` and `spork leave` cross between user mode and the kernel.
"""
from __future__ import annotations

import contextlib
import os
from pathlib import Path

import gdb
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from . import kernel, memory
from .arguments import Command, say
from .values import SporkError, is_null, member, number, target, text

ROOT = Path(__file__).resolve().parents[3]
OWN = {"/tests": "user/tests", "/demos": "user/demos", "/sbin/init": "user/init/init"}
OTHERS = {"/bin/busybox": ("/bin/busybox", "/usr/bin/busybox"), "/bin/bash": ("/bin/bash-static",)}


class Programs:
    """What is known about host files, and which one's symbols are loaded."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.automatic = True
        self.loaded: tuple[Path, int] | None = None
        self.loaded_name: str | None = None  # the guest's path of it
        for pair in filter(None, os.environ.get("SPORK_PROGRAMS", "").split("\n")):
            guest, _, host = pair.partition("=")
            self.add(guest, Path(host))

    def add(self, guest: str, host: Path) -> None:
        """A file, or a folder with all that is below it."""
        if not host.exists():
            raise SporkError(f"{host} is not there")
        self.files[guest.rstrip("/")] = host.resolve()

    def host_file(self, guest: str) -> Path | None:
        build = ROOT / "build"
        own = {name: build / place for name, place in OWN.items()}
        for name, host in (self.files | {k: v for k, v in own.items() if k not in self.files}).items():
            if guest == name and host.is_file():
                return host
            if guest.startswith(name + "/") and (host / guest[len(name) + 1 :]).is_file():
                return host / guest[len(name) + 1 :]
        return next((Path(p) for p in OTHERS.get(guest, ()) if Path(p).exists()), None)

    def load(self, guest: str, host: Path, bias: int) -> None:
        """Makes `guest`, moved by `bias`, the one program whose symbols are loaded."""
        self.loaded_name = guest
        if self.loaded == (host, bias):
            return
        self.unload()
        # -o is wanted even where it is 0: GDB would ask for the address of .text otherwise.
        with _quiet():
            gdb.execute(f"add-symbol-file {quoted(host)} -o {bias:#x}", to_string=True)
        self.loaded = (host, bias)

    def unload(self) -> None:
        if self.loaded is None:
            return
        with contextlib.suppress(gdb.error), _quiet():
            gdb.execute(f"remove-symbol-file {quoted(self.loaded[0])}", to_string=True)
        self.loaded = None

    def follow(self) -> str | None:
        """Loads the symbols of the process that runs on the selected processor. What it did, or None."""
        process = kernel.current_process()
        if process is None:
            return None
        guest = executable(process)
        host = self.host_file(guest) if guest else None
        if host is None:
            return None
        bias = load_bias(process, guest, host)
        if bias is None or self.loaded == (host, bias):
            return None
        self.load(guest, host, bias)
        return f"program {guest} of process {int(member(process, 'pid'))}: symbols of {host}"


def quoted(path: Path) -> str:
    """A path as one word of a GDB command."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]  # a generator, as contextlib wants it
    with gdb.with_parameter("confirm", False):
        yield


def executable(process: gdb.Value) -> str:
    """The path by which the kernel knows the file that a process executes; "" for none."""
    node = target(member(process, "executable"))
    if is_null(node):
        return ""
    file = node.dereference().cast(node.dereference().dynamic_type)
    contents = target(member(file, "memory_"))
    return "" if is_null(contents) else text(member(contents.dereference(), "name_"), 64)


def first_segment(host: Path) -> tuple[bool, int] | None:
    """Whether an ELF file can lie anywhere, and the page that its first segment begins with."""
    with host.open("rb") as file:
        try:
            elf = ELFFile(file)
            loaded = next(elf.iter_segments("PT_LOAD"), None)
        except ELFError:
            return None
        return loaded and (elf["e_type"] == "ET_DYN", loaded["p_vaddr"] & ~(memory.PAGE - 1))


def load_bias(process: gdb.Value, guest: str, host: Path) -> int | None:
    """How far from its own addresses a program lies; None while it is not mapped."""
    found = first_segment(host)
    if found is None:
        return None
    movable, first = found
    if not movable:
        return 0
    space = kernel.vmspace_of(process)
    for entry in memory.entries(space) if space is not None else ():
        if memory.object_of(entry) is not None and memory.entry_name(entry) == guest:
            return memory.bounds(entry)[0] - number(member(entry, "offset")) - first
    return None


PROGRAMS: Programs


# ---- Breakpoints in user programs ------------------------------------------------------------
#
# To QEMU a breakpoint is a virtual address, which every process has. So one that is set in a program gets
# the condition that this program runs; and the program stays loaded, for its breakpoints go with it,
# until the machine stops in another one's user mode.


class InProgram(gdb.Function):
    """$_in_program("/bin/sh"): whether the process on the selected processor executes that file."""

    def __init__(self) -> None:
        super().__init__("_in_program")

    def invoke(self, name: gdb.Value) -> bool:
        with contextlib.suppress(gdb.error, gdb.GdbError):
            process = kernel.current_process()
            return process is not None and executable(process) == name.string()
        return False


def _in_user_code(breakpoint_of: gdb.Breakpoint) -> bool:
    places = [location.address for location in getattr(breakpoint_of, "locations", [])]
    return bool(places) and all(address is not None and address < 1 << 47 for address in places)


def _on_new_breakpoint(breakpoint_of: gdb.Breakpoint) -> None:
    name = PROGRAMS.loaded_name
    if breakpoint_of.number < 0 or not name or not _in_user_code(breakpoint_of):
        return
    own = f" && ({breakpoint_of.condition})" if breakpoint_of.condition else ""
    breakpoint_of.condition = f'$_in_program("{name}"){own}'


def _has_breakpoints(name: str | None) -> bool:
    return name is not None and any(
        f'$_in_program("{name}")' in (each.condition or "") for each in gdb.breakpoints())


def _on_stop(_: gdb.StopEvent) -> None:
    if not PROGRAMS.automatic:
        return
    # Not every stop is one in a kernel that runs: whatever cannot be read is left alone.
    with contextlib.suppress(gdb.error, gdb.GdbError, RuntimeError):
        in_kernel = int(gdb.newest_frame().read_register("rip")) & 1 << 63
        if in_kernel and _has_breakpoints(PROGRAMS.loaded_name):
            return
        did = PROGRAMS.follow()
        if did:
            say(f"[{did}]")


class Program(Command):
    """spork program [GUEST [HOST] | auto | off]: symbols of user programs.

Without an argument, which program's symbols are loaded. GUEST HOST: the guest's file (or folder) is
this one here. GUEST alone loads its symbols now, before it runs, so that a breakpoint can be set in it;
they stay until another program is stopped in. `off` ends the switching by itself, `auto` begins it."""

    name = "program"

    def run(self, words: list[str]) -> None:
        if words in (["auto"], ["off"]):
            PROGRAMS.automatic = words == ["auto"]
        elif len(words) == 2:
            PROGRAMS.add(words[0], Path(words[1]).expanduser())
        elif len(words) == 1:
            host = PROGRAMS.host_file(words[0])
            found = first_segment(host) if host is not None else None
            if host is None or found is None:
                raise SporkError(f"no program here is known to be {words[0]}: "
                                 f"spork program {words[0]} HOST-FILE")
            if found[0]:
                raise SporkError(f"{words[0]} can lie anywhere: its symbols come once it runs")
            PROGRAMS.load(words[0], host, 0)
        if PROGRAMS.automatic and not words:
            PROGRAMS.follow()
        if not words or len(words) == 1:
            self._show()

    @staticmethod
    def _show() -> None:
        if PROGRAMS.loaded is None:
            say("no program's symbols are loaded")
        else:
            host, bias = PROGRAMS.loaded
            say(f"symbols of {host}" + (f", moved by {bias:#x}" if bias else ""))


def _mine(thread: int) -> bool:
    current = kernel.current_thread()
    return current is not None and int(current.address) == thread


class OfThread(gdb.Breakpoint):
    """A hidden temporary stop that only one thread of the kernel's sees."""

    def __init__(self, place: str, thread: int) -> None:
        super().__init__(place, gdb.BP_BREAKPOINT, internal=True, temporary=True)
        self.silent = True
        self._thread = thread

    def stop(self) -> bool:
        return _mine(self._thread)


class AtEntry(OfThread):
    """Likewise, when the thread came into the kernel by what it did itself."""

    def stop(self) -> bool:
        thread = kernel.current_thread()
        frame = kernel.user_frame(thread) if super().stop() and thread is not None else None
        return frame is not None and not (
            kernel.FIRST_INTERRUPT <= int(member(frame, "vector")) < kernel.SYSTEM_CALL)


def _run_to(kind: type[OfThread], *places: str) -> None:
    """Runs until this thread of the kernel's is at one of the places."""
    thread = kernel.current_thread()
    if thread is None:
        raise SporkError("there are no threads yet")
    stops = [kind(place, int(thread.address)) for place in places]
    try:
        gdb.execute("continue")
    finally:
        for stop in stops:
            if stop.is_valid():
                stop.delete()


def _ways_out() -> list[str]:
    """The instructions that return to user mode: the one IRET that does, and SYSRET."""
    start = int(gdb.parse_and_eval("(unsigned long)&syscall_entry"))
    code = gdb.selected_inferior().architecture().disassemble(start, start + 512)
    sysret = next((line["addr"] for line in code if line["asm"].startswith("sysret")), None)
    if sysret is None:
        raise SporkError("syscall_entry has no SYSRET any more")
    return ["*&iret_to_user", f"*{sysret:#x}"]


class Enter(Command):
    """spork enter: from user mode, run to this thread's next entry into the kernel.

A system call stops in syscall_dispatch, a fault in trap_dispatch, whichever is first. Interrupts, which are
not the thread's doing, are passed over."""

    name = "enter"
    resumes = True

    def run(self, words: list[str]) -> None:
        _run_to(AtEntry, "syscall_dispatch", "trap_dispatch")


class Leave(Command):
    """spork leave: run until this thread is back in user mode; after an exec, in the new program.

A thread that is about to end never comes there: ^C, then."""

    name = "leave"
    resumes = True

    def run(self, words: list[str]) -> None:
        thread = kernel.current_thread()
        frame = kernel.user_frame(thread) if thread is not None else None
        if frame is None:
            raise SporkError("a thread of the kernel's own never leaves it")
        _run_to(OfThread, *_ways_out())
        if int(gdb.newest_frame().read_register("rip")) & 1 << 63:
            gdb.execute("stepi")


def register() -> None:
    global PROGRAMS
    PROGRAMS = Programs()
    gdb.events.stop.connect(_on_stop)
    gdb.events.breakpoint_created.connect(_on_new_breakpoint)
    InProgram()
    for command in (Program, Enter, Leave):
        command()
