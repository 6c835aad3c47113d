"""The commands of tools/spork.

Half of the time of a short run is Python's start: each command imports what only it needs.
"""
from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from .deaths import Deaths
from .job import Job, find_program, parse_addition, parse_variable
from .machine import (
    DEFAULT_MEMORY, Config, Machine, Route, check_words, gdb_on, gdb_on_core, memory_for, run_folder,
)
from .paths import BUILD, ISO, KERNEL, ROOT, ROOT_CPIO, ToolError, refused
from .session import (
    FAILURE_STATUS,
    TIMEOUT_STATUS,
    OnConsole,
    Outcome,
    Piped,
    Session,
    log_to,
    terminal_size,
)

MOST_PROCESSORS = 16  # max_cpus in arch/cpu.h
RUN_HELP = """\
Runs one command on the kernel, in a machine of its own, and exits with its status: 128+N when
signal N ended it, 124 when the time was up, 125 when the kernel panicked or the machine did not
work. Without a command it runs a login shell. On a terminal the command gets that terminal
(Ctrl-] q ends the machine); otherwise stdin, stdout and stderr are passed on as they are.
"""


def say(text: str) -> None:
    print(f"spork: {text}", file=sys.stderr, flush=True)


# ---- Building ------------------------------------------------------------------------------


def build(*targets: Path) -> None:
    """Brings build/ up to date, unless SPORK_NO_BUILD says that it is; a release has nothing to build from."""
    if os.environ.get("SPORK_NO_BUILD") or not (ROOT / "Makefile").exists():
        return
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    names = [str(target.relative_to(ROOT)) for target in targets]
    try:
        BUILD.mkdir(exist_ok=True)
        lock = (BUILD / "lock").open("w")
    except OSError as error:
        raise ToolError(f"nothing can be built here: {error.strerror}: {error.filename}; SPORK_NO_BUILD=1 in the "
                        "environment runs what has been built") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # runs may start at the same time
        make = subprocess.run(
            ["make", "-s", "--no-print-directory", "SETUP=stamp", *names],
            cwd=ROOT, env=environment, stdout=sys.stderr, stdin=subprocess.DEVNULL, check=False,
        )
    if make.returncode != 0:
        raise ToolError("the build failed")


# ---- run and boot --------------------------------------------------------------------------


def processors(text: str) -> int:
    """The number of --smp."""
    if not text.isdigit() or not 1 <= int(text) <= MOST_PROCESSORS:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to {MOST_PROCESSORS}")
    return int(text)


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--smp", type=processors, default=2, metavar="N", help="number of processors (2)")
    option("--mem", metavar="SIZE", help="memory (256M, or more if what is added needs it)")
    option("--append", action="append", default=[], metavar="WORDS",
           help="words for the kernel's command line")
    option("--uefi", action="store_true", help="boot the ISO by GRUB under UEFI")
    option("--icount", action="store_true",
           help="count instructions: the same run gives the same numbers (one processor)")
    option("--gdb", action="store_true", help="wait for GDB before the first instruction")
    option("--gdb-port", type=int, metavar="PORT", help="the same, on this port instead of a free one")
    option("--core", action="store_true",
           help="after a panic, or when the time is up, leave a core file for GDB")
    option("--timeout", type=float, metavar="S", help="seconds until the machine is ended")
    option("--disk", action="append", default=[], metavar="FILE[:SIZE]",
           help="a raw file as a disk (/dev/vda, then vdb, ...); with SIZE it is made, empty, if it is missing")
    option("--swap", metavar="SIZE",
           help="a further disk, fresh, swapped to from the start (/etc/fstab); gone with the machine")
    option("--kernel", type=Path, metavar="FILE", help="boot this instead of build/kernel/spork.elf")
    option("--qemu", action="append", default=[], metavar="OPTION", help="a further QEMU option")


def make_job(arguments: argparse.Namespace, console: bool) -> Job:
    return Job(
        command=arguments.command or ["/bin/sh", "-l"],
        environment=dict(parse_variable(text) for text in arguments.env),
        directory=arguments.cwd or ("/" if arguments.command else "/root"),
        console=console,
        terminal=os.environ.get("TERM", "vt100") if console else "dumb",
        size=terminal_size(1) if console else None,
        additions=[parse_addition(text) for text in arguments.add],
        programs=[find_program(text) for text in arguments.add_with_libs],
        swap=swap_disk(arguments),
    )


def disks(arguments: argparse.Namespace, folder: Path) -> list[Path]:
    """The files of --disk and --swap, in this order."""
    if not arguments.disk and not arguments.swap:
        return []
    from .disks import disk_file, swap_file
    files = [disk_file(text) for text in arguments.disk]
    return files + ([swap_file(folder, arguments.swap)] if arguments.swap else [])


def swap_disk(arguments: argparse.Namespace) -> str | None:
    """What the machine calls the disk of --swap: it comes after the others."""
    return f"/dev/vd{chr(ord('a') + len(arguments.disk))}" if arguments.swap else None


def make_config(arguments: argparse.Namespace, initrd: Path, folder: Path) -> Config:
    kernel = arguments.kernel or KERNEL
    checked = ["check"] if getattr(arguments, "check", False) else []
    under_gdb = arguments.gdb or arguments.gdb_port is not None
    told = any(word.startswith("watchdog=") for word in arguments.append)
    debugged = ["watchdog=0"] if under_gdb and not told else []
    stays = ["onpanic=halt"] if arguments.core else []
    words = " ".join(arguments.append + checked + debugged + stays + trace_words(arguments))
    check_words(words)
    route: Route = "uefi" if arguments.uefi else "bios" if arguments.iso else "direct"
    config = Config(
        route=route,
        kernel=kernel,
        initrd=initrd,
        words=words,
        smp=arguments.smp,
        memory=memory_for(arguments.mem, initrd.stat().st_size, route),
        icount=arguments.icount,
        gdb=arguments.gdb or arguments.gdb_port is not None, gdb_port=arguments.gdb_port,
        trace=folder / "trace.raw" if getattr(arguments, "trace", None) else None,
        core=folder / "core" if arguments.core else None,
        disks=disks(arguments, folder),
        extra=arguments.qemu,
    )
    if route != "direct":
        config.iso = folder / "spork.iso"
        from .iso import make_iso
        make_iso(config.iso, kernel, initrd, config.words, config.route)
    return config


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A folder for one run, which stays only if the run fails; and orderly ends by signals."""

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    folder = run_folder()
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def conclude(outcome: Outcome, folder: Path, kernel: Path, shown: bool) -> int:
    """Says what went wrong, if anything; gives the exit status."""
    if outcome.why is None or outcome.status not in (TIMEOUT_STATUS, FAILURE_STATUS):
        shutil.rmtree(folder, ignore_errors=True)
        if outcome.why is not None:
            say(outcome.why)
        return outcome.status
    if outcome.panic is not None:
        from .symbols import symbolize
        sys.stderr.write(symbolize(outcome.panic, kernel))
    elif not shown and outcome.status == FAILURE_STATUS:
        tail = outcome.console.decode(errors="replace").replace("\r\n", "\n").splitlines()[-20:]
        sys.stderr.write("".join(f"{line}\n" for line in tail))
    for name in ("root.cpio", "spork.iso", "uefi-variables.fd", "swap.raw"):
        (folder / name).unlink(missing_ok=True)
    say(f"{outcome.why}; the console's text is in {folder / 'console.log'}")
    if (core := folder / "core").exists():
        say(f"look at it by {gdb_on_core(kernel, core)}")
    return outcome.status


def converse(
    config: Config, folder: Path, make: Callable[[Machine, Callable[[bytes], None]], Session],
    verbose: bool, deaths: Deaths | None = None,
) -> Outcome:
    """Starts the machine and runs the session that `make` builds for it to its end."""
    with (folder / "console.log").open("wb") as log, Machine(config, folder) as machine:
        write_log = log_to(log)

        def listen(data: bytes) -> None:
            write_log(data)
            if verbose:
                sys.stderr.buffer.write(data)
                sys.stderr.buffer.flush()
            elif deaths is not None:
                deaths.read(data)

        if machine.gdb_port is not None:
            say(f"waiting for GDB: {gdb_on(config.kernel, '-ex', f'target remote :{machine.gdb_port}')}")
        return make(machine, listen).run()


def run(arguments: argparse.Namespace) -> int:
    if arguments.command[:1] == ["--"]:
        del arguments.command[0]
    if arguments.kernel:
        build(ROOT_CPIO)
    else:
        build(KERNEL, ROOT_CPIO)
    console = os.isatty(0) and os.isatty(1)
    with workspace() as folder:
        job = make_job(arguments, console)
        initrd = job.write_initrd(folder / "root.cpio")
        config = make_config(arguments, initrd, folder)

        def make(machine: Machine, listen: Callable[[bytes], None]) -> Session:
            if console:
                return OnConsole(machine, 0, 1, arguments.timeout, listen,
                                 show_boot=arguments.console, may_power_off=not arguments.command)
            return Piped(machine, 0, 1, 2, arguments.timeout, listen)

        verbose = arguments.console and not console
        if arguments.trace:
            from .trace import prepare
            prepare(arguments.trace)
        deaths = None if console else Deaths(job.additions)
        outcome = converse(config, folder, make, verbose, deaths)
        if config.trace:
            from .trace import split
            say(str(split(config.trace, arguments.trace)))
        return conclude(outcome, folder, config.kernel, shown=verbose)


def boot(arguments: argparse.Namespace) -> int:
    direct = arguments.direct
    own = direct or arguments.append or arguments.kernel or arguments.core or arguments.swap
    if own:
        build(KERNEL, ROOT_CPIO)
    else:
        build(ISO)
    with workspace() as folder:
        arguments.iso = not direct
        if own:
            initrd = ROOT_CPIO
            if swap := swap_disk(arguments):
                initrd = Job([], console=True, swap=swap).write_initrd(folder / "root.cpio")
            config = make_config(arguments, initrd, folder)
        else:
            config = Config(iso=ISO, route="uefi" if arguments.uefi else "bios",
                            smp=arguments.smp, memory=arguments.mem or DEFAULT_MEMORY, icount=arguments.icount,
                            gdb=arguments.gdb or arguments.gdb_port is not None, gdb_port=arguments.gdb_port,
                            disks=disks(arguments, folder), extra=arguments.qemu)

        def make(machine: Machine, listen: Callable[[bytes], None]) -> Session:
            return OnConsole(machine, 0, 1, arguments.timeout, listen, show_boot=True)

        outcome = converse(config, folder, make, verbose=False)
        if outcome.why is None:
            if outcome.ran:
                outcome.status = 0  # the shell's own status says nothing about the machine
            else:
                outcome.why = "the shell could not be started"
        return conclude(outcome, folder, config.kernel, shown=True)


# ---- Images and symbols --------------------------------------------------------------------


def image(arguments: argparse.Namespace) -> int:
    from .rootfs import build_root
    archive = build_root(arguments.program)
    if arguments.output:
        arguments.output.write_bytes(archive)
    if arguments.ext2:
        from .ext2 import make
        make(arguments.ext2, arguments.size, archive)
    if not arguments.output and not arguments.ext2:
        raise ToolError("image: --ext2 FILE or -o FILE?")
    return 0


def iso(arguments: argparse.Namespace) -> int:
    from .iso import make_iso
    make_iso(arguments.output, KERNEL, ROOT_CPIO)
    return 0


def symbolize_stdin(arguments: argparse.Namespace) -> int:
    from .symbols import symbolize
    sys.stdout.write(symbolize(sys.stdin.read(), arguments.kernel))
    return 0


# ---- Traces --------------------------------------------------------------------------------


def trace_words(arguments: argparse.Namespace) -> list[str]:
    if not getattr(arguments, "trace", None):
        return []
    from .trace import trace_words as words_of
    return words_of(arguments.trace_only, arguments.trace_full, arguments.trace_buffer)


def convert_trace(arguments: argparse.Namespace) -> int:
    if arguments.points:
        from .trace import table
        sys.stdout.write(table())
    if arguments.perfetto:
        from .perfetto import convert
        if arguments.folder is None:
            raise ToolError("trace --perfetto: which folder?")
        output = arguments.output or arguments.folder.with_suffix(".json")
        say(f"{convert(arguments.folder, output)} events are in {output}")
    elif not arguments.points:
        raise ToolError("trace: --perfetto or --points? For text, babeltrace2 DIR")
    return 0


# ---- The benchmark -------------------------------------------------------------------------


def bench(arguments: argparse.Namespace) -> int:
    from . import bench as benchmark
    if arguments.kernel:
        kernels = {"spork": arguments.kernel}
    else:
        kernels = benchmark.default_kernels(not arguments.only)
    from .bench_paging import bench_paging
    if arguments.paging:
        bench_paging(kernels, not arguments.spork_only, arguments.qemu, arguments.timeout)
        return 0
    benchmark.bench(arguments.sizes or list(benchmark.SIZES), arguments.only, kernels, not arguments.spork_only,
                    arguments.qemu, arguments.timeout)
    if not arguments.only:
        bench_paging(kernels, not arguments.spork_only, arguments.qemu, arguments.timeout)
    return 0


# ---- The explorer --------------------------------------------------------------------------


def make_page(arguments: argparse.Namespace) -> int:
    from .explore import PAGE, explore, keep_wrong
    build(KERNEL, ROOT_CPIO)
    if arguments.keep_wrong:
        keep_wrong(arguments.scenario)
        return 0
    explore(arguments.scenario, arguments.cmd, arguments.output or PAGE)
    return 0


# ---- Commands ------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="tools/spork", description="""\
Spork's machines and images. Begin with `tools/spork run`, a shell on the kernel, or `tools/spork run -- uname -a`,
one command on it; `tools/spork help COMMAND` tells the options.""")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    each = commands.add_parser("run", help="run a command on the kernel", description=RUN_HELP,
                               usage="tools/spork run [OPTION ...] [--] [COMMAND ...]")
    add_machine_options(each)
    each.add_argument("--iso", action="store_true", help="boot an ISO by GRUB under BIOS")
    each.add_argument("--add", action="append", default=[], metavar="HOST[:GUEST]",
                      help="put a file or folder into the root file system (as /NAME)")
    each.add_argument("--add-with-libs", action="append", default=[], metavar="HOST[:GUEST]",
                      help="put a program of this machine, with its loader and libraries, or a "
                      "folder of programs, at the paths that they have here, or it at GUEST")
    each.add_argument("--env", action="append", default=[], metavar="K=V", help="set a variable")
    each.add_argument("--trace", type=Path, metavar="DIR",
                      help="record what happens as a CTF trace in DIR (babeltrace2 DIR shows it)")
    each.add_argument("--trace-only", default="all", metavar="CATEGORY,...",
                      help="record these categories of events alone (docs/trace.md)")
    each.add_argument("--trace-full", choices=("drain", "drop"), default="drain",
                      help="when a processor's buffer is full: write it out while the processor "
                      "waits, or drop and count further events")
    each.add_argument("--trace-buffer", type=int, metavar="KIB", help="its size (256)")
    each.add_argument("--check", action="store_true",
                      help="check the rules of address spaces after each change and each page fault")
    each.add_argument("--cwd", metavar="DIR", help="the command's working directory")
    each.add_argument("-v", "--console", action="store_true", help="show what the kernel prints")
    each.add_argument("command", nargs=argparse.REMAINDER, metavar="[--] COMMAND...")
    each.set_defaults(action=run)

    each = commands.add_parser("boot", help="boot the ISO with its menu, on this terminal")
    add_machine_options(each)
    each.add_argument("--direct", action="store_true", help="boot the kernel without GRUB")
    each.set_defaults(action=boot)

    each = commands.add_parser("explore", help="make the page that shows scenarios step by step")
    each.add_argument("--scenario", action="append", default=[], metavar="NAME",
                      help="only this one; may be repeated")
    each.add_argument("--cmd", default="", metavar="COMMAND", help="a command of your own, as well")
    each.add_argument("--keep-wrong", action="store_true",
                      help="no page: run what runs on wrong kernels, and keep what was recorded in tools/explore/wrong")
    each.add_argument("-o", "--output", type=Path, metavar="FILE")
    each.set_defaults(action=make_page)

    each = commands.add_parser("image", help="make the root file system, as an archive or on a disk")
    each.add_argument("-o", "--output", type=Path, metavar="FILE", help="a cpio archive, as QEMU's -initrd takes it")
    each.add_argument("--ext2", type=Path, metavar="FILE",
                      help="a disk with an ext2: --disk FILE --append root=/dev/vda boots from it")
    each.add_argument("--size", default="64M", metavar="SIZE", help="of that disk (64M)")
    each.add_argument("--program", type=Path, action="append", default=[])
    each.set_defaults(action=image)

    each = commands.add_parser("iso", help="make the ISO for BIOS and UEFI")
    each.add_argument("-o", "--output", type=Path, required=True)
    each.set_defaults(action=iso)

    each = commands.add_parser("trace", help="convert a trace; list the trace points")
    each.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="what run --trace made")
    each.add_argument("--perfetto", action="store_true",
                      help="make a picture for ui.perfetto.dev or chrome://tracing")
    each.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to (DIR.json)")
    each.add_argument("--points", action="store_true", help="print the table of trace points")
    each.set_defaults(action=convert_trace)

    each = commands.add_parser("symbolize", help="add functions and lines to a panic's text")
    each.add_argument("--kernel", type=Path, default=KERNEL)
    each.set_defaults(action=symbolize_stdin)

    each = commands.add_parser(
        "bench", help="measure process creation on Spork and on Linux (make bench builds first)")
    each.add_argument("--sizes", type=lambda text: [int(word) for word in text.split(",")],
                      metavar="MIB,...", help="sizes of the parent")
    each.add_argument("--only", type=lambda text: text.split(","), default=[], metavar="NAME,...",
                      help="measure these alone, and write no files of results")
    each.add_argument("--paging", action="store_true", help="measure what goes to swap and comes back, alone")
    each.add_argument("--spork-only", action="store_true", help="leave Linux out")
    each.add_argument("--kernel", type=Path, metavar="FILE", help="measure this Spork kernel")
    each.add_argument("--timeout", type=float, default=1800, metavar="S",
                      help="seconds until a machine is ended")
    each.add_argument("--qemu", action="append", default=[], metavar="OPTION",
                      help="a further QEMU option for Spork's machine")
    each.set_defaults(action=bench)
    return top


def main(argv: list[str]) -> int:
    if not argv or argv[0] == "help":  # the words that there are, and not that one is missing
        argv = [*argv[1:], "--help"]
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.action(arguments))
    except ToolError as error:
        say(str(error))
    except OSError as error:
        say(refused(error))
    return FAILURE_STATUS
