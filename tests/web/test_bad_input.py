"""A form that cannot be taken says why, loses nothing that was typed, and no page is a dead end."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Entry, SyncAgent, SyncLink, SyncRun, Vault
from pwserver.services import entries
from pwserver.services.transaction import write
from tests.conftest import Cast
from tests.web import scenes
from tests.web.conftest import Browser

Of = Callable[[str], Browser]
pytestmark = pytest.mark.breaks_invariants  # scenes write proofs that no run made


@pytest.fixture
def chained(app: Flask) -> str:
    """The id of *Lab Administrator* with its chain; Olivia, who owns its vault, is an administrator too."""
    with app.app_context():
        cast = Cast()
        with write() as session:
            session.merge(cast.olivia).org_admin = True
        return scenes.chain().id


def agent_row() -> SyncAgent:
    return db.session.execute(db.select(SyncAgent).filter_by(name="LAB-01")).scalar_one()


def agent_page(app: Flask) -> tuple[str, dict[str, str]]:
    with app.app_context():
        row = agent_row()
        return f"/agents/{row.id}", {"row_version": str(row.row_version)}


def test_a_refusal_leads_back_to_what_it_is_about(app: Flask, chained: str, browser_of: Of) -> None:
    agent, version = agent_page(app)
    olivia, vera = browser_of("olivia"), browser_of("vera")
    assert olivia.post(f"{agent}/disable", version).status_code == 303
    for answer, back in (
        (olivia.post(f"/passwords/{chained}/test"), f"/passwords/{chained}/synchronization"),
        (vera.get(f"/passwords/{chained}/change"), f"/passwords/{chained}/synchronization"),
        (olivia.client.post(f"{agent}/test"), agent),
        (olivia.post(f"/passwords/{chained}/trash", {"row_version": "0"}), f"/passwords/{chained}"),
    ):
        assert answer.status_code in (400, 403, 409)
        assert f'href="{back}">Show how it stands</a>' in answer.text
        assert "here is how it stands" not in answer.text, "it is not on this page"
    unknown = olivia.get("/passwords/nope/change")
    assert unknown.status_code == 404
    assert "Show how it stands" not in unknown.text


def test_only_what_somebody_else_changed_is_said_to_have_changed(app: Flask, chained: str, browser_of: Of) -> None:
    olivia = browser_of("olivia")
    stale = olivia.post(f"/passwords/{chained}/trash", {"row_version": "0"})
    assert "It changed meanwhile" in stale.text
    with app.app_context():
        first = scenes.links(Cast().entry)[0].id
    other = olivia.get(f"/passwords/{chained}/links/{first}")
    assert other.status_code == 409
    assert "It changed meanwhile" not in other.text
    assert "Default Sync is what General Settings says" in other.text


def test_a_stale_form_of_an_agent_keeps_what_was_typed(app: Flask, chained: str, browser_of: Of) -> None:
    agent, _ = agent_page(app)
    typed = {"name": "Typed name", "machines": "LAB-01\r\nLAB-99", "row_version": "0"}
    answer = browser_of("olivia").post(f"{agent}/reach", typed)
    assert answer.status_code == 409
    assert 'value="Typed name"' in answer.text
    assert "LAB-99" in answer.text
    assert "Nothing was saved" in answer.text


def test_a_machine_in_a_chain_stays_on_its_agents_list(app: Flask, chained: str, browser_of: Of) -> None:
    agent, version = agent_page(app)
    with app.app_context():
        vault = db.session.get_one(Entry, chained).vault_id
    olivia = browser_of("olivia")
    data = version | {"name": "LAB-01", "machines": "LAB-01\r\nlab-02\r\nLAB-03\r\nLAB-04\r\nLAB-06", "vaults": vault}
    answer = olivia.post(f"{agent}/reach", data)
    assert answer.status_code == 422
    assert "LAB-05 is in a chain of this agent" in answer.text
    assert olivia.post(f"{agent}/reach", data | {"machines": data["machines"] + "\r\nLAB-05"}).status_code == 303


def test_an_agent_gets_no_credential_that_it_changes_itself(app: Flask, chained: str, browser_of: Of) -> None:
    agent, version = agent_page(app)
    answer = browser_of("olivia").post(f"{agent}/linked", version | {"linked_entry_id": chained})
    assert answer.status_code == 422
    assert "would need itself to be changed" in answer.text
    with app.app_context():
        assert agent_row().linked_entry_id != chained


def test_a_choice_that_is_not_offered_is_refused_in_our_words(app: Flask, chained: str, browser_of: Of) -> None:
    with app.app_context():
        revision = scenes.revision(Cast().entry)
    data = {"kind": "windows_service", "revision": str(revision), "machine": "LAB-02", "name": "Spooler"}
    answer = browser_of("olivia").post(f"/passwords/{chained}/links", data | {"restart": "explode"})
    assert answer.status_code == 422
    assert "Choose one of the list." in answer.text
    assert "Input should be" not in answer.text
    assert 'value="Spooler"' in answer.text


def test_an_unknown_way_to_save_changes_nothing_anywhere(app: Flask, chained: str, browser_of: Of) -> None:
    with app.app_context():
        version = db.session.get_one(Entry, chained).row_version
    data = {"value": "Brand-new-value-1", "how": "explode", "row_version": str(version)}
    answer = browser_of("olivia").post(f"/passwords/{chained}/change", data)
    assert answer.status_code == 422
    assert "Choose how to save it" in answer.text
    with app.app_context():
        assert db.session.scalars(db.select(SyncRun).filter_by(kind="change")).all() == []


@pytest.mark.parametrize("hidden", ["\x00", "\x1b", "\u202e", "\u2066"])
def test_a_name_has_no_signs_that_cannot_be_seen(app: Flask, browser_of: Of, ids: dict[str, str], hidden: str) -> None:
    """They would let a name read as another, in a page or in a terminal."""
    olivia = browser_of("olivia")
    vault = olivia.post("/vaults/new", {"name": f"Safe{hidden}txt"})
    entry = {"name": "Wiki", "type": "generic", "user_name": f"a{hidden}b", "value": "good-enough-1"}
    entry["notes"] = "lines\r\nand\ttabs"
    password = olivia.post(f"/vaults/{ids['vault_id']}/passwords/new", entry)
    for answer in (vault, password):
        assert answer.status_code == 422
        assert f"this has U+{ord(hidden):04X}" in answer.text
    assert olivia.post(f"/vaults/{ids['vault_id']}/passwords/new", entry | {"user_name": "ab"}).status_code == 303
    with app.app_context():
        assert db.session.scalars(db.select(Vault).where(Vault.name.startswith("Safe"))).all() == []


def test_people_may_be_called_what_they_are_called(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    name = "Łukasz Ångström-Ñandú, 実験室 👩\u200d🔬"
    entry = {"name": name, "type": "generic", "value": "good-enough-1"}
    olivia = browser_of("olivia")
    assert olivia.post(f"/vaults/{ids['vault_id']}/passwords/new", entry).status_code == 303
    assert name in olivia.get(f"/vaults/{ids['vault_id']}").text


def test_a_link_to_undo_what_was_not_removed_shows_the_chain(app: Flask, chained: str, browser_of: Of) -> None:
    with app.app_context():
        active = scenes.link(Cast().entry, "LAB-02").id
        cast = Cast()
        elsewhere = entries.create_entry(
            cast.olivia, cast.vault, entries.Settings("Wiki", "generic"), Secret("good-enough-1")
        )
        assert db.session.get(SyncLink, elsewhere.id) is None
    olivia = browser_of("olivia")
    for removed in (active, "nope"):
        answer = olivia.get(f"/passwords/{chained}/synchronization?removed={removed}")
        assert answer.status_code == 200
        assert "was removed from the chain" not in answer.text


def test_a_form_that_comes_back_shows_its_first_wrong_field(app: Flask, chained: str, browser_of: Of) -> None:
    """Without script too: the browser goes to the field that has the focus."""
    olivia = browser_of("olivia")
    with app.app_context():
        revision = scenes.revision(Cast().entry)
    opened = olivia.get(f"/passwords/{chained}/links/new?kind=remote_windows").text
    assert re.findall(r'<input[^>]* id="([^"]+)"[^>]* autofocus', opened) == ["l-machine"]
    data = {"kind": "remote_windows", "revision": str(revision), "machine": "LAB-09", "user_name": ""}
    wrong = olivia.post(f"/passwords/{chained}/links", data).text
    assert re.findall(r'<input[^>]* id="([^"]+)"[^>]* autofocus', wrong) == ["l-user_name"]
    user = olivia.post("/users/new", {"name": "Nina", "email": "bad"}).text
    assert re.findall(r'<input[^>]* id="([^"]+)"[^>]* autofocus', user) == ["f-email"]


def test_no_page_promises_a_mail_that_nobody_sends(app: Flask, browser_of: Of) -> None:
    nora = browser_of("nora").get("/").text
    assert "mail" not in nora
    assert "You are a member of no vault yet" in nora
