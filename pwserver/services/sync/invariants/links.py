"""Links: one account has one manager, one place one link, one chain one Default Sync (rule 35)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import scoped_session

from pwserver.models import AccountName, Entry, SyncChain, SyncLink
from pwserver.services.sync.invariants.violation import Violation

Session = scoped_session[Any]


def check(session: Session) -> Iterator[Violation]:
    rows = session.execute(
        select(
            Entry.name, SyncLink.machine, SyncLink.chain_id, SyncLink.position, SyncLink.is_account,
            SyncLink.account_key, SyncLink.place_key, SyncLink.proof_version_id, AccountName.key,
        )
        .join(SyncChain, SyncChain.id == SyncLink.chain_id)
        .join(Entry, Entry.id == SyncChain.entry_id)
        .outerjoin(AccountName, AccountName.name == SyncLink.account_key)
        .where(SyncLink.active)
        .order_by(Entry.name, SyncLink.position)
    ).all()  # fmt: skip
    accounts: dict[str, list[Any]] = defaultdict(list)
    places: dict[str, list[Any]] = defaultdict(list)
    firsts: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        if row.is_account and row.account_key:
            accounts[row.account_key].append(row)
            if row.key and row.proof_version_id:  # another spelling; never proved, it was found out and is blocked
                accounts[row.key].append(row)
        if row.place_key:
            places[row.place_key].append(row)
        firsts[row.chain_id] += [row] if row.position == 0 else []
    for what, found in (("account", accounts), ("place", places)):
        for key, several in found.items():
            if len(several) > 1:
                where = ", ".join(f"{row.name} on {row.machine}" for row in several)
                yield Violation(f"one_link_per_{what}", key, f"is in {len(several)} active links: {where}")
    for chain_id, first in firsts.items():
        if len(first) != 1:
            name = next(row.name for row in rows if row.chain_id == chain_id)
            yield Violation("one_default_sync", name, f"has {len(first)} active links as Default Sync")
