"""Which mails are forgotten, and when: once a day the timer removes what ended long ago."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Select, delete, func, select, union_all
from sqlalchemy.orm import aliased, scoped_session

from pwserver.extensions import db
from pwserver.models import Incident, Outbox, Setting, Trouble
from pwserver.services.sync.accounts import insert_new
from pwserver.services.transaction import end_read, now, write

Session = scoped_session[Any]

KEPT = timedelta(days=90)
"""How long a mail is kept after its end: as long as passwords are in the trash."""
MADE = "mail.forgotten"
"""The setting that names the last day, UTC, on which this was done."""
ENDED = ("sent", "kept", "dropped")
UNFINISHED = ("waiting", "sending", "failed")
"""Those that may still be sent, a failed one by a person."""


def make_due() -> None:
    """Removes old mails, once a day."""
    today = now().date().isoformat()
    made = db.session.get(Setting, MADE)
    end_read()
    if made is not None and made.text >= today:
        return
    with write() as session:
        insert_new(session, Setting, name=MADE, text="")
        known = session.get_one(Setting, MADE, with_for_update=True, populate_existing=True)
        if known.text < today:  # else another timer was first
            known.text = today
            _forget(session)


def _forget(session: Session) -> None:
    """One statement, so that nothing begins or ends between looking and removing."""
    old = Outbox.ended_at < now() - KEPT
    session.execute(
        delete(Outbox)
        .where(Outbox.state.in_(ENDED), old, _subject(Outbox).not_in(_still_needed()))
        .execution_options(synchronize_session=False)
    )


def _subject(mail: Any) -> Any:
    """The incident or trouble a mail is about; "" for any other."""
    return func.coalesce(mail.ids["incident"].as_string(), mail.ids["trouble"].as_string(), "")


def _still_needed() -> Select[Any]:
    """Incidents and troubles whose mails are looked at again: to make each of them once, to send the end to those who
    had the beginning, and to write it."""
    other = aliased(Outbox)
    unfinished = select(_subject(other).label("id")).where(other.state.in_(UNFINISHED), _subject(other) != "")
    told_of = select(Incident.id).where(Incident.told, Incident.over_mailed_at.is_(None))
    found = union_all(told_of, select(Trouble.id).where(Trouble.closed_at.is_(None)), unfinished).subquery()
    return select(found.c.id)
