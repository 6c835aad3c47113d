"""Power cuts: what a disk may hold when the power goes, and whether what was promised is there then.

A workload (user/tests/power_cut.c) runs on an ext2, and QEMU's blklogwrites keeps all writes and flushes. A state
is what a prefix of that log leaves of the first image: all that was flushed, and any of what came later. e2fsck
repairs it; then each file and name promised by the last mark has to be there.
"""
from __future__ import annotations

import json
import random
import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import ext2
from .paths import ROOT

SECTOR = 512
MIB = 1 << 20
FIRST, SIZE, MARKS = 1 * MIB, 8 * MIB, 64 << 10  # of the file system, and of the disk behind it that has the marks
LOG_MAGIC = 0x6A736677736872
FLUSH = 1
END = 1 << 40  # of what is cut off: no file is longer


def byte_of(seed: int, at: int) -> int:
    """As user/tests/power_cut.c has it."""
    return (seed * 37 + at * 11 + (at >> 9) * 5 + 1) & 0xFF


def bytes_of(seed: int, start: int, size: int) -> bytes:
    return bytes(byte_of(seed, at) for at in range(start, start + size))


# ---- What is promised ---------------------------------------------------------------------------


@dataclass
class Inode:
    """A file, and what of it is safe: what it was when it was last synced, where nothing was changed since."""

    data: bytearray | None  # None: a directory
    safe: bytes | None = None
    touched: list[tuple[int, int]] = field(default_factory=list)

    def change(self, start: int, end: int) -> None:
        self.touched.append((start, end))

    def sync(self) -> None:
        if self.data is not None:
            self.safe, self.touched = bytes(self.data), []

    def promised(self) -> tuple[bytes, list[tuple[int, int]]] | None:
        return None if self.safe is None else (self.safe, list(self.touched))


@dataclass
class Promise:
    """What holds from a mark on: which inode a name is of, and what is in it."""

    names: dict[str, int]
    contents: dict[int, tuple[bytes, list[tuple[int, int]]]]
    directories: set[int]
    # By operations from this mark to the next one, which may have happened or not:
    changed: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)         # names that may have come or gone
    places: dict[int, set[str]] = field(default_factory=dict)  # where else an inode may be
    replaced: set[str] = field(default_factory=set)        # names that are there in any case, of one or the other
    vanish: set[int] = field(default_factory=set)          # inodes that have lost a name for good


class Model:
    """What operations do, and what has been promised of it."""

    def __init__(self, block: int) -> None:
        self.block = block
        self.names: dict[str, int] = {}
        self.inodes: dict[int, Inode] = {}
        self.safe_names: dict[str, int] = {}
        self.promises: list[Promise] = []
        self.operations: list[str] = []
        self.mark()

    @property
    def promise(self) -> Promise:
        return self.promises[-1]

    def do(self, *words: str | int) -> None:
        """Carries an operation out, and writes it down for the program."""
        self.operations.append(" ".join(str(word) for word in words))
        getattr(self, f"_{words[0]}")(*words[1:])

    def mark(self) -> None:
        contents = {n: safe for n, inode in self.inodes.items() if (safe := inode.promised()) is not None}
        directories = {n for n, inode in self.inodes.items() if inode.data is None}
        if self.promises:
            self.operations.append(f"mark {len(self.promises)}")
        self.promises.append(Promise(dict(self.safe_names), contents, directories))

    def _new(self, path: str, inode: Inode) -> None:
        number = len(self.inodes)
        self.inodes[number] = inode
        self._add(path, number)

    def _add(self, path: str, number: int) -> None:
        self.names[path] = number
        self.promise.touched.add(path)
        self.promise.places.setdefault(number, set()).add(path)

    def _take(self, path: str) -> None:
        self.promise.touched.add(path)
        self.promise.replaced.discard(path)

    def _create(self, path: str) -> None:
        self._new(path, Inode(bytearray()))

    def _mkdir(self, path: str) -> None:
        self._new(path, Inode(None))

    def _link(self, old: str, new: str) -> None:
        self._add(new, self.names[old])

    def _unlink(self, path: str) -> None:
        self._take(path)
        self.promise.vanish.add(self.names.pop(path))

    _rmdir = _unlink

    def _rename(self, old: str, new: str) -> None:
        if new in self.names:
            self.promise.replaced.add(new)
            self.promise.vanish.add(self.names[new])
        for path in [p for p in self.names if p == old or p.startswith(old + "/")]:
            self._take(path)
            self._add(new + path[len(old):], self.names.pop(path))

    def _change(self, path: str, start: int, end: int) -> bytearray:
        """A block that was a hole may have anything in it, as on Linux's ext2, until its file is synced."""
        start, end = start // self.block * self.block, -(-end // self.block) * self.block
        number = self.names[path]
        inode = self.inodes[number]
        inode.change(start, end)
        self.promise.changed.setdefault(number, []).append((start, end))
        assert inode.data is not None
        return inode.data

    def _write(self, path: str, start: int, size: int, seed: int) -> None:
        data = self._change(path, start, start + size)
        if len(data) < start:
            data.extend(bytes(start - len(data)))
        data[start:start + size] = bytes_of(seed, start, size)

    def _osync(self, path: str, start: int, size: int, seed: int) -> None:
        self._write(path, start, size, seed)
        self._fsync(path)

    def _truncate(self, path: str, size: int) -> None:
        data = self._change(path, size, END)
        data.extend(bytes(max(0, size - len(data))))
        del data[size:]

    def _fsync(self, path: str) -> None:
        self.inodes[self.names[path]].sync()
        self.safe_names = dict(self.names)  # with it go all inodes and names

    _fdatasync = _fsync

    def _sync(self) -> None:
        for inode in self.inodes.values():
            inode.sync()
        self.safe_names = dict(self.names)

    def _syncfs(self, path: str) -> None:
        assert path in self.names
        self._sync()

    def _push(self, first: int, size: int) -> None:
        """Nothing is promised by that."""


# ---- Workloads ----------------------------------------------------------------------------------


class Workload:
    """Up to three operations, and a promise; again and again, by a seed."""

    def __init__(self, seed: int, block: int, marks: int) -> None:
        self.random = random.Random(seed)
        self.model = Model(block)
        self.names = 0
        self.model.do("mkdir", self._name(""))
        for _ in range(marks):
            for _ in range(self.random.randint(1, 3)):
                self._change()
                if self.random.random() < 0.6:
                    self._push()
            self._promise()
            self.model.mark()

    def _name(self, folder: str) -> str:
        """Long ones, so that directories have several blocks."""
        self.names += 1
        return f"{folder}{self.names}" + "-" * self.random.choice((0, 0, 40, 200))

    def _of(self, directory: bool) -> list[str]:
        inodes = self.model.inodes
        return [p for p, n in self.model.names.items() if (inodes[n].data is None) == directory]

    def _folder(self) -> str:
        return self.random.choice(["", *(p + "/" for p in self._of(True) if len(p) < 250)])

    def _change(self) -> None:
        files, folders = self._of(False), self._of(True)
        pick = self.random.choice
        kinds = ["create"] * 3 + ["mkdir"] * (len(folders) < 5)
        if files:
            kinds += ["write", "append", "truncate", "rename", "replace", "link", "unlink", "write", "rename"]
        empty = [d for d in folders if not any(p.startswith(d + "/") for p in self.model.names)]
        if len(empty) > 1:
            kinds += ["rmdir", "move"]
        do, kind, size = self.model.do, pick(kinds), self.random.choice((10, 700, 3000, 5000, 20000))
        if kind in {"create", "mkdir"}:
            do(kind, self._name(self._folder()))
        elif kind == "write":
            do("write", pick(files), self.random.randrange(60000), size, self.random.randrange(1000))
        elif kind == "append":
            path = pick(files)
            do("write", path, len(self._data(path)), size, self.random.randrange(1000))
        elif kind == "truncate":
            path = pick(files)
            do("truncate", path, self.random.randrange(len(self._data(path)) + 2000))
        elif kind == "rename":
            do("rename", pick(files), self._name(self._folder()))
        elif kind == "replace" and len(files) > 1:
            old, new = self.random.sample(files, 2)
            if self.model.names[old] != self.model.names[new]:
                do("rename", old, new)
        elif kind == "link":
            do("link", pick(files), self._name(self._folder()))
        elif kind == "unlink":
            do("unlink", pick(files))
        elif kind == "rmdir":
            do("rmdir", pick(empty))
        elif kind == "move":
            old, new = self.random.sample(empty, 2)
            if len(new) < 200:
                do("rename", old, f"{new}/{self._name('')}")

    def _data(self, path: str) -> bytearray:
        data = self.model.inodes[self.model.names[path]].data
        assert data is not None
        return data

    def _push(self) -> None:
        """Of what is dirty on the disk some is written: most of that lies at its begin."""
        first = self.random.choice((0, self.random.randrange(64), self.random.randrange(SIZE // 4096)))
        self.model.do("push", first * 4096, 4096 * self.random.choice((1, 2, 16, 128)))

    def _promise(self) -> None:
        files, folders = self._of(False), self._of(True)
        kind = self.random.choice(("fsync", "fsync", "fdatasync", "osync", "sync", "syncfs", "directory"))
        if kind == "sync" or not files:
            self.model.do("sync")
        elif kind == "syncfs":
            self.model.do("syncfs", self.random.choice(files))
        elif kind == "osync":
            self.model.do("osync", self.random.choice(files), self.random.randrange(9000), 4000, 7)
        elif kind == "directory":
            self.model.do("fsync", self.random.choice(folders or files))
        else:
            self.model.do(kind, self.random.choice(files))


# ---- The log ------------------------------------------------------------------------------------


@dataclass
class Entry:
    at: int  # byte of the disk
    data: bytes
    flush: bool


def read_log(log: Path) -> list[Entry]:
    raw = log.read_bytes()
    magic, _, count, sector = struct.unpack_from("<QQQI", raw)
    assert magic == LOG_MAGIC
    entries, at = [], sector
    for _ in range(count):
        first, sectors, flags, _ = struct.unpack_from("<QQQQ", raw, at)
        at += sector
        entries.append(Entry(first * SECTOR, raw[at:at + sectors * SECTOR], bool(flags & FLUSH)))
        at += sectors * SECTOR
    return entries


@dataclass
class Recording:
    model: Model
    first: bytes  # the disk before
    entries: list[Entry]
    last: bytes   # and afterwards


def record(folder: Path, workload: Workload) -> Recording:
    """Runs a workload on a new disk."""
    block = workload.model.block
    system, disk, log = folder / "fs.raw", folder / "disk.raw", folder / "log.raw"
    ext2.make(system, f"{SIZE // MIB}M", b"", "-b", str(block), "-I", "128", "-N", "512")
    table = b"".join(struct.pack("<4xB3xII", 0x83, at // SECTOR, size // SECTOR)
                     for at, size in ((FIRST, SIZE), (FIRST + SIZE, MARKS)))
    first = (bytes(446) + table + bytes(64 - len(table)) + b"\x55\xaa").ljust(FIRST, b"\0")
    first += system.read_bytes() + bytes(MARKS)
    disk.write_bytes(first)
    log.write_bytes(b"")
    at = {name: {"driver": "file", "filename": str(path)} for name, path in (("file", disk), ("log", log))}
    drive = {"node-name": "d", "driver": "raw", "file": {
        "driver": "blklogwrites", "log-super-update-interval": 1, **at}}
    done = subprocess.run(
        [ROOT / "tools/spork", "run", "--timeout", "300", "--qemu=-blockdev", f"--qemu={json.dumps(drive)}",
         "--qemu=-device", "--qemu=virtio-blk-pci,drive=d", "--", "sh", "-c",
         "mount -t ext2 /dev/vda1 /mnt && exec /tests/power_cut /mnt /dev/vda1 /dev/vda2"],
        input="\n".join(workload.model.operations).encode() + b"\n", capture_output=True, check=False)
    if done.returncode or b"not ok" in done.stdout:
        raise RuntimeError((done.stdout + done.stderr).decode(errors="replace"))
    return Recording(workload.model, first, read_log(log), disk.read_bytes())


# ---- States -------------------------------------------------------------------------------------


@dataclass
class State:
    """The log as far as entry `cut`, without what is lost of it: which blocks of which entries."""

    cut: int
    lost: dict[int, set[int]]


def flushed_before(entries: list[Entry], cut: int) -> int:
    """What comes before is safe."""
    return next((n for n in range(cut, 0, -1) if entries[n - 1].flush), 0)


def states(recording: Recording, count: int, seed: int) -> Iterator[State]:
    """Each flush, then points between: there each block that was not flushed is written or not."""
    entries, choose = recording.entries, random.Random(seed)
    boundaries = [n + 1 for n, entry in enumerate(entries) if entry.flush]
    choose.shuffle(boundaries)
    for cut in boundaries[:count]:
        yield State(cut, {})
    for _ in range(count - len(boundaries)):
        cut = choose.randrange(1, len(entries) + 1)
        kept, lost = choose.choice((0.2, 0.5, 0.8)), {}
        for n in range(flushed_before(entries, cut), cut):
            blocks = range(0, len(entries[n].data), recording.model.block)
            gone = {at for at in blocks if choose.random() > kept}
            if gone:
                lost[n] = gone
        yield State(cut, lost)


def states_with_one_lost(recording: Recording) -> Iterator[State]:
    """Before each flush and after it: there each block that was not flushed is lost, and nothing else."""
    entries = recording.entries
    for cut in range(1, len(entries) + 1):
        if not entries[cut - 1].flush and cut < len(entries) and not entries[cut].flush:
            continue
        yield State(cut, {})
        for n in range(flushed_before(entries, cut), cut):
            for at in range(0, len(entries[n].data), recording.model.block):
                yield State(cut, {n: {at}})


def disk_of(recording: Recording, state: State) -> bytearray:
    disk = bytearray(recording.first)
    for n, entry in enumerate(recording.entries[:state.cut]):
        gone = state.lost.get(n, ())
        for at in range(0, len(entry.data), recording.model.block):
            if at not in gone:
                piece = entry.data[at:at + recording.model.block]
                disk[entry.at + at:entry.at + at + len(piece)] = piece
    return disk


# ---- Judging ------------------------------------------------------------------------------------


def matches(data: bytes, promised: tuple[bytes, list[tuple[int, int]]], since: list[tuple[int, int]]) -> str:
    """What is wrong with a file's bytes; what has been changed since may be anything."""
    safe, changed = promised
    ranges = sorted(changed + since)
    at = 0
    for start, end in [*ranges, (len(safe), END)]:
        part = safe[at:max(at, min(start, len(safe)))]
        if data[at:at + len(part)] != part:
            return f"bytes {at} to {at + len(part)} are not what they were, of {len(safe)}: there are {len(data)}"
        at = max(at, end)
    if not ranges and len(data) != len(safe):
        return f"{len(data)} bytes, not {len(safe)}"
    return ""


@dataclass
class Found:
    """What is on a disk."""

    files: dict[str, bytes]
    directories: set[str]

    @staticmethod
    def on(system: Path, folder: Path) -> Found:
        ext2.call("debugfs", "-R", f"rdump / {folder}", system)
        found = Found({}, set())
        for path in folder.rglob("*"):
            name = str(path.relative_to(folder))
            if path.is_dir():
                found.directories.add(name)
            else:
                found.files[name] = path.read_bytes()
        return found


def broken(promise: Promise, found: Found) -> Iterator[str]:
    """Each promise that does not hold."""
    def wrong_with(path: str, inode: int) -> str:
        if inode in promise.directories:
            return "" if path in found.directories else "no directory"
        if path not in found.files:
            return "not there"
        if inode not in promise.contents:
            return ""
        return matches(found.files[path], promise.contents[inode], promise.changed.get(inode, []))

    for path, inode in promise.names.items():
        if path not in promise.touched:
            if wrong := wrong_with(path, inode):
                yield f"{path}: {wrong}"
        elif path in promise.replaced and path not in found.files:
            yield f"{path}: neither the old one nor the new one is there"
        elif inode not in promise.vanish:
            places = {path, *promise.places.get(inode, ())}
            wrongs = [f"{place}: {wrong_with(place, inode)}" for place in places]
            if all(not wrong.endswith(": ") for wrong in wrongs):
                yield "renamed: " + "; ".join(wrongs)


def judge(recording: Recording, state: State, folder: Path) -> list[str]:
    """What is wrong with a state, after e2fsck. Leaves its file system in `folder`, as it was before."""
    disk = disk_of(recording, state)
    mark = struct.unpack_from("<Q", disk, FIRST + SIZE)[0]
    cut, system, out = folder / "cut.raw", folder / "state.raw", folder / "out"
    cut.write_bytes(disk[FIRST:FIRST + SIZE])
    system.write_bytes(disk[FIRST:FIRST + SIZE])
    subprocess.run(["rm", "-rf", out], check=True)
    out.mkdir()
    done = subprocess.run([ext2.tool("e2fsck"), "-fy", system], capture_output=True, text=True, check=False)
    if done.returncode & ~3:
        return [f"e2fsck ended with {done.returncode}: {done.stdout[-300:]}"]
    return [f"mark {mark}: {wrong}" for wrong in broken(recording.model.promises[mark], Found.on(system, out))]


def describe(recording: Recording, state: State) -> str:
    """What was lost: by blocks of the file system."""
    lines = []
    for n, gone in state.lost.items():
        blocks = [(recording.entries[n].at + at - FIRST) // recording.model.block for at in sorted(gone)]
        lines.append(f"  entry {n}: blocks {' '.join(map(str, blocks))} were lost")
    return f"cut after entry {state.cut} of {len(recording.entries)}\n" + "\n".join(lines)


def marks_in(operations: list[str], mark: int) -> str:
    """The operations between a mark and the next one."""
    text = "\n".join(operations) + "\n"
    begin = re.search(rf"^mark {mark}$", text, re.MULTILINE)
    end = re.search(rf"^mark {mark + 1}$", text, re.MULTILINE)
    return text[begin.end() if begin else 0:end.start() if end else len(text)].strip()
