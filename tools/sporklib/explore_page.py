"""Puts recordings into the page: docs/explorer-format.md, "Page data"."""
from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1


@dataclass
class Recording:
    """A scenario that was run, and what it was made of."""

    id: str
    title: str
    about: str
    command: str
    steps: list[dict[str, Any]]
    printed: dict[str, Any] = field(default_factory=dict)
    against: str = ""
    again: dict[str, Any] = field(default_factory=dict)  # the step from its last state to its first
    mistakes: list[dict[str, Any]] = field(default_factory=list)  # of the kernel that it ran on


def page_info(recordings: list[Recording], events: dict[str, Any]) -> dict[str, Any]:
    """Everything but the steps."""
    used = {step["event"] for recording in recordings for step in recording.steps}
    scenarios = []
    for each in recordings:
        info = {"id": each.id, "title": each.title, "about": each.about, "command": each.command,
                "printed": each.printed, "steps": len(each.steps)}
        scenarios.append(info | ({"against": each.against} if each.against else {}) |
                         ({"mistakes": each.mistakes} if each.mistakes else {}))
    return {"format": FORMAT, "events": {name: events[name] for name in sorted(used) if name in events},
            "scenarios": scenarios}


def _packed(name: str, value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    data = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return f'<script type="application/octet-stream" id="{name}">{data}</script>\n'


def write_page(template: Path, output: Path, recordings: list[Recording], events: dict[str, Any]) -> None:
    """The whole page, one file."""
    data = _packed("page-info", page_info(recordings, events))
    data += "".join(_packed(f"scenario-{each.id}", each.steps) for each in recordings)
    page = template.read_text().replace("<!--DATA-->", data)
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_suffix(".part")
    part.write_text(page)
    part.rename(output)


def write_long_page(template: Path, recording: Recording, output: Path, least: int = 10_000) -> None:
    """A page for measuring: one recording, repeated until it has that many steps."""
    chain = list(recording.steps)
    while len(chain) < least:
        chain += [recording.again, *recording.steps[1:]]
    long = Recording(recording.id, recording.title, recording.about, recording.command, chain)
    write_page(template, output, [long], {})
