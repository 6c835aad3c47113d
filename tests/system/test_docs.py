"""What the documentation names is there: files and their lines, functions, make's targets."""
from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
ROOMS = ("arch", "boot", "docs", "kernel", "lib", "tests", "tools", "user", "vm")
SUFFIXES = {".cc", ".h", ".c", ".S", ".def", ".inc", ".py", ".sh", ".md", ".patch", ".ts", ".js"}

PATH = re.compile(rf"(?<![\w/.~-])((?:{'|'.join(ROOMS)})/[\w./{{}},+-]*[\w}}])(?::(\d+))?")
TARGET = re.compile(r"(?:^    |`|\$ )make ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)*)(?=[` \n]|$)", re.MULTILINE)
# `vm_map::check()`, `copy_on_write()`, `vmspace::fork`: in backticks, a name with :: or ().
NAME = re.compile(r"`((?:[A-Za-z_]\w*::)+~?[A-Za-z_]\w*|[A-Za-z_]\w*(?=\(\)))(?:\(\))?`")
# GDB's way to say where it is, and the line that it then shows.
# A frame of a backtrace, GDB's or this project's.
FRAME = re.compile(r"^#\d+ +(?:0x[0-9a-f]+ +)?(?:in )?(.*?) \(?.*?\bat (?:\./)?([\w/]+\.cc):(\d+)$",
                   re.MULTILINE)
# A frame of the kernel's own backtrace.
CALL = re.compile(
    r"^ (?:\[<[0-9a-f]+>\]|       \(inlined by\)) +(.*?) at (?:\./)?([\w/]+\.(?:cc|h)):(\d+)$", re.MULTILINE)
# What another change makes false, so that a block must be made from the tree: a line of a source, a lock's
# rank by number, an address in the kernel.
PASSING = re.compile(rf"\b(?:{'|'.join(ROOMS)})/[\w./]+:\d+|\brank \d+|\bf{{4}}[89a-f][0-9a-f]{{8,}}")
# Files that a worked example makes.
EXAMPLES = re.compile(r"<!-- The example makes: (.*?) -->")
STOP = re.compile(r" at (?:\./)?([\w/]+\.(?:cc|h|S)):(\d+)\n(\d+)\t(.*)$", re.MULTILINE)


def expanded(path: str) -> list[str]:
    """a/b.{cc,h} is two files."""
    found = re.fullmatch(r"(.*)\{([\w,]+)\}(.*)", path)
    return [found[1] + part + found[3] for part in found[2].split(",")] if found else [path]


def enclosing(path: Path, line: int) -> str:
    """How the function begins that line is in: its lines up to the brace."""
    lines = path.read_text().splitlines()[:line] if path.exists() else []
    while lines and not re.match(r"[A-Za-z~[].*\(", lines[-1]):
        lines.pop()
    return lines[-1] if lines else ""


def inlined(path: Path, function: str, header: str) -> bool:
    """Whether `function` of that file calls the one that begins with `header`, which may have become
    a part of it."""
    callee = re.search(r"(\w+)\(", header)
    text = path.read_text() if path.exists() else ""
    body = re.search(rf"^\S.*\b{re.escape(function)}\((?:.*\n)*?}}", text, re.MULTILINE)
    return bool(callee and body and re.search(rf"\b{callee[1]}\(", body[0]))


@pytest.fixture(scope="module")
def words() -> set[str]:
    """Every word of the sources."""
    found = set()
    for room in ROOMS:
        if room == "docs":
            continue
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and "node_modules" not in path.parts and path.suffix in SUFFIXES - {".md"}:
                found.update(re.findall(r"\w+", path.read_text(errors="replace")))
    for path in (ROOT / "docs" / "experiments").glob("*.c"):
        found.update(re.findall(r"\w+", path.read_text()))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, words: set[str]) -> None:
    text = page.read_text()
    faults = []
    found = EXAMPLES.search(text)
    examples = found[1].split() if found else []
    for path, line in PATH.findall(text):
        if Path(path).suffix not in SUFFIXES:
            continue
        for name in expanded(path):
            if name in examples:
                continue
            if not (ROOT / name).exists():
                faults.append(f"no file {name}")
            elif line and int(line) > len((ROOT / name).read_text().splitlines()):
                faults.append(f"{name} has no line {line}")
    for where, line, number, shown in STOP.findall(text):
        lines = (ROOT / where).read_text().splitlines() if (ROOT / where).exists() else []
        if line != number or int(line) > len(lines) or lines[int(line) - 1].strip() != shown.strip():
            faults.append(f"line {line} of {where} is not: {shown.strip()}")
    for call, where, line in FRAME.findall(text.replace("(anonymous namespace)::", "")):
        function = re.split(r"[<(]", call)[0].split("::")[-1].strip()
        path, header = ROOT / where, enclosing(ROOT / where, int(line))
        if function in ("", "operator") or function in header:
            continue
        if not inlined(path, function, header):
            faults.append(f"line {line} of {where} is not in {function}")
    for call, where, line in calls(text):
        function = re.split(r"[<(]", call)[0].split("::")[-1].strip()
        source = (ROOT / where).read_text()  # the line may be one of a function that became a part of it
        if not re.search(rf"\b{function}\(", source) or int(line) > len(source.splitlines()):
            faults.append(f"line {line} of {where} is not in {function}")
    makefile = (ROOT / "Makefile").read_text()
    for targets in TARGET.findall(text):
        for target in targets.split():
            if not re.search(rf"^[\w $()/.-]*\b{re.escape(target)}\b[\w $()/.-]*:", makefile, re.MULTILINE):
                faults.append(f"no target {target}")
                break
    for name in NAME.findall(text):
        if missing := [part for part in name.replace("~", "").split("::") if part not in words]:
            faults.append(f"nothing is called {name} ({missing[0]})")
    faults += [f"nothing makes this anew: {found[0]}" for line in unmarked(text) for found in PASSING.finditer(line)]
    assert not faults, f"{page.relative_to(ROOT)}: " + "; ".join(faults)


def calls(text: str) -> list[tuple[str, str, str]]:
    """Frames of backtraces that the kernel has printed: function, file, line. Long ones go over two lines."""
    return CALL.findall(re.sub(r" \n(?=[a-z]+/[\w/]+\.(?:cc|h):\d+$)", " ", text, flags=re.MULTILINE)
                        .replace("(anonymous namespace)::", ""))


def unmarked(text: str) -> list[str]:
    """The lines that `make docs` does not make."""
    lines: list[str] = []
    fenced = marked = False
    for line in text.partition("<!-- docs rest")[0].splitlines():
        if line.startswith("```"):
            fenced = not fenced
            marked = marked and fenced
        elif line.startswith("<!-- docs"):
            marked = True
        elif not (fenced and marked):
            lines.append(line)
    return lines


def test_numbers_of_calls() -> None:
    """How many system calls there are is said in two pages."""
    table = (ROOT / "kernel" / "abi" / "syscalls.def").read_text()
    numbers = [int(number) for number in re.findall(r"^SYSCALL\((\d+),", table, re.MULTILINE)]
    linux = sum(number < 500 for number in numbers)
    for page in ("README.md", "docs/linux-differences.md"):
        assert f"{linux} of Linux's" in (ROOT / page).read_text(), f"{page}: it is {linux} by now"


def test_names_are_in_their_files() -> None:
    """A row of docs/names.md with a column of files: each of Spork's names is in one of them."""
    faults = []
    for row in (ROOT / "docs" / "names.md").read_text().splitlines():
        _, _, ours, where, *_ = [*(cell.strip() for cell in row.split("|")), "", "", "", ""]
        folder, text = "", ""
        for name in where.split(", ") if "/" in where else []:
            folder = name.rpartition("/")[0] or folder
            text += (ROOT / folder / name.rpartition("/")[2]).read_text()
        faults += [f"{name} is not in {where}" for name in re.findall(r"`([\w:]+)(?:\(\))?`", ours)
                   if text and not re.search(rf"\b{name.split('::')[-1]}\b", text)]
    assert not faults, "; ".join(faults)


def test_quoted_output_is_this_kernels() -> None:
    """What the pages quote of runs that are the same each time is what these print now."""
    quoting = [page for page in PAGES if "<!-- docs, same:" in page.read_text()]
    assert quoting
    done = subprocess.run([ROOT / "tools" / "docs", "--check", *quoting], stdout=subprocess.PIPE, text=True,
                          check=False)
    assert done.returncode == 0, f"{done.stdout}\nrun `make docs`"


MODELS = sorted(model for room in ("arch", "kernel", "lib", "vm") for model in (ROOT / room).rglob("*.pml"))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.relative_to(ROOT)))
def test_model(model: Path, words: set[str]) -> None:
    """A model follows functions and files that are there, and docs/models.md has its figures."""
    header = model.read_text().split("\n#")[0]
    follows = re.search(r"Follows (.*?)\.\s", re.sub(r"\n// ?", " ", header))
    assert follows, "it does not say what it follows"
    for name in re.findall(r"[a-z]\w*", follows[1]):
        assert name in words or "_" not in name, f"nothing is called {name}"
    for path, _ in PATH.findall(header):
        assert (ROOT / path).exists(), f"no file {path}"
    wrong = len(re.findall(r"^//   -D", header, re.MULTILINE))
    row = rf"^\| {model.relative_to(ROOT)} \|.*\| [\d,]+ \| {wrong} \|$"
    page = (ROOT / "docs" / "models.md").read_text()
    assert re.search(row, page, re.MULTILINE), f"docs/models.md has no line with its {wrong} wrong orders"


def test_traps_have_their_tests() -> None:
    """Each row of a table of traps names tests that there are: of the host, of a program, or of tests/system. `…`
    stands for any words."""
    there = {name.replace("_", " ") for path in (ROOT / "tests" / "system").glob("test_*.py")
             for name in re.findall(r"^def test_(\w+)", path.read_text(), re.MULTILINE)}
    for path in [*(ROOT / "tests" / "host").glob("*.cc"), *(ROOT / "user" / "tests").glob("*.c")]:
        text = re.sub(r'"\s*\n\s*"', "", path.read_text())  # a string on two lines
        there.update(re.sub(r"^\w+: ", "", string) for string in re.findall(r'"([^"\n]*)"', text))
    faults = []
    for page in ("paging.md", "files-on-disk.md"):
        rows = (ROOT / "docs" / page).read_text().partition("| trap |")[2].partition("\n\n")[0].splitlines()[2:]
        assert len(rows) >= 8, page
        for row in rows:
            trap, tests = row.strip("| ").split(" | ")
            names = re.findall(r'"([^"]*)"', tests)
            if not names and not re.search(r"`user/tests/|test_\w+\.cc", tests):
                faults.append(f"no test is named for: {trap}")
            for name in names:
                wanted = re.compile(re.sub(r"(\\ )?…(\\ )?", ".*", re.escape(name)))
                if not any(wanted.match(each) for each in there):
                    faults.append(f"no test is called {name}")
    assert not faults, "; ".join(faults)
