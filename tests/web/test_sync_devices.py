"""Default Sync's own linked credential: chosen where synchronization is turned on and in the chain's settings; another
device's is not offered, and refused when it is sent all the same."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Entry, SyncLink, SyncRun
from pwserver.services import agents, entries, sync, vaults
from pwserver.services.transaction import write
from tests.conftest import Cast, email_of
from tests.web import scenes
from tests.web.conftest import Browser

Of = Callable[[str], Browser]


def device(name: str) -> Entry:
    cast = Cast()
    settings = entries.Settings(
        name=name, type="device", user_name="admin", machine=name, port=22, host_key=f"SHA256:{name[0] * 43}"
    )
    return entries.create_entry(cast.olivia, cast.vault, settings, Secret(f"admin of {name}"))


def credential(name: str, machine: str, user: str = "root", kind: str = "generic") -> str:
    cast = Cast()
    settings = entries.Settings(name=name, type=kind, user_name=user, machine=machine, port=22)
    if kind == "device":
        settings = entries.Settings(
            name=name, type=kind, user_name=user, machine=machine, port=22, host_key=f"SHA256:{'B' * 43}"
        )
    return entries.create_entry(cast.olivia, cast.vault, settings, Secret(f"secret {name}")).id


@pytest.fixture
def two(app: Flask) -> dict[str, str]:
    """SW-01 in a chain by the agent's credential; web-01 not yet; credentials of each, of neither, and of a domain."""
    with app.app_context():
        cast = Cast()
        agent = agents.ensure_this_server()
        ids = {
            "SW-01 root": credential("SW-01 root", "SW-01"),
            "SW-01 admin 2": credential("SW-01 admin 2", "sw-01", "admin2", "device"),
            "web-01 root": credential("web-01 root", "WEB-01"),
            "typed root": credential("typed root", "", "SW-01\\root"),
            "anywhere": credential("anywhere", ""),
        }
        with write() as session:
            row = session.merge(agent)
            row.linked_entry_id, row.allowed_machines = ids["SW-01 root"], ["SW-01", "web-01"]
        agents.set_reach(
            cast.ada, agent, agent.name, ["SW-01", "web-01"], [cast.vault.id], row_version=agent.row_version
        )
        switch, web = device("SW-01"), device("web-01")
        sync.enable(cast.olivia, switch, agent.id)
        scenes.end_runs(switch)
        return ids | {"agent": agent.id, "SW-01": switch.id, "web-01": web.id}


def offered(page: str) -> list[str]:
    """The names of the credentials that the form offers, without their vaults."""
    field = re.search(r'<select[^>]*name="linked_entry_id".*?</select>', page, re.DOTALL)
    assert field is not None
    return [each.split(" (")[0] for each in re.findall(r"<option[^>]*>(.*?)</option>", field.group(0))]


def primary(app: Flask, entry_id: str) -> SyncLink | None:
    with app.app_context():
        chain = sync.chain_of(db.session.get_one(Entry, entry_id))
        return sync.active_links(chain)[0] if chain else None


def test_turning_it_on_offers_no_other_devices_credential(two: dict[str, str], browser_of: Of) -> None:
    page = browser_of("olivia").get(f"/passwords/{two['web-01']}/synchronization").text
    names = offered(page)
    assert names[0] == "As the agent"
    assert {"web-01 root", "anywhere"} <= set(names)
    assert not {"SW-01 root", "SW-01 admin 2", "typed root", "SW-01", "web-01"} & set(names)


@pytest.mark.parametrize("name", ["SW-01 root", "SW-01 admin 2", "typed root", "agent"])
def test_turning_it_on_with_another_devices_credential_is_refused_beside_the_field(
    app: Flask, two: dict[str, str], browser_of: Of, name: str
) -> None:
    form = {"agent_id": two["agent"], "on_failure": "stop", "linked_entry_id": "" if name == "agent" else two[name]}
    answer = browser_of("olivia").post(f"/passwords/{two['web-01']}/synchronization/enable", form, htmx=True)
    assert answer.status_code == 422
    assert "another device" in answer.text
    assert re.search(r'id="s-linked"[^>]*aria-invalid="true"|is-invalid" id="s-linked"', answer.text)
    assert 'value="stop" checked' in answer.text or re.search(r'value="stop"[^>]*(checked|selected)', answer.text)
    assert primary(app, two["web-01"]) is None


def test_turning_it_on_keeps_the_chosen_one_and_leaves_the_other_chain_alone(
    app: Flask, two: dict[str, str], browser_of: Of
) -> None:
    form = {"agent_id": two["agent"], "on_failure": "continue", "linked_entry_id": two["web-01 root"]}
    answer = browser_of("olivia").post(f"/passwords/{two['web-01']}/synchronization/enable", form, htmx=True)
    assert answer.status_code == 200
    link, other = primary(app, two["web-01"]), primary(app, two["SW-01"])
    assert link is not None
    assert other is not None
    assert (link.linked_entry_id, other.linked_entry_id) == (two["web-01 root"], None)
    with app.app_context():
        runs = db.session.scalars(db.select(SyncRun).filter_by(state="queued")).all()
        assert [run.chain_id for run in runs] == [link.chain_id]


def settings_form(app: Flask, two: dict[str, str], name: str) -> dict[str, str]:
    with app.app_context():
        revision = scenes.revision(db.session.get_one(Entry, two["SW-01"]))
    linked = two.get(name, "")
    return {
        "agent_id": two["agent"], "on_failure": "continue", "linked_entry_id": linked, "revision": str(revision)
    }  # fmt: skip


def test_the_chains_settings_offer_take_and_keep_its_own_credential(
    app: Flask, two: dict[str, str], browser_of: Of
) -> None:
    browser, path = browser_of("olivia"), f"/passwords/{two['SW-01']}/synchronization"
    names = offered(browser.get(path).text)
    assert names[0] == "As the agent: SW-01 root"
    assert {"SW-01 root", "SW-01 admin 2", "typed root", "anywhere"} <= set(names)
    assert "web-01 root" not in names
    refused = browser.post(f"{path}/settings", settings_form(app, two, "web-01 root"), htmx=True)
    assert refused.status_code == 422
    assert "another device" in refused.text
    taken = browser.post(f"{path}/settings", settings_form(app, two, "SW-01 admin 2"), htmx=True)
    assert taken.status_code == 200
    link = primary(app, two["SW-01"])
    assert link is not None
    assert link.linked_entry_id == two["SW-01 admin 2"]
    assert re.search(rf'value="{two["SW-01 admin 2"]}" selected', browser.get(path).text)


def test_another_credential_sets_what_the_refused_one_stopped_going_again(
    app: Flask, two: dict[str, str], browser_of: Of
) -> None:
    """Both chains went on saying that a credential was refused which had never been sent; a test did not end it."""
    with app.app_context():
        chain = sync.chain_of(db.session.get_one(Entry, two["SW-01"]))
        assert chain is not None
        scenes.change(sync.active_links(chain)[0], state="blocked", reason="linked_refused")
    browser, path = browser_of("olivia"), f"/passwords/{two['SW-01']}/synchronization"
    assert "SW-01\\root" in browser.get(path).text
    assert browser.post(f"{path}/settings", settings_form(app, two, "anywhere"), htmx=True).status_code == 200
    link = primary(app, two["SW-01"])
    assert link is not None
    assert (link.state, link.reason) == ("waiting", "")


def test_the_agents_new_credential_sets_them_going_too(app: Flask, two: dict[str, str]) -> None:
    with app.app_context():
        cast = Cast()
        chain = sync.chain_of(db.session.get_one(Entry, two["SW-01"]))
        assert chain is not None
        scenes.change(sync.active_links(chain)[0], state="blocked", reason="linked_refused")
        agent = agents.ensure_this_server()
        vaults.add_member(cast.olivia, cast.vault, email_of("ada"), "read")
        agents.set_linked(cast.ada, agent, two["anywhere"], row_version=agent.row_version)
    link = primary(app, two["SW-01"])
    assert link is not None
    assert (link.state, link.reason) == ("waiting", "")


def test_a_link_to_another_device_refuses_this_ones_credential(app: Flask, two: dict[str, str], browser_of: Of) -> None:
    with app.app_context():
        revision = scenes.revision(db.session.get_one(Entry, two["SW-01"]))
    form = {
        "kind": "device_ssh", "device": "web-01", "user_name": "backup", "port": "22", "host_key": f"SHA256:{'C' * 43}",
        "linked_entry_id": two["SW-01 root"], "revision": str(revision),
    }  # fmt: skip
    answer = browser_of("olivia").post(f"/passwords/{two['SW-01']}/links", form, htmx=True)
    assert answer.status_code == 422
    assert "SW-01 root is an account of another device. Choose one of web-01." in answer.text
    assert 'value="backup"' in answer.text
