"""Vaults and who may do what in them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select

from pwserver.core.access import Right, highest
from pwserver.core.errors import Conflict, Forbidden, Invalid, NotFound
from pwserver.core.names import check_readable
from pwserver.core.states import STATUS
from pwserver.extensions import db
from pwserver.models import AppUser, Entry, Membership, SyncChain, Vault, new_id
from pwserver.services import favourites, locking, users
from pwserver.services.audit import record
from pwserver.services.transaction import write
from pwserver.services.values import AnySession

SYSTEM_NAME = "Sync agents"
LOUD = [status for status, row in STATUS.items() if row.loud]
"""The statuses that wait for a person."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A vault as its member sees it in a list. ``issues``: passwords in it that wait for a person."""

    vault: Vault
    right: Right
    entries: int
    issues: int


def visible(user: AppUser) -> list[Vault]:
    """The vaults this person is a member of, by name, the system vault last."""
    return list(
        db.session.scalars(
            select(Vault)
            .join(Membership)
            .where(Membership.user_id == user.id, Membership.read | Membership.modify | Membership.owner)
            .where(Vault.deleted_at.is_(None))
            .order_by(Vault.kind == "system", func.lower(Vault.name))
        )
    )


def overview(user: AppUser) -> list[Seen]:
    """:func:`visible` with what this person may do there, and with counts."""
    rows = db.session.execute(
        select(Vault, Membership)
        .join(Membership)
        .where(Membership.user_id == user.id, Vault.deleted_at.is_(None))
        .order_by(Vault.kind == "system", func.lower(Vault.name))
    ).all()
    ids = [vault.id for vault, _ in rows]
    alive = (
        select(Entry.vault_id, func.count(), func.count().filter(SyncChain.status.in_(LOUD)))
        .outerjoin(SyncChain)
        .where(Entry.deleted_at.is_(None), Entry.vault_id.in_(ids))
        .group_by(Entry.vault_id)
    )
    counts = {vault_id: (entries, issues) for vault_id, entries, issues in db.session.execute(alive)}
    found = ((vault, highest(owner=row.owner, modify=row.modify, read=row.read)) for vault, row in rows)
    return [Seen(vault, right, *counts.get(vault.id, (0, 0))) for vault, right in found if right]


def right_of(user: AppUser, vault_id: str) -> Right | None:
    row = db.session.get(Membership, (vault_id, user.id))
    return highest(owner=row.owner, modify=row.modify, read=row.read) if row else None


def rights_of(user: AppUser, vault_ids: Collection[str]) -> dict[str, Right | None]:
    """By vault: :func:`right_of`; vaults of others are left out."""
    rows = db.session.scalars(
        select(Membership).where(Membership.user_id == user.id, Membership.vault_id.in_(vault_ids))
    )
    return {row.vault_id: highest(owner=row.owner, modify=row.modify, read=row.read) for row in rows}


def owners_of(vault_ids: Collection[str]) -> dict[str, list[AppUser]]:
    """By vault: its active owners, by name."""
    rows = db.session.execute(
        select(Membership.vault_id, AppUser)
        .join(AppUser, AppUser.id == Membership.user_id)
        .where(Membership.vault_id.in_(vault_ids), Membership.owner, AppUser.active)
        .order_by(AppUser.name)
    )
    found: dict[str, list[AppUser]] = {vault_id: [] for vault_id in vault_ids}
    for vault_id, user in rows:
        found[vault_id].append(user)
    return found


def system_vault() -> Vault:
    """The vault that holds the agents' logins. Raises :class:`NotFound` before the first run."""
    vault = db.session.scalar(select(Vault).filter_by(kind="system"))
    if vault is None:
        raise NotFound("The vault of the sync agents is missing. Finish the first set-up.")
    return vault


def make_system_vault(session: AnySession, owner: AppUser) -> Vault:
    """The vault *Sync agents*, inside the caller's transaction; the one that is there when there is one."""
    vault = session.scalar(select(Vault).filter_by(kind="system"))
    if vault is None:
        vault = Vault(id=new_id(), name=SYSTEM_NAME, kind="system")
        session.add(vault)
        session.flush()
        session.add(Membership(vault_id=vault.id, user_id=owner.id, owner=True, modify=True, read=True))
        record(session, owner, "vault.created", vault=vault)
    return vault


def create_vault(actor: AppUser, name: str) -> Vault:
    """A new shared vault; its maker is its owner."""
    with write() as session:
        vault = Vault(id=new_id(), name=_name(session, actor, name), kind="shared")
        session.add(vault)
        session.flush()
        session.add(Membership(vault_id=vault.id, user_id=actor.id, owner=True, modify=True, read=True))
        record(session, actor, "vault.created", vault=vault)
    return vault


def rename_vault(actor: AppUser, vault: Vault, name: str) -> None:
    _demand_owner(actor, vault)
    with write() as session:
        locking.vault(session, vault.id)
        row = session.get_one(Vault, vault.id)
        if row.kind == "system":
            raise Invalid("The vault of the sync agents keeps its name.", field="name")
        before = row.name
        row.name = _name(session, actor, name, but=row.id)
        record(session, actor, "vault.renamed", vault=row, facts={"before": before})


def members(vault: Vault) -> list[tuple[AppUser, Right]]:
    """Owners first, then by name; people who cannot sign in last."""
    rows = db.session.execute(
        select(AppUser, Membership)
        .join(Membership)
        .where(Membership.vault_id == vault.id)
        .order_by(AppUser.active.desc(), Membership.owner.desc(), func.lower(AppUser.name))
    )
    found = ((user, highest(owner=row.owner, modify=row.modify, read=row.read)) for user, row in rows)
    return [(user, right) for user, right in found if right]


def add_member(actor: AppUser, vault: Vault, email: str, right: str) -> AppUser:
    """Lets somebody into a vault. Raises :class:`Invalid` in the same words for nobody and for somebody inactive."""
    _demand_owner(actor, vault)
    wanted = _right(right)
    user = users.find(email)
    if user is None or not user.active:
        raise Invalid("No user with this e-mail address can sign in here.", field="email")
    with write() as session:
        locking.vault(session, vault.id)
        if session.get(Membership, (vault.id, user.id)):
            raise Invalid(f"{user.name} is a member already. Change the right in the list.", field="email")
        session.add(_give(Membership(vault_id=vault.id, user_id=user.id), wanted))
        record(session, actor, "member.added", vault=vault, facts={"member": user.email, "right": str(wanted)})
    return user


def set_member(actor: AppUser, vault: Vault, user_id: str, right: str) -> None:
    """Changes what a member may do. The last owner who can sign in stays one."""
    _demand_owner(actor, vault)
    wanted = _right(right)
    with write() as session:
        locking.vault(session, vault.id)
        row = session.get(Membership, (vault.id, user_id))
        if row is None:
            raise Conflict("This member was removed meanwhile. Nothing was changed.")
        before = highest(owner=row.owner, modify=row.modify, read=row.read)
        if before == wanted:
            return
        _give(row, wanted)
        session.flush()
        _keep_an_owner(session, vault)
        record(
            session,
            actor,
            "member.changed",
            vault=vault,
            facts={"member": row.user.email, "right": str(wanted), "before": str(before or "")},
        )


def remove_member(actor: AppUser, vault: Vault, user_id: str) -> None:
    """Takes a member out; an owner may, and everybody may leave by themselves."""
    if actor.id != user_id:
        _demand_owner(actor, vault)
    with write() as session:
        locking.vault(session, vault.id)
        row = session.get(Membership, (vault.id, user_id))
        if row is None:
            raise Conflict("This member was removed meanwhile. Nothing was changed.")
        email = row.user.email
        favourites.forget_in_vault(session, user_id, vault.id)
        session.delete(row)
        session.flush()
        _keep_an_owner(session, vault)
        record(session, actor, "member.removed", vault=vault, facts={"member": email})


def _right(word: str) -> Right:
    if word not in list(Right):
        raise Invalid("Choose Owner, Modify or Read.", field="right")
    return Right(word)


def _give(row: Membership, right: Right) -> Membership:
    row.owner, row.modify, row.read = right == Right.OWNER, right != Right.READ, True
    return row


def _keep_an_owner(session: AnySession, vault: Vault) -> None:
    owners = (
        select(AppUser.id).join(Membership).where(Membership.vault_id == vault.id, Membership.owner, AppUser.active)
    )
    if not session.scalar(owners.limit(1)):
        raise Invalid(
            "A vault keeps at least one owner who can sign in. Make somebody else an owner first. Nothing was changed."
        )


def _demand_owner(actor: AppUser, vault: Vault) -> None:
    if right_of(actor, vault.id) != Right.OWNER:
        raise Forbidden("Only an owner of this vault may do this. Ask one of them.")


def _name(session: AnySession, actor: AppUser, name: str, but: str = "") -> str:
    """The name of a vault; unique among those its maker sees, since others must not be told of."""
    name = name.strip()
    if not name or len(name) > 120:
        raise Invalid("Type a name of at most 120 characters.", field="name")
    check_readable(name, "name")
    same = (
        select(Vault.id)
        .join(Membership)
        .where(Membership.user_id == actor.id, func.lower(Vault.name) == name.lower())
        .where(Vault.id != but, Vault.deleted_at.is_(None))
    )
    if session.scalar(same):
        raise Invalid("You have a vault of this name already.", field="name")
    return name
