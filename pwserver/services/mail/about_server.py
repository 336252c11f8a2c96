"""What mails about the server itself say: a trouble and its end, the week of an owner, a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pwserver.extensions import db
from pwserver.models import AppUser, Trouble
from pwserver.services.mail import summary
from pwserver.services.mail.alerts import OVER_UNSENT, mails_of
from pwserver.services.mail.outbox import Moot
from pwserver.services.transaction import now
from pwserver.services.views.said import clock, lasted

Facts = dict[str, Any]


def write_trouble(ids: Mapping[str, str], user: AppUser) -> tuple[str, Facts]:
    trouble = _trouble(ids, user)
    if trouble.closed_at is not None:
        raise Moot(OVER_UNSENT)
    return "trouble", {"trouble": trouble, "since": clock(trouble.opened_at, now())}


def write_trouble_over(ids: Mapping[str, str], user: AppUser) -> tuple[str, Facts]:
    trouble = _trouble(ids, user)
    had = [row for row in mails_of(db.session, trouble.id) if row.to_user_id == user.id]
    if not any(row.state in ("sent", "sending", "kept") for row in had):
        raise Moot("The mail that said it began was never taken, so this one is not sent either.")
    assert trouble.closed_at is not None
    took = lasted((trouble.closed_at - trouble.opened_at).total_seconds())
    return "trouble_over", {"trouble": trouble, "closed": clock(trouble.closed_at, now()), "lasted": took}


def _trouble(ids: Mapping[str, str], user: AppUser) -> Trouble:
    if not user.org_admin:
        raise Moot(f"{user.name} is no organization administrator any more.")
    return db.session.get_one(Trouble, ids["trouble"], populate_existing=True)


def write_summary(ids: Mapping[str, str], user: AppUser) -> tuple[str, Facts]:
    week = summary.of(user)
    if week is None:
        raise Moot(f"{user.name} owns no synchronized password any more.")
    return "summary", {"week": week}


def write_test(ids: Mapping[str, str], user: AppUser) -> tuple[str, Facts]:
    return "test", {"asked": clock(now(), now())}
