"""Debian's own dynamically linked programs, with their loader and libraries: as on Linux."""
from __future__ import annotations

import hashlib
import subprocess
import sysconfig
from pathlib import Path

from guest import Ended, linux, spork

MAKEFILE = r"""
SHELL := /bin/sh
objects := $(foreach n,1 2 3 4 5 6,part$(n).o)
total: $(objects)
	cat $(objects) >$@
	@echo made $@ from $(words $(objects)): $$(cat $@ | wc -c) bytes; echo level $(MAKELEVEL)
	$(MAKE) -C . again
%.o: %.c Makefile
	@sleep 0.1; tr a-z A-Z <$< >$@
part%.c:
	@echo source $* >$@
again: ; @echo again at level $(MAKELEVEL); exit 3
.PHONY: again
.SECONDARY:
$(info $(shell echo from a shell; exit 4) status $(.SHELLSTATUS))
"""

BASH_SCRIPT = r"""
echo "$BASH" "${BASH_VERSINFO[0]}"
for i in 1 2 3; do (exit $i) || echo "child: $?"; done
coproc CAT { cat; }; echo through >&"${CAT[1]}"; read -r back <&"${CAT[0]}"; echo "$back"
exec {CAT[1]}>&-; wait "$CAT_PID"; echo "$?"
trap 'echo caught' USR1; kill -USR1 $BASHPID
set -m; exec 2>/dev/null; sleep 100 & kill -STOP %1; wait %1; echo "stopped: $?"
kill -KILL $!; while kill -0 $!; do sleep 0.01; done; echo "gone"
mapfile -t lines < <(printf '%s\n' b a c | sort); echo "${lines[*]}"
exit 9
"""

PYTHON_SCRIPT = r"""
import ctypes, hashlib, json, mmap, multiprocessing, os, queue, select, signal, subprocess
import sys, tempfile, threading, time

def worker(numbers, sums, lock, seen):
    while (n := numbers.get()) is not None:
        with lock:
            seen.add(threading.get_native_id())
        sums.put(sum(range(n)))
        time.sleep(0.01)

numbers, sums, lock, seen = queue.Queue(), queue.Queue(), threading.Lock(), set()
barrier = threading.Barrier(5)
threads = [threading.Thread(target=lambda: (barrier.wait(), worker(numbers, sums, lock, seen)))
           for _ in range(4)]
for thread in threads: thread.start()
for n in [*range(1000, 1040), *[None] * 4]: numbers.put(n)
barrier.wait()
for thread in threads: thread.join()
print("threads", len(seen) > 1, sum(sums.get() for _ in range(40)))

done = subprocess.run(["sh", "-c", "read x; echo got $x; echo err >&2; exit 5"], input=b"line\n",
                      capture_output=True)
print("subprocess", done.returncode, done.stdout, done.stderr)
try: subprocess.run(["/no/such/program"])
except OSError as error: print("exec", type(error).__name__, error.errno)
pid = os.posix_spawn("/bin/sh", ["sh", "-c", "kill -TERM $$"], os.environ)
print("posix_spawn", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

shared = mmap.mmap(-1, 4096)
if (pid := os.fork()) == 0:
    shared[0:5] = b"child"
    os._exit(6)
print("fork", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shared[0:5])

def square(n): return n * n
with multiprocessing.get_context("fork").Pool(3) as pool:
    print("pool", pool.map(square, range(10)))

signal.signal(signal.SIGALRM, lambda number, frame: print("signal", signal.Signals(number).name))
signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.pause()
read, write = os.pipe()
poll = select.poll(); poll.register(read, select.POLLIN); os.write(write, b"x")
print("poll", poll.poll(1000) == [(read, select.POLLIN)], select.select([read], [], [], 0)[0] == [read])
with tempfile.NamedTemporaryFile() as file:
    file.write(bytes(range(256)) * 1000); file.flush()
    with mmap.mmap(file.fileno(), 0) as mapped:
        print("mmap", hashlib.sha256(mapped).hexdigest()[:16], os.stat(file.name).st_size)
print("ctypes", ctypes.CDLL(None).strlen(b"seven.."), json.dumps({"a": [1, 2.5, None]}))
print("affinity", os.sched_getaffinity(0) <= set(range(os.cpu_count())))
sys.exit(7)
"""

C_PROGRAM = r"""
#include <math.h>
#include <pthread.h>
#include <stdio.h>
static void *half(void *n) { printf("a thread\n"); *(double *)n /= 2; return n; }
int main(int argc, char **argv)
{
    double n = argc;
    pthread_t thread;
    pthread_create(&thread, NULL, half, &n);
    pthread_join(thread, NULL);
    printf("compiled here: %.6f %s\n", sqrt(n), argv[1]);
    return 8;
}
"""


def same(here: Ended, there: Ended, status: int) -> None:
    assert there.status == status, there.err
    assert (here.text, here.err, here.status) == (there.text, there.err, there.status)


def test_make(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    here = spork("make", "-j3", "-C", "/w",
                 options=("--add-with-libs", "/usr/bin/make", "--add", f"{tmp_path}:/w"))
    there = linux("/usr/bin/env", "-u", "MAKELEVEL", "-u", "MAKEFLAGS", "make", "-j3", "-C", str(tmp_path))
    assert there.status == 2 and "made total from 6: 54 bytes" in there.text
    text, err = there.text.replace(str(tmp_path), "/w"), there.err.decode().replace(str(tmp_path), "/w")
    assert (here.text, here.err.decode(), here.status) == (text, err, there.status)


def test_a_program_at_another_place() -> None:
    here = spork("/opt/mk", "--version", options=("--add-with-libs", "make:/opt/mk"))
    assert here.status == 0 and here.text.startswith("GNU Make"), here.err


def test_bash(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(BASH_SCRIPT)
    here = spork("/usr/bin/bash", str(script), options=(
        "--add-with-libs", "/usr/bin/bash", "--add", f"{script}:{script}"))
    same(here, linux("/usr/bin/bash", str(script)), 9)


def test_python(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(PYTHON_SCRIPT)
    library = sysconfig.get_path("stdlib")
    here = spork("/usr/bin/python3", str(script), options=(
        "--add-with-libs", "/usr/bin/python3", "--add-with-libs", library,
        "--add", f"{script}:{script}"))
    same(here, linux("/usr/bin/python3", str(script)), 7)


def gcc_says(*words: str) -> str:
    return subprocess.run(["gcc", *words], capture_output=True, text=True, check=True).stdout.strip()


def test_gcc(tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text(C_PROGRAM)
    programs = ["/usr/bin/gcc", *(gcc_says(f"-print-prog-name={n}") for n in ("cc1", "collect2", "as", "ld"))]
    pieces = ["Scrt1.o", "crti.o", "crtbeginS.o", "crtendS.o", "crtn.o", "libgcc.a", "libgcc_s.so",
              "libgcc_s.so.1", "libm.so", "libm.so.6", "libmvec.so.1", "libc.so", "libc_nonshared.a",
              "liblto_plugin.so"]
    # Where gcc looks for each, and the headers of the program.
    files = [*(gcc_says(f"-print-file-name={piece}") for piece in pieces),
             *gcc_says("-O2", "-M", str(source)).replace("\\\n", "").split()[1:]]
    options = [word for program in programs for word in ("--add-with-libs", program)]
    options += [word for file in files for word in ("--add-with-libs", file)]
    command = 'gcc -O2 -o /tmp/built "$0" -lm && /tmp/built "$0"'
    here = spork("sh", "-c", command, str(source), options=tuple(options))
    there = linux("sh", "-c", command.replace("/tmp", str(tmp_path)), str(source))
    same(here, there, 8)


def test_threads_of_sort(tmp_path: Path) -> None:
    """An unmodified program that sorts in several threads."""
    data = tmp_path / "data"
    state, lines = 1, []
    for _ in range(200_000):
        state = (state * 1103515245 + 12345) % 2**31
        lines.append(f"{state:08x}\n")
    data.write_text("".join(lines))
    command = 'set -o pipefail; /usr/bin/sort --parallel=4 -S 64M /data | sha256sum'
    here = spork("sh", "-c", command, options=(
        "--smp", "4", "--add-with-libs", "/usr/bin/sort", "--add", f"{data}:/data"))
    digest = hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    assert (here.text, here.status) == (f"{digest}  -\n", 0)
