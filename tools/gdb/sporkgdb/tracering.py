"""spork trace: the newest events of the trace rings (kernel/observe/trace.cc)."""
from __future__ import annotations

import struct

import gdb

from .arguments import Command, evaluate, say
from .values import SporkError, is_null, member, number, static, text

PACKET = struct.Struct("<IIQQQQQQII")  # trace_packet_header
EVENT = struct.Struct("<QIiiI")  # trace_event_header
PACKET_SIZE = 32 * 1024
MAGIC = 0xC1FC1FC1


class Trace(Command):
    """spork trace [EVENTS]: the newest events that the trace rings hold (20), of all processors.

The kernel records them with the word `trace=all`, or `trace=fault,pmap` and the like, on its command line
(docs/trace.md): make gdb GDBFLAGS='--run=--append=trace=all'. In a panic they are what led to it."""

    name = "trace"

    def run(self, words: list[str]) -> None:
        wanted = evaluate(words[0]) if words else 20
        rings = static("rings", "kernel/observe/trace.cc")
        events = []
        lost = 0
        for cpu in range(rings.type.range()[1] + 1):
            if is_null(member(rings[cpu], "packets")):
                break
            lost += int(member(rings[cpu], "discarded"))
            events += self._ring(cpu, rings[cpu])
        else:
            cpu = rings.type.range()[1] + 1
        if cpu == 0:
            raise SporkError("nothing is recorded: boot with trace=all (help spork trace)")
        events.sort()
        for serial, cpu, time, point, pid, tid, fields in events[-wanted:] if wanted else []:
            say(f"[{time // 10**9:5}.{time % 10**9:09}] {serial:>6} CPU {cpu} {pid}/{tid} "
                f"{self._event(point, fields)}")
        if lost:
            say(f"{lost} older or later events are lost")

    @staticmethod
    def _ring(cpu: int, ring: gdb.Value) -> list[tuple[int, int, int, int, int, int, bytes]]:
        events = []
        base, inferior = int(member(ring, "packets")), gdb.selected_inferior()
        for i in range(int(member(ring, "count"))):
            start = base + i * PACKET_SIZE
            header = PACKET.unpack(bytes(inferior.read_memory(start, PACKET.size)))
            if header[0] != MAGIC or header[8] != cpu:
                continue  # not used yet
            content = bytes(inferior.read_memory(start, header[4] // 8))
            at = PACKET.size
            for _ in range(header[9]):
                time, point, pid, tid, serial = EVENT.unpack_from(content, at)
                size = Trace._type(point).sizeof
                fields = content[at + EVENT.size : at + EVENT.size + size].ljust(size, bytes(1))
                events.append((serial, cpu, time, point, pid, tid, fields))
                at += (EVENT.size + size + 7) & ~7
        return events

    @staticmethod
    def _name(point: int) -> str:
        names = static("trace::(anonymous namespace)::point_names", "lib/trace.cc")
        return text(names[point], 40)

    @staticmethod
    def _type(point: int) -> gdb.Type:
        return gdb.lookup_type(f"trace::event::{Trace._name(point)}")

    @staticmethod
    def _event(point: int, data: bytes) -> str:
        kind = Trace._type(point)
        shown = []
        value = gdb.Value(data, kind)
        for field in kind.fields():
            if not hasattr(field, "bitpos"):  # a static member: what the event is, not what it says
                continue
            part = value[field]
            type_name = str(field.type)
            if type_name.endswith("addr"):
                shown.append(f"{field.name}={number(part['value']):#x}")
            elif type_name.endswith("text"):
                raw = data[field.bitpos // 8 :][:16]
                shown.append(f"{field.name}={raw.split(bytes(1))[0].decode(errors='replace')}")
            elif part.type.strip_typedefs().code == gdb.TYPE_CODE_ENUM:
                shown.append(f"{field.name}={str(part).rpartition('::')[2]}")
            else:
                shown.append(f"{field.name}={int(part)}")
        return " ".join([Trace._name(point), *shown])


def register() -> None:
    Trace()
