"""The master key: found or made, and proved by a canary before anything starts."""

from __future__ import annotations

from flask import current_app
from sqlalchemy import inspect, select
from sqlalchemy.exc import IntegrityError

from pwserver.config import Config
from pwserver.core.secrets import (
    Keyring,
    KeyringError,
    Sealed,
    Secret,
    bound_to,
    make_key_file,
    read_key_file,
    read_master,
)
from pwserver.extensions import db
from pwserver.models import EntryVersion, KeyCanary, Override
from pwserver.services.transaction import write

CANARY_ID = "canary"
CANARY_TEXT = "pwserver"


def load(config: Config) -> Keyring:
    """The keyring of ``PWSERVER_MASTER_KEY`` or the key file. Makes a key only while no sealed row exists, for a new
    key would open nothing. Needs the application's database."""
    if config.master_key:
        return Keyring(read_master(config.master_key))
    if config.key_file.exists():
        return Keyring(read_key_file(config.key_file))
    if _is_anything_sealed():
        raise KeyringError(
            f"The database is there but its master key is not. Put the key file back at {config.key_file} or set "
            "PWSERVER_MASTER_KEY. A new key would open nothing, so none was made."
        )
    try:
        return Keyring(make_key_file(config.key_file))
    except FileExistsError:  # another process of ours was first
        return Keyring(read_key_file(config.key_file))


def _is_anything_sealed() -> bool:
    there = inspect(db.engine)
    sealed = (KeyCanary, EntryVersion, Override)
    return any(
        there.has_table(table.__tablename__) and db.session.execute(select(table).limit(1)).first() for table in sealed
    )


def keyring() -> Keyring:
    found: Keyring = current_app.extensions["keyring"]
    return found


def prove() -> None:
    """Opens the canary, or seals one while nothing is sealed. Raises :class:`KeyringError` when the key is wrong."""
    if not is_ready():
        raise KeyringError("The database has no tables yet. Run: flask db upgrade")
    canary = db.session.get(KeyCanary, CANARY_ID)
    if canary is None:
        if _is_anything_sealed():
            raise KeyringError("There are sealed rows but no canary. The database is damaged; restore a backup.")
        _seal_canary()
        canary = db.session.get_one(KeyCanary, CANARY_ID)
    if keyring().open(Sealed(canary.sealed), bound_to("key_canary", CANARY_ID, "sealed")).open() != CANARY_TEXT:
        raise KeyringError()


def opens(table: str, row_id: str, sealed: bytes) -> bool:
    """Whether what is sealed in this row opens with this master key. What it is stays in here."""
    try:
        keyring().open(Sealed(sealed), bound_to(table, row_id, "sealed"))
    except (KeyringError, UnicodeDecodeError):
        return False
    return True


def is_ready() -> bool:
    """Whether the tables are there (before the first migration they are not)."""
    return inspect(db.engine).has_table(KeyCanary.__tablename__)


def _seal_canary() -> None:
    sealed = keyring().seal(Secret(CANARY_TEXT), bound_to("key_canary", CANARY_ID, "sealed"))
    try:
        with write() as session:
            session.add(KeyCanary(id=CANARY_ID, sealed=sealed.data, key_id=sealed.key_id))
    except IntegrityError:
        return  # another process of ours was first; what it sealed is opened next
