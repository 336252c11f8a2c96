"""One engine runs all scenarios of the session; each test then looks at what it needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

import pytest

from pwserver.lab import engine_mind
from tests.engine import NAME, engine_or_skip
from tests.lab.conftest import Lab
from tests.scripts.pairs import pairs
from tests.scripts.scenarios import Scenario, accounts, domains, hops, of_pair, places


@dataclass
class Ran:
    scenario: Scenario
    lab: Lab
    output: bytes

    @property
    def answer(self):
        return json.loads(self.output)


@cache
def ran() -> dict[str, Ran]:
    """Every scenario, once, by the shipped scripts in one real engine."""
    scenarios = [*accounts(), *places(), *domains(), *hops(), *(of_pair(pair) for pair in pairs())]
    begun = [scenario.for_engine() for scenario in scenarios]
    outputs = engine_mind.run_many([case for _, case in begun])
    return {
        scenario.name: Ran(scenario, lab, output)
        for scenario, (lab, _), output in zip(scenarios, begun, outputs, strict=True)
    }


@pytest.fixture
def engine(monkeypatch):
    """The engine's path; the lab uses it during the test."""
    path = engine_or_skip()
    monkeypatch.setenv(NAME, path)
    return path


@pytest.fixture
def runs(engine):
    return ran()
