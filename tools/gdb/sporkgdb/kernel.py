"""Processes, threads and processors, as the kernel's own tables have them."""
from __future__ import annotations

import struct
from collections.abc import Iterator

import gdb

from .values import (
    SporkError,
    at,
    atomic,
    each,
    enumerator,
    is_null,
    member,
    static,
    target,
    text,
    type_named,
)

FIRST_INTERRUPT, SYSTEM_CALL = 32, 0x100  # trap_frame::vector, after the exceptions
MAX_FRAMES = 64


# ---- Processors ------------------------------------------------------------------------------


def cpus() -> list[gdb.Value]:
    """The cpu_data of each processor that has been started."""
    array = static("cpus")
    size = array.type.range()[1] + 1
    return [array[i] for i in range(size) if not is_null(member(array[i], "self"))]


def selected_cpu() -> gdb.Value:
    """The cpu_data of the processor that GDB has selected: QEMU shows each as a thread, by number."""
    chosen = gdb.selected_thread()
    if chosen is None:
        raise SporkError("there is no machine: `target remote` first")
    lapic = chosen.ptid[1] - 1
    for cpu in cpus():
        if int(member(cpu, "lapic_id")) == lapic:
            return cpu
    raise SporkError(f"processor {lapic} has not been started by the kernel yet")


def gdb_thread_of(cpu: gdb.Value) -> gdb.InferiorThread | None:
    """The other way round."""
    lapic = int(member(cpu, "lapic_id"))
    for each_thread in gdb.selected_inferior().threads():
        if each_thread.ptid[1] == lapic + 1:
            return each_thread
    return None


def current_thread() -> gdb.Value | None:
    """The kernel's thread on the selected processor; None before there are threads."""
    pointer = member(selected_cpu(), "current")
    return None if is_null(pointer) else pointer.dereference()


def current_process() -> gdb.Value | None:
    """The process of current_thread(); None for a thread of the kernel's own."""
    thread = current_thread()
    if thread is None or is_null(target(member(thread, "proc"))):
        return None
    process = target(member(thread, "proc")).dereference()
    return process if int(member(process, "pid")) else None


# ---- Processes and threads -------------------------------------------------------------------


def processes() -> list[gdb.Value]:
    """All of them, zombies too, by pid."""
    table = static("process_table", "kernel/process/process.cc")
    found = [process for bucket in range(table.type.range()[1] + 1)
             for process in each(table[bucket], "process", "in_table")]
    return sorted(found, key=lambda process: int(member(process, "pid")))


def process(pid: int) -> gdb.Value:
    for candidate in processes():
        if int(member(candidate, "pid")) == pid:
            return candidate
    known = ", ".join(str(int(member(p, "pid"))) for p in processes()) or "none"
    raise SporkError(f"there is no process {pid}: there are {known}")


def threads_of(process_value: gdb.Value) -> list[gdb.Value]:
    return list(each(member(process_value, "threads"), "thread", "in_process", 5000))


def thread(tid: int) -> gdb.Value:
    """A thread by its number; the kernel's own have none."""
    table = static("thread_table", "kernel/process/process_threads.cc")
    for candidate in each(table[tid % (table.type.range()[1] + 1)], "thread", "in_tid_table"):
        if int(member(candidate, "tid")) == tid:
            return candidate
    raise SporkError(f"there is no thread {tid} (spork ps lists them)")


def thread_name(thread_value: gdb.Value) -> str:
    """"7 sh", or "[idle]" for a thread of the kernel's own."""
    tid = int(member(thread_value, "tid"))
    name = text(member(thread_value, "name"), 16)
    return f"{tid} {name}" if tid else f"[{name or 'kernel'}]"


def thread_label(address: int) -> str:
    """The same by address, which may be that of no thread at all."""
    if address == 0:
        return "nobody"
    try:
        return f"thread {thread_name(at(address, 'thread'))}"
    except (gdb.error, gdb.GdbError):
        return f"(no thread at {address:#x})"


def process_name(process_value: gdb.Value) -> str:
    for first in threads_of(process_value):
        return text(member(first, "name"), 16)
    return text(member(process_value, "last_name"), 16)


def cpu_running(thread_value: gdb.Value) -> gdb.Value | None:
    """The processor that has the thread as its current one."""
    address = int(thread_value.address)
    for cpu in cpus():
        if int(member(cpu, "current")) == address:
            return cpu
    return None


def state_of(thread_value: gdb.Value) -> str:
    """"running on CPU 1", "asleep (vfork)", "runnable", ..."""
    state = enumerator(member(thread_value, "state"))
    if state == "running":
        return f"running on CPU {int(atomic(member(thread_value, 'cpu')))}"
    if state == "sleeping":
        why = text(member(thread_value, "wait_reason"), 40) or "no reason given"
        return f"asleep ({why})"
    return state


def vmspace_pointer(process_value: gdb.Value) -> gdb.Value:
    return target(member(target(member(process_value, "context")).dereference(), "vm"))


def vmspace_of(process_value: gdb.Value) -> gdb.Value | None:
    pointer = vmspace_pointer(process_value)
    return None if is_null(pointer) else pointer.dereference()


def borrowed_from(process_value: gdb.Value, everyone: list[gdb.Value]) -> list[int]:
    """The other processes that have the same vmspace."""
    vm = int(vmspace_pointer(process_value))
    mine = int(member(process_value, "pid"))
    return [int(member(other, "pid")) for other in everyone
            if vm and int(vmspace_pointer(other)) == vm and int(member(other, "pid")) != mine]


def vfork_child_of(thread_value: gdb.Value, everyone: list[gdb.Value]) -> int | None:
    """The pid of the child whose letting go of the address space a vfork parent waits for."""
    if text(member(thread_value, "wait_reason"), 16) != "vfork":
        return None
    parent = int(member(target(member(thread_value, "proc")).dereference(), "pid"))
    for other in everyone:
        owner = member(other, "parent")
        if is_null(owner) or int(member(owner.dereference(), "pid")) != parent:
            continue
        if any(not is_null(target(member(t, "vfork_parent"))) for t in threads_of(other)):
            return int(member(other, "pid"))
    return None


# ---- Stacks ----------------------------------------------------------------------------------


def read_word(address: int) -> int:
    data = gdb.selected_inferior().read_memory(address, 8)
    return int(struct.unpack("<Q", bytes(data))[0])


def user_frame(thread_value: gdb.Value) -> gdb.Value | None:
    """The trap_frame at the top of a thread's kernel stack; None for one of the kernel's own."""
    machine = member(thread_value, "machine")
    top = int(member(machine, "stack_top"))
    if not top or int(member(thread_value, "tid")) == 0:
        return None
    return at(top - type_named("trap_frame").sizeof, "trap_frame")


def saved_calls(thread_value: gdb.Value) -> list[int]:
    """The return addresses on the kernel stack of a thread that does not run, innermost first."""
    machine = member(thread_value, "machine")
    saved = int(member(machine, "saved_rsp"))
    try:  # switch_stacks() pushes six registers below its return address
        frame = at(saved, "(anonymous namespace)::switch_frame")
        rbp, rip = int(member(frame, "rbp")), int(member(frame, "return_address"))
    except SporkError:
        rbp, rip = read_word(saved + 40), read_word(saved + 48)
    return [rip, *calls_from(rbp, int(member(machine, "stack_base")), int(member(machine, "stack_top")))]


def calls_from(rbp: int, low: int, high: int) -> Iterator[int]:
    """The return addresses in a chain of frame pointers that stays within [low, high) and rises."""
    for _ in range(MAX_FRAMES):
        if not low <= rbp <= high - 16 or rbp % 8:
            return
        caller = read_word(rbp + 8)
        if caller < 1 << 63:  # a user address: the frame through which user mode was left
            return
        yield caller
        below, rbp = rbp, read_word(rbp)
        if rbp <= below:
            return


def place(address: int, is_return: bool = True) -> str:
    """"vmspace::fork(...) + 12 at vm/vmspace_fork.cc:40" for an address."""
    where = address - 1 if is_return else address
    block = None
    try:
        block = gdb.block_for_pc(where)
    except gdb.error:
        pass
    names: list[str] = []
    while block is not None and not block.is_global and not block.is_static:
        if block.function is not None:
            names.append(str(block.function.name))
            if not _inlined(block):
                break
        block = block.superblock
    if not names:
        line = gdb.execute(f"info symbol {where:#x}", to_string=True) or ""
        return line.partition(" in section")[0].strip() if "No symbol" not in line else "??"
    place_of = gdb.find_pc_line(where)
    source = f" at {place_of.symtab.filename}:{place_of.line}" if place_of.symtab else ""
    inner = names[0] + (f" (inlined in {names[-1]})" if len(names) > 1 else "")
    return inner + source


def _inlined(block: gdb.Block) -> bool:
    outer = block.superblock
    while outer is not None and not outer.is_static:
        if outer.function is not None:
            return True
        outer = outer.superblock
    return False
