"""One thing that is not as it must be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """``invariant``: which one, a stable word. ``subject``: whose row. ``what``: what is wrong, after the subject."""

    invariant: str
    subject: str
    what: str
