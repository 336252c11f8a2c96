"""Device Password against a real OpenSSH server with real accounts."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pwserver.connectors.base import (
    Blocked,
    ConnectorError,
    Credential,
    Evidence,
    Key,
    Means,
    Refused,
    Unknown,
    Unreachable,
)
from pwserver.connectors.device import fetch_host_key
from pwserver.core.secrets import Secret
from tests.ssh.sshd_lab import Lab, Proxy, Sshd, call, eventually, make_lab, sh

pytestmark = [pytest.mark.sshd, pytest.mark.xdist_group("sshd"), pytest.mark.enable_socket]

HOSTILE = (
    "plain",
    "with blank inside",
    "\"double\" 'single' `back`",
    "$HOME $(id) ${x} !! ; | & > /dev/null #",
    "back\\slash\\n \\0 %s %n",
    "co:lon::s",
    "-starts with a dash",
    "€ ä ß é",
    "e\u0301 decomposed, \u00e9 composed",
    "no-break\u00a0blank \u200d joiner",
    "emoji 😀 🗝",
    "\x7f\x01\x1b control \t tab",
    "x" * 127,
    "€" * 127,
    "😀" * 63,
)


def test_a_change_is_applied_and_proved_by_one_login(lab: Lab) -> None:
    before = lab.shadow()
    evidence = lab.connector().change(call(), lab.old, Secret("the new one"))
    assert lab.opens("the new one")
    assert not lab.opens("the old one")
    assert evidence.means == Means.LOGGED_ON
    assert evidence.logged_on
    assert evidence.host == "SW-9"
    assert evidence.account_id == f"sw-9\\{lab.user}"
    assert evidence.stamp == lab.connector().read(call()).stamp
    assert before != lab.shadow()
    assert lab.server.wrong_logins(lab.user) == 0, "a clean change costs no wrong login"
    assert lab.server.wrong_logins(lab.linked.user_name) == 0


@pytest.mark.timeout(120)
def test_a_hostile_value_arrives_byte_for_byte(lab: Lab) -> None:
    connector = lab.connector()
    for value in HOSTILE:
        assert connector.reset(call(), Secret(value)).means == Means.LOGGED_ON, ascii(value)
        assert lab.opens(value), ascii(value)


def test_reading_costs_no_login_and_the_stamp_moves_with_every_set(lab: Lab) -> None:
    connector = lab.connector()
    first = connector.read(call())
    assert first.means is None
    assert first.stamp is not None
    assert first.stamp.startswith("digest:")
    assert connector.read(call()).stamp == first.stamp
    sh("chpasswd", stdin=f"{lab.user}:{lab.old.open()}\n".encode())
    assert connector.read(call()).stamp != first.stamp, "the same value set again by someone else is a move, too"
    assert f"for {lab.user} " not in lab.server.log()


def test_a_wrong_old_value_writes_nothing_and_costs_one_try(lab: Lab) -> None:
    before = lab.shadow()
    with pytest.raises(Refused) as refused:
        lab.connector().change(call(), Secret("not the old one"), Secret("the new one"))
    assert refused.value.reason == "old_value_refused"
    assert refused.value.spent == {Key.TARGET}
    assert refused.value.wrote is False
    assert lab.shadow() == before
    eventually(lambda: lab.server.wrong_logins(lab.user), "the log names the wrong login")
    assert lab.server.wrong_logins(lab.user) == 1


def test_a_server_that_asks_instead_of_taking_is_answered_once(sshd_asking: Sshd) -> None:
    lab = make_lab(sshd_asking)
    assert lab.connector().verify(call(), lab.old).means == Means.LOGGED_ON
    with pytest.raises(Refused) as refused:
        lab.connector().verify(call(), Secret("wrong"))
    assert refused.value.reason == "value_refused"
    assert refused.value.spent == {Key.TARGET}
    eventually(lambda: "Failed keyboard" in sshd_asking.log() or "error: PAM" in sshd_asking.log(), "the log names it")
    assert sshd_asking.log().count(f"PAM: Authentication failure for {lab.user} ") == 1


def test_another_host_key_gets_no_login(lab: Lab, tmp_path: Path) -> None:
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other"))
    other = sh("ssh-keygen", "-l", "-f", str(tmp_path / "other.pub")).split()[1]
    with pytest.raises(Blocked) as blocked:
        lab.connector(host_key=other).change(call(), lab.old, Secret("the new one"))
    assert blocked.value.reason == "pin_changed"
    assert blocked.value.spent == frozenset()
    assert lab.server.fingerprint in blocked.value.text
    assert lab.linked.user_name not in lab.server.log()
    assert lab.opens("the old one")


def test_a_pin_of_any_of_the_servers_keys_opens(lab: Lab) -> None:
    rsa = (lab.server.folder / "host_rsa.pub").read_text()
    assert lab.connector(host_key=rsa).verify(call(), lab.old).means == Means.LOGGED_ON
    assert fetch_host_key("127.0.0.1", lab.server.port) == lab.server.fingerprint


def test_a_refused_linked_credential_is_never_taken_for_the_target(lab: Lab) -> None:
    linked = Credential(lab.linked.user_name, Secret("wrong"))
    with pytest.raises(Blocked) as blocked:
        lab.connector(linked=linked).change(call(), lab.old, Secret("the new one"))
    assert blocked.value.reason == "linked_refused"
    assert blocked.value.spent == {Key.LINKED}
    assert lab.server.wrong_logins(linked.user_name) == 1
    assert f"for {lab.user} " not in lab.server.log()
    assert lab.opens("the old one")


def test_a_linked_credential_without_the_right_is_blocked_before_anything(lab: Lab) -> None:
    plain = lab.server.account("not an admin")
    connector = lab.connector(linked=Credential(plain, Secret("not an admin")))
    with pytest.raises(Blocked) as blocked:
        connector.change(call(), lab.old, Secret("the new one"))
    assert blocked.value.reason == ("sudo_asks" if shutil.which("sudo") else "not_root")
    assert blocked.value.spent == frozenset()
    assert lab.opens("the old one")


def test_without_a_linked_credential_it_can_be_tested_but_not_changed(lab: Lab) -> None:
    assert lab.connector(linked=None).verify(call(), lab.old).stamp is None
    with pytest.raises(Blocked, match="no_linked"):
        lab.connector(linked=None).change(call(), lab.old, Secret("the new one"))


def test_an_account_that_is_not_there(lab: Lab) -> None:
    with pytest.raises(Refused, match="no_account"):
        lab.connector(user_name="nobody-here").read(call())


def test_a_machine_that_is_off_got_nothing(lab: Lab) -> None:
    proxy = Proxy(lab.server.port)
    proxy.close()
    with pytest.raises(Unreachable) as off:
        lab.connector(port=proxy.port).change(call(), lab.old, Secret("the new one"))
    assert off.value.reason == "no_answer"
    assert off.value.spent == frozenset()
    with pytest.raises(Unreachable, match="no_dns"):
        lab.connector(address="sw-9.invalid").read(call())


def test_a_line_cut_before_the_value_left_is_unreachable(lab: Lab, relay: Callable[..., Proxy]) -> None:
    before = lab.shadow()
    # The second connection is the login that proves the old value: the command already waits for its value.
    proxy = relay(cut_at=2)
    with pytest.raises(Unreachable) as cut:
        lab.connector(port=proxy.port).change(call(), lab.old, Secret("the new one"))
    assert cut.value.spent == frozenset()
    assert lab.shadow() == before


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_line_cut_after_the_value_left_is_unknown_until_read(
    lab: Lab, relay: Callable[..., Proxy], where: str
) -> None:
    stamp = lab.connector().read(call()).stamp
    proxy, gate = relay(), lab.server.gate(where)
    result = in_thread(lambda: lab.connector(port=proxy.port).change(call(), lab.old, Secret("the new one")))
    gate.wait()
    proxy.cut()
    answer = result()
    assert isinstance(answer, Unknown)
    assert answer.wrote is None
    gate.open()
    eventually(lambda: lab.connector().read(call()).stamp != stamp, "chpasswd, which had the value, went on")
    assert lab.connector().verify(call(), Secret("the new one")).means == Means.LOGGED_ON
    assert lab.server.wrong_logins(lab.user) == 0


def test_our_deadline_ends_a_device_that_hangs(lab: Lab) -> None:
    gate = lab.server.gate("before")
    answer = in_thread(lambda: lab.connector().reset(call(deadline_s=3), Secret("the new one")))()
    assert isinstance(answer, Unknown)
    assert answer.reason == "no_answer"
    gate.wait()
    gate.open()
    eventually(lambda: lab.opens("the new one"), "the device went on alone")


def test_a_payload_that_comes_too_late_is_not_applied(lab: Lab) -> None:
    before = lab.shadow()
    with pytest.raises(Unreachable) as late:
        lab.connector().reset(call(ttl_s=0), Secret("the new one"))
    assert late.value.reason == "ttl"
    assert late.value.wrote is False
    assert lab.shadow() == before


def test_a_locked_account_proves_nothing_and_stays_locked(lab: Lab) -> None:
    sh("usermod", "-L", lab.user)
    with pytest.raises(Refused) as refused:
        lab.connector().change(call(), lab.old, Secret("the new one"))
    assert (refused.value.reason, refused.value.code, refused.value.spent) == ("account_state", "locked", frozenset())
    evidence = lab.connector().reset(call(), Secret("the new one"))
    assert evidence.means == Means.WRITTEN
    assert lab.shadow().startswith("!")
    assert lab.connector().reset(call(unlock=True), Secret("the new one")).means == Means.LOGGED_ON
    assert f"Failed password for {lab.user} " not in lab.server.log()


def test_an_expired_account_is_written_but_never_green(lab: Lab) -> None:
    sh("chage", "-E", "2020-01-01", lab.user)
    assert lab.connector().reset(call(), Secret("the new one")).means == Means.WRITTEN
    with pytest.raises(Refused, match="account_expired"):
        lab.connector().verify(call(), Secret("the new one"))
    assert lab.opens("the new one")


def test_an_account_that_must_change_or_has_no_shell_still_proves_its_password(lab: Lab) -> None:
    sh("chage", "-d", "0", lab.user)
    sh("usermod", "-s", "/usr/sbin/nologin", lab.user)
    assert lab.connector().change(call(), lab.old, Secret("the new one")).means == Means.LOGGED_ON


def test_a_device_without_password_logins_is_written_and_said(sshd_keys_only: Sshd) -> None:
    lab = make_lab(sshd_keys_only)
    with pytest.raises(Refused, match="not_provable") as refused:
        lab.connector().change(call(), lab.old, Secret("the new one"))
    assert refused.value.spent == frozenset()
    assert lab.opens("the old one")
    assert lab.connector().reset(call(), Secret("the new one")).means == Means.WRITTEN
    assert lab.opens("the new one")


def test_no_secret_on_any_command_line_or_environment_while_it_runs(lab: Lab) -> None:
    new = "canary-7f3a-new"
    gate = lab.server.gate("before")
    result = in_thread(lambda: lab.connector().change(call(), lab.old, Secret(new)))
    gate.wait()
    seen = b"".join(_read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))
    seen += b"".join(_read(path) for path in Path("/proc").glob("[0-9]*/environ"))
    gate.open()
    assert isinstance(result(), Evidence)
    assert b"pwserver ready" not in lab.server.log().encode()
    assert str(lab.server.folder).encode() in seen, "the device's processes were really looked at"
    for secret in (new, lab.old.open(), lab.linked.secret.open()):
        assert secret.encode() not in seen
        assert secret not in lab.server.log()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def in_thread(work: Callable[[], Evidence]) -> Callable[[], Any]:
    """Starts ``work``; the result waits for its evidence or the answer it raised."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append(work())
        except ConnectorError as error:
            got.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> Any:
        thread.join(40)
        assert got, "the call neither ended nor raised one of the answers"
        return got[0]

    return result
