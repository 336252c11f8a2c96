"""``flask database copy-to``: everything that is in the SQLite file is in PostgreSQL then, or nothing is."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result
from flask import Flask
from flask_migrate import stamp, upgrade
from psycopg import sql
from sqlalchemy import select, text

from pwserver import create_app, supervisor
from pwserver.cli.output import Exit
from pwserver.config import Config
from pwserver.core.secrets import Secret
from pwserver.core.timing import FAST
from pwserver.extensions import db
from pwserver.models import (
    AppUser,
    Base,
    Entry,
    EntryVersion,
    Event,
    Favourite,
    Incident,
    SyncAgent,
    SyncLink,
    SyncRun,
    Trouble,
    new_id,
)
from pwserver.services import copying, entries, sync, watch
from pwserver.services.mail import outbox
from pwserver.services.sync.requeue import add_run
from pwserver.services.transaction import now, write
from pwserver.services.values import add_version, reveal
from tests.cli.conftest import Console, LabHere, console_of
from tests.conftest import MASTER, dispose
from tests.postgres import Cluster

pytestmark = [pytest.mark.enable_socket, pytest.mark.postgres]

NEEDLE = "Postgres-needle-5541"
WORDS = "Übung \U0001f600 e\u0301 'quoted' \\ %s"


@pytest.fixture
def database(cluster: Cluster) -> str:
    """The name of an empty database, whose server is not in UTC."""
    name = cluster.create()
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as line:
        line.execute(sql.SQL("ALTER DATABASE {} SET timezone TO 'America/New_York'").format(sql.Identifier(name)))
    return name


@pytest.fixture
def address(cluster: Cluster, database: str) -> str:
    return cluster.url(database)


@pytest.fixture(scope="module")
def filled_template(demo_template: tuple[Path, dict[str, int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with all of its passwords proved, a change that has begun, and rows in the other tables."""
    folder = tmp_path_factory.mktemp("filled") / "instance"
    shutil.copytree(demo_template[0], folder)
    lab = LabHere(folder / "lab", dict(demo_template[1]))
    try:
        with console_of(folder, []) as console:
            console.in_sync()
            _fill(console)
    finally:
        lab.stop()
    return folder


@pytest.fixture
def instance(filled_template: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "instance"
    shutil.copytree(filled_template, folder)
    return folder


def _fill(console: Console) -> None:
    with console.app.app_context():
        stamp()
        watch.begin(everything=True)
        olivia = db.session.scalars(select(AppUser)).first()
        entry = db.session.scalars(select(Entry).filter_by(name="Lab Administrator")).one()
        agent = db.session.scalars(select(SyncAgent).filter_by(transport="winrm")).first()
        sync.request_change(olivia, entry, Secret(WORDS))
        with write() as session:
            session.get_one(Entry, entry.id).notes = f"{WORDS}\n" * 3
            session.add(Favourite(user_id=olivia.id, entry_id=entry.id))
            outbox.put(session, olivia, "test", "test", WORDS)
            session.add(Trouble(id=new_id(), kind="disk", words=WORDS, opened_at=now() - timedelta(microseconds=1)))
            _incident_before_its_cause(session, entry, agent.id)


def _incident_before_its_cause(session: Any, entry: Entry, agent_id: str) -> None:
    """The row that names another one of its own table is the first of the two."""
    chain = sync.chain_of(entry)
    at = {"opened_at": now(), "closed_at": now(), "closed_why": "in_sync"}
    own = Incident(id=new_id(), chain_id=chain.id, **at)
    session.add(own)
    session.flush()
    cause = Incident(id=new_id(), agent_id=agent_id, **at)
    session.add(cause)
    session.flush()
    own.cause_id = cause.id


def copy(console: Console, address: str, **more: Any) -> Result:
    return console("database", "copy-to", address, **more)


def there(app: Flask, address: str) -> Flask:
    """The application started from the copy, with the same data folder and key."""
    config = Config(
        instance=app.config["PWSERVER"].instance, database_url=address, master_key=MASTER, testing=True, timing=FAST
    )
    return create_app(config)


def rows_here(console: Console, table: str) -> list[dict[str, Any]]:
    file = console.app.config["PWSERVER"].instance / "pwserver.db"
    with closing(sqlite3.connect(file)) as line:
        line.row_factory = sqlite3.Row
        return [dict(row) for row in line.execute(f"SELECT * FROM {table}")]


def rows_there(address: str, table: str) -> list[dict[str, Any]]:
    with psycopg.connect(address, row_factory=psycopg.rows.dict_row) as line:
        return list(line.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))))


def is_empty(address: str) -> bool:
    """Tables there may be, rows none."""
    with psycopg.connect(address) as line:
        names = [name for (name,) in line.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        counts = [
            line.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
            for name in names
            if name not in ("alembic_version", "key_canary")
        ]
    return not any(count for found in counts if found for count in found)


def as_there(ours: Any, theirs: Any) -> Any:
    """A value as the driver of SQLite gives it, as the driver of PostgreSQL would."""
    if ours is None or isinstance(theirs, str | int) and not isinstance(theirs, bool):
        return ours
    if isinstance(theirs, bool):
        return bool(ours)
    return datetime.fromisoformat(ours) if isinstance(theirs, datetime) else json.loads(ours) if (
        isinstance(theirs, dict | list)
    ) else ours  # fmt: skip


def by_key(rows: list[dict[str, Any]], table: str) -> dict[tuple[str, ...], dict[str, Any]]:
    keys = [column.name for column in Base.metadata.tables[table].primary_key]
    return {tuple(str(row[key]) for key in keys): row for row in rows}


def test_every_row_of_every_table_is_there_as_it_was(console: Console, address: str) -> None:
    done = copy(console, address)
    assert done.exit_code == 0, done.output
    empty = set()
    for table in Base.metadata.tables:
        ours, theirs = by_key(rows_here(console, table), table), by_key(rows_there(address, table), table)
        assert ours.keys() == theirs.keys(), table
        for key, row in ours.items():
            found = theirs[key]
            assert {name: as_there(value, found[name]) for name, value in row.items()} == found, table
        if not ours:
            empty.add(table)
    assert empty <= {"account_try", "link_maybe", "account_name", "override"}, "the others had rows to be copied"
    assert f"{sum(len(rows_here(console, table)) for table in Base.metadata.tables)} rows were copied" in done.output


def test_a_server_started_from_the_copy_has_the_same_passwords_and_goes_on(
    console: Console, lab: LabHere, address: str
) -> None:
    with console.app.app_context():
        before = {entry.id: entries.standing(entry).status for entry in db.session.scalars(select(Entry))}
        values = {entry: reveal(None, db.session.get_one(Entry, entry)).open() for entry in before}
        runs = max(db.session.scalars(select(SyncRun.number)))
    assert copy(console, address).exit_code == 0
    app = there(console.app, address)
    with app.app_context():
        found = {entry.id: entries.standing(entry).status for entry in db.session.scalars(select(Entry))}
        assert found == before
        assert {entry: reveal(None, db.session.get_one(Entry, entry)).open() for entry in before} == values
        assert sync.check(recheck_lag=timedelta.max) == []
        entry = db.session.scalars(select(Entry).filter_by(name="Lab Administrator")).one()
        run = sync.active_run(sync.chain_of(entry))
        assert run is not None, "what was queued there goes on here"
        assert sync.execute(run.id, "worker")
        assert reveal(None, db.session.get_one(Entry, entry.id)).open() == WORDS
        assert entries.standing(db.session.get_one(Entry, entry.id)).status == "in_sync"
        assert sync.request_test(None, db.session.get_one(Entry, entry.id)).number == runs + 1
    dispose(app)


def test_numbers_go_on_behind_the_highest(console: Console, address: str) -> None:
    assert copy(console, address).exit_code == 0
    highest = max(row["seq"] for row in rows_there(address, "event"))
    runs = max(row["number"] for row in rows_there(address, "sync_run"))
    with psycopg.connect(address) as line:
        sequences = {name for (name,) in line.execute("SELECT sequencename FROM pg_sequences")}
    assert sequences == {"event_seq_seq", "sync_run_number"}, "another one has to go on behind its highest, too"
    app = there(console.app, address)
    with app.app_context(), write() as session:
        made = Event(at=now(), verb="tested")
        session.add(made)
        session.flush()
        assert made.seq == highest + 1
        chain = session.scalars(select(SyncLink.chain_id)).first()
        session.execute(text("UPDATE sync_run SET state = 'done'"))
        assert add_run(session, str(chain), "test", requested_at=now(), due_at=now()).number == runs + 1
        session.rollback()
    dispose(app)


def test_the_tables_there_are_the_same_tables_afterwards(console: Console, address: str, cluster: Cluster) -> None:
    """References are looked at late while rows arrive, and at once again from then on."""
    other = cluster.url(cluster.create())
    fresh = there(console.app, other)
    with fresh.app_context():
        upgrade()
    dispose(fresh)
    assert copy(console, address).exit_code == 0
    query = "SELECT conname, condeferrable, condeferred, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1, 4"
    timing = (
        "SELECT tgconstraint::regclass IS NULL, tgdeferrable, tginitdeferred, count(*) FROM pg_trigger GROUP BY 1, 2, 3"
    )
    with psycopg.connect(address) as one, psycopg.connect(other) as two:
        assert one.execute(query).fetchall() == two.execute(query).fetchall()
        assert one.execute(timing).fetchall() == two.execute(timing).fetchall()


def test_the_audit_says_here_and_there_that_it_was_copied_and_by_whom(console: Console, address: str) -> None:
    assert copy(console, address).exit_code == 0
    for rows in (rows_here(console, "event"), rows_there(address, "event")):
        last = max(rows, key=lambda row: row["seq"])
        assert (last["verb"], "host=" in last["subject"], "console" in str(last["facts"])) == (
            "database.copied", True, True,
        )  # fmt: skip


# -- the address


def with_password(address: str) -> str:
    return address.replace("pwserver@", f"pwserver:{NEEDLE}@")


def test_a_password_in_the_address_comes_on_standard_input_and_is_shown_nowhere(
    console: Console, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    code, told = console.json("database", "copy-to", "-", stdin=with_password(address) + "\n")
    assert (code, told["rows"]["app_user"] > 1) == (0, True)
    assert "pwserver:***@" in told["database_url"]
    written = "".join(
        path.read_text(errors="replace")
        for path in console.app.config["PWSERVER"].instance.rglob("*")
        if path.is_file()
    )
    assert NEEDLE not in json.dumps(told) + caplog.text + written
    assert NEEDLE not in str(rows_there(address, "event"))


@pytest.mark.parametrize("secret", [f"postgresql://u:{NEEDLE}@h/d", f"postgresql://h/d?password={NEEDLE}"])
def test_a_password_typed_in_the_command_is_refused_and_not_repeated(console: Console, secret: str) -> None:
    done = copy(console, secret)
    assert done.exit_code == Exit.NOT_WELL
    assert "standard input" in done.stderr
    assert NEEDLE not in done.output + done.stderr


@pytest.mark.parametrize("wrong", [f"mysql://u:{NEEDLE}@h/d", f"{NEEDLE}", f"postgresql://u:{NEEDLE}@h:port/d"])
def test_what_is_no_address_is_refused_and_not_repeated(console: Console, wrong: str) -> None:
    done = copy(console, "-", stdin=wrong)
    assert (done.exit_code, "no address" in done.stderr) == (Exit.NOT_WELL, True)
    assert NEEDLE not in done.output + done.stderr


@pytest.mark.parametrize("hidden", ["password", "sslpassword"])
def test_a_server_that_does_not_answer_is_named_without_its_password(console: Console, hidden: str) -> None:
    url = f"postgresql://pwserver:{NEEDLE}@127.0.0.1:1/gone?connect_timeout=2&{hidden}={NEEDLE}"
    done = copy(console, "-", stdin=url)
    assert (done.exit_code, "does not answer" in done.stderr) == (Exit.AWAY, True)
    assert "127.0.0.1:1/gone" in done.stderr
    assert NEEDLE not in done.output + done.stderr


# -- what is refused


def refused(done: Result, *words: str) -> None:
    assert done.exit_code == Exit.NOT_WELL, done.output
    for each in words:
        assert each in done.stderr
    assert "othing was copied" in done.stderr


def test_not_while_the_server_runs(console: Console, address: str) -> None:
    instance: Path = console.app.config["PWSERVER"].instance
    lock = supervisor.take_lock(instance)
    assert lock is not None
    (instance / "running.json").write_text('{"url": "http://127.0.0.1:8080"}')
    refused(copy(console, address), "Password Server runs: http://127.0.0.1:8080. Stop it first.")
    assert is_empty(address)
    os.close(lock)
    assert copy(console, address).exit_code == 0


def test_not_while_somebody_else_has_the_file_open(console: Console, address: str) -> None:
    """A worker that was started by itself, without the lock of the folder."""
    file = console.app.config["PWSERVER"].instance / "pwserver.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("SELECT count(*) FROM entry").fetchall()
        refused(copy(console, address), "Another program has the database open.")
    assert is_empty(address)
    assert copy(console, address).exit_code == 0


def test_no_server_starts_and_nobody_writes_in_the_middle(
    console: Console, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = console.app.config["PWSERVER"].instance / "pwserver.db"
    found: list[str] = []

    def look(*args: Any) -> None:
        assert supervisor.take_lock(file.parent) is None
        with closing(sqlite3.connect(file, timeout=0.1)) as other, pytest.raises(sqlite3.OperationalError) as error:
            other.execute("SELECT count(*) FROM entry").fetchall()
        found.append(str(error.value))

    real = copying._count_on
    monkeypatch.setattr(copying, "_count_on", lambda target: (look(), real(target)))
    assert copy(console, address).exit_code == 0
    assert found == ["database is locked"]


def test_not_into_a_database_that_has_rows(console: Console, address: str) -> None:
    assert copy(console, address).exit_code == 0
    before = rows_there(address, "event")
    refused(copy(console, address), "is not empty", "app_user", "entry_version")
    assert rows_there(address, "event") == before


def test_not_between_two_releases(console: Console, address: str) -> None:
    with console.app.app_context(), write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0005'"))
    refused(copy(console, address), "another release (0005)", "Start the server here once")
    assert is_empty(address)


def test_not_from_postgresql(cluster: Cluster, address: str, tmp_path: Path) -> None:
    app = create_app(Config(instance=tmp_path, database_url=address, master_key=MASTER, testing=True), pages=False)
    with app.app_context():
        upgrade()
    done = Console(app)("database", "copy-to", cluster.url(cluster.create()))
    assert (done.exit_code, "PostgreSQL database already" in done.stderr) == (Exit.NOT_WELL, True)
    dispose(app)


@pytest.mark.breaks_invariants
def test_not_what_the_check_reports(console: Console, address: str) -> None:
    with console.app.app_context(), write() as session:
        session.execute(text("UPDATE sync_chain SET status = 'in_sync', status_detail = ''"))
    done = copy(console, address)
    assert done.exit_code == Exit.NOT_WELL
    assert "of the database here" in done.stderr
    assert is_empty(address)


@pytest.fixture
def tables(console: Console, address: str) -> Iterator[psycopg.Connection[Any]]:
    """A line to the tables there, which have no rows yet."""
    app = there(console.app, address)
    with app.app_context():
        upgrade()
    dispose(app)
    with psycopg.connect(address, autocommit=True) as line:
        yield line


@pytest.mark.parametrize(
    "spoil",
    ["NEW.sealed = set_byte(NEW.sealed, 20, 1 + get_byte(NEW.sealed, 20) % 255)", "NEW.created_at = now()"],
)
def test_a_row_that_arrives_otherwise_is_noticed_and_nothing_stays(
    console: Console, address: str, tables: psycopg.Connection[Any], spoil: str
) -> None:
    tables.execute(
        f"CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.stage = 'current' THEN {spoil}; "
        "END IF; RETURN NEW; END $$"
    )
    tables.execute("CREATE TRIGGER spoil BEFORE INSERT ON entry_version FOR EACH ROW EXECUTE FUNCTION spoil()")
    refused(copy(console, address), "entry_version is not what was sent")
    assert is_empty(address)


def test_a_row_that_is_lost_on_the_way_is_noticed(
    console: Console, address: str, tables: psycopg.Connection[Any]
) -> None:
    tables.execute("CREATE RULE lose AS ON INSERT TO setting WHERE NEW.name LIKE 'w%' DO INSTEAD NOTHING")
    refused(copy(console, address), "setting is not what was sent")
    assert is_empty(address)


def test_what_does_not_open_there_is_not_kept(console: Console, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another key in the environment of the server there would do this."""
    other = there(console.app, address)
    dispose(other)
    monkeypatch.setattr("pwserver.services.sync.invariants.values.opens", lambda *_: db.engine.dialect.name == "sqlite")
    refused(copy(console, address), "of the database there", "does not open")
    assert is_empty(address)


@pytest.mark.parametrize(
    ("name", "words"),
    [("n" * 121, "name of entry", ), ("in\0side", "has a NUL")],
)  # fmt: skip
def test_what_only_sqlite_takes_is_named(console: Console, address: str, name: str, words: str) -> None:
    with console.app.app_context(), write() as session:
        entry = session.scalars(select(Entry)).first()
        entry.name = name
        entry_id = entry.id
    refused(copy(console, address), words, entry_id)
    assert is_empty(address)


def test_two_names_that_are_one_to_postgresql_are_named(console: Console, address: str) -> None:
    with console.app.app_context():
        first = db.session.scalars(select(Entry)).first()
        for name in ("Ärger", "ärger"):
            with write() as session:
                entry = Entry(id=new_id(), vault_id=first.vault_id, name=name, type="generic")
                session.add(entry)
                session.flush()
                add_version(session, entry, Secret("x"), stage="current", origin="created", actor=None)
    refused(copy(console, address), "uq_entry_name_in_vault", "ärger", "are one to PostgreSQL")
    assert is_empty(address)


@pytest.mark.breaks_invariants
def test_a_reference_into_nowhere_is_not_copied(console: Console, address: str) -> None:
    file = console.app.config["PWSERVER"].instance / "pwserver.db"
    with closing(sqlite3.connect(file)) as line:  # without foreign keys
        line.execute("UPDATE event SET actor_id = 'nobody' WHERE seq = 1")
        line.commit()
    refused(copy(console, address), "fk_event_actor_id")
    assert is_empty(address)


def test_nothing_is_printed_of_any_value(console: Console, address: str) -> None:
    with console.app.app_context():
        values = [reveal(None, each).open() for each in db.session.scalars(select(Entry))]
        sealed = db.session.scalars(select(EntryVersion.sealed)).all()
    done = copy(console, address)
    for each in (*values, *(one.hex() for one in sealed)):
        assert each not in done.output + done.stderr
