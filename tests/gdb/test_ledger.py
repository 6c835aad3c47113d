"""spork ledger: a fork's entry, and the faults that it has caused since."""
from __future__ import annotations

import re

from debugger import debug


def test_a_fork_and_what_came_of_it() -> None:
    answers = debug(["break process_exit_group if $pid() == 5", "continue", "spork ledger", "spork ledger 1",
                     "spork ledger 99"], "/demos/walk cow-fault")
    text = answers["spork ledger"]
    fork = re.search(r"^\d+: fork by 5 \(walk\) of 6 mode cow cycles \d+\n((?:    .*\n)+)", text, re.M)
    assert fork, text
    counted = dict(re.findall(r"^    (\w+) (\d+)$", fork[1], re.M))
    assert counted["forks"] == "1" and int(counted["map_entries_copied"]) > 0, text
    assert "pages_copied" not in counted, text
    assert re.search(r"later, in the (parent|child): write_copied [1-9]", fork[1]), text
    assert re.search(r"^\d+: exec by 5 \(walk\)", text, re.M), text
    assert re.search(r"^\d+: fork by 1 \(init\) of 5", answers["spork ledger 1"], re.M), answers.text()
    assert "99" in answers.error("spork ledger 99")
