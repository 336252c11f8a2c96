"""The same connector against the lab's switch: real SSH, simulated truth, faults that a real device does not show on
demand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pwserver.connectors.base import Blocked, Credential, Key, Means, Refused, Unknown, Unreachable
from pwserver.connectors.device import DeviceConnector, Settings, fetch_host_key
from pwserver.core.secrets import Secret
from pwserver.lab import defaults, switch, truth
from pwserver.lab.model.network import Network
from tests.ssh.sshd_lab import call, eventually
from tests.ssh.test_device_real import HOSTILE

pytestmark = pytest.mark.enable_socket

NAME = defaults.DEVICE
NEW = Secret("the new one, longer")


class Lab:
    """The default network with its switch on the wire."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network: Network = truth.open_network(folder)
        self.ports: dict[str, int] = {}
        self.server = switch.serve(self.network, folder=folder, ports=self.ports)
        first = defaults.initial_passwords(self.network)
        self.old = Secret(first[f"{NAME}\\admin"])
        self.linked = Credential(f"{NAME}\\psrv", Secret(first[f"{NAME}\\psrv"]))

    def connector(self, **settings: object) -> DeviceConnector:
        address = self.server.addresses[NAME]
        linked = settings.pop("linked", self.linked)
        values = {
            "device": NAME,
            "address": address["host"],
            "user_name": "admin",
            "port": address["port"],
            "host_key": address["fingerprint"],
        }
        return DeviceConnector(Settings(**(values | settings)), linked)  # type: ignore[arg-type]

    def opens(self, value: Secret) -> bool:
        found = self.network.state.devices[NAME].find("admin")
        return found is not None and found.password == value.open()

    def wrong(self) -> dict[str, int]:
        return {name: count for name, count in self.network.state.devices[NAME].bad_logons.items() if count}

    def close(self) -> None:
        self.server.stop()
        self.network.stop()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def test_a_change_is_applied_and_proved_without_a_wrong_login(lab: Lab) -> None:
    before = lab.connector().read(call()).stamp
    evidence = lab.connector().change(call(), lab.old, NEW)
    assert (evidence.means, evidence.host, evidence.account_id) == (Means.LOGGED_ON, NAME, f"{NAME}\\admin".casefold())
    assert lab.opens(NEW)
    assert evidence.stamp != before
    assert lab.connector().read(call()).stamp == evidence.stamp
    assert lab.connector().verify(call(), NEW).means == Means.LOGGED_ON
    assert lab.wrong() == {}


def test_hostile_values_arrive_byte_for_byte(lab: Lab) -> None:
    for value in HOSTILE:
        if len(value) >= 8:
            assert lab.connector().reset(call(), Secret(value)).means == Means.LOGGED_ON, ascii(value)
            assert lab.opens(Secret(value)), ascii(value)


def test_wrong_values_are_refused_and_counted_once(lab: Lab) -> None:
    with pytest.raises(Refused, match="old_value_refused") as old:
        lab.connector().change(call(), Secret("not the old one"), NEW)
    assert old.value.spent == {Key.TARGET}
    assert lab.wrong() == {"admin": 1}
    with pytest.raises(Blocked, match="linked_refused") as linked:
        lab.connector(linked=Credential("psrv", Secret("wrong"))).change(call(), lab.old, NEW)
    assert linked.value.spent == {Key.LINKED}
    assert lab.wrong() == {"admin": 1, "psrv": 1}
    assert lab.opens(lab.old)


def test_a_value_that_the_device_rejects_is_refused_in_its_words(lab: Lab) -> None:
    with pytest.raises(Refused, match="policy") as refused:
        lab.connector().change(call(), lab.old, Secret("short"))
    assert "too short" in refused.value.text
    assert lab.opens(lab.old)


def test_off_is_unreachable_and_on_again_works(lab: Lab) -> None:
    lab.network.set_fault(NAME, "off")
    with pytest.raises(Unreachable) as off:
        lab.connector().change(call(), lab.old, NEW)
    assert off.value.spent == frozenset()
    lab.network.set_fault(NAME, "on")
    assert lab.connector().verify(call(), lab.old).means == Means.LOGGED_ON


@pytest.mark.parametrize(("fault", "applied"), [("cut-before", False), ("cut-after", True)])
def test_a_cut_line_is_unknown_and_a_read_tells(lab: Lab, fault: str, applied: bool) -> None:
    before = lab.connector().read(call()).stamp
    lab.network.set_fault(NAME, fault)
    with pytest.raises(Unknown) as unknown:
        lab.connector().change(call(), lab.old, NEW)
    assert unknown.value.wrote is None
    assert (lab.connector().read(call()).stamp != before) is applied
    assert lab.opens(NEW) is applied
    assert lab.wrong() == {}


def test_a_late_write_comes_within_its_time_to_live_or_never(lab: Lab) -> None:
    lab.network.set_fault(NAME, "late:0.3")
    with pytest.raises(Unknown):
        lab.connector().reset(call(), NEW)
    assert lab.opens(lab.old)
    eventually(lambda: lab.opens(NEW), "it was applied late")
    never = threading.Event()
    with pytest.raises(Unknown):
        lab.connector().reset(call(ttl_s=0.2), Secret("applied too late"))
    lab.network.later(0.6, never.set)
    assert never.wait(10)
    assert lab.opens(NEW), "its own stopwatch kept it from writing"


@pytest.mark.parametrize(
    ("fault", "answer", "reason"),
    [
        ("reinstalled", Blocked, "pin_changed"),
        ("certificate", Blocked, "pin_changed"),
        ("refuse-login", Blocked, "linked_refused"),
        ("filtered", Blocked, "not_root"),
        ("no-shells", Blocked, "no_tools"),
        ("constrained", Blocked, "no_tools"),
        ("no-network", Refused, "not_provable"),
        ("echo", Refused, "policy"),
    ],
)
def test_every_other_fault_says_what_it_is(lab: Lab, fault: str, answer: type[Exception], reason: str) -> None:
    lab.network.set_fault(NAME, fault)
    with pytest.raises(answer, match=reason):
        lab.connector().change(call(), lab.old, NEW)
    assert lab.opens(lab.old)
    assert lab.wrong() == {}


def test_a_locked_account_costs_nothing_more(lab: Lab) -> None:
    device = lab.network.device(NAME)
    while not device.locked("admin"):
        device.check("admin", "wrong")
    counted = lab.wrong()
    with pytest.raises(Refused, match="account_locked") as refused:
        lab.connector().change(call(), lab.old, NEW)
    assert refused.value.safe_in is not None
    assert lab.wrong() == counted


def test_what_the_server_never_admits_is_set_and_said_and_carried_on_by_its_stamp(lab: Lab) -> None:
    """The right password of an account that sshd lets in with none was taken for another one's."""
    lab.network.set_fault(NAME, "no-network")
    with pytest.raises(Refused, match="not_provable") as refused:
        lab.connector().verify(call(), lab.old)
    assert (refused.value.spent, refused.value.text) == (frozenset(), "sshd: AllowUsers psrv.")
    written = lab.connector().reset(call(), NEW)
    assert (written.means, written.no_logon, written.turned_away) == (Means.WRITTEN, "sshd: AllowUsers psrv.", False)
    again = lab.connector().verify(call(stamp=written.stamp), NEW)
    assert (again.means, again.stamp) == (Means.UNCHANGED, written.stamp)
    next_one = lab.connector().change(call(stamp=written.stamp), NEW, Secret("the one after it"))
    assert next_one.means == Means.WRITTEN
    assert lab.opens(Secret("the one after it"))
    assert lab.wrong() == {}
    with pytest.raises(Refused, match="not_provable"):
        lab.connector().change(call(stamp=written.stamp), NEW, Secret("never sent"))
    assert lab.opens(Secret("the one after it")), "somebody else set it since: nothing is written"


def test_the_device_is_the_same_after_a_restart_of_the_lab(tmp_path: Path) -> None:
    first = Lab(tmp_path)
    address = first.server.addresses[NAME]
    assert fetch_host_key("127.0.0.1", address["port"]) == address["fingerprint"]
    assert lab_ports(first) == address["port"]
    first.close()
    again = switch.serve(Network(defaults.network("x", 0.0)), folder=tmp_path, ports=dict(first.ports))
    try:
        assert again.addresses[NAME] == address
    finally:
        again.stop()


def lab_ports(lab: Lab) -> int:
    return lab.ports[NAME]


def test_another_command_and_no_login_get_nothing(lab: Lab) -> None:
    import asyncio

    import asyncssh

    async def other() -> tuple[int | None, bytes]:
        address = lab.server.addresses[NAME]
        async with asyncssh.connect(
            address["host"],
            address["port"],
            username="psrv",
            password=lab.linked.secret.open(),
            known_hosts=None,
            client_keys=None,
            config=None,
        ) as connection:
            done = await connection.run("cat /etc/shadow", encoding=None)
            return done.exit_status, bytes(done.stdout or b"")

    assert asyncio.run(other()) == (127, b"")
