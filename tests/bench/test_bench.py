"""The bench at a tiny size: every part runs, and tells what it says it tells. How long it takes is not looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bench.__main__ import PARTS, main, run
from tests.depth import deep

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.timeout(180),
    pytest.mark.budget(60, "starts labs and whole instances, and measures them"),
]

SIZES: dict[str, dict[str, Any]] = {
    "chain": {"links": 3, "slow_ms": 1, "rounds": 1},
    "clicks": {"clicks": 2},
    "idle": {"starts": 1},
    "daily": {"tests": 4, "slow_ms": 1},
    "quiet": {"passwords": 20, "links": 1},
}
KEYS = {
    "chain": {"chain_vs_run_ps", "chain_vs_reused_shell", "ours_per_link"},
    "clicks": {"click_to_target"},
    "idle": {"idle_pss_mb", "start_warm_s", "start_cold_s"},
    "daily": {"daily_tests_ratio"},
    "quiet": {"quiet_day"},
}


def test_every_part_is_tried() -> None:
    assert PARTS.keys() == SIZES.keys() == KEYS.keys()


@pytest.mark.parametrize("part", deep(["chain", "clicks"], [name for name in KEYS if name != "quiet"]))
def test_a_part_tells_what_it_measured(part: str) -> None:
    told = run([part], SIZES)
    assert told.keys() >= KEYS[part]
    for key in KEYS[part]:
        values = told[key].values() if isinstance(told[key], Mapping) else [told[key]]
        assert all(isinstance(value, (int, float)) and 0 < value < 100_000 for value in values), (key, told[key])


def test_the_quiet_day_is_a_part() -> None:
    told = run(["quiet"], SIZES)["quiet_day"]
    assert told["violations"] == []
    assert told["proved_within_a_day"] == told["unchanged"] == 2


def test_an_unknown_part_measures_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["everything"]) == 2
    assert capsys.readouterr().out == ""
