"""Symbols of user programs come and go by themselves; one steps into the kernel and back."""
from __future__ import annotations

import re
import subprocess
from pathlib import Path

from debugger import ROOT, debug


def test_from_a_libc_wrapper_into_the_kernel_and_back() -> None:
    answers = debug(["break walk_vfork", "continue", "break vfork", "continue", "delete",
                     "spork enter", "spork bt", "spork leave", "info symbol $pc", "print $rax"],
                    "/demos/walk vfork")
    inside = answers["spork bt"]
    assert "syscall_dispatch" in inside and "syscall_entry" in inside, inside
    assert re.search(r"^user .* vfork.*\(system call 58\)$", inside, re.M), inside
    assert answers["info symbol $pc"].startswith("vfork + "), answers.text()
    assert re.match(r"\$\d+ = [1-9]\d*$", answers["print $rax"].strip()), answers.text()


def test_an_interrupt_is_no_way_in(tmp_path: Path) -> None:
    """The program computes for a tenth of a second, many ticks of the timer, before its next call."""
    (tmp_path / "busy.c").write_text("""\
#include <unistd.h>
volatile long count;
int main(void) {
    while (++count < 30000000)
        continue;
    return getppid() < 0;
}
""")
    subprocess.run(["musl-gcc", "-static", "-g", "-O1", "-o", "busy", "busy.c"], cwd=tmp_path, check=True)
    answers = debug(["break main", "continue", "delete", "spork enter", "spork bt", "print count"],
                    "/busy", f"--add={tmp_path / 'busy'}")
    assert re.search(r"^user .*\(system call 110\)$", answers["spork bt"], re.M), answers.text()
    assert answers["print count"].strip().endswith("= 30000000")


def test_the_program_switches_with_exec() -> None:
    answers = debug(["break exec_program if $pid() != 1", "continue", "spork program", "delete",
                     "spork leave", "spork program ", "info symbol $pc"], "/tests/exec")
    assert "build/user/init/init" in answers["spork program"], answers.text()
    assert "build/user/tests/exec" in answers["spork program "], answers.text()
    assert answers["info symbol $pc"].startswith("_start"), answers.text()


def test_a_breakpoint_is_of_its_program() -> None:
    """main of the program lies where other code of init's does: only the program stops."""
    answers = debug(["break main", "continue", "print $_in_program(\"/demos/walk\")", "print $pid()",
                     "bt"], "/demos/walk exit")
    assert answers['print $_in_program("/demos/walk")'].strip().endswith("= 1"), answers.text()
    assert re.match(r"#0 +main \(count=2, ", answers["bt"]), answers.text()


def test_a_program_that_lies_anywhere() -> None:
    answers = debug(["break exec_program if $pid() != 1", "continue", "delete", "spork leave",
                     "spork program", "break main", "continue", "bt"], "/tests/pie_auxv")
    assert re.search(r"build/user/tests/pie_auxv, moved by 0x\w+", answers["spork program"])
    assert re.match(r"#0 +main ", answers["bt"]), answers.text()


def test_a_program_that_was_added() -> None:
    program = ROOT / "build" / "user" / "demos" / "walk"
    answers = debug(["break main", "continue", "bt", "spork program"], "/opt/mine exit",
                    f"--add={program}:/opt/mine")
    assert re.match(r"#0 +main \(count=2, ", answers["bt"]), answers.text()
    assert str(program) in answers["spork program"]
