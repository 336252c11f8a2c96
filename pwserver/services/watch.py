"""The watchdog: the timer reads facts and keeps the troubles of the server itself, each mailed once and once when over.

Beats are one row, so that the web process notices a timer that is dead: nothing else would.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from redis.exceptions import RedisError
from sqlalchemy import func, select, update
from sqlalchemy.orm import scoped_session

from pwserver import queueing
from pwserver.core.watch import Facts, Found, troubles
from pwserver.extensions import db
from pwserver.models import AppUser, Membership, Outbox, Setting, SyncAgent, SyncChain, SyncRun, Trouble, new_id
from pwserver.services.mail.alerts import OVER, mails_of
from pwserver.services.mail.outbox import put
from pwserver.services.sync.accounts import insert_new
from pwserver.services.transaction import end_read, now, write
from pwserver.services.users import administrators

Session = scoped_session[Any]

BEATS = "watch.beats"
TIMER = "timer"
EVERY = timedelta(seconds=15)
"""How often the timer says that it is alive, and looks."""
GONE = timedelta(seconds=60)
"""A worker tells of itself every few seconds; one that did not for so long is dead."""


def begin(*, everything: bool = False) -> None:
    """A new timer: that no worker was seen while nothing looked is no trouble. ``everything``: the whole server starts,
    so that a timer which never comes is noticed. A timer that dies again and again before it looks is noticed, too."""
    at, beats = now(), read_beats()
    fresh = dict.fromkeys(queueing.QUEUES, at) if at - beats.get(TIMER, at) > GONE or not beats else {}
    if everything:
        fresh = dict.fromkeys((TIMER, *queueing.QUEUES), at)
    _write_beats(beats | fresh)


def look() -> None:
    """Beats, and looks when it is time. Called by the timer every two seconds; most calls read one row."""
    beats = read_beats()
    if TIMER in beats and now() - beats[TIMER] < EVERY:
        end_read()
        return
    seen, away = _workers_seen()
    _write_beats(beats | seen | {TIMER: now()})
    keep(read_facts(away))


def notice_timer() -> bool:
    """For the web process: whether the timer is dead; opens that trouble, with its mails, when it is."""
    facts = Facts(timer_at=read_beats().get(TIMER))
    dead = bool(troubles(facts, now()))
    end_read()
    if dead:
        keep(facts)
    return dead


def keep(facts: Facts) -> None:
    """Opens and closes troubles, with the rows of their mails in the same transaction."""
    at = now()
    opened = {row.kind: row for row in open_troubles()}
    found = {each.kind: each for each in troubles(facts, at, open_kinds=frozenset(opened))}
    end_read()
    if TIMER in found:
        opened = {kind: row for kind, row in opened.items() if kind in found}  # nobody looked after the others
    if found.keys() == opened.keys():
        return
    with write() as session:
        for kind in sorted(found.keys() - opened.keys()):  # two timers take them in one order
            _open(session, found[kind], at)
        for kind in sorted(opened.keys() - found.keys()):
            _close(session, kind, at)


def _open(session: Session, found: Found, at: datetime) -> None:
    trouble_id = new_id()
    insert_new(session, Trouble, id=trouble_id, kind=found.kind, words=found.words, opened_at=at)
    if session.get(Trouble, trouble_id) is None:
        return  # another process was first
    for user in administrators():
        put(session, user, "trouble", trouble_id, "trouble", trouble=trouble_id)


def _close(session: Session, kind: str, at: datetime) -> None:
    trouble = session.scalar(select(Trouble).filter_by(kind=kind, closed_at=None).with_for_update())
    if trouble is None:
        return
    trouble.closed_at = at
    for row in mails_of(session, trouble.id):
        if row.state in ("sent", "sending", "kept"):
            user = session.get_one(AppUser, row.to_user_id)
            put(session, user, "trouble_over", trouble.id, OVER, trouble=trouble.id)


def open_troubles() -> Sequence[Trouble]:
    return db.session.scalars(select(Trouble).filter_by(closed_at=None).order_by(Trouble.opened_at)).all()


def standing() -> list[Found]:
    """What is wrong, as far as it can be seen from here: what the timer keeps, or that the timer itself is dead."""
    dead = troubles(Facts(timer_at=read_beats().get(TIMER)), now())
    known = [Found(row.kind, row.words) for row in open_troubles()]
    return dead + [each for each in known if each.kind not in {one.kind for one in dead}]


def troubles_for(user: AppUser) -> list[str]:
    """The banner of every page: all of it for administrators, for owners what it means for them, for others nothing."""
    found = standing()
    if not found or user.org_admin:
        return [each.words for each in found]
    owns = select(Membership.user_id).where(Membership.user_id == user.id, Membership.owner).limit(1)
    return [each.owners for each in found if each.owners] if db.session.scalar(owns) else []


# -- facts


def read_beats() -> dict[str, datetime]:
    row = db.session.get(Setting, BEATS, populate_existing=True)
    return {name: datetime.fromisoformat(at) for name, at in json.loads(row.text).items()} if row else {}


def _write_beats(beats: dict[str, datetime]) -> None:
    end_read()
    with write() as session:
        text = json.dumps({name: at.isoformat() for name, at in beats.items()})
        insert_new(session, Setting, name=BEATS, text=text)
        session.execute(update(Setting).where(Setting.name == BEATS).values(text=text))


def _workers_seen() -> tuple[dict[str, datetime], bool]:
    """Queues with a living worker, and when it told of itself; and whether the queue server is away."""
    at, found = now(), {}
    end_read()
    try:
        for queue in queueing.QUEUES:
            age = queueing.youngest_worker(queue)
            if age is not None and age < GONE.total_seconds():
                found[queue] = at
    except (RedisError, OSError):
        return {}, True
    return found, False


def read_facts(queue_away: bool = False) -> Facts:
    """Everything but the workers from the database and the disk."""
    config = current_app.config["PWSERVER"]
    beats = read_beats()
    disk = shutil.disk_usage(config.instance)
    waits = db.session.execute(
        select(Outbox.created_at, Outbox.answer)
        .where(Outbox.state.in_(("waiting", "sending")), Outbox.tries > 0, Outbox.answer != "")
        .order_by(Outbox.created_at)
        .limit(1)
    ).first()
    failed = select(func.count()).where(Outbox.state == "failed")
    ended = select(func.max(SyncRun.finished_at)).where(SyncRun.kind == "test", SyncRun.state == "done")
    return Facts(
        timer_at=beats.get(TIMER),
        workers={queue: beats[queue] for queue in queueing.QUEUES if queue in beats},
        queue_away=queue_away,
        tests_due_since=_tests_due_since(),
        tested_at=db.session.scalar(ended),
        mails_failed=db.session.scalar(failed) or 0,
        mail_waits_since=waits and waits.created_at,
        mail_answer=waits.answer if waits else "",
        mail_error=config.mail_error,
        disk_free=disk.free,
        disk_total=disk.total,
    )


def _tests_due_since() -> datetime | None:
    """The time of the test that has waited longest: not queued yet, or queued and not begun. One that waits for an
    instruction of its own chain waits rightly."""
    unqueued = (
        select(func.min(SyncChain.next_test_at))
        .join(SyncAgent, SyncAgent.id == SyncChain.agent_id)
        .where(SyncChain.enabled, SyncAgent.state == "approved", SyncAgent.pin == SyncChain.agent_pin)
    )
    other = select(SyncRun.chain_id).where(SyncRun.kind != "test", SyncRun.state != "done")
    queued = select(func.min(SyncRun.due_at)).where(
        SyncRun.kind == "test", SyncRun.state == "queued", SyncRun.chain_id.not_in(other)
    )
    at = now()
    times = [time for time in (db.session.scalar(unqueued), db.session.scalar(queued)) if time and time <= at]
    return min(times, default=None)
