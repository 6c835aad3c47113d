"""/proc/PID/vmspace and the JSON snapshots: they say what is so, at one instant."""
from __future__ import annotations

import collections
import gzip
import json
import re
from typing import Any

import jsonschema
from guest import ROOT, spork, succeeds

SCHEMA = json.loads((ROOT / "tools/explore/schema/line.schema.json").read_text())
SNAPSHOT = jsonschema.Draft7Validator(
    {"$schema": SCHEMA["$schema"], "definitions": SCHEMA["definitions"],
     "$ref": "#/definitions/snap"})

# Three shells that fork and exec all the time, on four processors, while the first takes snapshots.
# They are a megabyte of text, which passes the console packed, and when nobody is busy any more.
BUSY = """\
for n in 1 2 3; do (while :; do (true; true) & /bin/true; done) & busy="$busy $!"; done
i=0; while [ $i -lt 25 ]; do cat /proc/vmspaces.json; i=$((i+1)); done >/tmp/snapshots
kill $busy
gzip -c /tmp/snapshots
"""

# Once sleep runs: until then the child is a shell, and an open file shows nothing of its next program.
QUIET = ("sleep 100 & until grep -q sleep /proc/$!/comm; do :; done;"
         " cat /proc/vmspaces.json /proc/$!/vmspace /proc/$!/vmspace.json")


def anon_places(snapshot: dict[str, Any]) -> tuple[collections.Counter[int], dict[int, int]]:
    """How many slots each anon is in, and how many references it says it has; by its page."""
    places: collections.Counter[int] = collections.Counter()
    references = {}
    for amap in snapshot["amaps"]:
        for slot, count, refs, first, *step in amap["anons"]:
            for i in range(count):
                page = int(first, 16) + 4096 * i * (step[0] if step else 1)
                places[page] += 1
                references[page] = refs
    return places, references


def resident(space: dict[str, Any]) -> int:
    return sum(run[1] for run in space["ptes"])


def test_at_one_instant() -> None:
    """While everything changes, every count in a snapshot agrees with what is in it. An address
    space that a process is just leaving may refer to more than the snapshot shows, never to less."""
    ended = spork("sh", "-c", BUSY, options=("--smp", "4"))
    assert ended.status == 0, ended.err
    snapshots = [json.loads(line) for line in gzip.decompress(ended.out).splitlines()]
    assert len(snapshots) == 25
    assert max(len(s["procs"]) for s in snapshots) > 6
    for snapshot in snapshots:
        SNAPSHOT.validate(snapshot)
        places, references = anon_places(snapshot)
        assert all(places[page] <= references[page] for page in places)
        entries = collections.Counter(
            entry["amap"] for space in snapshot["vmspaces"] for entry in space["entries"])
        assert all(entries[amap["id"]] <= amap["refs"] for amap in snapshot["amaps"])
        for space in snapshot["vmspaces"]:
            assert resident(space) == space["pages_resident"]
            ends = [(int(e["start"], 16), int(e["end"], 16)) for e in space["entries"]]
            assert all(a[1] <= b[0] for a, b in zip(ends, ends[1:]))


def test_nothing_left_out() -> None:
    """When nothing happens every reference is accounted for, and the text tells the same."""
    everything, rest = succeeds("sh", "-c", QUIET).split("\n", 1)
    snapshot = json.loads(everything)
    SNAPSHOT.validate(snapshot)
    places, references = anon_places(snapshot)
    assert dict(places) == references and places
    text, one = rest.rstrip("\n").rsplit("\n", 1)
    alone = json.loads(one)
    SNAPSHOT.validate(alone)
    assert [p["name"] for p in alone["procs"]] == ["sleep"]
    space = alone["vmspaces"][0]
    assert all(len(line) <= 80 for line in text.splitlines())
    shown = re.findall(r"^([0-9a-f]{12})-([0-9a-f]{12}) (...).", text, re.M)
    assert shown == [(e["start"][2:].zfill(12), e["end"][2:].zfill(12), e["prot"])
                     for e in space["entries"]]
    mapped = re.findall(r"^    pte +[0-9a-f]+ +(\d+) page", text, re.M)
    assert sum(map(int, mapped)) == resident(space)
