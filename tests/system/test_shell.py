"""A shell on the serial terminal: line editing, signals from the keyboard, job control."""
from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from guest import LIMIT, Terminal

INTERRUPT, END_OF_FILE, SUSPEND = b"\x03", b"\x04", b"\x1a"
ERASE, ERASE_LINE, ERASE_WORD = b"\x7f", b"\x15", b"\x17"
UP, RIGHT, LEFT = b"\x1b[A", b"\x1b[C", b"\x1b[D"


class Shared:
    """One shell for all tests of this file; a new one after a test that did not leave it well."""

    def __init__(self) -> None:
        self.terminal: Terminal | None = None

    def get(self) -> Terminal:
        if self.terminal is None:
            self.terminal = Terminal()
        return self.terminal

    def drop(self) -> None:
        if self.terminal is not None:
            self.terminal.close()
        self.terminal = None


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    one = Shared()
    yield one
    one.drop()


@pytest.fixture
def shell(shared: Shared, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    failures = request.session.testsfailed
    yield shared.get()
    if request.session.testsfailed != failures:
        shared.drop()


def test_commands(shell: Terminal) -> None:
    assert shell.command("echo $((6 * 7))") == "42\n"
    assert shell.command("false") == ""
    assert shell.status() == 1
    assert shell.command("no-such-command").endswith("not found\n")
    assert shell.status() == 127
    terminal = shell.command("tty")
    assert terminal in ("/dev/console\n", "/dev/ttyS0\n")
    assert shell.command("readlink /proc/self/fd/0") == terminal


@pytest.mark.parametrize(
    ("keys", "printed"),
    [
        (b"echo abX" + ERASE + b"c", "abc"),
        (b"echo ac" + LEFT + b"b", "abc"),
        (b"echo bd" + LEFT * 2 + b"a" + RIGHT + b"c", "abcd"),
        (b"echo wrong" + ERASE_LINE + b"echo right", "right"),
        (b"echo one two" + ERASE_WORD + b"three", "one three"),
        (b"cho x" + b"\x01" + b"e" + b"\x05" + b"y", "xy"),  # to the start, to the end
    ],
)
def test_line_editing(shell: Terminal, keys: bytes, printed: str) -> None:
    shell.send(keys + b"\r")
    assert shell.answer() == printed + "\n"


def test_history(shell: Terminal) -> None:
    assert shell.command("echo first$((1 + 1))") == "first2\n"
    assert shell.command("true") == ""
    shell.send(UP + UP + b"\r")
    assert shell.answer() == "first2\n"


def test_interrupt_at_the_prompt(shell: Terminal) -> None:
    shell.send(b"echo never ru''n" + INTERRUPT)
    assert "never run" not in shell.wait_for_prompt()
    assert shell.command("echo on") == "on\n"


def test_interrupt_a_sleep(shell: Terminal) -> None:
    shell.send(b"sh -c 'echo go''ing; exec sleep 100'\r")
    shell.expect(b"going\r\n")
    shell.send(INTERRUPT)
    assert shell.wait_for_prompt().strip() in ("^C", "")
    assert shell.status() == 130


def test_cat_on_the_terminal(shell: Terminal) -> None:
    shell.send(b"echo cat''s; cat\r")
    shell.expect(b"cats\r\n")  # from here on the terminal edits the line, not the shell
    shell.send(b"hello\r")
    shell.expect(b"hello\r\nhello\r\n")  # the echo, and cat's
    shell.send(b"half" + END_OF_FILE)  # what was typed is read, and is not the end
    shell.expect(b"halfhalf")
    shell.send(b"er" + ERASE * 2 + b"\r" + END_OF_FILE)
    shell.wait_for_prompt()
    assert shell.status() == 0
    shell.send(b"sh -c 'echo go''ing; exec cat'\r")
    shell.expect(b"going\r\n")
    shell.send(INTERRUPT)
    shell.wait_for_prompt()
    assert shell.status() == 130


def test_job_control(shell: Terminal) -> None:
    shell.send(b"sh -c 'echo go''ing; exec sleep 100'\r")
    shell.expect(b"going\r\n")
    shell.send(SUSPEND)
    assert "Stopped" in shell.wait_for_prompt()
    assert "Stopped" in shell.command("jobs")
    shell.command("bg")
    assert "Running" in shell.command("jobs")
    shell.send(b"fg\r")
    shell.expect(b"sleep 100")  # the job that it names
    shell.send(SUSPEND)
    assert "Stopped" in shell.wait_for_prompt()
    said = shell.command("kill %1; kill -CONT %1")
    # `wait` does not wait for a job that the shell takes for a stopped one still.
    end = time.monotonic() + LIMIT
    while "Terminated" not in said:
        assert time.monotonic() < end
        said = shell.command("jobs")
    assert shell.command("jobs") == ""


def test_background_and_terminal(shell: Terminal) -> None:
    shell.command("cat &")  # must not read what is typed here
    end = time.monotonic() + LIMIT
    while "Stopped" not in shell.command("jobs"):
        assert time.monotonic() < end
    shell.send(b"fg\r")
    shell.expect(b"fg\r\ncat\r")
    shell.send(END_OF_FILE)
    shell.wait_for_prompt()
    shell.command("true & wait")
    assert shell.command("jobs") == ""


def wait_until_both_have_stopped(shell: Terminal) -> None:
    """Parent and child of user/tests/vfork_stops have, each with an address space of its own."""
    end = time.monotonic() + LIMIT
    found: list[list[str]] = []
    while found != [["T", "stopped", "own"]] * 2:
        assert time.monotonic() < end, found
        lines = shell.command("/usr/local/bin/ps | grep '[v]fork_stops'").splitlines()
        found = [line.split()[2:5] for line in lines]


def test_suspend_a_vfork_child(shell: Terminal) -> None:
    shell.send(b"/tests/vfork_stops terminal ^Z\r")
    shell.expect(b"press the key\r\n")
    shell.send(SUSPEND)
    shell.expect(b"the child runs on\r\n")
    answer = shell.wait_for_prompt()  # child and parent stop when it has let go, not before
    assert "Stopped" in answer and "the parent goes on" not in answer
    wait_until_both_have_stopped(shell)
    shell.send(b"fg\r")
    shell.expect(b"the parent goes on\r\n")
    shell.send(b"a line\r")
    assert shell.wait_for_prompt().splitlines() == [
        "a line", "the new program reads a line", "and has waited"]
    assert shell.status() == 0


def test_background_vfork_child_and_terminal(shell: Terminal) -> None:
    shell.command("/tests/vfork_stops terminal read >/tmp/said &")
    end = time.monotonic() + LIMIT
    while "Stopped" not in shell.command("jobs"):
        assert time.monotonic() < end
    assert shell.command("cat /tmp/said") == "EIO\nthe parent goes on\n"
    wait_until_both_have_stopped(shell)
    shell.send(b"fg\r")
    shell.expect(b"fg\r\n/tests/vfork_stops")
    shell.send(b"a line\r")
    shell.wait_for_prompt()
    assert shell.command("cat /tmp/said; rm /tmp/said").splitlines()[2:] == [
        "the new program reads a line", "and has waited"]


def test_terminal_settings(shell: Terminal) -> None:
    settings = shell.command("stty -a").replace(";", " ").split()
    for word in ("icrnl", "opost", "onlcr", "speed", "^C", "^D", "^Z"):
        assert word in settings
    assert shell.command("stty size") == "24 80\n"
    shell.process.setwinsize(30, 100)
    shell.send(b'until [ "$(stty size)" = "30 100" ]; do :; done\r')
    shell.wait_for_prompt()
    shell.process.setwinsize(24, 80)
    shell.send(b'until [ "$(stty size)" = "24 80" ]; do :; done\r')
    shell.wait_for_prompt()


def test_single_keys(shell: Terminal) -> None:
    shell.send(b"stty -icanon -echo -icrnl; echo rea''dy; head -c 4 | od -An -tx1; stty sane\r")
    shell.expect(b"ready\r\n")
    shell.send(b"a" + ERASE + END_OF_FILE + b"\r")
    assert shell.wait_for_prompt().split() == ["61", "7f", "04", "0d"]


def test_interrupt_key_as_a_byte(shell: Terminal) -> None:
    shell.send(b"stty raw -echo; echo rea''dy; head -c 1 | od -An -tx1; stty sane\r")
    shell.expect(b"ready")
    shell.send(INTERRUPT)
    assert shell.wait_for_prompt().split() == ["03"]


def test_quit_key(shell: Terminal) -> None:
    shell.send(b"sh -c 'echo go''ing; exec sleep 100'\r")
    shell.expect(b"going\r\n")
    shell.send(b"\x1c")
    shell.wait_for_prompt()
    assert shell.status() == 131


def test_pipelines(shell: Terminal) -> None:
    assert shell.command("seq 1 1000 | sort -rn | head -1") == "1000\n"
    assert shell.command("yes | head -3 | tr y z | uniq -c").split() == ["3", "z"]
    shell.send(b"yes | (echo go''ing >&2; exec cat) >/dev/null\r")
    shell.expect(b"going\r\n")
    shell.send(INTERRUPT)  # reaches every process of the pipeline
    shell.wait_for_prompt()
    assert shell.status() == 130
    assert shell.command("ps | grep -c '[ ]yes$'") == "0\n"


def test_here_document(shell: Terminal) -> None:
    shell.send(b"tr a-z A-Z <<end\r")
    shell.expect(b"> ")
    shell.send(b"some text\r")
    shell.expect(b"> ")
    shell.send(b"end\r")
    assert shell.answer() == "SOME TEXT\n"


def test_exit_ends_the_machine() -> None:
    terminal = Terminal()
    terminal.send(b"exit 3\r")
    assert terminal.exit_status() == 3


def test_end_of_file_ends_the_machine() -> None:
    terminal = Terminal()
    assert terminal.command("true") == ""
    terminal.send(END_OF_FILE)
    assert terminal.exit_status() == 0
