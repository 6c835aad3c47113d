"""Options for disks that QEMU sees through something in between: with errors, slow, or read-only."""
from __future__ import annotations

import json
from pathlib import Path


def raw(image: Path) -> dict[str, object]:
    return {"driver": "raw", "file": {"driver": "file", "filename": str(image)}}


def attached(drive: dict[str, object], device: str = "") -> tuple[str, ...]:
    return ("--qemu=-blockdev", "--qemu=" + json.dumps({"node-name": "d", **drive}),
            "--qemu=-device", f"--qemu=virtio-blk-pci,drive=d{device}")


def faulty(image: Path, *rules: dict[str, object]) -> tuple[str, ...]:
    """EIO where a rule says so (blkdebug's inject-error)."""
    return attached({"driver": "raw", "file": {
        "driver": "blkdebug", "inject-error": [{"event": "none", "errno": 5, "once": False, **rule} for rule in rules],
        "image": raw(image)["file"]}})


def slow(image: Path, limits: str) -> tuple[str, ...]:
    """No faster than QEMU's throttle-group says."""
    return ("--qemu=-object", f"--qemu=throttle-group,id=slow,{limits}",
            *attached({"driver": "throttle", "throttle-group": "slow", "file": raw(image)}))
