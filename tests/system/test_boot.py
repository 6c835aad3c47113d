"""Every route of booting, numbers of processors, sizes of memory, and the ordinary end."""
from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from guest import LIMIT, ROOT, SPORK, spork, succeeds
from sporklib.cpio import Archive
from sporklib.paths import BUILD
from sporklib.rootfs import build_root

LOOK = "grep -c '^cpu[0-9]' /proc/stat; grep MemTotal /proc/meminfo; seq 1 100 | wc -l"


def look(options: tuple[str, ...]) -> tuple[int, int]:
    """Boots, and gives how many processors and how many MiB of memory the kernel has."""
    text = succeeds("sh", "-c", LOOK, options=options)
    match = re.fullmatch(r"(\d+)\nMemTotal: *(\d+) kB\n100\n", text)
    assert match, text
    return int(match[1]), int(match[2]) // 1024


@pytest.mark.parametrize("cpus", [1, pytest.param(2, marks=pytest.mark.long), 4, 16])
def test_direct(cpus: int) -> None:
    assert look(("--smp", str(cpus)))[0] == cpus


@pytest.mark.parametrize("cpus", [pytest.param(1, marks=pytest.mark.long), 4])
def test_grub_under_bios(cpus: int) -> None:
    assert look(("--iso", "--smp", str(cpus)))[0] == cpus


@pytest.mark.parametrize(("size", "least", "most"), [("32M", 28, 32), ("64M", 60, 64), ("5G", 4800, 5120)])
def test_memory(size: str, least: int, most: int) -> None:
    assert least <= look(("--mem", size))[1] <= most


@pytest.mark.parametrize("route", [(), *(pytest.param((way,), marks=pytest.mark.long) for way in ("--iso", "--uefi"))])
def test_the_least_memory_that_is_let_pass_is_enough(route: tuple[str, ...]) -> None:
    refused = spork("true", options=(*route, "--mem", "1M"))
    assert refused.status == 125
    least = re.search(rb"does not fit into 1M: --mem (\d+M) or more", refused.err)
    assert least, refused.err
    assert succeeds("sh", "-c", "ls /tests | wc -l", options=(*route, "--mem", least[1].decode())) > "1"


def test_a_shell_in_16_megabytes(tmp_path: Path) -> None:
    """Busybox and init alone."""
    root = tmp_path / "root.cpio"
    root.write_bytes(build_root([BUILD / "user" / "init" / "init"]))
    text = boot_with([str(SPORK), "boot", "--direct", "--qemu=-initrd", f"--qemu={root}",
                      "--qemu=-m", "--qemu=16M"],
                     b"echo $((6 * 7))\n")
    assert "\n42\n" in text


def boot_with(command: list[str], script: bytes) -> str:
    environment = os.environ | {"SPORK_NO_BUILD": "1"}
    done = subprocess.run(command, input=script, capture_output=True, timeout=2 * LIMIT, cwd=ROOT,
                          env=environment, check=False)
    text = done.stdout.decode(errors="replace").replace("\r\n", "\n")
    assert done.returncode == 0, (text, done.stderr)
    return text


def test_make_run_without_input() -> None:
    """The ISO under BIOS: the shell sees the end of its input, and the machine powers off."""
    text = boot_with(["make", "-s", "run"], b"")
    assert "Welcome to Spork" in text


def test_the_iso_under_uefi() -> None:
    script = b"echo processors $(grep -c '^cpu[0-9]' /proc/stat)\n"
    text = boot_with([str(SPORK), "boot", "--uefi", "--smp", "4"], script)
    assert "\nprocessors 4\n" in text


def test_a_shell_that_cannot_start(tmp_path: Path) -> None:
    """A root file system with init alone: the machine says so and does not end with status 0."""
    root = tmp_path / "root.cpio"
    archive = Archive()
    for path in ("/sbin", "/dev", "/proc", "/root"):
        archive.directory(path)
    archive.file("/sbin/init", (BUILD / "user" / "init" / "init").read_bytes(), 0o755)
    root.write_bytes(archive.finish())
    done = subprocess.run([SPORK, "boot", "--direct", "--qemu=-initrd", f"--qemu={root}"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=2 * LIMIT, cwd=ROOT, check=False)
    assert done.returncode == 127
    assert "init: /bin/sh: No such file or directory" in done.stdout
    assert "spork: the shell could not be started" in done.stderr
