"""Where things are: the project's own files, and those that QEMU and GRUB packages install."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build"
SANITIZE = os.environ.get("SANITIZE", "")  # as in the Makefile: whose kernel is the one meant
KERNEL = BUILD / SANITIZE / "kernel" / "spork.elf"
ROOT_CPIO = BUILD / "root.cpio"
ISO = BUILD / SANITIZE / "spork.iso"


class ToolError(Exception):
    """Something outside the machine that the user can put right; its text says what."""


class NotFetched(ToolError):
    """Something has to come from the network, and did not."""


def first_file(*candidates: str) -> Path | None:
    """The first of the candidates that is there."""
    return next((Path(path) for path in candidates if Path(path).exists()), None)


def qboot() -> Path | None:
    """The small firmware that starts a -kernel image in some 40 ms."""
    return first_file(
        "/usr/share/qemu/qboot.rom",
        "/usr/share/seabios/qboot.rom",
        "/usr/share/qemu-firmware/qboot.rom",
        "/opt/homebrew/share/qemu/qboot.rom",
        "/usr/local/share/qemu/qboot.rom",
    )


def ovmf() -> tuple[Path, Path]:
    """UEFI firmware for the machine: its code, and the initial contents of its variables."""
    pairs = (
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    )
    for code, variables in pairs:
        if Path(code).exists() and Path(variables).exists():
            return Path(code), Path(variables)
    raise ToolError("no UEFI firmware found (Debian's package: ovmf)")


def cross_tool(name: str) -> str:
    """The toolchain's `name`, with the prefix that CROSS gives."""
    prefixed = os.environ.get("CROSS", "x86_64-linux-gnu-") + name
    found = shutil.which(prefixed) or shutil.which(name)
    if found is None:
        raise ToolError(f"{prefixed} is not installed: run tools/setup run")
    return found


def refused(error: OSError) -> str:
    """What the system refuses (a full disk, a missing file, a tree that is read-only), in a sentence."""
    where = error.filename2 or error.filename
    return f"{error.strerror}: {where}" if where else str(error.strerror or error)
