"""A domain's two names come to be known: what was booked under the one and the other is united."""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import scoped_session

from pwserver.connectors.base import Evidence
from pwserver.connectors.domain import domain_name
from pwserver.models import Account, AccountName, SyncAgent, SyncLink
from pwserver.services import locking
from pwserver.services.sync import accounts
from pwserver.services.sync.domains import in_full
from pwserver.services.sync.status import refresh
from pwserver.services.transaction import now

Session = scoped_session[Any]


def keep(session: Session, agent: SyncAgent, evidence: Evidence) -> None:
    """What the test of an agent told of its domain. Locks as :func:`unite_names`."""
    short, full = evidence.short_domain.upper(), evidence.domain.lower()
    try:
        is_whole = "." in domain_name(full) and "." not in domain_name(short) and len(short) <= 15
    except ValueError:
        is_whole = False
    told = (short, full) if is_whole else ("", "")
    if agent.transport == "ldaps":  # it was asked for both by name
        told = (agent.machine, agent.domain)
    if told != (agent.short_domain, agent.domain):
        remember_names(session, agent)
        agent.short_domain, agent.domain = told
        session.flush()
    unite_names(session, agent)


def unite_names(session: Session, agent: SyncAgent) -> None:
    """Unites the accounts that are booked under either name of the agent's domain. The caller holds no lock on
    accounts yet. Safe to do again: the next time finds what a run booked in the very moment of the first."""
    short, full = agent.short_domain.casefold(), agent.domain.casefold()
    if not short or in_full(session, [f"{short}\\"]) != {f"{short}\\": f"{full}\\"}:
        return
    united = _united(session, short, full)
    keys = {key for pair in united for key in pair}
    links = select(SyncLink.chain_id).where(SyncLink.account_key.in_(keys), SyncLink.active)
    locking.passwords_of_chains(session, session.scalars(links.distinct()).all())
    accounts.lock(session, keys)
    for other, key in united:
        accounts.unite(session, other, key)
        _link_follows(session, other, key)


def remember_names(session: Session, agent: SyncAgent) -> None:
    """The agent goes, or stands in another domain: the accounts that were met keep both their names. Not by names that
    were only typed."""
    short, full = agent.short_domain.casefold(), agent.domain.casefold()
    if not (short and agent.machine_sid):
        return
    for user in sorted(_users(session, short, full)):
        name, key = f"{short}\\{user}", _booked_under(session, f"{full}\\{user}")
        if name != key:
            accounts.insert_new(session, AccountName, name=name, key=key)


def _united(session: Session, short: str, full: str) -> list[tuple[str, str]]:
    """Pairs of keys that are one account: what the account told of itself is kept, else the full name. Two that told
    each who they are are two accounts, whatever their names."""
    pairs = []
    for user in sorted(_users(session, short, full)):
        one, two = (_booked_under(session, f"{domain}\\{user}") for domain in (short, full))
        if one == two or ("\\" not in one and "\\" not in two):
            continue
        pairs.append((one, two) if "\\" in one else (two, one))
    return pairs


def _booked_under(session: Session, name: str) -> str:
    return session.scalar(select(AccountName.key).where(AccountName.name == name)) or name


def _users(session: Session, short: str, full: str) -> set[str]:
    found: set[str] = set()
    for column in (Account.key, AccountName.name, SyncLink.account_key):
        of_domain = (column.startswith(f"{domain}\\", autoescape=True) for domain in (short, full))
        found |= {name.partition("\\")[2] for name in session.scalars(select(column).where(or_(*of_domain))) if name}
    return found


def _link_follows(session: Session, other: str, key: str) -> None:
    """The link of an account that is called otherwise now; a second one of the same account is one too many."""
    link = session.scalar(select(SyncLink).where(SyncLink.account_key == other, SyncLink.active, SyncLink.is_account))
    if link is None:
        return
    if accounts.active_link_with(session, key, besides=link.id) is None:
        link.account_key = key
    else:
        link.state, link.reason, link.state_since = "blocked", "another_link_has_account", now()
        link.reason_text, link.reason_code, link.next_try_at = "", "", None
    session.flush()
    refresh(session, link.chain_id)
