"""Kill -9 of every process while a machine is being written: nothing is lost, no green lies, all converges."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.depth import deep
from tests.jobs import sweep
from tests.jobs.kills import ALL, LEAST, VICTIMS, aims, good, kill_all
from tests.sync.sweep import COUNTS

pytestmark = [
    pytest.mark.sweep,
    pytest.mark.enable_socket,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("kills"),
]


@pytest.mark.budget(deep(60, 240), "a whole instance, killed and started again while machines are written")
def test_whatever_is_killed_the_truth_and_the_vault_agree(
    instance: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    found = kill_all(instance, spawn, VICTIMS)
    assert found["kills"] == found["open"] == len(VICTIMS) >= deep(3, 10)
    assert good(found), json.dumps(found)


def test_everything_there_is_is_killed_and_every_kind_of_target_is_being_written_meanwhile() -> None:
    assert set(ALL) >= LEAST
    assert set(ALL) >= set(VICTIMS)
    assert {aim.entry for aim in aims()} == {"Lab Administrator", "svc-backup", "SW-01"}


FOUND = dict.fromkeys(COUNTS, 0) | {"kills": 11, "open": 11, "violations": [], "stuck_at": [], "wrong_logons": 0}


def reported(monkeypatch: pytest.MonkeyPatch, died: dict[str, int], killed: dict[str, object], words: list[str]) -> int:
    monkeypatch.setattr(sweep.points, "report", lambda: (dict.fromkeys(COUNTS, 0) | {"boundaries": 400} | died, words))
    monkeypatch.setattr(sweep.kills, "report", lambda: FOUND | killed)
    return sweep.main()


def test_the_command_adds_both_up_and_fails_when_anything_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reported(monkeypatch, {}, {}, []) == 0
    assert capsys.readouterr().out == (
        '{"boundaries": 400, "kills": 11, "lost": 0, "false_green": 0, "locked": 0, "stuck": 0, "without_outcome": 0}\n'
    )
    for name in COUNTS:
        assert reported(monkeypatch, {name: 2}, {name: 1}, []) == 1
        assert f'"{name}": 3' in capsys.readouterr().out
    assert reported(monkeypatch, {}, {}, ["change, before commit 3: broken: 2 wrong logons, 1 allowed"]) == 1
    assert "2 wrong logons" in capsys.readouterr().err
    assert reported(monkeypatch, {}, {"open": 10}, []) == 1
    assert reported(monkeypatch, {}, {"violations": ["run 3: does not run"]}, []) == 1
