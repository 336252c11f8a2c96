"""Rules 11 to 21: one attempt, its five answers, and what happens when nobody knows how it ended."""

from __future__ import annotations

from time import monotonic

import pytest

from pwserver.connectors.base import Answer, Evidence, Means, Outcome, Unreachable
from pwserver.core.errors import Conflict
from pwserver.services import sync
from pwserver.services.sync import reach
from pwserver.services.transaction import write
from tests.disasters.conftest import DEAD, FIRST, OTHER, PRIMARY, Play
from tests.sync.world import Crash

COMMITS = range(12)
"""A clean change of four links makes eleven commits; the twelfth is never reached."""


@pytest.mark.both
@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("n", COMMITS)
def test_a_worker_killed_at_any_commit_does_not_lose_the_new_password(play: Play, n: int, where: str) -> None:
    run = play.change("second")
    ended = play.work(run, crash=(n, where))
    assert ended == (n == max(COMMITS))
    play.advance(DEAD)
    play.settle()
    assert play.current() == "second" == play.truth(PRIMARY) == play.truth(OTHER)
    assert {place.value for place in play.world.places.values()} == {"second"}
    assert play.status() == "in_sync"
    assert sum(play.wrong_logons(each) for each in play.world.accounts) == 0


@pytest.mark.parametrize("fault", ["crash_before", "crash_after", "crash_late", "cut_before", "cut_after", "late"])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_worker_or_line_that_dies_in_a_call_leaves_nothing_lost_and_nothing_stuck(
    play: Play, at: int, fault: str
) -> None:
    run = play.change("second")
    play.fault(*["none"] * at, fault)
    play.work(run)
    play.advance(DEAD)
    play.settle(hours=3)
    assert play.current() == "second" == play.truth(PRIMARY) == play.truth(OTHER)
    assert {place.value for place in play.world.places.values()} == {"second"}
    assert play.status() == "in_sync", [
        (each.machine, each.state, each.reason) for each in sync.active_links(play.chain())
    ]
    assert sum(play.wrong_logons(each) for each in play.world.accounts) == 0


@pytest.mark.both
def test_a_zombie_worker_that_ends_late_changes_nothing_and_its_answer_is_kept(play: Play) -> None:
    run = play.change("second")

    def taken_over() -> None:
        play.advance(DEAD)
        assert play.work(run, worker="B")

    play.during("change", taken_over, place=PRIMARY, when="after")
    play.work(run, worker="A")
    first, *_ = play.attempts(play.link("LAB-01"))[1:]
    assert (first.outcome, first.reason) == ("unknown", "worker_died")
    assert first.late_outcome == {"outcome": "applied", "reason": "", "code": ""}
    assert play.run(run).worker == "B"
    play.settle()
    assert play.status() == "in_sync"
    assert play.current() == "second" == play.truth(PRIMARY)


@pytest.mark.both
def test_two_workers_with_the_same_nudge_make_one_pass(play: Play) -> None:
    run = play.change("second")
    took: list[bool] = []
    play.during("change", lambda: took.append(play.work(run, worker="B")), place=PRIMARY)
    assert play.work(run, worker="A")
    assert took == [False]
    assert [each.place for each in play.writes() if each.method == "change"] == [PRIMARY, OTHER]


@pytest.mark.both
def test_a_lease_outlives_the_longest_call(play: Play) -> None:
    run = play.change("second")
    took: list[bool] = []

    def longest() -> None:
        play.advance(play.scene.app.config["PWSERVER"].timing.call)
        took.append(play.work(run, worker="B"))

    play.during("change", longest, place=PRIMARY)
    assert play.work(run, worker="A")
    assert took == [False]


@pytest.mark.both
def test_a_worker_that_was_stopped_between_its_intent_and_the_send_sends_nothing(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another may have taken over and probed meanwhile: a write sent now would undo what it found."""
    run = play.change("second")
    monkeypatch.setattr(reach, "monotonic", lambda: monotonic() + 60)
    play.work(run)
    assert play.sent == []
    link = play.link("LAB-01")
    assert (link.state, link.reason, play.maybe(link)) == ("unreachable", "deadline", [])
    assert play.truth(PRIMARY) == FIRST


@pytest.mark.both
def test_a_cancelled_run_ends_before_its_next_link_and_never_inside_one(play: Play) -> None:
    run = play.change("second")
    play.during("change", lambda: sync.cancel(play.olivia, play.run(run)), place=PRIMARY)
    play.work(run)
    assert play.run(run).result == "cancelled"
    assert play.current() == "second" == play.truth(PRIMARY), "what Default Sync took is the vault's"
    assert play.truth(OTHER) == FIRST
    assert play.status() == "out_of_sync"


def test_switching_sync_off_in_the_middle_stops_the_rest_and_still_names_the_places(play: Play) -> None:
    run = play.change("second")
    play.during("change", lambda: sync.disable(play.olivia, play.entry()), place=PRIMARY)
    play.work(run)
    assert (play.run(run).state, play.run(run).result) == ("done", "disabled")
    assert play.status() == "not_synced"
    named = [(link.machine, play.value(version)) for link, version, _ in sync.may_hold(play.session, play.entry())]
    assert ("LAB-02", FIRST) in named


def test_a_disabled_agent_gets_no_further_password(play: Play) -> None:
    run = play.change("second")
    play.during("change", lambda: play.agent(state="disabled"), place=PRIMARY)
    play.work(run)
    assert play.run(run).result == "agent_disabled"
    assert [each.place for each in play.writes()] == [PRIMARY]


def test_an_agent_whose_address_changed_gets_nothing_before_its_test(play: Play) -> None:
    run = play.change("second")
    play.agent(health="untested")
    play.work(run)
    assert play.sent == []
    assert play.status() == "agent_disabled"


@pytest.mark.both
def test_a_link_edited_between_plan_and_intent_is_not_written_under_its_old_settings(play: Play) -> None:
    run = play.change("second")
    link_id = play.link("LAB-02").id

    def edited() -> None:
        with write() as session:
            link = session.get_one(type(play.link("LAB-02")), link_id)
            link.settings_rev += 1

    play.during("change", edited, place=PRIMARY)
    play.work(run)
    attempt = play.attempts(play.link("LAB-02"))[-1]
    assert attempt.settings_rev == 2


@pytest.mark.both
def test_a_chain_cannot_be_changed_under_a_running_change(play: Play) -> None:
    run = play.change("second")
    link, revision = play.link("LAB-02"), play.chain().revision
    for act in (
        lambda: sync.remove_link(play.olivia, link, revision=revision),
        lambda: sync.edit_link(
            play.olivia, link, {"machine": "LAB-03", "user_name": "x"}, revision=revision, linked_entry_id=None
        ),
    ):
        with pytest.raises(Conflict):
            act()
    play.work(run)


@pytest.mark.both
def test_nothing_probes_while_the_dead_may_still_act(play: Play) -> None:
    """A late script may apply up to its time to live; a probe before that would say *not applied* of what then is."""
    run = play.change("second")
    play.fault("crash_late")
    play.work(run)
    link = play.link("LAB-01")
    hard = play.attempts(link)[-1].hard_deadline
    play.sent.clear()
    while play.world.now < hard + play.dead_wait:
        play.tick()
        play.pass_all()
        assert play.sent == []
        play.advance(5)
    play.settle()
    assert play.current() == "second" == play.truth(PRIMARY)


def test_an_unmoved_stamp_is_answer_enough_and_costs_no_logon(play: Play) -> None:
    run = play.change("second")
    play.fault("cut_before")
    play.work(run)
    play.advance(75)
    play.sent.clear()
    play.work(run)
    assert [each.method for each in play.sent if each.place == PRIMARY] == ["read", "change"]
    assert play.current() == "second"


def test_a_line_cut_twice_in_a_row_costs_no_wrong_logon(play: Play) -> None:
    """The second unknown end is compared with the proof that settled the first."""
    run = play.change("second")
    for _ in range(3):
        play.fault(*(["none"] if play.sent else []), "cut_before")
        play.work(run)
        play.advance(75)
    play.settle()
    assert play.wrong_logons(PRIMARY) == 0
    assert play.current() == "second" == play.truth(PRIMARY)


def test_a_stamp_set_back_by_the_machines_clock_counts_as_moved(play: Play) -> None:
    run = play.change("second")
    play.fault("cut_after")
    play.work(run)
    play.world.accounts[PRIMARY].stamp = play.world.accounts[PRIMARY].stamp.replace(year=2020)
    play.settle()
    assert play.current() == "second" == play.truth(PRIMARY)
    assert play.wrong_logons(PRIMARY) == 0


def test_a_new_value_is_never_tried_before_it_is_written(play: Play) -> None:
    play.work(play.change("second"))
    assert [each.method for each in play.sent if each.place == PRIMARY] == ["change"]


def test_a_password_someone_else_set_is_never_overwritten(play: Play) -> None:
    play.world.outside(OTHER, "by hand", clock_back=False)
    run = play.change("second")
    play.work(run)
    assert play.truth(OTHER) == "by hand"
    assert play.wrong_logons(OTHER) == 1
    link = play.link("LAB-02")
    assert (link.state, link.reason) == ("refused", "old_value_refused")
    play.settle(hours=5)
    assert play.wrong_logons(OTHER) == 1, "once, and never again by itself"


def test_a_link_that_missed_two_changes_is_changed_from_what_it_holds(play: Play) -> None:
    for value in ("second", "third"):
        play.advance(60)
        run = play.change(value)
        play.fault("none", "unreachable")
        play.work(run)
    assert play.stages()["previous"] == ["second"]
    play.settle()
    assert play.truth(OTHER) == "third"
    assert play.wrong_logons(OTHER) == 0


def test_set_worked_and_logon_cannot_tell_is_not_green(play: Play) -> None:
    run = play.change("second")
    play.fault("cannot_tell")
    play.work(run)
    link = play.link("LAB-01")
    assert play.value(link.holds_version_id) == "second"
    assert (link.state, link.reason, link.proof_means) == ("waiting", "written_only", "written only")
    assert play.status() != "in_sync"


def test_a_bug_of_ours_ends_the_run_and_its_link_is_unknown_until_probed(play: Play) -> None:
    run = play.change("second")

    def bug() -> None:
        raise RuntimeError("a bug of ours")

    play.during("change", bug, place=PRIMARY, when="after")
    play.work(run)
    assert play.run(run).result == "errored"
    link = play.link("LAB-01")
    assert (link.state, play.maybe(link)) == ("unknown", ["second"])
    play.advance(2000)
    sync.retest(play.olivia, play.entry())
    play.settle()
    assert play.current() == "second" == play.truth(PRIMARY)


def test_a_dead_worker_in_a_place_does_not_leave_the_place_unknown_for_ever(play: Play) -> None:
    run = play.change("second")
    play.fault("none", "none", "crash_before")
    play.work(run)
    play.advance(DEAD)
    play.settle()
    assert {place.value for place in play.world.places.values()} == {"second"}
    assert play.status() == "in_sync"


@pytest.mark.both
def test_the_same_run_twice_changes_nothing_twice(play: Play) -> None:
    run = play.change("second")
    play.work(run)
    before = (play.world.mutations, play.world.calls)
    assert not play.work(run)
    assert (play.world.mutations, play.world.calls) == before


def test_an_answer_that_says_nothing_was_called_clears_the_doubt(play: Play) -> None:
    run = play.change("second")

    def stopped() -> None:
        from pwserver.connectors.base import Unknown

        raise Unknown("ttl", wrote=False, spent=())

    play.during("change", stopped, place=PRIMARY)
    play.work(run)
    assert play.maybe(play.link("LAB-01")) == []
    play.settle()
    assert play.current() == "second"


def test_a_crash_is_not_swallowed_by_the_wrapper_around_connectors() -> None:
    from pwserver.connectors.base import ask

    def die() -> Evidence:
        raise Crash

    with pytest.raises(Crash):
        ask(die, secrets=())


def test_a_typed_answer_stays_what_it_is() -> None:
    from pwserver.connectors.base import ask

    def away() -> Evidence:
        raise Unreachable("no_answer")

    assert ask(away, secrets=()) == Outcome(Answer.UNREACHABLE, "no_answer")
    assert ask(lambda: Evidence("LAB-01", Means.LOGGED_ON), secrets=()).answer == Answer.APPLIED


def test_a_machine_with_another_certificate_gets_nothing_before_an_owner_confirmed_it(synced: Play) -> None:
    """Approved and tested again, but no owner of this password has compared the new fingerprint (rule 34)."""
    play = synced
    run = play.change("third")
    other = "f" * 64
    play.agent(pin=other)
    play.work(run)
    assert play.sent == []
    assert play.status() == "agent_disabled"
    again = sync.confirm_certificate(play.olivia, play.entry(), other)
    assert again is not None
    play.settle()
    assert play.status() == "in_sync"
