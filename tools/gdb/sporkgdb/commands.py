"""spork ps, bt, runq, locks, log, counters, pools: what the kernel as a whole is doing."""
from __future__ import annotations

import gdb

from . import kernel
from .arguments import Command, evaluate, say, say_within, table
from .values import (
    SporkError,
    atomic,
    each,
    enumerator,
    is_null,
    member,
    number,
    references,
    static,
    target,
    text,
    type_named,
)


class Prefix(gdb.Command):
    """Look at the Spork kernel: processes, address spaces, page tables, locks.

To begin with, at any stop:

    spork ps              who there is, and what each sleeps in
    spork map             the address space of the process that runs here; spork map 5 that of process 5
    spork bt              how it came here; spork bt 5 a thread that sleeps
    spork walk fork       then continue: a guided walk through a fork, with a sentence at each stop

Every command reads the machine's memory alone and calls nothing in the kernel, so each works at any
stop, in a panic too. Numbers may be any expression: `spork map $pid()`, `spork page $cr3`."""

    def __init__(self) -> None:
        super().__init__("spork", gdb.COMMAND_STATUS, gdb.COMPLETE_NONE, True)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """The word alone: what can stand behind it."""
        self.dont_repeat()
        if argument:
            raise SporkError(f"there is no spork {argument.split()[0]}; spork alone lists what there is")
        for line in (self.__doc__ or "").splitlines()[2:8]:
            say(line.removeprefix("    ") if line.startswith("    ") else line)
        say()
        for command in Command.known:
            head, _, what = (command.__doc__ or "").split("\n", 1)[0].partition(": ")
            say_within([f"{head:35}", *what.split()], indent=36, separator=" ")


class Ps(Command):
    """spork ps: processes and threads, what state they are in and why they sleep.

The column VMSPACE has the address space and its references; "shared with" tells whose else it is (a
vfork child's is its parent's until it execs or exits). PPID is the parent."""

    name = "ps"

    def run(self, words: list[str]) -> None:
        everyone = kernel.processes()
        rows = [["PID", "PPID", "TID", "STATE", "NAME", "VMSPACE", ""]]
        for process in everyone:
            pid, parent = int(member(process, "pid")), member(process, "parent")
            ppid = 0 if is_null(parent) else int(member(parent.dereference(), "pid"))
            others = kernel.borrowed_from(process, everyone)
            vm = kernel.vmspace_of(process)
            space = f"{int(vm.address):#x} x{references(vm)}" if vm is not None else "none"
            notes = [f"shared with {', '.join(map(str, others))}"] if others else []
            state = enumerator(member(process, "state"))
            threads = kernel.threads_of(process)
            if not threads:
                rows.append([str(pid), str(ppid), "", state, kernel.process_name(process), space, ""])
            for i, thread in enumerate(threads):
                child = kernel.vfork_child_of(thread, everyone)
                extra = [f"waits for its vfork child {child}"] if child else []
                what = kernel.state_of(thread) + (" (stopped)" if state == "stopped" else "")
                name = text(member(thread, "name"), 16)
                rows.append([str(pid) if i == 0 else "", str(ppid) if i == 0 else "",
                             str(int(member(thread, "tid"))), what, name,
                             space if i == 0 else "",
                             "; ".join((notes if i == 0 else []) + extra)])
        for cpu in kernel.cpus():
            current = member(cpu, "current")
            if not is_null(current) and int(member(current.dereference(), "tid")) == 0:
                thread = current.dereference()
                rows.append(["0", "", "", f"running on CPU {int(member(cpu, 'id'))}",
                             kernel.thread_name(thread), "the kernel's", ""])
        table(rows, right=(0, 1, 2))


class Bt(Command):
    """spork bt [TID]: the backtrace of a thread, whether it runs or not.

Without a number, that of the thread on the selected processor. A sleeping thread's is read from the
registers that it saved when it was switched away from, and the frame pointers on its kernel stack. The
last line tells where it left user mode."""

    name = "bt"

    def run(self, words: list[str]) -> None:
        thread = kernel.thread(evaluate(words[0])) if words else kernel.current_thread()
        if thread is None:
            raise SporkError("there are no threads yet")
        say(f"thread {kernel.thread_name(thread)}: {kernel.state_of(thread)}")
        cpu = kernel.cpu_running(thread)
        frame = kernel.user_frame(thread)
        calls, in_user = self._running(cpu) if cpu is not None else (kernel.saved_calls(thread), False)
        if not in_user:
            exact = cpu is not None
            for i, address in enumerate(calls):
                place = kernel.place(address, is_return=not exact)
                say(f"#{i:<3}{address:#018x}  {place}")
                exact = place.startswith("trap_common")  # what was interrupted has not made a call
        if frame is None:
            return
        if in_user:
            say(f"user  {calls[0]:#018x}  {kernel.place(calls[0], is_return=False)}")
        else:
            rip, call = int(member(frame, "rip")), int(member(frame, "vector")) == kernel.SYSTEM_CALL
            say(f"user  {rip:#018x}  {self._user_place(thread, rip, call)}{self._cause(frame)}")

    @staticmethod
    def _running(cpu: gdb.Value) -> tuple[list[int], bool]:
        """From the registers of the processor that runs the thread; and whether in user mode."""
        there = kernel.gdb_thread_of(cpu)
        here = gdb.selected_thread()
        if there is None or here is None:
            raise SporkError("QEMU does not show that processor")
        frame = gdb.selected_frame() if there == here else None
        try:
            if there != here:
                there.switch()
            newest = gdb.newest_frame()
            rip, rbp, rsp = (int(newest.read_register(name)) & (1 << 64) - 1
                             for name in ("rip", "rbp", "rsp"))
        finally:
            if there != here:
                here.switch()
            if frame is not None and frame.is_valid():
                frame.select()
        if rip < 1 << 63:
            return [rip], True
        calls = [rip]
        # At the first instruction of a function the caller's address is on top of the stack alone.
        symbol = gdb.block_for_pc(rip)
        while symbol is not None and symbol.function is None:
            symbol = symbol.superblock
        if symbol is not None and symbol.start == rip:
            calls.append(kernel.read_word(rsp))
        return [*calls, *kernel.calls_from(rbp, rsp, (rsp | 0x7FFF) + 1)], False

    @staticmethod
    def _user_place(thread: gdb.Value, rip: int, is_return: bool) -> str:
        current = kernel.current_process()
        owner = target(member(thread, "proc")).dereference()
        if current is not None and int(member(current, "pid")) == int(member(owner, "pid")):
            return kernel.place(rip, is_return)
        return "in user mode"

    @staticmethod
    def _cause(frame: gdb.Value) -> str:
        vector, code = int(member(frame, "vector")), int(member(frame, "error_code"))
        if vector == kernel.SYSTEM_CALL:
            return f" (system call {code})"
        return f" (exception or interrupt {vector})" if vector else ""


class Runq(Command):
    """spork runq: each processor's current thread and the threads that wait for it."""

    name = "runq"

    def run(self, words: list[str]) -> None:
        queues = static("queues", "kernel/sched/sched.cc")
        for cpu in kernel.cpus():
            number_of = int(member(cpu, "id"))
            queue = queues[number_of]
            current = kernel.thread_label(int(member(cpu, "current")))
            say(f"CPU {number_of}: runs {current}; {number(member(queue, 'switches'))} switches; "
                f"{number(member(queue, 'length'))} waiting")
            for thread in each(member(queue, "ready"), "thread", "on_run_queue"):
                say(f"    {kernel.thread_name(thread)}")


class Locks(Command):
    """spork locks: the locks that each processor (spin locks) and each thread (sleep locks) holds.

The innermost is the last. Kernels built with DEBUG_CHECKS=0 do not keep this account."""

    name = "locks"

    def run(self, words: list[str]) -> None:
        found = False
        for cpu in kernel.cpus():
            label = f"CPU {int(member(cpu, 'id'))}"
            found |= self._show(label, member(cpu, "spin_locks"))
            current = member(cpu, "current")
            if not is_null(current) and not int(member(current.dereference(), "tid")):
                found |= self._show(kernel.thread_label(int(current)),
                                    member(current.dereference(), "sleep_locks"))
        for process in kernel.processes():
            for thread in kernel.threads_of(process):
                found |= self._show(f"thread {kernel.thread_name(thread)} "
                                    f"({kernel.state_of(thread)})", member(thread, "sleep_locks"))
        if not found:
            say("no locks are held")

    @staticmethod
    def _show(who: str, held: gdb.Value) -> bool:
        array = member(held, "entries")
        count = min(int(member(held, "count")), int(array.type.range()[1]) + 1)
        for i in range(count):
            entry = array[i]
            say(f"{who} holds {text(member(entry, 'name'), 40)} at {int(member(entry, 'lock')):#x} "
                f"(rank {enumerator(member(entry, 'rank'))})")
        return count > 0


class Log(Command):
    """spork log [LINES]: the end of the kernel's log (20 lines), whether or not it was on the console."""

    name = "log"

    def run(self, words: list[str]) -> None:
        wanted = evaluate(words[0]) if words else 20
        ring = static("ring", "kernel/base/printk.cc")
        size = ring.type.range()[1] + 1
        logged = int(static("logged", "kernel/base/printk.cc"))
        data = bytes(gdb.selected_inferior().read_memory(int(ring.address), size))
        at_end = logged % size
        content = data[:at_end] if logged < size else data[at_end:] + data[:at_end]
        for line in content.decode(errors="replace").splitlines()[-wanted:] if wanted else []:
            say(line)


class Counters(Command):
    """spork counters [WORD]: the VM system's counters (uvmexp), summed over the processors.

With a word, those whose name contains it. Those that have not counted anything are left out."""

    name = "counters"

    def run(self, words: list[str]) -> None:
        per_cpu = static("cpus")
        names = [field.name.rpartition("::")[2] for field in type_named("uvm_counter").fields()]
        cpus = per_cpu.type.range()[1] + 1
        sums = dict.fromkeys(names[:-1], 0)  # the last enumerator is their number
        for cpu in range(cpus):
            values = member(per_cpu[cpu], "counters")
            for i, name in enumerate(names[:-1]):
                sums[name] += number(values[i])
        shown = {k: v for k, v in sums.items() if (words and words[0] in k) or (not words and v)}
        if not shown:
            say("nothing has been counted" if not words else f"no counter is called {words[0]}")
            return
        table([["COUNTER", "SUM"], *([name, str(value)] for name, value in shown.items())], right=(1,))


class Pools(Command):
    """spork pools [WORD]: the kernel's pools of objects, how many are live and the pages they take.

With a word, those whose name contains it."""

    name = "pools"

    @staticmethod
    def _live(pool: gdb.Value) -> int:
        """What the slabs have handed out, less what processors keep of it (pool_base::live)."""
        magazines = member(pool, "magazines_")
        kept = 0
        for cpu in range(magazines.type.range()[1] + 1):
            slots = member(magazines[cpu], "slots")
            kept += sum(not is_null(atomic(slots[i])) for i in range(slots.type.range()[1] + 1))
        return number(member(pool, "handed_out_")) - kept

    def run(self, words: list[str]) -> None:
        rows = [["POOL", "SIZE", "LIVE", "PAGES"]]
        pointer = atomic(static("all_pools", "vm/phys/pool.cc"))
        for _ in range(1000):
            if is_null(pointer):
                break
            pool = pointer.dereference()
            name = text(member(pool, "name_"), 40)
            if words and words[0] not in name:
                pointer = member(pool, "next_")
                continue
            rows.append([name, str(int(member(pool, "size_"))), str(self._live(pool)),
                         str(number(member(pool, "pages_")))])
            pointer = member(pool, "next_")
        table(rows[:1] + sorted(rows[1:]), right=(1, 2, 3))


def register() -> None:
    for command in (Prefix, Ps, Bt, Runq, Locks, Log, Counters, Pools):
        command()
