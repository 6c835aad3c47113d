"""make latency: how long a call keeps others, and interrupts, from the processor, in instructions.

user/tests/latency.c runs under -icount on one processor, where a nanosecond is an instruction, and
finds the longest time that another process did not get. The stretches with interrupts off are seen
from outside, by a plugin of QEMU's (tools/qemu/irqs_off.c). The kernel is the one without its checks.
"""
from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .bench import LEAN_KERNEL
from .machine import in_option
from .paths import ROOT, ToolError, cross_tool
from .qemu_plugin import build_plugin

SECONDS = 120


@dataclass
class Measured:
    gaps: dict[str, int] = field(default_factory=dict)  # call: the longest that others waited
    stretches: dict[str, tuple[int, str]] = field(default_factory=dict)  # and where it was spent
    failures: list[str] = field(default_factory=list)


def _addresses(kernel: Path) -> dict[str, int]:
    listed = subprocess.run([cross_tool("nm"), str(kernel)], capture_output=True, text=True,
                            check=True).stdout
    return {name: int(address, 16) for address, _, name in
            (line.split() for line in listed.splitlines() if len(line.split()) == 3)}


def _where(kernel: Path, addresses: list[str]) -> str:
    """The functions that the addresses lie in, those met most often first."""
    if not addresses:
        return ""
    said = subprocess.run([cross_tool("addr2line"), "-e", str(kernel), "-f", "-C", *addresses],
                          capture_output=True, text=True, check=False).stdout.splitlines()[::2]
    names = sorted(set(said), key=said.count, reverse=True)
    return ", ".join(re.sub(r"\(.*", "", name) for name in names[:3])


def measure(folder: Path, kernel: Path = LEAN_KERNEL, only: str = "") -> Measured:
    plugin = build_plugin("irqs_off", folder)
    lines = folder / "stretches"
    options = ["--icount", "--mem", "512M", "--kernel", str(kernel), "--timeout", str(SECONDS)]
    if plugin is not None:
        known = _addresses(kernel)
        options += ["--qemu=-plugin", f"--qemu={in_option(plugin)},stubs={known['trap_stubs']:#x},"
                    f"syscall={known['syscall_entry']:#x},out={in_option(lines)}"]
    command = [str(ROOT / "tools" / "spork"), "run", *options, "--", "/tests/latency", "measure"]
    if only:
        command.append(only)
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    found = Measured()
    for gap, call in re.findall(r"# gap +(\d+) of +\d+: (.*)", ended.stdout):
        found.gaps[call] = int(gap)
    found.failures = re.findall(r"not ok \d+ - (.*)", ended.stdout)
    if ended.returncode not in (0, 1) or not found.gaps:
        raise ToolError(f"/tests/latency did not come to its end:\n{ended.stdout}{ended.stderr}")
    calls = list(found.gaps)
    for number, line in enumerate(lines.read_text().splitlines() if lines.exists() else []):
        _, length, *addresses = line.split()
        found.stretches[calls[number]] = (int(length), _where(kernel, addresses[1:]))
    return found


def table(found: Measured) -> str:
    rows = [f"{'call':34} {'gap':>10} {'interrupts off':>15}"]
    for call, gap in found.gaps.items():
        length, where = found.stretches.get(call, (0, ""))
        rows.append(f"{call:34} {gap:10,} {length:15,}  {where}")
    return "\n".join(rows + [f"not ok: {failure}" for failure in found.failures])
