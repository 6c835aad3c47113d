"""Puts functions and source lines to the kernel addresses in a panic's text.

The kernel prints an address as [<ffffffff80123456>]. In a backtrace it is a return address, so the
line looked up is that of the call before it; on a line that names rip it is the address itself.
"""
from __future__ import annotations

import re
import subprocess
from pathlib import Path

from .paths import ToolError, cross_tool

ADDRESS = re.compile(r"\[<(?:0x)?([0-9a-fA-F]{8,16})>\]")


def _is_exact(line: str) -> bool:
    return re.search(r"\brip\b", line, re.IGNORECASE) is not None


def _look_up(addresses: list[int], elf: Path) -> dict[int, str]:
    """Maps each address to "function at file:line", inlined callers after it."""
    wanted = [f"{address:#x}" for address in addresses]
    command = [cross_tool("addr2line"), "-e", str(elf), "-f", "-C", "-i", "-p", "-a", *wanted]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found: dict[int, str] = {}
    address = None
    for line in output.splitlines():
        start = re.match(r"0x([0-9a-f]+): (.*)", line)
        if start:
            address, text = int(start[1], 16), start[2]
            found[address] = text
        elif address is not None:
            found[address] += "\n" + line.strip()
    return {key: text.replace(" at ./", " at ") for key, text in found.items()}


def symbolize(text: str, elf: Path) -> str:
    """The text with what its kernel addresses are put behind (inlined callers below) each line."""
    lines = text.splitlines()
    places: dict[int, list[int]] = {}
    for number, line in enumerate(lines):
        addresses = [int(match, 16) for match in ADDRESS.findall(line)]
        places[number] = [a if _is_exact(line) else a - 1 for a in addresses]
    wanted = sorted({address for each in places.values() for address in each})
    if not wanted or not elf.exists():
        return text
    try:
        found = _look_up(wanted, elf)
    except ToolError:
        return text
    for number, addresses in places.items():
        for address in addresses:
            what = found.get(address, "")
            if what and not what.startswith("??"):
                lines[number] += "  " + what.replace("\n", "\n        ")
    return "\n".join(lines) + ("\n" if text.endswith("\n") else "")
