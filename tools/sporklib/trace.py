"""Traces: from what came through the trace port to a folder that CTF's readers understand.

The kernel writes CTF packets (kernel/observe/trace.h): one of metadata, and then each processor's, in no
particular order. A CTF trace is a folder with the metadata in one file and each processor's packets in
one of its own.
"""
from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .paths import ROOT, ToolError

METADATA_MAGIC = 0x75D11D57
PACKET_MAGIC = 0xC1FC1FC1
METADATA_HEADER = struct.Struct("<I16sIII5B")
PACKET_HEADER = struct.Struct("<IIQQQQQQII")
DEFINITIONS = ROOT / "lib" / "trace_points.def"


@dataclass
class Summary:
    """What a run's trace has: how many events there are and how many were lost, by processor; and
    bytes at the end that are no whole packet."""

    events: dict[int, int]
    lost: dict[int, int]
    cut_off: int = 0

    def __str__(self) -> str:
        text = (f"trace: {sum(self.events.values())} events of {len(self.events)} processors, "
                f"{sum(self.lost.values())} lost")
        if self.cut_off:
            text += f"; the last {self.cut_off} bytes are no whole packet and are left out"
        return text


def check_categories(categories: str) -> None:
    """Those that --trace-only or the kernel's word `trace` names."""
    if DEFINITIONS.exists() and categories != "all":
        known = points()[0]
        for name in categories.split(","):
            if name not in known:
                listing = "".join(f"\n  {each:10} {about}" for each, about in known.items())
                raise ToolError(f"trace: there is no category {name}. There are:{listing}")


def trace_words(categories: str, full: str | None, buffer: int | None) -> list[str]:
    """The words that turn tracing on; machine.check_words looks at them."""
    words = [f"trace={categories}"]
    if full:
        words.append(f"trace_full={full}")
    if buffer:
        words.append(f"trace_buffer={buffer}")
    return words


def prepare(folder: Path) -> None:
    """The folder for a trace: new, or one that held a trace before and holds nothing else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.name != "metadata" and not re.fullmatch(r"cpu_\d+", path.name):
                raise ToolError(f"{folder} is not empty, and {path.name} is not part of a trace")
            path.unlink()
    except OSError as error:
        raise ToolError(f"{folder}: {error.strerror}") from None


def packets(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Each whole packet with its magic number; then, with 0, what is left."""
    at = 0
    while at + 4 <= len(raw):
        magic = int.from_bytes(raw[at : at + 4], "little")
        header = {METADATA_MAGIC: METADATA_HEADER, PACKET_MAGIC: PACKET_HEADER}.get(magic)
        if header is None or at + header.size > len(raw):
            break
        fields = header.unpack_from(raw, at)
        size = (fields[4] if magic == METADATA_MAGIC else fields[5]) // 8
        if size < header.size or at + size > len(raw):
            break
        yield magic, raw[at : at + size]
        at += size
    if at < len(raw):
        yield 0, raw[at:]


def split(raw: Path, folder: Path) -> Summary:
    """Makes a CTF trace in `folder` of what came through the trace port."""
    summary = Summary({}, {})
    streams: dict[int, list[bytes]] = {}
    metadata = b""
    for magic, packet in packets(raw.read_bytes()):
        if magic == METADATA_MAGIC:
            metadata = packet[METADATA_HEADER.size :]
        elif magic == PACKET_MAGIC:
            *_, lost, _sequence, cpu, count = PACKET_HEADER.unpack_from(packet)
            streams.setdefault(cpu, []).append(packet)
            summary.events[cpu] = summary.events.get(cpu, 0) + count
            summary.lost[cpu] = lost
        else:
            summary.cut_off = len(packet)
    if not metadata:
        raise ToolError("the machine wrote no trace: it ended before its processors were up, or "
                        "there is no such category of events")
    (folder / "metadata").write_bytes(metadata)
    for cpu, parts in streams.items():
        (folder / f"cpu_{cpu}").write_bytes(b"".join(parts))
    return summary


# ---- The table of trace points -----------------------------------------------------------------


@dataclass
class Point:
    category: str
    name: str
    literature: str
    text: str
    fields: list[tuple[str, str]]
    counters: list[str]


def _strings(text: str) -> str:
    return "".join(re.findall(r'"([^"]*)"', text))


def points() -> tuple[dict[str, str], dict[str, list[str]], list[Point]]:
    """Categories with their texts, the enumerations' names, and the points of lib/trace_points.def."""
    source = re.sub(r"//.*", "", DEFINITIONS.read_text())
    categories = dict(re.findall(r'TRACE_CATEGORY\((\w+),\s*"([^"]*)"\)', source))
    enums = {name: re.findall(r"TRACE_VALUE\((\w+)\)", values)
             for name, values in re.findall(r"TRACE_ENUM\((\w+),((?:\s*TRACE_VALUE\(\w+\))+)\)", source)}
    found = []
    for part in source.split("TRACE_POINT(")[1:]:
        category, name = re.findall(r"\w+", part)[:2]
        head = re.split(r"TRACE_(?:FIELD|TEXT)\(", part, maxsplit=1)[0]
        literature, text = re.match(r'[^"]*"([^"]*)",(.*)', head, re.DOTALL).groups()  # type: ignore[union-attr]
        fields = [(f_name or t_name, f_type or "text") for f_type, f_name, t_name in re.findall(
            r"TRACE_FIELD\((\w+),\s*(\w+)\)|TRACE_TEXT\((\w+)\)", part)]
        counters = re.findall(r"COUNTS\((\w+)", part)
        found.append(Point(category, name, literature, _strings(text), fields, counters))
    return categories, enums, found


def table() -> str:
    """The trace points as docs/trace.md has them."""
    categories, enums, found = points()
    lines = []
    for category, about in categories.items():
        lines += [f"### {category}: {about}", "",
                  "| point | in the literature | the event says | fields | counted as |", "|---|---|---|---|---|"]
        for p in found:
            if p.category == category:
                fields = ", ".join(f"{name}: {kind}" for name, kind in p.fields)
                counters = ", ".join(p.counters)
                lines.append(f"| `{p.name}` | {p.literature} | {p.text} | {fields} | {counters} |")
        lines.append("")
    lines += ["### Types of fields", "",
              "`addr` is 64 bits in hexadecimal, `text` up to 15 characters. The others with names:", ""]
    lines += [f"- `{name}`: {', '.join(values)}" for name, values in enums.items()]
    return "\n".join(lines) + "\n"
