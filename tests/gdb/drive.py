"""Runs inside GDB: the commands of the JSON file $SPORK_GDB_SCRIPT, each with its output and its error,
into the JSON file $SPORK_GDB_ANSWERS."""
from __future__ import annotations

import json
import os
from pathlib import Path

import gdb

answers = []
for command in json.loads(Path(os.environ["SPORK_GDB_SCRIPT"]).read_text()):
    answer = {"command": command, "output": "", "error": ""}
    try:
        answer["output"] = gdb.execute(command, to_string=True) or ""
    except gdb.error as error:
        answer["error"] = str(error)
    except Exception as error:  # a fault of the commands themselves: no test expects one
        answer["error"] = f"FAULT {type(error).__name__}: {error}"
    answers.append(answer)
    Path(os.environ["SPORK_GDB_ANSWERS"]).write_text(json.dumps(answers))
