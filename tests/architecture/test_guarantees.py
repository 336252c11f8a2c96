"""The table of guarantees names every rule, and every test that it names is there."""

from __future__ import annotations

import re

from tests.architecture.guards import PROJECT

TABLE = (PROJECT / "docs" / "guarantees.md").read_text()
ROW = re.compile(r"^\| (\d+) \|(.*)\|(.*)\|$", re.M)


def defined() -> set[str]:
    found: set[str] = set()
    for path in (PROJECT / "tests").rglob("test_*.py"):
        found.update(re.findall(r"^def (test_\w+)", path.read_text(), re.M))
    return found


def test_every_rule_has_its_row_and_its_test_or_says_that_it_comes_next() -> None:
    rows = {int(number): tests for number, _, tests in ROW.findall(TABLE)}
    assert sorted(rows) == list(range(1, 46))
    for number, tests in rows.items():
        assert "test" in tests or "Next" in tests, number


def test_no_guarantee_names_a_test_that_is_gone() -> None:
    named = set(re.findall(r"`(?:\w+\.py::)?(test_\w+)`", TABLE))
    assert len(named) > 90
    assert sorted(named - defined()) == []
