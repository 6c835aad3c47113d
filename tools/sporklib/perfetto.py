"""A trace for https://ui.perfetto.dev or chrome://tracing, in the Trace Event Format (JSON).

    processors   a process of the picture whose tracks are the CPUs: who runs there
    processes    a track for each thread: its life, in it system calls, fork, exec, and what it waits
                 for; faults and signals as instants
    arrows       from a fork to the child's first step
"""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .paths import ToolError

PROCESSORS = 1 << 20  # above every pid

# What begins and ends a slice of its thread's track.
BEGINS = {"syscall_enter": "syscall", "fork_begin": "fork", "exec_begin": "exec", "vfork_block": "vfork",
          "exit_begin": "exit", "sched_sleep": "sleep"}
ENDS = {"syscall_exit": "syscall", "fork_end": "fork", "exec_done": "exec", "exec_failed": "exec",
        "vfork_wake": "vfork"}
INSTANTS = {"fault_case", "fault_end", "signal_sent", "needs_copy_cleared", "anon_copied", "exec_commit",
            "vmspace_forked", "vmspace_shared", "vmspace_destroyed", "commit_refused", "exit_zombie",
            "exit_reaped", "tlb_shootdown", "pte_protected"}


@dataclass
class Event:
    name: str
    time: float  # microseconds
    cpu: int
    pid: int
    tid: int
    fields: dict[str, Any]


def title_of(kind: str, fields: dict[str, Any]) -> str:
    """What a bar of this kind is called."""
    match kind:
        case "syscall":
            return fields["name"] or f"system call {fields['number']}"
        case "fork":
            return f"{fields['kind']} ({fields['mode']})"
        case "exec":
            return f"exec {fields['path']}"
        case "vfork":
            return f"blocked by vfork child {fields['child_pid']}"
        case "sleep":
            return f"asleep: {fields['reason']}"
    return kind


def read(folder: Path) -> list[Event]:
    """The events of a CTF trace, in order of time."""
    try:
        import bt2
    except ImportError:
        raise ToolError("python3-bt2 is not installed: run tools/setup test") from None
    if not (folder / "metadata").is_file():
        raise ToolError(f"{folder} holds no trace")
    events = []
    for message in bt2.TraceCollectionMessageIterator(str(folder)):
        if type(message) is not bt2._EventMessageConst:
            continue
        event = message.event
        context = event.common_context_field
        fields = {name.lstrip("_"): _plain(value) for name, value in event.payload_field.items()}
        events.append(Event(event.name, message.default_clock_snapshot.ns_from_origin / 1000,
                            int(event.packet.context_field["cpu_id"]), int(context["pid"]),
                            int(context["tid"]), fields))
    return events


def _plain(value: Any) -> Any:
    labels = getattr(value, "labels", None)
    if labels:
        return str(labels[0])
    try:
        return int(value)
    except (TypeError, ValueError):
        return str(value)


@dataclass
class Slice:
    kind: str
    name: str
    begin: float
    args: dict[str, Any]


@dataclass
class Picture:
    """Collects the JSON's events while the trace's are gone through."""

    out: list[dict[str, Any]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)  # by tid
    pids: dict[int, int] = field(default_factory=dict)  # by tid
    open: dict[int, list[Slice]] = field(default_factory=dict)
    running: dict[int, tuple[int, str, float]] = field(default_factory=dict)  # by cpu
    last_seen: dict[int, float] = field(default_factory=dict)  # by tid: when it left a processor
    end: float = 0

    def add(self, ph: str, name: str, pid: int, tid: int, time: float, **more: Any) -> None:
        self.out.append({"ph": ph, "name": name, "pid": pid, "tid": tid, "ts": time, **more})

    def begin(self, e: Event, kind: str, name: str) -> None:
        self.open.setdefault(e.tid, []).append(Slice(kind, name, e.time, self.shown(e)))

    def close(self, tid: int, kind: str, time: float, args: dict[str, Any] | None = None) -> None:
        """Ends the innermost slice of that kind, and what is still open in it."""
        stack = self.open.get(tid, [])
        if kind not in [s.kind for s in stack]:
            return  # it began before the trace did
        while stack:
            s = stack.pop()
            self.add("X", s.name, self.pids[tid], tid, s.begin, dur=time - s.begin, cat=s.kind,
                     args={**s.args, **((args or {}) if s.kind == kind else {})})
            if s.kind == kind:
                return

    @staticmethod
    def shown(e: Event) -> dict[str, Any]:
        return {k: hex(v) if isinstance(v, int) and v > 0xFFFF else v for k, v in e.fields.items()}

    def event(self, e: Event) -> None:
        self.end = e.time
        if e.name == "sched_switch":
            self.switch(e)
            return
        if e.tid == 0:
            return
        self.pids[e.tid] = e.pid
        stack = self.open.setdefault(e.tid, [])
        if stack and stack[-1].kind == "sleep" and e.name != "sched_sleep":
            self.close(e.tid, "sleep", e.time)
        if e.name == "fork_child_runs":
            self.begin(e, "life", "life")
            self.add("f", "made", e.pid, e.tid, e.time, cat="fork", id=e.tid, bp="e")
        if e.name == "exec_begin":
            self.names[e.tid] = e.fields["path"].rpartition("/")[2]
        if e.name in BEGINS:
            kind = BEGINS[e.name]
            self.begin(e, kind, title_of(kind, e.fields))
        elif e.name in ENDS:
            self.close(e.tid, ENDS[e.name], e.time, self.shown(e))
        elif e.name == "fork_child":
            self.add("s", "made", e.pid, e.tid, e.time, cat="fork", id=e.fields["child_tid"])
        if e.name in INSTANTS:
            name = f"fault {e.fields['kind']}" if e.name == "fault_case" else e.name
            self.add("i", name, e.pid, e.tid, e.time, s="t", cat=e.name.partition("_")[0],
                     args=self.shown(e))

    def switch(self, e: Event) -> None:
        f = e.fields
        if e.cpu in self.running:
            self.ran(e.cpu, e.time)
        self.last_seen[f["from_tid"]] = e.time
        tid = f["to_tid"]
        if tid == 0:
            return
        self.pids[tid] = f["to_pid"]
        self.names[tid] = f["to_name"]
        self.running[e.cpu] = (tid, f"{f['to_name']} {tid}", e.time)
        stack = self.open.get(tid, [])
        if stack and stack[-1].kind == "sleep":
            self.close(tid, "sleep", e.time)

    def ran(self, cpu: int, time: float) -> None:
        tid, name, since = self.running.pop(cpu)
        self.add("X", name, PROCESSORS, cpu, since, dur=time - since, cat="cpu", args={"tid": tid})

    def finish(self) -> dict[str, Any]:
        for tid, stack in self.open.items():
            ended = any(s.kind == "exit" for s in stack)
            time = self.last_seen.get(tid, self.end) if ended else self.end
            while stack:
                self.close(tid, stack[-1].kind, max(time, stack[-1].begin))
        for cpu in list(self.running):
            self.ran(cpu, self.end)
        cpus = sorted({e["tid"] for e in self.out if e["pid"] == PROCESSORS})
        self.meta("process_name", PROCESSORS, 0, "processors")
        for cpu in cpus:
            self.meta("thread_name", PROCESSORS, cpu, f"CPU {cpu}")
        for tid, pid in self.pids.items():
            name = self.names.get(tid, "?")
            self.meta("thread_name", pid, tid, name)
            if pid == tid:
                self.meta("process_name", pid, tid, name)
        self.out.sort(key=lambda e: (e["ts"], -e.get("dur", 0)))
        return {"displayTimeUnit": "ns", "traceEvents": self.out}

    def meta(self, what: str, pid: int, tid: int, name: str) -> None:
        self.add("M", what, pid, tid, 0, args={"name": name})


def convert(folder: Path, output: Path) -> int:
    """Writes the picture of the trace in `folder`; returns how many events went into it."""
    picture = Picture()
    events = read(folder)
    for event in events:
        picture.event(event)
    output.write_text(json.dumps(picture.finish()))
    return len(events)
