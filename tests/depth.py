"""How deep the suite goes: the one place that reads ``PWSERVER_TEST_DEPTH``.

``quick`` (default) plays the first part of the same seeded games; no proof is left out, and every mutant is still
caught. ``full`` is for ``make prove``.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

NAME = "PWSERVER_TEST_DEPTH"
FULL = os.environ.get(NAME, "quick") == "full"


def deep(quick: T, full: T) -> T:
    """One of the two, by the depth of this run."""
    return full if FULL else quick
