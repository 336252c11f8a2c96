"""Which tests begin first: those that keep one process busy for minutes, so that none of them is left for the end.

Within a rank the order stays what it was (shuffled).
"""

from __future__ import annotations

from pathlib import Path

import pytest

FIRST = (
    "jobs/test_kills.py",
    "story",
    "jobs/test_own_servers.py",
    "jobs/test_growing.py",
    "e2e",
    "jobs",
    "directory",
    "scripts",
    "web/test_every_page.py",
    "web/test_keyboard_browser.py",
    "mail/test_in_chromium.py",
    "competing",
    "ssh",
    "sync",
    "bench",
    "cli/test_docs_run.py",
)
"""Files and folders of ``tests``, the longest lane first."""


def rank(test: pytest.Item) -> int:
    """Position in FIRST; behind all of them for what is not named."""
    name = test.path.relative_to(Path(__file__).parent).as_posix()
    for at, place in enumerate(FIRST):
        if name == place or name.startswith(f"{place}/"):
            return at
    return len(FIRST)


class LongestFirst:
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=rank)
