"""The kernel's sources, as tools/lint's checks of them read them."""
from __future__ import annotations

import re
import subprocess

from .paths import ROOT


def listed(*patterns: str) -> list[str]:
    """The files that git knows or would take, and that are there, by their path from the top."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", *patterns], cwd=ROOT,
                           capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in sorted(set(names)) if (ROOT / name).exists()]


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
