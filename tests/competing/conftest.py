"""Each database's attacks stay in one process of the tests: they share one server and one prepared scene."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "competing":
            found = "postgres" if "postgres" in item.name else "sqlite"
            item.add_marker(pytest.mark.xdist_group(f"competing-{found}"))
