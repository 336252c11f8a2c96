"""The links of a chain: add, edit, remove, restore, move. Every change bumps the chain's revision, which guards stale
forms. Many at once are added in ``many``.

Who decides where a password is sent may read it, so the callers ask for Owner (rule 34). ``actor`` None: a person at
the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from sqlalchemy.orm import scoped_session

from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.errors import Conflict, Invalid
from pwserver.models import AppUser, Entry, SyncAgent, SyncChain, SyncLink, new_id
from pwserver.services.sync.accounts import key_of
from pwserver.services.sync.checks import (
    check_cycles,
    check_device,
    check_lent,
    check_order,
    check_reach,
    checked_settings,
    fresh_chain,
    links_in_force,
    record_edit,
    refuse_second,
    refuse_while_running,
    said,
    target_of,
)
from pwserver.services.sync.requeue import OUR_LOGIN, due_again, probe_unknown, queue_test, release, stage_id
from pwserver.services.sync.status import refresh
from pwserver.services.transaction import now, write

Session = scoped_session[Any]

FIRST = "Default Sync is always first."

SAME_TARGET = frozenset({"restart", "restart_dependents"})
"""Settings that change nothing about where a link is or what it holds."""


def add_link(
    actor: AppUser | None,
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
            position=next_position(session, chain),
            starts_from=stage_id(session, chain.id, "current"),
        )  # fmt: skip
        agent = session.get_one(SyncAgent, chain.agent_id)
        check_device(session, kind, link.machine, link.settings, linked_entry_id, agent)
        queue_test(session, chain.id, at, requested_by=actor and actor.id)
        record_edit(session, actor, "sync.link_added", entry, chain, said(link))
        refresh(session, chain.id)
        return link


def meet_anew(link: SyncLink) -> None:
    """An owner who saves a link, or turns synchronization on again, after its machine was installed anew, or another
    account got its name, means what is there now."""
    if link.reason in ("new_machine", "other_account"):
        link.told_account_sid = None
        link.told_machine_sid = link.told_machine_sid if link.reason == "other_account" else None
        link.state, link.reason, link.reason_text, link.reason_code = "waiting", "", "", ""


def edit_link(
    actor: AppUser | None,
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
        check_lent(session, actor, linked_entry_id, kept=row.linked_entry_id)
        agent = session.get_one(SyncAgent, chain.agent_id)
        checked = checked_settings(row.kind, settings)
        if row.position == 0 and checked.model_dump() != row.settings:
            raise Invalid("Default Sync is what General Settings says; change it there.")
        machine, name = target_of(row.kind, checked, agent)
        check_device(session, row.kind, machine, checked.model_dump(), linked_entry_id, agent)
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
            row.settings, row.reset_allowed = stored, reset_allowed
            released = lend(session, row, linked_entry_id)
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
        if released:
            due_again(session, chain.id, now(), requested_by=actor and actor.id)
        else:
            queue_test(session, chain.id, now(), requested_by=actor and actor.id)
        record_edit(session, actor, "sync.link_edited", entry, chain, {"from": before, "to": said(saved)})
        refresh(session, chain.id)
        return saved


def lend(session: Session, row: SyncLink, linked_entry_id: str | None) -> bool:
    """Give a link another linked credential. True: the one before had been refused; another one is an edit, so what it
    stopped is due again."""
    released = row.linked_entry_id != linked_entry_id and row.state == "blocked" and row.reason in OUR_LOGIN
    row.linked_entry_id = linked_entry_id
    if released:
        release(session, row, now())
    return released


def remove_link(actor: AppUser | None, link: SyncLink, *, revision: int) -> None:
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
        record_edit(session, actor, "sync.link_removed", entry, chain, said(row))
        refresh(session, chain.id)


def restore_link(actor: AppUser | None, link: SyncLink, *, revision: int) -> None:
    """Undoes a removal: the link comes back where it was, or at the end when the chain was ordered otherwise since; it
    is tested."""
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
        check_device(session, row.kind, row.machine, row.settings, row.linked_entry_id, agent)
        if row.account_key:
            row.account_key = key_of(session, row.account_key)  # its target may have told who it is meanwhile
        refuse_second(session, row.kind, row.account_key or row.place_key or "", besides=row.id)
        row.active, row.state_since = True, now()
        session.flush()
        check_cycles(session, chain, agent)
        _put_back(session, chain, row)
        probe_unknown(session, chain.id, now())
        queue_test(session, chain.id, now(), requested_by=actor and actor.id)
        record_edit(session, actor, "sync.link_restored", entry, chain, said(row))
        refresh(session, chain.id)


def _put_back(session: Session, chain: SyncChain, row: SyncLink) -> None:
    others = [each for each in links_in_force(session, chain) if each.id != row.id]
    index = next((i for i, each in enumerate(others) if i and each.position >= row.position), len(others))
    links = [*others[:index], row, *others[index:]]
    try:
        check_order(links)
    except Invalid:
        links = [*others, row]
    _number(links)


def _number(links: Sequence[SyncLink]) -> None:
    for position, each in enumerate(links):
        each.position = position


def move_link(actor: AppUser | None, link: SyncLink, direction: int, *, revision: int) -> None:
    """Moves a link one place up (-1) or down (1). Default Sync stays first; a place stays behind its account."""
    with write() as session:
        entry = session.get_one(Entry, link.chain.entry_id)
        chain = fresh_chain(session, entry, revision)
        links = links_in_force(session, chain)
        index = next((i for i, each in enumerate(links) if each.id == link.id), None)
        if index is None:
            raise Conflict("This link was removed meanwhile.")
        other = index + direction
        if other >= len(links):
            raise Invalid("It is the last link already.")
        if other < 0:
            raise Invalid(FIRST)
        links[index], links[other] = links[other], links[index]
        _reorder(session, actor, entry, chain, links)


def order_links(actor: AppUser | None, entry: Entry, order: Sequence[str], *, revision: int) -> SyncLink | None:
    """Puts the links into this order, by their ids, every one of them named once, and gives the one that was moved,
    None where it was not one alone. Default Sync stays first; a place stays behind its account."""
    with write() as session:
        chain = fresh_chain(session, entry, revision)
        links = {each.id: each for each in links_in_force(session, chain)}
        if sorted(order) != sorted(links):
            raise Invalid("This order does not name every link of the chain once. Nothing was moved.")
        return _reorder(session, actor, entry, chain, [links[link_id] for link_id in order])


def _reorder(
    session: Session, actor: AppUser | None, entry: Entry, chain: SyncChain, links: Sequence[SyncLink]
) -> SyncLink | None:
    """Not under a run: it would go by one order and be shown in another."""
    refuse_while_running(session, chain)
    before = [each.id for each in links_in_force(session, chain)]
    if links[0].id != before[0]:
        raise Invalid(FIRST)
    check_order(links)
    after = [each.id for each in links]
    if after == before:
        return None
    _number(links)
    index = _moved(before, after)
    if index is None:
        record_edit(session, actor, "sync.links_ordered", entry, chain, {})
        return None
    record_edit(session, actor, "sync.link_moved", entry, chain, said(links[index]) | {"to": index + 1})
    return links[index]


def _moved(before: Sequence[str], after: Sequence[str]) -> int | None:
    """Where the one link stands now that was taken out of one place and put into another; None: more than one was."""
    first = next(i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
    for link_id in (after[first], before[first]):
        if [each for each in before if each != link_id] == [each for each in after if each != link_id]:
            return after.index(link_id)
    return None


def next_position(session: Session, chain: SyncChain) -> int:
    return max((each.position for each in links_in_force(session, chain)), default=-1) + 1


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
    link = link_row(
        chain, kind, checked, machine, key,
        position=position, account_link_id=None if row.is_account else account_link_id,
        linked_entry_id=linked_entry_id, reset_allowed=reset_allowed, starts_from_version_id=starts_from,
    )  # fmt: skip
    session.add(link)
    session.flush()
    check_cycles(session, chain, agent)
    return link


def link_row(
    chain: SyncChain, kind: str, settings: BaseModel, machine: str, key: str, *, position: int, **columns: Any
) -> SyncLink:
    """The row of a new link, unproved. What it may be was checked before."""
    is_account = LINK_KINDS[kind].is_account
    return SyncLink(
        id=new_id(), chain_id=chain.id, position=position, kind=kind, settings=settings.model_dump(),
        is_account=is_account, machine=machine, account_key=key if is_account else None,
        place_key=None if is_account else key, state_since=now(), **columns,
    )  # fmt: skip


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
