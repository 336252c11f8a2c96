"""Rules 25, 26 and 37 over days: every link that can be proved is proved within 24 hours, and asked once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from pwserver.extensions import db
from pwserver.models import SyncChain, SyncRun
from pwserver.services import sync, timer
from pwserver.services.sync.requeue import queue_test
from pwserver.services.sync.status import next_test
from pwserver.services.transaction import write
from tests.disasters.conftest import OTHER, Play

DAY = timedelta(days=1)
HOUR = 3600.0


def hours(play: Play, count: int) -> Iterator[int]:
    """Lets so many hours pass, with a timer and a worker that come by every twenty minutes."""
    for hour in range(count):
        for _ in range(3):
            play.advance(HOUR / 3)
            play.tick()
            play.pass_all()
        yield hour


def age(play: Play, machine: str, *, place: bool = False) -> timedelta:
    proved_at = play.link(machine, place=place).proved_at
    assert proved_at is not None
    return play.world.now - proved_at


@pytest.mark.budget(25, "plays days")
def test_a_machine_that_is_off_for_days_does_not_let_the_proofs_of_the_others_grow_old(synced: Play) -> None:
    play = synced
    play.world.off.add("LAB-02")
    for hour in hours(play, 100):
        assert age(play, "LAB-01") < DAY, hour
        assert age(play, "LAB-01", place=True) < DAY, hour
    assert play.link("LAB-02").reason == "given_up", "its three days are counted over the daily tests"


@pytest.mark.budget(25, "plays days")
def test_a_link_that_answered_late_does_not_put_off_the_test_of_the_others(synced: Play) -> None:
    play = synced
    play.world.off.add("LAB-02")
    for hour in hours(play, 60):
        if hour == 32:  # half a day after the first daily test did not reach it
            play.world.off.clear()
        assert age(play, "LAB-01") < DAY, hour
        if hour > 34:
            assert age(play, "LAB-02") < DAY, hour
    assert play.status() == "in_sync"


def test_a_test_of_one_link_does_not_put_off_the_test_of_the_others(synced: Play) -> None:
    play = synced
    for hour in hours(play, 40):
        if hour == 12:
            with write() as session:
                queue_test(session, play.chain().id, play.world.now, scope=[play.link("LAB-02").id])
        assert age(play, "LAB-01") < DAY, hour
        assert play.status() == "in_sync", hour


def test_every_link_is_asked_once_a_day(synced: Play) -> None:
    play = synced
    began = play.world.now
    for _ in hours(play, 24 * 4):
        pass
    for link in sync.active_links(play.chain()):
        asked = [each for each in play.attempts(link) if each.intent_at > began]
        assert len(asked) in (4, 5), "a day between two tests has 20 to 22 hours"
    days = [run.requested_at for run in daily_runs(play, began)]
    for one, next_one in zip(days, days[1:], strict=False):
        assert timedelta(hours=20) <= next_one - one <= timedelta(hours=22, minutes=30)


def daily_runs(play: Play, since: datetime) -> list[SyncRun]:
    chain_id = play.chain().id
    query = select(SyncRun).where(SyncRun.chain_id == chain_id, SyncRun.kind == "test", SyncRun.requested_at > since)
    return list(db.session.scalars(query.order_by(SyncRun.number)))


def refuse_login(play: Play) -> None:
    play.login_is("not ours")


def stop_it(play: Play) -> None:
    play.during("read", lambda: sync.cancel(play.olivia, play.entry()), place=OTHER)


def change_it(play: Play) -> None:
    play.during("read", lambda: play.change("third"), place="LAB-01\\Administrator")


@pytest.mark.parametrize("happens", [refuse_login, stop_it, change_it])
def test_a_test_that_was_blocked_stopped_or_gave_way_is_not_due_again_at_once(
    synced: Play, happens: Callable[[Play], None]
) -> None:
    play = synced
    due = play.chain().next_test_at
    assert due is not None
    play.advance((due - play.world.now).total_seconds() + 1)
    happens(play)
    began = play.world.now - timedelta(seconds=1)
    for _ in hours(play, 3):
        again = play.chain().next_test_at
        assert again is not None
        assert again > play.world.now + timedelta(hours=15)
    assert len(daily_runs(play, began)) <= 2, "itself, and what it had left when it gave way"


def test_chains_that_were_proved_together_are_not_due_together(synced: Play) -> None:
    """Four hundred chains over the two hours: every quarter of an hour has some, none has more than twice its share."""
    start = synced.world.now
    quarters = [0] * 8
    for number in range(400):
        waits = (next_test(f"chain-{number}", start) - start - timedelta(hours=20)).total_seconds()
        assert 0 <= waits < 2 * HOUR
        quarters[int(waits // (HOUR / 4))] += 1
    assert max(quarters) <= 100
    assert min(quarters) > 0


def test_a_test_that_finds_no_room_in_the_queue_is_nudged_as_soon_as_there_is_some(synced: Play) -> None:
    """Marked as nudged without a nudge it would be left alone for half a minute, and a thousand tests take hours."""
    play = synced
    with write() as session:
        session.execute(update(SyncChain).values(next_test_at=play.world.now))
    first = timer.tick(room=2)
    assert len(first) == 2
    assert timer.tick(room=0) == []
    (last,) = timer.tick(room=2)
    assert last not in first
    click = play.change("third")
    assert timer.tick(room=0) == [(click, "now")], "a click waits for nothing"
