"""Old faults, put back one at a time: for each the name of a test that must fail.

A mutant is a piece of the source and what stood there before. It works for Python, PowerShell and C# alike, since what
is changed is the text of a copy of the tree. ``python -m tests.mutants`` (part of ``make prove``) runs them all; the
quick suite checks that each still fits its file and that its test exists.

Engines and journals with one guarantee taken out are patched in process instead: ``tests/sync/mutants.py``,
``tests/competing``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class SourceMutant:
    """``now`` stands exactly once in ``file``; ``back`` is the fault; ``test`` is the node id that must fail."""

    name: str
    file: str
    now: str
    back: str
    test: str

    def put_back(self, tree: Path) -> None:
        """Change the copy of the project at ``tree``. Raise ValueError if the text is not there exactly once."""
        path = tree / self.file
        text = path.read_text()
        if text.count(self.now) != 1:
            raise ValueError(f"{self.name}: {self.file} has the text {text.count(self.now)} times")
        path.write_text(text.replace(self.now, self.back))


def every() -> list[SourceMutant]:
    """All source mutants, area by area."""
    from tests.mutants import accounts, devices, places, processes, wire

    return [*wire.MUTANTS, *accounts.MUTANTS, *places.MUTANTS, *devices.MUTANTS, *processes.MUTANTS]
