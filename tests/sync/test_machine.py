"""No order of events loses a password, lies about a state or locks an account."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from pwserver.services import sync
from tests.depth import deep
from tests.sync.build import make_stage, proved
from tests.sync.machine import Machine
from tests.sync.mutants import (
    MUTANTS,
    Mutant,
    changes_from_what_the_vault_has,
    dependents_first,
    promotes_by_stage,
)
from tests.sync.openings import Opening, play
from tests.sync.world import Lie

GAMES = deep(60, 300)
SEEDS = (1, 2)
"""Each plays its share, so that every core has some. Without them what is played would hang on the very words of the
machine's source."""

ALARMS = (AssertionError, Lie)


class Checked(Machine):
    """At the end of each game ``flask sync check`` finds nothing, wherever the game stopped."""

    def teardown(self) -> None:
        left = sync.check(recheck_lag=timedelta.max)
        super().teardown()
        assert not left, left


def random_play(number: int, examples: int, machine: type[Machine] = Machine) -> None:
    """Games of 30 moves each, the same ones each time."""

    @seed(number)
    class Player(machine):  # type: ignore[misc,valid-type]
        pass

    generate = settings(
        max_examples=examples,
        stateful_step_count=30,
        derandomize=True,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    run_state_machine_as_test(Player, settings=generate)


@pytest.fixture(scope="module", autouse=True)
def stage(tmp_path_factory: pytest.TempPathFactory) -> None:
    Machine.stage = proved(make_stage(Path(tmp_path_factory.mktemp("machine"))))


@pytest.mark.timeout(900)
@pytest.mark.budget(deep(60, 300), "plays many games of the whole machine")
@pytest.mark.parametrize("number", SEEDS)
def test_whatever_happens_no_password_is_lost_no_green_lies_no_account_is_locked(number: int) -> None:
    random_play(number, -(-GAMES // len(SEEDS)), Checked)


@pytest.mark.parametrize("opening", dict.fromkeys(each.opening for each in MUTANTS), ids=lambda each: each.__name__)
def test_an_opening_alarms_nobody_while_every_guarantee_is_kept(opening: Opening) -> None:
    play(opening)


@pytest.mark.breaks_invariants
@pytest.mark.mutant
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: f"{each.break_it.__name__}-{each.opening.__name__}")
def test_an_engine_without_one_guarantee_is_caught(monkeypatch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    mutant.break_it(monkeypatch)
    with pytest.raises(ALARMS, match=mutant.alarm):
        play(mutant.opening)


@pytest.mark.breaks_invariants
@pytest.mark.mutant
@pytest.mark.budget(40, "plays until it is caught, at most 60 games")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("break_it", [promotes_by_stage, dependents_first, changes_from_what_the_vault_has])
def test_random_play_catches_it_without_an_opening(
    monkeypatch: pytest.MonkeyPatch, break_it: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Within a fifth of the games that the engine as it is has to go through: random play is worth something."""
    break_it(monkeypatch)
    with pytest.raises(ALARMS):
        random_play(3, 60)
