"""Caches: the status of a chain, and its few words, are those that the facts give (rule 40)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import scoped_session

from pwserver.models import SyncChain
from pwserver.services.sync.invariants.violation import Violation
from pwserver.services.sync.status import compute

Session = scoped_session[Any]


def check(session: Session, at: datetime, recheck_lag: timedelta) -> Iterator[Violation]:
    for chain in session.scalars(select(SyncChain).execution_options(populate_existing=True)).all():
        if waits_for_timer(chain, at, recheck_lag):
            continue
        found = compute(session, chain, at)
        name = chain.entry.name
        if chain.status != found.status:
            yield Violation("status", name, f"says {chain.status}, the facts say {found.status}")
        elif chain.status_detail != found.detail:
            yield Violation("status", name, f'says "{chain.status_detail}", the facts say "{found.detail}"')


def waits_for_timer(chain: SyncChain, at: datetime, recheck_lag: timedelta) -> bool:
    """Time alone has changed its status, and the timer is about to write that down."""
    return chain.recheck_at is not None and chain.recheck_at <= at and at - chain.recheck_at < recheck_lag
