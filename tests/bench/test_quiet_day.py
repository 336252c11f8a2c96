"""Rules 25 to 27, 37 and 43 over a whole day; at full depth for two hundred passwords and a thousand links."""

from __future__ import annotations

from typing import Any

import pytest

from bench.quiet_day import CHANGED, OFF, RESTORED, play
from tests.depth import deep

PASSWORDS = deep(40, 200)
LINKS = 5 * PASSWORDS

pytestmark = [pytest.mark.enable_socket, pytest.mark.timeout(600), pytest.mark.xdist_group("quiet-day")]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return play(tmp_path_factory.mktemp("quiet day"), PASSWORDS, LINKS // PASSWORDS, in_memory=True)


def test_what_was_changed_outside_is_found_within_the_day(told: dict[str, Any]) -> None:
    assert told["changed_found"] == len(CHANGED)
    assert told["restored_found"] == len(RESTORED), "an older password with its older stamp is moved, too"
    assert told["off_pending"] == len(OFF)


def test_every_other_link_ends_the_day_with_a_proof_of_that_day(told: dict[str, Any]) -> None:
    assert told["links"] == LINKS
    assert told["unchanged"] == LINKS - len(CHANGED) - len(RESTORED) - len(OFF)
    assert told["proved_within_a_day"] == told["unchanged"]
    assert told["in_sync"] == told["unchanged_chains"] == PASSWORDS - len(CHANGED) - len(RESTORED) - len(OFF)


def test_a_quiet_day_disturbs_nobody(told: dict[str, Any]) -> None:
    assert told["logons_unchanged"] <= 0.02 * told["unchanged"]
    assert told["wrong_unchanged"] == 0
    assert told["wrong_most"] == 1, "one wrong logon for an account that was changed, not more"
    assert told["incidents_others"] == 0, "neither for what did not change nor for a machine that is merely off"
    assert not told["written"], "a test never writes"
    assert told["violations"] == []


def test_each_account_is_asked_once_and_not_all_in_one_hour(told: dict[str, Any]) -> None:
    assert told["asked_twice"] == told["tested_twice"] == 0
    assert told["due_again"] == PASSWORDS, "and all of them are due again"
    hours = {float(hour): count for hour, count in told["due_hours"].items()}
    assert sum(hours.values()) == PASSWORDS
    assert 19.5 <= min(hours) <= max(hours) <= 22.5
    fullest = max(sum(count for hour, count in hours.items() if start <= hour < start + 1) for start in (19, 20, 21))
    assert fullest < 0.75 * PASSWORDS
    assert max(hours.values()) < 0.3 * PASSWORDS, "in a quarter of an hour"


def test_a_part_of_it_went_over_the_real_wire(told: dict[str, Any]) -> None:
    assert 0.05 * LINKS <= told["over_the_wire"] <= 0.2 * LINKS
