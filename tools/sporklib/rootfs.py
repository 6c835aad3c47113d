"""The root file system: busybox and its links, bash, init, /etc, the project's programs."""
from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .cpio import Archive
from .paths import ToolError, cross_tool
from .programs import static_program

DIRECTORIES = (
    "/bin", "/sbin", "/usr", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/local",
    "/usr/local/bin", "/etc",
    "/dev", "/proc", "/home", "/mnt", "/var", "/var/log", "/run", "/tests", "/demos",
    "/explore",
)

ETC = {
    "hostname": "spork\n",
    "passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "daemon:x:1:1:daemon:/:/bin/false\n"
    "student:x:1000:1000:student:/home/student:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/:/bin/false\n",
    "group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\ndisk:x:6:\nstudent:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n",
    "shells": "/bin/sh\n/bin/ash\n/bin/bash\n",
    "os-release": 'NAME=Spork\nID=spork\nPRETTY_NAME="Spork"\n',
    "profile": "export PATH=/usr/local/bin:/sbin:/usr/sbin:/bin:/usr/bin\n"
    "export PS1='\\u@\\h:\\w\\$ '\n"
    "umask 022\n",
}


def busybox_links(busybox: Path) -> list[str]:
    """The paths under which busybox offers its applets, as it lists them itself."""
    emulator = []
    if platform.machine() != "x86_64":
        emulator = [shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static") or "qemu-x86_64"]
    listing = subprocess.run([*emulator, busybox, "--list-full"], capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        raise ToolError(f"{busybox} does not run here: {listing.stderr.strip()}")
    skipped = {"/sbin/init", "/linuxrc", "/bin/busybox"}
    return sorted({"/" + line.strip("/") for line in listing.stdout.split()} - skipped)


def _without_debug(programs: list[Path]) -> Iterator[tuple[Path, bytes]]:
    """Programs with their contents, less what only a debugger reads: GDB has it from here."""
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / f"{number}-{program.name}" for number, program in enumerate(programs)]
        for program, copy in zip(programs, copies):
            shutil.copyfile(program, copy)
        if copies:
            subprocess.run([cross_tool("strip"), "--strip-debug", "-p", *copies], check=True)
        for program, copy in zip(programs, copies):
            yield program, copy.read_bytes()


def build_root(programs: list[Path]) -> bytes:
    """The archive of the base system. The folder of each program says where it goes: init to
    /sbin, bin to /usr/local/bin, tests to /tests, demos to /demos,
    explore to /explore."""
    busybox = static_program("/bin/busybox", "/usr/bin/busybox", "/sbin/busybox")
    if busybox is None:
        raise ToolError("there is no static busybox for x86-64: run tools/setup run")
    archive = Archive()
    for path in DIRECTORIES:
        archive.directory(path)
    archive.directory("/root", 0o700)
    archive.directory("/home/student")
    archive.directory("/tmp", 0o1777)
    archive.directory("/var/tmp", 0o1777)
    for name, text in ETC.items():
        archive.file(f"/etc/{name}", text.encode())
    archive.symlink("/etc/mtab", "/proc/mounts")
    for name in ("lib", "lib64"):
        archive.symlink(f"/{name}", f"usr/{name}")  # programs name libraries by either path

    archive.file("/bin/busybox", busybox.read_bytes(), 0o755)
    for link in busybox_links(busybox):
        archive.symlink(link, "busybox" if link.startswith("/bin/") else "/bin/busybox")
    bash = static_program("/bin/bash-static", "/usr/bin/bash-static")
    if bash is not None:
        archive.file("/bin/bash", bash.read_bytes(), 0o755)

    places = {"init": "/sbin", "bin": "/usr/local/bin", "tests": "/tests", "demos": "/demos",
              "explore": "/explore"}
    for program, contents in _without_debug(sorted(programs)):
        archive.file(f"{places[program.parent.name]}/{program.name}", contents, 0o755)
    archive.symlink("/bin/tour", "/demos/tour")
    return archive.finish()
