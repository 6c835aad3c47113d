"""The suites that tests/run runs. Each takes a pattern or None and gives its results."""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .endings import RESULTS, core_file, how_it_ended, why_it_ended
from .explore import TEMPLATE, explore
from .explore_page import write_long_page
from .machine import Config, Machine, run_folder
from .paths import BUILD, ROOT, ROOT_CPIO, SANITIZE, ToolError
from .results import Result, Tap, Verdict, progress, read_junit, tally
from .session import Outcome, Session

HOST_LIMIT = 900.0  # seconds for all of the host tests
KERNEL_LIMIT = 600.0  # for one boot with the tests inside the kernel
KERNEL_CPUS = (1, 2, 4) if SANITIZE else (1, 4)
MODEL_LIMIT = 120.0  # for the search through the states of one model
NOT_FETCHED = "not fetched"  # the reason of what is skipped for want of a network
OWN_COMMAND = "/explore/done 'a | b'"  # what the page's test records beside the built-in scenarios


# ---- host ----------------------------------------------------------------------------------


def host(pattern: str | None) -> list[Result]:
    """Catch2 over vm/ on the simulated machine; the long run of the model is a build of its own."""
    results = _catch2("vm_tests", BUILD / "host" / "vm_tests", pattern)
    if "SPORK_CUT" in os.environ:
        os.environ.setdefault("SPORK_RUNS", "150")  # instead of the model's million operations
    return results + _catch2("vm_model", BUILD / "model" / "vm_model", pattern)


def _catch2(name: str, program: Path, pattern: str | None) -> list[Result]:
    """Each test in a process of its own (tests/host/main.cc): one that panics costs one."""
    folder = RESULTS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [str(program), "--alone", str(folder)]
    if pattern:
        command.append(f"*{pattern}*")
    started = time.monotonic()
    try:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=HOST_LIMIT, check=False)
        said = f"the run ended with status {done.returncode}\n{done.stdout}{done.stderr}"
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    seconds = time.monotonic() - started
    results: list[Result] = []
    try:
        tests = (folder / "tests").read_text().splitlines()
        ended = dict(line.split() for line in (folder / "ended").read_text().splitlines())
    except OSError:
        return [Result(name, "the whole run", "failed", said, seconds, "died")]
    for number, test in enumerate(tests):
        status = ended.get(str(number))
        if status is None:
            results.append(Result(name, test, "failed", f"did not run\n{said}", 0, "did not run"))
        else:
            results += _host_result(name, test, folder / str(number), int(status))
    progress(f"{name}: {tally(results)}, in {seconds:.1f} s")
    return results


# What a test says last that dies, in its first line.
LAST_WORDS = re.compile(r"^(panic on CPU.*|.*ERROR: \w+Sanitizer.*|.*runtime error:.*)$", re.MULTILINE)


def _host_result(group: str, test: str, place: Path, status: int) -> list[Result]:
    """What became of one test; first of all, if it has died, of what."""
    said = place.with_suffix(".txt").read_text(errors="replace")
    for line in said.splitlines():
        if line.startswith("model: seeds"):
            progress(line)
    why = LAST_WORDS.search(said)
    if os.WIFSIGNALED(status):
        hung = os.WTERMSIG(status) == signal.SIGALRM
        how = "did not end" if hung else signal.Signals(os.WTERMSIG(status)).name
        return [Result(group, test, "failed", _first(why[1] if why else how, said), 0, "hung" if hung else "died")]
    try:
        results = read_junit(place.with_suffix(".xml"))
    except (OSError, ValueError, SyntaxError):
        results = []
    if not results or status != 0 and not any(result.verdict == "failed" for result in results):
        first = why[1] if why else f"ended with status {os.waitstatus_to_exitcode(status)}"
        results = [Result(group, test, "failed", _first(first, said), 0, "died")]
    return results


def _first(line: str, said: str) -> str:
    return said if said.startswith(line) else f"{line}\n{said}"


# ---- kernel --------------------------------------------------------------------------------


def kernel(pattern: str | None) -> list[Result]:
    """The tests linked into the kernel, which prints KTAP; once for each number of processors."""
    results = []
    for cpus in KERNEL_CPUS:
        results += _kernel_tests(cpus, pattern)
    # What cannot be seen on one processor is seen in the other boot: skipped is what no boot has run.
    ran = {result.name for result in results if result.verdict != "skipped"}
    return [r for r in results if r.verdict != "skipped" or r.name not in ran]


# How a panic begins that stands for a failed check (the kernel's word ktest_stop).
CHECK_FAILED = re.compile(r"panic: a check of (\S+) failed: ")


def _kernel_tests(cpus: int, pattern: str | None) -> list[Result]:
    """The first failed check stops the machine, which leaves its core; then all run without stopping."""
    started = time.monotonic()
    core = core_file(f"kernel-smp{cpus}")
    results, outcome, seed = _kernel_boot(cpus, pattern, "ktest_stop", core)
    if stopped := CHECK_FAILED.search(outcome.panic or ""):
        results, _, _ = _kernel_boot(cpus, pattern, f"ktest_seed={seed}", core.with_name(f"{core.name}-again"))
        for result in results:
            if result.name == stopped[1]:
                also = "" if result.verdict == "failed" else "it passed when all ran again, in the same order\n"
                result.verdict = "failed"
                result.details = f"{result.details}\n{also}{why_it_ended(outcome, core)}".strip()
    progress(f"{cpus} processor{'s' if cpus > 1 else ''}: {tally(results)}, in {time.monotonic() - started:.1f} s")
    return results


def _kernel_boot(cpus: int, pattern: str | None, word: str, core: Path) -> tuple[list[Result], Outcome, str]:
    """One boot; gives how it ended, and the seed of the tests' order."""
    group = f"smp{cpus}"
    tap = Tap()
    seed = ""
    results: list[Result] = []
    pending = b""
    last = time.monotonic()

    def listen(data: bytes) -> None:
        nonlocal pending, last, seed
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            if found := re.search(rb"^# the order is that of ktest_seed=(\d+)", line):
                seed = found[1].decode()
            point = tap.line(line.decode(errors="replace"))
            if point is None:
                continue
            now = time.monotonic()
            verdict: Verdict = "skipped" if point.skipped else "passed" if point.ok else "failed"
            results.append(Result(group, point.name, verdict, point.skipped or "", now - last))
            last = now

    folder = run_folder()
    words = f"onpanic=halt check {word} " + (f"ktest={pattern}" if pattern else "ktest")
    config = Config(initrd=ROOT_CPIO, words=words, smp=cpus, core=core)
    with Machine(config, folder) as machine:
        outcome = Session(machine, KERNEL_LIMIT, listen).run()
    shutil.rmtree(folder, ignore_errors=True)

    for result, point in zip(results, tap.points):
        result.details = result.details or "\n".join(point.comments)
    told = tap.planned == len(results) and any(result.verdict == "failed" for result in results)
    if outcome.status != 0 and not (told and outcome.panic is None):
        running = f"after test {len(results)}"
        if results and tap.planned and len(results) < tap.planned:
            running = f"in the test after {results[-1].name}"
        results.append(Result(group, running, "failed", why_it_ended(outcome, core), 0, how_it_ended(outcome)))
        if (left := (tap.planned or 0) - len(results)) > 0:
            results.append(Result(group, f"{left} more", "failed", "did not run", 0, "did not run", left))
    elif tap.planned is None or tap.missing():
        results.append(Result(group, "plan", "failed", "\n".join(tap.faults()) + "\n" +
                              why_it_ended(outcome)))
    return results, outcome, seed


# ---- models ----------------------------------------------------------------------------------


def models(pattern: str | None) -> list[Result]:
    """spin over the Promela models beside the sources: each must hold, and each wrong order that it
    lists (`//   -DNAME what is wrong`) must be found."""
    jobs: list[tuple[Path, str | None]] = []
    for room in ("arch", "kernel", "lib", "vm"):
        for model in sorted((ROOT / room).rglob("*.pml")):
            wrong = re.findall(r"^//   -D(\w+) ", model.read_text(), re.MULTILINE)
            jobs += [(model, name) for name in (None, *wrong)]
    jobs = [job for job in jobs if not pattern or pattern in _model_name(*job)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        # The right ones, which take longest, first.
        jobs.sort(key=lambda job: job[1] is not None)
        return list(pool.map(lambda job: _search(job[0], job[1], Path(tempfile.mkdtemp(dir=folder))), jobs))


def _model_name(model: Path, wrong: str | None) -> str:
    return f"{model.relative_to(ROOT)} {wrong or 'holds'}"


def _search(model: Path, wrong: str | None, folder: Path) -> Result:
    """Goes through all states of a model, or until something is wrong."""
    started = time.monotonic()

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=MODEL_LIMIT, check=False)
        if done.returncode != 0:
            raise ToolError(f"{command[0]}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    try:
        run("gcc", "-E", "-P", "-x", "c", "-I", str(ROOT), *([f"-D{wrong}"] if wrong else []), str(model),
            "-o", "model.pml")
        run("spin", "-a", "model.pml")
        # Most searches are shorter than another compiler's work would be.
        run("tcc", "-w", "-DSAFETY", "-DMEMLIM=2048", "-o", "pan", "pan.c")
        said = run("./pan", "-m100000",)
        found = re.search(r"errors: (\d+)$", said, re.MULTILINE)
        states = re.search(r"(\d+) states, stored", said)
        complete = not re.search(r"max search depth too small|out of memory", said)
        if not found or not states or not (complete or found[1] != "0"):
            raise ToolError(f"the search did not end\n{said}")
        details = ""
        if not wrong and found[1] != "0":
            details = said + run("spin", "-t", "-p", "-g", "model.pml")
        elif wrong and found[1] == "0":
            details = f"nothing is found with -D{wrong}"
        elif not wrong:
            progress(f"{model.relative_to(ROOT)}: {int(states[1]):,} states in "
                     f"{time.monotonic() - started:.1f} s")
    except (ToolError, OSError, subprocess.TimeoutExpired) as error:
        details = str(error)
    return Result("spin", _model_name(model, wrong), "failed" if details else "passed", details,
                  time.monotonic() - started)


# ---- system --------------------------------------------------------------------------------


def system(pattern: str | None) -> list[Result]:
    """pytest over tests/system."""
    return pytest_folder("system", pattern)


def gdb(pattern: str | None) -> list[Result]:
    """pytest over tests/gdb."""
    return pytest_folder("gdb", pattern)


def web(pattern: str | None) -> list[Result]:
    """pytest over tests/web; then the explorer's page, made of real runs, in headless Chromium."""
    return pytest_folder("web", pattern) + _page_tests(pattern)


def _page_tests(pattern: str | None) -> list[Result]:
    packages = BUILD / "web" / "node_modules"
    if not (BUILD / "web" / "packages").exists():
        return [Result("page", "the whole run", "skipped", f"{NOT_FETCHED}: npm's packages")]
    folder = BUILD / "web" / "test"
    page, long_page = folder / "index.html", folder / "long.html"
    started = time.monotonic()
    try:
        recordings = explore([], OWN_COMMAND, page)
        write_long_page(TEMPLATE, next(r for r in recordings if r.id == "fork-64m"), long_page)
    except ToolError as error:
        return [Result("page", "the page is made", "failed", str(error),
                       time.monotonic() - started)]
    results = [Result("page", "the page is made", "passed", "", time.monotonic() - started)]
    environment = os.environ | {"PAGE": str(page), "LONG": str(long_page),
                                "SHOTS": str(BUILD / "explore" / "screenshots")}
    results.append(_passes("the page's types are right", ["node", packages / "typescript" / "bin" / "tsc",
                                                          "-p", ROOT / "tools" / "explore"]))
    command = ["node", "--test-reporter=tap", str(ROOT / "tests" / "web" / "page.test.mjs")]
    if pattern:
        command.insert(1, f"--test-name-pattern={re.escape(pattern)}")
    done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, errors="replace", check=False)
    return results + _read_node(done.stdout, done.returncode, done.stderr)


def _passes(name: str, command: list[str | Path]) -> Result:
    """A test that is a command."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", check=False)
    return Result("page", name, "passed" if done.returncode == 0 else "failed",
                  done.stdout + done.stderr)


def _read_node(output: str, status: int, said: str) -> list[Result]:
    """The results that node's test runner printed as TAP, each with the lines below it."""
    results: list[Result] = []
    for line in output.splitlines():
        match = Tap.POINT.match(line.strip())
        if line.strip() == "type: 'suite'":
            results.pop()  # its tests stand before it
        elif match:
            verdict: Verdict = "skipped" if match[4] else "failed" if match[1] else "passed"
            results.append(Result("page", match[3].strip(), verdict))
        elif results and line.startswith("  ") and results[-1].verdict == "failed":
            results[-1].details += line + "\n"
        elif results and line.strip().startswith("duration_ms:"):
            results[-1].seconds = float(line.split(":")[1]) / 1000
        elif re.match(r"# (opens in|[0-9.]+ MB)", line):
            progress(line[2:])
    failed = sum(result.verdict == "failed" for result in results)
    if not results or (status != 0 and failed == 0):
        results.append(Result("page", "the whole run", "failed", f"status {status}\n{said}"))
    progress(f"page: {len(results) - failed} of {len(results)} passed")
    return results


def pytest_folder(suite: str, pattern: str | None) -> list[Result]:
    """The tests of a folder; three files at a time on two processors, since much of a boot waits for something."""
    report = RESULTS / f"{suite}.xml"
    report.unlink(missing_ok=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    command = ["/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider",
               "-n", str((os.cpu_count() or 1) + 1), "--dist", "loadfile",
               f"--junitxml={report}", f"tests/{suite}"]
    if pattern:
        command += ["-k", pattern]
    if "SPORK_CUT" in os.environ:
        command += ["-m", "not long"]
    environment = os.environ | {"SPORK_NO_BUILD": "1", "PYTHONPATH": str(ROOT / "tools")}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                          stdout=sys.stdout, stderr=subprocess.STDOUT, check=False)
    nothing_matched = 5
    if done.returncode == nothing_matched:
        return []
    try:
        results = read_junit(report)
    except (OSError, ValueError, SyntaxError):
        results = []
    if done.returncode != 0 and not any(result.verdict == "failed" for result in results):
        results.append(Result("", "pytest", "failed", f"ended with status {done.returncode}"))
    return results
