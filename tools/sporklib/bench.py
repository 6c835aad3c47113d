"""make bench: what process creation costs on Spork and on Linux, in instructions.

One archive, with one static binary in it as its first process (user/bench/bench.c), is booted by
both kernels in the same QEMU under -icount, where the time stamp counter counts instructions and a
run prints the same figures each time. Linux is Debian's kernel package, fetched with apt and
unpacked under build/, at its leanest: see LINUX_WORDS. docs/bench.md discusses the figures.
"""
from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .cpio import Archive
from .paths import BUILD, KERNEL, NotFetched, ToolError, qboot

FOLDER = BUILD / "bench"
LEAN_KERNEL = BUILD / "lean" / "kernel" / "spork.elf"  # made with DEBUG_CHECKS=0
PROGRAMS = BUILD / "user" / "bench"
DONE = "bench: done"

# No mitigations, as the processor has no need of them and Spork has none; no huge pages, which
# Spork does not give programs; nothing that a kernel without control groups, auditing and security
# modules need not do.
LINUX_WORDS = ("console=ttyS0 quiet panic=-1 mitigations=off nokaslr transparent_hugepage=never "
               "init_on_alloc=0 cgroup_disable=memory audit=0 lsm=")
SPORK_WORDS = "quiet init=/init"

# Not -cpu max: its ERMS makes Linux use `rep movsb`, which QEMU counts byte by byte. Without RDRAND
# Linux has no random numbers ready, and each exec pays for that.
MACHINE = ["-M", "pc", "-cpu", "qemu64,+rdrand", "-m", "3G", "-smp", "1", "-accel", "tcg",
           "-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2024-01-01T00:00:00,clock=vm",
           "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]

SIZES = (1, 4, 16, 64, 256, 1024)  # MiB
SHOWN = (1, 64, 1024)  # in the printed table; the data has all
PAGES_PER_MIB = 256

# Name in the program's output: what it is. The order of the tables.
GENERAL = {
    "null_call": "null call (getppid)",
    "sched_yield": "sched_yield, alone",
    "mmap": "mmap, one page",
    "mmap_munmap": "mmap + munmap, one page",
    "mmap_munmap_beside": "mmap + munmap, beside another",
    "mmap_munmap_1m": "mmap + munmap, 1 MiB",
    "mmap_touch_munmap": "mmap + first write + munmap",
    "pipe_self": "a byte through a pipe",
    "pipe_pingpong": "pipe ping-pong",
    "pipe_pingpong_vm": "pipe ping-pong, shared memory",
    "fork_call_entry": "fork, the call, a map entry",
    "boot_to_init": "boot to init",
}
BY_SIZE = {
    "fork_call": "fork, the call",
    "fork_call_dirty": "fork, the call, pages rewritten",
    "fork_exit": "fork + exit",
    "fork_exit_dirty": "fork + exit, pages rewritten",
    "fork_exit_libc": "fork + exit, of the C library",
    "fork_exec": "fork + exec",
    "vfork_exit": "vfork + exit",
    "vfork_exec": "vfork + exec",
    "clone_vm_call": "clone(CLONE_VM), the call",
    "clone_vm_exit": "clone(CLONE_VM) + exit",
    "clone_vm_exec": "clone(CLONE_VM) + exec",
    "afork_exit": "afork + exit",
    "afork_exec": "afork + exec",
    "spawn_exit": "posix_spawn, no such program",
    "spawn_exec": "posix_spawn",
    "touch_write": "first write, a page",
    "touch_read": "first read, a page",
    "cow_break": "COW break, a page",
    "cow_reuse": "COW reuse, a page",
    "mprotect_rewrite": "read-only, and rewritten, a page",
    "munmap_touched": "munmap, a page",
}
SLOPES = {
    "fork_call": "fork, the call",
    "fork_call_dirty": "fork, the call, pages rewritten",
    "fork_exit": "fork + exit",
    "fork_exit_dirty": "fork + exit, pages rewritten",
}

Key = tuple[str, int]  # name, MiB


@dataclass
class Figures:
    """One kernel's figures; `missing` are what it cannot do, with its errno."""

    rows: dict[Key, float] = field(default_factory=dict)
    missing: dict[Key, int] = field(default_factory=dict)

    def slope(self, name: str) -> float | None:
        """Instructions for each further resident page, between 16 MiB and the largest size."""
        points = sorted((mib, value) for (n, mib), value in self.rows.items() if n == name)
        if len(points) < 2:
            return None
        large = [point for point in points if point[0] >= 16]
        points = large if len(large) >= 2 else points
        (low, at_low), (high, at_high) = points[0], points[-1]
        return (at_high - at_low) / ((high - low) * PAGES_PER_MIB)


# ---- The two kernels -----------------------------------------------------------------------


def fetch_linux() -> Path:
    """Debian's kernel image, from its package, which is unpacked and not installed."""
    folder = FOLDER / "linux"
    found = sorted(folder.glob("x/boot/vmlinuz-*"))
    if found:
        return found[-1]
    for tool in ("apt-get", "apt-cache", "dpkg"):
        if shutil.which(tool) is None:
            raise ToolError(f"{tool} is not there: Linux's figures need a Debian or Ubuntu host "
                            "(--spork-only does without them)")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    package = _image_package()
    with (folder / "apt.log").open("wb") as log:
        got = subprocess.run(["apt-get", "-q", "download", package], cwd=folder, stdout=log,
                             stderr=log, check=False)
    archives = list(folder.glob("*.deb"))
    if got.returncode != 0 or not archives:
        raise NotFetched(f"apt-get download {package} failed: see {folder / 'apt.log'}")
    subprocess.run(["dpkg", "-x", str(archives[0]), str(folder / "x.new")], check=True)
    archives[0].unlink()
    (folder / "x.new").rename(folder / "x")
    images = sorted(folder.glob("x/boot/vmlinuz-*"))
    if not images:
        raise ToolError(f"the package {package} holds no boot/vmlinuz-*")
    return images[-1]


def _image_package() -> str:
    """The package with the image that Debian's linux-image-cloud-amd64 now stands for."""
    for meta in ("linux-image-cloud-amd64", "linux-image-amd64", "linux-image-virtual"):
        listing = subprocess.run(["apt-cache", "depends", meta], capture_output=True, text=True,
                                 check=False).stdout
        for line in listing.splitlines():
            words = line.split()
            if len(words) == 2 and words[0] == "Depends:" and words[1].startswith("linux-image-"):
                return words[1]
    raise ToolError("apt knows no Linux image package: run apt-get update as root")


def make_archive(sizes: Iterable[int], only: Iterable[str]) -> bytes:
    """What both kernels boot into: the program, as /init, and the program that it executes."""
    archive = Archive()
    for path in ("/dev", "/proc", "/tmp"):
        archive.directory(path)
    archive.device("/dev/console", 5, 1, 0o600)  # Linux opens it for the first process
    archive.file("/init", (PROGRAMS / "bench").read_bytes(), 0o755)
    archive.file("/tiny", (PROGRAMS / "tiny").read_bytes(), 0o755)
    words = [str(size) for size in sizes] + list(only)
    archive.file("/bench.arguments", " ".join(words).encode() + b"\n")
    return archive.finish()


def boot(kernel: Path, words: str, archive: Path, log: Path, firmware: bool,
         extra: list[str], timeout: float, machine: list[str] | None = None) -> str:
    """Boots to the end of the program; returns what was on the console, which is also in `log`."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        raise ToolError("qemu-system-x86_64 is not installed: run tools/setup run")
    command = [qemu, *(machine or MACHINE), "-kernel", str(kernel), "-initrd", str(archive), "-append", words]
    rom = qboot()
    if firmware and rom is not None:
        command += ["-bios", str(rom)]
    with log.open("wb") as output:
        try:
            subprocess.run(command + extra, stdin=subprocess.DEVNULL, stdout=output,
                           stderr=subprocess.STDOUT, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise ToolError(f"{kernel.name} did not end in {timeout:.0f} s: see {log}") from None
    text = log.read_text(errors="replace").replace("\r", "")
    if DONE not in text:
        raise ToolError(f"{kernel.name} did not come to the end of the benchmark: see {log}")
    return text


def parse(text: str) -> Figures:
    """The rows that the program printed, between whatever the kernel did."""
    figures = Figures()
    for line in text.splitlines():
        words = line.split()
        if len(words) == 5 and words[0] == "row":
            figures.rows[words[1], int(words[2])] = float(words[4])
        elif len(words) == 4 and words[0] == "none":
            figures.missing[words[1], int(words[2])] = int(words[3])
    return figures


def measure_linux(archive: Path, log: Path, timeout: float) -> Figures:
    """Linux's figures, from the last run if neither it nor what it ran has changed since."""
    kernel = fetch_linux()
    identity = hashlib.sha256("\n".join([LINUX_WORDS, *MACHINE, kernel.name]).encode())
    identity.update(archive.read_bytes())
    stamp = log.with_suffix(".identity")
    if stamp.exists() and log.exists() and stamp.read_text() == identity.hexdigest():
        return parse(log.read_text(errors="replace").replace("\r", ""))
    print(f"bench: Linux ({kernel.name}) ...", flush=True)
    figures = parse(boot(kernel, LINUX_WORDS, archive, log, False, [], timeout))
    stamp.write_text(identity.hexdigest())
    return figures


def measure_spork(kernel: Path, archive: Path, log: Path, extra: list[str],
                  timeout: float) -> Figures:
    print(f"bench: Spork ({os.path.relpath(kernel)}) ...", flush=True)
    return parse(boot(kernel, SPORK_WORDS, archive, log, True, extra, timeout))


# ---- What is shown -------------------------------------------------------------------------


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{round(value, 1) + 0.0:.1f}"  # no "-0.0"


def ratio(a: float | None, b: float | None) -> str:
    return "-" if a is None or not b else f"{round(a / b, 2) + 0.0:.2f}"


def table(columns: dict[str, Figures], sizes: Iterable[int],
          others: dict[str, tuple[str, int]] | None = None) -> str:
    """The figures by row; with two columns or more, the first's ratio to the last. `others`: these rows alone."""
    names = list(columns)
    reference = columns[names[-1]] if len(names) > 1 else None
    head = f"{'instructions per operation':<34}{'MiB':>5}" + "".join(f"{n:>16}" for n in names)
    lines = [head + (f"{names[0] + '/' + names[-1]:>14}" if reference else "")]

    def row(what: str, where: str, values: list[float | None]) -> None:
        if all(value is None for value in values):
            return
        line = f"{what:<34}{where:>5}" + "".join(f"{number(value):>16}" for value in values)
        lines.append(line + (f"{ratio(values[0], values[-1]):>14}" if reference else ""))

    def rows(names: dict[str, str], sizes: Iterable[int]) -> None:
        for name, what in names.items():
            for size in sizes:
                row(what, str(size) if size else "",
                    [figures.rows.get((name, size)) for figures in columns.values()])

    if others is not None:
        for name, (what, size) in others.items():
            row(what, "", [figures.rows.get((name, size)) for figures in columns.values()])
        return "\n".join(lines) + "\n"
    rows(GENERAL, (0,))
    rows(BY_SIZE, list(sizes))
    for name, what in SLOPES.items():
        row(f"{what}, a page", "", [figures.slope(name) for figures in columns.values()])
    return "\n".join(lines) + "\n"


def write_data(columns: dict[str, Figures], path: Path) -> None:
    keys = {key: None for figures in columns.values() for key in figures.rows}
    with path.open("w") as f:
        f.write("test\tmib\t" + "\t".join(columns) + "\n")
        for name, mib in keys:
            values = [figures.rows.get((name, mib)) for figures in columns.values()]
            f.write(f"{name}\t{mib}\t" + "\t".join("" if v is None else f"{v:g}" if v < 1e5
                                                   else f"{v:.0f}" for v in values) + "\n")
        for name in SLOPES:
            slopes = [figures.slope(name) for figures in columns.values()]
            f.write(f"{name}_page\t-\t" + "\t".join("" if s is None else f"{s:.2f}"
                                                    for s in slopes) + "\n")


def draw(columns: dict[str, Figures], stem: Path) -> None:
    """The cost of a process by the size of its parent, as SVG and PNG."""
    try:
        import matplotlib
    except ImportError:
        raise ToolError("python3-matplotlib is not installed: run tools/setup bench") from None
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "spork"  # the same figures, the same file
    from matplotlib import pyplot

    lines = {"fork_exit": "fork + exit", "fork_exec": "fork + exec", "fork_call": "fork, the call",
             "fork_exit_dirty": "fork + exit, pages rewritten", "vfork_exec": "vfork + exec",
             "spawn_exec": "posix_spawn", "vfork_exit": "vfork + exit", "clone_vm_exit": "clone(CLONE_VM) + exit",
             "afork_exit": "afork + exit"}
    names = list(columns)
    styles = {names[-1]: ("--", "s")} | {names[0]: ("-", "o")}  # with one column: its own
    figure, axes = pyplot.subplots(figsize=(9, 6.5))
    for index, (name, label) in enumerate(lines.items()):
        for kernel, (dash, marker) in styles.items():
            points = sorted((mib, v) for (n, mib), v in columns[kernel].rows.items() if n == name)
            if points:
                axes.plot(*zip(*points), dash, marker=marker, markersize=4, color=f"C{index}",
                          label=f"{label} ({kernel})")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sizes = sorted({mib for name, mib in columns[names[0]].rows if name in lines})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("the parent's written private memory, MiB")
    axes.set_ylabel("instructions")
    axes.set_title("What a child process costs, by the size of its parent")
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(fontsize=7, ncol=2)
    figure.tight_layout()
    figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(stem.with_suffix(".png"), dpi=130)


def bench(sizes: list[int], only: list[str], kernels: dict[str, Path], with_linux: bool,
          extra: list[str], timeout: float) -> None:
    """Measures, prints the table, and leaves it with data and plot in build/bench."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    archive = FOLDER / "root.cpio"
    archive.write_bytes(make_archive(sizes, only))
    columns = {name: measure_spork(kernel, archive, FOLDER / f"{name}.log", extra, timeout)
               for name, kernel in kernels.items()}
    if with_linux:
        columns["linux"] = measure_linux(archive, FOLDER / "linux.log", timeout)
    shown = sizes if only else [size for size in sizes if size in SHOWN] or sizes
    text = table(columns, shown)
    print(text, end="")
    for kernel, figures in columns.items():
        for (name, mib), error in figures.missing.items():
            print(f"bench: {kernel} cannot do {name}{f' at {mib} MiB' if mib else ''}: "
                  f"{os.strerror(error)}")
    if only:
        return
    (FOLDER / "table.txt").write_text(text)
    write_data(columns, FOLDER / "bench.tsv")
    draw(columns, FOLDER / "bench")
    where = os.path.relpath(FOLDER)
    print(f"bench: {where}/table.txt, bench.tsv, bench.svg and bench.png are written")


def default_kernels(checked: bool) -> dict[str, Path]:
    """Spork without its run-time checks, as Linux is measured; and the usual build beside it."""
    kernels = {"spork": LEAN_KERNEL}
    if checked:
        kernels["checked"] = KERNEL
    return kernels
