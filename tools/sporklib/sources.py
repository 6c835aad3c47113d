"""The tree's sources: which there are, and their code as tools/lint's checks read it."""
from __future__ import annotations

import os
import re
import subprocess

from .paths import ROOT


def listed(*patterns: str, known: bool = False) -> list[str]:
    """The files that git knows or would take, or those alone that it knows, and that are there, by their path from
    the top. Also when called by a git that works on another tree, or by who does not own this one."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    others = [] if known else ["--others", "--exclude-standard"]
    said = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", *others, "--", *patterns],
                          cwd=ROOT, env=mine, capture_output=True, check=True).stdout
    names = {os.fsdecode(name) for name in said.split(b"\0") if name}
    return [name for name in sorted(names) if os.path.lexists(ROOT / name)]


def code_of(folders: tuple[str, ...], *endings: str) -> dict[str, str]:
    """The code of those files in the folders: comments, texts and directives are blanks in it."""
    return {name: blanked((ROOT / name).read_text()) for name in listed(*(f"{f}/*" for f in folders))
            if name.endswith(endings)}


def blanked(text: str) -> str:
    return re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|^[ \t]*#[^\n]*",
                  lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.DOTALL | re.MULTILINE)


def scope_end(code: str, begin: int) -> int:
    """Behind the brace that ends the scope that `begin` is in."""
    depth = 1
    while depth and begin < len(code):
        depth += {"{": 1, "}": -1}.get(code[begin], 0)
        begin += 1
    return begin


def line_of(code: str, at: int) -> int:
    return code.count("\n", 0, at) + 1
