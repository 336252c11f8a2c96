"""The tables of states and times are complete, and every state can be told from the others without colour."""

from __future__ import annotations

from typing import get_args

import pytest

from pwserver.core.states import HEALTH, LINK, STATUS, Health, LinkState, Status, Tone
from pwserver.core.timing import FAST, NORMAL, RetryPolicy, Timing


@pytest.mark.parametrize(("table", "states"), [(STATUS, Status), (LINK, LinkState), (HEALTH, Health)])
def test_every_state_has_its_row(table, states) -> None:  # type: ignore[no-untyped-def]
    assert set(table) == set(states)
    labels = [row.label for row in table.values()]
    assert len(set(labels)) == len(labels), "told apart by words"
    for row in table.values():
        assert row.icon
        assert row.tone in get_args(Tone)


def test_only_what_moves_by_itself_polls() -> None:
    assert {state for state, row in STATUS.items() if row.busy} == {Status.BEING_SYNCED}
    assert {state for state, row in LINK.items() if row.busy} == {LinkState.TESTING, LinkState.CHANGING}


def test_green_means_in_sync_and_nothing_else() -> None:
    assert {state for state, row in STATUS.items() if row.tone == "ok"} == {Status.IN_SYNC}
    assert {state for state, row in LINK.items() if row.tone == "ok"} == {LinkState.IN_SYNC}


def test_what_waits_for_a_person_is_loud() -> None:
    assert {LinkState.REFUSED, LinkState.BLOCKED, LinkState.DOWN} == {state for state, row in LINK.items() if row.loud}


@pytest.mark.parametrize("timing", [NORMAL, FAST], ids=["normal", "fast"])
def test_a_script_is_dead_before_anything_else_begins(timing: Timing) -> None:
    """The order of the deadlines is what makes an unknown safe to probe."""
    assert timing.ttl < timing.call
    assert timing.dead_wait < timing.lease_over_deadline + timing.lease_grace
    assert timing.lease >= timing.call
    assert timing.ttl + timing.restart_answer < timing.restart
    assert timing.restart_stop < timing.restart_answer
    assert timing.renudge > timing.tick
    assert timing.override_waiting < timing.override_running


def test_the_days_have_their_order() -> None:
    assert NORMAL.test_due + NORMAL.test_spread < NORMAL.proof_fresh, "tested again before a green grows old"
    assert NORMAL.retry.give_up == 72 * 3600
    assert NORMAL.try_window == 1800


def test_retries_are_spread_by_a_fifth_and_hourly_in_the_end() -> None:
    policy = RetryPolicy()
    for tries, base in ((1, 30), (2, 60), (3, 120), (4, 300), (5, 420), (6, 3600), (60, 3600)):
        delays = [policy.delay(tries).total_seconds() for _ in range(50)]
        assert base * 0.8 <= min(delays) <= max(delays) <= base * 1.2
    exact = RetryPolicy(jitter=0)
    assert exact.delay(1).total_seconds() == 30
    assert exact.delay(0).total_seconds() == 3600, "never sooner than a first try"
