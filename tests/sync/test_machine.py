"""No order of events loses a password, lies about a state or locks an account."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.sync.build import Stage, make_stage
from tests.sync.machine import Machine
from tests.sync.mutants import MUTANTS

GENERATE = settings(
    max_examples=int(os.environ.get("PWSERVER_EXAMPLES", "300")),  # fewer in the inner loop only
    stateful_step_count=30,
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return make_stage(Path(tmp_path_factory.mktemp("machine")))


@pytest.mark.timeout(900)
def test_whatever_happens_no_password_is_lost_no_green_lies_no_account_is_locked(stage: Stage) -> None:
    Machine.stage = stage
    run_state_machine_as_test(Machine, settings=GENERATE)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_an_engine_without_one_guarantee_is_caught(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, mutant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    Machine.stage = stage
    mutant(monkeypatch)
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # any alarm counts: a lie, an invariant, the database
        run_state_machine_as_test(Machine, settings=GENERATE)
    assert not isinstance(caught.value, KeyboardInterrupt | SystemExit | ImportError | AttributeError | TypeError)
