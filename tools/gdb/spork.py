"""GDB's commands, functions and printers for Spork: `gdb -x tools/gdb/spork.py build/kernel/spork.elf`.

They only read the target's memory and never call into the kernel, so they work at any stop: in the
middle of a fork, with locks held, in a panic. `help spork` lists them; docs/gdb.md explains them.
"""
import os
import sys

_HERE = os.path.dirname(os.path.abspath((lambda: 0).__code__.co_filename))
_ROOT = os.path.dirname(os.path.dirname(_HERE))
sys.pycache_prefix = os.path.join(_ROOT, "build", "pycache")  # nothing is made beside the sources
sys.path.insert(0, _HERE)

import sporkgdb  # noqa: E402  (the path above comes first)

sporkgdb.install()
