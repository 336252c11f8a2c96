"""People: add, reset, deactivate, change a password. Passwords of people are argon2id hashes and never come back."""

from __future__ import annotations

import re

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from flask import current_app
from sqlalchemy import func, select

from pwserver.core.errors import Conflict, Forbidden, Invalid
from pwserver.core.generator import Recipe, generate
from pwserver.core.names import check_readable
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import AppUser, Membership, Setting, Vault, new_id
from pwserver.services import locking
from pwserver.services.audit import record
from pwserver.services.transaction import now, write
from pwserver.services.values import AnySession

SHORTEST = 14
LONGEST = 200
THEMES = ("", "light", "dark")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def hasher() -> PasswordHasher:
    """argon2id with the library's present defaults; tests set ``ARGON2`` in the app's config to something quick."""
    return PasswordHasher(**current_app.config.get("ARGON2", {}))


def check_new(secret: Secret, *, field: str = "password") -> Secret:
    """A new password of a person, or :class:`Invalid`. Length counts, nothing else: a sentence is fine."""
    length = len(secret.open())
    if length < SHORTEST:
        raise Invalid(f"At least {SHORTEST} characters; this has {length}. A sentence is fine.", field=field)
    if length > LONGEST:
        raise Invalid(f"At most {LONGEST} characters; this has {length}.", field=field)
    return secret


def matches(user: AppUser, secret: Secret) -> bool:
    """Whether this is the person's password. Slow on purpose: call it outside of a transaction."""
    try:
        return hasher().verify(user.password_hash, secret.open())
    except (VerificationError, InvalidHashError):
        return False


def find(email: str) -> AppUser | None:
    return db.session.scalar(select(AppUser).where(func.lower(AppUser.email) == email.strip().lower()))


def everybody() -> list[AppUser]:
    return list(db.session.scalars(select(AppUser).order_by(AppUser.active.desc(), func.lower(AppUser.name))))


def administrators() -> list[AppUser]:
    """The active ones, by name."""
    query = select(AppUser).where(AppUser.active, AppUser.org_admin).order_by(AppUser.name)
    return list(db.session.scalars(query))


def vault_counts() -> dict[str, int]:
    """In how many vaults each user is a member."""
    rows = db.session.execute(
        select(Membership.user_id, func.count())
        .join(Vault)
        .where(Vault.deleted_at.is_(None))
        .group_by(Membership.user_id)
    )
    return dict(rows.all())


def new_user(
    session: AnySession, *, email: str, name: str, password_hash: str, org_admin: bool, field: str = "email"
) -> AppUser:
    """The row, inside the caller's transaction. Raises :class:`Invalid`."""
    email, name = email.strip(), name.strip()
    if not _EMAIL.fullmatch(email) or len(email) > 254:
        raise Invalid("Type an e-mail address; it is the name to sign in with.", field=field)
    if not name or len(name) > 120:
        raise Invalid("Type a name of at most 120 characters.", field="name")
    check_readable(name, "name")
    if session.scalar(select(AppUser.id).where(func.lower(AppUser.email) == email.lower())):
        raise Invalid("There is a user with this address already.", field=field)
    user = AppUser(
        id=new_id(), email=email, name=name, password_hash=password_hash, org_admin=org_admin, created_at=now()
    )
    session.add(user)
    session.flush()
    return user


def add_user(
    actor: AppUser | None, email: str, name: str, *, org_admin: bool = False, password: Secret | None = None
) -> tuple[AppUser, Secret | None]:
    """Adds a user. Without ``password`` one is made that works until its first use; it is returned this once.

    ``actor`` None: the command line. Raises :class:`Invalid`, :class:`Forbidden`.
    """
    _demand_admin(actor)
    made = None if password else _one_time()
    hashed = hasher().hash((made or check_new(password)).open())  # type: ignore[arg-type]
    with write() as session:
        user = new_user(session, email=email, name=name, password_hash=hashed, org_admin=org_admin)
        if made:
            _mark_one_time(session, user)
        record(session, actor, "user.added", subject=user.email, facts={"org_admin": org_admin})
    return user, made


def reset_password(actor: AppUser | None, user: AppUser) -> Secret:
    """A one-time password for somebody who cannot sign in; all of their sessions end."""
    _demand_admin(actor)
    if actor and actor.id == user.id:
        raise Invalid("This is you. Change your own password under Your account.")
    if not user.active:
        raise Invalid(f"{user.name} is deactivated. Activate the user first.")
    made = _one_time()
    hashed = hasher().hash(made.open())
    with write() as session:
        row = _again(session, user)
        row.password_hash = hashed
        row.session_epoch += 1
        _mark_one_time(session, row)
        record(session, actor, "user.password_reset", subject=row.email)
    return made


def change_password(user: AppUser, old: Secret, new: Secret) -> None:
    """Changes one's own password; every session ends, the present one too: the caller begins a new one."""
    if not matches(user, old):
        raise Invalid("This is not your present password. Nothing was changed.", field="old")
    check_new(new, field="new")
    if old == new:
        raise Invalid("This is the password you have. Choose another one.", field="new")
    hashed, seen = hasher().hash(new.open()), user.password_hash
    with write() as session:
        row = _again(session, user)
        if row.password_hash != seen:
            raise Conflict("Your password was changed elsewhere a moment ago. Nothing was saved; sign in again.")
        row.password_hash = hashed
        row.session_epoch += 1
        if mark := session.get(Setting, _one_time_name(row)):
            session.delete(mark)
        record(session, row, "user.password_changed", subject=row.email)


def set_active(actor: AppUser | None, user: AppUser, active: bool) -> int:
    """Lets somebody in or keeps them out, at once. Returns how many vaults are left without an active owner.

    A person who left must be kept out even when they are some vault's only owner, so that does not refuse it.
    """
    _demand_admin(actor)
    if actor and actor.id == user.id:
        raise Invalid("You cannot deactivate yourself. Ask another organization administrator.")
    with write() as session:
        locking.administrators(session)
        row = _again(session, user)
        if row.active != active:
            row.active = active
            row.session_epoch += 1
            session.flush()
            _keep_an_admin(session)
            record(session, actor, "user.activated" if active else "user.deactivated", subject=row.email)
        owned = select(Membership.vault_id).join(AppUser).where(Membership.owner, AppUser.active)
        orphans = (
            select(func.count())
            .select_from(Membership)
            .join(Vault)
            .where(Membership.user_id == row.id, Membership.owner, Vault.deleted_at.is_(None))
            .where(Membership.vault_id.not_in(owned))
        )
        return session.scalar(orphans) or 0


def set_org_admin(actor: AppUser | None, user: AppUser, org_admin: bool) -> None:
    """Makes an organization administrator, or no more. One who may sign in always stays."""
    _demand_admin(actor)
    with write() as session:
        locking.administrators(session)
        row = _again(session, user)
        if row.org_admin == org_admin:
            return
        row.org_admin = org_admin
        session.flush()
        _keep_an_admin(session)
        record(session, actor, "user.made_admin" if org_admin else "user.no_admin", subject=row.email)


def set_theme(user: AppUser, theme: str) -> None:
    if theme not in THEMES:
        raise Invalid("Choose light, dark or as the system.", field="theme")
    with write() as session:
        _again(session, user).theme = theme


def has_one_time_password(user: AppUser) -> bool:
    """Whether the present password was made for them and must be changed before anything else."""
    return db.session.get(Setting, _one_time_name(user)) is not None


def _one_time() -> Secret:
    return generate(Recipe(length=20, symbols=False))


def _one_time_name(user: AppUser) -> str:
    return f"one-time:{user.id}"


def _mark_one_time(session: AnySession, user: AppUser) -> None:
    session.merge(Setting(name=_one_time_name(user), text=now().isoformat()))


def _again(session: AnySession, user: AppUser) -> AppUser:
    """The row as it stands, locked for this transaction."""
    return session.get_one(AppUser, user.id, with_for_update={"key_share": True})


def _demand_admin(actor: AppUser | None) -> None:
    if actor is not None and not (actor.org_admin and actor.active):
        raise Forbidden("Only an organization administrator may do this.")


def _keep_an_admin(session: AnySession) -> None:
    if not session.scalar(select(AppUser.id).where(AppUser.active, AppUser.org_admin).limit(1)):
        raise Invalid("This is the last organization administrator who can sign in. Name another one first.")
