"""Labs: what is handed out holds no answer, and what comes back gets the points that it deserves. `make test-labs`
proves each lab in full; here is what takes seconds."""
from __future__ import annotations

import dataclasses
import errno
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
from sporklib import sources
from sporklib.paths import ROOT

sys.path.insert(0, str(ROOT / "tools"))

from labs import cli, cut, grade, handout, kernels, leaks, machine, prove, reports, sandbox, spec  # noqa: E402

LABS = spec.names()
ANSWER = "fault_outcome outcome = enter((*copy)->page(), entry.effective_protection());"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A handout."""
    out = tmp_path_factory.mktemp("lab") / "handout"
    handout.cut(spec.load("cow-fork"), out)
    return out


@pytest.mark.parametrize("name", LABS)
def test_each_lab_is_what_it_says(name: str) -> None:
    lab = spec.load(name)
    assert sum(test.points for test in lab.tests) == lab.points > 0
    assert (lab.folder / "README.md").is_file() and any(test.hidden for test in lab.tests)
    for each in lab.submissions:
        assert each.patch is None or (ROOT / each.patch).is_file(), f"no patch {each.patch}"
        assert each.bodies is None or cut.bodies_in(lab.folder / "hidden" / each.bodies), f"nothing in {each.bodies}"
    index = (ROOT / "docs" / "labs" / "README.md").read_text()
    assert f"| [{name}]({name}/README.md) | {lab.points} | {lab.hours} |" in index


def test_a_handout_is_a_fresh_repository_without_answers(given: Path) -> None:
    log = subprocess.run(["git", "log", "--format=%an %s"], cwd=given, capture_output=True, text=True, check=True)
    assert log.stdout == "Spork Lab cow-fork: From the eager fork to copy-on-write\n"
    for name in ("tests/mutants", "tests/faults", "docs/labs/cow-fork/hidden", "docs/labs/cow-fork/starter"):
        assert not (given / name).exists()
    text = (given / "vm/uvm_fault.cc").read_text()
    assert "uvm_faultinfo::copy_anon(vm_amap& amap, vm_anon& anon, vm_page& original) {\n    panic(" in text
    assert "create_copy(amap.lock(), *contents)" in text  # case 2B stays
    assert spec.load("cow-fork", given / "docs/labs").submissions == []


@pytest.mark.parametrize("name", [name if name == "vfork" else pytest.param(name, marks=pytest.mark.long)
                                  for name in LABS if name != "cow-fork"])
def test_each_other_lab_can_be_handed_out(name: str, tmp_path: Path) -> None:
    assert "rows of eight tokens is left" in handout.cut(spec.load(name), tmp_path / "handout")


@pytest.mark.long
def test_each_submission_that_is_kept_can_be_made_from_the_tree() -> None:
    """Of one lab. `make test-labs` makes and grades those of all."""
    lab = spec.load("cow-fork")
    with prove.submissions(lab) as all_of_them:
        assert len(all_of_them) == len(lab.submissions) + 2


def test_no_link_of_a_handout_leads_to_what_was_left_out(given: Path) -> None:
    text = (given / "docs/labs/README.md").read_text()
    assert "[cow-fork](cow-fork/README.md)" in text and "| vfork | 100 |" in text
    dead = [f"{page.relative_to(given)}: {link[2]}" for page in given.rglob("*.md")
            for link in handout.LINK.finditer(page.read_text()) if not (page.parent / link[2]).exists()
            and (ROOT / page.relative_to(given).parent / link[2]).exists()]
    assert dead == []


def test_the_search_finds_the_answer_wherever_it_is(given: Path) -> None:
    lab = spec.load("cow-fork")
    removed = [("vm/uvm_fault.cc", "uvm_faultinfo::copy_anon", "    " + ANSWER)]
    wanted = leaks.wanted(removed, [], given)
    assert wanted

    def found(data: bytes) -> bool:
        return any(leaks.search(data, wanted, "x"))

    spread = ANSWER.replace(" ", "\n// ")
    assert found(ANSWER.encode()) and found(f"// {spread}".encode())
    assert found(gzip.compress(ANSWER.encode()))
    assert found(b"\x7fELF\0\0" + ANSWER.encode() + b"\0\0")
    assert found(json.dumps({"source": f"a\n{ANSWER}"}).encode())
    assert found(b"<svg><text>" + ANSWER.replace(">", "&gt;").replace("(", "<b>(</b>").encode() + b"</text></svg>")
    assert not found(b"fault_outcome outcome = enter(page, prot);")
    planted = subprocess.run(["git", "hash-object", "-w", "--stdin"], cwd=given, input=ANSWER, text=True,
                             capture_output=True, check=True).stdout.strip()
    try:
        told, _ = leaks.leaks(given, removed, lab.harmless)
        assert [leak.where for leak in told] == [f"git blob {planted[:12]}"]
    finally:
        (given / ".git/objects" / planted[:2] / planted[2:]).unlink()


SOURCE = """\
namespace {
int once(int x) { return x + 1; }
} // namespace
struct a { int twice(int); void stop(); };
class b {
    int thrice(int x) { return 3 * x; }
};
void stop();
// What it does.
int a::twice(int x) {
    stop();
    return 2 * x;
}
"""


def test_a_cut_is_by_name_and_fails_on_what_it_does_not_understand(tmp_path: Path) -> None:
    (tmp_path / "compile_flags.txt").write_text("-xc++\n-std=c++20\n")
    source = tmp_path / "x.cc"
    source.write_text(SOURCE)
    dropped = cut.drop_statement(tmp_path, spec.cut_of("x.cc: a::twice: stop"))
    assert dropped == "    stop();\n" and source.read_text() == SOURCE.replace("    stop();\n", "")
    new = {"x.cc": {"a::twice": cut.Body(b"// Yours.\n", b"\n    return 0;\n"), "once": cut.Body(b"", b" return 0; "),
                    "b::thrice": cut.Body(b"// Yours.\n", b"\n    return 0;\n")}}
    removed = cut.splice(tmp_path, new)
    assert "int once(int x) { return 0; }" in source.read_text()
    assert "class b {\n    // Yours.\n    int thrice(int x) {\n        return 0;\n    }\n};" in source.read_text()
    assert "// Yours.\nint a::twice(int x) {\n    return 0;\n}\n" in source.read_text()
    assert ("x.cc", "a::twice", "\n    return 2 * x;\n") in removed
    for wrong, why in (("nosuch", "defined 0 times"), ("a::nosuch", "defined 0 times")):
        with pytest.raises(spec.LabError, match=why):
            cut.splice(tmp_path, {"x.cc": {wrong: cut.Body(b"", b"")}})
    with pytest.raises(spec.LabError, match="calls stop 0 times"):
        cut.drop_statement(tmp_path, spec.cut_of("x.cc: a::twice: stop"))
    with pytest.raises(spec.LabError, match="clang does not understand"):
        cut.splice(tmp_path, {"x.cc": {"once": cut.Body(b"", b" return nosuch; ")}})


def test_an_update_leaves_alone_what_is_handed_in(given: Path, tmp_path: Path) -> None:
    lab = spec.load("cow-fork")
    shutil.copytree(given, tmp_path / "old", ignore=shutil.ignore_patterns(".git"))
    for name in ("README.md", *lab.submit):  # as if they had been others then
        with (tmp_path / "old" / name).open("a") as file:
            file.write("// another\n")
    handout.make_repository(lab, tmp_path / "old")
    patch, changed = handout.update(lab, tmp_path / "old")
    assert sorted(changed) == sorted(lab.submit)
    assert re.findall(rb"^\+\+\+ b/(.*)$", patch, re.MULTILINE) == [b"README.md"]


def test_contents_of_memory_are_those_of_the_programs(tmp_path: Path) -> None:
    program = tmp_path / "x"
    (tmp_path / "x.c").write_text(f"""#include "{ROOT}/docs/labs/lab.h"
        int main(void) {{ volatile uint64_t* at = lab_map(3); lab_fill(at, 3, 0xfedcba9876543210, 2);
        lab_value("sum", lab_sum(at, 3)); return 0; }}""")
    subprocess.run(["gcc", "-O2", "-o", program, tmp_path / "x.c"], check=True)
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert said == f"value sum {machine.total(0xfedcba9876543210, 2, range(3))}\n"


def result_of(*marks: grade.Mark) -> grade.Result:
    return grade.Result("cow-fork", "A lab", "anna", "0123456789abcdef", list(marks), ["x has no effect"], True)


def test_no_report_tells_of_a_hidden_test() -> None:
    result = result_of(grade.Mark("seen", 17, 20, "g", False, True, "", ""),
                       grade.Mark("secret", 3, 40, "secret group", True, False, "secret rule", "secret trace"),
                       grade.Mark("bad", 0, 40, "g", False, False, "which rule", "a trace"))
    for name, (_, text_of) in reports.FORMATS.items():
        assert ("secret" in text_of(result)) == (name == "json"), name
    scope = json.loads(reports.gradescope(result))
    assert scope["score"] == sum(test["score"] for test in scope["tests"]) == 20
    assert sum(test["max_score"] for test in scope["tests"]) == 100 == result.most
    room = json.loads(reports.classroom50(result))
    assert (room["score"], room["max-score"]) == (20, 100)
    assert json.loads(reports.prairielearn(result))["score"] == 0.2
    assert len(xml.fromstring(reports.junit(result)).findall(".//failure")) == 2
    assert reports.table([result]).splitlines()[1] == "anna,20,100,17,0,3,0123456789abcdef"


def test_what_must_be_seen_is_told_when_it_is_not() -> None:
    test = spec.load("cow-fork").tests[1]
    good = machine.Ran(0, values={"child": machine.total(5, 0, range(512))}, stages=["forked"])
    assert grade.faults_of(test, good, 5) == []
    assert "do not hold" in grade.faults_of(test, good, 6)[0]
    assert "times to the stage" in grade.faults_of(test, machine.Ran(0), 5)[0]
    good.status = 124
    assert grade.faults_of(test, good, 5) == ["it did not end in time"]


def test_what_a_stranger_prints_stops_no_grading(tmp_path: Path) -> None:
    """A machine that is gone when it is looked at, a number that is none, a name of bytes."""
    says = "echo stage forked; echo stage forked; echo value a " + "9" * 5000 + "; echo value b 7"
    looks = [spec.Look("forked", range(2), 0, 1)]
    process = subprocess.Popen(["sh", "-c", says], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    ran = machine._converse(process, tmp_path, 5, looks, 128, time.monotonic() + 60)
    assert (ran.status, ran.values, ran.stages) == (0, {"b": 7}, ["forked", "forked"])
    assert len(ran.faults) == 1 and "memory cannot be looked at" in ran.faults[0]
    assert kernels.printable("a\n\udcffb") == "a??b"
    assert grade.plain("\x1b[0m a\tb") == "?[0m a\tb"


def test_the_starter_fails_what_it_is_to_fail(tmp_path: Path) -> None:
    """Seen end to end: a changed test has no effect, and the frames of memory tell an eager fork."""
    lab = spec.load("cow-fork")
    prove.copy_files(lab, kernels.pristine(lab).tree, tmp_path)
    (tmp_path / "user/tests").mkdir(parents=True)
    (tmp_path / "user/tests/fork_cow.c").write_text("int main(void) { return 0; }\n")
    grader = grade.Grader(lab)
    grader.tests = lab.tests[:3]
    result = grader.grade(tmp_path)
    assert result.notes == ["user/tests/fork_cow.c has no effect: it is not to be handed in"]
    assert [(mark.points, mark.passed) for mark in result.tests] == [(0, True), (0, False), (0, False)]
    assert "512 of them are there 2 to 2 times" in result.tests[1].first
    assert result.tests[2].first.startswith("not run: it counts when")


# ---- Strangers' files -------------------------------------------------------------------------


def test_no_link_that_a_sandbox_leaves_is_followed(tmp_path: Path) -> None:
    """Neither where something is copied out of it, nor where the next command's words are written."""
    tree, out, mine = (tmp_path / name for name in ("tree", "out", "mine"))
    tree.mkdir()
    out.mkdir()
    mine.write_text("secret")
    box = sandbox.Sandbox(tree, out)
    status, _ = box.run(["sh", "-c", f"echo plain >/out/plain; mkfifo /out/fifo; ln -s {mine} /out/said; "
                                     f"ln -s {mine} /out/link"])
    assert status == 0
    assert box.run(["echo", "other words"]) == (0, "other words\n")
    assert mine.read_text() == "secret"
    assert sandbox.read_plain(out / "plain") == b"plain\n"
    assert [sandbox.read_plain(out / name) for name in ("link", "said", "fifo", "nothing", ".")] == [None] * 5
    assert sandbox.read_plain(out / "plain", 5) is None


def as_nobody(body: Callable[[Path], None]) -> None:
    """In a folder of its own, as somebody to whom permissions mean something."""
    folder = Path(tempfile.mkdtemp(prefix="lab-"))
    folder.chmod(0o777)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        body(folder)
    finally:
        if root:
            os.seteuid(0)
        subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
        shutil.rmtree(folder)


def test_what_cannot_be_read_counts_as_not_handed_in() -> None:
    lab = spec.load("cow-fork")

    def body(folder: Path) -> None:
        submission, given_files = folder / "anna", folder / "given"
        for name in (*lab.submit, "notes", "closed/inner"):
            (submission / name).parent.mkdir(parents=True, exist_ok=True)
            (submission / name).write_text("mine\n")
        given_files.mkdir()
        clean = kernels.Pristine(folder / "clean", folder, "", {}, "")
        clean.tree.mkdir()
        (clean.tree / "notes").write_text("mine\n")
        for name in (lab.submit[0], "notes"):
            (submission / name).chmod(0)
        (submission / "closed").chmod(0)
        taken, notes = kernels.take_in(lab, clean, submission, given_files)
        assert list(taken) == lab.submit[1:]
        assert notes[0].startswith(f"{lab.submit[0]} is no plain file") and "notes has no effect" in notes[1]
        (submission / "vm").chmod(0)
        taken, notes = kernels.take_in(lab, clean, submission, given_files)
        assert taken == {} and len(notes) == len(lab.submit) + 1

    as_nobody(body)


def test_one_that_cannot_be_graded_costs_no_other_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    class Half(grade.Grader):
        def __init__(self, lab: spec.Lab, *_: object) -> None:
            self.lab, self.tests, self.clean = lab, lab.tests, kernels.Pristine(tmp_path, tmp_path, "hash", {}, "")

        def grade(self, submission: Path, seen: grade.Seen = lambda _: None) -> grade.Result:
            if submission.name == "anna":
                raise OSError(errno.EIO, os.strerror(errno.EIO), "vm/uvm_fault.cc")
            result = self.nothing(submission)
            result.complete = True
            seen(result)
            return result

    monkeypatch.setattr(cli, "Grader", Half)
    monkeypatch.setattr("sporklib.cli.build", lambda *_: None)
    for name in ("anna", "bert"):
        (tmp_path / name).mkdir()
    words = ["grade", "cow-fork", "-o", str(tmp_path / "out"), str(tmp_path / "anna"), str(tmp_path / "bert")]
    assert cli.main(words) == 1
    assert "could not be graded: Input/output error: vm/uvm_fault.cc" in capsys.readouterr().out
    anna, bert = (tmp_path / "out/marks.csv").read_text().splitlines()[1:]
    assert anna.startswith("anna,,,") and bert.startswith("bert,0,100,")
    assert (tmp_path / "out/anna/page.md").is_file()


def test_a_test_that_git_does_not_know_yet_changes_the_hash() -> None:
    lab = spec.load("cow-fork")
    before = kernels.hash_of(lab)
    new = ROOT / "docs/labs/cow-fork/tests/not_known.c"
    new.write_text("int main(void) { return 0; }\n")
    try:
        assert kernels.hash_of(lab) != before
        assert str(new.relative_to(ROOT)) not in sources.listed(known=True)
    finally:
        new.unlink()
    assert kernels.hash_of(lab) == before


def test_an_included_hidden_file_would_be_seen(tmp_path: Path) -> None:
    """The submission that includes it is right but for that: what a file gives that is there, shows that the proof
    can fail."""
    lab = spec.load("cow-fork")
    hostile, = (each for each in lab.submissions if each.add)
    clean = kernels.pristine(lab)
    hidden = "docs/labs/cow-fork/hidden/lab.toml"
    assert hostile.points == 0 and hostile.add and hidden in hostile.add and (ROOT / hidden).is_file()
    for number, path in enumerate((hidden, "docs/labs/cow-fork/lab.toml")):
        folder, work = tmp_path / f"submission{number}", tmp_path / f"work{number}"
        for each in (folder, work):
            each.mkdir()
        prove.copy_files(lab, ROOT, folder)
        prove.change(lab, dataclasses.replace(hostile, add=hostile.add.replace(hidden, path)), folder)
        built = kernels.build(lab, clean, folder, work)
        assert (built.elf is None) == (path == hidden)
        assert ("file not found" in built.said) == (path == hidden)
