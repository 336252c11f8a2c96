"""The demo over a lab in this process: real wire, real control socket, a worker that runs at the nudge."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from pwserver import create_app, queueing
from pwserver.config import Config
from pwserver.core.timing import FAST
from pwserver.lab import switch, truth, wire
from pwserver.lab.control import ControlServer
from pwserver.lab.model.network import Network
from pwserver.services import demo, keys, sync
from tests.conftest import MASTER, QUICK, dispose, make_tables

LAB_ADMINISTRATOR = "Computer Lab/Lab Administrator"
BACKUP = "Computer Lab/svc-backup"
DOMAIN = "Computer Lab/CORP svc-backup"
SWITCH = "Computer Lab/SW-01"


class LabHere:
    """The practice lab as its process has it, in this one."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self.network: Network = truth.open_network(folder)
        self.wire = wire.serve(self.network, folder=folder, ports=ports)
        self.switch = switch.serve(self.network, folder=folder, ports=ports)
        self.addresses = self.wire.addresses | self.switch.addresses
        self.control = ControlServer(self.network, folder)

    def stop(self) -> None:
        self.wire.stop()
        self.switch.stop()
        self.control.stop()
        self.network.stop()


def make_app(instance: Path, *, pages: bool = False) -> Flask:
    config = Config(instance=instance, master_key=MASTER, testing=True, timing=FAST, demo=True)
    app = create_app(config, pages=pages)
    app.config.update(ARGON2=QUICK)
    return app


@pytest.fixture(scope="session")
def demo_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """An instance folder with the demo in it, its first tests queued, and the ports of its lab."""
    folder = tmp_path_factory.mktemp("demo") / "instance"
    ports: dict[str, int] = {}
    lab = LabHere(folder / "lab", ports)
    app = make_app(folder)
    try:
        with app.app_context():
            make_tables()
            keys.prove()
            demo.ensure(lab.addresses)
    finally:
        dispose(app)
        lab.stop()
    return folder, ports


class Console:
    """``flask`` with arguments, and what came of it."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def __call__(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        return self.app.test_cli_runner().invoke(args=list(arguments), input=stdin)

    def json(self, *arguments: str, stdin: str | bytes | None = None) -> tuple[int, dict[str, Any]]:
        result = self(*arguments, "--json", stdin=stdin)
        told = json.loads(result.stdout.splitlines()[-1])
        assert isinstance(told, dict)
        return result.exit_code, told

    def in_sync(self, *entries: str) -> None:
        """Runs what is queued, and finds these in sync."""
        for entry in entries or (LAB_ADMINISTRATOR, BACKUP, DOMAIN, SWITCH):
            result = self("sync", "test", entry, "--wait", "20")
            assert result.exit_code == 0, result.output


@pytest.fixture
def instance(demo_template: tuple[Path, dict[str, int]], tmp_path: Path) -> Path:
    folder = tmp_path / "instance"
    shutil.copytree(demo_template[0], folder)
    return folder


@pytest.fixture
def lab(demo_template: tuple[Path, dict[str, int]], instance: Path) -> Iterator[LabHere]:
    started = LabHere(instance / "lab", dict(demo_template[1]))
    yield started
    started.stop()


@pytest.fixture
def nudges() -> list[str]:
    """The ids of runs that the queue was told of."""
    return []


@contextmanager
def console_of(instance: Path, nudges: list[str]) -> Iterator[Console]:
    """The command line of the demo. The nudge is answered at once, as by a worker that has nothing else to do."""
    app = make_app(instance)

    def work(run_id: str, queue: str = queueing.NOW) -> bool:
        nudges.append(run_id)
        return sync.execute(run_id, "test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queueing, "enqueue", work)
        yield Console(app)
    dispose(app)


@pytest.fixture
def console(instance: Path, nudges: list[str]) -> Iterator[Console]:
    with console_of(instance, nudges) as started:
        yield started


@pytest.fixture
def secretless() -> Callable[[Sequence[Result], str], None]:
    """Asserts that a secret was written nowhere on the console."""

    def check(results: Sequence[Result], secret: str) -> None:
        for result in results:
            assert secret not in result.output + result.stderr
            assert secret not in repr(result.exception)

    return check
