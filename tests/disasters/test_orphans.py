"""Nothing waits for something that will never come: unknowns, tests and incidents whose run ended some other way."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from pwserver.connectors.base import Evidence
from pwserver.core.errors import Invalid
from pwserver.models import AppUser, Incident
from pwserver.services import agent_test, entries, sync
from pwserver.services.sync import requeue
from pwserver.services.transaction import write
from tests.disasters.conftest import OTHER, PRIMARY, Play


def runs(play: Play) -> list[tuple[str, str]]:
    mine = [play.run(each) for each in play.open_runs()]
    return [(run.kind, run.state) for run in mine if run.chain_id == play.chain().id]


def hours(play: Play, number: int) -> None:
    """The timer and the workers, an hour at a time, with a network that works."""
    play.world.faults.clear()
    for _ in range(number):
        play.advance(3600)
        play.tick()
        play.pass_all()


def make_unknown(play: Play) -> None:
    run = play.change("third")
    play.fault("none", "cut_after")
    play.work(run)
    assert play.link("LAB-02").state == "unknown"
    play.advance(200)


def cancelled_while_queued(play: Play) -> None:
    sync.cancel(play.olivia, play.run(play.approve("LAB-02", typed="our login")))


def expired_while_queued(play: Play) -> None:
    play.approve("LAB-02", typed="our login")
    play.advance(1000)
    play.tick()


def typed_refused(play: Play) -> None:
    play.work(play.approve("LAB-02", typed="not it"))


def cancelled_and_silent(play: Play) -> None:
    run = play.approve("LAB-02", typed="our login")

    def act() -> None:
        sync.cancel(play.olivia, play.run(run))
        play.world.off.add("LAB-02")

    play.during("read", act, when="after")
    play.work(run)
    play.world.off.clear()


@pytest.mark.parametrize(
    "end", [cancelled_while_queued, expired_while_queued, typed_refused, cancelled_and_silent], ids=lambda e: e.__name__
)
def test_an_unknown_is_asked_whatever_became_of_the_override_that_took_its_run_away(
    synced: Play, end: object
) -> None:
    play = synced
    make_unknown(play)
    end(play)  # type: ignore[operator]
    hours(play, 4)
    link = play.link("LAB-02")
    assert play.maybe(link) == []
    assert play.value(link.holds_version_id) == play.truth(OTHER)
    assert runs(play) == []


def test_an_unknown_after_an_error_of_ours_is_asked_an_hour_later(synced: Play) -> None:
    play = synced
    run = play.change("third")
    play.fault("none", "bug")
    play.work(run)
    assert play.run(run).result == "errored"
    assert runs(play) == [("correct", "queued")]
    hours(play, 3)
    assert play.maybe(play.link("LAB-02")) == []


def test_default_sync_that_took_a_value_given_up_meanwhile_is_known_to_have_it(synced: Play) -> None:
    """The line broke after LAB-01 took *third*; the owner approves *fourth* and takes that back."""
    play = synced
    run = play.change("third")
    play.fault("cut_after")
    play.work(run)
    play.advance(300)
    sync.cancel(play.olivia, play.run(play.approve("LAB-01", value="new", new="fourth", typed="our login")))
    hours(play, 3)
    link = play.link("LAB-01")
    assert play.truth(PRIMARY) == "third"
    assert (play.value(link.holds_version_id), play.maybe(link)) == ("third", [])
    assert play.status() == "out_of_sync", "and it does not have the vault's"


@pytest.mark.budget(25, "plays days")
@pytest.mark.sqlite
def test_a_daily_test_of_a_chain_with_an_unknown_ends(synced: Play) -> None:
    """LAB-02 stays unknown for days; the test of the others ends, and is due again every day."""
    play = synced
    make_unknown(play)
    play.world.off.add("LAB-02")
    for day in range(4):
        hours(play, 24)
        assert ("test", "waiting") not in runs(play), day
        proved = play.link("LAB-01").proved_at
        assert proved is not None
        assert play.world.now - proved < timedelta(hours=26), "the others are tested every day"


@pytest.mark.budget(25, "plays days")
@pytest.mark.sqlite
def test_an_incident_of_a_silent_machine_is_not_over_because_it_is_tried_again(synced: Play) -> None:
    play = synced
    play.world.off.add("LAB-02")
    hours(play, 220)
    rows = play.session.scalars(select(Incident).where(Incident.chain_id == play.chain().id)).all()
    assert [(row.kind, row.closed_at) for row in rows] == [("unreachable", None)]


def test_a_test_goes_on_when_what_it_gave_way_to_is_taken_back_first(untouched: Play) -> None:
    play = untouched
    (test,) = [each for each in play.open_runs() if play.run(each).chain_id == play.chain().id]

    def act() -> None:
        play.advance(1)
        run = play.change("third")
        play.advance(1)
        sync.cancel(play.olivia, play.run(run))

    play.during("verify", act, place=PRIMARY)
    play.work(test)
    assert play.run(test).result == "cancelled"
    play.settle(hours=1)
    assert play.link("LAB-02").state == "in_sync"


def test_turned_on_again_while_a_test_waits_the_refused_one_is_tested_too(synced: Play) -> None:
    play = synced
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    play.advance(3600)
    play.world.off.add("LAB-01")
    play.work(sync.request_test(play.olivia, play.entry()).id)
    assert ("test", "waiting") in runs(play)
    sync.disable(play.olivia, play.entry())
    sync.enable(play.olivia, play.entry(), play.chain().agent_id)
    play.world.off.clear()
    play.world.outside(OTHER, "second", clock_back=False)
    play.settle(hours=1)
    assert {link.state for link in sync.active_links(play.chain())} == {"in_sync"}


def test_a_new_link_does_not_wait_with_a_test_for_a_machine_that_is_off(synced: Play) -> None:
    play = synced
    add_machine(play)
    play.world.off.add("LAB-02")
    test = sync.request_test(play.olivia, play.entry()).id
    for _ in range(12):
        play.work(test)
        play.advance(1800)
    play.work(test)
    assert play.run(test).due_at > play.world.now
    add_link(play)
    play.pass_all()
    assert play.link("LAB-03").state == "in_sync"


def add_machine(play: Play) -> None:
    account = type(play.world.accounts[OTHER])
    play.world.accounts["LAB-03\\Administrator"] = account(
        "second", play.world.now - timedelta(days=1), sent={"second"}, ever={"second"}
    )
    play.world.primary_of["LAB-03\\Administrator"] = PRIMARY


def add_link(play: Play) -> None:
    settings = {"machine": "LAB-03", "user_name": "Administrator"}
    sync.add_link(play.olivia, play.entry(), "remote_windows", settings, revision=play.chain().revision)


def test_a_link_added_in_the_middle_of_a_change_is_not_changed_by_that_pass(synced: Play) -> None:
    play = synced
    add_machine(play)

    def add() -> None:
        play.advance(1)
        add_link(play)

    run = play.change("third")
    play.during("change", add, place=PRIMARY)
    play.work(run)
    assert not any(sent.place.startswith("LAB-03") for sent in play.sent)
    play.settle(hours=1)
    assert play.truth("LAB-03\\Administrator") == "third", "but it is not forgotten"


def test_turning_off_and_on_confirms_no_certificate(synced: Play) -> None:
    play = synced
    play.agent(pin="f" * 64)
    sync.disable(play.olivia, play.entry())
    sync.enable(play.olivia, play.entry(), play.chain().agent_id)
    play.sent.clear()
    play.pass_all()
    assert play.sent == []
    assert play.status() == "agent_disabled"


def test_a_certificate_confirmed_before_the_agents_test_carries_on_after_it(synced: Play) -> None:
    play = synced
    play.world.off.add("LAB-02")
    play.work(play.change("third"))
    play.agent(pin="f" * 64, health="untested")
    hours(play, 1)
    assert runs(play) == []
    play.world.off.clear()
    sync.confirm_certificate(play.olivia, play.entry(), "f" * 64)
    with write() as session:
        session.get_one(AppUser, play.olivia.id).org_admin = True
    agent_test.test_agent(play.olivia, play.agent(), lambda contact, login: Evidence("LAB-01"))
    hours(play, 1)
    assert play.truth(OTHER) == "third"


def test_a_link_taken_out_while_it_was_unknown_is_asked_when_it_comes_back(synced: Play) -> None:
    play = synced
    make_unknown(play)
    for place in (True, False):
        sync.remove_link(play.olivia, play.link("LAB-02", place=place), revision=play.chain().revision)
        removed = None if place else link_row(play)
    play.settle(hours=1)
    assert removed is not None
    sync.restore_link(play.olivia, removed, revision=play.chain().revision)
    hours(play, 4)
    assert play.maybe(play.link("LAB-02")) == []


def link_row(play: Play):  # type: ignore[no-untyped-def]
    return next(link for link in play.chain().links if link.machine == "LAB-02" and link.is_account)


def test_a_link_does_not_come_back_with_a_credential_that_would_need_itself_or_is_gone(synced: Play) -> None:
    play = synced
    for place in (True, False):
        sync.remove_link(play.olivia, play.link("LAB-02", place=place), revision=play.chain().revision)
    removed = link_row(play)
    sync.add_link(
        play.olivia, play.entry("adm"), "remote_windows", {"machine": "LAB-03", "user_name": "x"},
        revision=play.chain("adm").revision, linked_entry_id=play.entry("lab").id,
    )  # fmt: skip
    with pytest.raises(Invalid, match="its own chain"):
        sync.restore_link(play.olivia, removed, revision=play.chain().revision)
    sync.disable(play.olivia, play.entry("adm"))
    play.pass_all()
    gone = play.entry("adm")
    entries.trash_entry(play.olivia, gone, row_version=gone.row_version)
    with pytest.raises(Invalid, match="linked credential that you may read"):
        sync.restore_link(play.olivia, removed, revision=play.chain().revision)


def test_another_credential_for_a_link_that_may_hold_two_values_leaves_it_unknown(synced: Play) -> None:
    play = synced
    make_unknown(play)
    play.fault("login")
    play.pass_all()
    link = play.link("LAB-02")
    assert (link.state, len(play.maybe(link))) == ("blocked", 1)
    with write() as session:
        requeue.value_was_edited(session, play.entry("adm"), play.world.now)
    assert play.link("LAB-02").state == "unknown"


def cancelled_half_way(play: Play) -> None:
    """The owner stopped the change after Default Sync; LAB-02 has the value before."""
    run = play.change("third")
    play.during("change", lambda: sync.cancel(play.olivia, play.run(run)), place=PRIMARY)
    play.work(run)
    assert (play.truth(PRIMARY), play.truth(OTHER), runs(play)) == ("third", "second", [])


def agent_tested(play: Play) -> None:
    with write() as session:
        session.get_one(AppUser, play.olivia.id).org_admin = True
    agent_test.test_agent(play.olivia, play.agent(), lambda contact, login: Evidence("LAB-01"))


def place_taken_out_and_back(play: Play) -> None:
    place = play.link("LAB-02", place=True)
    sync.remove_link(play.olivia, place, revision=play.chain().revision)
    sync.restore_link(play.olivia, place, revision=play.chain().revision)


@pytest.mark.parametrize("act", [agent_tested, place_taken_out_and_back], ids=lambda act: act.__name__)
def test_what_a_person_stopped_is_not_carried_on_by_a_click_on_something_else(synced: Play, act: object) -> None:
    play = synced
    cancelled_half_way(play)
    act(play)  # type: ignore[operator]
    hours(play, 2)
    assert play.truth(OTHER) == "second"
    play.work(sync.retest(play.olivia, play.entry()).id)
    assert play.truth(OTHER) == "third", "Retest does"


def test_a_link_added_while_a_correction_is_settled_carries_it_to_nobody(synced: Play) -> None:
    """The others keep what they hold until Retest (rule 4)."""
    play = synced
    add_machine(play)
    play.world.outside(PRIMARY, "by hand", clock_back=False)
    run = play.correct("by hand", "LAB-01")

    def add() -> None:
        play.advance(1)
        add_link(play)

    play.during("read", add, place=PRIMARY)
    play.work(run)
    hours(play, 2)
    assert play.truth(OTHER) == "second"
    assert play.writes() == []
