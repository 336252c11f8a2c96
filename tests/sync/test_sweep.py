"""The sweep: a worker dies at every commit of a run, the network fails at every call, and all ends well by itself.

The machine next door tries random orders; here every single point is tried, one by one.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from pwserver.connectors.base import Evidence, Means
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import EntryVersion
from pwserver.services.sync import accounts, journal, tries
from pwserver.services.transaction import write
from tests.depth import deep
from tests.sync import sweep
from tests.sync.build import Scene, Stage
from tests.sync.mutants import forgets_maybe
from tests.sync.sweep import STORIES, Eye, Film, Story
from tests.sync.world import FAULTS, ModelConnector

CHANGE = STORIES[0]
WHOLE = ("change", "approve", "change and restart")
"""Stories that are swept point by point at any depth; of the others quick takes every fourth state."""
Patch = pytest.MonkeyPatch
breaks = pytest.mark.breaks_invariants


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return sweep.stage_for(Path(tmp_path_factory.mktemp("sweep")))


@pytest.fixture(scope="module")
def films(stage: Stage) -> dict[str, Film]:
    with stage.app.app_context():
        return {story.name: sweep.film(stage, story) for story in STORIES}


@pytest.fixture(autouse=True)
def context(stage: Stage) -> Iterator[None]:
    with stage.app.app_context():
        stage.restore()  # a test that broke rows on purpose leaves them
        yield
        db.session.remove()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
@pytest.mark.timeout(300)
@pytest.mark.budget(20, "goes on from each state that a death can leave")
def test_who_dies_at_any_commit_or_call_leaves_nothing_that_does_not_heal(
    stage: Stage, films: dict[str, Film], story: Story
) -> None:
    film, every = films[story.name], 1 if story.name in WHOLE else deep(4, 1)
    found, words = sweep.sweep_one(stage, story, film, every=every)
    assert words == []
    boundaries = found.pop("boundaries")
    assert boundaries == len(film.points) if every == 1 else 2 * every * boundaries > len(film.points)
    assert len(film.points) >= 30
    assert not any(found.values())


def test_a_new_step_run_method_or_commit_of_the_engine_is_swept_or_missed_by_name(films: dict[str, Film]) -> None:
    assert sweep.missing(films.values()) == []
    without_approve = [film for name, film in films.items() if name != "approve"]
    assert sweep.missing(without_approve) == ["override", "prove", "reset"]
    assert {"intent", "outcome", "promote", "note", "wait", "done", "restart", "verify"} <= sweep.needed()


def test_every_commit_and_every_call_of_a_change_is_a_point(films: dict[str, Film]) -> None:
    """Four places, each with an intent, a call and an outcome: nothing is left out of the film."""
    film = films[CHANGE.name]
    assert film.methods == ["change", "change", "write", "write"]
    taken = film.commits.index("claim")
    assert film.commits[taken : taken + 4] == ["claim", "intent", "outcome", "promote"]
    assert film.commits[-1] == "done"
    assert len(film.points) == 2 * len(film.commits) + 2 * len(film.methods) + film.methods.count("change")
    assert len({id(state.database) for state in film.states}) == len(film.commits) + 1
    applied = [point for point in film.points if point.startswith(("late", "after call"))]
    assert {film.states[film.points[point]].world.mutations for point in applied} == {0, 1, 2, 3, 4}


# -- each count can be other than zero


def told(scene: Scene, story: Story = CHANGE) -> dict[str, list[str]]:
    return sweep.tell(scene, story).wrong


@breaks
def test_a_journal_that_forgets_one_commit_leaves_an_attempt_without_outcome(stage: Stage, monkeypatch: Patch) -> None:
    monkeypatch.setattr(journal.SqlJournal, "_keep", lambda *args: False)
    assert told(stage.restore())["without_outcome"]


@breaks
def test_a_journal_that_forgets_what_was_sent_does_not_heal(stage: Stage, monkeypatch: Patch) -> None:
    forgets_maybe(monkeypatch)
    film = sweep.film(stage, CHANGE)
    wrong = sweep.recover(stage, CHANGE, film.states[film.points["after call 1: change"]]).wrong
    assert wrong.keys() & {"stuck", "broken"}


@breaks
def test_a_connector_that_sets_another_value_loses_it_and_the_green_lies(stage: Stage, monkeypatch: Patch) -> None:
    real = ModelConnector._write_account

    def other(self, call, new, old):  # type: ignore[no-untyped-def]
        return real(self, call, Secret(new.open().upper()), old)

    monkeypatch.setattr(ModelConnector, "_write_account", other)
    green = Evidence("LAB-01", means=Means.WRITTEN, method="set", right=True)
    monkeypatch.setattr(ModelConnector, "write", lambda self, call, value: green)
    wrong = told(stage.restore())
    assert wrong["lost"] == ["LAB-01\\Administrator", "LAB-02\\Administrator"]
    assert set(wrong["false_green"]) > set(wrong["lost"])


@breaks
def test_a_stored_version_that_does_not_open_counts_as_lost(stage: Stage) -> None:
    scene = stage.restore()
    with write() as session:
        session.execute(update(EntryVersion).values(sealed=b"spoilt" * 20))
    eye = Eye(scene)
    eye()
    assert len(eye.verdict.lost) == 4


@breaks
def test_a_run_that_nobody_takes_up_again_is_stuck(stage: Stage, monkeypatch: Patch) -> None:
    execute = importlib.import_module("pwserver.services.sync.execute")
    real, once = execute.claim, set[str]()

    def claim(run_id, worker, timing):  # type: ignore[no-untyped-def]
        if run_id in once:
            return None
        once.add(run_id)
        return real(run_id, worker, timing)

    monkeypatch.setattr(execute, "claim", claim)
    scene = stage.restore()
    scene.world.faults = deque(["unreachable"])
    assert told(scene)["stuck"]


@breaks
def test_a_budget_that_counts_nothing_locks_an_account(stage: Stage, monkeypatch: Patch) -> None:
    monkeypatch.setattr(accounts, "may_try", lambda *args, **more: None)
    monkeypatch.setattr(tries, "_refused", lambda *args: None)
    scene = stage.restore()
    scene.world.outside("LAB-02\\Administrator", "by hand", clock_back=False)
    story = Story("clicks", (sweep.ask_for_a_test, *[sweep.retest] * 3), new=False)
    assert told(scene, story)["locked"] == ["LAB-02\\Administrator"]


# -- what fails, and nobody dies

SELF_HEALING = [each for each in FAULTS if each not in ("none", "policy", "login", "bug") and "crash" not in each]


@pytest.mark.parametrize("fault", SELF_HEALING)
@pytest.mark.timeout(300)
def test_a_call_that_fails_at_any_link_heals_by_itself(stage: Stage, fault: str) -> None:
    acts = (sweep.request_change, sweep.retest_if_asked)
    for at in range(4):
        scene = stage.restore()
        calls = scene.world.calls
        scene.world.faults = deque(["none"] * at + [fault])
        assert told(scene, Story(fault, acts)) == {}, at
        assert scene.world.calls > calls + at
