"""What make release lays out: it boots in any QEMU, and tools/spork runs from it without a compiler."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest
from guest import LIMIT, ROOT


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked archive, far from the tree."""
    said = subprocess.run(["tools/release"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folder: Path = tmp_path_factory.mktemp("somewhere else")
    subprocess.run(["tar", "-C", folder, "-xzf", ROOT / said.split()[-1]], check=True)
    unpacked, = folder.iterdir()
    return unpacked


def test_checksums(release: Path) -> None:
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=release, check=True)


@pytest.mark.long
def test_plain_qemu_boots_the_iso(release: Path) -> None:
    line = "qemu-system-x86_64 -m 256 -smp 2 -nographic -cdrom"
    assert line in (release / "README.md").read_text()
    machine = pexpect.spawn(f"{line} {release.name}.iso", cwd=str(release), timeout=LIMIT)
    machine.expect_exact("root@spork:~# ")
    machine.send(b"echo $((6 * 7)) $(grep -c ^processor /proc/cpuinfo)\r")
    machine.expect_exact("\n42 2\r")
    machine.send(b"exit\r")
    machine.expect(pexpect.EOF)
    machine.close()
    assert machine.exitstatus == 0


def test_run_with_qemu_and_python_alone(release: Path, tmp_path: Path) -> None:
    for name in ("qemu-system-x86_64", "python3"):
        (tmp_path / name).symlink_to(Path(shutil.which(name) or "").resolve())
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SPORK_", "PYTHON"))}
    done = subprocess.run([release / "tools" / "spork", "run", "--timeout", str(LIMIT), "--", "cat"],
                          input=b"hi\n", capture_output=True, cwd=release, check=False, timeout=LIMIT + 30,
                          env=environment | {"PATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hi\n", b"")
