"""ext2: images that mke2fs has made, what Spork does with them, and what e2fsck and debugfs say of it then."""
from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from guest import Ended, Terminal, spork, succeeds
from odd_disks import attached, faulty, raw, slow
from sporklib import ext2
from sporklib.cpio import Archive
from sporklib.paths import ROOT_CPIO

KIB, MIB = 1 << 10, 1 << 20


def image(path: Path, block: int, size: str = "96M", tree: Archive | None = None, *options: str) -> Path:
    ext2.make(path, size, tree.finish() if tree else b"", "-b", str(block), *options)
    return path


def script(disk: Path, text: str, *options: str) -> Ended:
    return spork("sh", "-c", text, options=("--disk", str(disk), *options))


def clean(disk: Path) -> None:
    """What e2fsck finds nothing wrong with, and what was unmounted."""
    done = subprocess.run([ext2.tool("e2fsck"), "-fn", disk], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Filesystem state:         clean\n" in ext2.call("dumpe2fs", "-h", disk)


def sums_on_host(disk: Path, folder: Path) -> dict[str, str]:
    """The MD5 sums of all regular files of an image, by path."""
    folder.mkdir()
    ext2.call("debugfs", "-R", f"rdump / {folder}", disk)
    paths = [Path(at) / name for at, _, names in os.walk(folder) for name in names]
    return {f"./{path.relative_to(folder)}": hashlib.md5(path.read_bytes()).hexdigest()
            for path in paths if not path.is_symlink() and path.is_file()}


def sums_in(text: str) -> dict[str, str]:
    """What md5sum has printed."""
    return {path: digest for digest, path in re.findall(r"^([0-9a-f]{32})  (.*)$", text, re.MULTILINE)}


def tree() -> Archive:
    made = Archive()
    made.directory("/folder", 0o750)
    made.file("/folder/text", b"".join(b"%d\n" % n for n in range(30000)))
    made.file("/set", b"#!/bin/sh\n", 0o6755)
    made.symlink("/short", "folder/text")
    made.symlink("/long", "folder/" + "./" * 60 + "text")
    return made


SUMS = "find . -type f -print0 | sort -z | xargs -0 md5sum"


@pytest.mark.parametrize("block", [1 * KIB, pytest.param(2 * KIB, marks=pytest.mark.long),
                                   pytest.param(4 * KIB, marks=pytest.mark.long)])
def test_files(tmp_path: Path, block: int) -> None:
    """What is on a disk is read; a program changes it at length; e2fsck and debugfs see the same."""
    disk = image(tmp_path / "a.raw", block, "96M", tree())
    ended = script(disk, f"""
        set -e
        mount -o ro /dev/vda /mnt
        cd /mnt; {SUMS}; md5sum short long
        stat -c '%n %a %U %h' folder set; readlink short
        touch x 2>&1 | grep -o 'Read-only.*'
        cd /; mount -o remount,rw /mnt; cd /mnt
        mkdir stress; /tests/file_stress stress {block} keep
        mkfifo fifo; mknod null c 1 3; mknod big b 300 70000
        chown 70000:80000 set; chmod 641 set; touch -d @1234567890 set
        # Behind the first 64 MiB lie the blocks of three levels, where blocks are small.
        seq 1 100000 | dd of=far bs=1M seek=66 2>/dev/null
        cp folder/text copy; truncate -s 1000 copy; seq 1 9 | dd of=gone bs=1M seek=66 2>/dev/null; rm gone
        {SUMS}
        echo 'behind 2 GiB' | dd of=large bs=1M seek=3000 2>/dev/null; tail -c 13 large
        cd /; umount /mnt; echo over
        """)
    assert ended.status == 0 and ended.text.endswith("over\n"), (ended.text[-2000:], ended.err)
    before, _, after = ended.text.partition("Read-only")
    contents = {path: hashlib.md5(data).hexdigest() for path, data in (
        ("./folder/text", b"".join(b"%d\n" % n for n in range(30000))), ("./set", b"#!/bin/sh\n"))}
    assert sums_in(before) == {**contents, "short": contents["./folder/text"], "long": contents["./folder/text"]}
    assert "\nfolder 750 root 2\nset 6755 root 1\nfolder/text\n" in before
    assert "not ok" not in after and "ok 3 -" in after, after
    clean(disk)
    assert "\nbehind 2 GiB\nover" in after
    ext2.call("debugfs", "-w", "-R", "rm large", disk)
    assert sums_on_host(disk, tmp_path / "out") == sums_in(after)
    assert "large_file" in ext2.call("dumpe2fs", "-h", disk)
    said = ext2.call("debugfs", "-f", "-", disk, stdin="stat set\nstat big\nstat null\n")
    assert re.search(r"Mode: +0641.*User: 70000 +Group: 80000", said, re.DOTALL), said
    assert "mtime: 0x499602d2" in said
    assert "Device major/minor number: 300:70000" in said and "Device major/minor number: 01:03" in said


@pytest.mark.long
def test_ten_thousand_names(tmp_path: Path) -> None:
    made = Archive()
    made.directory("/d")
    for n in range(10000):
        made.file(f"/d/name-{n}", b"")
    disk = image(tmp_path / "a.raw", 4 * KIB, "32M", made, "-N", "12000")
    text = succeeds("sh", "-ec", """
        mount -t ext2 /dev/vda /mnt; cd /mnt/d
        ls | sort | md5sum
        i=0; while [ $i -lt 10000 ]; do echo name-$i; i=$((i + 20)); done | xargs rm
        i=0; while [ $i -lt 10000 ]; do : >a-longer-name-$i; i=$((i + 40)); done
        ls | wc -l; cd /; rm -r /mnt/d; stat -f -c '%d' /mnt; umount /mnt
        """, options=("--disk", str(disk)))
    names = sorted(f"name-{n}\n" for n in range(10000))
    digest = hashlib.md5("".join(names).encode()).hexdigest()
    assert text.split() == [digest, "-", str(10000 - 500 + 250), "11989"], text
    clean(disk)


def test_full(tmp_path: Path) -> None:
    """The last blocks are the superuser's; what is removed is free again; blocks and inodes run out with ENOSPC."""
    disk = image(tmp_path / "a.raw", 1 * KIB, "4M", None, "-m", "20", "-N", "64")
    text = succeeds("sh", "-c", """
        mount -t ext2 /dev/vda /mnt; chmod 777 /mnt
        stat -f -c 'free %f for others %a' /mnt
        su student -c 'cat /dev/zero >/mnt/a' 2>&1 | grep -o 'No space.*'
        stat -f -c 'then %f %a' /mnt
        cat /dev/zero 2>/dev/null >/mnt/b; stat -f -c 'then %f %a' /mnt
        exec 3</mnt/a; rm /mnt/a /mnt/b; exec 3<&-
        sleep 1; stat -f -c 'at last %f %a' /mnt
        i=0; while : >/mnt/$i; do i=$((i + 1)); done 2>&1 | grep -o 'No space.*'
        rm /mnt/[0-9]*; umount /mnt
        """, options=("--disk", str(disk)))
    lines = text.splitlines()
    free, others = (int(n) for n in re.findall(r"\d+", lines[0]))
    assert free - others == 819
    full = "No space left on device"
    left = [int(line.split()[1]) for line in lines if line.startswith("then")]
    assert 819 <= left[0] < 824 and left[1] < 4, text  # a page is written whole, or not
    assert [line for line in lines[1:] if "then" not in line] == [full, f"at last {free} {others}", full], text
    clean(disk)


def test_what_is_cut_off_is_free(tmp_path: Path) -> None:
    """Blocks of numbers, too, more than may wait for the disk: for who counts, and for who wants all of them."""
    disk = image(tmp_path / "a.raw", 1 * KIB, "24M")
    text = succeeds("sh", "-c", """
        mount -t ext2 /dev/vda /mnt; cd /mnt; : >a; : >b
        stat -f -c %f .; cat /dev/zero 2>/dev/null >a; stat -f -c %f .; stat -c %s a
        truncate -s 5 a; truncate -s 0 a; stat -f -c %f .
        cat /dev/zero 2>/dev/null >b; stat -c %s b
        truncate -s 0 b; cat /dev/zero 2>/dev/null >a; stat -c %s a; truncate -s 0 a; cd /; umount /mnt
        """, options=("--disk", str(disk)))
    free, left, size, again, second, third = (int(line) for line in text.splitlines())
    assert left < 4 and size > 66 * 256 * KIB, text
    assert again == free and size == second == third, text
    clean(disk)


def test_mounts(tmp_path: Path) -> None:
    """Busy, twice, remounted, guessed, and of what is no disk."""
    disk = image(tmp_path / "a.raw", 4 * KIB, "8M", tree())
    text = succeeds("sh", "-c", """
        grep ext2 /proc/filesystems
        mount /dev/vda /mnt && grep vda /proc/mounts
        mount -t ext2 /dev/vda /home 2>&1 | grep -o 'busy'
        swapon /dev/vda 2>&1 | grep -o 'busy'
        cd /mnt; umount /mnt 2>&1 | grep -o 'busy'; cd /
        exec 3>/mnt/open; mount -o remount,ro /mnt 2>&1 | grep -o 'busy'
        rm /mnt/open; exec 3>&-; mount -o remount,ro /mnt && echo read-only
        echo x 2>&1 >/mnt/x | grep -o 'Read-only.*'
        mount -o remount,rw /mnt && echo x >/mnt/x && cat /mnt/x
        umount /mnt && umount /mnt 2>&1 | grep -o 'Invalid.*'
        mount -t ext2 /dev/null /mnt 2>&1 | grep -o 'Block device required'
        mount -t ext2 /dev/vdz /mnt 2>&1 | grep -o 'No such file.*'
        mount -t ext2 -o nonsense /dev/vda /mnt 2>&1 | grep -o 'Invalid.*'
        """, options=("--disk", str(disk)))
    assert text.splitlines() == [
        "\text2", "/dev/vda /mnt ext2 rw,relatime 0 0", "busy", "busy", "busy", "busy", "read-only",
        "Read-only file system", "x", "Invalid argument", "Block device required", "No such file or directory",
        "Invalid argument"], text
    clean(disk)


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    disk = image(tmp_path / "a.raw", 4 * KIB, "8M", tree())
    ended = spork("sh", "-c", "mount /dev/vda /mnt; grep -c 'ext2 ro' /proc/mounts; md5sum </mnt/folder/text",
                  options=attached({**raw(disk), "read-only": True}))
    assert ended.text.startswith("1\n") and ended.status == 0, ended


def debugfs(command: str) -> Callable[[Path], None]:
    return lambda disk: void(ext2.call("debugfs", "-w", "-R", command, disk))


def void(_: object) -> None:
    pass


@pytest.mark.parametrize(("options", "change", "writable", "readable"), [
    ((), "feature metadata_csum", False, True),
    ((), "ssv state 2", False, True),
    (("-O", "has_journal"), None, True, True),
    (("-O", "has_journal"), "feature needs_recovery", False, False),
    (("-O", "extents"), None, False, False),
    ((), "ssv inode_size 100", False, False),
    ((), "ssv blocks_per_group 0", False, False),
    ((), "ssv blocks_count 100000", False, False),
])
def test_what_is_not_known(tmp_path: Path, options: tuple[str, ...], change: str | None, writable: bool,
                           readable: bool) -> None:
    """Unknown features and numbers that cannot be: refused, or mounted read-only."""
    disk = image(tmp_path / "a.raw", 1 * KIB, "8M", tree(), *options)
    if change:
        debugfs(change)(disk)
    ended = script(disk, """
        mount -t ext2 -o rw /dev/vda /mnt; grep -o 'ext2 r.' /proc/mounts; umount /mnt 2>/dev/null
        mount -t ext2 -o ro /dev/vda /mnt; grep -o 'ext2 r.' /proc/mounts
        """)
    expected = ["ext2 rw" if writable else "ext2 ro"] * readable + ["ext2 ro"] * readable
    assert ended.text.splitlines() == expected, ended


def test_images_with_errors(tmp_path: Path) -> None:
    """Hundreds of images in which some bytes are wrong are mounted, read, changed and unmounted: no panic."""
    disk = image(tmp_path / "a.raw", 1 * KIB, "512K", tree())
    ended = script(disk, "/tests/wrong_images /dev/vda 300 7; echo; echo here")
    assert ended.text.endswith("\nhere\n") and "not ok" not in ended.text, ended
    mounted = re.search(r"(\d+) of 300 were mounted", ended.text)
    assert mounted and int(mounted[1]) > 150, ended.text


def test_root(tmp_path: Path) -> None:
    """The root file system on a disk, made by tools/spork image: what is written is there afterwards."""
    disk = tmp_path / "root.raw"
    ext2.make(disk, "32M", ROOT_CPIO.read_bytes())
    options = ("--disk", str(disk), "--append")
    terminal = Terminal(*options, "root=/dev/vda")
    assert "/dev/vda / ext2 rw" in terminal.command("cat /proc/mounts")
    assert terminal.command("echo remembered >/root/note; mount -o remount,ro /; echo $?") == "0\n"
    terminal.close()
    clean(disk)
    terminal = Terminal(*options, "root=/dev/vda ro")
    assert terminal.command("cat /root/note") == "remembered\n"
    assert "Read-only file system" in terminal.command("rm -f /root/note")
    terminal.close()


def test_changes_that_end_half_way(tmp_path: Path) -> None:
    """For want of memory, or since the caller is killed: as a whole or not at all, and nothing is left behind."""
    disk = image(tmp_path / "a.raw", 1 * KIB, "8M", None, "-N", "2048")
    text = succeeds("/tests/files_cut_short", "/dev/vda", "/mnt", options=("--disk", str(disk), "--smp", "2"))
    assert "not ok" not in text, text
    clean(disk)


def test_umount_is_killed(tmp_path: Path) -> None:
    """It ends all the same, and all is on the disk."""
    disk = image(tmp_path / "a.raw", 4 * KIB, "16M")
    text = succeeds("sh", "-c", """
        mount -t ext2 /dev/vda /mnt; seq 1 500000 >/mnt/numbers; echo there >/mnt/note; md5sum </mnt/numbers
        umount /mnt & sleep 0.3; kill -9 $!; wait $!; echo $?
        until mount -t ext2 /dev/vda /mnt 2>/dev/null; do sleep 0.1; done; cat /mnt/note; md5sum </mnt/numbers
        umount /mnt
        """, options=slow(disk, "x-bps-total=2097152"))
    first, status, note, last = text.splitlines()
    assert (status, note, last) == ("137", "there", first), text
    clean(disk)


def test_who_looks_at_the_disk_takes_no_metadata_away(tmp_path: Path) -> None:
    """What could not be written stays dirty while the disk is mounted, whoever closes /dev/vda."""
    disk = image(tmp_path / "a.raw", 4 * KIB, "16M")
    text = succeeds("sh", "-c", """
        mount -t ext2 /dev/vda /mnt; mkdir /mnt/a; echo there >/mnt/a/note; : </dev/vda
        for n in $(seq 40); do sync; done; umount /mnt; mount -t ext2 /dev/vda /mnt; cat /mnt/a/note; umount /mnt
        """, options=faulty(disk, *({"iotype": "write", "sector": sector, "once": True}
                                    for sector in range(16, 2048, 8))))
    assert text == "there\n", text
    clean(disk)
