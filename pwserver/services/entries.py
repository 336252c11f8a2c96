"""Passwords as people know them: create, edit General Settings, list, trash. Values go through ``values``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import func, or_, select

from pwserver.connectors.domain import account_name, domain_name
from pwserver.core.errors import Conflict, Invalid
from pwserver.core.names import check_readable
from pwserver.core.passwords import TYPES, type_of
from pwserver.core.secrets import Secret, check_value
from pwserver.core.states import LinkState, Status
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, EntryVersion, SyncAgent, SyncChain, SyncLink, SyncRun, Vault, new_id
from pwserver.services import locking
from pwserver.services.audit import record
from pwserver.services.transaction import now, write
from pwserver.services.values import AnySession, add_version

TRASH_DAYS = 90
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True, slots=True)
class Settings:
    """General Settings. ``port``, ``host_key`` (``SHA256:…``) and ``address`` belong to devices; without an address the
    device's name is one."""

    name: str
    type: str
    user_name: str = ""
    machine: str = ""
    domain: str = ""
    port: int = 22
    host_key: str = ""
    notes: str = ""
    address: str = ""


LIMITS = {"name": 120, "user_name": 120, "machine": 255, "domain": 255, "notes": 10000, "address": 255}
PLACE = frozenset({"machine", "user_name", "domain", "address", "port", "host_key"})
"""The columns that say where a password is sent."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of a vault's table. ``links``: how many active ones; ``good``: how many of them are in sync; ``states``: of
    each in their order, as it is shown."""

    entry: Entry
    chain: SyncChain | None
    status: Status
    detail: str
    links: int = 0
    good: int = 0
    states: Sequence[LinkState] = ()


def create_entry(actor: AppUser, vault: Vault, settings: Settings, value: Secret) -> Entry:
    """A new password with its first version, never sent anywhere. Raises :class:`Invalid`."""
    check_value(value)
    settings = _checked(settings)
    with write() as session:
        _refuse_name(session, vault.id, settings.name)
        entry = Entry(id=new_id(), vault_id=vault.id, **_columns(settings))
        session.add(entry)
        session.flush()
        add_version(session, entry, value, stage="current", origin="created", actor=actor)
        record(session, actor, "password.created", entry=entry, facts={"type": entry.type})
    return entry


def edit_entry(actor: AppUser, entry: Entry, settings: Settings, *, row_version: int, owner: bool = False) -> None:
    """Saves General Settings. ``owner``: whether the actor owns the vault, as whoever retargets Default Sync must.

    Raises :class:`Conflict` when the form is stale, :class:`Invalid` when it cannot be saved.
    """
    settings = _checked(settings)
    with write() as session:
        row = _locked(session, entry)
        if row.row_version != row_version or row.deleted_at:
            raise Conflict()
        changed = {name: value for name, value in _columns(settings).items() if getattr(row, name) != value}
        if not changed:
            return
        if "name" in changed:
            _refuse_name(session, row.vault_id, settings.name, but=row.id)
        before = {name: getattr(row, name) for name in changed if name != "notes"}
        chain = session.scalar(select(SyncChain).filter_by(entry_id=row.id))
        if chain is not None:
            _refuse_retarget(session, row, chain, changed, owner)
        for name, value in changed.items():
            setattr(row, name, value)
        row.row_version += 1
        session.flush()
        if chain is not None and changed.keys() & PLACE:
            from pwserver.services.sync import chains  # imported late: few edits touch a chain

            chains.general_settings_changed(session, actor, row)
        record(session, actor, "password.edited", entry=row, facts={"fields": sorted(changed), "before": before})


def trash_entry(actor: AppUser, entry: Entry, *, row_version: int) -> None:
    """Into the trash for 90 days, with its chain, which rests. Refused while it is in use or a run is under way."""
    with write() as session:
        row = _locked(session, entry)
        if row.row_version != row_version or row.deleted_at:
            raise Conflict()
        _refuse_in_use(session, row)
        chain = session.scalar(select(SyncChain).filter_by(entry_id=row.id))
        if chain is not None:
            _refuse_busy(session, chain)
            chain.enabled = False
            chain.revision += 1
        row.deleted_at = now()
        row.row_version += 1
        session.flush()
        if chain is not None:
            from pwserver.services.sync.resting import follow_agent
            from pwserver.services.sync.status import refresh

            refresh(session, chain.id)
            follow_agent(session, chain.agent_id, now())
        record(session, actor, "password.trashed", entry=row)


def restore_entry(actor: AppUser, entry: Entry) -> None:
    """Out of the trash. Its chain stays disabled: enabling it tests every link first."""
    with write() as session:
        row = _locked(session, entry)
        if row.deleted_at is None:
            raise Conflict("This password is not in the trash any more.")
        _refuse_name(session, row.vault_id, row.name, but=row.id)
        row.deleted_at = None
        row.row_version += 1
        record(session, actor, "password.restored", entry=row)


def listed(rows: Sequence[tuple[Entry, SyncChain | None]]) -> list[Listed]:
    """Passwords with their chains as rows of a table, in the order given; the number of statements is constant."""
    from pwserver.services.sync.counts import is_done, link_states  # imported late: chains stand on entries

    states = link_states(db.session, [chain.id for _, chain in rows if chain])
    found = []
    for entry, chain in rows:
        shown = states.get(chain.id, []) if chain else []
        status = Status(chain.status) if chain else unchained(entry.type)
        detail = chain.status_detail if chain else ""
        found.append(Listed(entry, chain, status, detail, len(shown), sum(map(is_done, shown)), shown))
    return found


def unchained(entry_type: str) -> Status:
    """The status of a password without a chain."""
    return Status.NOT_SYNCED if type_of(entry_type).link_kind else Status.UNSYNCABLE


def standing(entry: Entry) -> Listed:
    """How one entry stands: the same words as in its vault's table."""
    return listed([(entry, db.session.scalar(select(SyncChain).filter_by(entry_id=entry.id)))])[0]


def trash(vault: Vault) -> list[Entry]:
    oldest = now() - timedelta(days=TRASH_DAYS)
    return list(
        db.session.scalars(
            select(Entry)
            .where(Entry.vault_id == vault.id, Entry.deleted_at > oldest)
            .order_by(Entry.deleted_at.desc(), Entry.id)
        )
    )


def versions(entry: Entry) -> list[EntryVersion]:
    """All versions but those that were never used, newest first."""
    query = select(EntryVersion).filter_by(entry_id=entry.id).where(EntryVersion.stage != "discarded")
    return list(db.session.scalars(query.order_by(EntryVersion.number.desc())))


def find_entry(vault_name: str, name: str) -> Entry | None:
    """By ``Vault/Password name``, as the command line has it."""
    return db.session.scalar(
        select(Entry)
        .join(Vault)
        .where(func.lower(Vault.name) == vault_name.strip().lower(), func.lower(Entry.name) == name.strip().lower())
        .where(Entry.deleted_at.is_(None), Vault.deleted_at.is_(None))
    )


def settings_of(entry: Entry) -> Settings:
    """General Settings as they stand, for the form."""
    return Settings(
        entry.name, entry.type, entry.user_name, entry.machine, entry.domain, entry.port, entry.host_key, entry.notes,
        entry.address,
    )  # fmt: skip


def _locked(session: AnySession, entry: Entry) -> Entry:
    """The row as it is now; begins a transaction about where a password is used."""
    locking.alone(session)
    locking.password(session, entry.id)
    return session.get_one(Entry, entry.id, populate_existing=True)


def _columns(settings: Settings) -> dict[str, Any]:
    return {field.name: getattr(settings, field.name) for field in fields(settings)}


def _checked(settings: Settings) -> Settings:
    """The same, blanks at the ends taken off. Raises :class:`Invalid`."""
    typed: dict[str, Any] = {
        name: value.strip() if isinstance(value, str) else value for name, value in _columns(settings).items()
    }
    cleaned = replace(settings, **typed)
    if cleaned.type not in TYPES:
        raise Invalid("Choose a type from the list.", field="type")
    if not cleaned.name:
        raise Invalid("Type a name, as you will look for it.", field="name")
    for name, limit in LIMITS.items():
        if len(getattr(cleaned, name)) > limit:
            raise Invalid(f"At most {limit} characters.", field=name)
        check_readable(getattr(cleaned, name), name, lines=name == "notes")
    kind = TYPES[cleaned.type]
    if "machine" in kind.needs and not cleaned.machine:
        raise Invalid(f"{kind.machine}: type where this account lives.", field="machine")
    if "user_name" in kind.needs and not cleaned.user_name:
        raise Invalid("Type the user name of the account.", field="user_name")
    if kind.link_kind == "standalone_windows" and any(c in cleaned.machine for c in "\\/ :"):
        raise Invalid("Only the name of the machine, for example LAB-01.", field="machine")
    if kind.link_kind == "domain":
        _check_domain(cleaned)
    if kind.link_kind == "device_ssh":
        _check_device(cleaned)
    return cleaned


def _check_domain(settings: Settings) -> None:
    for field, check, typed in (
        ("machine", domain_name, settings.machine), ("user_name", account_name, settings.user_name),
    ):  # fmt: skip
        try:
            check(typed)
        except ValueError as error:
            raise Invalid(str(error), field=field) from None


def _check_device(settings: Settings) -> None:
    if not 0 < settings.port < 65536:
        raise Invalid("A port is a number from 1 to 65535; SSH is usually 22.", field="port")
    if not _FINGERPRINT.fullmatch(settings.host_key):
        raise Invalid("The fingerprint of its host key: SHA256: and 43 characters.", field="host_key")


def _refuse_name(session: AnySession, vault_id: str, name: str, but: str = "") -> None:
    same = select(Entry.id).where(
        Entry.vault_id == vault_id, func.lower(Entry.name) == name.lower(), Entry.deleted_at.is_(None), Entry.id != but
    )
    if session.scalar(same):
        raise Invalid("This vault has a password of this name already.", field="name")


def _refuse_retarget(session: AnySession, entry: Entry, chain: SyncChain, changed: dict[str, str], owner: bool) -> None:
    """Rule 34: who decides where a password is sent must own its vault; a run keeps the target it started with."""
    if "type" in changed:
        raise Invalid(
            "This password is kept in sync as what it is. For another type make a new password.", field="type"
        )
    if moved := changed.keys() & PLACE:
        if not owner:
            raise Invalid("Only an owner of this vault may say where the password is sent.", field=min(moved))
        _refuse_busy(session, chain)


def _refuse_busy(session: AnySession, chain: SyncChain) -> None:
    active = select(SyncRun.number).where(SyncRun.chain_id == chain.id, SyncRun.state != "done")
    if (number := session.scalar(active.limit(1))) is not None:
        raise Conflict(f"Run {number} is under way. Nothing was changed. Wait for its end or cancel it first.")


def _refuse_in_use(session: AnySession, entry: Entry) -> None:
    """Rule 35. The words do not name what the person may not see."""
    agent = select(SyncAgent.id).where(or_(SyncAgent.login_entry_id == entry.id, SyncAgent.linked_entry_id == entry.id))
    if session.scalar(agent.limit(1)):
        raise Conflict(
            "A sync agent logs on with this password. Nothing was changed. An organization administrator can give the "
            "agent another one first."
        )
    link = select(SyncLink.id).where(SyncLink.linked_entry_id == entry.id, SyncLink.active)
    if session.scalar(link.limit(1)):
        raise Conflict(
            "Other passwords are changed with this one as linked credential. Nothing was changed. Take it out there "
            "first."
        )
