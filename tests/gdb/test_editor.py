"""What .vscode has an editor do: start a machine that waits, attach GDB to it, load the commands."""
from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from debugger import LIMIT, ROOT


def read(name: str) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads((ROOT / ".vscode" / name).read_text())
    return contents


def test_launch_attaches_gdb_and_loads_the_commands() -> None:
    launch, = read("launch.json")["configurations"]
    task, = (t for t in read("tasks.json")["tasks"] if t["label"] == launch["preLaunchTask"])
    setup = [word for each in launch["setupCommands"] for word in ("-ex", each["text"])]
    program = launch["program"].replace("${workspaceFolder}", str(ROOT))
    gdb = ["gdb", "-q", "-nx", "-batch", *setup, "-ex", f"target remote {launch['miDebuggerServerAddress']}",
           "-ex", "break vmspace::fork", "-ex", "continue", "-ex", "spork ps", program]
    environment = os.environ | {"SPORK_NO_BUILD": "1"}
    with subprocess.Popen([task["command"], *task["args"]], cwd=ROOT, env=environment, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as machine:
        assert machine.stderr is not None
        try:
            assert task["problemMatcher"]["background"]["endsPattern"] in machine.stderr.readline()
            done = subprocess.run(gdb, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False,
                                  stdin=subprocess.DEVNULL)
        finally:
            machine.terminate()
    assert "vmspace::fork" in done.stdout, done.stdout + done.stderr
    assert "init" in done.stdout.split("Breakpoint 1,")[-1], done.stdout + done.stderr
