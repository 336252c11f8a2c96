"""Rules 1 to 6: a value is a row before anything can see it, and no value that was ever sent is lost."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from pwserver.core.errors import Conflict, Invalid
from pwserver.core.secrets import Secret, check_value
from pwserver.extensions import db
from pwserver.models import EntryVersion, LinkMaybe, SyncRun
from pwserver.services import sync
from pwserver.services.transaction import write
from tests.disasters.conftest import DEAD, FIRST, OTHER, PRIMARY, Play
from tests.sync.world import Crash


@pytest.mark.both
def test_a_crash_while_saving_leaves_a_value_with_its_run_or_neither(play: Play) -> None:
    for where in ("before", "after"):
        value = f"second {where}"

        def hook(at: str, where: str = where) -> None:
            if at == where:
                raise Crash

        play.scene.app.config["COMMIT_HOOK"] = hook
        with pytest.raises(Crash):
            play.change(value)
        play.scene.app.config.pop("COMMIT_HOOK")
        db.session.rollback()
        saved, queued = play.pending() == value, bool(play.open_runs())
        assert saved == queued == (where == "after")


@pytest.mark.both
def test_no_target_sees_a_value_before_its_row_is_committed(play: Play) -> None:
    run = play.change("second")
    seen: list[object] = []
    play.during("change", lambda: seen.append((play.stages().get("pending"), play.run(run).state)), place=PRIMARY)
    play.work(run)
    assert seen == [(["second"], "running")]


def test_an_emptied_queue_loses_nothing_because_the_timer_finds_the_row(play: Play) -> None:
    run = play.change("second")
    assert (run, "now") in play.tick(), "never nudged by the click: the timer does it"
    assert play.tick() == [], "and not again at once"
    play.advance(31)
    assert (run, "now") in play.tick(), "the queue was emptied: nudged again"


@pytest.mark.both
def test_a_sent_value_cannot_be_thrown_away(play: Play) -> None:
    run = play.change("second")
    play.fault("cut_before")
    play.work(run)
    sent = db.session.scalars(select(EntryVersion).filter_by(stage="pending")).one()
    assert sent.first_sent_at is not None
    with pytest.raises(IntegrityError), write() as session:
        session.execute(update(EntryVersion).where(EntryVersion.id == sent.id).values(stage="discarded"))
    with pytest.raises(IntegrityError), write() as session:
        session.execute(delete(EntryVersion).where(EntryVersion.id == sent.id))


def test_a_value_that_may_be_on_a_machine_is_never_given_up_replaced_or_corrected_away(play: Play) -> None:
    run = play.change("second")
    play.fault("cut_after")
    play.work(run)
    assert play.maybe(play.link("LAB-01")) == ["second"]
    with pytest.raises(Invalid):
        sync.give_up(play.olivia, play.entry())
    for ask in (lambda: play.change("third"), lambda: play.correct("third", "LAB-01")):
        with pytest.raises(Conflict) as refused:
            ask()
        assert refused.value.field == "value"
        assert "was not saved" in refused.value.user_message
    assert play.pending() == "second"
    play.settle()
    assert play.current() == "second" == play.truth(PRIMARY)


@pytest.mark.both
def test_a_value_never_sent_is_discarded_and_one_that_was_sent_stays_known(play: Play) -> None:
    play.change("never sent")
    run = play.change("refused by policy")
    assert play.stages()["discarded"] == ["never sent"]
    play.fault("policy")
    play.work(run)
    run = play.change("third")
    assert play.stages()["old"] == ["refused by policy"], "it was shown to a machine: kept, not discarded"
    play.work(run)
    assert play.current() == "third"


@pytest.mark.both
def test_a_queued_change_is_replaced_and_never_runs(play: Play) -> None:
    first = play.change("second")
    second = play.change("third")
    assert play.run(first).result == "superseded"
    assert not play.work(first)
    play.work(second)
    assert play.truth(PRIMARY) == play.truth(OTHER) == "third"
    assert "second" not in {each.version for each in play.sent}


@pytest.mark.both
def test_two_instructions_can_never_be_under_way_on_one_chain(play: Play) -> None:
    play.change("second")
    with pytest.raises(IntegrityError), write() as session:
        session.add(
            SyncRun(
                number=999, chain_id=play.chain().id, kind="change", requested_at=play.world.now, due_at=play.world.now
            )
        )


@pytest.mark.both
def test_a_change_saved_while_another_is_being_made_is_refused_and_the_first_goes_on(play: Play) -> None:
    run = play.change("second")
    refused: list[str] = []

    def save() -> None:
        with pytest.raises(Conflict) as error:
            play.change("third")
        refused.append(error.value.user_message)

    play.during("change", save, place=PRIMARY)
    play.work(run)
    assert refused
    assert play.current() == "second" == play.truth(OTHER)


def test_a_waiting_change_whose_value_is_the_vaults_gives_way_to_the_next(play: Play) -> None:
    run = play.change("second")
    play.fault("none", "unreachable")
    play.work(run)
    assert play.run(run).state == "waiting"
    assert play.current() == "second"
    again = play.change("third")
    play.work(again)
    assert play.truth(OTHER) == "third", "changed from what it held, not from the vault's previous value"
    assert play.run(run).result == "superseded"


def test_an_override_is_never_replaced_by_a_new_value(play: Play) -> None:
    play.approve("LAB-02", typed="our login")
    with pytest.raises(Conflict):
        play.change("second")
    with pytest.raises(Conflict):
        play.approve("LAB-02", typed="our login")


def test_the_value_the_vault_has_already_starts_nothing(play: Play) -> None:
    for ask in (lambda: play.change(FIRST), lambda: play.correct(FIRST, "LAB-01")):
        with pytest.raises(Invalid) as refused:
            ask()
        assert "nothing to do" in refused.value.user_message
    assert play.open_runs() == []


@pytest.mark.both
def test_a_form_from_before_someone_elses_save_saves_nothing(play: Play) -> None:
    seen = play.entry().row_version
    play.work(play.change("second"))
    with pytest.raises(Conflict):
        sync.request_change(play.olivia, play.entry(), Secret("third"), row_version=seen)
    assert play.pending() is None


def test_correct_writes_to_no_machine_and_says_which_links_have_it(play: Play) -> None:
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.world.outside(PRIMARY, "by hand", clock_back=False)
    run = play.correct("by hand", "LAB-01", "LAB-02")
    play.work(run)
    assert play.writes() == []
    assert play.current() == "by hand"
    assert [play.link(each).holds_version_id for each in ("LAB-01", "LAB-02")] == [
        db.session.scalars(select(EntryVersion.id).filter_by(entry_id=play.entry().id, stage="current")).one()
    ] * 2
    assert play.wrong_logons(PRIMARY) == play.wrong_logons(OTHER) == 0


def test_a_wrong_claim_is_found_out_without_a_single_logon_where_the_stamp_did_not_move(play: Play) -> None:
    run = play.correct("nobody has this", "LAB-01", "LAB-02")
    play.work(run)
    assert play.wrong_logons(PRIMARY) == play.wrong_logons(OTHER) == 0
    assert play.maybe(play.link("LAB-01")) == []
    assert play.value(play.link("LAB-01").holds_version_id) == FIRST
    assert play.status() == "out_of_sync"


def test_a_right_claim_is_not_forgotten_when_a_test_was_in_the_middle_of_its_logon(play: Play) -> None:
    """The answer of the test is about the value of before; it says nothing of what a person claims meanwhile."""
    play.world.outside(OTHER, "by hand", clock_back=False)
    test = sync.request_test(play.olivia, play.entry()).id
    asked: list[str] = []
    play.during("verify", lambda: asked.append(play.correct("by hand", "LAB-02")), place=OTHER)
    play.work(test)
    assert asked
    assert play.maybe(play.link("LAB-02")) == ["by hand"]
    play.advance(1900)
    play.settle()
    assert play.value(play.link("LAB-02").holds_version_id) == "by hand"
    assert play.link("LAB-02").state == "in_sync"


@pytest.mark.both
def test_a_promotion_moves_exactly_one_row_each(play: Play) -> None:
    for value in ("second", "third", "fourth"):
        play.advance(60)
        play.work(play.change(value))
    assert play.stages() == {"old": [FIRST, "second"], "previous": ["third"], "current": ["fourth"]}


def test_a_link_that_was_sent_a_value_and_died_keeps_it_when_sync_is_switched_off_and_on(untouched: Play) -> None:
    """Never proved, sent *second*, end unknown: it holds the first or the second, whatever is switched."""
    play = untouched
    test = play.open_runs()[0]
    play.fault("none", "unreachable")
    play.work(test)  # LAB-01 proved, LAB-02 never
    assert play.link("LAB-02").holds_version_id is None
    run = play.change("second")
    play.fault("none", "cut_before")
    play.work(run)
    assert play.maybe(play.link("LAB-02")) == ["second"]
    sync.disable(play.olivia, play.entry())
    sync.enable(play.olivia, play.entry(), play.chain().agent_id)
    assert play.value(play.link("LAB-02").starts_from_version_id) == FIRST, (
        "it may hold the first as well as the second"
    )


LEGAL = st.text(min_size=1, max_size=127).filter(lambda text: _is_legal(text))


def _is_legal(text: str) -> bool:
    try:
        check_value(Secret(text))
    except Invalid:
        return False
    return True


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(text=LEGAL)
def test_every_legal_value_arrives_byte_for_byte(play: Play, text: str) -> None:
    if text in (play.current(), play.pending()):
        return
    play.advance(60)
    play.work(play.change(text))
    assert play.truth(PRIMARY) == play.truth(OTHER) == text == play.current()


@pytest.mark.parametrize(
    "text", ["", "a\0b", "a\rb", "a\nb", " a", "a ", "\ta", "a\u00a0", "x" * 128, "\U0001f600" * 64, "\ud800"]
)
def test_a_value_that_some_target_would_cut_off_is_refused_at_the_field(play: Play, text: str) -> None:
    with pytest.raises(Invalid) as refused:
        play.change(text)
    assert refused.value.field == "value"
    assert play.open_runs() == []


@pytest.mark.parametrize(
    "text", ["e\u0301", "\u00e9", "\ufb01", "\u2126", "127" + "x" * 124, "\U0001f600" * 63, "a b", "$(x)`\"'"]
)
def test_no_value_is_normalised_on_its_way(play: Play, text: str) -> None:
    play.work(play.change(text))
    assert play.truth(PRIMARY).encode() == text.encode()
    assert play.sent[-1].version == text


@pytest.mark.breaks_invariants
def test_a_sealed_value_is_bound_to_its_row(play: Play) -> None:
    from pwserver.core.secrets import KeyringError

    play.work(play.change("second"))
    rows = db.session.scalars(select(EntryVersion).filter_by(entry_id=play.entry().id)).all()
    with write() as session:
        moved = session.get_one(EntryVersion, rows[0].id)
        moved.sealed = rows[1].sealed
    with pytest.raises(KeyringError):
        play.value(rows[0].id)


def test_a_value_whose_worker_died_before_any_answer_is_in_maybe_before_the_send(play: Play) -> None:
    run = play.change("second")
    seen: list[list[str]] = []
    play.during("change", lambda: seen.append(play.maybe(play.link("LAB-01"))), place=PRIMARY)
    play.fault("crash_before")
    assert not play.work(run)
    assert seen == [["second"]]
    assert db.session.scalars(select(LinkMaybe.version_id)).all()
    play.advance(DEAD)
    play.settle()
    assert play.current() == "second" == play.truth(PRIMARY)
