"""The suites that tests/run runs. Each takes a pattern or None and gives its results."""
from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .explore import TEMPLATE, explore
from .explore_page import write_long_page
from .job import Job
from .machine import Config, Machine, gdb_on_core, run_folder
from .paths import BUILD, KERNEL, ROOT, ROOT_CPIO, ToolError
from .results import End, Result, Tap, Verdict, read_junit, tally
from .session import TIMEOUT_STATUS, Captured, Outcome, Session
from .symbols import symbolize

RESULTS = BUILD / "test-results"
HOST_LIMIT = 900.0  # seconds for all of the host tests
KERNEL_LIMIT = 600.0  # for one boot with the tests inside the kernel
PROGRAM_LIMIT = 120.0  # for one program of user/tests
KERNEL_CPUS = (1, 4)
CORES_KEPT = 3
MODEL_LIMIT = 120.0  # for the search through the states of one model
NOT_FETCHED = "not fetched"  # the reason of what is skipped for want of a network
OWN_COMMAND = "/explore/done 'a | b'"  # what the page's test records beside the built-in scenarios


def progress(text: str) -> None:
    print(f"  {text}", flush=True)


def core_file(name: str) -> Path:
    """Where a machine of this name leaves its core file; the oldest of those that are there make room."""
    folder = RESULTS / "cores"
    (folder / name).unlink(missing_ok=True)
    there = sorted(folder.glob("*"), key=lambda each: each.stat().st_mtime)
    for each in there[: max(0, len(there) - CORES_KEPT + 1)]:
        each.unlink()
    return folder / name


def why_it_ended(outcome: Outcome, core: Path | None = None) -> str:
    """What became of a machine that did not end well; with a panic's text if there was one."""
    text = outcome.why or ""
    if outcome.panic is not None:
        text += "\n" + symbolize(outcome.panic, KERNEL)
        if core is not None and core.exists():
            text = f"{text.rstrip()}\nlook at it by {gdb_on_core(KERNEL, core)}"
    elif outcome.console:
        tail = outcome.console.decode(errors="replace").replace("\r\n", "\n").splitlines()[-20:]
        text += "\nthe console's last lines:\n" + "\n".join(tail)
    return text


def how_it_ended(outcome: Outcome) -> End:
    """Likewise, in a word."""
    return "hung" if outcome.status == TIMEOUT_STATUS and outcome.panic is None else "died"


# ---- host ----------------------------------------------------------------------------------


def host(pattern: str | None) -> list[Result]:
    """Catch2 over vm/ on the simulated machine; the long run of the model is a build of its own."""
    return _catch2("vm_tests", BUILD / "host" / "vm_tests", pattern) + \
        _catch2("vm_model", BUILD / "model" / "vm_model", pattern)


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


# ---- user ----------------------------------------------------------------------------------


class _Run:
    """One program's run on one of the two kernels."""

    def __init__(self) -> None:
        self.output: list[str] = []
        self.status: int | None = None
        self.died: str | None = None  # what ended the run, when the program did not itself
        self.stopped: str | None = None  # the first failed check of a run before, and its core
        self.end: End = ""
        self.seconds = 0.0

    @property
    def tap(self) -> Tap:
        tap = Tap()
        for line in self.output:
            tap.line(line)
        return tap

    def result(self, group: str, name: str) -> Result:
        tap = self.tap
        faults = tap.faults()
        if self.died is not None:
            faults.append(self.died)
        elif self.status != 0:
            faults.append(f"exit status {self.status}")
        if self.stopped is not None:
            faults += [] if faults else ["it passed when it ran again"]
            faults.append(self.stopped)
        if not faults and tap.planned == 0:
            return Result(group, name, "skipped", tap.skip_all or "nothing to do", self.seconds)
        if not faults:
            return Result(group, name, "passed", "", self.seconds)
        details = "\n".join(faults)
        if self.output:
            details += "\noutput:\n" + "\n".join(f"    {line}" for line in self.output[-60:])
        return Result(group, name, "failed", details, self.seconds, self.end)

    def outcomes(self) -> dict[str, str]:
        """What a user sees of it: each point's outcome, and the exit status."""
        seen = {f"{p.number} - {p.name}": "ok" if p.ok else "not ok" for p in self.tap.points}
        seen["exit status"] = self.died or str(self.status)
        return seen


def user(pattern: str | None) -> list[Result]:
    """Each program of user/tests on Linux and on Spork; both must pass."""
    names = sorted(path.stem for path in (ROOT / "user" / "tests").glob("*.c"))
    names = [name for name in names if not pattern or pattern in name]
    alone = {name for name in names if _is_marked(name, "spork-only")}
    as_root, no_root = _root_command()
    on_spork = _run_on_spork(names)
    results = []
    for name in names:
        spork = on_spork[name]
        both = [spork.result("spork", name)]
        if name not in alone:
            rooted = _is_marked(name, "needs-root")
            linux = None if rooted and no_root else _run_on_linux(name, as_root if rooted else [])
            both.insert(0, linux.result("linux", name) if linux else
                        Result("linux", name, "skipped", no_root or "this machine cannot run it"))
            if linux:
                _show_differences(name, linux, spork)
        results += both
        progress(f"{name}: " + ", ".join(f"{r.verdict} on {r.group.title()}" for r in both))
    return results


def _is_marked(name: str, mark: str) -> bool:
    text = (ROOT / "user" / "tests" / f"{name}.c").read_text(errors="replace")
    return re.search(rf"^// *{mark}\b", text, re.MULTILINE) is not None


def _root_command() -> tuple[list[str], str | None]:
    """What makes a program root among many users here, or why nothing does. A user who is not root
    is it in a name space of his own, with the further users that /etc/subuid gives him."""
    if os.geteuid() == 0:
        return [], None
    words = ["unshare", "--map-root-user", "--map-users=auto", "--map-groups=auto"]
    try:
        tried = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    except OSError as error:
        return [], f"needs root, and {error}"
    said = tried.stderr.strip().splitlines()
    return words, f"needs root, and {said[-1] if said else 'unshare failed'}" if tried.returncode else None


def _kill_session(leader: int) -> None:
    """All of its groups: who is left would keep the output open, and what reads it waiting."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if os.getsid(int(entry.name)) == leader:
                os.kill(int(entry.name), signal.SIGKILL)


def _run_on_linux(name: str, prefix: list[str]) -> _Run | None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return None
    run = _Run()
    started = time.monotonic()
    environment = {"PATH": os.environ.get("PATH", "/bin:/usr/bin"), "HOME": "/root", "TERM": "dumb"}
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            # nohup and a shell's & leave some signals ignored.
            ["env", "--default-signal", *prefix, BUILD / "user" / "tests" / name], cwd=folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=PROGRAM_LIMIT)
        except subprocess.TimeoutExpired:
            _kill_session(process.pid)
            output, _ = process.communicate()
            run.died = f"did not end in {PROGRAM_LIMIT:.0f} s"
            run.end = "hung"
    status = process.returncode
    run.output = output.decode(errors="replace").splitlines()
    run.status = status if status >= 0 else 128 - status
    run.seconds = time.monotonic() - started
    return run


TAP_STOPPED = "#   stopped (TAP_STOP)"  # user/lib/tap.h

# Runs in the guest. The marks stand on lines of their own whatever a program prints.
GUEST_LOOP = """\
for name in "$@"; do
    mkdir -p /tmp/$name && cd /tmp/$name
    echo "@@ begin $name"
    /tests/$name </dev/null 2>&1
    status=$?
    echo
    echo "@@ end $name $status"
done
"""


def _run_on_spork(names: list[str]) -> dict[str, _Run]:
    """Runs the programs in one machine, and in a new one what a dying machine left over. The first failed
    check of a program, of CORES_KEPT programs at most, stops the machine for its core; the program then
    runs again to its end, in a machine of its own."""
    runs = {name: _Run() for name in names}
    left = list(names)
    while left:
        again = runs[left[0]].stopped is not None
        stop = not again and sum(run.stopped is not None for run in runs.values()) < CORES_KEPT
        outcome, ended = _spork_boot(left[:1] if again else left, runs, stop)
        left = left[ended:]
        if left and not again and runs[left[0]].stopped is not None:
            continue
        if ended == 0:  # it did not even come to the first one
            runs[left[0]].died, runs[left[0]].end = why_it_ended(outcome), "did not run"
            left = left[1:]
    return runs


def _spork_boot(names: list[str], runs: dict[str, _Run], stop: bool) -> tuple[Outcome, int]:
    """One boot, until a check fails if it is to `stop` there; gives how it ended and how many of the programs
    are done with."""
    pending = b""
    current: str | None = None
    started = 0.0
    ended = 0

    def line(text: str) -> None:
        nonlocal current, started, ended
        word, _, rest = text.partition(" ")
        if word == "@@" and rest.startswith("begin "):
            current, started = rest.split()[1], time.monotonic()
            session.restart_clock(PROGRAM_LIMIT)
        elif word == "@@" and rest.startswith("end ") and current is not None:
            run = runs[current]
            run.status = int(rest.split()[2])
            run.seconds = time.monotonic() - started
            if run.output and run.output[-1] == "":
                run.output.pop()
            current = None
            ended += 1
        elif current is not None:
            runs[current].output.append(text)
            if text.endswith(TAP_STOPPED):
                machine.dump_core()

    def output(stream: int, data: bytes) -> None:
        nonlocal pending
        *lines, pending = (pending + data).split(b"\n")
        for each in lines:
            line(each.decode(errors="replace"))

    folder = run_folder()
    job = Job(["/bin/sh", "-c", GUEST_LOOP, "tests", *names], {"TAP_STOP": "1"} if stop else {})
    core = core_file("user")
    config = Config(initrd=job.write_initrd(folder / "root.cpio"), words="onpanic=halt check", core=core)
    with Machine(config, folder) as machine:
        session = Captured(machine, output, PROGRAM_LIMIT)
        outcome = session.run()
    shutil.rmtree(folder, ignore_errors=True)
    if current is not None:
        if pending:
            runs[current].output.append(pending.decode(errors="replace"))
        if core.exists():  # what is left over runs in another machine
            core = core.rename(core_file(f"user-{current}"))
        run = runs[current]
        if run.output and run.output[-1].endswith(TAP_STOPPED):
            run.stopped = "\n".join(["its first failed check:", *run.output[-4:],
                                     f"look at it by {gdb_on_core(KERNEL, core)}"])
            run.output = []
            return outcome, ended
        runs[current].died = "the machine ended: " + why_it_ended(outcome, core)
        runs[current].end = how_it_ended(outcome)
        ended += 1
    elif outcome.status != 0 and ended == len(names):
        runs[names[-1]].died = "the machine ended badly after it: " + why_it_ended(outcome)
        runs[names[-1]].end = how_it_ended(outcome)
    return outcome, ended


def _show_differences(name: str, linux: _Run, spork: _Run) -> None:
    there, here = linux.outcomes(), spork.outcomes()
    for what in dict.fromkeys([*there, *here]):
        if there.get(what) != here.get(what):
            first = (here.get(what) or "nothing").splitlines()[0]
            progress(f"    {name}: {what}: Linux {there.get(what) or 'nothing'}, Spork {first}")


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
    return _pytest("system", pattern)


def gdb(pattern: str | None) -> list[Result]:
    """pytest over tests/gdb."""
    return _pytest("gdb", pattern)


def web(pattern: str | None) -> list[Result]:
    """pytest over tests/web; then the explorer's page, made of real runs, in headless Chromium."""
    return _pytest("web", pattern) + _page_tests(pattern)


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


def _pytest(suite: str, pattern: str | None) -> list[Result]:
    """The tests of a folder; two files at a time, since most of a boot waits for something."""
    report = RESULTS / f"{suite}.xml"
    report.unlink(missing_ok=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    command = ["/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider",
               "-n", "2", "--dist", "loadfile",
               f"--junitxml={report}", f"tests/{suite}"]
    if pattern:
        command += ["-k", pattern]
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
