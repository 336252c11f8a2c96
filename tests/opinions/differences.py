"""The written list of differences: a table in ``differences.md``."""

from __future__ import annotations

import json
from pathlib import Path

from tests.opinions.facts import Difference

FILE = Path(__file__).with_name("differences.md")
COLUMNS = ("fact", "call", "ours", "theirs", "why")


def read(text: str) -> dict[str, Difference]:
    """The rows of the table by the name of their fact. Raise ValueError for a row that is not whole or stands twice."""
    found: dict[str, Difference] = {}
    for line in text.splitlines():
        if not line.startswith("| `"):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if len(cells) != len(COLUMNS) or not all(cells):
            raise ValueError(f"not a whole row: {line}")
        fact, call, ours, theirs, why = cells
        name = fact.strip("`")
        if name in found:
            raise ValueError(f"listed twice: {name}")
        found[name] = Difference(name, call.strip("`"), json.loads(ours.strip("`")), json.loads(theirs.strip("`")), why)
    return found


def listed() -> dict[str, Difference]:
    return read(FILE.read_text())
