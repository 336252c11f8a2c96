"""``flask sync health``: what is wrong with the server itself, in words and as JSON, and 1 as long as something is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from redis import Redis
from rq.serializers import JSONSerializer

from jobs import worker
from pwserver import create_app, embedded_redis, queueing
from pwserver.cli.output import Exit
from pwserver.config import Config
from pwserver.embedded_redis import QueueServer
from pwserver.models import Outbox
from pwserver.services import watch
from pwserver.services.mail import outbox
from pwserver.services.transaction import write
from tests.cli.conftest import Console
from tests.conftest import MASTER, Cast, Clock, dispose
from tests.mail.conftest import rows, use

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def server(app: Flask) -> Iterator[QueueServer]:
    started = embedded_redis.start(app.config["PWSERVER"].instance)
    yield started
    queueing._connections.clear()
    embedded_redis.stop(started)


@pytest.fixture
def flask(app: Flask, server: QueueServer) -> Iterator[Console]:
    """The command line of a server that runs: its queue has a worker for each of the two, its timer has looked."""
    with embedded_redis.client(server.socket) as line:
        for name in queueing.QUEUES:
            _register(name, line)
        with app.app_context():
            watch.begin(everything=True)
            watch.look()
        yield Console(app)


def _register(name: str, line: Redis) -> None:
    """As a worker does when it begins, and again every few seconds."""
    worker.RunWorker(
        [queueing.queue(name, line)], name=name, connection=line, serializer=JSONSerializer
    ).register_birth()


def beat(flask: Console, clock: Clock, **later: float) -> None:
    """The timer looks, some time later."""
    clock.tick(**later)
    with flask.app.app_context():
        watch.look()


def told(flask: Console) -> tuple[int, list[str], str]:
    """The exit status, the kinds of trouble, and what a person reads; the command for programs says the same."""
    for_people = flask("sync", "health")
    code, facts = flask.json("sync", "health")
    assert facts.keys() == {"ok", "troubles"}
    assert (for_people.exit_code, facts["ok"]) == (code, code == 0)
    for each in facts["troubles"]:
        assert each.keys() == {"kind", "words"}
        assert each["words"] in for_people.output
    return code, [each["kind"] for each in facts["troubles"]], for_people.output


def test_all_is_well_is_zero(flask: Console) -> None:
    assert told(flask) == (Exit.OK, [], "All is well.\n")


def test_a_dead_timer_is_seen_by_whoever_asks_though_nobody_looks_any_more(flask: Console, clock: Clock) -> None:
    clock.tick(seconds=60)
    assert told(flask)[0] == Exit.OK, "not before its time"
    clock.tick(seconds=1)
    code, kinds, words = told(flask)
    assert (code, kinds) == (Exit.NOT_WELL, ["timer"])
    assert "The timer has not run since 24 Nov, 02:00 UTC. Start the server again." in words
    beat(flask, clock)
    assert told(flask)[0] == Exit.OK


def test_a_dead_worker_is_named_and_the_one_that_lives_is_not(
    flask: Console, server: QueueServer, clock: Clock
) -> None:
    with embedded_redis.client(server.socket) as line:
        assert line.srem("rq:workers:later", "rq:worker:later") == 1, "the queue server knows of it no more"
    for _ in range(6):
        beat(flask, clock, seconds=16)
    code, kinds, words = told(flask)
    assert (code, kinds) == (Exit.NOT_WELL, ["workers"])
    assert "No worker-later is alive, since 24 Nov, 02:00 UTC." in words


def test_a_queue_server_that_is_away_is_said_to_be_away(flask: Console, server: QueueServer, clock: Clock) -> None:
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    for _ in range(6):
        beat(flask, clock, seconds=16)
    code, kinds, words = told(flask)
    assert (code, kinds) == (Exit.NOT_WELL, ["workers"])
    assert "The queue server does not answer" in words


def test_a_mail_that_was_not_taken_is_told_until_it_is_put_away(flask: Console, clock: Clock) -> None:
    cast = Cast()
    with flask.app.app_context():
        with write() as session:
            outbox.put(session, cast.ada, "test", "test", "mark")
            session.query(Outbox).update({"state": "failed", "answer": "550 no such user"})
        beat(flask, clock, seconds=16)
    code, kinds, words = told(flask)
    assert (code, kinds) == (Exit.NOT_WELL, ["mails"])
    assert "1 mail was not taken by the mail server. The Outbox page has its answers." in words
    with flask.app.app_context():
        outbox.put_away(cast.ada, rows(state="failed")[0])
    beat(flask, clock, seconds=16)
    assert told(flask)[0] == Exit.OK


def test_wrong_settings_of_the_mail_server_are_told(flask: Console, clock: Clock) -> None:
    use(flask.app, None, mail_error="PWSERVER_SMTP_PORT is 'x'; it is a number.")
    beat(flask, clock, seconds=16)
    code, kinds, words = told(flask)
    assert (code, kinds) == (Exit.NOT_WELL, ["mails"])
    assert "No mail is sent: PWSERVER_SMTP_PORT is 'x'; it is a number." in words


def test_a_disk_that_is_nearly_full_is_told_and_the_worst_comes_with_the_others(
    flask: Console, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SimpleNamespace(total=100 * 10**9, used=99 * 10**9, free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    use(flask.app, None, mail_error="PWSERVER_SMTP_FROM is missing.")
    beat(flask, clock, seconds=16)
    code, kinds, words = told(flask)
    assert (code, sorted(kinds)) == (Exit.NOT_WELL, ["disk", "mails"])
    assert "The disk of the data folder is nearly full: 1.0 of 100 GB are free." in words


def test_without_a_database_there_is_nothing_to_be_well(tmp_path: Path) -> None:
    app = create_app(Config(instance=tmp_path / "none", master_key=MASTER, testing=True), pages=False)
    assert Console(app)("sync", "health").exit_code == Exit.AWAY
    dispose(app)
