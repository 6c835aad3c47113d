"""Searches a handout for what was taken out of it.

What is looked for: any eight tokens in a row of what was removed that the code which stays does not have. Where: in
every file, whatever it is: text, also as it stands in HTML, SVG and JSON, what is printable in programs, images and
cached Python, what is packed, and every object of the handout's own repository.
"""
from __future__ import annotations

import bz2
import gzip
import html
import io
import lzma
import re
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOKENS = 8
TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w'.]*|::|->|<<=?|>>=?|&&|\|\||\+\+|--|[-+*/%&|^=!<>]=|[^\s\w]")
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
CODE = (".cc", ".h", ".c", ".def", ".inc")
ROOMS = ("arch", "boot", "kernel", "lib", "vm", "user", "tests")
UNPACKED = 64 << 20  # of one file

Row = tuple[str, ...]


@dataclass(frozen=True)
class Leak:
    where: str
    function: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: what was {self.function}: {self.text}"


def rows(text: str) -> Iterator[Row]:
    tokens = TOKEN.findall(text)
    return zip(*(tokens[n:] for n in range(TOKENS)))


def plain(text: str) -> str:
    """Code without the slashes of its comments, so that a comment is searched over the ends of its lines."""
    return re.sub(r"^\s*(//|\*|#|>)+", "", text, flags=re.MULTILINE)


def wanted(removed: list[tuple[str, str, str]], known: list[str], tree: Path) -> dict[Row, str]:
    """The rows to look for, with the function that each was in: none that code which stays has, or a text of
    `known`."""
    found = {row: f"{file}: {function}" for file, function, text in removed for row in rows(plain(text))}
    for text in known:
        for row in rows(plain(text)):
            found.pop(row, None)
    for room in ROOMS:
        for path in (tree / room).rglob("*"):
            if path.suffix in CODE and path.is_file():
                for row in rows(COMMENT.sub(" ", path.read_text(errors="replace"))):
                    found.pop(row, None)
    return found


def unpacked(data: bytes) -> Iterator[bytes]:
    """What is packed in it, whole."""
    try:
        if data[:6] == b"\xfd7zXZ\0":
            yield lzma.LZMADecompressor().decompress(data, UNPACKED)
        elif data[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(data)) as file:
                yield file.read(UNPACKED)
        elif data[:3] == b"BZh":
            yield bz2.BZ2Decompressor().decompress(data, UNPACKED)
        elif data[:4] == b"PK\3\4":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for name in archive.namelist():
                    yield archive.read(name)[:UNPACKED]
        elif data[:1] == b"\x78":
            yield zlib.decompressobj().decompress(data, UNPACKED)
    except (OSError, EOFError, ValueError, RuntimeError, lzma.LZMAError, zlib.error, zipfile.BadZipFile):
        return


def views(data: bytes) -> Iterator[str]:
    """The texts that a reader may see in it."""
    text = data.decode("utf-8", "replace")
    yield text
    yield plain(text)
    if "<" in text and ("&" in text or "</" in text):
        yield html.unescape(re.sub(r"<[^<>]*>", " ", text))
    if "\\n" in text or '\\"' in text:
        yield re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)),
                     text.replace("\\n", "\n").replace('\\"', '"'))
    if b"\0" in data:
        yield b"\n".join(re.findall(rb"[\t\n\r\x20-\x7e]{8,}", data)).decode("ascii")
        if data.count(b"\0") > len(data) // 4:
            yield data.decode("utf-16-le", "replace")


def search(data: bytes, looked_for: dict[Row, str], where: str, deep: int = 0) -> Iterator[Leak]:
    """Every function that is seen in it, with the first of its rows."""
    seen = set()
    for view in views(data):
        for row in rows(view):
            if row in looked_for and looked_for[row] not in seen:
                seen.add(looked_for[row])
                yield Leak(where, looked_for[row], " ".join(row))
    if deep < 3:
        for inner in unpacked(data):
            yield from search(inner, looked_for, where, deep + 1)


def objects(repository: Path) -> Iterator[tuple[str, bytes]]:
    """Every object that is in a repository, whether anything leads to it or not."""
    listed = subprocess.run(["git", "cat-file", "--batch-all-objects", "--batch-check"], cwd=repository,
                            capture_output=True, text=True, check=True).stdout
    names = [line.split()[0] for line in listed.splitlines()]
    said = subprocess.run(["git", "cat-file", "--batch"], cwd=repository, input="\n".join(names).encode(),
                          capture_output=True, check=True).stdout
    at = 0
    while at < len(said):
        end = said.index(b"\n", at)
        name, kind, size = said[at:end].decode().split()
        yield f"git {kind} {name[:12]}", said[end + 1:end + 1 + int(size)]
        at = end + 2 + int(size)


def leaks(tree: Path, removed: list[tuple[str, str, str]], known: list[str]) -> tuple[list[Leak], int]:
    """What is found in the whole tree, and how many rows were looked for."""
    looked_for = wanted(removed, known, tree)
    found: list[Leak] = []
    contents = set()
    for path in sorted(tree.rglob("*")):
        where = str(path.relative_to(tree))
        found += search(where.encode(), looked_for, f"the name {where}")
        if path.is_symlink() or not path.is_file() or where.startswith(".git/objects/"):
            continue
        data = path.read_bytes()
        contents.add(data)
        found += search(data, looked_for, where)
    if (tree / ".git").exists():
        for where, data in objects(tree):
            if data not in contents:
                found += search(data, looked_for, where)
    return found, len(looked_for)
