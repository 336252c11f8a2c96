"""The Outbox page: for organization administrators, every mail with its state, its text and the server's own answer."""

from __future__ import annotations

from flask import Flask

from pwserver.services.mail import outbox
from pwserver.services.transaction import write
from tests.conftest import Cast
from tests.mail.conftest import Receiver, rows, send_due, use
from tests.web.conftest import Browser


def test_without_a_mail_server_the_page_says_how_to_configure_one_and_keeps_a_test_mail(app: Flask) -> None:
    ada = Browser(app)
    ada.sign_in("ada")
    assert "No mail server is configured" in ada.get("/outbox").text
    assert "PWSERVER_SMTP_PASSWORD_FILE" in ada.get("/outbox").text
    where = ada.post("/outbox/test").headers["Location"]
    with app.app_context():
        send_due()
    page = ada.get(where).text
    assert "Kept here" in page
    assert "Ada Adler asked for it" in page
    assert "A test mail from Password Server" in ada.get("/outbox").text


def test_a_refused_recipient_stands_first_with_the_servers_own_answer_and_is_sent_again(
    app: Flask, receiver: Receiver
) -> None:
    use(app, receiver.settings)
    receiver.handler.refuse = {"olivia@northfield.example": "550 5.1.1 no such user here"}
    with app.app_context():
        with write() as session:
            outbox.put(session, Cast().olivia, "test", "test", "mark")
        send_due()
        mail_id = rows()[0].id
    ada = Browser(app)
    ada.sign_in("ada")
    page = ada.get("/outbox").text
    assert "Not taken" in page
    assert "550 5.1.1 no such user here" in page
    receiver.handler.refuse = {}
    assert ada.post(f"/outbox/{mail_id}/again").status_code in (302, 303)
    with app.app_context():
        send_due()
    assert "250 queued as 7F3A" in ada.get(f"/outbox/{mail_id}").text
    assert ada.post(f"/outbox/{mail_id}/again").status_code == 409
