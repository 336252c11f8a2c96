"""What tests of services and pages share: an app on its own database, a clock that stands, and the cast.

Olivia owns the vault *Computer Lab*, Eddie may modify it, Vera may read it, Nora is no member of anything. Ada is the
organization administrator; she is no member of *Computer Lab* either, and owns *Sync agents*.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

from pwserver import create_app
from pwserver.config import Config
from pwserver.core.secrets import Secret
from pwserver.core.timing import FAST
from pwserver.extensions import db, limiter
from pwserver.models import Entry, Membership, SyncAgent, Vault
from pwserver.services import agents, entries, keys, users, vaults
from pwserver.services.transaction import write
from tests import budget, dialects, lint, postgres
from tests.budget import cpu_budget  # noqa: F401  a fixture that is imported
from tests.depth import deep
from tests.engine import set_aside
from tests.free_ports import keep_labs_apart
from tests.hangs import Limits
from tests.invariants import applications_used, violations, violations_left_in
from tests.order import LongestFirst
from tests.routes import compile_once  # noqa: F401  a fixture that is imported

MASTER = base64.b64encode(bytes(range(32))).decode()
NAMES = {"ada": "Ada Adler", "olivia": "Olivia Ortiz", "eddie": "Eddie Evans", "vera": "Vera Voss", "nora": "Nora Nash"}
PASSWORD = "{name}: correct horse battery"
VALUE = "Zebra-93kq#Rezun"
"""The password stored as *Lab Administrator*; it is looked for where it must not be."""
QUICK = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}


ON_BOTH = ("competing", "migrations")
"""Folders whose tests run on SQLite and on PostgreSQL at any depth, where they ask for ``database`` (by way of ``app``,
``play`` and the like). Elsewhere it is the tests marked ``both``: where two meet at a row, or a database decides."""
ON_BOTH_IN_FULL = (*ON_BOTH, "services", "disasters", "jobs", "sync")
"""Pages and the command line stand on the same services; they run on SQLite, and so does what is marked ``sqlite``:
days played through second by second, and rows broken as only SQLite lets one."""
DATABASES = (
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgres", id="postgres", marks=pytest.mark.postgres),
)


def pytest_configure(config: pytest.Config) -> None:
    set_aside()
    budget.register(config)
    lint.register(config)
    config.pluginmanager.register(LongestFirst(), "longest first")
    config.pluginmanager.register(Limits(), "limits")
    keep_labs_apart(int(getattr(config, "workerinput", {}).get("workerid", "gw0").removeprefix("gw")))
    dialects.register(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database" in metafunc.fixturenames and _on_both(metafunc.definition):
        metafunc.parametrize("database", DATABASES, indirect=True, scope="session")


def _on_both(test: pytest.Item) -> bool:
    if test.get_closest_marker("sqlite") is not None:
        return False
    folder = test.path.relative_to(Path(__file__).parent).parts[0]
    return folder in deep(ON_BOTH, ON_BOTH_IN_FULL) or test.get_closest_marker("both") is not None


@pytest.fixture(autouse=True)
def lines_on_postgres(request: pytest.FixtureRequest) -> Iterator[None]:
    """Notes which of the lines that only PostgreSQL runs are run."""
    if request.node.get_closest_marker("postgres") is None:
        yield
        return
    with dialects.NOTED.on_postgres():
        yield


@pytest.fixture(scope="session")
def database(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on: sqlite, or postgres."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    with postgres.running() as started:
        yield started


@pytest.fixture(scope="session")
def new_database(database: str, request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes an empty database and returns its address; "" means the one that SQLite has by itself."""
    if database == "sqlite":
        return lambda: ""
    server: postgres.Cluster = request.getfixturevalue("cluster")
    return lambda: server.url(server.create())


@pytest.fixture(autouse=True)
def invariants_hold(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test: whatever it did, ``flask sync check`` finds nothing in the databases that it used. A test that
    breaks rows on purpose is marked ``breaks_invariants``."""
    # Torn down after it: the processes that worked in its instance have ended by then.
    folder = request.getfixturevalue("tmp_path") / "instance" if "tmp_path" in request.fixturenames else None
    with applications_used() as used:
        yield
    if request.node.get_closest_marker("breaks_invariants") is None:
        left = [found for app in used for found in violations(app)]
        left += violations_left_in(folder, used) if folder else []
        assert not left, left


class Clock:
    """The database's clock, standing until a test moves it."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def tick(self, **much: float) -> None:
        self.moment += timedelta(**much)


def email_of(name: str) -> str:
    return f"{name}@northfield.example"


def make_app(folder: Path, clock: Clock, url: str = "") -> Flask:
    app = create_app(Config(instance=folder, database_url=url, master_key=MASTER, testing=True, timing=FAST))
    app.config.update(CLOCK=clock, ARGON2=QUICK)
    app.jinja_env.bytecode_cache = TEMPLATES
    return app


class Compiled(BytecodeCache):
    """Templates are compiled once for all the apps of this process, not once for each test."""

    def __init__(self) -> None:
        self.code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.code:
            bucket.bytecode_from_string(self.code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.code[bucket.key] = bucket.bytecode_to_string()


TEMPLATES = Compiled()


def dispose(app: Flask) -> None:
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def make_tables() -> None:
    """From the models: that the migrations make the same tables is a test of its own."""
    db.create_all()


@dataclass(frozen=True)
class Template:
    """An instance with tables, cast and one password, made once. Each test gets a copy of its folder; on PostgreSQL the
    one database gets its rows back, which takes a hundredth of the time of a new one."""

    folder: Path
    url: str
    rows: postgres.Kept | None

    def copy(self, folder: Path) -> None:
        shutil.copytree(self.folder, folder)
        if self.rows is not None:
            with psycopg.connect(self.url) as line:
                postgres.put_back(line, self.rows)


@pytest.fixture(scope="session")
def template(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Template:
    folder, url = tmp_path_factory.mktemp("template"), new_database()
    app = make_app(folder, Clock(), url)
    with app.app_context():
        make_tables()
        keys.prove()
        people = {
            name: users.add_user(None, email_of(name), full, org_admin=name == "ada", password=password_of(name))[0]
            for name, full in NAMES.items()
        }
        with write() as session:
            vaults.make_system_vault(session, people["ada"])
        agents.ensure_this_server()
        vault = vaults.create_vault(people["olivia"], "Computer Lab")
        vaults.add_member(people["olivia"], vault, email_of("eddie"), "modify")
        vaults.add_member(people["olivia"], vault, email_of("vera"), "read")
        entries.create_entry(
            people["olivia"],
            vault,
            entries.Settings("Lab Administrator", "standalone_windows", "Administrator", "LAB-01"),
            Secret(VALUE),
        )
    dispose(app)
    if not url:
        return Template(folder, url, None)
    with psycopg.connect(url) as line:
        return Template(folder, url, postgres.keep(line))


def password_of(name: str) -> Secret:
    return Secret(PASSWORD.format(name=name))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def wired_app(template: Template, tmp_path_factory: pytest.TempPathFactory) -> WiredApp:
    """The one app of this process that stands on the template: an app costs 50 ms, and each has to compile its SQL
    again. Its folder is the template's copy, made again for each test."""
    folder = tmp_path_factory.mktemp("wired") / "instance"
    template.copy(folder)
    made = make_app(folder, Clock(), template.url)
    dispose(made)
    return WiredApp(made, dict(made.config), dict(made.extensions))


@dataclass(frozen=True)
class WiredApp:
    """An app, and what it was configured with before any test."""

    app: Flask
    config: dict[str, Any]
    extensions: dict[str, Any]

    def renewed(self) -> Flask:
        for changed, was in ((self.app.config, self.config), (self.app.extensions, self.extensions)):
            changed.clear()
            changed.update(was)
        return self.app


@pytest.fixture
def app(request: pytest.FixtureRequest, template: Template, tmp_path: Path, clock: Clock) -> Iterator[Flask]:
    """An app with the cast, as nobody has used it. No context is pushed: requests get their own, as in life. A test
    that adds routes is marked ``own_app`` and gets one of its own."""
    if request.node.get_closest_marker("own_app") is not None:
        template.copy(tmp_path / "instance")
        made = make_app(tmp_path / "instance", clock, template.url)
        yield made
        dispose(made)
        return
    made = request.getfixturevalue("wired_app").renewed()
    shutil.rmtree(made.instance_path)
    template.copy(Path(made.instance_path))
    made.config["CLOCK"] = clock
    limiter.reset()
    yield made
    dispose(made)


@pytest.fixture
def empty_app(new_database: Callable[[], str], tmp_path: Path, clock: Clock) -> Iterator[Flask]:
    """An app with tables and nobody in it."""
    made = make_app(tmp_path / "empty", clock, new_database())
    with made.app_context():
        make_tables()
        keys.prove()
    yield made
    dispose(made)


@pytest.fixture
def ctx(app: Flask) -> Iterator[Flask]:
    """The app with a context pushed, for tests that call services."""
    with app.app_context():
        yield app


@dataclass
class Cast:
    """The people and things of the template, read anew each time (inside an app context)."""

    def __getattr__(self, name: str) -> users.AppUser:
        found = users.find(email_of(name))
        assert found is not None, name
        return found

    @property
    def vault(self) -> Vault:
        return db.session.execute(db.select(Vault).filter_by(name="Computer Lab")).scalar_one()

    @property
    def entry(self) -> Entry:
        return db.session.execute(db.select(Entry).filter_by(name="Lab Administrator")).scalar_one()

    @property
    def this_server(self) -> SyncAgent:
        return db.session.execute(db.select(SyncAgent).filter_by(transport="ssh")).scalar_one()

    def membership(self, name: str) -> Membership | None:
        return db.session.get(Membership, (self.vault.id, getattr(self, name).id))


@pytest.fixture
def cast() -> Cast:
    return Cast()
