"""Signing in, and the counts that slow a guesser down. They are rows, so that all processes share them.

A try is counted before the password is looked at and given back when it was right: guessing in parallel gains nothing.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import delete

from pwserver.core.errors import Invalid, Throttled
from pwserver.core.secrets import Secret
from pwserver.models import AppUser, Setting
from pwserver.services import locking, users
from pwserver.services.audit import record
from pwserver.services.transaction import end_read, now, write
from pwserver.services.values import AnySession

WINDOW = timedelta(minutes=15)
PER_PAIR = 5
"""Wrong tries for one e-mail from one address."""
PER_EMAIL = 20
"""From everywhere. Higher, so that a stranger cannot lock somebody out by five wrong guesses."""
PER_ADDRESS = 50

_WRONG = "E-mail and password do not belong together. Check both and try again."
_dummy: list[str] = []


def sign_in(email: str, password: Secret, address: str) -> AppUser:
    """The person. Raises :class:`Throttled`, or :class:`Invalid` in the same words whether or not the user exists."""
    email = email.strip().lower()[:254]
    names = _names(email, address)
    with write() as session:
        locking.alone(session, locking.SIGNING_IN)
        _count(session, names)
    user = users.find(email)
    stored = user.password_hash if user and user.active else None
    user_id = user.id if user else None
    end_read()  # argon2 takes its time; no snapshot is held meanwhile
    good = _verify(stored, password)
    with write() as session:
        locking.alone(session, locking.SIGNING_IN)
        row = session.get(AppUser, user_id) if user_id else None
        if good and row is not None and row.active and row.password_hash == stored:
            _give_back(session, names)
            if users.hasher().check_needs_rehash(row.password_hash):
                row.password_hash = users.hasher().hash(password.open())
            record(session, row, "session.began", subject=row.email, facts={"address": address})
            return row
        # What was typed as e-mail is not kept when nobody has it: now and then it is a password.
        record(session, row, "session.refused", subject=row.email if row else "", facts={"address": address})
    raise Invalid(_WRONG, field="password")


def _verify(stored: str | None, password: Secret) -> bool:
    """The same work whether there is such a user or not."""
    if stored is None:
        if not _dummy:
            _dummy.append(users.hasher().hash("nobody has this one"))
        users.matches(AppUser(password_hash=_dummy[0]), password)
        return False
    return users.matches(AppUser(password_hash=stored), password)


def _names(email: str, address: str) -> dict[str, int]:
    """The counters of a try, with their limits. Hashed, so that what was typed is not kept."""
    parts = {f"{email}\0{address}": PER_PAIR, email: PER_EMAIL, f"\0{address}": PER_ADDRESS}
    return {f"sign-in:{hashlib.sha256(part.encode()).hexdigest()[:40]}": limit for part, limit in parts.items()}


def _count(session: AnySession, names: dict[str, int]) -> None:
    moment = now()
    session.execute(delete(Setting).where(Setting.name.like("sign-in:%"), Setting.text < _stamp(moment)))
    rows = {name: session.get(Setting, name) for name in names}
    for name, limit in names.items():
        row = rows[name]
        if row and int(row.text.split()[1]) >= limit:
            minutes = max(1, round((datetime.fromisoformat(row.text.split()[0]) - moment).total_seconds() / 60))
            raise Throttled(f"Too many wrong tries. Nothing was checked. Try again in {minutes} min.")
    for name, row in rows.items():
        if row is None:
            session.add(Setting(name=name, text=f"{_stamp(moment + WINDOW)} 1"))
        else:
            until, tries = row.text.split()
            row.text = f"{until} {int(tries) + 1}"


def _give_back(session: AnySession, names: dict[str, int]) -> None:
    """A right password clears the tries of this person from this address, and takes its own back elsewhere."""
    for name, limit in names.items():
        row = session.get(Setting, name)
        if row is None:
            continue
        until, tries = row.text.split()
        if limit == PER_PAIR or int(tries) <= 1:
            session.delete(row)
        else:
            row.text = f"{until} {int(tries) - 1}"


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
