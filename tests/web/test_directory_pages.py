"""The pages of a directory: what was typed stays, errors stand at their field, nothing is saved uncompared."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from pwserver.extensions import db
from pwserver.models import SyncAgent
from tests.web.conftest import Browser
from tests.web.things import PIN, add_agent, add_directory

Of = Callable[[str], Browser]
FORM = {"domain": "corp.test", "short_name": "CORP", "controllers": "127.0.0.1", "port": "1", "ca_pem": "", "name": ""}


def made(app: Flask) -> str:
    with app.app_context():
        return add_directory().id


def test_a_controller_that_does_not_answer_is_said_beside_the_controllers(browser_of: Of) -> None:
    answer = browser_of("ada").post("/agents/directory/new", FORM)
    assert answer.status_code == 422
    assert "127.0.0.1:1 does not answer" in answer.text
    assert 'id="f-controllers-error"' in answer.text
    assert 'value="corp.test"' in answer.text


def test_nothing_is_saved_before_the_fingerprint_was_compared(app: Flask, browser_of: Of) -> None:
    ada = browser_of("ada")
    unticked = ada.post("/agents/directory/new", FORM | {"port": "636", "pin": PIN})
    assert unticked.status_code == 422
    assert "Compare all of it" in unticked.text
    assert PIN[:4].upper() in unticked.text
    with app.app_context():
        assert db.session.scalar(db.select(SyncAgent).filter_by(transport="ldaps")) is None
    assert ada.post("/agents/directory/new", FORM | {"port": "636", "pin": PIN, "same": "1"}).status_code == 303
    with app.app_context():
        agent = db.session.scalars(db.select(SyncAgent).filter_by(transport="ldaps")).one()
        assert (agent.name, agent.state, agent.health) == ("CORP", "pending", "untested")
        assert (agent.controllers, agent.allowed_accounts) == (["127.0.0.1"], [])


def test_what_may_be_touched_is_saved_and_its_misuse_said(app: Flask, browser_of: Of) -> None:
    page = f"/agents/{made(app)}"
    ada = browser_of("ada")
    shown = ada.get(page).text
    assert "OU=Service,DC=corp,DC=test" in shown
    assert "Type a new one" not in shown, "a directory has no login of its own"
    data = {"name": "CORP", "accounts": "svc-backup\r\nOU=Service,DC=corp,DC=test", "row_version": "1"}
    assert ada.post(f"{page}/accounts", data).status_code == 303
    wrong = ada.post(f"{page}/accounts", data | {"accounts": "krbtgt", "row_version": "2"})
    assert wrong.status_code == 422
    assert "never changed from here" in wrong.text
    assert ada.post(f"{page}/accounts", data).status_code == 409, "a stale form"
    assert ada.post(f"{page}/approve", {"row_version": "2"}).status_code == 422


def test_its_address_is_shown_for_editing(app: Flask, browser_of: Of) -> None:
    page = f"/agents/{made(app)}"
    shown = browser_of("ada").get(f"{page}/directory")
    assert shown.status_code == 200
    assert "dc1.corp.test" in shown.text


@pytest.mark.parametrize(
    ("transport", "page", "data"),
    [
        ("winrm", "directory", FORM | {"pin": PIN, "same": "1", "row_version": "1"}),
        ("winrm", "accounts", {"name": "CORP", "accounts": "svc-backup", "row_version": "1"}),
        ("ldaps", "address", {"host": "h", "port": "1", "machine": "M", "pin": PIN, "same": "1", "row_version": "1"}),
        ("ldaps", "reach", {"name": "CORP", "machines": "LAB-01", "row_version": "1"}),
    ],
)
def test_a_machine_has_no_page_of_a_directory_nor_a_directory_one_of_a_machine(
    app: Flask, browser_of: Of, transport: str, page: str, data: dict[str, str]
) -> None:
    """Else a forged form would turn the one into something of the other, with its approval."""
    with app.app_context():
        agent = add_directory() if transport == "ldaps" else add_agent()
        path, agent_id = f"/agents/{agent.id}/{page}", agent.id
    assert browser_of("ada").post(path, data).status_code == 404
    assert browser_of("ada").get(path).status_code in (404, 405)
    with app.app_context():
        assert db.session.get_one(SyncAgent, agent_id).row_version == 1
