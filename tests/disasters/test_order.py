"""Rules 7 to 10: Default Sync first, then promotion, then the dependents in order; a place only behind its account."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from pwserver.extensions import db
from pwserver.models import Incident, SyncLink, new_id
from pwserver.services import sync
from pwserver.services.transaction import write
from pwserver.sync.settle import NOT_RESTARTED
from tests.disasters.conftest import DEAD, FIRST, OTHER, PRIMARY, Play
from tests.sync.world import TruePlace


@pytest.mark.parametrize("fault", ["policy", "unreachable", "cut_before", "cut_after", "cannot_tell", "bug", "login"])
def test_no_place_gets_a_password_that_default_sync_did_not_take(play: Play, fault: str) -> None:
    run = play.change("second")
    if fault == "login":
        play.world.outside("LAB-01\\svc-psrv", "changed outside", clock_back=False)
    play.fault(fault)
    play.work(run)
    touched = {each.place for each in play.writes()}
    if fault == "cannot_tell":  # written, so it is the vault's; not proved, so no place that stores it is written
        assert play.current() == "second"
        assert touched == {PRIMARY, OTHER, "LAB-02\\\\Nightly"}
    else:
        assert touched <= {PRIMARY}
        assert play.current() == FIRST


def test_dependents_are_written_in_their_order_after_the_promotion(play: Play) -> None:
    run = play.change("second")
    when: list[str] = []
    play.during("change", lambda: when.append(play.current()), place=OTHER)
    play.work(run)
    assert [each.place for each in play.writes()] == [PRIMARY, OTHER, "LAB-02\\\\Nightly", "LAB-01\\imaging"]
    assert when == ["second"]


def test_a_failed_dependent_does_not_stop_the_others_unless_the_chain_says_so(play: Play) -> None:
    run = play.change("second")
    play.fault("none", "policy")
    play.work(run)
    assert play.world.places["LAB-01\\imaging"].value == "second"
    sync.save_settings(play.olivia, play.entry(), play.chain().agent_id, "stop", revision=play.chain().revision)
    play.advance(60)
    run = play.change("third")
    play.fault("none", "policy")
    play.work(run)
    assert play.truth(PRIMARY) == "third"
    assert play.world.places["LAB-01\\imaging"].value == "second", "stopped"


@pytest.mark.parametrize("fault", ["policy", "unreachable", "cut_after", "cannot_tell"])
def test_a_running_task_is_not_broken_by_a_password_its_account_was_not_proved_to_have(play: Play, fault: str) -> None:
    run = play.change("second")
    play.fault("none", fault)
    play.work(run)
    place = play.link("LAB-02", place=True)
    assert (place.state, place.reason) == ("skipped", "account_not_done")
    assert play.world.places["LAB-02\\\\Nightly"].value == FIRST
    assert play.status() == "out_of_sync"


def test_a_skipped_task_is_written_when_its_account_is_proved_at_last(play: Play) -> None:
    run = play.change("second")
    play.fault("none", "unreachable")
    play.work(run)
    play.settle()
    assert play.world.places["LAB-02\\\\Nightly"].value == "second"
    assert play.status() == "in_sync"


def test_default_sync_applied_and_the_worker_gone_before_the_promotion_is_promoted_by_the_next(play: Play) -> None:
    run = play.change("second")
    play.work(run, crash=(3, "before"))
    assert play.truth(PRIMARY) == "second"
    assert play.current() == FIRST
    play.advance(DEAD)
    play.settle()
    assert play.current() == "second" == play.truth(OTHER)


def test_nothing_is_ever_restarted_by_default_and_the_link_says_so(play: Play) -> None:
    from pwserver.connectors.base import Evidence, Means

    run = play.change("second")

    from tests.disasters.conftest import Watched

    real = Watched.write

    def write_pending(self: Watched, call, value):  # type: ignore[no-untyped-def]
        evidence = real(self, call, value)
        if self.name.endswith("imaging"):
            return Evidence("LAB-01", Means.WRITTEN, method="set", right=True, restart_pending=True)
        return evidence

    patch = pytest.MonkeyPatch()
    patch.setattr(Watched, "write", write_pending)
    try:
        play.work(run)
    finally:
        patch.undo()
    link = play.link("LAB-01", place=True)
    assert (link.state, link.restart_pending) == ("updated", True)
    assert "restart" not in {each.method for each in play.sent}


def test_restarts_come_after_everything_is_stored_and_stop_at_the_first_that_does_not_come_up(play: Play) -> None:
    from pwserver.connectors.base import Evidence, Means, Refused
    from tests.disasters.conftest import Watched

    link = play.link("LAB-01", place=True)
    with write() as session:
        row = session.get_one(type(link), link.id)
        row.settings = dict(row.settings) | {"restart": "service"}
    run = play.change("second")
    real = Watched.write

    def write_pending(self: Watched, call, value):  # type: ignore[no-untyped-def]
        real(self, call, value)
        return Evidence(self.place.machine, Means.WRITTEN, method="set", right=True, restart_pending=True)

    def down() -> None:
        raise Refused("did_not_start")

    patch = pytest.MonkeyPatch()
    patch.setattr(Watched, "write", write_pending)
    play.during("restart", down)
    try:
        play.work(run)
    finally:
        patch.undo()
    methods = [each.method for each in play.sent]
    assert methods == ["change", "change", "write", "write", "restart"]
    assert play.link("LAB-01", place=True).restart_pending


def may_restart(play: Play, *names: str) -> None:
    """The services run, and their links say that they may be restarted."""
    with write() as session:
        for row in session.scalars(select(SyncLink).where(SyncLink.kind == "windows_service")):
            if row.settings["name"] in names:
                row.settings = dict(row.settings) | {"restart": "service"}
    play.world.running |= {f"LAB-01\\{name}" for name in names}


def add_service(play: Play, name: str) -> SyncLink:
    """One more service of Default Sync's account, behind the others, as good as the one that is there."""
    first = play.link("LAB-01", place=True)
    play.world.places[f"LAB-01\\{name}"] = TruePlace(FIRST, PRIMARY)
    with write() as session:
        row = session.get_one(SyncLink, first.id)
        same = {column.key: getattr(row, column.key) for column in SyncLink.__table__.columns}
        same |= {"id": new_id(), "position": 9, "settings": dict(row.settings) | {"name": name}}
        session.add(SyncLink(**same | {"place_key": f"lab-01\\{name}"}))
    return db.session.scalars(select(SyncLink).where(SyncLink.position == 9)).one()


def incident(play: Play) -> Incident | None:
    return db.session.scalar(
        select(Incident).where(Incident.closed_at.is_(None)).execution_options(populate_existing=True)
    )


def test_a_service_that_we_stopped_and_that_is_down_is_never_called_in_sync(synced: Play) -> None:
    play = synced
    may_restart(play, "imaging")
    play.world.wont_start.add("LAB-01\\imaging")
    run = play.change("third")
    play.work(run)
    link = play.link("LAB-01", place=True)
    assert (link.state, link.reason, link.reason_code) == ("down", "did_not_start", "1058")
    assert (play.status(), play.run(run).result) == ("out_of_sync", "left")
    opened = incident(play)
    assert opened is not None
    assert (opened.kind, opened.mail_due_at) == ("needs_override", opened.opened_at), "a person, at once"


def test_a_service_that_is_down_stays_so_whatever_else_is_done_until_it_runs(synced: Play) -> None:
    play = synced
    may_restart(play, "imaging")
    play.world.wont_start.add("LAB-01\\imaging")
    play.work(play.change("third"))

    def tested() -> str:
        sync.request_test(play.olivia, play.entry())
        play.pass_all()
        return play.link("LAB-01", place=True).state

    assert (tested(), play.status()) == ("down", "out_of_sync")
    play.world.off.add("LAB-01")
    assert (tested(), play.status()) == ("down", "out_of_sync"), "a machine that is off does not make it better"
    play.world.off.clear()
    play.settle()
    play.work(play.change("fourth"))
    link = play.link("LAB-01", place=True)
    assert (link.state, play.value(link.holds_version_id), play.status()) == ("down", "fourth", "out_of_sync")
    assert [each.method for each in play.sent].count("restart") == 1, "a stopped service is never started"
    play.world.wont_start.clear()
    play.world.stopped.clear()
    play.world.running.add("LAB-01\\imaging")
    assert (tested(), play.status()) == ("in_sync", "in_sync")
    assert incident(play) is None


def test_a_service_that_ran_when_it_was_written_and_is_stopped_now_is_not_in_sync(synced: Play) -> None:
    play = synced
    play.world.running.add("LAB-01\\imaging")
    play.work(play.change("third"))
    assert play.link("LAB-01", place=True).state == "updated"
    play.world.running.clear()
    play.world.stopped.add("LAB-01\\imaging")
    sync.request_test(play.olivia, play.entry())
    play.pass_all()
    link = play.link("LAB-01", place=True)
    assert (link.state, link.reason, play.status()) == ("down", "stopped_since", "out_of_sync")


@pytest.mark.parametrize("why", sorted(NOT_RESTARTED))
def test_a_service_that_may_not_be_restarted_keeps_nobody_from_being(synced: Play, why: str) -> None:
    play = synced
    add_service(play, "behind")
    may_restart(play, "imaging", "behind")
    play.world.may_not["LAB-01\\imaging"] = why
    play.work(play.change("third"))
    assert [each.place for each in play.sent if each.method == "restart"] == ["LAB-01\\imaging", "LAB-01\\behind"]
    links = {row.settings["name"]: row for row in db.session.scalars(select(SyncLink)) if row.kind == "windows_service"}
    assert (links["imaging"].state, links["imaging"].reason) == ("updated", why)
    assert links["behind"].state == "in_sync"


def test_no_service_is_stopped_behind_one_that_did_not_come_up(synced: Play) -> None:
    play = synced
    add_service(play, "behind")
    may_restart(play, "imaging", "behind")
    play.world.wont_start.add("LAB-01\\imaging")
    play.work(play.change("third"))
    assert [each.place for each in play.sent if each.method == "restart"] == ["LAB-01\\imaging"]
