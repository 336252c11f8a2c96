"""``flask sync check`` sees every row that must not be: each test breaks one, and exactly that is reported."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from pwserver.core.secrets import Secret
from pwserver.core.states import Status
from pwserver.extensions import db
from pwserver.models import EntryVersion, SyncRun
from pwserver.services import sync
from pwserver.services.sync import status
from pwserver.services.sync.requeue import queue_test
from pwserver.services.transaction import write
from pwserver.services.values import add_version
from tests.disasters.conftest import Play
from tests.sync.build import raw

pytestmark = [pytest.mark.breaks_invariants, pytest.mark.sqlite]


@pytest.fixture(autouse=True)
def no_constraints(synced: Play) -> Iterator[None]:
    """Rows may be broken as only a bug, a restored half of a backup or a hand at the database could."""
    assert sync.check() == [], "nothing is wrong before"
    db.session.remove()
    raw().execute("PRAGMA ignore_check_constraints = ON")
    yield
    db.session.remove()
    raw().execute("PRAGMA ignore_check_constraints = OFF")


def broken(statement: str, *values: Any) -> None:
    """Changes rows behind the back of every constraint."""
    db.session.remove()
    done = raw().execute(statement, values)
    assert done.rowcount != 0, "it broke nothing"


def found() -> list[tuple[str, str, str]]:
    db.session.remove()
    return [(each.invariant, each.subject, each.what) for each in sync.check()]


def another(play: Play, name: str) -> str:
    """One more value of a password, kept as old."""
    with write() as session:
        return add_version(
            session, play.entry(name), Secret(f"another of {name}"), stage="old", origin="saved", actor=None
        ).id


def current_id(play: Play, name: str = "lab") -> str:
    return db.session.scalars(
        select(EntryVersion.id).filter_by(entry_id=play.scene.entries[name], stage="current")
    ).one()


# -- values


@pytest.mark.parametrize("which", ["current", "previous", "pending"])
def test_two_values_of_a_stage(synced: Play, which: str) -> None:
    one, two = another(synced, "M"), another(synced, "M")
    broken(f"DROP INDEX uq_entry_version_{which}")
    broken("UPDATE entry_version SET stage = ? WHERE id IN (?, ?)", which, one, two)
    count = 3 if which == "current" else 2
    assert found() == [("one_current", "M", f"has {count} {which} values")]


def test_a_password_without_a_current_value(synced: Play) -> None:
    broken("UPDATE entry_version SET stage = 'old' WHERE id = ?", current_id(synced, "M"))
    assert found() == [("one_current", "M", "has 0 current values")]


def test_a_value_that_was_sent_and_is_discarded(synced: Play) -> None:
    broken("UPDATE entry_version SET stage = 'discarded' WHERE stage = 'previous'")
    gone = "was sent, or some place has it, and is discarded"
    assert found() == [("sent_is_kept", "lab, version 1", gone)]
    broken("UPDATE entry_version SET first_sent_at = NULL WHERE stage = 'discarded'")
    assert found() == [("sent_is_kept", "lab, version 1", gone)], "the attempts know that it was sent"


def test_a_value_that_was_sent_and_does_not_say_so(synced: Play) -> None:
    broken("UPDATE entry_version SET first_sent_at = NULL WHERE id = ?", current_id(synced))
    loose = "was sent, and nothing keeps it from being discarded"
    assert found() == [("sent_is_kept", "lab, version 2", loose)]


def test_what_a_link_holds_does_not_open(synced: Play) -> None:
    broken("UPDATE entry_version SET sealed = substr(sealed, 1, length(sealed) - 1) WHERE id = ?", current_id(synced))
    [(invariant, subject, what)] = found()
    assert (invariant, subject) == ("opens", "lab, version 2")
    assert what.startswith("does not open; of it: LAB-01 holds, LAB-01 was proved with, LAB-02 holds")


def test_what_a_link_starts_from_was_moved_here_from_another_row(synced: Play) -> None:
    other = current_id(synced, "desk")
    broken(
        "UPDATE entry_version SET sealed = (SELECT sealed FROM entry_version WHERE id = ?) WHERE stage = 'previous'",
        other,
    )
    [(invariant, subject, what)] = found()
    assert (invariant, subject) == ("opens", "lab, version 1")
    assert what.startswith("does not open; of it: LAB-01 starts from")


def test_what_a_link_may_hold_does_not_open(synced: Play) -> None:
    play = synced
    play.fault("none", "cut_after")
    play.work(play.change("third"))
    assert play.maybe(play.link("LAB-02")) == ["third"]
    broken("UPDATE entry_version SET sealed = zeroblob(60) WHERE id = ?", current_id(play))
    [(invariant, subject, what)] = found()
    assert (invariant, subject) == ("opens", "lab, version 3")
    assert "LAB-02 may hold" in what


def test_typed_credentials_that_do_not_open(synced: Play) -> None:
    run = synced.run(synced.approve("LAB-02", typed="our login")).number
    broken("UPDATE override SET sealed = zeroblob(60)")
    assert found() == [("opens", f"run {run}", "has typed credentials that do not open")]


@pytest.mark.parametrize("column", ["holds", "starts_from", "proof"])
def test_a_link_that_names_a_value_of_another_password(synced: Play, column: str) -> None:
    """The chain is switched off, so that its status says nothing."""
    sync.disable(synced.olivia, synced.entry("desk"))
    broken(f"UPDATE sync_link SET {column}_version_id = ? WHERE machine = 'LAB-03'", current_id(synced))
    word = {"holds": "holds", "starts_from": "starts from", "proof": "was proved with"}[column]
    assert found() == [("own_value", "desk, LAB-03", f"{word} a value that is not of this password")]


def test_a_link_that_may_hold_a_value_of_another_password(synced: Play) -> None:
    sync.disable(synced.olivia, synced.entry("desk"))
    broken("INSERT INTO link_maybe VALUES (?, ?)", synced.link("LAB-03", "desk").id, current_id(synced))
    assert found() == [("own_value", "desk, LAB-03", "may hold a value that is not of this password")]


# -- links


def test_two_links_of_one_account(synced: Play) -> None:
    key = synced.link("LAB-02").account_key
    broken("DROP INDEX uq_sync_link_account")
    broken("UPDATE sync_link SET account_key = ? WHERE machine = 'LAB-03'", key)
    assert found() == [("one_link_per_account", key, "is in 2 active links: desk on LAB-03, lab on LAB-02")]


def test_two_proved_links_of_one_account_under_two_names(synced: Play) -> None:
    key, alias = synced.link("LAB-02").account_key, synced.link("LAB-03", "desk").account_key
    broken("INSERT INTO account_name (name, key) VALUES (?, ?)", alias, key)
    assert found() == [("one_link_per_account", key, "is in 2 active links: desk on LAB-03, lab on LAB-02")]


def test_two_links_of_one_place(synced: Play) -> None:
    key = synced.link("LAB-02", place=True).place_key
    broken("DROP INDEX uq_sync_link_place")
    broken("UPDATE sync_link SET place_key = ? WHERE NOT is_account AND machine = 'LAB-01'", key)
    assert found() == [("one_link_per_place", key, "is in 2 active links: lab on LAB-02, lab on LAB-01")]


def test_two_default_syncs(synced: Play) -> None:
    broken("DROP INDEX uq_sync_link_primary")
    broken("UPDATE sync_link SET position = 0 WHERE is_account AND machine = 'LAB-02' AND position = 1")
    assert found() == [("one_default_sync", "lab", "has 2 active links as Default Sync")]


def test_a_chain_without_default_sync(synced: Play) -> None:
    broken("UPDATE sync_link SET position = 9 WHERE machine = 'LAB-03'")
    assert found() == [("one_default_sync", "desk", "has 0 active links as Default Sync")]


# -- runs


def test_an_open_attempt_of_a_run_that_ended(synced: Play) -> None:
    broken("UPDATE link_attempt SET outcome = NULL WHERE link_id = ? AND step = 'change'", synced.link("LAB-01").id)
    run = db.session.scalars(select(SyncRun.number).filter_by(kind="change")).one()
    [first, *rest] = found()
    assert first[0] == "in_sync", "its proof leans on that very answer"
    assert rest == [("open_attempt", f"run {run}", "is done, and has an attempt still open")]


def test_an_open_attempt_of_a_run_that_waits(synced: Play) -> None:
    play = synced
    play.fault("none", "unreachable")
    run = play.run(play.change("third"))
    number = run.number
    play.work(run.id)
    broken("UPDATE link_attempt SET outcome = NULL WHERE run_id = ? AND outcome = 'unreachable'", run.id)
    assert found() == [("open_attempt", f"run {number}", "is waiting, and has an attempt still open")]


def test_two_instructions_at_once(synced: Play) -> None:
    before = db.session.scalars(select(SyncRun.id).filter_by(kind="change")).one()
    synced.change("third")
    broken("DROP INDEX uq_sync_run_instruction")
    broken("UPDATE sync_run SET state = 'queued' WHERE id = ?", before)
    assert found() == [("one_run", "lab", "has 2 instructions at once")]


def test_typed_credentials_past_their_time(synced: Play) -> None:
    run = synced.run(synced.approve("LAB-02", typed="our login")).number
    synced.advance(synced.scene.app.config["PWSERVER"].timing.override_waiting)
    assert found() == [], "the timer has its time"
    synced.advance(60)
    assert found() == [("override", f"run {run}", "has typed credentials past their time")]
    synced.tick()
    assert found() == []


def test_typed_credentials_of_a_run_that_ended(synced: Play) -> None:
    run = synced.run(synced.approve("LAB-02", typed="our login"))
    number = run.number
    sync.cancel(synced.olivia, run)
    assert found() == []
    synced.approve("LAB-02", typed="our login")
    broken("UPDATE sync_run SET state = 'done' WHERE state = 'queued' AND kind = 'override'")
    left = ("override", f"run {number + 1}", "ended, but its typed credentials are still there")
    assert left in found()
    assert {each for each in found() if each != left} == {("status", "lab", "says pending_sync, the facts say in_sync")}


def test_an_account_locked_by_a_run_that_ended(synced: Play) -> None:
    key = synced.link("LAB-02").account_key
    run = db.session.scalars(select(SyncRun.id).filter_by(kind="change")).one()
    for writer in (run, "a run that never was"):
        broken("UPDATE account SET writer_run_id = ? WHERE key = ?", writer, key)
        assert found() == [("account_lock", key, "is locked by a run that ended")]


# -- the budget


def tried(play: Play, *minutes: float, person: bool) -> str:
    """Tries of LAB-03's account at these times, of a run that a person asked for or the server by itself."""
    chain, link = play.chain("desk"), play.link("LAB-03", "desk")
    with write() as session:
        run = queue_test(session, chain.id, play.world.now, clicked_at=play.world.now if person else None)
        assert run is not None
        run.state = "done"
    for number, minute in enumerate(minutes):
        at = (play.world.now + timedelta(minutes=minute)).replace(tzinfo=None).isoformat(" ", "microseconds")
        attempt = f"try {number} of {run.number}"
        broken(
            "INSERT INTO link_attempt (id, run_id, link_id, n, step, settings_rev, fence, intent_at, hard_deadline,"
            " outcome, reason, code, text) VALUES (?, ?, ?, ?, 'test', 1, 1, ?, ?, 'refused', '', '', '')",
            attempt, run.id, link.id, number, at, at,
        )  # fmt: skip
        broken("INSERT INTO account_try VALUES (?, ?, ?)", link.account_key, attempt, at)
    assert link.account_key is not None
    return link.account_key


def budget(found: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    assert {each[0] for each in found} <= {"budget"}
    return [(subject, what.split(" after ")[1]) for _, subject, what in found]


def test_a_second_try_by_itself_within_half_an_hour(synced: Play) -> None:
    key = tried(synced, 1, 30, person=False)
    assert budget(found()) == [(key, "1 in that window")]


def test_tries_half_an_hour_apart_are_within_the_budget(synced: Play) -> None:
    tried(synced, 1, 31, 61, person=False)
    assert found() == []


def test_a_third_try_by_a_person_within_half_an_hour(synced: Play) -> None:
    key = tried(synced, 1, 2, person=True)
    assert found() == []
    tried(synced, 3, person=True)
    assert budget(found()) == [(key, "2 in that window")]


def test_a_try_within_the_longer_window_that_the_machine_told(synced: Play) -> None:
    key = tried(synced, 1, 51, person=False)
    assert found() == []
    broken("UPDATE account SET window_s = 3600 WHERE key = ?", key)
    assert found() == [], "it was told after these tries"
    broken(
        "UPDATE link_attempt SET evidence = ?, finished_at = intent_at WHERE link_id = ? AND intent_at < ?",
        '{"window_s": 3600}', synced.link("LAB-03", "desk").id,
        synced.world.now.replace(tzinfo=None).isoformat(" ", "microseconds"),
    )  # fmt: skip
    assert budget(found()) == [(key, "1 in that window")]


# -- no green that lies


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one function that derives the status is wrong: whatever the facts, In Sync. Recomputing it shows nothing."""
    monkeypatch.setattr(status, "derive_status", lambda *_: Status.IN_SYNC)


DESK = "UPDATE sync_link SET {} WHERE machine = 'LAB-03'"
TASK = "UPDATE sync_link SET {} WHERE NOT is_account AND machine = 'LAB-02'"
NOT_GREEN = {
    "refused": (DESK.format("state = 'refused'"), "it was refused"),
    "skipped": (TASK.format("state = 'skipped'"), "it was skipped"),
    "settings": (DESK.format("settings_rev = settings_rev + 1"), "it was proved under other settings"),
    "no time": (DESK.format("proved_at = NULL"), "its proof has no time, or one in the future"),
    "future": (DESK.format("proved_at = '2099-01-01'"), "its proof has no time, or one in the future"),
    "stale": (DESK.format("proved_at = '2000-01-01'"), "its proof is older than 24 hours"),
    "grade": (DESK.format("proof_means = 'written only'"), 'its proof is no more than "written only"'),
    "no proof": (DESK.format("proof_version_id = NULL"), "it was not proved to hold the current password"),
    "holds nothing": (DESK.format("holds_version_id = NULL"), "it does not hold the current password"),
    "place": (
        TASK.format("written_rev = NULL, proof_means = 'written only'"),
        "it was neither written by us under these settings nor started since the last change",
    ),
    "account": (
        TASK.format("account_link_id = (SELECT id FROM sync_link WHERE machine = 'LAB-03')"),
        "its account is not proved",
    ),
    "no answer": (
        "UPDATE link_attempt SET outcome = 'refused' WHERE link_id IN (SELECT id FROM sync_link WHERE machine ="
        " 'LAB-03')",
        "no answer of the machine stands behind its proof",
    ),
    "off": (
        "UPDATE sync_chain SET enabled = 0 WHERE id IN (SELECT chain_id FROM sync_link WHERE machine = 'LAB-03')",
        "synchronization is not enabled",
    ),
    "certificate": (
        "UPDATE sync_chain SET agent_pin = 'another' WHERE id IN (SELECT chain_id FROM sync_link WHERE machine ="
        " 'LAB-03')",
        "no owner has confirmed the certificate of its agent",
    ),
    "run": (
        "UPDATE sync_run SET state = 'queued' WHERE kind = 'test' AND chain_id IN (SELECT chain_id FROM sync_link"
        " WHERE machine = 'LAB-03')",
        "has not ended",
    ),
}


def greens() -> list[tuple[str, str, str]]:
    """What is said of a status; an agent that does not serve lacks its incident, too."""
    return [each for each in found() if each[0] != "resting"]


@pytest.mark.parametrize("case", NOT_GREEN)
def test_in_sync_without_right(synced: Play, lying: None, case: str) -> None:
    statement, why = NOT_GREEN[case]
    broken(statement)
    [(_, _, what)] = greens()
    assert what.startswith("says In Sync, but ")
    assert what.endswith(why)


def test_in_sync_while_it_holds_an_older_value(synced: Play, lying: None) -> None:
    old = another(synced, "desk")
    broken(DESK.format("holds_version_id = ?"), old)
    assert found() == [("in_sync", "desk, LAB-03", "says In Sync, but it does not hold the current password")]


def test_in_sync_while_it_may_hold_another_value(synced: Play, lying: None) -> None:
    old = another(synced, "desk")
    broken("INSERT INTO link_maybe VALUES (?, ?)", synced.link("LAB-03", "desk").id, old)
    assert found() == [("in_sync", "desk, LAB-03", "says In Sync, but it may hold another password")]


def test_in_sync_while_the_pending_value_is_somewhere(synced: Play, lying: None) -> None:
    """The row of a link that was removed counts: it may hold it still."""
    pending = another(synced, "desk")
    broken("UPDATE entry_version SET stage = 'pending' WHERE id = ?", pending)
    assert found() == []
    gone = db.session.scalar(select(EntryVersion.id).filter_by(id=pending))
    broken(
        "INSERT INTO sync_link (id, chain_id, position, kind, settings, settings_rev, is_account, reset_allowed,"
        " machine, active, state, reason, reason_text, reason_code, tries, restart_pending, find_text,"
        " holds_version_id)"
        " SELECT 'gone', chain_id, 1, kind, settings, 1, 1, 0, machine, 0, state, '', '', '', 0, 0, find_text, ?"
        " FROM sync_link"
        " WHERE machine = 'LAB-03'",
        gone,
    )
    assert found() == [
        ("in_sync", "desk", "says In Sync, but some place has, or may have, the pending version 2")
    ]


def test_in_sync_with_an_agent_that_nobody_approved(synced: Play, lying: None) -> None:
    broken("UPDATE sync_agent SET state = 'disabled'")
    why = "says In Sync, but its agent is not approved"
    assert greens() == [("in_sync", name, why) for name in ("lab", "desk", "adm")]


def test_a_green_outlives_its_proof_when_the_timer_is_dead(synced: Play) -> None:
    synced.advance(24 * 3600)
    assert {each[0] for each in found()} == {"status", "in_sync"}
    synced.tick()
    assert found() == []


# -- caches


def test_a_status_that_the_facts_do_not_give(synced: Play) -> None:
    broken("UPDATE sync_chain SET status = 'out_of_sync' WHERE id = ?", synced.chain().id)
    assert found() == [("status", "lab", "says out_of_sync, the facts say in_sync")]


def test_words_beside_the_status_that_the_facts_do_not_give(synced: Play) -> None:
    broken("UPDATE sync_chain SET status_detail = '4 of 4' WHERE id = ?", synced.chain().id)
    assert found() == [("status", "lab", 'says "4 of 4", the facts say ""')]
