"""The links of a chain: add, edit, remove, restore, move. Every change bumps the chain's revision, which guards stale
forms.

Who decides where a password is sent may read it, so the callers ask for Owner (rule 34).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import scoped_session

from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.errors import Conflict, Invalid
from pwserver.models import AppUser, Entry, SyncAgent, SyncChain, SyncLink, new_id
from pwserver.services.audit import record
from pwserver.services.sync.accounts import key_of
from pwserver.services.sync.checks import (
    check_cycles,
    check_lent,
    check_order,
    check_reach,
    checked_settings,
    fresh_chain,
    links_in_force,
    refuse_second,
    refuse_while_running,
    said,
    target_of,
)
from pwserver.services.sync.requeue import OUR_LOGIN, due_again, probe_unknown, queue_test, release, stage_id
from pwserver.services.sync.status import refresh
from pwserver.services.transaction import now, write

Session = scoped_session[Any]

SAME_TARGET = frozenset({"restart", "restart_dependents"})
"""Settings that change nothing about where a link is or what it holds."""


def add_link(
    actor: AppUser,
    entry: Entry,
    kind: str,
    settings: Mapping[str, Any],
    *,
    revision: int,
    account_link_id: str | None = None,
    linked_entry_id: str | None = None,
    reset_allowed: bool = False,
) -> SyncLink:
    """Adds a link at the end of the chain. It starts unproved and is tested when no run of its chain is running."""
    with write() as session:
        chain = fresh_chain(session, entry, revision)
        at = now()
        check_lent(session, actor, linked_entry_id)
        link = new_link(
            session, chain, kind, settings, account_link_id, linked_entry_id, reset_allowed,
            position=max((each.position for each in links_in_force(session, chain)), default=-1) + 1,
            starts_from=stage_id(session, chain.id, "current"),
        )  # fmt: skip
        chain.revision += 1
        queue_test(session, chain.id, at, requested_by=actor.id)
        record(session, actor, "sync.link_added", entry=entry, facts=said(link))
        refresh(session, chain.id)
        return link


def meet_anew(link: SyncLink) -> None:
    """An owner who saves a link, or turns synchronization on again, after its machine was installed anew, means the
    machine that is there now."""
    if link.reason == "new_machine":
        link.told_machine_sid = link.told_account_sid = None
        link.state, link.reason, link.reason_text, link.reason_code = "waiting", "", "", ""


def edit_link(
    actor: AppUser,
    link: SyncLink,
    settings: Mapping[str, Any],
    *,
    revision: int,
    account_link_id: str | None = None,
    linked_entry_id: str | None = None,
    reset_allowed: bool = False,
) -> SyncLink:
    """Saves a link. Pointed at another account or place it becomes a new row, unproved; the old one is kept inactive
    with what it holds. Refused while a run is queued or running."""
    with write() as session:
        entry = session.get_one(Entry, link.chain.entry_id)
        chain = fresh_chain(session, entry, revision)
        row = session.get_one(SyncLink, link.id, populate_existing=True)
        refuse_while_running(session, chain)
        if not row.active:
            raise Conflict("This link was removed meanwhile.")
        if row.position == 0:
            raise Invalid("Default Sync is what General Settings says; change it there.")
        check_lent(session, actor, linked_entry_id, kept=row.linked_entry_id)
        agent = session.get_one(SyncAgent, chain.agent_id)
        checked = checked_settings(row.kind, settings)
        machine, name = target_of(row.kind, checked, agent)
        before, released = said(row), False
        key = key_of(session, name)
        same = key == (row.account_key if row.is_account else row.place_key)
        if not row.is_account and account_link_id != row.account_link_id:
            same = False
        if same:
            check_reach(row.kind, machine, agent)
            stored = checked.model_dump()
            if {k: v for k, v in stored.items() if k not in SAME_TARGET} != {
                k: v for k, v in row.settings.items() if k not in SAME_TARGET
            }:
                row.settings_rev += 1
            released = row.linked_entry_id != linked_entry_id and row.state == "blocked" and row.reason in OUR_LOGIN
            row.settings, row.linked_entry_id, row.reset_allowed = stored, linked_entry_id, reset_allowed
            if released:  # another credential is an edit: what the refused one stopped is due again (rule 23)
                release(session, row, now())
            meet_anew(row)
            saved = row
        else:
            row.active = False
            session.flush()
            saved = new_link(
                session, chain, row.kind, settings, account_link_id, linked_entry_id, reset_allowed,
                position=row.position, starts_from=stage_id(session, chain.id, "current"),
            )  # fmt: skip
            for place in links_in_force(session, chain):
                if place.account_link_id == row.id:
                    place.account_link_id = saved.id
        check_order(links_in_force(session, chain))
        check_cycles(session, chain, agent)
        chain.revision += 1
        if released:
            due_again(session, chain.id, now(), requested_by=actor.id)
        else:
            queue_test(session, chain.id, now(), requested_by=actor.id)
        record(session, actor, "sync.link_edited", entry=entry, facts={"from": before, "to": said(saved)})
        refresh(session, chain.id)
        return saved


def remove_link(actor: AppUser, link: SyncLink, *, revision: int) -> None:
    """Takes a link out of the chain; what it holds and may hold is kept."""
    with write() as session:
        entry = session.get_one(Entry, link.chain.entry_id)
        chain = fresh_chain(session, entry, revision)
        row = session.get_one(SyncLink, link.id, populate_existing=True)
        refuse_while_running(session, chain)
        if row.position == 0:
            raise Invalid("Default Sync cannot be removed. Turn synchronization off instead.")
        stores = [each for each in links_in_force(session, chain) if each.account_link_id == row.id]
        if stores:
            names = ", ".join(said(each)["name"] for each in stores)
            raise Invalid(f"{names} stores the password of this account. Remove that first, or point it elsewhere.")
        row.active = False
        chain.revision += 1
        record(session, actor, "sync.link_removed", entry=entry, facts=said(row))
        refresh(session, chain.id)


def restore_link(actor: AppUser, link: SyncLink, *, revision: int) -> None:
    """Undoes a removal: the link comes back at the end of the chain, unproved."""
    with write() as session:
        entry = session.get_one(Entry, link.chain.entry_id)
        chain = fresh_chain(session, entry, revision)
        row = session.get_one(SyncLink, link.id, populate_existing=True)
        if row.active:
            return
        if not row.is_account and not session.get_one(SyncLink, row.account_link_id).active:
            raise Invalid("Its account is no longer in this chain. Add the account first.")
        agent = session.get_one(SyncAgent, chain.agent_id)
        check_reach(row.kind, row.machine, agent)
        check_lent(session, actor, row.linked_entry_id)
        if row.account_key:
            row.account_key = key_of(session, row.account_key)  # its target may have told who it is meanwhile
        refuse_second(session, row.kind, row.account_key or row.place_key or "", besides=row.id)
        row.active, row.state_since = True, now()
        session.flush()
        check_cycles(session, chain, agent)
        row.position = (
            max((each.position for each in links_in_force(session, chain) if each.id != row.id), default=0) + 1
        )
        chain.revision += 1
        probe_unknown(session, chain.id, now())
        queue_test(session, chain.id, now(), requested_by=actor.id)
        record(session, actor, "sync.link_restored", entry=entry, facts=said(row))
        refresh(session, chain.id)


def move_link(actor: AppUser, link: SyncLink, direction: int, *, revision: int) -> None:
    """Moves a link one place up (-1) or down (1). Default Sync stays first; a place stays behind its account."""
    with write() as session:
        entry = session.get_one(Entry, link.chain.entry_id)
        chain = fresh_chain(session, entry, revision)
        links = links_in_force(session, chain)
        index = next((i for i, each in enumerate(links) if each.id == link.id), None)
        if index is None:
            raise Conflict("This link was removed meanwhile.")
        other = index + direction
        if index == 0 or other == 0:
            raise Invalid("Default Sync is always first.")
        if other >= len(links):
            raise Invalid("It is the last link already.")
        links[index], links[other] = links[other], links[index]
        check_order(links)
        for position, each in enumerate(links):
            each.position = position
        chain.revision += 1
        record(session, actor, "sync.link_moved", entry=entry, facts=said(link) | {"to": other + 1})


def new_link(
    session: Session,
    chain: SyncChain,
    kind: str,
    settings: Mapping[str, Any],
    account_link_id: str | None,
    linked_entry_id: str | None,
    reset_allowed: bool,
    *,
    position: int,
    starts_from: str | None,
) -> SyncLink:
    agent = session.get_one(SyncAgent, chain.agent_id)
    checked = checked_settings(kind, settings)
    row = LINK_KINDS[kind]
    machine, name = target_of(kind, checked, agent)
    check_reach(kind, machine, agent)
    key = key_of(session, name)
    refuse_second(session, kind, key, besides=None)
    if not row.is_account:
        account_link_id = _account_for(session, chain, account_link_id, position)
    link = SyncLink(
        id=new_id(),
        chain_id=chain.id,
        position=position,
        kind=kind,
        settings=checked.model_dump(),
        is_account=row.is_account,
        account_link_id=None if row.is_account else account_link_id,
        linked_entry_id=linked_entry_id,
        reset_allowed=reset_allowed,
        machine=machine,
        account_key=key if row.is_account else None,
        place_key=None if row.is_account else key,
        starts_from_version_id=starts_from,
        state_since=now(),
    )
    session.add(link)
    session.flush()
    check_cycles(session, chain, agent)
    return link


def _account_for(session: Session, chain: SyncChain, account_link_id: str | None, position: int) -> str:
    """The account link whose password a place stores; Default Sync unless another is named. It must come before."""
    links = links_in_force(session, chain)
    if not account_link_id:
        return next(each.id for each in links if each.position == 0)
    for each in links:
        if each.id == account_link_id and each.is_account:
            if each.position >= position:
                raise Invalid("A place comes after the account whose password it stores.", field="account_link_id")
            return each.id
    raise Invalid("Choose an account of this chain.", field="account_link_id")
