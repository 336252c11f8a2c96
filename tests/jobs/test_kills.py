"""Kill -9 of every process while a machine is being written: nothing is lost, no green lies, all converges."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jobs.kills import VICTIMS, good, sweep

pytestmark = [
    pytest.mark.sweep,
    pytest.mark.enable_socket,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("supervisor"),
]


def test_whatever_is_killed_the_truth_and_the_vault_agree(
    instance: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    found = sweep(instance, spawn)
    assert found["kills"] == len(VICTIMS) >= 10
    assert good(found), found
