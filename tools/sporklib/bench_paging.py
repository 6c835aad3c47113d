"""make bench's second machine: with less memory than its program uses, and a disk to swap to.

The program is user/bench/paging.c. Linux's driver of the disk is a handful of modules, which its
archive has, too. Here the processor's clock goes on while the disk works (-icount without
sleep=off), so that figures differ from run to run, by some percent.
"""
from __future__ import annotations

import tempfile
from pathlib import Path

from . import bench
from .cpio import Archive
from .disks import swap_file
from .paths import ToolError

MEMORY, MIB, SWAP = "128M", 256, "512M"
# In the order in which they need each other.
MODULES = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk")

ROWS = {
    "page_first_write": "first write, and a page out",
    "page_read": "read in order, a page in",
    "page_write": "written in order, a page in and out",
    "page_random": "read at random, a page",
    "pageins_read": "  pages that came in, of 65,536",
    "pageins_write": "  the same, written",
    "pageins_random": "  the same, at random",
    "fork_exit_out": "fork + exit, most pages out",
    "pageins_fork": "  pages that came in",
    "vfork_exit_out": "vfork + exit, most pages out",
    "pageins_vfork": "  pages that came in",
}


def machine(disk: Path) -> list[str]:
    options = list(bench.MACHINE)
    options[options.index("-m") + 1] = MEMORY
    options[options.index("-icount") + 1] = "shift=0"
    return options + ["-drive", f"file={disk},format=raw,if=none,id=swap,cache=unsafe",
                      "-device", "virtio-blk-pci,drive=swap"]


def archive(modules: Path | None) -> bytes:
    """Both kernels' archive; `modules`: the folder of Linux's."""
    made = Archive()
    for path in ("/dev", "/proc", "/tmp"):
        made.directory(path)
    made.device("/dev/console", 5, 1, 0o600)
    made.file("/init", (bench.PROGRAMS / "paging").read_bytes(), 0o755)
    words = [str(MIB), "/dev/vda"]
    for name in MODULES if modules else ():
        found = sorted(modules.rglob(f"{name}.ko")) if modules else []
        if not found:
            raise ToolError(f"Linux's package has no module {name}")
        made.file(f"/{name}.ko", found[0].read_bytes())
        words.append(f"/{name}.ko")
    made.file("/bench.arguments", " ".join(words).encode() + b"\n")
    return made.finish()


def measure(name: str, kernel: Path, words: str, contents: bytes, extra: list[str],
            timeout: float) -> bench.Figures:
    print(f"bench: {name}, with a disk to swap to ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="spork-bench-") as folder:
        disk = swap_file(Path(folder), SWAP)
        packed = Path(folder) / "root.cpio"
        packed.write_bytes(contents)
        return bench.parse(bench.boot(kernel, words, packed, bench.FOLDER / f"paging-{name}.log", name != "linux",
                                      extra, timeout, machine(disk)))


def bench_paging(kernels: dict[str, Path], with_linux: bool, extra: list[str], timeout: float) -> None:
    """Measures, prints the table, and leaves it in build/bench."""
    columns = {name: measure(name, kernel, bench.SPORK_WORDS, archive(None), extra, timeout)
               for name, kernel in kernels.items()}
    if with_linux:
        image = bench.fetch_linux()
        columns["linux"] = measure("linux", image, bench.LINUX_WORDS, archive(image.parent.parent / "lib"), [],
                                   timeout)
    text = bench.table(columns, [], {name: (what, MIB) for name, what in ROWS.items()})
    print(text, end="")
    (bench.FOLDER / "paging.txt").write_text(text)
