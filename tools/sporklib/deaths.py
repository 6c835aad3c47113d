"""Programs that died: what the kernel says of each (kernel/signal/last_words.h), with the function
and the line that it was in, as far as its file is known here."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from .paths import BUILD, ROOT, ToolError, cross_tool
from .programs import address_of

LINE = re.compile(rb"^\[ *[0-9.]+\] (.*\] died of SIG.*)$")
PLACE = re.compile(r", by the instruction at 0x[0-9a-f]+ \((/[^ ]*)\+0x([0-9a-f]+)\)")
# Where the root file system's own programs come from (rootfs.py).
BUILT = {"/sbin/init": "init/init", "/usr/local/bin/": "bin/", "/tests/": "tests/", "/demos/": "demos/",
         "/explore/": "explore/"}


def _host_file(guest: str, additions: list[tuple[Path, str]]) -> Path | None:
    """The file here that was put into the guest under this path."""
    for host, place in additions:
        if guest == place or guest.startswith(f"{place.rstrip('/')}/"):
            return host / guest[len(place) :].lstrip("/")
    for place, folder in BUILT.items():
        if guest.startswith(place):
            return BUILD / "user" / (folder + guest[len(place) :])
    return None


def explained(text: str, additions: list[tuple[Path, str]]) -> str:
    """The line with "in FUNCTION at FILE:LINE" behind the instruction."""
    place = PLACE.search(text)
    file = place and _host_file(place[1], additions)
    if not place or not file or not file.is_file():
        return text
    try:
        address = address_of(file, int(place[2], 16))
        if address is None:
            return text
        command = [cross_tool("addr2line"), "-e", str(file), "-f", "-C", "-p", f"{address:#x}"]
    except ToolError:
        return text
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if not found or found.startswith("??"):
        return text
    found = found.replace(" at ??:?", "").replace(" at ??:0", "").replace(f"{ROOT}/", "")
    return f"{text[: place.end()]} in {found}{text[place.end() :]}"


class Deaths:
    """Reads along what the console prints, and tells of each death on stderr."""

    def __init__(self, additions: list[tuple[Path, str]]) -> None:
        self._additions = additions
        self._rest = b""

    def read(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data.replace(b"\r", b"")).split(b"\n")
        self._rest = self._rest[-1000:]
        for line in lines:
            if death := LINE.match(line):
                text = explained(death[1].decode(errors="replace"), self._additions)
                print(f"spork: {text}", file=sys.stderr, flush=True)
