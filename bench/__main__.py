"""``python -m bench [PART…]``: measures, and prints one JSON object as the last line of standard output.

Parts: chain, clicks, idle, daily, quiet; all of them by default. What each does is in ``bench/README.md``.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import chain, clicks, daily, idle, quiet_day


def quiet(folder: Path, *, passwords: int = 1000, links: int = 5) -> dict[str, Any]:
    return {"quiet_day": quiet_day.play(folder, passwords, links)}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "chain": chain.measure,
    "clicks": clicks.measure,
    "idle": idle.measure,
    "daily": daily.measure,
    "quiet": quiet,
}


def run(names: list[str], sizes: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    """The results of these parts together. ``sizes``: arguments of a part, for a smaller one."""
    told: dict[str, Any] = {}
    for name in names:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            told |= PARTS[name](Path(folder), **(sizes or {}).get(name, {}))
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return told


def main(arguments: list[str]) -> int:
    if unknown := [name for name in arguments if name not in PARTS]:
        print(f"There is no part {', '.join(unknown)}. Parts are {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    print(json.dumps(run(arguments or list(PARTS))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
