"""Rules 36 to 45: what counts as proof, what is called In Sync, incidents, the clock."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from pwserver.connectors.base import Answer as Answers
from pwserver.connectors.base import Evidence, Means, Outcome, same_stamp
from pwserver.core.states import ChainFacts, LinkFacts, LinkState, Status, derive_status, is_fresh
from pwserver.core.timing import NORMAL
from pwserver.models import Event, Incident, SyncChain, SyncLink, SyncRun
from pwserver.services import sync
from pwserver.services.transaction import write
from pwserver.sync import settle
from tests.disasters.conftest import OTHER, PRIMARY, Play

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def link(state: LinkState = LinkState.IN_SYNC, **more: object) -> LinkFacts:
    values = {"holds_current": True, "maybe": False, "proved": True, "proved_at": NOW, "configured": True} | more
    return LinkFacts(state, **values)  # type: ignore[arg-type]


LINKS = [
    (),
    *((link(state),) for state in LinkState),
    *((link(state), link()) for state in LinkState),
    (link(maybe=True),),
    (link(proved=False),),
    (link(proved_at=None),),
    (link(proved_at=NOW - DAY),),
    (link(proved_at=NOW - DAY + timedelta(seconds=1)),),
    (link(proved_at=NOW + timedelta(minutes=1)),),
    (link(configured=False),),
    (link(holds_current=False),),
    (link(holds_current=False, proved=False, never_proved_from_current=True),),
    (link(LinkState.REFUSED, configured=False),),
    (link(LinkState.MANAGED, holds_current=False, maybe=True, configured=False), link()),
    (link(LinkState.UNREACHABLE, proved_at=NOW - 3 * DAY),),
]


def spelled_out(facts: ChainFacts) -> str:
    """The table of ``data.md`` in words of its own, one line after the other."""
    if not facts.syncable:
        return "unsyncable"
    if not facts.enabled:
        return "not_synced"
    if facts.running:
        return "being_synced"
    if not facts.agent_usable:
        return "agent_disabled"
    counted = [each for each in facts.links if each.state != "managed"]
    for each in counted:
        if each.state in ("down", "refused", "blocked", "unknown", "skipped") or each.maybe:
            return "out_of_sync"
    missing = [each for each in counted if not each.holds_current and not each.never_proved_from_current]
    if not facts.queued and (missing or facts.pending_somewhere):
        return "out_of_sync"
    if [each for each in counted if not each.configured]:
        return "not_configured"
    if facts.queued or missing:
        return "pending_sync"
    for each in counted:
        good = each.proved and each.holds_current and each.proved_at is not None
        if not good or not (timedelta(seconds=-5) <= NOW - each.proved_at < DAY):  # type: ignore[operator]
            return "pending_sync"
    return "in_sync"


def test_every_combination_of_facts_has_the_status_of_the_table() -> None:
    seen = set()
    for flags in itertools.product((False, True), repeat=6):
        for links in LINKS:
            facts = ChainFacts(*flags, links)
            status = derive_status(facts, NOW, DAY)
            assert status == spelled_out(facts), facts
            seen.add(status)
    assert seen == set(Status)


def test_a_proof_from_the_future_or_of_yesterday_makes_no_green() -> None:
    assert is_fresh(link(), NOW, DAY)
    for at in (NOW + timedelta(seconds=6), NOW - DAY, None):
        assert not is_fresh(link(proved_at=at), NOW, DAY)
    for missing in ("proved", "holds_current"):
        assert not is_fresh(link(**{missing: False}), NOW, DAY)


def test_a_green_ends_by_itself_when_its_proof_is_a_day_old(synced: Play) -> None:
    play = synced
    assert play.status() == "in_sync"
    with write() as session:
        session.execute(update(SyncChain).values(next_test_at=None))
    play.advance(DAY.total_seconds())
    play.tick()
    assert play.status() == "pending_sync"


def test_changed_settings_make_an_old_proof_worthless(synced: Play) -> None:
    from pwserver.services.sync.status import refresh

    play = synced
    row = play.link("LAB-02")
    with write() as session:
        session.get_one(SyncLink, row.id).settings_rev += 1
        refresh(session, row.chain_id)
    assert play.status() != "in_sync"


@pytest.mark.parametrize("means", [Means.WRITTEN, Means.STARTED, None])
def test_an_account_written_only_is_never_in_sync(synced: Play, means: Means | None) -> None:
    from pwserver.services.sync.status import refresh

    play = synced
    row = play.link("LAB-02")
    with write() as session:
        session.get_one(SyncLink, row.id).proof_means = means
        refresh(session, row.chain_id)
    assert play.status() == "pending_sync"


def test_an_unmoved_stamp_does_not_turn_written_only_into_proved(synced: Play) -> None:
    from pwserver.services.sync.plans import read_plan
    from pwserver.services.sync.status import timing

    play = synced
    run = sync.request_test(play.olivia, play.entry()).id
    with write() as session:
        session.get_one(SyncLink, play.link("LAB-02").id).proof_means = Means.WRITTEN
    plan, _, _ = read_plan(play.session, run, play.world.now, timing())
    written = next(each for each in plan.links if each.id == play.link("LAB-02").id)
    after = settle.after_unmoved(written, Evidence("LAB-02"), play.world.now)
    assert (after.state, after.reason) == (LinkState.WAITING, "written_only")
    assert after.proof is not None
    assert after.proof.means == Means.WRITTEN
    play.work(run)


def test_a_place_is_not_in_sync_when_its_account_is_not_proved(synced: Play) -> None:
    from pwserver.services.sync.status import read_facts

    play = synced
    with write() as session:
        session.get_one(SyncLink, play.link("LAB-02").id).proof_version_id = None
    facts = read_facts(play.session, play.chain())
    assert [each.proved for each in facts.chain.links] == [True, False, False, True]
    from pwserver.services.sync.status import refresh

    with write() as session:
        refresh(session, play.chain().id)
    assert play.status() == "pending_sync"


def test_stamps_are_equal_within_two_seconds_either_way_and_earlier_is_moved() -> None:
    base = NOW.isoformat()
    for seconds, same in ((0, True), (2, True), (-2, True), (3, False), (-3, False), (-86400, False)):
        assert same_stamp((NOW + timedelta(seconds=seconds)).isoformat(), base) is same
    assert same_stamp("digest:a", "digest:a")
    assert not same_stamp("digest:a", "digest:b")
    assert not same_stamp("digest:a", base)


def test_the_cached_status_is_recomputed_and_a_wrong_one_is_reported(synced: Play) -> None:
    play = synced
    with write() as session:
        session.execute(update(SyncChain).where(SyncChain.id == play.chain().id).values(status="out_of_sync"))
    found = [(each.subject, each.what) for each in sync.check()]
    assert found == [("lab", "says out_of_sync, the facts say in_sync")]
    with write() as session:
        session.execute(update(SyncChain).where(SyncChain.id == play.chain().id).values(status="in_sync"))


def test_every_change_of_a_status_is_in_the_history(play: Play) -> None:
    play.work(play.change("second"))
    lines = select(Event).where(Event.verb == "status", Event.entry_id == play.entry().id).order_by(Event.seq)
    steps = [(each.facts["from"], each.facts["to"]) for each in play.session.scalars(lines)]
    assert steps[-2:] == [("pending_sync", "being_synced"), ("being_synced", "in_sync")]
    for one, other in itertools.pairwise(steps):
        assert one[1] == other[0]


# -- incidents


def incidents(play: Play) -> list[Incident]:
    rows = play.session.scalars(
        select(Incident).where(Incident.chain_id == play.chain().id).execution_options(populate_existing=True)
    )
    return list(rows)


def test_forty_refused_links_are_one_incident_and_it_ends_when_all_is_well(synced: Play) -> None:
    play = synced
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.world.outside(PRIMARY, "by hand", clock_back=False)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    assert [(each.kind, each.closed_at) for each in incidents(play)] == [("needs_override", None)]
    assert incidents(play)[0].mail_due_at == play.world.now
    play.advance(2000)
    play.work(play.approve("LAB-01", "LAB-02", typed="our login"))
    assert play.status() == "in_sync"
    assert incidents(play)[0].closed_why == "in_sync"


def test_a_machine_that_is_off_during_a_change_is_mailed_later_and_at_once_when_it_turns_worse(synced: Play) -> None:
    play = synced
    run = play.change("third")
    play.fault("none", "unreachable")
    play.work(run)
    (incident,) = incidents(play)
    due = play.world.now + timedelta(seconds=NORMAL.mail_when_silent)
    assert (incident.kind, incident.mail_due_at) == ("unreachable", due)
    assert play.chain().status_detail == "2 of 4, LAB-02 no answer"
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.advance(60)
    play.work(run)
    assert play.link("LAB-02").state == "refused"
    (incident,) = incidents(play)
    assert (incident.kind, incident.mail_due_at) == ("needs_override", play.world.now)


def test_a_machine_that_is_off_during_a_test_is_pending_and_no_incident(synced: Play) -> None:
    play = synced
    play.advance(DAY.total_seconds() - 60)
    test = sync.request_test(play.olivia, play.entry()).id
    play.fault("none", "unreachable")
    play.work(test)
    assert play.link("LAB-02").state == "unreachable"
    play.advance(60)
    for _ in range(40):
        play.advance(30)
        play.tick()
        play.fault(*["unreachable"] * 4)
        play.work(test)
        assert play.status() in ("pending_sync", "being_synced")
    assert incidents(play) == []


@pytest.mark.budget(25, "plays three days")
@pytest.mark.sqlite
def test_a_machine_that_tests_did_not_reach_for_three_days_is_an_incident_until_it_answers(synced: Play) -> None:
    play = synced
    play.world.off.add("LAB-02")
    for hour in range(100):
        play.advance(3600)
        play.tick()
        play.pass_all()
        if hour < 70:
            assert incidents(play) == []
    assert (play.link("LAB-02").reason, play.status()) == ("given_up", "pending_sync")
    (incident,) = incidents(play)
    assert (incident.kind, incident.mail_due_at) == ("unreachable", incident.opened_at)
    play.world.off.clear()
    play.work(sync.request_test(play.olivia, play.entry()).id)
    assert play.status() == "in_sync"
    assert incidents(play)[0].closed_why == "in_sync"


def test_an_incident_ends_with_the_chain_switched_off_and_says_so(synced: Play) -> None:
    play = synced
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.work(sync.request_test(play.olivia, play.entry()).id)
    sync.disable(play.olivia, play.entry())
    assert incidents(play)[0].closed_why == "disabled"


def test_every_reason_the_engine_can_give_has_words_and_a_next_step() -> None:
    from pwserver.core.reasons import REASONS, reason
    from pwserver.sync.chain import Why

    unknown = reason("a code that nobody knows")
    needed = {
        "settling", "account_not_done", "not_yet_written", "written_only", "holds_another", "given_up", "cannot_tell",
        "was_not_applied", "corrected", "worker_died", "credential_busy", "no_linked_credential", "no_login",
        "another_link_has_account", "managed_by_windows", "deadline", "bug", "login_refused", "linked_refused",
        "old_value_refused", "value_refused", "policy", "may_change_at",
        *(each.value for each in Why if each not in (Why.STOPPED, Why.CHANGED)),
    }  # fmt: skip
    missing = sorted(each for each in needed if each not in REASONS)
    assert missing == []
    assert all(reason(each) != unknown for each in needed)


def test_an_answer_of_unknown_meaning_never_makes_a_green() -> None:
    for answer in (Answers.UNKNOWN, Answers.REFUSED, Answers.BLOCKED, Answers.UNREACHABLE):
        for wrote in (None, True, False):
            after = settle.after_write(_bare_link(), "v2", Outcome(answer, "x", wrote=wrote), NOW, NORMAL)
            assert after.state not in (LinkState.IN_SYNC, LinkState.UPDATED)
            assert after.holds is None
            assert after.maybe == (("v2",) if answer == Answers.UNKNOWN and wrote is not False else ())


def _bare_link() -> settle.Link:
    return settle.Link(
        id="l", position=0, is_account=True, settings_rev=1, account_link=None, holds="v1", starts_from="v1", maybe=(),
        state=LinkState.IN_SYNC, reason="", next_try_at=None, first_try_at=None, tries=0, proof=None, written_rev=None,
        restart_pending=False, restarts=False, settle_at=None, unknown_since=None, last=None, proved=None, asked=False,
        restarted=False, twins=frozenset(), meant=True,
    )  # fmt: skip


# -- the clock


def test_times_are_aware_and_naive_ones_are_refused(play: Play) -> None:
    row = play.session.scalars(select(SyncRun)).first()
    assert row is not None
    assert row.due_at.tzinfo is UTC
    from sqlalchemy.exc import StatementError

    with pytest.raises(StatementError), write() as session:
        session.get_one(SyncRun, row.id).due_at = datetime(2026, 1, 1)
    play.session.rollback()


def test_leases_and_due_times_are_the_databases_and_the_clock_of_the_worker_does_not_matter(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    run = play.change("second")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    play.work(run)
    assert play.run(run).finished_at == play.world.now
