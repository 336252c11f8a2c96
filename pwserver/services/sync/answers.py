"""What accounts said to our values, remembered by keyed digest: a refused value is never sent again by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import scoped_session

from pwserver.core.secrets import Secret
from pwserver.models import AccountAnswer, AccountName
from pwserver.services.keys import keyring

Session = scoped_session[Any]

Digests = tuple[str, ...]
"""One value's keyed digests for one account: the first is for new answers, the others stand under names it had before
its target told its identity. A digest is bound to the account, so that equal passwords of two accounts look unlike."""

Names = Mapping[str, Sequence[str]]
"""By account key: itself, then the names it had before."""


NAMES = (
    select(AccountName.key, AccountName.name)
    .where(AccountName.key.in_(bindparam("keys", expanding=True)))
    .order_by(AccountName.name)
)
SAID = (
    select(AccountAnswer)
    .where(AccountAnswer.key.in_(bindparam("keys", expanding=True)))
    .execution_options(populate_existing=True)
)


def names_of(session: Session, keys: Iterable[str]) -> Names:
    found = {key: [key] for key in keys}
    for key, name in session.execute(NAMES, {"keys": list(found)}):
        if name != key:
            found[key].append(name)
    return found


def digests(names: Names, key: str, value: Secret) -> Digests:
    return tuple(keyring().digest(f"account {each}", value) for each in names[key])


@dataclass(frozen=True, slots=True)
class Said:
    """All that some accounts have said, read in one go. Whoever writes to it has locked these accounts."""

    session: Session
    rows: dict[tuple[str, str], AccountAnswer]

    def refusal(self, key: str, value: Digests) -> AccountAnswer | None:
        """The latest refusal of this value that was not followed by its acceptance."""
        refused = [row for digest in value if (row := self.rows.get((key, digest))) and not row.accepted]
        return max(refused, key=lambda row: row.at, default=None)

    def is_accepted(self, key: str, value: Digests) -> bool:
        row = self.rows.get((key, value[0])) if value else None
        return row is not None and row.accepted

    def remember(self, key: str, value: Digests, *, accepted: bool, reason: str, at: datetime) -> bool:
        """Keeps what ``key`` said to a value. True when a value refused before is accepted now."""
        was_refused = accepted and self.refusal(key, value) is not None
        self._forget([(key, digest) for digest in value[1:]])
        row = self.rows.get((key, value[0]))
        if row is None:
            row = self.rows[key, value[0]] = AccountAnswer(key=key, digest=value[0])
            self.session.add(row)
        elif accepted and row.accepted:
            return was_refused  # nothing is ever asked of its time: each answer of an agent's login would write it
        row.accepted, row.reason, row.at = accepted, reason, at
        self.session.flush()
        return was_refused

    def accept_only(self, key: str, value: Digests, at: datetime) -> bool:
        """``key`` was proved to hold this value: whatever it accepted before is over. True when it had refused it."""
        self._forget(
            [each for each, row in self.rows.items() if each[0] == key and each[1] not in value and row.accepted]
        )
        return self.remember(key, value, accepted=True, reason="", at=at)

    def _forget(self, which: Iterable[tuple[str, str]]) -> None:
        for each in which:
            if (row := self.rows.pop(each, None)) is not None:
                self.session.delete(row)


def said_by(session: Session, keys: Iterable[str]) -> Said:
    rows = session.scalars(SAID, {"keys": sorted(set(keys))})
    return Said(session, {(row.key, row.digest): row for row in rows})


def move(session: Session, old: str, new: str) -> None:
    """``old`` proved to be ``new``: what it refused is kept, what it accepted has to be shown again."""
    session.execute(
        delete(AccountAnswer)
        .where(AccountAnswer.key == old, AccountAnswer.accepted)
        .execution_options(synchronize_session="fetch")
    )
    for row in session.scalars(select(AccountAnswer).where(AccountAnswer.key == old)):
        row.key = new
    session.flush()
