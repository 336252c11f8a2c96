"""Limits of wall time. They exist against hangs alone: what a test costs is judged by its processor time."""

from __future__ import annotations

import os

import pytest

SECONDS, IN_A_GROUP = 60, 300
UNDER_CI = 3
"""A build server may have other work beside it."""


def limit_of(test: pytest.Item) -> float:
    """Seconds: what its marker says, at least what all tests have, and three times that under CI."""
    marker = test.get_closest_marker("timeout")
    least = IN_A_GROUP if test.get_closest_marker("xdist_group") else SECONDS
    seconds = max(float(marker.args[0]) if marker else 0, least)
    return seconds * (UNDER_CI if os.environ.get("CI") == "true" else 1)


class Limits:
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            item.add_marker(pytest.mark.timeout(limit_of(item)), append=False)
