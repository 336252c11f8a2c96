"""One engine runs all scenarios of the session; each test then looks at what it needs."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from pwserver.lab import engine_mind
from tests.engine import NAME, engine_or_skip
from tests.lab.conftest import Lab
from tests.scripts.identity_scenarios import identities
from tests.scripts.pairs import pairs, successes
from tests.scripts.scenarios import Scenario, accounts, domains, hops, of_pair, places


@dataclass
class Ran:
    scenario: Scenario
    lab: Lab
    output: bytes

    @property
    def before_answer(self) -> bytes:
        """What the script wrote before its answer: the line of its hand-over to a second machine, or nothing."""
        return self.output[: self.output.rfind(b"\n") + 1]

    @property
    def answer(self):
        return json.loads(self.output.removeprefix(self.before_answer))


FEW = 12
"""So many tests of the engine or fewer in a session: each runs what it looks at. More: one engine runs everything."""


def every() -> list[Scenario]:
    return [*accounts(), *places(), *domains(), *hops(), *identities(), *map(of_pair, [*pairs(), *successes()])]


class Runs(dict[str, Ran]):
    """Scenario → what the shipped script answered in a real engine. One that was not run yet is run when asked for."""

    def __missing__(self, name: str) -> Ran:
        self.run([scenario for scenario in every() if scenario.name == name])
        return self[name]

    def run(self, scenarios: list[Scenario]) -> None:
        begun = [scenario.for_engine() for scenario in scenarios]
        outputs = engine_mind.run_many([case for _, case in begun])
        for scenario, (lab, _), output in zip(scenarios, begun, outputs, strict=True):
            self[scenario.name] = Ran(scenario, lab, output)


@pytest.fixture(scope="session")
def ran(request: pytest.FixtureRequest) -> Runs:
    """Of the session, so that no single test pays for it."""
    path = engine_or_skip()
    made = Runs()
    if sum("runs" in getattr(item, "fixturenames", ()) for item in request.session.items) > FEW:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(NAME, path)
            made.run(every())
    return made


@pytest.fixture
def engine(monkeypatch):
    """The engine's path; the lab uses it during the test."""
    path = engine_or_skip()
    monkeypatch.setenv(NAME, path)
    return path


@pytest.fixture
def runs(engine, ran):
    return ran
