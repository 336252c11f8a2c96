"""A vault with chains over the model network, on a database whose rows are put back for each example: one in memory, or
one of PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import select

from pwserver import create_app
from pwserver.config import Config
from pwserver.core.secrets import Secret
from pwserver.core.timing import NORMAL, RetryPolicy, Timing
from pwserver.extensions import db
from pwserver.models import AgentScope, AppUser, Entry, Membership, SyncAgent, SyncChain, SyncRun, Vault, new_id
from pwserver.services import keys, sync
from pwserver.services.transaction import write
from pwserver.services.values import add_version
from tests import postgres
from tests.sync.world import START, ModelConnect, TrueAccount, TruePlace, World

EXACT = replace(NORMAL, retry=RetryPolicy(jitter=0))

ACCOUNTS = {
    "LAB-01\\Administrator": "LAB-01\\Administrator",
    "LAB-02\\Administrator": "LAB-01\\Administrator",
    "LAB-03\\operator": "LAB-03\\operator",
    "LAB-02\\lab-adm": "LAB-02\\lab-adm",
}
"""Account → its chain's Default Sync."""


def make_app(folder: Path, timing: Timing = EXACT, url: str = "") -> Flask:
    app = create_app(Config(instance=folder, database_url=url or "sqlite://", testing=True, timing=timing), pages=False)
    with app.app_context():
        db.create_all()
        keys.prove()
    return app


@dataclass
class Scene:
    """The ids a test needs, and the world."""

    app: Flask
    world: World
    olivia: str
    entries: dict[str, str]

    def entry(self, name: str) -> Entry:
        return db.session.get_one(Entry, self.entries[name])

    def person(self) -> AppUser:
        return db.session.get_one(AppUser, self.olivia)

    def connect(self) -> ModelConnect:
        return ModelConnect(self.world)


def new_world() -> World:
    world = World()
    for name, primary in ACCOUNTS.items():
        world.accounts[name] = TrueAccount(f"first {primary}", START - timedelta(days=90), sent={f"first {primary}"})
        world.primary_of[name] = primary
    for login in ("LAB-01\\svc-psrv", "M\\adm"):
        world.accounts[login] = TrueAccount("our login", START)
    world.places["LAB-02\\\\Nightly"] = TruePlace("first LAB-01\\Administrator", "LAB-02\\Administrator")
    world.places["LAB-01\\imaging"] = TruePlace("first LAB-01\\Administrator", "LAB-01\\Administrator")
    return world


def build(app: Flask, world: World) -> Scene:
    """Three chains: *lab* (Default Sync on LAB-01, Remote LAB-02, a task there, a service on LAB-01), *desk* (LAB-03),
    and *adm*, whose password is the linked credential of the LAB-02 links. *M* is shared by all three."""
    app.config["CLOCK"] = lambda: world.now
    olivia = AppUser(id=new_id(), email="olivia@example.org", name="Olivia", password_hash="-", created_at=START)
    vault = Vault(id=new_id(), name="Computer Lab")
    with write() as session:
        session.add_all([olivia, vault, Membership(vault_id=vault.id, user_id=olivia.id, owner=True, modify=True)])
    ids: dict[str, str] = {}

    def entry(key: str, user: str, machine: str, value: str, kind: str = "standalone_windows") -> None:
        with write() as session:
            row = Entry(id=new_id(), vault_id=vault.id, name=key, type=kind, user_name=user, machine=machine)
            session.add(row)
            session.flush()
            add_version(session, row, Secret(value), stage="current", origin="created", actor=olivia)
            ids[key] = row.id

    entry("lab", "Administrator", "LAB-01", "first LAB-01\\Administrator")
    entry("desk", "operator", "LAB-03", "first LAB-03\\operator")
    entry("adm", "LAB-02\\lab-adm", "LAB-02", "first LAB-02\\lab-adm")
    entry("login", "LAB-01\\svc-psrv", "LAB-01", "our login")
    entry("M", "M\\adm", "", "our login")
    with write() as session:
        agent = SyncAgent(
            id=new_id(), name="LAB-01", transport="winrm", machine="LAB-01", host="127.0.0.1", state="approved",
            health="ok", login_entry_id=ids["login"], linked_entry_id=ids["M"], allowed_machines=["LAB-02", "LAB-03"],
        )  # fmt: skip
        session.add_all([agent, AgentScope(agent_id=agent.id, vault_id=vault.id)])
    scene = Scene(app, world, olivia.id, ids)
    agent_id = agent.id
    with write() as session:
        session.get_one(Entry, ids["adm"]).user_name = "lab-adm"
    for key in ("lab", "desk", "adm"):
        sync.enable(scene.person(), scene.entry(key), agent_id)
    lab = scene.entry("lab")
    remote = sync.add_link(
        scene.person(), lab, "remote_windows", {"machine": "LAB-02", "user_name": "Administrator"},
        revision=sync.chain_of(lab).revision, linked_entry_id=ids["adm"],
    )  # fmt: skip
    remote_id = remote.id
    sync.add_link(
        scene.person(), scene.entry("lab"), "scheduled_task", {"machine": "LAB-02", "path": "\\Nightly"},
        revision=sync.chain_of(lab).revision, account_link_id=remote_id, linked_entry_id=ids["adm"],
    )  # fmt: skip
    sync.add_link(
        scene.person(), scene.entry("lab"), "windows_service", {"machine": "LAB-01", "name": "imaging"},
        revision=sync.chain_of(lab).revision,
    )  # fmt: skip
    with write() as session:
        session.get_one(Entry, ids["adm"]).user_name = "LAB-02\\lab-adm"
    db.session.rollback()
    return scene


def raw() -> Any:
    """The driver's own connection: of the one in memory, or one of PostgreSQL's."""
    connection = db.session.connection().connection.dbapi_connection
    db.session.rollback()
    return connection


Rows = sqlite3.Connection | postgres.Kept
"""All that is in a database at a moment."""


def rows_now() -> Rows:
    line = raw()
    if not isinstance(line, sqlite3.Connection):
        return postgres.keep(line)
    copy = sqlite3.connect(":memory:")
    line.backup(copy)
    return copy


def put_back(rows: Rows) -> None:
    if isinstance(rows, sqlite3.Connection):
        rows.backup(raw())
    else:
        postgres.put_back(raw(), rows)


@dataclass
class Stage:
    """The app, and the database and world that every example starts from: built once, copied back each time."""

    app: Flask
    template: Rows
    scene: Scene

    def restore(self) -> Scene:
        db.session.remove()
        put_back(self.template)
        world = deepcopy(self.scene.world)
        self.app.config["CLOCK"] = lambda: world.now
        return replace(self.scene, world=world)

    def after(self, act: Callable[[Scene], None]) -> Stage:
        """The stage that others start from when this was played once."""
        with self.app.app_context():
            scene = self.restore()
            act(scene)
            return _keep(scene)


def make_stage(folder: Path, timing: Timing = EXACT, url: str = "") -> Stage:
    """``url``: of an empty database; else one in memory is made."""
    app = make_app(folder, timing, url)
    with app.app_context():
        return _keep(build(app, new_world()))


def proved(stage: Stage) -> Stage:
    """The same stage after its first tests: every account was proved."""

    def first_tests(scene: Scene) -> None:
        for run_id in db.session.scalars(select(SyncRun.id).order_by(SyncRun.number)).all():
            assert sync.execute(run_id, "worker", scene.connect)
        assert set(db.session.scalars(select(SyncChain.status))) <= {"in_sync", "pending_sync"}

    return stage.after(first_tests)


def _keep(scene: Scene) -> Stage:
    template = rows_now()
    db.session.remove()
    return Stage(scene.app, template, scene)
