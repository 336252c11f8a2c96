"""The outbox: rows made in a transaction, sent by a worker, tried again with growing pauses, at least once each.

A claim counts ``tries`` up and leases the row; its outcome counts only for that claim. A worker that dies between the
sending and the commit leaves a lease behind, after which the mail is sent again, with the same Message-ID.
"""

from __future__ import annotations

import logging
import traceback
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flask import current_app
from sqlalchemy import or_, select, update
from sqlalchemy.orm import scoped_session

from pwserver.config import Config
from pwserver.core.errors import Conflict
from pwserver.extensions import db
from pwserver.models import AppUser, Outbox, new_id
from pwserver.services.audit import record
from pwserver.services.mail import smtp
from pwserver.services.mail.message import Letter, build
from pwserver.services.sync.accounts import insert_new, touched
from pwserver.services.sync.status import timing
from pwserver.services.transaction import end_read, now, write

log = logging.getLogger(__name__)
Session = scoped_session[Any]

LEASE = timedelta(seconds=180)
"""Longer than any sending can take."""
AT_ONCE = 20
"""How many mails one round of the timer nudges."""
NO_SMTP = "No mail server is configured, so this mail is kept here."


class Moot(Exception):
    """There is no need for this mail any more; the words say why."""


def put(session: Session, user: AppUser, template: str, subject: str, event: str, **ids: str) -> None:
    """One mail to one person, in the caller's transaction; the second one for the same subject and event is none."""
    at = now()
    insert_new(
        session, Outbox, id=new_id(), dedupe_key=f"{subject}:{event}:{user.id}", to_user_id=user.id,
        to_address=user.email, template=template, ids=ids, state="waiting", tries=0, created_at=at, next_try_at=at,
        give_up_at=at + timedelta(seconds=timing().retry.give_up), answer="", subject="", text="",
    )  # fmt: skip


def due() -> list[tuple[str, str]]:
    """Mails to nudge, with their queue: a first try goes to ``now``, others to ``later``."""
    at = now()
    is_due = (Outbox.state == "waiting") & (Outbox.next_try_at <= at)
    is_lost = (Outbox.state == "sending") & (Outbox.lease_until < at)
    quiet = or_(Outbox.nudged_at.is_(None), Outbox.nudged_at < at - timedelta(seconds=timing().renudge))
    query = select(Outbox.id, Outbox.tries).where(is_due | is_lost, quiet).order_by(Outbox.created_at).limit(AT_ONCE)
    rows = db.session.execute(query).all()
    end_read()
    if rows:
        with write() as session:
            session.execute(update(Outbox).where(Outbox.id.in_([row.id for row in rows])).values(nudged_at=at))
    return [(row.id, "later" if row.tries else "now") for row in rows]


def deliver(outbox_id: str) -> None:
    """Sends one mail, unless another worker has it or it is not due. Whatever becomes of it is in its row."""
    claim = _claim(outbox_id)
    if claim is None:
        return
    try:
        letter, answer = _send(outbox_id)
    except Moot as why:
        _end(outbox_id, claim, "dropped", str(why))
    except smtp.NotSent as error:
        _not_sent(outbox_id, claim, error)
    except Exception as error:
        log.error("mail %s could not be written: %s at %s", outbox_id, type(error).__name__, _where(error))
        db.session.rollback()
        _not_sent(outbox_id, claim, smtp.NotSent("It could not be written; the log has the details."))
    else:
        _end(outbox_id, claim, "sent" if answer else "kept", answer or NO_SMTP, letter)


def _claim(outbox_id: str) -> int | None:
    at = now()
    end_read()
    with write() as session:
        free = ((Outbox.state == "waiting") & (Outbox.next_try_at <= at)) | (
            (Outbox.state == "sending") & (Outbox.lease_until < at)
        )
        taken = touched(
            session,
            update(Outbox)
            .where(Outbox.id == outbox_id, free)
            .values(state="sending", tries=Outbox.tries + 1, lease_until=at + LEASE, nudged_at=None),
        )
        return session.scalar(select(Outbox.tries).where(Outbox.id == outbox_id)) if taken else None


def _send(outbox_id: str) -> tuple[Letter, str]:
    """The mail as it was written, and the server's answer; "" when no server is configured."""
    from pwserver.services.mail.letters import write_letter  # imported late: letters read views of everything

    config: Config = current_app.config["PWSERVER"]
    row = db.session.get_one(Outbox, outbox_id, populate_existing=True)
    user = db.session.get_one(AppUser, row.to_user_id, populate_existing=True)
    if not user.active:
        raise Moot(f"{user.name} cannot sign in any more.")
    letter, to, name, at = write_letter(row), user.email, user.name, now()
    end_read()
    if config.mail_error:
        raise smtp.NotSent(config.mail_error, ours=True)
    if config.mail is None:
        return letter, ""
    try:
        message = build(letter, sender=config.mail.sender, to_name=name, to=to, message_id=outbox_id, at=at)
    except ValueError as error:
        raise smtp.NotSent(f"{to}: {error}.", final=True) from None
    return letter, smtp.send(config.mail, message, to)


def _end(outbox_id: str, claim: int, state: str, answer: str, letter: Letter | None = None) -> None:
    end_read()
    with write() as session:
        said: dict[str, Any] = {}
        if letter is not None:
            ids = session.get_one(Outbox, outbox_id, populate_existing=True).ids
            said = {"subject": letter.subject, "text": letter.text, "ids": {**ids, "written": letter.folder}}
        session.execute(_mine(outbox_id, claim).values(state=state, answer=answer, ended_at=now(), **said))


def _not_sent(outbox_id: str, claim: int, error: smtp.NotSent) -> None:
    """Refused for good, given up, or tried again later; about the server itself: the others wait as long."""
    at = now()
    end_read()
    with write() as session:
        row = session.get_one(Outbox, outbox_id, populate_existing=True)
        if error.final or at >= row.give_up_at:
            session.execute(_mine(outbox_id, claim).values(state="failed", answer=error.answer, ended_at=at))
            return
        again = at + timing().retry.delay(claim)
        session.execute(_mine(outbox_id, claim).values(state="waiting", answer=error.answer, next_try_at=again))
        if error.ours:
            others = update(Outbox).where(Outbox.state == "waiting", Outbox.next_try_at < again)
            session.execute(others.values(next_try_at=again).execution_options(synchronize_session=False))


def _mine(outbox_id: str, claim: int) -> Any:
    mine = update(Outbox).where(Outbox.id == outbox_id, Outbox.state == "sending", Outbox.tries == claim)
    return mine.execution_options(synchronize_session=False)


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


# -- what an administrator does on the Outbox page


def put_test(actor: AppUser) -> str:
    """A test mail to oneself; returns the row's id. The caller nudges."""
    with write() as session:
        mark = new_id()
        put(session, actor, "test", "test", mark)
        record(session, actor, "mail.tested", subject=actor.email)
        found = session.scalar(select(Outbox.id).where(Outbox.dedupe_key == f"test:{mark}:{actor.id}"))
    return str(found)


def send_again(actor: AppUser, row: Outbox) -> None:
    """A mail that failed or was kept is due now, and is tried for three days again."""
    _move(actor, row, ("failed", "kept"), "mail.sent_again", state="waiting", ended_at=None)


def put_away(actor: AppUser, row: Outbox) -> None:
    """A mail that failed is no trouble any more."""
    _move(actor, row, ("failed",), "mail.put_away", state="dropped", ended_at=now())


def _move(
    actor: AppUser, row: Outbox, states: tuple[str, ...], verb: str, *, state: str, ended_at: datetime | None
) -> None:
    at = now()
    give_up: datetime = at + timedelta(seconds=timing().retry.give_up)
    with write() as session:
        moved = touched(
            session,
            update(Outbox)
            .where(Outbox.id == row.id, Outbox.state.in_(states))
            .values(state=state, next_try_at=at, give_up_at=give_up, nudged_at=None, ended_at=ended_at),
        )
        if not moved:
            raise Conflict("This mail was sent or put away meanwhile. Nothing was done.")
        record(session, actor, verb, subject=row.to_address)
