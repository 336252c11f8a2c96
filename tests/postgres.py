"""A PostgreSQL of the tests' own: one server per test process, on a Unix socket in a folder of its own, without fsync.

Its rows are put back for each test (1 ms; a copy by ``CREATE DATABASE … TEMPLATE`` took 100). Whoever changes tables
gets a database of their own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

START_SECONDS = 30
OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "max_wal_size": "256MB",
    "deadlock_timeout": "100ms",
    "jit": "off",
}


def programs() -> Path | None:
    """The folder of the newest server installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    other = shutil.which("initdb")
    return found[-1].parent if found else Path(other).parent if other else None


def postgres_or_skip() -> Path:
    """Without a server: skipped with a word, but a failure where CI promised one."""
    folder = programs()
    if folder is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no PostgreSQL server: apt-get install postgresql")
        pytest.skip("no PostgreSQL server (apt-get install postgresql)")
    return folder


@dataclass
class Cluster:
    """A running server. ``folder``: its socket is in it."""

    folder: Path
    process: subprocess.Popen[bytes]
    _numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str) -> str:
        return f"postgresql://pwserver@/{database}?host={self.folder}"

    def create(self) -> str:
        """A new, empty database; its name."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as line:
            line.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return name


@contextmanager
def running() -> Iterator[Cluster]:
    """A new server. The server refuses to be root's: there it runs as ``postgres`` or ``nobody``."""
    programs_ = postgres_or_skip()
    # The path of a Unix socket may have 107 bytes; a test's own folder is longer.
    home = Path(tempfile.mkdtemp(prefix="pwserver-pg-", dir="/tmp"))
    user = _other_user()
    if user:
        shutil.chown(home, user)
    as_user = ["setpriv", f"--reuid={user}", "--clear-groups", "--"] if user else []
    data = home / "data"
    made = subprocess.run(
        [*as_user, str(programs_ / "initdb"), "-D", str(data), "-U", "pwserver", "-A", "trust", "-N",
         "-E", "UTF8", "--locale=C.UTF-8"],
        cwd=home, capture_output=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr.decode()
    options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [*as_user, str(programs_ / "postgres"), "-D", str(data), "-k", str(home), *options],
            cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        _await(process, home)
        yield Cluster(home, process)
    finally:
        process.send_signal(signal.SIGINT)  # fast: whoever is connected is cut off
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _other_user() -> str:
    if os.getuid() != 0:
        return ""
    import pwd

    names = {each.pw_name for each in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _await(process: subprocess.Popen[bytes], home: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(f"postgresql://pwserver@/postgres?host={home}").close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < end, "PostgreSQL did not start"
            time.sleep(0.02)


# -- the rows of a database, kept and put back

@dataclass(frozen=True)
class Kept:
    """What was in every table, as COPY has it, and where the sequences stood."""

    tables: tuple[tuple[str, bytes], ...]
    sequences: tuple[tuple[str, int, bool], ...]


def keep(line: psycopg.Connection[Any]) -> Kept:
    with line.cursor() as cursor:
        names = cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        tables = []
        for (name,) in names:
            with cursor.copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name))) as copy:
                tables.append((name, b"".join(copy)))
        sequences = []
        for (name,) in cursor.execute("SELECT sequencename FROM pg_sequences").fetchall():
            stands = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(name))
            sequences.append((name, *cursor.execute(stands).fetchall()[0]))
    line.commit()
    return Kept(tuple(tables), tuple(sequences))


def put_back(line: psycopg.Connection[Any], kept: Kept) -> None:
    """Leaves the database as it was kept. Foreign keys are not looked at meanwhile."""
    with line.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        every = sql.SQL("; ").join(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)) for name, _ in kept.tables)
        cursor.execute(every)
        for name, rows in kept.tables:
            if rows:
                with cursor.copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(name))) as copy:
                    copy.write(rows)
        for name, last, called in kept.sequences:
            cursor.execute("SELECT setval(%s, %s, %s)", (name, last, called))
    line.commit()
