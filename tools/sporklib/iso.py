"""Makes GRUB images of the kernel and its root file system."""
from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from .cpio import TIME
from .paths import ROOT, ToolError, cross_tool

GRUB_CFG = ROOT / "boot" / "grub.cfg"
PLATFORMS = {"bios": "i386-pc", "uefi": "x86_64-efi"}


def _menu(words: str | None) -> str:
    """GRUB's configuration: the menu, or one that boots at once with `words` for the kernel."""
    text = GRUB_CFG.read_text()
    if words is None:
        return text
    text = re.sub(r"^set timeout=.*$", "set timeout=0", text, flags=re.M)
    return re.sub(r"(multiboot2 /boot/spork\.elf).*$", rf"\1 {words}", text, count=1, flags=re.M)


# GRUB 2.12 finds its file system by a file, which it calls by the second in which it makes the image.
GRUB_NAME = time.strftime("%Y-%m-%d-%H-%M-%S-00", time.gmtime(TIME))
RENAME = rf"""
for folder; do
    for file in "$folder"/.disk/*.uuid; do
        [ -e "$file" ] || continue
        name=$(basename "$file" .uuid)
        grep -rlFZ "$name" "$folder" | LC_ALL=C xargs -0 sed -i "s/$name/{GRUB_NAME}/g"
        [ "$name" = {GRUB_NAME} ] || mv "$file" "$folder/.disk/{GRUB_NAME}.uuid"
    done
done"""


def _same_each_time(folder: Path) -> dict[str, str]:
    """The environment in which the tools make the same image each time: of one date, with the FAT file
    system in it having one number, which grub-mkrescue does not tell mformat."""
    folder.mkdir()
    for name, before, options in (("mformat", "", f"-N {TIME:x}"), ("xorriso", RENAME, "")):
        tool = shutil.which(name)
        if tool is None:
            raise ToolError(f"{name} is not installed: run tools/setup run")
        wrapper = folder / name
        wrapper.write_text(f'#!/bin/sh{before}\nexec {shlex.quote(tool)} {options} "$@"\n')
        wrapper.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return os.environ | {"PATH": path, "SOURCE_DATE_EPOCH": str(TIME), "TZ": "UTC0"}


def make_iso(
    output: Path,
    kernel: Path,
    root: Path,
    words: str | None = None,
    firmware: str | None = None,
) -> None:
    """Writes the image. With `firmware` ("bios" or "uefi") it is for that one and small; without,
    for both. With `words` GRUB does not wait, and hands them to the kernel."""
    tool = shutil.which("grub-mkrescue") or shutil.which("grub2-mkrescue")
    if tool is None:
        raise ToolError("grub-mkrescue is not installed: run tools/setup run")
    with tempfile.TemporaryDirectory(dir=output.parent, prefix="iso-") as folder:
        boot = Path(folder) / "tree" / "boot"
        (boot / "grub").mkdir(parents=True)
        strip = [cross_tool("objcopy"), "--strip-debug", str(kernel), str(boot / "spork.elf")]
        subprocess.run(strip, check=True)
        shutil.copyfile(root, boot / "root.cpio")
        (boot / "grub" / "grub.cfg").write_text(_menu(words))
        image = Path(folder) / "image.iso"
        date = time.strftime("%Y%m%d%H%M%S00", time.gmtime(TIME))
        command = [tool, "-o", str(image), "--locales=", "--fonts=", "--themes=",
                   f"--modification-date={date}"]  # which is GRUB's name of the file system, too
        if firmware is not None:
            for parent in ("/usr/lib/grub", "/usr/share/grub"):
                if (Path(parent) / PLATFORMS[firmware]).is_dir():
                    command += ["-d", f"{parent}/{PLATFORMS[firmware]}"]
        command += [str(boot.parent), "--", "-volume_date", "all_file_dates", f"={TIME}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              env=_same_each_time(Path(folder) / "bin"))
        if done.returncode != 0 or not image.exists():
            raise ToolError(f"grub-mkrescue failed:\n{done.stderr}")
        image.replace(output)
