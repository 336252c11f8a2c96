"""What accounts said to our values, remembered by keyed digest: a refused value is never sent again by itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import scoped_session

from pwserver.core.secrets import Secret
from pwserver.models import AccountAnswer, AccountName
from pwserver.services.keys import keyring

Session = scoped_session[Any]

Digests = tuple[str, ...]
"""One value's keyed digests for one account: the first is for new answers, the others stand under names it had before
its target told its identity. A digest is bound to the account, so that equal passwords of two accounts look unlike."""


def digests(session: Session, key: str, value: Secret) -> Digests:
    names = session.scalars(select(AccountName.name).where(AccountName.key == key, AccountName.name != key))
    return tuple(keyring().digest(f"account {each}", value) for each in (key, *names))


def refusal(session: Session, key: str, value: Digests) -> AccountAnswer | None:
    """The latest refusal of this value that was not followed by its acceptance."""
    refused = select(AccountAnswer).where(
        AccountAnswer.key == key, AccountAnswer.digest.in_(value), ~AccountAnswer.accepted
    )
    return session.scalars(refused.order_by(AccountAnswer.at.desc()).limit(1)).first()


def is_accepted(session: Session, key: str, value: Digests) -> bool:
    return bool(value) and session.scalar(select(AccountAnswer.accepted).filter_by(key=key, digest=value[0])) is True


def remember(session: Session, key: str, value: Digests, *, accepted: bool, reason: str, at: datetime) -> bool:
    """Keeps what ``key`` said to a value. True when a value refused before is accepted now."""
    was_refused = accepted and refusal(session, key, value) is not None
    _delete(session, AccountAnswer.key == key, AccountAnswer.digest.in_(value[1:]))
    row = session.get(AccountAnswer, (key, value[0])) or AccountAnswer(key=key, digest=value[0])
    row.accepted, row.reason, row.at = accepted, reason, at
    session.add(row)
    session.flush()
    return was_refused


def accept_only(session: Session, key: str, value: Digests, at: datetime) -> bool:
    """``key`` was proved to hold this value: whatever it accepted before is over. True when it had refused it."""
    _delete(session, AccountAnswer.key == key, AccountAnswer.digest.not_in(value), AccountAnswer.accepted)
    return remember(session, key, value, accepted=True, reason="", at=at)


def move(session: Session, old: str, new: str) -> None:
    """``old`` proved to be ``new``: what it refused is kept, what it accepted has to be shown again."""
    _delete(session, AccountAnswer.key == old, AccountAnswer.accepted)
    for row in session.scalars(select(AccountAnswer).where(AccountAnswer.key == old)):
        row.key = new
    session.flush()


def _delete(session: Session, *where: Any) -> None:
    session.execute(delete(AccountAnswer).where(*where).execution_options(synchronize_session="fetch"))
