"""One QEMU: its command line, its life, and why it ended.

Both serial lines and QEMU's monitor are socket pairs, so nothing has to be found or cleaned up in
the file system. QEMU is killed when this process ends, in whatever way.
"""
from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

from .paths import BUILD, KERNEL, ROOT, SANITIZE, ToolError, ovmf, qboot

DEFAULT_MEMORY = "384M" if SANITIZE == "address" else "256M"  # a quarter is what it knows of the rest
MIB = 1 << 20
KERNEL_MIB = 5  # what a shell needs besides the initrd
DUMP_LIMIT = 60.0  # seconds for a core file
CORE_LIMIT = 512 * MIB  # of what is in it
UNITS = {"K": 1 << 10, "M": MIB, "G": 1 << 30}

Route = Literal["direct", "bios", "uefi"]
BOOT_MIB: dict[Route, int] = {"direct": 0, "bios": 4, "uefi": 64}  # firmware's and GRUB's share at boot


@dataclass
class Config:
    """What machine to make. The direct route takes kernel, initrd and words; the others an ISO."""

    kernel: Path = KERNEL
    initrd: Path | None = None
    words: str = ""
    iso: Path | None = None
    route: Route = "direct"
    smp: int = 2
    memory: str = DEFAULT_MEMORY
    icount: bool = False
    gdb: bool = False
    gdb_port: int | None = None  # a free one
    trace: Path | None = None  # where what comes through the trace port goes
    core: Path | None = None  # where a core file goes when the kernel panics or the time is up
    disks: list[Path] = field(default_factory=list)  # raw files: /dev/vda, /dev/vdb, ...
    extra: list[str] = field(default_factory=list)


@dataclass
class End:
    """How QEMU ended: its exit status, and the guest's reason if it was the guest that stopped."""

    status: int
    reason: str | None

    @property
    def failed(self) -> bool:
        """The kernel wrote to the debug-exit port, which makes QEMU's status odd: it panicked, or a
        test inside it failed."""
        return self.status > 0 and self.status % 2 == 1

    @property
    def powered_off(self) -> bool:
        return self.status == 0 and self.reason == "guest-shutdown"

    @property
    def reset(self) -> bool:
        """The guest asked for a reset, or lost itself in a triple fault."""
        return self.status == 0 and self.reason == "guest-reset"


def bytes_of(text: str, option: str) -> int:
    """A size as options have it."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text.upper())
    if not match:
        raise ToolError(f"{option} {text}: a size is a number with K, M (or nothing) or G behind it")
    return int(match[1]) * UNITS[match[2] or "M"]


def memory_for(wanted: str | None, initrd_size: int, route: Route = "direct") -> str:
    """The memory for a machine: what is wanted, else enough for the initrd and to work in.

    The kernel takes the initrd's pages for the files that it makes of them, so the initrd is in memory
    once. What cannot hold it is refused here: the machine would only reset itself, or GRUB boot without it.
    """
    least = initrd_size // MIB + KERNEL_MIB + BOOT_MIB[route]
    if wanted is None:
        usual = int(DEFAULT_MEMORY.rstrip("M"))
        return DEFAULT_MEMORY if 4 * initrd_size <= usual * MIB else f"{least + initrd_size // MIB + usual // 2}M"
    if bytes_of(wanted, "--mem") < least * MIB:
        raise ToolError(f"the root file system does not fit into {wanted}: --mem {least}M or more")
    return wanted


def known_words() -> dict[str, str]:
    """The words of the kernel's command line, as kernel/base/cmdline.h declares them; without the
    sources, none."""
    header = ROOT / "kernel" / "base" / "cmdline.h"
    if not header.exists():
        return {}
    rows: list[tuple[str, str]] = re.findall(r'^\s*X\("([^"]+)",\s*((?:"[^"]*"[\s\\]*)+)\)', header.read_text(),
                                             re.MULTILINE)
    return {word: "".join(re.findall(r'"([^"]*)"', about)) for word, about in rows}


def check_words(words: str) -> None:
    """A word that the kernel does not know is a slip of the fingers; but it may be for an init of one's
    own."""
    known = {} if "init=" in words else known_words()
    for word in words.split():
        name, equals, value = word.partition("=")
        if not known:
            continue
        if name + equals not in known:
            listing = "".join(f"\n  {each:16} {about}" for each, about in known.items())
            raise ToolError(f"the kernel's command line knows no word {word}. It knows:{listing}")
        about = known[name + equals]
        choices = re.findall("`([^`]+)`", about) if about.startswith("`") else []
        if equals and (choices and value not in choices or about.startswith("a number") and not value.isdigit()):
            raise ToolError(f"{word}: {name} is {about}")
        if word == f"trace={value}":
            from .trace import check_categories
            check_categories(value)


def run_folder() -> Path:
    """A new folder for one run's files, under build/run or the system's temporary folder."""
    parent = BUILD / "run"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
    except OSError:
        return Path(tempfile.mkdtemp(prefix="spork-"))


def in_option(path: Path) -> str:
    """A path within a QEMU option, where a comma ends a value and two stand for one."""
    return str(path).replace(",", ",,")


def _die_with_parent() -> None:
    """Runs in the new process before QEMU: asks Linux to kill it when its parent ends."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Machine:
    """A running machine. Use it in a with statement; leaving that ends it."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.gdb_port = (config.gdb_port or _free_port()) if config.gdb else None
        self.console, console_far = socket.socketpair()
        self.channel, channel_far = socket.socketpair()
        self.monitor, monitor_far = socket.socketpair()
        self._reason: str | None = None
        self._monitor_text = b""
        far_ends = (console_far, channel_far, monitor_far)
        command = self._command(*(far.fileno() for far in far_ends))
        self.log = folder / "qemu.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[far.fileno() for far in far_ends],
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        for far in far_ends:
            far.close()
        for near in (self.console, self.channel, self.monitor):
            near.setblocking(False)
        self.monitor.send(b'{"execute": "qmp_capabilities"}\n')  # events come only after it

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        for near in (self.console, self.channel, self.monitor):
            near.close()

    def _command(self, console: int, channel: int, monitor: int) -> list[str]:
        config = self.config
        qemu = shutil.which("qemu-system-x86_64")
        if qemu is None:
            raise ToolError("qemu-system-x86_64 is not installed: run tools/setup run")
        command = [qemu, "-M", "pc", "-nodefaults", "-display", "none", "-vga", "none",
                   "-net", "none", "-no-reboot", "-m", config.memory, "-cpu", "max,la57=off",
                   "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        for name, fd in (("com1", console), ("com2", channel)):
            command += ["-chardev", f"socket,id={name},fd={fd}", "-serial", f"chardev:{name}"]
        command += ["-chardev", f"socket,id=qmp,fd={monitor}", "-mon", "chardev=qmp,mode=control"]
        if config.icount:
            command += ["-accel", "tcg,thread=single", "-smp", "1", "-seed", "1",
                        "-icount", "shift=0,sleep=off",
                        "-rtc", "base=2024-01-01T00:00:00,clock=vm"]
        else:
            command += ["-accel", "tcg,thread=multi", "-smp", str(config.smp)]
        command += self._boot_options()
        for number, path in enumerate(config.disks):
            command += ["-drive", f"file={in_option(path)},format=raw,if=none,id=disk{number}",
                        "-device", f"virtio-blk-pci,drive=disk{number}"]
        if config.trace is not None:
            command += ["-chardev", f"file,id=trace,path={in_option(config.trace)}",
                        "-device", "isa-debugcon,iobase=0xeb,readback=0xeb,chardev=trace"]
        if self.gdb_port is not None:
            command += ["-gdb", f"tcp:127.0.0.1:{self.gdb_port}", "-S"]
        return command + config.extra

    def _boot_options(self) -> list[str]:
        config = self.config
        if config.route == "direct":
            options = ["-kernel", str(config.kernel)]
            firmware = qboot()
            if firmware is not None:
                options += ["-bios", str(firmware)]
            if config.initrd is not None:
                options += ["-initrd", str(config.initrd)]
            if config.words:
                options += ["-append", config.words]
            return options
        if config.iso is None:
            raise ToolError("this route needs an ISO")
        options = ["-cdrom", str(config.iso), "-boot", "d"]
        if config.route == "uefi":
            code, variables = ovmf()
            mine = self.folder / "uefi-variables.fd"
            shutil.copyfile(variables, mine)
            options += ["-drive", f"if=pflash,format=raw,readonly=on,file={in_option(code)}",
                        "-drive", f"if=pflash,format=raw,file={in_option(mine)}"]
        return options

    def read_monitor(self) -> bool:
        """Takes in what QEMU has to report; false when it has hung up."""
        try:
            data = self.monitor.recv(65536)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._monitor_text += data
        *lines, self._monitor_text = self._monitor_text.split(b"\n")
        for line in lines:
            event = json.loads(line)
            if event.get("event") == "SHUTDOWN":
                self._reason = event["data"].get("reason")
        return bool(data)

    def interrupt(self) -> bool:
        """Interrupts the kernel by an NMI on every processor: it panics, and says what each one and each
        thread was doing. Not under a debugger, which may have stopped it."""
        if self.gdb_port is not None or self.process.poll() is not None:
            return False
        try:
            self.monitor.send(b'{"execute": "inject-nmi"}\n')
        except OSError:
            return False
        return True

    def dump_core(self) -> None:
        """Writes config.core, if there is to be one: the memory and the registers, by the addresses that the
        kernel uses, as GDB takes them. What holds zeros takes no room. Then there is nothing to go on for."""
        core = self.config.core
        if core is None or self.process.poll() is not None:
            return
        part = core.with_suffix(".part")
        part.unlink(missing_ok=True)
        core.parent.mkdir(parents=True, exist_ok=True)
        ask = {"execute": "dump-guest-memory", "id": "core",
               "arguments": {"paging": True, "protocol": f"file:{part.absolute()}"}}
        try:
            self.monitor.setblocking(True)
            self.monitor.settimeout(DUMP_LIMIT)
            self.monitor.sendall(json.dumps(ask).encode() + b"\n")
            said = b""
            while b'"id": "core"' not in said:
                if not (more := self.monitor.recv(65536)):
                    raise ToolError("QEMU ended")
                said += more
            if b'"error"' in said:
                raise ToolError(said.decode(errors="replace").strip().splitlines()[-1])
            _copy_without_zeros(part, core)
        except (OSError, ToolError) as error:
            print(f"spork: no core file: {error}", file=sys.stderr, flush=True)
        finally:
            part.unlink(missing_ok=True)
            self.monitor.setblocking(False)
        self.kill()

    def kill(self) -> None:
        """Ends QEMU at once, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def wait(self, timeout: float) -> End:
        """How QEMU ended; call it once it has hung up. Kills it after `timeout` seconds."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        said = self.log.read_text(errors="replace").strip()
        if self.process.returncode == 1 and said.startswith("qemu"):
            raise ToolError(f"QEMU did not start:\n{said}")
        return End(self.process.returncode, self._reason)


def gdb_on(*what: str | Path) -> str:
    """The command that has GDB look at something, as a shell wants it."""
    import shlex
    return shlex.join(["gdb", *map(str, what)])


def gdb_on_core(kernel: Path, core: Path) -> str:
    """The same for a core file, with Spork's commands."""
    commands = ROOT / "tools" / "gdb" / "spork.py"
    return gdb_on(kernel, core, *(["-x", str(commands)] if commands.exists() else []))


def _copy_without_zeros(source: Path, target: Path) -> None:
    """A copy with holes where nothing is, of CORE_LIMIT bytes of contents at most."""
    block, written = 1 << 16, 0
    zeros = bytes(block)
    with source.open("rb") as dump, target.open("wb") as copy:
        while data := dump.read(block):
            if data == zeros:
                copy.seek(block, os.SEEK_CUR)
                continue
            written += len(data)
            if written > CORE_LIMIT:
                target.unlink()
                raise ToolError(f"it would take more than {CORE_LIMIT // MIB} MiB")
            copy.write(data)
        copy.truncate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
