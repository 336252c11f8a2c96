"""A share of the sweep and of the random games on PostgreSQL. All of them are played on SQLite; here it is enough to
see that the same statements give the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pwserver.extensions import db
from tests.depth import deep
from tests.postgres import Cluster
from tests.sync import sweep
from tests.sync.build import Stage, make_stage, proved
from tests.sync.machine import Machine
from tests.sync.mutants import MUTANTS
from tests.sync.openings import play
from tests.sync.sweep import STORIES, Story
from tests.sync.test_machine import Checked, random_play

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.timeout(300),
    pytest.mark.budget(deep(30, 60), "plays games, or goes on from each state that a death can leave"),
]

SWEPT = [story for story in STORIES if story.name in deep(("change",), ("change", "approve"))]
GAMES = deep(6, 25)
"""A small part of those on SQLite; each takes three times as long here."""


@pytest.fixture(scope="module")
def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = sweep.stage_for(Path(tmp_path_factory.mktemp("sweep")), cluster.url(cluster.create()))
    yield made
    dispose(made)


def dispose(stage: Stage) -> None:
    with stage.app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.mark.parametrize("story", SWEPT, ids=lambda story: story.name)
def test_who_dies_at_any_commit_or_call_leaves_nothing_that_does_not_heal(stage: Stage, story: Story) -> None:
    with stage.app.app_context():
        film = sweep.film(stage, story)
        found, words = sweep.sweep_one(stage, story, film)
        db.session.remove()
    assert words == []
    assert found.pop("boundaries") == len(film.points) >= 30
    assert not any(found.values())


@pytest.fixture
def machine(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    made = proved(make_stage(Path(tmp_path_factory.mktemp("machine")), url=cluster.url(cluster.create())))
    monkeypatch.setattr(Machine, "stage", made, raising=False)
    yield
    dispose(made)


@pytest.mark.usefixtures("machine")
def test_whatever_happens_no_password_is_lost_no_green_lies_no_account_is_locked() -> None:
    random_play(4, GAMES, Checked)


@pytest.mark.usefixtures("machine")
def test_no_opening_alarms_anybody() -> None:
    for opening in dict.fromkeys(each.opening for each in MUTANTS):
        play(opening)
