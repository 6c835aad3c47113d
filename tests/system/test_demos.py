"""What the demonstrations of user/demos print: one machine runs them all."""
from __future__ import annotations

import re

import pytest
from guest import succeeds

SCRIPT = r"""
for demo; do
    echo "@@ $demo"
    /demos/$demo 2>&1 || echo "exit status $?"
done
"""
PROGRAMS = (
    "vfork_sees_store", "vfork_returns", "exit_vs__exit", "vfork_handler", "vfork_fifo_deadlock",
    "fork_with_lock", "map_shared", "overcommit", "prefork_server", "cost_of_size",
    "vfork_one_thread", "clone_shares", "readonly_fault", "afork_popen",
)


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """What each demonstration printed."""
    text = succeeds("sh", "-c", SCRIPT, "sh", *PROGRAMS)
    parts = re.split(r"^@@ (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_vfork_sees_store(printed: dict[str, str]) -> None:
    assert printed["vfork_sees_store"].splitlines() == [
        "fork:                the child stores 2, the parent finds 1; by the exit status it learns 2",
        "vfork:               the child stores 2, the parent finds 2; by the exit status it learns 2",
        "vfork of 4.4BSD:     the child stores 2, the parent finds 1; by the exit status it learns 2",
    ]


def test_vfork_returns(printed: dict[str, str]) -> None:
    lines = printed["vfork_returns"].splitlines()
    assert lines[:3] == [
        "safe:   the parent finds its local variable as it was",
        "        the parent is back where it called from",
        "safe:   the parent's process ended with 0",
    ]
    assert lines[3] == "unsafe: the parent finds its local variable overwritten"
    assert "        the parent is back where it called from" not in lines[3:]


def test_exit_vs__exit(printed: dict[str, str]) -> None:
    found = re.findall(r"^(\S+), (\S+): .* comes out (\w+);.* runs (\d) times? .*, (\d) in",
                       printed["exit_vs__exit"], re.MULTILINE)
    assert found == [
        ("fork", "_exit", "once", "0", "1"),
        ("fork", "exit", "TWICE", "1", "1"),
        ("vfork", "_exit", "once", "0", "1"),
        ("vfork", "exit", "once", "1", "0"),
    ]


def test_vfork_handler(printed: dict[str, str]) -> None:
    assert re.findall(r"^(\w.*): .* is (\d)$", printed["vfork_handler"], re.MULTILINE) == [
        ("fork", "0"), ("vfork", "1"), ("vfork, signal blocked", "0"),
    ]


def test_vfork_fifo_deadlock(printed: dict[str, str]) -> None:
    assert printed["vfork_fifo_deadlock"].splitlines() == [
        "fork:   the byte came through the fifo",
        "vfork:  DEAD-LOCK: the child waits for a reader, the parent for its child",
        "afork:  the byte came through the fifo",
    ]


def test_fork_with_lock(printed: dict[str, str]) -> None:
    assert printed["fork_with_lock"].splitlines() == [
        "fork:         DEAD-LOCK: the child waits for a thread that it does not have",
        "vfork:        the child is done (exit status 0)",
        "posix_spawn:  the child is done (exit status 0)",
    ]


def test_map_shared(printed: dict[str, str]) -> None:
    own, shared = "; the parent finds its own", "; the parent finds the child's store"
    copied, nothing = "the child finds the parent's store", "the child has nothing there"
    fault = " (Segmentation fault)"
    wanted = {
        "MAP_PRIVATE": copied + own,
        "MAP_SHARED": copied + shared,
        "MADV_DONTFORK": nothing + fault + own,
        "MADV_WIPEONFORK": "the child finds zeros" + own,
        "minherit, copy": copied + own,
        "minherit, share": copied + shared,
        "minherit, none": nothing + fault + own,
        "minherit, zero": "the child finds zeros" + own,
    }
    assert dict(re.findall(r"^(\w.*?): +(.*)$", printed["map_shared"], re.MULTILINE)) == wanted


def test_overcommit(printed: dict[str, str]) -> None:
    _, strict, heuristic = re.split(r".* accounting:\n", printed["overcommit"])
    refused = re.findall(r"^ +(\S.*?)  +Out of memory$", strict, re.MULTILINE)
    assert refused == ["fork", "vfork of 4.4BSD"]
    assert strict.count("a child") == 3
    assert heuristic.count("a child") == 5


def test_prefork_server(printed: dict[str, str]) -> None:
    text = printed["prefork_server"]
    assert "2000 of 2000 answers are right; 4 of 4 workers ended well" in text
    assert text.endswith("copied: yes\n")


def test_cost_of_size(printed: dict[str, str]) -> None:
    rows = re.findall(r"^ +(\d+)  (\S.*?) +(\d+) +(\d+) +(\d+) +(\d+)$", printed["cost_of_size"],
                      re.MULTILINE)
    cost = {(int(mib), way): [int(n) for n in counts] for mib, way, *counts in rows}
    assert len(cost) == 4 * 6
    for mib in (1, 4, 16, 64):
        pages = mib * 256
        few = 100
        assert pages <= cost[mib, "fork, copy"][1] < pages + few
        for way in ("fork, cow", "fork, cow+pte", "vfork, cow"):
            _, copies, faults, after = cost[mib, way]
            # A fault for a whole page table; the edges of the mapping go page by page.
            assert copies < few and faults < few, way
            assert pages // 512 <= after < min(pages, 1024) + pages // 512 + few, way
        for way in ("vfork, share", "afork"):
            _, copies, faults, after = cost[mib, way]
            assert copies < few and faults < few and after < few, way


def test_vfork_one_thread(printed: dict[str, str]) -> None:
    assert printed["vfork_one_thread"] == (
        "the caller of vfork slept; meanwhile the other thread counted: 100000 and more\n")


def test_clone_shares(printed: dict[str, str]) -> None:
    shared = {line[:28].strip(): re.findall(r"(\w+) shared", line)
              for line in printed["clone_shares"].splitlines()}
    assert shared == {
        "no flag (fork)": [],
        "CLONE_VM": ["memory"],
        "CLONE_FILES": ["descriptors"],
        "CLONE_FS": ["umask"],
        "CLONE_VM|CLONE_SIGHAND": ["memory", "handlers"],
        "CLONE_VM|CLONE_VFORK (vfork)": ["memory"],
        "all (as a thread has them)": ["memory", "descriptors", "umask", "handlers"],
    }


def test_readonly_fault(printed: dict[str, str]) -> None:
    assert dict(re.findall(r"^(\w.*): +(.*)$", printed["readonly_fault"], re.MULTILINE)) == {
        "child, after fork": "the store is done",
        "parent, after fork": "the store is done",
        "parent, after mprotect": "SIGSEGV, SEGV_ACCERR, at byte 5 of the page",
        "parent, after munmap": "SIGSEGV, SEGV_MAPERR, at byte 5 of the page",
    }


def test_afork_popen(printed: dict[str, str]) -> None:
    assert printed["afork_popen"].splitlines() == [
        "/bin/echo is on its way",
        "    the pipe says: hello",
        "    the pipe has ended",
        "    it exited with 0",
        "/bin/false is on its way",
        "    the pipe has ended",
        "    it exited with 1",
        "/no/such/program is on its way",
        "    the pipe has ended",
        "    it could not be executed: No such file or directory",
    ]
