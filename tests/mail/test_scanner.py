"""A mail scanner follows every link of a mail: nothing changes and no machine is asked, signed in or not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from pwserver import queueing
from pwserver.extensions import db
from pwserver.models import Base, Incident, SyncAgent, SyncChain, SyncLink
from pwserver.services import entries, sync, timer, vaults
from pwserver.services.sync import status
from pwserver.services.transaction import write
from tests.conftest import Cast
from tests.lab_wire.kit import Lab, certificate_folder, lab
from tests.mail.conftest import Received, Receiver, send_due, use
from tests.web.conftest import Browser
from tests.web.things import add_chain

__all__ = ["certificate_folder", "lab"]

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


def chain_in(lab: Lab) -> SyncChain:
    """A chain whose agent is a machine of the lab, with a login that opens it: whoever starts a run is heard there."""
    chain, at, login = add_chain(), lab.address("LAB-01"), lab.login("LAB-01")
    settings = entries.Settings("LAB-01 login", "generic", login.user_name)
    entry = entries.create_entry(Cast().ada, vaults.system_vault(), settings, login.secret)
    with write() as session:
        agent = session.get_one(SyncAgent, chain.agent_id)
        agent.host, agent.port, agent.pin, agent.login_entry_id = at.host, at.port, at.pin, entry.id
        session.get_one(SyncChain, chain.id).agent_pin = at.pin
        status.refresh(session, chain.id)
    return chain


@pytest.fixture
def nudged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the queue was told of. Every run is worked at once, as by a worker that has nothing else to do."""
    told: list[str] = []

    def work(run_id: str, queue: str = queueing.NOW) -> bool:
        told.append(run_id)
        return sync.execute(run_id, "test")

    monkeypatch.setattr(queueing, "enqueue", work)
    return told


def test_a_scanner_that_follows_every_link_changes_nothing(
    app: Flask, lab: Lab, receiver: Receiver, nudged: list[str]
) -> None:
    use(app, receiver.settings, base_url=BASE)
    with app.app_context():
        chain = chain_in(lab)
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
    before, truth = everything(app), lab.network.hash()
    for link in sorted(links):
        for name, browser in browsers.items():
            for method in ("get", "head"):
                path = link.removeprefix(BASE)
                answer = getattr(browser.client, method)(path, follow_redirects=True)
                assert answer.status_code == (404 if name == "nora" else 200), (name, path)
    assert everything(app) == before
    assert nudged == []
    assert lab.saw() == []
    assert lab.network.hash() == truth


def test_the_comparison_would_see_a_click(app: Flask, lab: Lab, nudged: list[str]) -> None:
    with app.app_context():
        entry_id = chain_in(lab).entry_id
    browser = Browser(app)
    browser.sign_in("olivia")
    before = everything(app)
    assert browser.post(f"/passwords/{entry_id}/test").status_code in (302, 303)
    assert everything(app) != before
    assert len(nudged) == 1
    assert lab.saw() != [], "the run reached its machine"
