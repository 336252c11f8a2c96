"""What people ask at awkward moments, and what a worker does that was asked to end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from pwserver.core import stopping
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import LinkAttempt, SyncRun
from pwserver.services import sync
from tests.sync.build import Scene, Stage, make_stage
from tests.sync.test_sweep import assert_all_have_it, converge, proved, request_change, work


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return make_stage(Path(tmp_path_factory.mktemp("requests")))


@pytest.fixture
def scene(stage: Stage) -> Iterator[Scene]:
    with stage.app.app_context():
        yield proved(stage)
        db.session.remove()


def test_a_worker_asked_to_end_gives_the_run_back_and_sends_nothing_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_change(scene)
    asked = iter([False, True])
    monkeypatch.setattr(stopping, "requested", lambda: next(asked))
    work(scene)
    run = db.session.scalars(select(SyncRun).where(SyncRun.kind == "change")).one()
    attempts = db.session.scalars(select(LinkAttempt.step).where(LinkAttempt.run_id == run.id)).all()
    assert (run.state, run.due_at <= scene.world.now, run.lease_until) == ("waiting", True, None)
    assert attempts == ["change"], "one link was in hand; the next is another worker's"
    monkeypatch.undo()
    db.session.rollback()
    converge(scene, "after the restart")
    assert sync.check() == []


def test_retest_carries_a_corrected_value_on_while_one_account_is_still_in_question(scene: Scene) -> None:
    """The others do not wait half an hour for the budget of the one whose claim cannot be proved yet."""
    scene.world.outside("LAB-01\\Administrator", "by hand", clock_back=False)
    links = sync.active_links(sync.chain_of(scene.entry("lab")))
    accounts = [link.id for link in links if link.is_account]
    scene.world.corrected.add("by hand")
    sync.correct(scene.person(), scene.entry("lab"), Secret("by hand"), accounts)
    scene.world.faults.append("unreachable")
    run = db.session.scalars(select(SyncRun.id).where(SyncRun.kind == "correct")).one()
    db.session.rollback()
    sync.execute(run, "worker", scene.connect)
    assert db.session.get_one(SyncRun, run).state == "waiting"
    db.session.rollback()
    scene.world.advance(1)
    again = sync.retest(scene.person(), scene.entry("lab"))
    assert again.kind == "change"
    db.session.rollback()
    converge(scene, "after the retest")
    value = {account.value for name, account in scene.world.accounts.items() if "Administrator" in name}
    assert value == {"by hand"}


def test_a_change_that_works_spends_no_wrong_logon(scene: Scene) -> None:
    request_change(scene)
    work(scene)
    assert_all_have_it(scene)
