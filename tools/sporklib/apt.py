"""A source package of the distribution, by apt-get, without a change to the machine.

A fresh Debian names no source repositories. So apt-get is given a list of its own that is made from
the machine's: the same mirrors and keys, for sources instead of packages. Its state and what it
downloads are in a folder of ours, and no privilege is needed.
"""
from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .paths import NotFetched, ToolError

LISTS = Path("/etc/apt")


def one_line(text: str, release: str) -> Iterator[str]:
    """The lines for sources that belong to the `deb` lines of the release in a .list file."""
    for line in text.splitlines():
        match = re.match(r"deb(\s+\[[^]]*\])?\s+(\S+)\s+(\S+)\s+(.+)", line)
        if match and match[3] == release:
            yield f"deb-src{match[1] or ''} {match[2]} {match[3]} {match[4].partition('#')[0].strip()}\n"


def stanzas(text: str, release: str) -> Iterator[str]:
    """The stanzas for sources that belong to those of the release in a .sources file (deb822)."""
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if not line.startswith("#")]
        fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", "\n".join(lines), re.MULTILINE))
        if "deb" in fields.get("Types", "").split() and release in fields.get("Suites", "").split() \
                and fields.get("Enabled", "yes") != "no":
            yield "\n".join(
                "Types: deb-src" if line.startswith("Types:")
                else f"Suites: {release}" if line.startswith("Suites:") else line
                for line in lines) + "\n\n"


def _write_lists(folder: Path) -> None:
    """Writes sources.list.d under `folder`."""
    parts = folder / "sources.list.d"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    files = [LISTS / "sources.list", *sorted((LISTS / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        convert = one_line if file.suffix == ".list" else stanzas
        text = "".join(convert(file.read_text(), release))
        if text:
            (parts / file.name).write_text(text)
    if not any(parts.iterdir()):
        raise ToolError(f"no repository of {release or 'this release'} is configured in {LISTS}")


def fetch_source(package: str, folder: Path) -> Path:
    """Downloads, verifies and unpacks a source package with the distribution's patches.

    Everything is made under `folder`; returns the source's own folder in it.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-source") is None:
        raise ToolError("source packages need apt-get and dpkg-source (Debian's dpkg-dev)")
    folder = folder.resolve()
    _write_lists(folder)
    for name in ("state/lists/partial", "cache/archives/partial", "unpacked"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    apt = ["apt-get", "-q", "-o", f"Dir::Etc::sourcelist={os.devnull}",
           "-o", f"Dir::Etc::sourceparts={folder / 'sources.list.d'}",
           "-o", f"Dir::State={folder / 'state'}", "-o", f"Dir::Cache={folder / 'cache'}",
           "-o", "APT::Sandbox::User=root"]
    log = folder / "apt.log"
    with log.open("wb") as out:
        for command in ("update", "source"):
            done = subprocess.run([*apt, command, *([package] if command == "source" else [])],
                                  cwd=folder / "unpacked", stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=subprocess.STDOUT, check=False)
    found = [path for path in (folder / "unpacked").iterdir() if path.is_dir()]
    if done.returncode != 0 or len(found) != 1:
        tail = "".join(f"  {line}\n" for line in log.read_text(errors="replace").splitlines()[-8:])
        raise NotFetched(f"the source package {package} could not be had; the end of {log}:\n{tail}")
    shutil.rmtree(folder / "state")
    shutil.rmtree(folder / "cache")
    return found[0]
