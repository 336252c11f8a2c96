"""Rules 25 to 31: tests that never write, Retest, Approve with one-time credentials, giving up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from pwserver.connectors.base import Credential
from pwserver.core.errors import Conflict, Invalid
from pwserver.core.secrets import Secret
from pwserver.models import Event, Override, SyncLink, SyncRun
from pwserver.services import sync
from pwserver.services.transaction import write
from tests.disasters.conftest import DEAD, FIRST, OTHER, PRIMARY, Play
from tests.disasters.test_lockout import OTHER_KEY

DAY = 24 * 3600


# -- tests


def test_a_test_never_writes_whatever_it_finds(synced: Play) -> None:
    play = synced
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    assert play.writes() == []
    assert play.truth(OTHER) == "by hand"


def test_a_test_of_forty_links_every_day_is_not_forty_logons_a_day(synced: Play) -> None:
    play = synced
    for _ in range(3):
        play.advance(DAY)
        play.tick()
        play.pass_all()
    assert {each.method for each in play.sent} == {"read"}
    assert play.link("LAB-01").proof_means == "unchanged since proved"
    assert play.status() == "in_sync"


def test_a_logon_is_made_when_the_stamp_moved_and_after_thirty_days(synced: Play) -> None:
    play = synced
    play.world.accounts[PRIMARY].stamp += timedelta(seconds=3)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    assert [each.method for each in play.sent if each.place == PRIMARY] == ["read", "verify"]
    play.sent.clear()
    play.advance(31 * DAY)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    assert [each.method for each in play.sent if each.place == PRIMARY] == ["verify"]


def test_a_test_leaves_refused_and_outstanding_links_alone_and_tests_the_others(synced: Play) -> None:
    play = synced
    run = play.change("third")
    play.fault("none", "policy")
    play.work(run)
    assert play.link("LAB-02").state == "refused"
    play.sent.clear()
    play.advance(DAY)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    assert OTHER not in {each.place for each in play.sent}
    assert PRIMARY in {each.place for each in play.sent}


def test_turned_on_again_every_link_is_tested_also_one_that_was_refused_or_blocked(synced: Play) -> None:
    """The page promises it; nothing is written, and the refused one costs one try, at a person's wish."""
    play = synced
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    assert play.link("LAB-02").state == "refused"
    with write() as session:
        row = session.get_one(SyncLink, play.link("LAB-01").id)
        row.state, row.reason = "blocked", "wrong_name"
    sync.disable(play.olivia, play.entry())
    play.world.outside(OTHER, "second", clock_back=False)
    play.advance(3600)
    play.sent.clear()
    sync.enable(play.olivia, play.entry(), play.chain().agent_id)
    play.pass_all()
    assert (play.link("LAB-01").state, play.link("LAB-02").state) == ("in_sync", "in_sync")
    assert play.writes() == []


def test_the_places_of_a_refused_account_are_not_contacted(synced: Play) -> None:
    play = synced
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    assert play.link("LAB-02").state == "refused"
    assert [each.place for each in play.sent if "Nightly" in each.place] == []


def test_a_running_test_gives_way_to_a_change_after_the_link_in_hand(play: Play) -> None:
    play.advance(31 * DAY)
    test = sync.request_test(play.olivia, play.entry()).id
    play.during("verify", lambda: play.change("second"), place=PRIMARY)
    play.work(test)
    assert play.run(test).result == "cancelled"
    assert [each.place for each in play.sent] == [PRIMARY]


def test_a_test_that_gave_way_to_approve_goes_on_with_the_machines_it_was_still_waiting_for(synced: Play) -> None:
    """LAB-01 was silent and is to be tried again; the test gives way to an Approve of LAB-02 just then. The page goes
    on saying that LAB-01 is tried again by itself, so it must be, and what was refused must not."""
    play = synced
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.fault("unreachable")
    test = sync.request_test(play.olivia, play.entry()).id
    play.work(test)
    assert (play.link("LAB-01").state, play.link("LAB-02").state) == ("unreachable", "refused")
    wrong = play.wrong_logons(OTHER)
    play.advance(60)
    play.during("read", lambda: play.approve("LAB-02"), place=PRIMARY)
    play.fault("unreachable")
    play.work(test)
    assert play.run(test).result == "cancelled"
    play.settle(hours=1)
    assert (play.link("LAB-01").state, play.link("LAB-02").state) == ("in_sync", "in_sync")
    assert play.wrong_logons(OTHER) == wrong
    assert play.status() == "in_sync"


@pytest.mark.parametrize("when", ["while one walks", "while one waits", "after turning on again"])
def test_a_link_that_is_added_while_a_test_is_under_way_is_tested_soon_after(synced: Play, when: str) -> None:
    """Rule 34: as soon as no run of its chain is running. Else a wrong link would stand untested until tomorrow."""
    play = synced
    play.world.accounts["LAB-03\\Administrator"] = play.world.accounts[PRIMARY]
    play.world.primary_of["LAB-03\\Administrator"] = PRIMARY

    def add() -> None:
        play.advance(1)
        settings = {"machine": "LAB-03", "user_name": "Administrator"}
        sync.add_link(play.olivia, play.entry(), "remote_windows", settings, revision=play.chain().revision)

    if when == "after turning on again":
        sync.disable(play.olivia, play.entry())
        sync.enable(play.olivia, play.entry(), play.chain().agent_id)
        add()
    else:
        test = sync.request_test(play.olivia, play.entry()).id
        if when == "while one walks":
            play.during("read", add, place=PRIMARY)
            play.work(test)
            assert play.link("LAB-03").state == "waiting", "never inside the running one"
        else:
            play.fault("unreachable")
            play.work(test)
            add()
    play.settle(hours=1)
    assert play.link("LAB-03").state == "in_sync"
    assert play.open_runs() == []


def test_a_test_that_a_person_stopped_is_not_taken_up_by_itself(synced: Play) -> None:
    play = synced
    test = sync.request_test(play.olivia, play.entry()).id
    play.during("read", lambda: sync.cancel(play.olivia, play.run(test)), place=PRIMARY)
    play.work(test)
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.advance(60)
    play.work(play.approve("LAB-01"))
    play.settle(hours=1)
    assert play.link("LAB-02").state == "in_sync", "nobody looked at it again"
    assert play.wrong_logons(OTHER) == 0


def test_a_queued_test_of_forty_links_does_not_go_before_a_change(play: Play) -> None:
    test = sync.request_test(play.olivia, play.entry()).id
    run = play.change("second")
    assert not play.work(test)
    assert play.work(run)
    play.settle()
    assert play.current() == "second"
    assert play.run(test).state == "done"


def test_a_test_that_cannot_tell_changes_nothing(synced: Play) -> None:
    play = synced
    play.advance(31 * DAY)
    play.fault("cannot_tell")
    before = play.link("LAB-01").proved_at
    play.work(sync.request_test(play.olivia, play.entry()).id)
    link = play.link("LAB-01")
    assert (link.state, link.proved_at) == ("in_sync", before)
    assert play.value(link.holds_version_id) == "second"


def test_the_daily_test_is_due_after_twenty_hours_and_spread(synced: Play) -> None:
    play = synced
    due = play.chain().next_test_at
    assert due is not None
    proved = play.link("LAB-02").proved_at
    assert timedelta(hours=20) <= due - proved <= timedelta(hours=22)  # type: ignore[operator]


def test_a_place_we_never_wrote_is_not_called_in_sync_and_is_adopted_by_an_owner(play: Play) -> None:
    assert play.link("LAB-01", place=True).reason == "not_yet_written"
    assert play.status() != "in_sync"
    places = [each.id for each in sync.active_links(play.chain()) if not each.is_account]
    play.work(sync.adopt(play.olivia, play.entry(), places).id)
    assert {each.method for each in play.sent} <= {"write", "verify", "read"}
    assert play.status() == "in_sync"


def test_enabling_is_never_refused_because_of_what_it_finds_and_writes_nothing(untouched: Play) -> None:
    play = untouched
    play.world.outside(PRIMARY, "something else", clock_back=False)
    play.world.outside(OTHER, "and again", clock_back=False)
    play.pass_all()
    assert play.writes() == []
    assert {play.link("LAB-01").state, play.link("LAB-02").state} == {"refused"}
    assert play.wrong_logons(PRIMARY) == play.wrong_logons(OTHER) == 1
    assert play.status() == "out_of_sync"


# -- retest


def test_a_second_click_while_a_run_is_active_shows_that_run(play: Play) -> None:
    first = sync.retest(play.olivia, play.entry()).id
    assert sync.retest(play.olivia, play.entry()).id == first
    run = play.change("second")
    assert sync.retest(play.olivia, play.entry()).id == run


def test_retest_sets_what_is_outstanding_from_what_it_holds(synced: Play) -> None:
    play = synced
    run = play.change("third")
    play.fault("none", "policy")
    play.work(run)
    assert sync.retest_plan(play.entry()).words.startswith("set the password on LAB-02")
    play.work(sync.retest(play.olivia, play.entry()).id)
    assert play.truth(OTHER) == "third"
    assert play.wrong_logons(OTHER) == 0


# -- approve


def hand_changed(play: Play) -> None:
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    play.advance(2000)
    play.sent.clear()


def test_an_override_puts_a_hand_changed_account_right_without_knowing_its_password(synced: Play) -> None:
    play = synced
    hand_changed(play)
    before = play.wrong_logons(OTHER)
    run = play.approve("LAB-02", typed="our login")
    play.work(run)
    assert play.truth(OTHER) == "second"
    assert play.wrong_logons(OTHER) == before
    assert play.status() == "in_sync"


def test_a_refused_administrator_credential_touches_nothing_at_all(synced: Play) -> None:
    play = synced
    hand_changed(play)
    run = play.approve("LAB-01", "LAB-02", value="new", new="third", typed="not it")
    play.work(run)
    assert play.writes() == []
    assert play.wrong_logons("M\\adm") == 1
    assert play.run(run).state == "done"
    assert play.overrides() == 0
    first = play.link("LAB-01")
    assert (first.state, first.reason) == ("blocked", "override_refused"), "the linked credential is not to blame"


def test_a_refused_credential_touches_nothing_even_when_the_worker_died_just_then(synced: Play) -> None:
    """LAB-01's credential is right, LAB-02's is refused, the worker dies: the next one must not go on with LAB-01."""
    play = synced
    hand_changed(play)
    links = [play.link("LAB-01"), play.link("LAB-02")]
    form = sync.Approval(
        [link.id for link in links], "new", "2 a.m.", new=Secret("third"),
        credentials={
            "lab-01": Credential("M\\adm", Secret("our login")),
            "lab-02": Credential("M\\adm", Secret("not it")),
        },
    )  # fmt: skip
    run = sync.approve(play.olivia, play.entry(), form).id
    play.work(run, crash=(5, "before"))
    assert play.wrong_logons("M\\adm") == 1, "both credentials were proved before the crash"
    play.advance(DEAD)
    play.settle()
    assert play.writes() == []
    assert play.wrong_logons("M\\adm") == 1


def test_a_credential_refused_yesterday_is_tried_once_more_by_a_person_and_touches_nothing(synced: Play) -> None:
    """Its right or its lock may have been mended since; who types it again and clicks tests it again (rule 23)."""
    play = synced
    hand_changed(play)
    play.work(play.approve("LAB-02", typed="not it"))
    play.advance(DAY)
    links = [play.link("LAB-01"), play.link("LAB-02")]
    form = sync.Approval(
        [link.id for link in links], "new", "again", new=Secret("third"),
        credentials={
            "lab-01": Credential("LAB-02\\lab-adm", Secret("first LAB-02\\lab-adm")),
            "lab-02": Credential("M\\adm", Secret("not it")),
        },
    )  # fmt: skip
    play.work(sync.approve(play.olivia, play.entry(), form).id)
    assert play.writes() == []
    assert play.wrong_logons("M\\adm") == 2
    play.settle(hours=24)
    assert play.writes() == []
    assert play.wrong_logons("M\\adm") == 2, "and never by itself"


def test_typed_credentials_are_used_for_their_machines_only(synced: Play) -> None:
    play = synced
    hand_changed(play)
    play.work(play.approve("LAB-02", typed="our login"))
    assert {each.linked for each in play.sent if each.place == OTHER} == {"our login"}
    places = {each.place: each.linked for each in play.sent if each.place != OTHER}
    assert all("LAB-02" in place for place in places), places


def test_typed_credentials_are_sealed_and_gone_with_the_run(synced: Play) -> None:
    play = synced
    hand_changed(play)
    run = play.approve("LAB-02", typed="our login")
    row = play.session.scalars(select(Override)).one()
    assert b"our login" not in row.sealed
    assert row.run_id == run
    play.work(run)
    assert play.overrides() == 0
    facts = [each.facts for each in play.session.scalars(select(Event)).all()]
    assert not any("our login" in str(each) for each in facts), "who, never what"
    assert any(each.get("credentials") == ["lab-02: M\\adm"] for each in facts)


def test_typed_credentials_are_gone_after_fifteen_minutes_of_waiting_and_the_run_with_them(synced: Play) -> None:
    play = synced
    hand_changed(play)
    run = play.approve("LAB-02", typed="our login")
    play.advance(899)
    play.tick()
    assert play.overrides() == 1
    play.advance(2)
    assert not play.work(run), "a worker that comes before the timer does not use them either"
    play.tick()
    assert play.overrides() == 0
    assert (play.run(run).state, play.run(run).result) == ("done", "expired")
    assert play.writes() == []


def test_typed_credentials_of_a_running_override_live_for_an_hour(synced: Play) -> None:
    play = synced
    hand_changed(play)
    run = play.approve("LAB-02", typed="our login")

    def slow() -> None:
        play.advance(50)
        with write() as session:
            session.get_one(Override, run)
        for _ in range(2):
            play.tick()

    play.advance(880)
    play.during("read", slow, place=OTHER)
    play.work(run)
    assert play.truth(OTHER) == "second", "sixteen minutes after the click, and running"


def test_an_override_whose_credentials_are_gone_never_goes_on_with_others(synced: Play) -> None:
    """A crash, and an hour: what was typed is swept, and no other credential resets the machine in its place."""
    play = synced
    hand_changed(play)
    run = play.approve("LAB-02", typed="our login")
    play.fault("crash_before")
    play.work(run)
    play.advance(3700)
    play.tick()
    assert play.overrides() == 0
    play.sent.clear()
    play.pass_all()
    assert (play.run(run).state, play.run(run).result) == ("done", "expired")
    assert play.writes() == []
    assert play.truth(OTHER) == "by hand"


def test_an_override_resets_once_and_ordinary_runs_never_see_its_credentials(synced: Play) -> None:
    play = synced
    hand_changed(play)
    run = play.approve("LAB-02", typed="our login")
    play.fault("none", "none", "cut_after")
    play.work(run)
    assert play.run(run).state == "done"
    assert play.overrides() == 0
    resets = [each for each in play.sent if each.method == "reset"]
    play.settle()
    assert [each for each in play.sent if each.method == "reset"] == resets
    assert play.truth(OTHER) == "second"
    assert play.status() == "in_sync"


def test_an_override_waits_for_the_dead_before_it_resets(synced: Play) -> None:
    play = synced
    run = play.change("third")
    play.fault("none", "late")
    play.work(run)
    assert play.maybe(play.link("LAB-02")) == ["third"]
    override = play.approve("LAB-02", typed="our login")
    play.sent.clear()
    play.work(override)
    assert [each.method for each in play.sent if each.place == OTHER] == ["read"]
    assert play.run(override).state == "waiting"
    play.settle()
    assert play.truth(OTHER) == "third" == play.current()


def test_a_silent_machine_is_left_out_and_the_others_are_put_right(synced: Play) -> None:
    play = synced
    hand_changed(play)
    run = play.approve("LAB-01", "LAB-02", typed="our login")
    play.fault("none", "unreachable")
    play.work(run)
    assert [each.method for each in play.sent if each.place == OTHER] == ["read"]
    assert play.link("LAB-02").state in ("unreachable", "refused")


def test_nothing_is_touched_when_default_syncs_machine_is_silent(synced: Play) -> None:
    play = synced
    hand_changed(play)
    run = play.approve("LAB-01", "LAB-02", value="new", new="third", typed="our login")
    play.fault("unreachable")
    play.work(run)
    assert play.writes() == []


def test_keep_never_writes_places_before_default_sync_has_the_vaults_value(synced: Play) -> None:
    play = synced
    play.world.outside(PRIMARY, "by hand", clock_back=False)
    play.work(play.correct("nobody has this"))
    hand_changed(play)
    play.work(play.approve("LAB-02", typed="our login"))
    assert play.writes() == []


def test_the_pending_value_that_default_sync_refused_can_be_finished_by_an_override(synced: Play) -> None:
    """It is nowhere, and it is what the owner wants: the page offers it."""
    play = synced
    play.world.outside(PRIMARY, "by hand", clock_back=False)
    run = play.change("third")
    play.work(run)
    assert play.pending() == "third"
    assert "pending" in sync.approve_plan(play.entry()).choices
    play.advance(2000)
    play.work(play.approve("LAB-01", value="pending", typed="our login"))
    play.settle()
    assert play.current() == "third" == play.truth(PRIMARY) == play.truth(OTHER)
    assert play.pending() is None


def test_an_override_needs_a_reason_and_leaves_it_in_the_history(play: Play) -> None:
    with pytest.raises(Invalid) as refused:
        sync.approve(play.olivia, play.entry(), sync.Approval([play.link("LAB-02").id], "keep", "  "))
    assert refused.value.field == "reason"
    play.approve("LAB-02", typed="our login")
    assert any(each.facts.get("reason") == "2 a.m." for each in play.session.scalars(select(Event)).all())


def test_a_place_skipped_because_of_a_ticked_account_is_ticked_with_it(synced: Play) -> None:
    play = synced
    hand_changed(play)
    run = play.approve("LAB-02", typed="our login")
    assert play.link("LAB-02", place=True).id in (play.run(run).scope or [])


# -- giving up


def test_giving_up_leaves_the_chain_as_it_was(synced: Play) -> None:
    play = synced
    run = play.change("third")
    play.fault("policy")
    play.work(run)
    sync.give_up(play.olivia, play.entry())
    assert play.stages()["old"][-1] == "third", "it was sent: known for ever"
    assert play.current() == "second" == play.truth(PRIMARY)
    assert play.pending() is None
    assert play.status() == "in_sync"


def test_a_running_change_cannot_be_given_up(play: Play) -> None:
    run = play.change("second")
    refused: list[str] = []

    def give_up() -> None:
        with pytest.raises((Conflict, Invalid)) as error:
            sync.give_up(play.olivia, play.entry())
        refused.append(error.value.user_message)

    play.during("change", give_up, place=PRIMARY)
    play.work(run)
    assert refused
    assert play.current() == "second"


def test_giving_up_never_calls_a_written_only_link_green(synced: Play) -> None:
    play = synced
    run = play.change("third")
    play.fault("none", "cannot_tell")
    play.work(run)
    assert play.link("LAB-02").reason == "written_only"
    run = play.change("fourth")
    play.fault("policy")
    play.work(run)
    sync.give_up(play.olivia, play.entry())
    assert play.link("LAB-02").state != "in_sync"


def test_cancelling_leaves_an_unknown_waiting_for_its_probe(play: Play) -> None:
    run = play.change("second")
    play.fault("cut_after")
    play.work(run)
    sync.cancel(play.olivia, play.run(run))
    play.work(run)
    assert play.run(run).state == "waiting", "only probes now"
    play.settle()
    assert play.current() == "second" == play.truth(PRIMARY)
    assert play.truth(OTHER) == FIRST
    done = play.session.scalars(select(SyncRun).where(SyncRun.id == run)).one()
    assert done.result == "cancelled"


def test_a_new_password_that_is_the_vaults_makes_no_second_version(synced: Play) -> None:
    play = synced
    hand_changed(play)
    form = sync.Approval([play.link("LAB-02").id], "new", "2 a.m.", new=Secret("second"))
    with pytest.raises(Invalid, match="keep the vault's") as told:
        sync.approve(play.olivia, play.entry(), form)
    assert told.value.field == "new"
    assert play.pending() is None
    assert play.open_runs() == []


def test_a_link_left_unticked_is_not_sent_the_old_value_it_refused_again(synced: Play) -> None:
    """A new password for the whole chain, LAB-02 left out on purpose: its old value was refused an hour ago."""
    play = synced
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    assert play.wrong_logons(OTHER) == 1
    play.advance(3600)
    form = sync.Approval([play.link("LAB-01").id], "new", "2 a.m.", new=Secret("third"))
    play.work(sync.approve(play.olivia, play.entry(), form).id)
    assert play.truth(PRIMARY) == "third"
    assert play.link("LAB-02").state == "refused"
    assert play.wrong_logons(OTHER) == 1


def test_links_carried_along_by_an_approval_have_the_click_of_who_approved(synced: Play) -> None:
    """LAB-02 was put right minutes after a wrong logon; a new password for the whole chain reaches it, too."""
    play = synced
    hand_changed(play)
    play.work(play.approve("LAB-02", typed="our login"))
    assert play.tries(OTHER_KEY) == 1
    play.advance(60)
    form = sync.Approval([play.link("LAB-01").id], "new", "2 a.m.", new=Secret("third"))
    play.work(sync.approve(play.olivia, play.entry(), form).id)
    assert (play.truth(PRIMARY), play.truth(OTHER)) == ("third", "third")
