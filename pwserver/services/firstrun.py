"""The first administrator, made by whoever reads the server's console."""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime, timedelta

from sqlalchemy import select

from pwserver.core.errors import Invalid, NotFound
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import AppUser, Setting
from pwserver.services import agents, locking, users, vaults
from pwserver.services.audit import record
from pwserver.services.keys import keyring
from pwserver.services.transaction import now, write

NAME = "first-run"
LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
LIFE = timedelta(hours=1)
TRIES = 10


def done() -> bool:
    """Whether there is a user. The page never answers again once there was one."""
    return db.session.scalar(select(AppUser.id).limit(1)) is not None


def pending_code() -> str | None:
    """A new one-time code for the console while there is no user, else None. An earlier one ends. Kept as a digest."""
    code = "-".join("".join(secrets.choice(LETTERS) for _ in range(4)) for _ in range(3))
    with write() as session:
        locking.alone(session)
        if done():
            return None
        session.merge(Setting(name=NAME, text=f"{_digest(code)} {(now() + LIFE).isoformat()} {TRIES}"))
    return code


def make_first_administrator(code: str, email: str, name: str, password: Secret) -> AppUser:
    """Makes the first user, the vault *Sync agents* and the agent *This server*.

    Raises :class:`NotFound` when there is a user, :class:`Invalid` otherwise. A wrong code costs one of ten tries.
    """
    if done():
        raise NotFound()
    _spend(code)
    return make_at_console(email, name, password)


def make_at_console(email: str, name: str, password: Secret) -> AppUser:
    """The same without a code, for who is at the server's command line, and for the demo."""
    users.check_new(password)
    hashed = users.hasher().hash(password.open())
    with write() as session:
        locking.alone(session)
        if done():
            raise NotFound()
        user = users.new_user(session, email=email, name=name, password_hash=hashed, org_admin=True)
        vaults.make_system_vault(session, user)
        agents.make_this_server(session)
        if code := session.get(Setting, NAME):
            session.delete(code)
        record(session, user, "user.first", subject=user.email)
    return user


def _spend(code: str) -> None:
    """Compares the code; a wrong one is counted in its own transaction, so that a rollback gives nothing back."""
    with write() as session:
        locking.alone(session)
        row = session.get(Setting, NAME)
        if row is None:
            raise Invalid("No code is waiting. Restart the server; it writes a new one to its console.", field="code")
        digest, until, left = row.text.split()
        if int(left) < 1 or datetime.fromisoformat(until) < now():
            raise Invalid("This code is over. Restart the server; it writes a new one to its console.", field="code")
        good = hmac.compare_digest(digest, _digest(code))
        if not good:
            row.text = f"{digest} {until} {int(left) - 1}"
    if not good:
        raise Invalid("This is not the code on the console. Nothing was made.", field="code")


def _digest(code: str) -> str:
    plain = "".join(character for character in code.upper() if character in LETTERS)
    return keyring().digest(NAME, Secret(plain))
