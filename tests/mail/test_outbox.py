"""The outbox: at least once, never two at a time, with growing pauses, and visible when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from threading import Barrier, Thread

import pytest
from flask import Flask
from sqlalchemy import select

from pwserver.core.errors import Conflict
from pwserver.extensions import db
from pwserver.models import AppUser, Outbox
from pwserver.services.mail import outbox, smtp
from pwserver.services.transaction import now, write
from tests.conftest import Cast, Clock
from tests.mail.conftest import LOGIN, Receiver, rows, send_due, use

pytestmark = pytest.mark.both


@pytest.fixture
def mailing(ctx: Flask, receiver: Receiver) -> Iterator[Flask]:
    use(ctx, receiver.settings)
    yield ctx
    use(ctx, None)


def put_to(*names: str) -> None:
    cast = Cast()
    for name in names:
        with write() as session:
            outbox.put(session, getattr(cast, name), "test", "test", "mark")


def only() -> Outbox:
    (row,) = rows()
    return row


def test_a_mail_is_written_when_it_is_sent_and_the_servers_answer_stays(
    mailing: Flask, receiver: Receiver, cast: Cast
) -> None:
    put_to("ada")
    assert (only().state, only().text) == ("waiting", "")
    with write() as session:
        session.get_one(AppUser, cast.ada.id).email = "ada@new.example"
    send_due()
    assert [mail.to for mail in receiver.mails] == [["ada@new.example"]]
    assert (only().state, only().answer, only().tries) == ("sent", "250 queued as 7F3A", 1)
    assert receiver.mails[0].text == only().text
    assert send_due() == 0


def test_the_same_mail_is_made_once(mailing: Flask) -> None:
    put_to("ada", "ada")
    assert len(rows()) == 1


def test_a_receiver_that_is_away_gets_it_later_with_the_same_id(
    mailing: Flask, receiver: Receiver, clock: Clock
) -> None:
    receiver.stop()
    put_to("ada")
    waits = []
    for _ in range(4):
        send_due()
        waits.append((only().next_try_at - clock()).total_seconds())
        assert only().state == "waiting"
        assert "does not answer" in only().answer
        assert send_due() == 0, "not before its time"
        clock.moment = only().next_try_at
    assert waits[0] < waits[-1], "growing pauses"
    receiver.start()
    send_due()
    assert only().state == "sent"
    assert receiver.mails[0].message["Message-ID"] == f"<{only().id}@northfield.example>"


def test_while_the_receiver_is_away_one_mail_asks_and_the_others_wait(
    mailing: Flask, receiver: Receiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.stop()
    put_to("ada", "olivia", "eddie", "vera")
    send_due()
    assert sorted(row.tries for row in rows()) == [0, 0, 0, 1]
    clock.tick(seconds=5)
    receiver.start()
    send_due()
    assert {row.state for row in rows()} == {"sent"}


def test_a_mail_nobody_takes_for_three_days_is_given_up_and_stays_visible(
    mailing: Flask, receiver: Receiver, clock: Clock
) -> None:
    receiver.handler.say = "451 4.3.0 try later"
    put_to("ada")
    send_due()
    clock.moment = only().give_up_at - timedelta(seconds=1)
    send_due()
    assert only().state == "waiting"
    clock.moment = only().give_up_at + timedelta(seconds=5)
    send_due()
    assert (only().state, only().answer) == ("failed", "127.0.0.1 refused the mail: 451 4.3.0 try later")


def test_a_refused_recipient_is_not_tried_again_and_the_others_get_theirs(mailing: Flask, receiver: Receiver) -> None:
    receiver.handler.refuse = {"ada@northfield.example": "550 5.1.1 no such user here"}
    put_to("ada", "olivia")
    send_due()
    states = {row.to_address: (row.state, row.answer) for row in rows()}
    assert states["ada@northfield.example"] == (
        "failed", "127.0.0.1 refused the address ada@northfield.example: 550 5.1.1 no such user here"
    )  # fmt: skip
    assert states["olivia@northfield.example"][0] == "sent"
    assert send_due() == 0


def test_sent_again_by_hand_it_goes_out_and_put_away_it_is_no_trouble(
    mailing: Flask, receiver: Receiver, cast: Cast, clock: Clock
) -> None:
    receiver.handler.refuse = {"ada@northfield.example": "550 5.1.1 no such user here"}
    put_to("ada")
    send_due()
    receiver.handler.refuse = {}
    clock.tick(days=9)
    outbox.send_again(cast.ada, only())
    send_due()
    assert only().state == "sent"
    with pytest.raises(Conflict):
        outbox.send_again(cast.ada, only())
    with pytest.raises(Conflict):
        outbox.put_away(cast.ada, only())


def test_a_worker_that_dies_between_sending_and_its_commit_makes_a_double_with_the_same_id(
    mailing: Flask, receiver: Receiver, clock: Clock
) -> None:
    put_to("ada")
    mail_id = only().id

    class Killed(BaseException):
        pass

    def die(where: str) -> None:
        if receiver.mails:
            raise Killed

    mailing.config["COMMIT_HOOK"] = die
    with pytest.raises(Killed):
        outbox.deliver(mail_id)
    mailing.config["COMMIT_HOOK"] = None
    db.session.rollback()
    assert only().state == "sending"
    assert send_due() == 0, "its lease protects it"
    clock.tick(seconds=outbox.LEASE.total_seconds() + 1)
    send_due()
    assert only().state == "sent"
    first, second = receiver.mails
    assert first.message["Message-ID"] == second.message["Message-ID"]


def test_a_zombie_that_ends_late_changes_nothing(mailing: Flask, receiver: Receiver, clock: Clock) -> None:
    put_to("ada")
    claim = outbox._claim(only().id)
    assert claim == 1
    clock.tick(seconds=outbox.LEASE.total_seconds() + 1)
    send_due()
    outbox._not_sent(only().id, claim, smtp.NotSent("too late", final=True))
    assert (only().state, only().answer) == ("sent", "250 queued as 7F3A")


def test_two_workers_never_send_one_mail_at_the_same_time(mailing: Flask, receiver: Receiver) -> None:
    put_to("ada", "olivia", "eddie", "vera", "nora")
    ids = [row.id for row in rows()]
    db.session.rollback()
    start = Barrier(2)

    def work() -> None:
        start.wait()
        for outbox_id in ids:
            with mailing.app_context():
                outbox.deliver(outbox_id)

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(mail.to[0] for mail in receiver.mails) == sorted(row.to_address for row in rows())
    assert {row.tries for row in rows()} == {1}


def test_without_a_mail_server_mails_are_kept_with_their_text(ctx: Flask) -> None:
    put_to("ada")
    send_due()
    assert (only().state, only().subject) == ("kept", "A test mail from Password Server")
    assert "Ada Adler asked for it" in only().text
    assert send_due() == 0


def test_what_was_kept_is_not_sent_by_itself_when_a_server_is_configured(
    ctx: Flask, receiver: Receiver, cast: Cast
) -> None:
    put_to("ada")
    send_due()
    use(ctx, receiver.settings)
    assert send_due() == 0
    outbox.send_again(cast.ada, only())
    send_due()
    assert only().state == "sent"
    use(ctx, None)


def test_wrong_settings_keep_mails_waiting_and_say_why(ctx: Flask, receiver: Receiver, clock: Clock) -> None:
    use(ctx, None, mail_error="PWSERVER_SMTP_PORT is 'x'; it is a number.")
    put_to("ada", "olivia")
    send_due()
    assert {row.state for row in rows()} == {"waiting"}
    assert "PWSERVER_SMTP_PORT" in "".join(row.answer for row in rows())
    use(ctx, receiver.settings, mail_error="")
    clock.tick(seconds=5)
    send_due()
    assert {row.state for row in rows()} == {"sent"}
    use(ctx, None)


def test_a_mail_that_cannot_be_written_is_tried_again_and_stops_no_other(
    mailing: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    put_to("ada", "olivia")
    with write() as session:
        session.scalars(select(Outbox).where(Outbox.to_address.startswith("ada"))).one().template = "nothing"
    send_due()
    states = {row.to_address.split("@")[0]: row.state for row in rows()}
    assert states == {"ada": "waiting", "olivia": "sent"}
    assert "could not be written: KeyError" in caplog.text


def test_the_login_of_the_mail_server_is_in_no_row_and_no_log(
    ctx: Flask, receivers, caplog: pytest.LogCaptureFixture
) -> None:  # type: ignore[no-untyped-def]
    receiver = receivers(with_login=True)
    use(ctx, receiver.settings)
    put_to("ada")
    send_due()
    assert only().state == "sent"
    receiver.stop()
    put_to("olivia")
    send_due()
    assert LOGIN[1] not in caplog.text + "".join(f"{row.answer}{row.text}{row.ids}" for row in rows())
    use(ctx, None)


def test_somebody_who_cannot_sign_in_any_more_gets_nothing(mailing: Flask, receiver: Receiver, cast: Cast) -> None:
    put_to("olivia")
    with write() as session:
        session.get_one(AppUser, cast.olivia.id).active = False
    send_due()
    assert receiver.mails == []
    assert (only().state, only().ended_at) == ("dropped", now())


def test_a_first_try_goes_to_now_and_another_to_later(mailing: Flask, receiver: Receiver, clock: Clock) -> None:
    receiver.stop()
    put_to("ada")
    ((mail_id, queue),) = outbox.due()
    assert queue == "now"
    assert outbox.due() == [], "nudged a moment ago"
    outbox.deliver(mail_id)
    clock.tick(seconds=10)
    assert outbox.due() == [(mail_id, "later")]
