"""Old mails go after ninety days; those that somebody still needs stay however old they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from pwserver.extensions import db
from pwserver.models import Incident, Outbox, SyncAgent, Trouble, new_id
from pwserver.services import timer
from pwserver.services.mail import alerts, outbox, retention
from pwserver.services.transaction import now, write
from tests.conftest import Cast, Clock

pytestmark = pytest.mark.both

DAY = timedelta(days=1)


def mail(name: str, state: str = "sent", *, days: float = 91, event: str = "test", **ids: str) -> str:
    """A mail to ``name`` that ended so many days ago (one that has not ended: was made then); its id."""
    person = getattr(Cast(), name)
    subject, mark = next(iter(ids.values()), "test"), new_id() if not ids else event
    with write() as session:
        outbox.put(session, person, event, subject, mark, **ids)
        row = session.scalars(select(Outbox).filter_by(dedupe_key=f"{subject}:{mark}:{person.id}")).one()
        row.state, row.created_at = state, now() - days * DAY
        row.ended_at = None if state in ("waiting", "sending") else now() - days * DAY
        if state == "sending":
            row.lease_until = now() + DAY
        return row.id


def there() -> set[str]:
    db.session.rollback()
    return set(db.session.scalars(select(Outbox.id)))


def agent_id() -> str:
    return db.session.scalars(select(SyncAgent.id)).one()


def incident(**values: Any) -> str:
    with write() as session:
        row = Incident(id=new_id(), agent_id=agent_id(), opened_at=now() - 200 * DAY, told=True, **values)
        session.add(row)
        return row.id


def trouble(**values: Any) -> str:
    with write() as session:
        row = Trouble(id=new_id(), kind="disk", words="Full.", opened_at=now() - 200 * DAY, **values)
        session.add(row)
        return row.id


@pytest.mark.parametrize("state", ["sent", "kept", "dropped"])
def test_a_mail_goes_ninety_days_after_its_end_and_not_a_day_before(ctx: Flask, state: str) -> None:
    old, young = mail("ada", state, days=90.1), mail("ada", state, days=89.9)
    retention.make_due()
    assert there() == {young}, old


@pytest.mark.parametrize("state", ["waiting", "sending", "failed"])
def test_what_waits_or_failed_and_nobody_put_away_is_kept_however_old(ctx: Flask, state: str) -> None:
    """A failed one is the trouble that an administrator has not seen yet."""
    kept = mail("ada", state, days=1000)
    mail("ada", "sent")
    retention.make_due()
    assert there() == {kept}


def test_one_that_failed_long_ago_goes_ninety_days_after_it_was_put_away(ctx: Flask, cast: Cast, clock: Clock) -> None:
    failed = mail("ada", "failed", days=300)
    outbox.put_away(cast.ada, db.session.get_one(Outbox, failed))
    retention.make_due()
    assert there() == {failed}
    clock.tick(days=91)
    retention.make_due()
    assert there() == set()


def test_the_mails_of_what_is_still_open_stay_so_that_none_is_made_twice_and_the_end_finds_its_readers(
    ctx: Flask, cast: Cast
) -> None:
    opened, broken = incident(), trouble()
    first = mail("ada", event="needs_override", incident=opened)
    about = mail("ada", event="trouble", trouble=broken)
    retention.make_due()
    assert there() == {first, about}
    with write() as session:
        outbox.put(session, cast.ada, "needs_override", opened, "needs_override", incident=opened)
        row = session.get_one(Incident, opened)
        row.closed_at, row.closed_why = now(), "in_sync"
    assert there() == {first, about}, "the same mail, with the same Message-ID"
    _next_day()
    assert there() == {first, about}, "its end is not mailed yet"
    alerts.make_due()
    over = there() - {first, about}
    assert [db.session.get_one(Outbox, each).to_user_id for each in over] == [cast.ada.id]
    _next_day()
    assert there() == {first, about} | over, "the end is not sent yet, and is written by what was sent before"
    with write() as session:
        for each in over:
            row = session.get_one(Outbox, each)
            row.state, row.ended_at = "sent", now()
        session.get_one(Trouble, broken).closed_at = now()
    _next_day()
    assert there() == over


def _next_day() -> None:
    """Another day's work, without the clock: the mails keep their age."""
    with write() as session:
        session.get_one(retention.Setting, retention.MADE).text = "2026-01-01"
    retention.make_due()


def test_the_first_mail_of_what_is_over_stays_while_another_of_it_failed(ctx: Flask) -> None:
    """Sent again by a person, the mail that says it is over is written only for who had the beginning."""
    over = incident(closed_at=now() - 100 * DAY, closed_why="in_sync", over_mailed_at=now() - 100 * DAY)
    first = mail("ada", event="needs_override", incident=over)
    failed = mail("ada", "failed", event="over", incident=over)
    mail("olivia")
    retention.make_due()
    assert there() == {first, failed}


def test_the_timer_does_it_once_a_day(ctx: Flask, clock: Clock) -> None:
    mail("ada")
    timer.tick()
    assert there() == set()
    left = mail("ada")
    clock.tick(hours=1)
    timer.tick()
    assert there() == {left}, "not at every tick"
    clock.tick(days=1)
    timer.tick()
    assert there() == set()
