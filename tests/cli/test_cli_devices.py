"""Devices end to end, as the command line tells them: accounts that no login can prove, and whose login goes where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.lab import defaults, switch, truth
from pwserver.models import Entry, SyncAgent, SyncRun, Vault
from pwserver.services import agents, entries, sync, users
from pwserver.services.demo import OLIVIA
from tests.cli.conftest import SWITCH, Console, LabHere

pytestmark = pytest.mark.enable_socket

DEVICE = defaults.DEVICE
PSRV = "Sync agents/SW-01 psrv"
WEB = "Computer Lab/web-01"


def link(console: Console, entry: str = SWITCH) -> dict[str, object]:
    found = console.json("sync", "status", entry)[1]["links"][0]
    assert isinstance(found, dict)
    return found


def truly(lab: LabHere) -> str:
    found = lab.network.state.devices[DEVICE].find("admin")
    assert found is not None
    return found.password


def wrong(lab: LabHere) -> int:
    return sum(lab.network.state.devices[DEVICE].bad_logons.values())


def current(console: Console, entry: str = SWITCH) -> str:
    value = console.json("entry", "show", entry)[1]["value"]
    assert isinstance(value, str)
    return value


def test_after_approve_the_vault_has_what_an_account_that_may_not_log_in_holds(console: Console, lab: LabHere) -> None:
    """The device had the new one; the vault's current one was wrong, and the page said that nothing is lost."""
    lab.network.set_fault(DEVICE, "no-network")
    first = truly(lab)
    assert console("sync", "test", SWITCH, "--wait", "20").exit_code == 1
    assert (link(console)["reason"], link(console)["told"]) == ("not_provable", "sshd: AllowUsers psrv.")
    refused = console("sync", "change", SWITCH, "--wait", "20", stdin="never sent there")
    assert refused.exit_code == 1
    assert "Somebody set another one" not in refused.output
    assert truly(lab) == first
    console("sync", "give-up", SWITCH)

    approved = console(
        "sync", "approve", SWITCH, "--reason", "no login", "--set", "new", "--wait", "20", stdin="approved!"
    )
    assert approved.exit_code == 1, "written only is never In Sync"
    assert truly(lab) == current(console) == "approved!"
    written = link(console)
    assert (written["reason"], written["proof"], written["told"]) == (
        "written_only",
        "written only",
        "sshd: AllowUsers psrv.",
    )

    logins = lab.network.state.devices[DEVICE].requests
    assert console("sync", "retest", SWITCH, "--wait", "20").exit_code == 1
    assert lab.network.state.devices[DEVICE].requests == logins + 1, "our login read the stamp, and that was all"
    assert (link(console)["reason"], link(console)["proof"]) == ("written_only", "written only")

    console("sync", "change", SWITCH, "--wait", "20", stdin="carried on")
    assert truly(lab) == current(console) == "carried on"
    assert wrong(lab) == 0
    assert console.json("sync", "check")[0] == 0

    lab.network.set_fault(DEVICE, "none")
    assert console("sync", "retest", SWITCH, "--wait", "20").exit_code == 0, "now a login proves it"
    assert link(console)["proof"] == "logged on"


def test_a_password_set_by_hand_is_not_overwritten_where_no_login_can_tell(console: Console, lab: LabHere) -> None:
    lab.network.set_fault(DEVICE, "no-network")
    console("sync", "approve", SWITCH, "--reason", "no login", "--set", "new", "--wait", "20", stdin="approved!")
    lab.network.device(DEVICE).set_password("psrv", "admin", "set by hand")
    console("sync", "change", SWITCH, "--wait", "20", stdin="not to be written")
    assert truly(lab) == "set by hand"
    assert link(console)["reason"] == "not_provable"


@pytest.fixture
def web(console: Console, lab: LabHere, tmp_path: Path) -> Iterator[switch.Switch]:
    """A second device with the same names and other passwords, on the list of the agent, with a password of each."""
    network = truth.open_network(tmp_path / "web")
    for account in network.state.devices[DEVICE].accounts:
        account.password = f"{account.name} of web-01"
    served = switch.serve(network, folder=tmp_path / "web", ports={})
    address = served.addresses[DEVICE]
    with console.app.app_context():
        olivia = users.find(OLIVIA.email)
        assert olivia is not None
        vault = db.session.scalars(db.select(Vault).filter_by(name="Computer Lab")).one()
        agent = db.session.scalars(db.select(SyncAgent).filter_by(transport="ssh")).one()
        reach = [DEVICE, "web-01"]
        agents.set_reach(olivia, agent, agent.name, reach, [vault.id], row_version=agent.row_version)
        device = entries.Settings(
            name="web-01", type="device", user_name="admin", machine="web-01", address="127.0.0.1",
            port=int(address["port"]), host_key=str(address["fingerprint"]),
        )  # fmt: skip
        entries.create_entry(olivia, vault, device, Secret("admin of web-01"))
        root = entries.Settings(name="web-01 psrv", type="generic", user_name="psrv", machine="web-01")
        entries.create_entry(olivia, vault, root, Secret("psrv of web-01"))
    yield served
    served.stop()
    network.stop()


def tried(web: switch.Switch) -> dict[str, int]:
    return {name: count for name, count in web.network.state.devices[DEVICE].bad_logons.items() if count}


def test_one_devices_administrator_is_never_shown_to_another(
    console: Console, lab: LabHere, web: switch.Switch
) -> None:
    """Turning synchronization on for web-01 sent it the root password of SW-01, and stopped SW-01's own chain."""
    console.in_sync(SWITCH)
    for linked in ((), ("--linked", PSRV)):
        refused = console("sync", "enable", WEB, "--agent", "This server", *linked)
        assert refused.exit_code == 1
        assert "another device" in refused.output
    assert web.network.state.devices[DEVICE].requests == 0, "it was not even called"

    enabled = console("sync", "enable", WEB, "--agent", "This server", "--linked", "Computer Lab/web-01 psrv")
    assert enabled.exit_code == 0, enabled.output
    console.in_sync(WEB, SWITCH)
    assert tried(web) == {}
    for linked in ("agent", PSRV):
        refused = console("sync", "edit", WEB, "1", "--linked", linked)
        assert refused.exit_code == 1
        assert "another device" in refused.output
    assert console("sync", "change", WEB, "--wait", "20", stdin="changed on web").exit_code == 0
    assert console("sync", "change", SWITCH, "--wait", "20", stdin="changed on SW").exit_code == 0
    assert truly(lab) == "changed on SW"
    assert (tried(web), wrong(lab)) == ({}, 0)


def test_a_refused_login_is_named_and_stops_no_other_devices_chain(
    console: Console, lab: LabHere, web: switch.Switch
) -> None:
    console.in_sync(SWITCH)
    web.network.device(DEVICE).set_password("psrv", "psrv", "set by hand")
    console("sync", "enable", WEB, "--agent", "This server", "--linked", "Computer Lab/web-01 psrv")
    assert link(console, WEB)["reason"] == "linked_refused"
    assert "web-01\\psrv" in str(link(console, WEB)["why"])
    assert tried(web) == {"psrv": 1}
    console("sync", "change", "Computer Lab/web-01 psrv", stdin="another guess")
    with console.app.app_context():
        for run_id in db.session.scalars(db.select(SyncRun.id).filter_by(state="queued")).all():
            sync.execute(run_id, "test")
    assert link(console, WEB)["reason"] == "login_over_budget"
    assert "our login web-01\\psrv" in str(link(console, WEB)["why"])
    assert tried(web) == {"psrv": 1}
    console.in_sync(SWITCH)
    assert console("sync", "change", SWITCH, "--wait", "20", stdin="not stopped").exit_code == 0
    assert console("sync", "edit", SWITCH, "1", "user_name=root").exit_code == 1, "that is General Settings"


def test_a_run_sends_no_login_of_another_device_whatever_was_saved_before(
    console: Console, lab: LabHere, web: switch.Switch
) -> None:
    console("sync", "enable", WEB, "--agent", "This server", "--linked", "Computer Lab/web-01 psrv")
    with console.app.app_context():
        olivia = users.find(OLIVIA.email)
        psrv = db.session.scalars(db.select(Entry).filter_by(name="web-01 psrv")).one()
        assert olivia is not None
        settings = entries.settings_of(psrv)
        entries.edit_entry(olivia, psrv, replace(settings, machine="db-01"), row_version=psrv.row_version, owner=True)
    calls = web.network.state.devices[DEVICE].requests
    assert console("sync", "test", WEB, "--wait", "20").exit_code == 1
    assert link(console, WEB)["reason"] == "linked_elsewhere"
    assert "db-01\\psrv" in str(link(console, WEB)["why"])
    assert web.network.state.devices[DEVICE].requests == calls
