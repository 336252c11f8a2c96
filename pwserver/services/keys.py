"""The master key: found or made, and proved by a canary before anything starts."""

from __future__ import annotations

from flask import current_app
from sqlalchemy import inspect, select

from pwserver.config import Config
from pwserver.core.secrets import (
    Keyring,
    KeyringError,
    Secret,
    Sealed,
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
    """The keyring of ``PWSERVER_MASTER_KEY`` or the key file; makes the file only when neither is there.

    Whether a new key may be used at all is decided by :func:`prove`: never while a sealed row exists.
    """
    if config.master_key:
        return Keyring(read_master(config.master_key))
    if config.key_file.exists():
        return Keyring(read_key_file(config.key_file))
    if _has_database(config):
        raise KeyringError(
            f"The database is there but its master key is not. Put the key file back at {config.key_file} or set "
            "PWSERVER_MASTER_KEY. A new key would open nothing, so none was made."
        )
    return Keyring(make_key_file(config.key_file))


def _has_database(config: Config) -> bool:
    return bool(config.database_url) or (config.instance / "pwserver.db").exists()


def keyring() -> Keyring:
    found: Keyring = current_app.extensions["keyring"]
    return found


def prove() -> None:
    """Opens the canary, or seals one while nothing is sealed. Raises :class:`KeyringError` when the key is wrong."""
    if not inspect(db.engine).has_table("key_canary"):
        raise KeyringError("The database has no tables yet. Run: flask db upgrade")
    ring = keyring()
    canary = db.session.get(KeyCanary, CANARY_ID)
    if canary is not None:
        if ring.open(Sealed(canary.sealed), bound_to("key_canary", CANARY_ID, "sealed")).open() != CANARY_TEXT:
            raise KeyringError()
        return
    for table in (EntryVersion, Override):
        if db.session.execute(select(table).limit(1)).first():
            raise KeyringError("There are sealed rows but no canary. The database is damaged; restore a backup.")
    with write() as session:
        sealed = ring.seal(Secret(CANARY_TEXT), bound_to("key_canary", CANARY_ID, "sealed"))
        session.add(KeyCanary(id=CANARY_ID, sealed=sealed.data, key_id=sealed.key_id))
