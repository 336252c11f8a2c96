"""The tables by migration: up from nothing, down, up again, with sealed rows that open on both sides."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import JSON, NullPool, create_engine, inspect, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import scoped_session as Session

from pwserver import create_app
from pwserver.config import PROJECT, Config
from pwserver.core.secrets import KeyringError, Sealed, Secret, bound_to, make_key_file, read_key_file, read_master
from pwserver.extensions import db
from pwserver.models import (
    AppUser,
    Base,
    Entry,
    EntryVersion,
    Incident,
    KeyCanary,
    SyncAgent,
    SyncChain,
    Vault,
    new_id,
)
from pwserver.services import keys, search
from pwserver.services.keys import keyring
from pwserver.services.listing import Asked
from pwserver.services.sync.invariants import caches
from pwserver.services.sync.requeue import add_run
from pwserver.services.transaction import now, prepare_engine, write
from pwserver.services.values import add_version

HOSTILE = ["plain", " \"'`$()\\ ".strip() + "€", "\U0001f600" * 63, "e\u0301"]


def make(instance: Path, **more: str) -> Flask:
    return create_app(Config(instance=instance, testing=True, **more), pages=False)


def dispose(app: Flask) -> None:
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def url(new_database: Callable[[], str]) -> str:
    """Of an empty database; "" for the one in the instance folder."""
    return new_database()


@pytest.fixture
def app(tmp_path: Path, url: str) -> Iterator[Flask]:
    made = make(tmp_path / "instance", database_url=url)
    with made.app_context():
        upgrade()
        keys.prove()
        yield made
    dispose(made)


def fill() -> list[str]:
    """One entry with hostile values; the ids of its versions."""
    with write() as session:
        user = AppUser(id=new_id(), email="o@example.org", name="O", password_hash="-", created_at=now())
        vault = Vault(id=new_id(), name="V")
        session.add_all([user, vault])
        session.flush()
        entry = Entry(id=new_id(), vault_id=vault.id, name="E", type="generic")
        session.add(entry)
        session.flush()
        stages = ["old", "previous", "current", "pending"]
        return [
            add_version(session, entry, Secret(value), stage=stage, origin="created", actor=user).id
            for value, stage in zip(HOSTILE, stages, strict=True)
        ]


def insert(session: Session, table: str, given: dict[str, Any]) -> None:
    """A row as an older release left it: what is not given and may not be null is empty, or 1."""
    row: dict[str, object] = dict(given)
    for column in inspect(db.engine).get_columns(table):
        if not column["nullable"] and column["name"] not in row:
            empty = {str: "", datetime: "2026-01-01", bool: True}
            is_json = isinstance(column["type"], JSON)
            row[column["name"]] = "[]" if is_json else empty.get(column["type"].python_type, 1)
    names = ", ".join(row)
    session.execute(text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in row)})"), row)


def opened(version_id: str) -> str:
    sealed = db.session.execute(
        text("SELECT sealed FROM entry_version WHERE id = :id"), {"id": version_id}
    ).scalar_one()
    return keyring().open(Sealed(sealed), bound_to("entry_version", version_id, "sealed")).open()


SKIPPED = pytest.mark.filterwarnings("ignore:.*expression-based index")
"""SQLite does not tell of indexes over expressions; their names are compared below."""


def _other_default(_context: Any, _there: Any, column: Any, is_there: Any, _ours: Any, ours: Any) -> bool | None:
    """PostgreSQL cannot compare JSON; of those columns the words are compared. None: as alembic does it."""
    if not isinstance(column.type, JSON):
        return None
    return str(is_there or "").partition("::")[0] != str(ours or "")


@SKIPPED
def test_models_and_migrations_describe_the_same_tables(app: Flask) -> None:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": _other_default}
        )
        differences = compare_metadata(context, Base.metadata)
    assert differences == []


@SKIPPED
def test_a_column_without_its_migration_is_seen(app: Flask) -> None:
    with write() as session:
        session.execute(text("ALTER TABLE setting ADD COLUMN forgotten TEXT"))
    with db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata)


def test_the_partial_unique_indexes_and_checks_are_really_there(app: Flask) -> None:
    told = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    if db.engine.dialect.name == "postgresql":
        told = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' UNION ALL "
            "SELECT 'entry_version', string_agg(conname, ' ') FROM pg_constraint "
            "WHERE conrelid = 'entry_version'::regclass"
        )
    made = dict(db.session.execute(text(told)).all())
    for index in (
        "uq_sync_run_instruction", "uq_sync_run_test", "uq_sync_run_running", "uq_sync_link_account",
        "uq_sync_link_place", "uq_sync_link_primary", "uq_entry_version_pending", "uq_entry_version_current",
        "uq_entry_version_previous", "uq_link_attempt_open", "uq_incident_open",
        "uq_incident_open_agent", "uq_incident_open_rest",
    ):  # fmt: skip
        assert " WHERE " in made[index], index
    assert "sent_is_never_discarded" in made["entry_version"]
    declared = {str(index.name) for table in Base.metadata.tables.values() for index in table.indexes}
    assert declared <= set(made)


def test_two_people_never_have_one_address_and_two_passwords_of_a_vault_never_one_name(app: Flask) -> None:
    fill()
    person = db.session.scalars(select(AppUser)).one()
    entry = db.session.scalars(select(Entry)).one()
    doubles = (
        AppUser(id=new_id(), email=person.email.upper(), name="P", password_hash="-", created_at=person.created_at),
        Entry(id=new_id(), vault_id=entry.vault_id, name=entry.name.lower(), type="generic"),
    )
    for double in doubles:
        with pytest.raises(IntegrityError), write() as session:
            session.add(double)


def test_an_agent_that_does_not_serve_when_its_incident_comes_has_one_afterwards(app: Flask) -> None:
    fill()
    entry_id = db.session.scalars(select(Entry.id)).one()
    with write() as session:
        for name, state in (("SERVES", "approved"), ("DISABLED", "disabled"), ("UNUSED", "disabled")):
            agent = {"name": name, "state": state, "pin": "4f", "health": "healthy"}
            session.add(SyncAgent(id=name, transport="winrm", allowed_machines=[], **agent))
        session.flush()
        session.add(
            SyncChain(
                id="chain",
                entry_id=entry_id,
                agent_id="DISABLED",
                agent_pin="4f",
                status="agent_disabled",
                status_since=now(),
            )
        )
        session.add(Incident(id="login", agent_id="DISABLED", opened_at=now()))
    downgrade(revision="0007")
    upgrade()
    rows = db.session.execute(select(Incident.agent_id, Incident.kind).order_by(Incident.kind)).all()
    assert rows == [("DISABLED", "agent_disabled"), ("DISABLED", "needs_override")], "its refused login is another"
    rest = db.session.scalars(select(Incident).filter_by(kind="agent_disabled")).one()
    assert (rest.closed_at, rest.told, rest.mailed_at) == (None, False, None)
    assert rest.mail_due_at == rest.opened_at
    db.session.remove()
    downgrade(revision="0007")
    assert db.session.scalars(select(Incident.id)).all() == ["login"]
    db.session.remove()
    upgrade()


def test_down_to_nothing_and_up_again(app: Flask) -> None:
    fill()
    downgrade(revision="base")
    assert set(inspect(db.engine).get_table_names()) <= {"alembic_version"}
    upgrade()
    assert db.session.scalars(select(EntryVersion.id)).all() == []
    keys.prove()


def test_sealed_rows_open_on_both_sides_of_an_upgrade(tmp_path: Path, url: str) -> None:
    """A database of today, stopped, upgraded (to the same or a later head) and started by a new process."""
    first = make(tmp_path / "instance", database_url=url)
    with first.app_context():
        upgrade()
        keys.prove()
        made = fill()
        assert [opened(each) for each in made] == HOSTILE
    dispose(first)
    second = make(tmp_path / "instance", database_url=url)
    with second.app_context():
        upgrade()
        keys.prove()
        assert [opened(each) for each in made] == HOSTILE
    dispose(second)


@pytest.mark.breaks_invariants
def test_a_chain_of_before_goes_by_the_certificate_its_agent_has_at_the_upgrade(tmp_path: Path, url: str) -> None:
    made = make(tmp_path / "instance", database_url=url)
    with made.app_context():
        upgrade(revision="0001")
        with write() as session:
            rows = {
                "vault": {"id": "v", "name": "V", "kind": "shared"},
                "entry": {"id": "e", "vault_id": "v", "name": "E", "type": "generic"},
                "sync_agent": {"id": "a", "name": "A", "transport": "winrm", "pin": "feed", "state": "approved"},
                "sync_chain": {"id": "c", "entry_id": "e", "agent_id": "a", "on_failure": "continue"},
            }
            for table, given in rows.items():
                insert(session, table, given)
        upgrade()
        assert db.session.execute(text("SELECT agent_pin FROM sync_chain")).scalar_one() == "feed"
    dispose(made)


@pytest.mark.breaks_invariants
def test_runs_are_numbered_on_from_the_highest(tmp_path: Path, url: str) -> None:
    """A database of before has runs, and no sequence for their numbers."""
    made = make(tmp_path / "instance", database_url=url)
    with made.app_context():
        upgrade(revision="0005")
        with write() as session:
            rows = {
                "vault": {"id": "v", "name": "V", "kind": "shared"},
                "entry": {"id": "e", "vault_id": "v", "name": "E", "type": "generic"},
                "sync_agent": {"id": "a", "name": "A", "transport": "winrm", "state": "approved"},
                "sync_chain": {"id": "c", "entry_id": "e", "agent_id": "a", "on_failure": "continue"},
                "sync_run": {"id": "r", "number": 41, "chain_id": "c", "kind": "test", "state": "done"},
            }
            for table, given in rows.items():
                insert(session, table, given)
        upgrade()
        with write() as session:
            assert add_run(session, "c", "test", requested_at=now(), due_at=now()).number == 42
            session.rollback()
    dispose(made)


@pytest.mark.breaks_invariants
def test_what_was_there_before_search_knew_it_is_found_after_the_upgrade(tmp_path: Path, url: str) -> None:
    """By what people type, in whatever case and Unicode form: names, accounts, machines, tasks; never by its notes."""
    made = make(tmp_path / "instance", database_url=url)
    with made.app_context():
        upgrade(revision="0004")
        agent = {"id": "a", "name": "A", "transport": "winrm", "state": "approved"}
        chain = {"agent_id": "a", "on_failure": "continue", "status": "in_sync"}
        windows = {"id": "e", "name": "Büro STRASSE", "user_name": "Administrator", "machine": "LAB-07"}
        domain = {"id": "d", "name": "Backup", "user_name": "svc-bak", "machine": "DC-01", "domain": "CORP"}
        domain |= {"address": "sw-9.example"}
        link = {"kind": "scheduled_task", "state": "in_sync"}
        task = {"machine": "SRV-02", "path": "\\Nightly\\Reset", "device": ["no", "text"]}
        rows: list[tuple[str, dict[str, Any]]] = [
            ("vault", {"id": "v", "name": "V", "kind": "shared"}),
            ("app_user", {"id": "o", "email": "o@example.org", "name": "O", "active": True}),
            ("membership", {"vault_id": "v", "user_id": "o", "owner": True}),
            ("entry", windows | {"vault_id": "v", "type": "standalone_windows", "notes": "needle in the notes"}),
            ("entry", domain | {"vault_id": "v", "type": "domain"}),
            ("sync_agent", agent),
            ("sync_chain", chain | {"id": "c", "entry_id": "e"}),
            ("sync_chain", chain | {"id": "k", "entry_id": "d"}),
            ("sync_link", link | {"id": "1", "chain_id": "c", "machine": "SRV-02", "settings": json.dumps(task)}),
            ("sync_link", link | {"id": "2", "chain_id": "k", "machine": "", "settings": "null"}),
        ]
        with write() as session:
            for table, given in rows:
                insert(session, table, given)
        upgrade()
        user = db.session.get_one(AppUser, "o")

        def found(typed: str) -> list[str]:
            return [row.entry.id for row in search.search(user, Asked(typed)).page.rows]

        for typed in ("büro", "bu\u0308ro", "strasse", "Straße", "lab-07\\ADMIN", "srv-02", "nightly\\reset"):
            assert found(typed) == ["e"], typed
        for typed in ("corp\\svc-bak", "SW-9", "backup"):
            assert found(typed) == ["d"], typed
        assert found("needle") == []
        wrong = [each for each in caches.check(db.session, now(), timedelta.max) if each.invariant == "search"]
        assert wrong == [], "as if they had been saved today"
    dispose(made)


@pytest.mark.sqlite
def test_nobody_is_turned_away_while_somebody_else_opens_the_same_new_file(tmp_path: Path) -> None:
    """SQLite says "locked" at once to some of those that switch a new file to WAL in the same moment."""
    failed: list[BaseException] = []

    def open_it(file: Path, together: threading.Barrier) -> None:
        engine = create_engine(f"sqlite:///{file}", poolclass=NullPool)
        prepare_engine(engine)
        together.wait()
        try:
            engine.connect().close()
        except OperationalError as error:
            failed.append(error)

    for number in range(100):
        together = threading.Barrier(4)
        openers = [threading.Thread(target=open_it, args=(tmp_path / f"{number}.db", together)) for _ in range(4)]
        for opener in openers:
            opener.start()
        for opener in openers:
            opener.join()
    assert failed == []


@pytest.mark.budget(25, "starts three processes")
def test_two_processes_that_start_at_once_bring_the_database_up_to_date_once(tmp_path: Path, url: str) -> None:
    code = "import sys; from pwserver import prepare; sys.exit(prepare.main([]))"
    env = os.environ | {"PWSERVER_INSTANCE": str(tmp_path / "instance"), "DATABASE_URL": url}
    env |= {"PWSERVER_MASTER_KEY": base64.b64encode(b"\2" * 32).decode()}
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [(process.communicate(timeout=50)[0], process.returncode) for process in started]
    assert [status for _, status in told] == [0, 0, 0], told
    assert all(json.loads(out.splitlines()[-1])["code"] for out, _ in told)
    made = make(tmp_path / "instance", database_url=url, master_key=env["PWSERVER_MASTER_KEY"])
    with made.app_context():
        keys.prove()
        heads = db.session.execute(text("SELECT version_num FROM alembic_version")).all()
        assert len(heads) == 1
    dispose(made)


def test_a_wrong_master_key_starts_nothing(tmp_path: Path, url: str) -> None:
    first = make(tmp_path / "instance", database_url=url)
    with first.app_context():
        upgrade()
        keys.prove()
    dispose(first)
    other = base64.b64encode(b"\1" * 32).decode()
    with pytest.raises(KeyringError) as refused:
        make(tmp_path / "instance", database_url=url, master_key=other)
    assert other not in str(refused.value)


def test_a_lost_key_file_is_never_replaced_by_a_new_one_while_something_is_sealed(tmp_path: Path) -> None:
    first = make(tmp_path / "instance")
    with first.app_context():
        upgrade()
        keys.prove()
    dispose(first)
    key = tmp_path / "instance" / "master.key"
    kept = key.read_text()
    key.unlink()
    with pytest.raises(KeyringError) as refused:
        make(tmp_path / "instance")
    assert "none was made" in refused.value.user_message
    assert not key.exists()
    key.write_text(kept)
    key.chmod(0o600)
    dispose(make(tmp_path / "instance"))


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    first = make(tmp_path / "instance")
    dispose(first)
    key = tmp_path / "instance" / "master.key"
    assert key.stat().st_mode & 0o777 == 0o600
    for mode in (0o644, 0o640, 0o604):
        key.chmod(mode)
        with pytest.raises(KeyringError) as refused:
            make(tmp_path / "instance")
        assert "chmod 600" in refused.value.user_message


def test_sealed_rows_without_a_canary_start_nothing(app: Flask) -> None:
    fill()
    with write() as session:
        session.delete(session.get_one(KeyCanary, keys.CANARY_ID))
    with pytest.raises(KeyringError):
        keys.prove()


@pytest.mark.breaks_invariants
def test_a_sealed_value_moved_to_another_row_does_not_open(app: Flask) -> None:
    one, other, *_ = fill()
    with write() as session:
        session.get_one(EntryVersion, one).sealed = session.get_one(EntryVersion, other).sealed
    with pytest.raises(KeyringError):
        opened(one)
    assert opened(other) == HOSTILE[1]


def test_a_key_file_appears_whole_or_not_at_all_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = make_key_file(path)
    assert read_key_file(path) == key
    with pytest.raises(FileExistsError):
        make_key_file(path)
    assert read_key_file(path) == key
    assert [each.name for each in tmp_path.iterdir()] == ["master.key"], "no draft is left"


@pytest.mark.parametrize(
    "text_", ["", "short", base64.b64encode(b"x" * 31).decode(), "%%%", base64.b64encode(b"x" * 33).decode()]
)
def test_a_damaged_master_key_is_refused_in_words(text_: str) -> None:
    with pytest.raises(KeyringError) as refused:
        read_master(text_)
    assert "32 bytes" in refused.value.user_message


def test_a_database_that_was_never_migrated_says_what_to_run(tmp_path: Path) -> None:
    made = make(tmp_path / "instance")
    with made.app_context(), pytest.raises(KeyringError) as refused:
        keys.prove()
    assert "flask db upgrade" in refused.value.user_message
    dispose(made)
