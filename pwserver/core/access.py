"""What a member of a vault may do. Owner may modify, modify may read; nothing else is implied."""

from __future__ import annotations

from enum import StrEnum


class Right(StrEnum):
    READ = "read"
    """See the passwords, show and copy their values, test."""
    MODIFY = "modify"
    """Read, and create, edit and change passwords, retest."""
    OWNER = "owner"
    """Modify, and decide who is a member and where a password is sent."""


ASK = {
    Right.MODIFY: "You may read this vault but not change what is in it. Ask one of its owners.",
    Right.OWNER: "Only an owner of this vault may do this. Ask one of them.",
}
"""What somebody is told who may see a thing but not do this to it."""

LABELS = {Right.OWNER: "Owner", Right.MODIFY: "Modify", Right.READ: "Read"}


def highest(*, owner: bool, modify: bool, read: bool) -> Right | None:
    """The most that these flags give, or None."""
    if owner:
        return Right.OWNER
    if modify:
        return Right.MODIFY
    return Right.READ if read else None


def allows(held: Right | None, wanted: Right) -> bool:
    """Whether someone who holds ``held`` may do what needs ``wanted``."""
    order = list(Right)
    return held is not None and order.index(held) >= order.index(wanted)
