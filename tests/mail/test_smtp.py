"""Handing over: STARTTLS, TLS and login on a real receiver, certificates checked, nothing in clear, no secret told."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from pwserver.config import from_environment
from pwserver.mailserver import MailServer
from pwserver.services.mail import smtp
from pwserver.services.mail.message import Letter, ascii_address, build
from tests.mail.conftest import LOGIN, SENDER, Receiver, make_certificate

TO = "olivia@northfield.example"
LETTER = Letter("Über LAB-05", "Text.\n.leading dot\nÜbung\n", "<p>Übung</p>\n")
Start = Callable[..., Receiver]


def hand_over(server: MailServer, to: str = TO, name: str = "Olivia Örtiz") -> str:
    at = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
    message = build(LETTER, sender=SENDER, to_name=name, to=to, message_id="mail-1", at=at)
    return smtp.send(server, message, to)


def refusal(server: MailServer, to: str = TO) -> smtp.NotSent:
    with pytest.raises(smtp.NotSent) as refused:
        hand_over(server, to)
    return refused.value


@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
@pytest.mark.parametrize("with_login", [False, True])
def test_a_mail_arrives_whole_by_every_way(receivers: Start, security: str, with_login: bool) -> None:
    receiver = receivers(security=security, with_login=with_login)
    assert hand_over(receiver.settings) == "250 queued as 7F3A"
    assert receiver.logins == ([LOGIN] if with_login else [])
    (mail,) = receiver.mails
    assert (mail.sender, mail.to) == ("alerts@northfield.example", [TO])
    assert mail.subject == "Über LAB-05"
    assert mail.text == LETTER.text
    assert mail.html == LETTER.html
    assert mail.message["Message-ID"] == "<mail-1@northfield.example>"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.message.get_content_type() == "multipart/alternative"


def test_a_wrong_login_is_told_in_words_without_the_password(receivers: Start) -> None:
    receiver = receivers(with_login=True)
    error = refusal(replace(receiver.settings, password="Wrong-81qy#Login"))
    assert error.answer.startswith("127.0.0.1 refused our login: 535")
    assert (error.final, error.ours) == (False, True)
    assert "Wrong-81qy" not in str(error) + error.answer + repr(receiver.settings)
    assert receiver.mails == []


def test_a_certificate_that_nobody_vouches_for_gets_neither_login_nor_mail(receivers: Start) -> None:
    for security in ("starttls", "tls"):
        receiver = receivers(security=security, with_login=True)
        error = refusal(replace(receiver.settings, ca_file=""))
        assert "cannot be trusted" in error.answer
        assert error.ours
        assert (receiver.mails, receiver.logins) == ([], [])


def test_a_certificate_for_another_name_gets_nothing(receivers: Start, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "127.0.0.9")
    receiver = receivers(with_login=True)
    receiver.stop()
    receiver.certificate, receiver.key = certificate, key
    receiver.start()
    assert "cannot be trusted" in refusal(receiver.settings).answer
    assert receiver.mails == []


def test_a_server_that_hides_starttls_gets_nothing_in_clear(receivers: Start) -> None:
    receiver = receivers(security="none")
    error = refusal(replace(receiver.settings, security="starttls"))
    assert "STARTTLS" in error.answer
    assert receiver.mails == []


def test_a_recipient_that_is_refused_is_final_and_a_full_mailbox_is_not(receivers: Start) -> None:
    receiver = receivers()
    receiver.handler.refuse = {TO: "550 5.1.1 no such user here", "full@northfield.example": "452 4.2.2 mailbox full"}
    error = refusal(receiver.settings)
    assert error.answer == f"127.0.0.1 refused the address {TO}: 550 5.1.1 no such user here"
    assert (error.final, error.ours) == (True, False)
    later = refusal(receiver.settings, "full@northfield.example")
    assert (later.final, later.ours) == (False, False)


def test_a_refusal_of_the_mail_itself_is_judged_by_its_code(receivers: Start) -> None:
    receiver = receivers()
    receiver.handler.say = "554 5.7.1 looks like spam"
    assert refusal(receiver.settings).final
    receiver.handler.say = "451 4.3.0 try later"
    assert not refusal(receiver.settings).final


def test_a_port_where_nobody_listens_is_told_with_host_and_port(receivers: Start) -> None:
    receiver = receivers()
    receiver.stop()
    error = refusal(receiver.settings)
    assert error.answer.startswith(f"127.0.0.1, port {receiver.port}, does not answer as it should")
    assert error.ours


@contextmanager
def trickling() -> Iterator[int]:
    """A server that sends one letter now and then, so that no single wait ever ends."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            client, _ = listener.accept()
            client.settimeout(0.02)
            while True:
                client.sendall(b"2")
                try:
                    if client.recv(100) == b"":
                        return
                except TimeoutError:
                    continue
        except OSError:
            return
        finally:
            client.close()

    thread = Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.close()
    thread.join(10)


def test_a_server_that_answers_letter_by_letter_holds_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "STEP_SECONDS", 0.4)
    monkeypatch.setattr(smtp, "WHOLE_SECONDS", 0.8)
    with trickling() as port:
        error = refusal(MailServer("127.0.0.1", port, "none", SENDER))
    assert error.ours


def test_an_answer_of_the_server_is_one_line_that_cannot_fill_a_page(receivers: Start) -> None:
    receiver = receivers()
    receiver.handler.refuse = {TO: "550-5.1.1 " + "x" * 300 + "\r\n550 and more"}
    assert len(refusal(receiver.settings).answer) < 400
    assert "\n" not in refusal(receiver.settings).answer


def test_a_domain_in_any_script_becomes_what_dns_has() -> None:
    assert ascii_address("olivia@bücher.example") == "olivia@xn--bcher-kva.example"
    with pytest.raises(ValueError, match="no address"):
        ascii_address("ölivia@northfield.example")


# -- settings

GOOD = {"PWSERVER_SMTP_HOST": "mail.example.org", "PWSERVER_SMTP_FROM": "Alerts <alerts@example.org>"}


def test_host_and_sender_are_enough_and_starttls_is_the_default() -> None:
    config = from_environment(GOOD)
    assert config.mail == MailServer("mail.example.org", 587, "starttls", "Alerts <alerts@example.org>")
    assert config.mail_error == ""
    assert from_environment({}).mail is None
    assert from_environment({}).mail_error == ""
    assert from_environment(GOOD | {"PWSERVER_SMTP_SECURITY": "tls"}).mail.port == 465  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"PWSERVER_SMTP_SECURITY": "ssl"}, "starttls, tls or none"),
        ({"PWSERVER_SMTP_PORT": "smtp"}, "a number"),
        ({"PWSERVER_SMTP_PORT": "70000"}, "65535"),
        ({"PWSERVER_SMTP_FROM": ""}, "PWSERVER_SMTP_FROM"),
        ({"PWSERVER_SMTP_FROM": "alerts"}, "PWSERVER_SMTP_FROM"),
        ({"PWSERVER_SMTP_FROM": "a@example.org\r\nBcc: eve@example.org"}, "PWSERVER_SMTP_FROM"),
        ({"PWSERVER_SMTP_USER": "psrv"}, "belong together"),
        ({"PWSERVER_SMTP_PASSWORD": LOGIN[1]}, "belong together"),
        ({"PWSERVER_SMTP_USER": "psrv", "PWSERVER_SMTP_PASSWORD_FILE": "/nowhere/at/all"}, "cannot be read"),
        (
            {"PWSERVER_SMTP_USER": "psrv", "PWSERVER_SMTP_PASSWORD": LOGIN[1], "PWSERVER_SMTP_SECURITY": "none"},
            "in clear",
        ),
        ({"PWSERVER_SMTP_CA_FILE": "/nowhere/at/all"}, "PWSERVER_SMTP_CA_FILE"),
        ({"PWSERVER_SMTP_HOST": ""}, "PWSERVER_SMTP_HOST is not"),
    ],
)
def test_wrong_settings_are_one_sentence_and_the_server_starts(more: dict[str, str], words: str) -> None:
    config = from_environment(GOOD | more)
    assert config.mail is None
    assert words in config.mail_error
    assert LOGIN[1] not in config.mail_error + repr(config)


def test_the_password_may_stand_in_a_file_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "smtp"
    file.write_text(LOGIN[1] + "\n")
    config = from_environment(GOOD | {"PWSERVER_SMTP_USER": "psrv", "PWSERVER_SMTP_PASSWORD_FILE": str(file)})
    assert config.mail is not None
    assert config.mail.password == LOGIN[1]
    assert LOGIN[1] not in repr(config)
