"""A mail scanner follows every link of a mail: nothing changes, signed in or not."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from sqlalchemy import text

from pwserver import queueing
from pwserver.extensions import db
from pwserver.models import Base, Incident, SyncLink
from pwserver.services import timer
from pwserver.services.sync import status
from pwserver.services.transaction import write
from tests.mail.conftest import Received, Receiver, send_due, use
from tests.web.conftest import Browser
from tests.web.things import add_chain

BASE = "https://passwords.northfield.example"


def everything(app: Flask) -> dict[str, list[Any]]:
    """Every row of every table."""
    with app.app_context():
        return {
            name: [tuple(row) for row in db.session.execute(text(f"SELECT * FROM {name} ORDER BY 1"))]
            for name in Base.metadata.tables
        }


def links_of(mail: Received) -> set[str]:
    return set(re.findall(rf"{BASE}[^\s\"<>]*", mail.text)) | set(re.findall(r'href="([^"]+)"', mail.html))


def test_a_scanner_that_follows_every_link_changes_nothing(app: Flask, receiver: Receiver, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    nudged: list[Any] = []
    monkeypatch.setattr(queueing, "enqueue", lambda *given: nudged.append(given))
    use(app, receiver.settings, base_url=BASE)
    with app.app_context():
        chain = add_chain()
        with write() as session:
            link = session.get_one(SyncLink, chain.links[0].id)
            link.state, link.reason, link.state_since = "refused", "old_value_refused", link.proved_at
            status.refresh(session, chain.id)
        timer.tick()
        send_due()
        with write() as session:
            session.scalars(db.select(Incident)).one()
    links = {link for mail in receiver.mails for link in links_of(mail)}
    assert {link.rpartition("/")[2] for link in links} == {"approve", "retest"}
    browsers = {"nobody": Browser(app), "olivia": Browser(app), "nora": Browser(app)}
    for name in ("olivia", "nora"):
        assert browsers[name].sign_in(name).status_code == 303
    before = everything(app)
    for link in sorted(links):
        for name, browser in browsers.items():
            for method in ("get", "head"):
                path = link.removeprefix(BASE)
                answer = getattr(browser.client, method)(path, follow_redirects=True)
                assert answer.status_code == (404 if name == "nora" else 200), (name, path)
    assert everything(app) == before
    assert nudged == []


def test_the_comparison_would_see_a_click(app: Flask, receiver: Receiver) -> None:
    with app.app_context():
        entry_id = add_chain().entry_id
    browser = Browser(app)
    browser.sign_in("olivia")
    before = everything(app)
    assert browser.post(f"/passwords/{entry_id}/test").status_code in (302, 303)
    assert everything(app) != before
