"""A cut of musl, built inside Spork by make, sh and tcc: enough for a program to be linked with it."""
from __future__ import annotations

import os
from pathlib import Path

import pytest
from sporklib.apt import one_line, stanzas
from sporklib.libc_build import PARTS, Build, prepare_source, read_output, run_build, table
from sporklib.paths import NotFetched
from sporklib.suites import NOT_FETCHED

CUT = (PARTS / "cut").read_text().split()
ICOUNT = ["--icount", "--append", "norandmaps"]


def build(mode: str, *options: str) -> Build:
    done = run_build(mode, CUT, 1, [*ICOUNT, *options], lambda _build, _objects: None)
    assert done.status == 0, done.said
    assert "linked with the libc that was built here: 0 7 2.500" in done.said
    assert "program ended with 11" in done.said
    assert done.objects >= 50
    return done


@pytest.fixture(scope="module")
def source() -> Path:
    try:
        return prepare_source()
    except NotFetched:
        pytest.skip(f"{NOT_FETCHED}: musl's source")


@pytest.mark.long
@pytest.mark.usefixtures("source")
def test_modes() -> None:
    """The same processes, made in another way: at another price."""
    share, fork = build("cow:share"), build("copy:fork")
    processes = share.cost("processes")
    assert fork.cost("processes") == processes
    # make and sh make nearly all of them by vfork; nobody but a subshell forks.
    assert share.cost("forks_sharevm") > 0.8 * processes
    assert share.cost("forks") + share.cost("forks_sharevm") == processes
    assert fork.cost("forks") == processes and fork.cost("forks_sharevm") == 0
    assert share.cost("forks", ("make",)) == 0
    assert fork.cost("pages_copied") > share.cost("pages_copied") + 50 * processes
    assert fork.cost("seconds") > share.cost("seconds")
    assert table([share, fork]).count("\n") == 4


if "SPORK_PAGING" in os.environ:  # by `make test-paging`
    @pytest.mark.usefixtures("source")
    def test_paging_while_a_libc_is_built() -> None:
        """Tools and sources are half as large again as memory, and the rest is what they are used with."""
        all_told = build("cow:share", "--mem", "32M", "--swap", "256M").counters["link"]
        assert all_told["pgswapout"] > 4000 and all_told["pgswapin"] > 300, all_told


def test_output_is_read() -> None:
    text = """noise
counters start
faults 5
cpu  100 0 50 7 0
processes 3
1.50 0.00
.
object 2 obj/a.o
counters configure
faults 9
cpu  130 0 60 7 0
processes 4
2.75 0.00
.
"""
    seen: list[int] = []
    done = Build("cow:share")
    read_output(iter(text.splitlines(True)), done, lambda _build, objects: seen.append(objects))
    assert (seen, done.objects, done.said) == ([2], 1, ["noise"])
    costs = {name: done.cost(name, ("configure",)) for name in done.counters["start"]}
    assert costs["faults"] == 4 and costs["processes"] == 1
    assert abs(costs["user"] - 0.3) < 1e-9 and abs(costs["seconds"] - 1.25) < 1e-9


def test_lists_of_packages_become_lists_of_sources() -> None:
    lines = """# a comment
deb [signed-by=/k.gpg arch=amd64] scheme://mirror/debian bookworm main contrib # why
deb-src scheme://mirror/debian bookworm main
deb scheme://elsewhere/x other main
"""
    assert list(one_line(lines, "bookworm")) == [
        "deb-src [signed-by=/k.gpg arch=amd64] scheme://mirror/debian bookworm main contrib\n"]
    deb822 = """Types: deb
# a comment
URIs: scheme://mirror/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /k.gpg

Enabled: no
Types: deb
URIs: scheme://off/debian
Suites: bookworm
Components: main

Types: deb
URIs: scheme://elsewhere/x
Suites: other
Components: main
"""
    assert list(stanzas(deb822, "bookworm")) == [
        "Types: deb-src\nURIs: scheme://mirror/debian\nSuites: bookworm\nComponents: main\n"
        "Signed-By: /k.gpg\n\n"]


def test_cut_names_files_of_the_source(source: Path) -> None:
    assert [name for name in CUT if not (source / "src" / name).is_file()] == []
