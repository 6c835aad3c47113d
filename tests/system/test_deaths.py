"""What one is told of a program that dies by a fault of its own."""
from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from sporklib.paths import ROOT

PROGRAM = r"""
#include <stdlib.h>

__attribute__((noinline)) static void store(volatile int* where) { *where = 1; }

__attribute__((noinline)) static int deep(int n) {
    volatile char room[4096];
    room[0] = (char)n;
    return n ? deep(n + 1) + room[0] : 0;
}

int main(int argc, char** argv) {
    switch (atoi(argv[1])) {
    case 0: store(NULL); break;
    case 1: store((int*)main); break;
    case 2: return deep(1);
    case 3: store((int*)0x7000000000); break;
    case 4: ((void (*)(void))0x7000000000)(); break;
    case 5: __asm__ volatile("hlt"); break;
    case 6: __asm__ volatile("ud2"); break;
    }
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deaths")
    (folder / "crash.c").write_text(PROGRAM)
    subprocess.run(["musl-gcc", "-static", "-g", "-O1", "-o", "crash", "crash.c"], cwd=folder, check=True)
    return folder / "crash"


def told(program: Path, script: str, *words: str) -> str:
    done = subprocess.run([ROOT / "tools/spork", "run", "--timeout", "60", *words, "--add", program, "--",
                           "sh", "-c", script], capture_output=True, text=True, check=False)
    return done.stderr


def test_each_death_has_its_line(program: Path) -> None:
    lines = re.findall(r"^spork: (crash\[\d+\] died of .*)$",
                       told(program, "for i in 0 1 2 3 4 5 6; do /crash $i; done"), re.MULTILINE)
    assert len(lines) == 7
    null, code, stack, hole, jump, privileged, invalid = lines
    assert "SIGSEGV (SEGV_MAPERR): a write to 0x0, a null pointer" in null
    assert re.search(r"\(/crash\+0x[0-9a-f]+\) in store at .*crash\.c:4$", null)
    assert re.search(r"\(SEGV_ACCERR\): a write to 0x[0-9a-f]+, which is in 0x\S+ r-x /crash, by ", code)
    assert re.search(r"stack overflow: with 81\d\d KiB below 0x\S+ and a limit \(RLIMIT_STACK\) of 8192 KiB", stack)
    assert " in deep at " in stack
    assert re.search(r"a write to 0x7000000000, where nothing is mapped, behind 0x\S+ rw- .*, before 0x\S+ rw- "
                     r"\[stack\]", hole)
    assert "a jump to 0x7000000000, where nothing is mapped" in jump
    assert "a privileged instruction" in privileged and " in main at " in privileged
    assert "SIGILL (ILL_ILLOPN), by the instruction at" in invalid


def test_one_that_dies_again_and_again_does_not_fill_the_log(program: Path) -> None:
    text = told(program, "i=0; while [ $i -lt 200 ]; do /crash 0; i=$((i+1)); done; sleep 6; /crash 0", "-v",
                "--icount")
    said, left_out = len(re.findall("died of SIGSEGV", text)), re.findall(r"(\d+) more have died", text)
    assert 10 < said < 100
    assert said + sum(map(int, left_out)) == 201


def test_a_name_cannot_write_a_line_of_its_own(program: Path) -> None:
    text = told(program, 'cp /crash "/tmp/a\nb[1] z"; "/tmp/a\nb[1] z" 0')
    assert re.search(r"^spork: a\\012b\\1331\]\\040z\[\d+\] died of SIGSEGV", text, re.MULTILINE), text


def test_the_rules_of_address_spaces_hold_at_every_operation() -> None:
    """The word `check`; tests/host/test_vm_rules.cc shows what a broken one looks like."""
    tests = "fork_cow fork_modes mmap mprotect mremap madvise mlock exec vfork_share vfork_orders"
    done = subprocess.run([ROOT / "tools/spork", "run", "--check", "--smp", "4", "--timeout", "100", "--", "sh", "-c",
                           f"for t in {tests}; do /tests/$t || exit 1; done; cat /proc/sys/vm/check_at_seams"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\n1\n")


ZAP = r"""
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static char* page;

static void* take_away(void* unused) {
    time_t end = time(NULL) + 10; // where others have the machine, each round waits for a processor's turn
    for (int i = 0; i < 30000 && time(NULL) < end; i++)
        madvise(page, 4096, MADV_DONTNEED);
    _exit(0);
}

int main(void) {
    pthread_t other;
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_create(&other, NULL, take_away, NULL);
    __asm__ volatile("1: mov (%0), %%rax; jmp 1b" : : "r"(page) : "rax", "memory");
}
"""


@pytest.mark.long
def test_faults_that_another_thread_causes_break_no_rule(tmp_path: Path) -> None:
    (tmp_path / "zap.c").write_text(ZAP)
    subprocess.run(["musl-gcc", "-static", "-O1", "-o", "zap", "zap.c"], cwd=tmp_path, check=True)
    done = subprocess.run([ROOT / "tools/spork", "run", "--check", "--timeout", "100", "--add", tmp_path / "zap", "--",
                           "/zap"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
