"""Plugins for QEMU's TCG, tools/qemu/*.c."""
from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from .paths import ROOT


def build_plugin(name: str, folder: Path) -> Path | None:
    """The plugin, built for the QEMU that is there; None if that takes none."""
    said = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True,
                          check=False).stdout
    version = re.search(r"version (\d+)", said)
    if version is None or shutil.which("gcc") is None:
        return None
    made = folder / f"{name}.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", f"-DQEMU_MAJOR={version[1]}", "-o", str(made),
                    str(ROOT / "tools" / "qemu" / f"{name}.c")], check=True)
    return made
