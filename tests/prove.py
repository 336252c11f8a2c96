"""``make prove``: everything at full depth. Prints one JSON object as its last line; ends with 1 if anything failed.

Parts: ``suite`` (lint and every test), ``mutants`` (every old fault put back), ``opinions`` (programs that others
wrote, asked the same questions). A folder of ``tests`` is a part too: its tests alone, at full depth.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from tests.budget import FILE
from tests.depth import NAME
from tests.mutants import PROJECT

PARTS = ("suite", "mutants", "opinions")
SIDE_BY_SIDE = ("-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder", "-rs")


def run(arguments: list[str], **settings: str) -> tuple[bool, dict[str, int]]:
    """Whether a module of the project's environment ended well, and the numbers of its last line if that is JSON."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=PROJECT, env=os.environ | {NAME: "full"} | settings, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line
    ended_well = process.wait() == 0
    try:
        told = json.loads(last)
    except ValueError:
        return ended_well, {}
    return ended_well, told if isinstance(told, dict) else {}


def tests(*places: str, **settings: str) -> tuple[bool, dict[str, int]]:
    """The tests of some places, or all; the numbers that ``build/durations.json`` has of them."""
    FILE.unlink(missing_ok=True)
    ended_well, _ = run(["pytest", *SIDE_BY_SIDE, *places], **settings)
    return ended_well, json.loads(FILE.read_text()) if FILE.is_file() else {}


def part(name: str) -> tuple[bool, dict[str, int]]:
    if name == "suite":
        return tests(PWSERVER_TEST_LINT="1")
    if name in PARTS:
        return run([f"tests.{name}"])
    return tests(f"tests/{name}")


def main(names: list[str]) -> int:
    for name in names:
        if name not in PARTS and not (PROJECT / "tests" / name).is_dir():
            print(f"There is no part {name!r}. Parts: {', '.join(PARTS)}, or a folder of tests.", file=sys.stderr)
            return 2
    began = time.monotonic()
    failed: list[str] = []
    sums = dict.fromkeys(("skipped", "mutants", "caught"), 0)
    for name in names or PARTS:
        print(f"== {name}", flush=True)
        ended_well, told = part(name)
        for key in sums:
            sums[key] += told.get(key, 0)
        if not ended_well:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    print(json.dumps({"minutes": round((time.monotonic() - began) / 60, 1)} | sums))
    return 1 if failed or sums["caught"] < sums["mutants"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
