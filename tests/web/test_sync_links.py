"""Editing a chain in its place: what is typed stays, stale forms save nothing, nothing is reached that may not be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import SyncChain, SyncLink
from pwserver.services import agents, entries, sync, vaults
from pwserver.services.sync.status import refresh
from pwserver.services.transaction import write
from pwserver.web.forms.sync import fields_of
from tests.conftest import Cast
from tests.web import scenes
from tests.web.conftest import Browser
from tests.web.things import PIN

Of = Callable[[str], Browser]


@pytest.fixture
def chained(app: Flask) -> str:
    with app.app_context():
        return scenes.chain().id


def links(app: Flask) -> list[tuple[str, str]]:
    with app.app_context():
        return [(each.id, each.machine) for each in scenes.links(Cast().entry)]


def names(app: Flask) -> list[str]:
    with app.app_context():
        return [f"{each.machine} {each.kind}" for each in scenes.links(Cast().entry)]


def revision(app: Flask) -> str:
    with app.app_context():
        return str(scenes.revision(Cast().entry))


def id_of(app: Flask, machine: str, *, account: bool = True) -> str:
    with app.app_context():
        return scenes.link(Cast().entry, machine, account=account).id


def test_the_kinds_are_offered_in_place_and_only_those_the_agent_can_reach(chained: str, browser_of: Of) -> None:
    page = browser_of("olivia").get(f"/passwords/{chained}/links/new").text
    for kind in LINK_KINDS.values():
        assert (f"kind={kind.kind}" in page) == ("winrm" in kind.transports), kind.kind


@pytest.mark.parametrize("kind", [kind.kind for kind in LINK_KINDS.values() if "winrm" in kind.transports])
def test_a_form_has_every_setting_of_its_kind_with_a_label(chained: str, browser_of: Of, kind: str) -> None:
    page = browser_of("olivia").get(f"/passwords/{chained}/links/new?kind={kind}").text
    for field in fields_of(LINK_KINDS[kind]):
        assert f'name="{field.name}"' in page
        assert f'<label class="form-label" for="l-{field.name}">{field.label}</label>' in page
    assert ("Whose password" in page) == (not LINK_KINDS[kind].is_account)
    assert ('id="l-linked"' in page) == LINK_KINDS[kind].needs_linked


def test_adding_a_link_shows_it_at_the_end_and_tests_it(app: Flask, chained: str, browser_of: Of) -> None:
    form = {"kind": "remote_windows", "machine": "LAB-09", "user_name": "Administrator", "revision": revision(app)}
    answer = browser_of("olivia").post(f"/passwords/{chained}/links", form, htmx=True)
    assert answer.status_code == 200
    assert "LAB-09 was added" in answer.text
    assert names(app)[-1] == "LAB-09 remote_windows"
    with app.app_context():
        chain = sync.chain_of(Cast().entry)
        assert chain is not None
        run = sync.active_run(chain)
        assert run is not None
        assert run.kind == "test"


def test_an_error_stands_beside_its_field_and_what_was_typed_stays(app: Flask, chained: str, browser_of: Of) -> None:
    form = {"kind": "remote_windows", "machine": "LAB 09", "user_name": "Field Admin", "revision": revision(app)}
    for htmx in (False, True):
        answer = browser_of("olivia").post(f"/passwords/{chained}/links", form, htmx=htmx)
        assert answer.status_code == 422
        assert 'id="l-machine-error"' in answer.text
        assert 'value="LAB 09"' in answer.text
        assert 'value="Field Admin"' in answer.text
        assert ("<html" in answer.text) == (not htmx)
    assert len(names(app)) == 8


def test_a_machine_that_is_not_on_the_agents_list_is_refused_in_words(
    app: Flask, chained: str, browser_of: Of
) -> None:
    form = {"kind": "remote_windows", "machine": "PAYROLL", "user_name": "Administrator", "revision": revision(app)}
    answer = browser_of("olivia").post(f"/passwords/{chained}/links", form)
    assert answer.status_code == 422
    assert "LAB-01 may not reach PAYROLL" in answer.text


def test_a_stale_form_saves_nothing_shows_how_it_stands_and_keeps_what_was_typed(
    app: Flask, chained: str, browser_of: Of
) -> None:
    """Two owners edit at once: the second must neither overwrite nor lose the typing."""
    old = revision(app)
    browser = browser_of("olivia")
    form = {"kind": "remote_windows", "machine": "LAB-09", "user_name": "Administrator", "revision": old}
    browser.post(f"/passwords/{chained}/links", form)
    answer = browser.post(f"/passwords/{chained}/links", form | {"machine": "LAB-10"}, htmx=True)
    assert answer.status_code == 409
    assert "Meanwhile Olivia Ortiz added LAB-09" in answer.text, "what changed"
    assert "Nothing was saved; here is how it stands now" in answer.text
    assert "LAB-09" in answer.text, "how it stands now"
    assert 'value="LAB-10"' in answer.text, "what was typed"
    assert f'name="revision" value="{revision(app)}"' in answer.text, "saving again is then possible"
    assert names(app).count("LAB-10 remote_windows") == 0


@pytest.mark.parametrize("what", ["up", "down", "remove"])
def test_tools_on_a_stale_page_change_nothing(app: Flask, chained: str, browser_of: Of, what: str) -> None:
    before = names(app)
    path = f"/passwords/{chained}/links/{id_of(app, 'LAB-04')}/{what}"
    assert browser_of("olivia").post(path, {"revision": "0"}).status_code == 409
    assert browser_of("olivia").post(path).status_code == 409, "a form without a revision is stale"
    assert names(app) == before


def test_moving_is_done_by_buttons_and_default_sync_stays_first(app: Flask, chained: str, browser_of: Of) -> None:
    browser = browser_of("olivia")
    path = f"/passwords/{chained}/links/{id_of(app, 'LAB-03')}"
    assert browser.post(f"{path}/up", {"revision": revision(app)}).status_code == 303
    assert names(app)[:3] == ["LAB-01 standalone_windows", "LAB-03 remote_windows", "LAB-02 remote_windows"]
    answer = browser.post(f"{path}/up", {"revision": revision(app)}, htmx=True)
    assert answer.status_code == 422
    assert "Default Sync is always first" in answer.text


def test_a_removal_is_undone_with_one_click_and_forgets_nothing(app: Flask, chained: str, browser_of: Of) -> None:
    browser = browser_of("olivia")
    gone, before = id_of(app, "LAB-04"), names(app)
    answer = browser.post(f"/passwords/{chained}/links/{gone}/remove", {"revision": revision(app)}, htmx=True)
    assert f"/links/{gone}/restore" in answer.text
    assert "LAB-04 remote_windows" not in names(app)
    with app.app_context():
        assert db.session.get_one(SyncLink, gone).holds_version_id
    assert browser.get(f"/passwords/{chained}/links/{gone}").status_code == 409
    assert browser.post(f"/passwords/{chained}/links/{gone}/restore", {"revision": revision(app)}).status_code == 303
    assert names(app) == before, "it is back where it was"


def test_without_script_a_removal_leads_to_a_page_that_offers_to_undo_it(
    app: Flask, chained: str, browser_of: Of
) -> None:
    browser = browser_of("olivia")
    path = f"/passwords/{chained}/links/{id_of(app, 'LAB-04')}/remove"
    page = browser.get(browser.post(path, {"revision": revision(app)}).headers["Location"]).text
    assert re.search(r'formaction="[^"]*/restore">Undo</button>', page)


def test_editing_in_place_shows_the_stored_settings_and_saves_them(app: Flask, chained: str, browser_of: Of) -> None:
    browser = browser_of("olivia")
    service = id_of(app, "LAB-03", account=False)
    page = browser.get(f"/passwords/{chained}/links/{service}", headers={"HX-Request": "true"}).text
    assert 'value="LabImaging"' in page
    account = id_of(app, "LAB-03")
    assert f'<option value="{account}" selected>' in page, "whose password it stores"
    form = {"machine": "LAB-03", "name": "LabImaging", "restart": "service", "account_link_id": account}
    saved = browser.post(f"/passwords/{chained}/links/{service}", form | {"revision": revision(app)})
    assert saved.status_code == 303
    with app.app_context():
        assert db.session.get_one(SyncLink, service).settings["restart"] == "service"


def test_default_sync_is_edited_in_general_settings_only(app: Flask, chained: str, browser_of: Of) -> None:
    answer = browser_of("olivia").get(f"/passwords/{chained}/links/{id_of(app, 'LAB-01')}")
    assert answer.status_code == 409
    assert "General Settings" in answer.text


def test_a_linked_credential_that_one_may_not_read_cannot_be_lent(app: Flask, chained: str, browser_of: Of) -> None:
    """Else an owner could have another vault's administrator log on to a machine of their choice."""
    with app.app_context():
        cast = Cast()
        theirs = vaults.create_vault(cast.nora, "Payroll")
        settings = entries.Settings("Domain Admin", "generic", "CORP\\boss")
        secret = entries.create_entry(cast.nora, theirs, settings, Secret("boss-secret-1")).id
    form: dict[str, Any] = {"kind": "remote_windows", "machine": "LAB-09", "user_name": "Administrator"}
    form |= {"revision": revision(app), "linked_entry_id": secret}
    answer = browser_of("olivia").post(f"/passwords/{chained}/links", form)
    assert answer.status_code == 422
    assert "Choose a linked credential that you may read" in answer.text
    assert "Domain Admin" not in answer.text


def test_a_link_of_another_password_is_not_found_under_this_one(app: Flask, chained: str, browser_of: Of) -> None:
    with app.app_context():
        cast = Cast()
        settings = entries.Settings("Other", "standalone_windows", "Other", "LAB-01")
        other = entries.create_entry(cast.olivia, cast.vault, settings, Secret("other-secret-1")).id
    link = id_of(app, "LAB-02")
    browser = browser_of("olivia")
    assert browser.get(f"/passwords/{other}/links/{link}").status_code == 404
    assert browser.post(f"/passwords/{other}/links/{link}/remove", {"revision": "1"}).status_code == 404
    assert browser.get(f"/passwords/{chained}/links/nothing").status_code == 404


def test_while_a_run_is_under_way_the_chain_is_not_edited(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        entry, _run = scenes.changing()
        entry_id = entry.id
    browser = browser_of("olivia")
    page = browser.get(f"/passwords/{entry_id}/synchronization").text
    assert "Add a link" not in page
    path = f"/passwords/{entry_id}/links/{id_of(app, 'LAB-04')}/remove"
    answer = browser.post(path, {"revision": revision(app)})
    assert answer.status_code == 409
    assert "under way" in answer.text


def test_adopt_lists_the_places_and_writes_only_those_that_were_ticked(
    app: Flask, chained: str, browser_of: Of
) -> None:
    browser = browser_of("olivia")
    service = id_of(app, "LAB-03", account=False)
    with app.app_context():
        row = scenes.link(Cast().entry, "LAB-03", account=False)
        scenes.change(row, state="waiting", reason="not_yet_written", proof_version_id=None, written_rev=None)
    page = browser.get(f"/passwords/{chained}/adopt").text
    assert f'value="{service}" id="a-{service}" checked' in page
    assert page.count('name="link_ids"') == 2
    assert browser.post(f"/passwords/{chained}/adopt").status_code == 422
    assert browser.post(f"/passwords/{chained}/adopt", {"link_ids": [service]}).status_code == 303
    with app.app_context():
        chain = sync.chain_of(Cast().entry)
        assert chain is not None
        run = sync.active_run(chain)
        assert run is not None
        assert (run.kind, run.scope) == ("adopt", [service])


def test_settings_of_the_chain_are_guarded_by_its_revision(app: Flask, chained: str, browser_of: Of) -> None:
    browser = browser_of("olivia")
    with app.app_context():
        chain = sync.chain_of(Cast().entry)
        assert chain is not None
        form = {"agent_id": chain.agent_id, "on_failure": "stop"}
    path = f"/passwords/{chained}/synchronization/settings"
    assert browser.post(path, form | {"revision": "0"}, htmx=True).status_code == 409
    assert browser.post(path, form | {"revision": revision(app)}, htmx=True).status_code == 200
    answer = browser.post(path, form | {"on_failure": "panic", "revision": revision(app)}, htmx=True)
    assert answer.status_code == 422
    assert 'id="f-on_failure-error"' in answer.text


def test_a_chain_whose_agent_was_disabled_says_so_and_what_to_do(app: Flask, chained: str, browser_of: Of) -> None:
    with app.app_context():
        chain = sync.chain_of(Cast().entry)
        assert chain is not None
        agents.disable(Cast().ada, chain.agent, row_version=chain.agent.row_version)
    page = browser_of("olivia").get(f"/passwords/{chained}/synchronization").text
    assert "LAB-01 is disabled." in page
    assert "Ask an organization administrator" in page
    assert "LAB-04" in page, "what every place holds is still shown"
    assert "not usable now" in page, "the chain's own agent stays in the list"
    browser = browser_of("olivia")
    for ask in ("test", "retest"):
        answer = browser.post(f"/passwords/{chained}/{ask}")
        assert answer.status_code == 409, ask
        assert "LAB-01 is not approved" in answer.text
    assert browser.get(f"/passwords/{chained}/approve").status_code == 409


def test_an_owner_compares_and_confirms_a_new_certificate_on_the_page_of_the_chain(
    app: Flask, chained: str, browser_of: Of
) -> None:
    path, new = f"/passwords/{chained}/synchronization", "0d" * 32
    with app.app_context(), write() as session:
        chain = session.get_one(SyncChain, sync.chain_of(Cast().entry).id)  # type: ignore[union-attr]
        chain.agent.pin = new
        refresh(session, chain.id)
    assert "Ask an owner of this vault" in browser_of("vera").get(path).text
    olivia = browser_of("olivia")
    page = olivia.get(path).text
    assert "LAB-01 has a new certificate" in page
    assert "0D0D" in page
    assert PIN[:4].upper() in page, "the one before, to compare"
    assert "LAB-01 itself has the new one: confirm" in page, "compared with the machine, not with the one before"
    assert re.search(r"<button[^>]* disabled[^>]*>[^<]*<svg.*?</svg> Test now", page, re.DOTALL), "it could do nothing"
    refused = olivia.post(f"/passwords/{chained}/test")
    assert refused.status_code == 409
    assert "An owner of this password confirms it first" in refused.text
    stale = olivia.post(f"{path}/certificate", {"pin": PIN})
    assert stale.status_code == 409
    assert "Compare its fingerprint once more" in stale.text
    olivia.post(f"{path}/certificate", {"pin": new})
    assert "has a new certificate" not in olivia.get(path).text


def test_a_change_that_reached_no_place_can_be_given_up_where_one_sees_it(
    app: Flask, chained: str, browser_of: Of
) -> None:
    with app.app_context():
        sync.request_change(Cast().olivia, Cast().entry, Secret("Next-93kq#Rezun-2"))
    assert "Give up this change" in browser_of("eddie").get(f"/passwords/{chained}/synchronization").text
    assert "Give up this change" not in browser_of("vera").get(f"/passwords/{chained}/synchronization").text
    answer = browser_of("eddie").post(f"/passwords/{chained}/give-up", htmx=True)
    assert "The vault keeps the password it has" in answer.text
    assert "Give up this change" not in answer.text
