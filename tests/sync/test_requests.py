"""What people ask at awkward moments, and what a worker does that was asked to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from pwserver.core import stopping
from pwserver.core.errors import Conflict, Invalid
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Entry, LinkAttempt, SyncRun, Vault, new_id
from pwserver.services import sync, timer
from pwserver.services.sync import journal
from pwserver.services.transaction import write
from tests.sync import sweep
from tests.sync.build import Scene, Stage, make_stage
from tests.sync.sweep import proved, request_change, work


@pytest.fixture(scope="module")
def stage(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return make_stage(Path(tmp_path_factory.mktemp("requests")), url=new_database())


@pytest.fixture
def scene(stage: Stage) -> Iterator[Scene]:
    with stage.app.app_context():
        yield proved(stage)
        db.session.remove()


def converge(scene: Scene, case: str) -> None:
    """Time passes, the timer ticks, workers work: nothing else. In the end the chain is In Sync."""
    assert sweep.converge(scene, seconds=1200, step=20), case
    chain = sweep.chain(scene)
    assert (chain.status, chain.status_detail) == ("in_sync", ""), case
    db.session.rollback()


def assert_all_have_it(scene: Scene) -> None:
    eye = sweep.Eye(scene)
    assert eye.at_the_end(sweep.Story("", ())).wrong == {}


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


def test_an_answer_is_not_lost_to_a_database_that_is_away_for_a_moment(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target was changed: what it said is written down as soon as the database is back."""
    monkeypatch.setattr(journal, "AGAIN_SECONDS", 0)
    real, away = journal.SqlJournal._keep, iter([True, True])

    def keep(self, *args):  # type: ignore[no-untyped-def]
        if next(away, False):
            raise OperationalError("UPDATE", {}, Exception("disk I/O error"))
        return real(self, *args)

    monkeypatch.setattr(journal.SqlJournal, "_keep", keep)
    request_change(scene)
    work(scene)
    assert_all_have_it(scene)


def test_a_click_tests_a_refused_credential_again_and_only_once(scene: Scene) -> None:
    """Its owner says it is right again. One link tries it; when it is refused once more the others do not."""
    request_change(scene)
    scene.world.faults.extend(["none", "login"])
    work(scene)
    blocked = sync.chain_of(scene.entry("lab")).links[1]
    assert (blocked.state, blocked.reason) == ("blocked", "linked_refused")
    db.session.rollback()
    calls = scene.world.calls
    scene.world.advance(2000)
    timer.tick()
    work(scene)
    assert scene.world.calls == calls, "nothing is sent again by itself"
    sync.retest(scene.person(), scene.entry("lab"))
    scene.world.faults.append("login")
    work(scene)
    refused = db.session.scalars(select(LinkAttempt.outcome).where(LinkAttempt.reason == "linked_refused")).all()
    assert len(refused) == 2
    db.session.rollback()
    scene.world.advance(2000)
    sync.retest(scene.person(), scene.entry("lab"))
    work(scene)
    converge(scene, "after the second click")


def test_nobody_lends_a_credential_that_they_may_not_read(scene: Scene) -> None:
    """Otherwise an owner of one chain could work with the administrator login of another vault."""
    foreign = Vault(id=new_id(), name="Directory Services")
    with write() as session:
        session.add(foreign)
        session.flush()
        session.get_one(Entry, scene.entries["M"]).vault_id = foreign.id
    entry = scene.entry("desk")
    settings = {"machine": "LAB-02", "user_name": "operator"}
    revision = sync.chain_of(entry).revision
    with pytest.raises(Invalid) as refused:
        sync.add_link(
            scene.person(), entry, "remote_windows", settings, revision=revision, linked_entry_id=scene.entries["M"]
        )
    assert refused.value.field == "linked_entry_id"
    db.session.rollback()
    assert len(sync.active_links(sync.chain_of(scene.entry("desk")))) == 1


def test_a_value_saved_again_is_proved_and_not_written_again(scene: Scene) -> None:
    """The vault was told a wrong value, and then the old one again: to the machines nothing has changed."""
    lab = scene.entry("lab")
    first = sync.active_links(sync.chain_of(lab))[0].id
    scene.world.corrected.add("a slip")
    sync.correct(scene.person(), lab, Secret("a slip"), [first])
    work(scene)
    scene.world.advance(60)
    before = scene.world.mutations
    sync.correct(scene.person(), scene.entry("lab"), Secret("first LAB-01\\Administrator"), [first])
    work(scene)
    scene.world.advance(60)
    sync.retest(scene.person(), scene.entry("lab"))
    work(scene)
    accounts = [link for link in sync.active_links(sync.chain_of(scene.entry("lab"))) if link.is_account]
    assert [link.state for link in accounts] == ["in_sync", "in_sync"]
    assert all(not account.bad for account in scene.world.accounts.values())
    assert scene.world.mutations == before + 2, "only the two places were written"


def test_a_service_is_not_restarted_again_by_the_run_that_could_not(scene: Scene) -> None:
    """Its account may be nearer to a lock-out with every start that fails."""
    entry = scene.entry("lab")
    service = next(link for link in sync.active_links(sync.chain_of(entry)) if link.kind == "windows_service")
    settings = {"machine": "LAB-01", "name": "imaging", "restart": "service"}
    sync.edit_link(
        scene.person(), service, settings, revision=sync.chain_of(entry).revision,
        account_link_id=service.account_link_id,
    )  # fmt: skip
    work(scene)
    scene.world.running.add("LAB-01\\imaging")
    request_change(scene)
    scene.world.faults.extend(["none"] * 4 + ["unreachable"])
    work(scene)
    tried = select(LinkAttempt.outcome).where(LinkAttempt.step == "restart")
    assert db.session.scalars(tried).all() == ["unreachable"]
    db.session.rollback()
    for _ in range(10):
        scene.world.advance(300)
        timer.tick()
        work(scene)
    assert db.session.scalars(tried).all() == ["unreachable"]
    link = sync.active_links(sync.chain_of(scene.entry("lab")))[-1]
    assert (link.state, link.restart_pending) == ("updated", True)


def test_default_sync_is_not_pointed_elsewhere_while_it_may_hold_two_passwords(scene: Scene) -> None:
    """The old machine would be forgotten with the new password perhaps on it."""
    request_change(scene)
    scene.world.faults.append("cut_after")
    work(scene)
    entry = scene.entry("lab")

    def point_elsewhere() -> None:
        with write() as session:
            row = session.get_one(Entry, entry.id)
            row.user_name = "SomeoneElse"
            session.flush()
            sync.general_settings_changed(session, scene.person(), row)

    with pytest.raises(Conflict) as refused:
        point_elsewhere()
    assert "LAB-01" in refused.value.user_message
    db.session.rollback()
    converge(scene, "when it is known")
    assert_all_have_it(scene)
