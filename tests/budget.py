"""What each test costs: processor time, its own and that of the processes it waited for.

Processor time, not wall time: a machine that is busy with something else must not fail a test. Fixtures of a wider
scope than the test are made before the measuring begins, so that the first test of a session does not pay for all.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SECONDS = 5.0
"""What a test may take without a marker of its own: ``@pytest.mark.budget(seconds, reason)``."""
WITH_SERVERS = 120.0
"""What a test may take that runs a real engine, browser or server, or has a lane of its own."""
SERVERS = ("engine", "sshd", "browser", "sweep", "directory", "xdist_group")
UNDER_CI = 2
"""A build server's processors are often threads of one core, which slow each other down; that shows as their time."""
ALONE = 20
"""In a session of so few tests nothing is judged: they pay for what others would share, such as an engine's start."""
DEAREST = 50
FILE = Path(__file__).parent.parent / "build" / "durations.json"


def processor_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


@pytest.fixture(autouse=True)
def cpu_budget(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that took more processor time than it may."""
    cpu, wall = processor_seconds(), time.monotonic()
    yield
    cpu, wall = processor_seconds() - cpu, time.monotonic() - wall
    request.node.user_properties += [("cpu", round(cpu, 2)), ("wall", round(wall, 2))]
    allowed = allowed_for(request.node) * (UNDER_CI if os.environ.get("CI") == "true" else 1)
    if cpu > allowed and request.session.testscollected > ALONE:
        pytest.fail(f"took {cpu:.1f} s of processor time; it may take {allowed:g}", pytrace=False)


def allowed_for(item: pytest.Item) -> float:
    marker = item.get_closest_marker("budget")
    if marker:
        return float(marker.args[0])
    return WITH_SERVERS if any(item.get_closest_marker(name) for name in SERVERS) else SECONDS


class Durations:
    """Collects what the tests of all workers took, and writes the dearest to ``build/durations.json``."""

    def __init__(self) -> None:
        self.taken: dict[str, tuple[float, float]] = {}
        self.skipped: set[str] = set()
        self.mutants: dict[str, bool] = {}
        """Test of a mutant that is patched in process → whether it was caught."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skipped.add(report.nodeid)
        elif "mutant" in report.keywords:
            self.mutants[report.nodeid] = self.mutants.get(report.nodeid, True) and report.passed
        told = dict(report.user_properties)
        if report.when == "teardown" and "cpu" in told:
            self.taken[report.nodeid] = (float(told["cpu"]), float(told["wall"]))  # type: ignore[arg-type]

    def pytest_sessionfinish(self) -> None:
        if not self.taken:
            return
        dearest = sorted(self.taken.items(), key=lambda each: -each[1][0])[:DEAREST]
        told = {
            "tests": len(self.taken),
            "cpu": round(sum(cpu for cpu, _ in self.taken.values()), 1),
            "skipped": len(self.skipped),
            "mutants": len(self.mutants),
            "caught": sum(self.mutants.values()),
            "folders": self._sums(lambda test: test.partition("::")[0].rpartition("/")[0]),
            "files": self._sums(lambda test: test.partition("::")[0]),
            "dearest": [{"test": test, "cpu": cpu, "wall": wall} for test, (cpu, wall) in dearest],
        }
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps(told, indent=1) + "\n")

    def _sums(self, part_of: Callable[[str], str]) -> dict[str, str]:
        """Processor seconds, wall seconds and tests of each part, the dearest first."""
        sums: dict[str, list[float]] = {}
        for test, taken in self.taken.items():
            total = sums.setdefault(part_of(test), [0.0, 0.0, 0])
            sums[part_of(test)] = [total[0] + taken[0], total[1] + taken[1], total[2] + 1]
        return {
            name: f"cpu {cpu:.1f}, wall {wall:.1f}, {number:.0f} tests"
            for name, (cpu, wall, number) in sorted(sums.items(), key=lambda each: -each[1][0])
        }


def register(config: pytest.Config) -> None:
    """The one process that hears of all tests collects."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Durations(), "durations")
