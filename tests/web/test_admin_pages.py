"""First run, vaults, members, users, agents: the pages."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest
from flask import Flask

from pwserver.connectors.base import Evidence
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import SyncAgent, Vault
from pwserver.services import agent_test, entries, firstrun, users, vaults
from tests.conftest import Cast, email_of
from tests.lab_wire.kit import Lab, certificate_folder, lab
from tests.web.conftest import Browser
from tests.web.things import PIN, add_agent, add_chain

__all__ = ["certificate_folder", "lab"]
Of = Callable[[str], Browser]


def test_the_first_run_makes_an_administrator_and_never_answers_again(empty_app: Flask) -> None:
    here = Browser(empty_app)
    assert here.get("/vaults").status_code == 302
    assert here.get("/sign-in").headers["Location"] == "/setup"
    assert here.get("/setup").status_code == 200
    with empty_app.app_context():
        code = firstrun.pending_code()
    data = {"code": "WRON-GCOD-EEEE", "name": "Ada", "email": "ada@x.example", "password": "a sentence of mine"}
    wrong = here.post("/setup", data)
    assert wrong.status_code == 422
    assert "not the code on the console" in wrong.text
    assert "a sentence of mine" not in wrong.text
    assert 'value="ada@x.example"' in wrong.text
    assert here.post("/setup", data | {"code": code}).status_code == 303
    assert here.get("/agents").status_code == 200
    for method in (here.get, here.post):
        assert method("/setup").status_code == 404


def test_a_vault_is_made_renamed_and_filled(app: Flask, browser_of: Of) -> None:
    nora = browser_of("nora")
    assert "You are a member of no vault" in nora.get("/vaults").text
    made = nora.post("/vaults/new", {"name": "Noras"})
    assert made.status_code == 303
    page = made.headers["Location"]
    assert "No passwords yet" in nora.get(page).text
    assert nora.post(f"{page}/rename", {"name": ""}).status_code == 422
    assert nora.post(f"{page}/rename", {"name": "Nora's"}).status_code == 303
    assert "Nora&#39;s" in nora.get(page).text


def test_members_are_added_changed_and_removed(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    olivia, page = browser_of("olivia"), f"/vaults/{ids['vault_id']}/members"
    with app.app_context():
        nora = Cast().nora.id
    assert olivia.post(page, {"email": email_of("nora"), "right": "read"}).status_code == 303
    assert browser_of("nora").get(f"/vaults/{ids['vault_id']}").status_code == 200
    assert olivia.post(f"{page}/{nora}", {"right": "modify"}).status_code == 303
    assert olivia.post(f"{page}/{nora}", {"right": "king"}).status_code == 422
    assert olivia.post(f"{page}/{nora}/remove").status_code == 303
    assert browser_of("nora").get(f"/vaults/{ids['vault_id']}").status_code == 404
    again = olivia.post(f"{page}/{nora}/remove")
    assert again.status_code == 409


def test_the_last_owner_stays_and_the_page_says_why(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    olivia, page = browser_of("olivia"), f"/vaults/{ids['vault_id']}/members"
    with app.app_context():
        me = Cast().olivia.id
    answer = olivia.post(f"{page}/{me}/remove")
    assert answer.status_code == 422
    assert "at least one owner" in answer.text
    wrong = olivia.post(page, {"email": "typo@northfield.example", "right": "modify"})
    assert wrong.status_code == 422
    assert 'value="typo@northfield.example"' in wrong.text


def test_the_table_says_what_needs_a_person_first(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    with app.app_context():
        cast = Cast()
        add_chain("refused")
        entries.create_entry(cast.olivia, cast.vault, entries.Settings("A wiki", "generic"), Secret("good-enough-1"))
    vera, page = browser_of("vera"), f"/vaults/{ids['vault_id']}"
    full = vera.get(page).text
    table = full[full.index("<tbody>") :]
    assert table.index("Lab Administrator") < table.index("A wiki")
    assert "Out of Sync" in table
    assert "LAB-01 refused" in table
    part = vera.get(f"{page}?find=wiki", headers={"HX-Request": "true"}).text
    assert "A wiki" in part
    assert "Lab Administrator" not in part
    assert "<html" not in part
    assert "A wiki" not in vera.get(f"{page}?only=loud").text
    assert "Nothing matches" in vera.get(f"{page}?find=nonsense").text


def test_users_are_added_reset_and_kept_out(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    ada, vera = browser_of("ada"), browser_of("vera")
    added = ada.post("/users/new", {"email": "zoe@x.example", "name": "Zoe", "org_admin": "1"})
    assert added.status_code == 200
    assert "not again" in added.text
    assert ada.post("/users/new", {"email": "zoe@x.example", "name": "Zoe"}).status_code == 422
    reset = ada.post(f"/users/{ids['user_id']}/reset")
    made = html.unescape(re.sub("<[^>]+>", "", re.findall(r'id="one-time">(.*?)</output>', reset.text)[0]))
    assert vera.get("/vaults").status_code == 302
    with app.app_context():
        assert users.matches(Cast().vera, Secret(made))
    assert ada.post(f"/users/{ids['user_id']}/active", {"active": "0"}).status_code == 303
    page = ada.get("/users").text
    assert "Deactivated" in page
    assert made not in re.sub("<[^>]+>", "", page)
    with app.app_context():
        me = Cast().ada.id
    assert ada.post(f"/users/{me}/active", {"active": "0"}).status_code == 422
    assert ada.post("/users/nobody/reset").status_code == 404


def test_nothing_is_sent_before_the_fingerprint_is_confirmed(app: Flask, browser_of: Of, lab: Lab) -> None:
    ada, at = browser_of("ada"), lab.address("LAB-01")
    form = {"name": "", "host": at.host, "port": str(at.port), "machine": "LAB-01"}
    shown = ada.post("/agents/new", form)
    assert shown.status_code == 200
    pin = at.pin.replace(":", "").upper()
    assert all(f"<span>{pin[start : start + 4]}</span>" in shown.text for start in range(0, 64, 4))
    assert lab.saw() == [], "no request, so no login"
    confirmed = form | {"pin": pin.lower()}
    refused = ada.post("/agents/new", confirmed)
    assert refused.status_code == 422
    assert "tick that they are the same" in refused.text
    with app.app_context():
        assert db.session.scalar(db.select(SyncAgent).filter_by(name="LAB-01")) is None
    made = ada.post("/agents/new", confirmed | {"same": "1"})
    assert made.status_code == 303
    page = made.headers["Location"]
    login = {"user_name": "svc-psrv", "value": lab.initial("LAB-01\\svc-psrv").open(), "row_version": "1"}
    assert ada.post(f"{page}/login/new", login).status_code == 303
    after = ada.get(page).text
    assert "LAB-01 answered and took our login." in after
    assert login["value"] not in after
    assert ada.post(f"{page}/approve", {"row_version": "2"}).status_code == 303
    assert "Healthy" in ada.get("/agents").text
    assert lab.bad_logons("LAB-01") == 0


def test_an_unanswered_address_is_said_beside_its_field(browser_of: Of) -> None:
    form = {"name": "x", "host": "127.0.0.1", "port": "1", "machine": "LAB-01"}
    answer = browser_of("ada").post("/agents/new", form)
    assert answer.status_code == 422
    assert "127.0.0.1:1 does not answer" in answer.text
    assert 'value="LAB-01"' in answer.text


def test_what_an_agent_may_do_is_saved_and_its_misuse_refused(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    with app.app_context():
        page = f"/agents/{add_agent().id}"
    ada = browser_of("ada")
    data = {"name": "Agent one", "machines": "LAB-02\r\nLAB-03\r\n", "vaults": [ids["vault_id"]], "row_version": "1"}
    assert ada.post(f"{page}/reach", data).status_code == 303
    with app.app_context():
        agent = db.session.scalar(db.select(SyncAgent).filter_by(name="Agent one"))
        assert agent is not None
        assert agent.allowed_machines == ["LAB-01", "LAB-02", "LAB-03"]
    assert ada.post(f"{page}/reach", data).status_code == 409, "a stale form"
    wrong = ada.post(f"{page}/reach", data | {"machines": "no name!", "row_version": "2"})
    assert wrong.status_code == 422
    assert "no name! is no machine name" in wrong.text
    theft = ada.post(f"{page}/linked", {"linked_entry_id": ids["entry_id"], "row_version": "2"})
    assert theft.status_code == 422
    assert "Lab Administrator" not in theft.text
    assert ada.post(f"{page}/disable", {"row_version": "2"}).status_code == 303
    assert ada.post(f"{page}/enable", {"row_version": "3"}).status_code == 303
    assert ada.post(f"{page}/remove", {"row_version": "4"}).status_code == 303


def test_a_login_may_be_chosen_from_what_one_may_read(
    app: Flask, browser_of: Of, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_test, "over_winrm", lambda contact, login: Evidence("LAB-01"))
    with app.app_context():
        cast = Cast()
        page = f"/agents/{add_agent().id}"
        made = entries.create_entry(
            cast.ada,
            vaults.system_vault(),
            entries.Settings("A login", "standalone_windows", "svc", "LAB-01"),
            Secret("good-enough-1"),
        )
        entry_id = made.id
    ada = browser_of("ada")
    assert "Sync agents / A login" in ada.get(page).text
    assert ada.post(f"{page}/login", {"login_entry_id": entry_id, "row_version": "1"}).status_code == 303
    assert "took our login" in ada.get(page).text
    assert ada.post(f"{page}/test").status_code == 303


def test_a_pending_agent_is_denied(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        agent_id = add_agent("BRANCH-07", state="pending", health="untested").id
    ada = browser_of("ada")
    page = ada.get(f"/agents/{agent_id}").text
    assert PIN[:4].upper() in page
    assert "Waits for approval" in page
    no_login = ada.post(f"/agents/{agent_id}/approve", {"row_version": "1"})
    assert no_login.status_code == 422
    assert "login first" in no_login.text
    assert ada.post(f"/agents/{agent_id}/deny", {"row_version": "1"}).status_code == 303
    assert ada.get(f"/agents/{agent_id}").status_code == 404


def test_an_administrator_sees_names_of_vaults_but_not_what_is_in_them(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        agent_id = add_agent().id
        names = [vault.name for vault in db.session.scalars(db.select(Vault))]
    page = browser_of("ada").get(f"/agents/{agent_id}").text
    assert all(name in page for name in names)
    assert "Lab Administrator" not in page
