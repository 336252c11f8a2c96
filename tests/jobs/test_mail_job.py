"""The job of a mail, whole: a row, its nudge, the fork of a real worker, a real mail server."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from flask import Flask
from redis import Redis

from pwserver import embedded_redis, queueing
from pwserver.models import Outbox
from pwserver.services.mail import outbox
from pwserver.services.transaction import now, write
from tests.conftest import MASTER, Cast
from tests.jobs.test_queueing import everything
from tests.jobs.test_supervisor import children
from tests.mail.conftest import LOGIN, Receiver, certificate, receivers, rows  # noqa: F401  # two are fixtures

pytestmark = [pytest.mark.enable_socket, pytest.mark.timeout(90)]

ADA = "ada@northfield.example"


@dataclass
class Post:
    """An instance with a queue and, once it is started, a worker that sends through ``receiver``."""

    app: Flask
    line: Redis
    receiver: Receiver
    spawn: Callable[..., subprocess.Popen[str]]
    eventually: Callable[..., None]

    def worker(self) -> subprocess.Popen[str]:
        config, mail = self.app.config["PWSERVER"], self.receiver.settings
        env = {
            "PWSERVER_INSTANCE": str(config.instance), "DATABASE_URL": config.database_url,
            "PWSERVER_MASTER_KEY": MASTER, "PWSERVER_TIMING": "fast", "REDIS_URL": "",
            "PWSERVER_SMTP_HOST": mail.host, "PWSERVER_SMTP_PORT": str(mail.port), "PWSERVER_SMTP_FROM": mail.sender,
            "PWSERVER_SMTP_CA_FILE": mail.ca_file, "PWSERVER_SMTP_USER": mail.user,
            "PWSERVER_SMTP_PASSWORD": mail.password,
        }  # fmt: skip
        return self.spawn("-m", "jobs.worker", "now", env=env)

    def put(self) -> str:
        with self.app.app_context():
            with write() as session:
                outbox.put(session, Cast().ada, "test", "test", "mark")
            return rows()[0].id

    def nudge(self, mail_id: str) -> None:
        """What the timer does, or the page after a click."""
        with self.app.app_context():
            assert queueing.enqueue(mail_id, queueing.NOW, queueing.MAIL)

    def row(self) -> Outbox:
        with self.app.app_context():
            return rows()[0]

    def ends_as(self, state: str) -> Outbox:
        self.eventually(lambda: self.row().state == state, f"the row says {state}", 30)
        self.eventually(lambda: not self.line.keys("rq:job:*"), "nothing of the job stays in the queue", 10)
        return self.row()

    def log(self) -> str:
        """Of the worker; it begins with its first warning."""
        file = self.app.config["PWSERVER"].instance / "logs" / "worker-now.log"
        return file.read_text() if file.exists() else ""


class Deaf:
    """A mail server that lets one connect and never says a word."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_server(("127.0.0.1", port))

    def met(self) -> bool:
        """Whether somebody waits for its first word."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def post(
    app: Flask, receivers: Callable[..., Receiver], spawn: Callable[..., subprocess.Popen[str]],  # noqa: F811
    eventually: Callable[..., None],
) -> Iterator[Post]:  # fmt: skip
    del app.config["CLOCK"]  # the worker goes by the clock on the wall
    server = embedded_redis.start(app.config["PWSERVER"].instance)
    with embedded_redis.client(server.socket) as line:
        yield Post(app, line, receivers(with_login=True), spawn, eventually)
    queueing._connections.clear()
    embedded_redis.stop(server)


def test_a_nudge_is_a_mail_in_the_mailbox_and_the_servers_answer_in_its_row(post: Post) -> None:
    mail_id = post.put()
    post.worker()
    post.nudge(mail_id)
    row = post.ends_as("sent")
    (mail,) = post.receiver.mails
    assert (mail.to, mail.text) == ([ADA], row.text)
    assert mail.message["Message-ID"] == f"<{mail_id}@northfield.example>"
    assert (row.answer, row.tries) == ("250 queued as 7F3A", 1)
    assert post.receiver.logins == [LOGIN], "over TLS, after STARTTLS"


def test_what_the_queue_holds_of_a_mail_is_its_id(post: Post) -> None:
    mail_id = post.put()
    post.nudge(mail_id)
    told = everything(post.line)
    assert f'["jobs.mail.send", null, ["{mail_id}"], {{}}]'.encode() in told
    for secret in (ADA, LOGIN[1], MASTER):
        assert secret.encode() not in told


def test_a_second_nudge_sends_no_second_mail(post: Post) -> None:
    mail_id = post.put()
    post.worker()
    for _ in range(2):
        post.nudge(mail_id)
        post.ends_as("sent")
    assert len(post.receiver.mails) == 1
    assert post.row().tries == 1


def test_a_refused_address_is_in_the_row_and_not_in_the_queue(post: Post) -> None:
    post.receiver.handler.refuse = {ADA: "550 5.1.1 no such user here"}
    mail_id = post.put()
    post.worker()
    post.nudge(mail_id)
    assert "550 5.1.1 no such user here" in post.ends_as("failed").answer
    assert b"550" not in everything(post.line)


def test_an_error_of_ours_leaves_no_trace_in_redis_and_the_worker_goes_on(post: Post) -> None:
    """The table is away in the middle of the job: a traceback would hold the statement and more."""
    mail_id = post.put()
    worker = post.worker()
    with post.app.app_context(), write() as session:
        session.connection().exec_driver_sql("ALTER TABLE outbox RENAME TO away")
    post.nudge(mail_id)
    post.eventually(lambda: f"mail {mail_id} ended by an error of ours" in post.log(), "the log says so", 30)
    post.eventually(lambda: not post.line.keys("rq:job:*"), "nothing of the job stays in the queue", 10)
    assert b"Traceback" not in everything(post.line)
    with post.app.app_context(), write() as session:
        session.connection().exec_driver_sql("ALTER TABLE away RENAME TO outbox")
    assert worker.poll() is None
    post.nudge(mail_id)
    post.ends_as("sent")
    assert LOGIN[1] not in post.log()


def test_a_fork_that_is_killed_while_it_sends_leaves_a_lease_and_the_mail_goes_out_after_it(
    post: Post, lives: Callable[[int], bool]
) -> None:
    """Once, or twice with one Message-ID: never not at all."""
    mail_id = post.put()
    post.receiver.stop()
    deaf = Deaf(post.receiver.port)
    worker = post.worker()
    post.nudge(mail_id)
    post.eventually(lambda: post.row().state == "sending" and deaf.met(), "the fork waits for the mail server", 30)
    (fork,) = children(worker.pid)
    os.kill(fork, signal.SIGKILL)
    post.eventually(lambda: not lives(fork), "the fork is gone")
    deaf.close()
    assert post.row().state == "sending", "nobody knows whether it arrived"
    with post.app.app_context():
        assert outbox.due() == [], "its lease protects it"
        with write() as session:
            session.get_one(Outbox, mail_id).lease_until = now()
        assert [each for each, _queue in outbox.due()] == [mail_id]
    post.receiver.start()
    post.nudge(mail_id)
    post.eventually(lambda: post.row().state == "sent", "the next try goes through", 30)
    assert (post.row().tries, [mail.to for mail in post.receiver.mails]) == (2, [[ADA]])
    for secret in (ADA, LOGIN[1]):
        assert secret.encode() not in everything(post.line), "nor in what is kept of a job that died"
