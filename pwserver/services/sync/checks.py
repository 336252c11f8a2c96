"""What a chain may look like: the checks behind every form of the chain's page, in words beside the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import scoped_session

from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.errors import Conflict, Invalid
from pwserver.models import AppUser, Entry, Membership, SyncAgent, SyncChain, SyncLink, SyncRun
from pwserver.services import locking
from pwserver.services.audit import record
from pwserver.services.sync.accounts import account_name
from pwserver.services.sync.credentials import may_reach, names_another_device

Session = scoped_session[Any]


OF_THE_LIST = "Choose one of the list."
ONE_OWNER = "This {what} is in a chain already. Two owners of one password would fight: choose one."


class StaleChain(Conflict):
    """The form was made from an older chain. ``seen``: the revision it shows; what came after it can be told."""

    user_message = "This chain was changed meanwhile. Nothing was saved; here is how it stands now."

    def __init__(self, seen: int) -> None:
        super().__init__()
        self.seen = seen


def checked_settings(kind: str, settings: Mapping[str, Any]) -> BaseModel:
    """The kind's checked settings; the first wrong field is said beside it."""
    if kind not in LINK_KINDS:
        raise Invalid("Choose a kind of link.", field="kind")
    try:
        return LINK_KINDS[kind].settings.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else None
        words = OF_THE_LIST if first["type"] == "literal_error" else first["msg"].removeprefix("Value error, ")
        raise Invalid(words if words.endswith(".") else f"{words}.", field=field) from None


def target_of(kind: str, settings: BaseModel, agent: SyncAgent) -> tuple[str, str]:
    """The machine a link lives on, and the case-folded name of its account or place."""
    row = LINK_KINDS[kind]
    return row.machine_of(settings, agent.machine), row.account_of(settings, agent.machine).casefold()


def check_reach(kind: str, machine: str, agent: SyncAgent) -> None:
    row = LINK_KINDS[kind]
    if agent.transport not in row.transports:
        ways = " or ".join(CALLED[each] for each in row.transports)
        raise Invalid(f"{agent.name} cannot do this: {row.label} goes over {ways}.", field="agent_id")
    if kind == "standalone_windows" and agent.machine.casefold() != machine.casefold():
        raise Invalid(f"{agent.name} runs on {agent.machine}, not on {machine}.", field="agent_id")
    if not may_reach(agent, machine):
        raise Invalid(
            f"{agent.name} may not reach {machine}. An administrator adds it to the agent's list of machines.",
            field=FIELD_OF_PLACE.get(kind, "machine"),
        )


FIELD_OF_PLACE = {"device_ssh": "device", "domain": "domain"}
"""The field that says where a link is, where it is not called the machine."""
CALLED = {"winrm": "a Windows machine", "ssh": "SSH", "ldaps": "a directory"}


def refuse_second(session: Session, kind: str, key: str, besides: str | None) -> None:
    """One account, one manager; one place, one link. The words hide which chain has it: one may not see that vault."""
    column = SyncLink.account_key if LINK_KINDS[kind].is_account else SyncLink.place_key
    query = select(SyncLink.id).where(column == key, SyncLink.active, SyncLink.id != (besides or ""))
    if LINK_KINDS[kind].is_account:
        query = query.where(SyncLink.is_account)
    if session.scalar(query) is not None:
        what = "account" if LINK_KINDS[kind].is_account else "place"
        raise Invalid(
            ONE_OWNER.format(what=what),
            field="user_name" if what == "account" else "name",
        )


def check_lent(session: Session, actor: AppUser | None, entry_id: str | None, kept: str | None = None) -> None:
    """A linked credential is lent by somebody who may read it; one that stands there already may stay. ``actor`` None:
    a person at the command line of the server."""
    if not entry_id or entry_id == kept or actor is None:
        return
    vault_id = session.scalar(select(Entry.vault_id).where(Entry.id == entry_id, Entry.deleted_at.is_(None)))
    member = vault_id and session.get(Membership, (vault_id, actor.id))
    if not member or not (member.read or member.modify or member.owner):
        raise Invalid("Choose a linked credential that you may read.", field="linked_entry_id")


def check_device(
    session: Session, kind: str, machine: str, settings: Mapping[str, Any], linked_entry_id: str | None,
    agent: SyncAgent,
) -> None:  # fmt: skip
    """A credential that is an account of another device is never shown to this one; nor is the agent's own, where the
    link names none."""
    entry_id = linked_entry_id or agent.linked_entry_id
    entry = session.get(Entry, entry_id) if entry_id else None
    if entry is None or not names_another_device(session, entry, kind, machine, settings):
        return
    whose = f"{entry.name} is" if linked_entry_id else f"The linked credential of {agent.name} is"
    raise Invalid(f"{whose} an account of another device. Choose one of {machine}.", field="linked_entry_id")


def check_order(links: Sequence[SyncLink]) -> None:
    seen: set[str] = set()
    for link in links:
        if link.account_link_id and link.account_link_id not in seen:
            raise Invalid("A task or service comes after the account whose password it stores.")
        seen.add(link.id)


def check_cycles(session: Session, chain: SyncChain, agent: SyncAgent) -> None:
    """No chain may need its own password as a linked credential, directly or through other chains (rule 32)."""
    seen: set[str] = set()
    open_ones = linked_entries(session, chain, agent)
    while open_ones:
        entry_id = open_ones.pop()
        if entry_id == chain.entry_id:
            raise Invalid(
                "This password would be the linked credential of its own chain. Choose another linked credential.",
                field="linked_entry_id",
            )
        if entry_id in seen:
            continue
        seen.add(entry_id)
        other = session.scalar(select(SyncChain).where(SyncChain.entry_id == entry_id))
        if other is not None:
            open_ones |= linked_entries(session, other, session.get_one(SyncAgent, other.agent_id))


def linked_entries(session: Session, chain: SyncChain, agent: SyncAgent) -> set[str]:
    found = set()
    for link in links_in_force(session, chain):
        if LINK_KINDS[link.kind].needs_linked:
            found.add(link.linked_entry_id or agent.linked_entry_id)
    return {entry_id for entry_id in found if entry_id}


def refuse_while_running(session: Session, chain: SyncChain) -> None:
    busy = session.scalar(
        select(SyncRun.id).where(
            SyncRun.chain_id == chain.id, SyncRun.state.in_(("queued", "running")), SyncRun.kind != "test"
        )
    )
    testing = session.scalar(select(SyncRun.id).where(SyncRun.chain_id == chain.id, SyncRun.state == "running"))
    if busy or testing:
        raise Conflict("A run of this chain is under way. Wait for its end; nothing was saved.")


def fresh_chain(session: Session, entry: Entry, revision: int | None = None) -> SyncChain:
    """The entry's chain as it is now. Raises :class:`Conflict` when it is off or was changed since ``revision``. Begins
    a transaction that configures the chain."""
    locking.alone(session)
    locking.password(session, entry.id)
    chain = session.scalar(
        select(SyncChain).where(SyncChain.entry_id == entry.id).execution_options(populate_existing=True)
    )
    if chain is None:
        raise Conflict("Synchronization is not enabled for this password.")
    if revision is not None and chain.revision != revision:
        raise StaleChain(revision)
    return chain


def record_edit(
    session: Session, actor: AppUser | None, verb: str, entry: Entry, chain: SyncChain, facts: Mapping[str, Any]
) -> None:
    """Bumps the chain's revision and writes the edit down with it, so that a form from before can be told of it."""
    chain.revision += 1
    record(session, actor, verb, entry=entry, facts={**facts, "revision": chain.revision})


def links_in_force(session: Session, chain: SyncChain) -> list[SyncLink]:
    return list(
        session.scalars(
            select(SyncLink)
            .where(SyncLink.chain_id == chain.id, SyncLink.active)
            .order_by(SyncLink.position, SyncLink.id)
        )
    )


def said(link: SyncLink) -> dict[str, Any]:
    name = account_name(str(link.settings["user_name"]), link.machine) if link.is_account else link.place_key or ""
    return {"kind": link.kind, "machine": link.machine, "name": name}
