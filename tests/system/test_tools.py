"""tools/sporklib by itself, without a machine."""
from __future__ import annotations

import contextlib
import filecmp
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sporklib import channel, cli, cpio, programs, results, suites, symbols, user_suite
from sporklib.iso import _menu, make_iso
from sporklib.job import parse_addition, parse_variable
from sporklib.machine import check_words, memory_for
from sporklib.paths import BUILD, KERNEL, ROOT, ROOT_CPIO, ToolError
from sporklib.results import Result, tally

PF_EXITING = 4  # Linux's, in /proc/PID/stat


def unpack(archive: bytes, folder: Path) -> None:
    """Unpacks with the system's own cpio when it is there, else with busybox's."""
    folder.mkdir()
    subprocess.run(["/bin/busybox", "cpio", "-idm", "--quiet"], input=archive, cwd=folder, check=True)


def test_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "file").write_bytes(bytes(range(256)) * 33)
    (source / "inner" / "file").chmod(0o640)
    (source / "link").symlink_to("inner/file")
    archive = cpio.Archive()
    archive.add(source, "/a/b")
    archive.file("/bin/program", b"x", 0o755)
    unpack(archive.finish(), tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "a/b/inner/file").read_bytes() == bytes(range(256)) * 33
    assert stat.S_IMODE((out / "a/b/inner/file").stat().st_mode) == 0o640
    assert (out / "a/b/link").readlink() == Path("inner/file")
    assert stat.S_IMODE((out / "bin/program").stat().st_mode) == 0o755


def test_archives_may_follow_each_other() -> None:
    first = cpio.Archive()
    first.directory("/etc")
    one = first.finish()
    assert len(one) % 4 == 0
    second = cpio.Archive(one)
    second.file("/etc/spork/run", b"arg=ls\0")
    names = [path for path, _, _ in cpio.entries(second.finish())]
    assert names == ["/etc/spork", "/etc/spork/run"]


def test_links_on_the_way_are_followed_and_stay(tmp_path: Path) -> None:
    base = cpio.Archive()
    base.directory("/usr/lib")
    base.symlink("/lib", "usr/lib")
    base.symlink("/opt", "/usr/./lib/../share")
    base.symlink("/loop", "loop")
    one = base.finish()
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "file").write_text("")
    second = cpio.Archive(one)
    second.add(folder, "/lib")
    second.symlink("/lib/a/link", "../b")
    second.file("/lib/a/link/inner", b"")
    second.file("/opt/c", b"")
    second.file("/opt", b"a file now")
    second.file("/loop/x", b"ends")
    names = [path for path, _, _ in cpio.entries(second.finish())]
    assert names == ["/usr/lib/file", "/usr/lib/a", "/usr/lib/a/link", "/usr/lib/b",
                     "/usr/lib/b/inner", "/usr/share", "/usr/share/c", "/opt", "/loop",
                     "/loop/x"]


def test_programs_bring_what_they_need(tmp_path: Path) -> None:
    def names_of(path: Path) -> dict[str, int]:
        archive = cpio.Archive()
        programs.Programs(archive).add(path)
        return {path: mode for path, mode, _ in cpio.entries(archive.finish())}

    script = tmp_path / "script"
    script.write_text("#!/usr/bin/env bash\n")
    (tmp_path / "link").symlink_to("script")
    found = names_of(tmp_path / "link")
    assert stat.S_ISLNK(found[str(tmp_path / "link")])
    assert str(script) in found and "/usr/bin/env" in found
    loader = Path("/lib64/ld-linux-x86-64.so.2").resolve()
    assert any(Path(path).resolve() == loader for path in found)
    assert any(path.endswith("/libc.so.6") for path in found)
    assert set(names_of(Path("/bin/bash-static"))) == {"/bin", "/bin/bash-static"}
    with pytest.raises(ToolError, match="absent"):
        names_of(tmp_path / "absent")


def test_memory_has_room_for_what_is_added() -> None:
    mib = 1 << 20
    assert memory_for(None, 14 * mib) == "256M"
    assert memory_for(None, 100 * mib) == "333M"
    assert memory_for("45", 40 * mib) == "45"
    assert memory_for("1g", 300 * mib) == "1g"
    with pytest.raises(ToolError, match="--mem 45M"):
        memory_for("44M", 40 * mib)


def test_equal_contents_give_equal_archives() -> None:
    def build() -> bytes:
        archive = cpio.Archive()
        archive.file("/x/y", b"data")
        return archive.finish()

    assert build() == build()


def test_the_iso_is_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, zone in (("one", "UTC"), ("two", "UTC+9")):
        monkeypatch.setenv("TZ", zone)
        (tmp_path / name).mkdir()
        begun = int(time.time())
        while int(time.time()) == begun:  # in another second
            time.sleep(0.05)
        make_iso(tmp_path / name / "iso", KERNEL, ROOT_CPIO)
    assert filecmp.cmp(tmp_path / "one" / "iso", tmp_path / "two" / "iso", shallow=False)


def test_nothing_that_is_built_knows_where_the_tree_lies() -> None:
    """So that it is the same elsewhere; `make reproduce` tries that."""
    programs = [path for path in (BUILD / "user").rglob("*") if path.is_file() and path.suffix != ".d"]
    assert len(programs) > 100
    assert [path for path in (KERNEL, ROOT_CPIO, *programs) if bytes(ROOT) in path.read_bytes()] == []


def test_decoder_finds_the_magic_word_and_frames_cut_anywhere() -> None:
    frames = [(0x11, b"out"), (0x41, b"\x00\x07\x00\x00"), (0x12, b"")]
    stream = b"firmware noise" + channel.MAGIC + b"".join(channel.encode(*f) for f in frames)
    for step in (1, 2, 3, 7, len(stream)):
        decoder = channel.Decoder()
        got = [f for at in range(0, len(stream), step) for f in decoder.feed(stream[at : at + step])]
        assert got == frames


def test_both_ends_of_the_channel_agree() -> None:
    header = (Path(__file__).parents[2] / "user/init/channel.h").read_text()
    for name, value in re.findall(r"FRAME_(\w+) = (0x[0-9a-f]+)", header):
        assert channel.Frame[name] == int(value, 16)
    assert re.search(rf"CHANNEL_WINDOW_IN = {channel.WINDOW_IN}\b", header)
    assert re.search(rf"CHANNEL_WINDOW_OUT = {channel.WINDOW_OUT}\b", header)


def read_tap(text: str) -> results.Tap:
    tap = results.Tap()
    for line in text.splitlines():
        tap.line(line)
    return tap


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1..2\nok 1 - a\nok 2 - b\n", None),
        ("ok 1 - a\nok 2 - b\n1..2\n", None),
        ("1..1\nok 1 - a # SKIP not here\n", None),
        ("1..2\nok 1 - a\nnot ok 2 - b\n# why\n", "not ok 2 - b"),
        ("1..2\nok 1 - a\n", "without a result"),
        ("1..1\nok 1 - a\nok 2 - b\n", "2 results"),
        ("ok 1 - a\n", "no plan"),
        ("1..1\nok 1 - a\nBail out! broken\n", "Bail out"),
        ("hello\n", "no plan"),
    ],
)
def test_tap(text: str, fault: str | None) -> None:
    faults = "\n".join(read_tap(text).faults())
    assert (fault is None and not faults) or (fault is not None and fault in faults)


def test_comments_belong_to_their_failure() -> None:
    tap = read_tap("TAP version 13\n1..2\nnot ok 1 - a\n# here\nok 2 - b\n")
    assert tap.points[0].comments == ["# here"]
    assert tap.points[1].comments == []


def test_junit_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    written = [
        results.Result("group", "good", "passed"),
        results.Result("group", "bad", "failed", "line 1\n\x1b[31mline 2"),
        results.Result("group", "other", "skipped", "no Linux"),
    ]
    results.write_junit(path, "suite", written)
    read = results.read_junit(path)
    assert [(r.name, r.verdict) for r in read] == [(r.name, r.verdict) for r in written]
    assert "line 1" in read[1].details


def test_a_program_that_hangs_leaves_nobody_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one of a group of its own, who has the output open."""
    program = tmp_path / "user" / "tests" / "hangs"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/bash\nset -m\nsleep 1000 &\necho $!\nwait\n")
    program.chmod(0o755)
    monkeypatch.setattr(user_suite, "BUILD", tmp_path)
    monkeypatch.setattr(user_suite, "PROGRAM_LIMIT", 1.0)
    run = user_suite._run_on_linux("hangs", [])
    assert run is not None and run.died == "did not end in 1 s"
    # Who has closed its output is about to become a zombie, if it is not.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        assert int(Path(f"/proc/{run.output[0]}/stat").read_text().split()[8]) & PF_EXITING


def test_symbolize_names_a_call_by_its_line(tmp_path: Path) -> None:
    source = tmp_path / "p.c"
    source.write_text("void callee(void);\nvoid caller(void) {\n    callee();\n    callee();\n}\n"
                      "void _start(void) { caller(); }\nvoid callee(void) { }\n")
    elf = tmp_path / "p"
    subprocess.run(["gcc", "-g", "-O0", "-nostdlib", "-static", "-no-pie",
                    "-Wl,-Ttext=0xffffffff", "-o", elf, source], check=True)
    listing = subprocess.run(["objdump", "-d", elf], capture_output=True, text=True, check=True)
    after_call = re.findall(r"call .*<callee>\n\s*([0-9a-f]+):", listing.stdout)
    text = symbols.symbolize(f"  [<{after_call[0].zfill(16)}>]\n", elf)
    assert "caller" in text and "p.c:3" in text
    assert symbols.symbolize("nothing here\n", elf) == "nothing here\n"


def test_menu_that_does_not_wait() -> None:
    text = _menu("one two")
    assert "set timeout=0" in text
    assert text.count("multiboot2 /boot/spork.elf one two\n") == 1
    assert "set timeout=1" in _menu(None)


def test_options(tmp_path: Path) -> None:
    file = tmp_path / "prog"
    file.write_text("x")
    assert parse_addition(str(file)) == (file, "/prog")
    assert parse_addition(f"{file}:/opt/x") == (file, "/opt/x")
    assert parse_variable("A=b=c") == ("A", "b=c")
    with pytest.raises(ToolError):
        parse_addition(str(tmp_path / "absent"))
    with pytest.raises(ToolError):
        parse_variable("novalue")


def test_every_file_is_checked_out_with_plain_line_ends() -> None:
    """Also where core.autocrlf is set: .gitattributes says so of each."""
    listing = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "--eol"], cwd=ROOT,
                             capture_output=True, text=True, check=True).stdout.splitlines()
    assert listing
    right = re.compile(r"i/(lf|none) +w/(lf|none|) +attr/text=auto eol=lf|i/-text +w/(-text|) +attr/-text")
    assert not [line for line in listing if not right.match(line)]


@pytest.mark.parametrize("kind", ["", "undefined"])
def test_the_image_of_a_kernel_is_beside_it(kind: str) -> None:
    """Of each its own: a plain build takes none with a sanitizer for its own."""
    said = subprocess.run(["make", "-n", "iso", f"SANITIZE={kind}"], cwd=ROOT, capture_output=True, text=True,
                          check=True).stdout
    code = "from sporklib import paths; print(paths.ISO.relative_to(paths.ROOT), paths.KERNEL.relative_to(paths.ROOT))"
    iso, kernel = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tools", text=True, check=True,
                                 env=os.environ | {"SANITIZE": kind}, stdout=subprocess.PIPE).stdout.split()
    assert Path(iso).parent == Path(kernel).parent.parent
    assert f" {iso}\n" in said


def test_page_of_counters_is_what_the_table_says() -> None:
    done = subprocess.run(["tools/counters", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("patch", sorted((ROOT / "tests" / "faults").glob("*.patch")), ids=lambda p: str(p.stem))
def test_known_faults_can_be_put_back(patch: Path) -> None:
    """That each fails its test is seen by `make test-faults`; that it can be put back at all, here."""
    done = subprocess.run(["patch", "-p1", "--dry-run", "--forward", "--fuzz=0", "-i", patch], cwd=ROOT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("word", "known"), [("ktest=fork", True), ("quiet", True), ("trace=all", True),
                                             ("chek", False), ("quiet=1", False), ("ktets=fork", False)])
def test_words_of_the_command_line_are_looked_at_first(word: str, known: bool) -> None:
    if known:
        check_words(f"norandmaps {word}")
        return
    with pytest.raises(ToolError, match=rf"knows no word {word}(.|\n)*norandmaps +addresses"):
        check_words(f"norandmaps {word}")
    check_words(f"init=/mine {word}")  # which may be this init's own


@pytest.mark.parametrize(("output", "answer"), [
    ("/dev/full", "No space left on device"), ("/nosuch/image", "No such file or directory: /nosuch/image"),
])
def test_what_the_system_refuses_is_a_sentence(output: str, answer: str) -> None:
    done = subprocess.run([ROOT / "tools/spork", "image", "-o", output], capture_output=True, text=True, check=False)
    assert done.returncode == 125 and re.fullmatch(f"spork: {answer}.*\n", done.stderr), done.stderr


def test_a_tree_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "BUILD", Path("/proc/nosuch"))
    monkeypatch.delenv("SPORK_NO_BUILD", raising=False)
    with pytest.raises(ToolError, match="nothing can be built here: .* /proc/nosuch; SPORK_NO_BUILD=1 "):
        cli.build()


@pytest.mark.parametrize(("options", "answer"), [
    (["--smp", "0"], "0 is not a number from 1 to 16"),
    (["--smp", "99"], "99 is not a number from 1 to 16"),
    (["--mem", "lots"], "--mem lots: a size is a number"),
    (["--trace-only", "fork,nosuch", "--trace", "/nowhere"], "no category fork"),
    (["--trace-only", "map,nosuch", "--trace", "/nowhere"], "no category nosuch"),
    (["--append", "trace=map,nosuch"], "no category nosuch"),
    (["--append", "watchdog=soon"], "watchdog=soon: watchdog is a number: seconds"),
    (["--append", "panic=nosuch"], "panic=nosuch: panic is `test`, `check`, "),
])
def test_what_makes_no_machine_is_said_before_it_starts(options: list[str], answer: str) -> None:
    done = subprocess.run([ROOT / "tools/spork", "run", *options, "--", "true"], capture_output=True, text=True,
                          check=False)
    assert done.returncode != 0 and answer in done.stderr
    assert "Traceback" not in done.stderr


def test_the_tool_alone_lists_its_words() -> None:
    done = subprocess.run([ROOT / "tools" / "spork"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and re.search(r"^ +run +run a command on the kernel$", done.stdout, re.M), done


def test_what_cannot_run_in_the_guest_is_said_by_name(tmp_path: Path) -> None:
    source = tmp_path / "x.c"
    source.write_text("int main(void) { return 0; }")
    program = tmp_path / "x"
    subprocess.run(["gcc", "-o", program, source], check=True)
    assert "is dynamically linked" in str(programs.why_it_cannot_run(program))
    program.chmod(0o644)
    assert "is not executable" in str(programs.why_it_cannot_run(program))
    subprocess.run(["gcc", "-static", "-o", program, source], check=True)
    program.chmod(0o755)
    assert programs.why_it_cannot_run(program) is None
    elf = bytearray(program.read_bytes())
    elf[18] = 183  # EM_AARCH64
    program.write_bytes(elf)
    assert "another processor" in str(programs.why_it_cannot_run(program))
    for broken in (elf[:40], elf[:100], elf[:32] + b"\xff" * 8 + elf[40:]):  # the last: where its segments are told
        program.write_bytes(broken)
        assert "broken" in str(programs.why_it_cannot_run(program))
    program.write_text("#!/usr/bin/python3 -u\n")
    assert "a script for /usr/bin/python3:" in str(programs.why_it_cannot_run(program))
    program.write_text("#! /bin/sh\n")
    assert programs.why_it_cannot_run(program) is None


def test_what_becomes_of_a_host_test_is_told(tmp_path: Path) -> None:
    """A panic costs one test, and its line comes first; a test without a report did not pass."""
    said = "Filters: x\npanic on CPU 0: planted\n  #0 in panic\n"
    (tmp_path / "0.txt").write_text(said)
    died, = suites._host_result("vm", "a test", tmp_path / "0", signal.SIGABRT)
    assert (died.verdict, died.end, died.details) == ("failed", "died", "panic on CPU 0: planted\n" + said)
    hung, = suites._host_result("vm", "a test", tmp_path / "0", signal.SIGALRM)
    assert hung.end == "hung"
    silent, = suites._host_result("vm", "a test", tmp_path / "0", 0)
    assert silent.verdict == "failed"
    (tmp_path / "0.xml").write_text("<testsuites><testsuite><testcase name='a test'/></testsuite></testsuites>")
    passed, = suites._host_result("vm", "a test", tmp_path / "0", 0)
    assert passed.verdict == "passed"
    left = Result("vm", "4 more", "failed", "did not run", 0, "did not run", 4)
    assert tally([died, hung, passed, left]) == "3 ran, 1 failed, 1 hung, 4 did not run"


def test_what_is_called_builds_under_the_lock() -> None:
    """Two makes in one tree build one after the other only if no target builds what it needs by itself."""
    part = (ROOT / "Makefile").read_text().split("\n# ---- What a user runs")[1].split("\n# ---- ")[0]
    targets = dict(re.findall(r"^([a-z][a-z-]*):(.*?)(?:##.*)?$", part, re.MULTILINE))
    assert {"all", "test", "lint"} < set(targets)
    assert {name: needs for name, needs in targets.items() if re.sub(r"\$\(tools_\w+\)", "", needs).strip()} == {}
    assert [line for line in part.splitlines() if "$(MAKE)" in line and "$(lock)" not in line] == []
