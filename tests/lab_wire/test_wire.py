"""The lab's wire on its own: what Windows' service does, tested with plain pywinrm and with rubbish."""

from __future__ import annotations

import base64
import socket
import ssl
import stat
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from winrm.exceptions import InvalidCredentialsError, WinRMOperationTimeoutError, WinRMTransportError, WSManFaultError
from winrm.protocol import Protocol

from pwserver.connectors import contract, scripts
from pwserver.lab import defaults, truth, wire, wire_shells, wire_soap
from pwserver.lab.certificates import Certificates
from pwserver.lab.model.network import Network
from tests.lab_wire.kit import Lab, ask, eventually


@pytest.fixture(autouse=True)
def _no_warning_of_an_unpinned_client() -> Any:
    """The plain client here checks no certificate, and its libraries say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def plain(lab: Lab, machine: str = "LAB-01", *, user: str = "", password: str = "", **more: Any) -> Protocol:
    """pywinrm as it is, without our pins and deadlines."""
    told = lab.wire.addresses[machine]
    options: dict[str, Any] = {"transport": "ntlm", "server_cert_validation": "ignore", "proxy": None}
    return Protocol(
        f"https://{told['host']}:{told['port']}/wsman",
        username=user or f"{machine}\\svc-psrv",
        password=password or lab.initial(f"{machine}\\svc-psrv").open(),
        **options | more,
    )


def run(
    protocol: Protocol, command: str, *arguments: str, stdin: bytes | None = None, skip: bool = False
) -> tuple[bytes, bytes, int]:
    shell = protocol.open_shell()
    started = protocol.run_command(shell, command, arguments, console_mode_stdin=False, skip_cmd_shell=skip)
    if stdin is not None:
        protocol.send_command_input(shell, started, stdin, end=True)
    output = protocol.get_command_output(shell, started)
    protocol.cleanup_command(shell, started)
    protocol.close_shell(shell)
    return output


def our_input(op: str = "identity") -> bytes:
    asked = contract.request(op, attempt="a", ttl_s=9, computer_name="LAB-01", machine_sid=None)
    return scripts.stdin_lines(scripts.script(op), asked)


@pytest.mark.parametrize("encryption", ["auto", "always"])
def test_messages_may_be_sealed_inside_tls(lab: Lab, encryption: str) -> None:
    program, arguments = scripts.command_line()
    out, err, status = run(plain(lab, message_encryption=encryption), program, *arguments, stdin=our_input())
    assert contract.read_answer(out, attempt="a", op="identity").stage == "done"
    assert (err, status) == (b"", 0)


def test_a_sealed_message_that_was_touched_is_refused(lab: Lab) -> None:
    protocol = plain(lab, message_encryption="always")
    protocol.open_shell()
    encryption = protocol.transport.encryption
    assert encryption is not None
    build = encryption._build_message
    encryption._build_message = lambda *asked: build(*asked)[:-1] + b"!"  # type: ignore[method-assign]
    with pytest.raises(Exception, match="400"):
        protocol.open_shell()
    assert ("undecipherable", 400) in lab.saw()


def test_basic_is_refused_and_not_even_looked_at(lab: Lab) -> None:
    with pytest.raises(InvalidCredentialsError):
        plain(lab, transport="ssl").open_shell()
    assert lab.saw() == [("refused basic", 401)]
    assert lab.bad_logons("LAB-01") == 0


def test_a_login_without_channel_binding_is_refused_and_counts_no_wrong_logon(lab: Lab) -> None:
    with pytest.raises(InvalidCredentialsError):
        plain(lab, send_cbt=False).open_shell()
    assert lab.saw()[-1] == ("unbound login", 401)
    assert lab.bad_logons("LAB-01") == 0


@pytest.mark.parametrize("user", ["LAB-01\\svc-psrv", "LAB-01\\nobody", "CORP\\lab-adm"])
def test_a_wrong_password_counts_one_wrong_logon_each_time(lab: Lab, user: str) -> None:
    for count in (1, 2):
        with pytest.raises(InvalidCredentialsError):
            plain(lab, user=user, password="wrong").open_shell()
        assert lab.saw("refused login") == [("refused login", 401)] * count
        total = sum(sum(machine.bad_logons.values()) for machine in lab.network.state.machines.values())
        assert total == count


def test_a_user_who_is_no_administrator_does_not_come_in(lab: Lab) -> None:
    with pytest.raises(InvalidCredentialsError):
        plain(lab, "SRV-01", user="SRV-01\\svc-backup", password=lab.initial("SRV-01\\svc-backup").open()).open_shell()


def test_a_domain_login_comes_in_and_its_old_password_for_an_hour(lab: Lab) -> None:
    """NTLM's grace hour, which is why a domain account is not proved by a logon alone."""
    old = lab.initial("CORP\\lab-adm").open()
    truth.set_password(lab.network, "DC1", "lab-adm", "Another-Value-9")
    for password in (old, "Another-Value-9"):
        protocol = plain(lab, user="CORP\\lab-adm", password=password)
        protocol.close_shell(protocol.open_shell())
    assert lab.network.machine("LAB-01").ntlm == {"CORP\\lab-adm": 2}


def test_a_changed_password_is_asked_for_at_the_next_login(lab: Lab) -> None:
    truth.set_password(lab.network, "LAB-01", "svc-psrv", "Another-Value-9")
    with pytest.raises(InvalidCredentialsError):
        plain(lab).open_shell()
    plain(lab, password="Another-Value-9").open_shell()


@pytest.mark.parametrize("command", ["whoami", "powershell.exe -Command 1", "cmd /c net user x y"])
def test_no_other_command_runs(lab: Lab, command: str) -> None:
    assert run(plain(lab), command) == (b"", wire_shells.BLOCKED, 1)


def test_no_other_script_runs(lab: Lab) -> None:
    program, arguments = scripts.command_line()
    foreign = scripts.stdin_lines(scripts.script("identity") + " ", b"{}")
    assert run(plain(lab), program, *arguments, stdin=foreign) == (wire_shells.CONSTRAINED, b"", 91)


@pytest.mark.parametrize("stdin", [b"", b"\r\n", b"QQ==\r\n", b"!!\r\n!!\r\n"])
def test_input_that_is_not_two_lines_of_base64_runs_nothing(lab: Lab, stdin: bytes) -> None:
    program, arguments = scripts.command_line()
    out, _, status = run(plain(lab), program, *arguments, stdin=stdin)
    assert (out, status) in ((wire_shells.NO_INPUT, 90), (wire_shells.CONSTRAINED, 91))


def test_cmd_takes_no_line_longer_than_8191_characters(lab: Lab) -> None:
    assert run(plain(lab), "x" * 8192) == (b"", wire_shells.TOO_LONG, 1)
    with pytest.raises(WSManFaultError) as raised:
        run(plain(lab), "powershell.exe", skip=True)
    assert raised.value.wsman_fault_code == 2147942402


def test_an_action_that_is_not_supported_has_windows_own_number(lab: Lab) -> None:
    question = wire_soap.envelope("http://example.org/Nonsense", "uuid:none", "").decode()
    with pytest.raises(WSManFaultError) as raised:
        plain(lab).send_message(question)
    assert raised.value.wsman_fault_code == 0x80338013


def test_a_receive_without_output_times_out_with_windows_own_fault(lab: Lab) -> None:
    protocol = plain(lab, operation_timeout_sec=1, read_timeout_sec=5)
    shell = protocol.open_shell()
    program, arguments = scripts.command_line()
    command = protocol.run_command(shell, program, arguments)
    with pytest.raises(WinRMOperationTimeoutError):
        protocol.get_command_output_raw(shell, command)


def test_shells_are_limited_by_user_and_belong_to_them(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_shells, "SHELLS_PER_USER", 2)
    protocol = plain(lab)
    shells = [protocol.open_shell() for _ in range(2)]
    with pytest.raises(WSManFaultError) as raised:
        protocol.open_shell()
    assert raised.value.wsman_fault_code == 2150859173
    other = plain(lab, user="CORP\\lab-adm", password=lab.initial("CORP\\lab-adm").open())
    with pytest.raises(WSManFaultError) as raised:
        other.run_command(shells[0], "whoami")
    assert raised.value.wsman_fault_code == 5
    protocol.close_shell(shells[0])
    protocol.open_shell()


def test_a_shell_that_nobody_uses_ends(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = plain(lab)
    shell = protocol.open_shell(idle_timeout="PT300S")
    now = wire_shells.time.monotonic()
    monkeypatch.setattr(wire_shells.time, "monotonic", lambda: now + 301)
    with pytest.raises(WSManFaultError) as raised:
        protocol.run_command(shell, "whoami")
    assert raised.value.wsman_fault_code == 2150858843
    protocol.open_shell()
    assert lab.wire.shells["LAB-01"].open_shells() == 1


def raw(lab: Lab, data: bytes, machine: str = "LAB-01") -> bytes:
    """Sends bytes over TLS and reads until the machine closes or has answered."""
    told = lab.wire.addresses[machine]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((told["host"], told["port"]), timeout=5) as connection,
        context.wrap_socket(connection) as secured,
    ):
        secured.settimeout(0.5)
        secured.sendall(data)
        try:
            return secured.recv(65536)
        except OSError:
            return b""


def post(body: bytes, *headers: str, path: str = "/wsman") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def test_identify_needs_no_login(lab: Lab) -> None:
    answer = raw(lab, post(b"", path="/wsman-anon/identify"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"IdentifyResponse" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        post(b"x", "Authorization: Negotiate !!!"),
        post(b"x", "Authorization: Negotiate " + base64.b64encode(b"NTLMSSP\0\x01").decode()),
        post(b"x", "Authorization: Negotiate " + base64.b64encode(b"NTLMSSP\0\x03" + b"\0" * 60).decode()),
        b"POST /wsman HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"POST /wsman HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01" * 50,
    ],
)
def test_rubbish_neither_gets_in_nor_breaks_anything(lab: Lab, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert not raw(lab, data).startswith(b"HTTP/1.1 200")
    assert ask(lab.session(), "identity").stage == "done"
    assert "lab bug" not in caplog.text
    assert lab.bad_logons("LAB-01") == 0


@pytest.mark.parametrize("body", ["no xml", "<a/>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"])
def test_a_message_that_is_none_is_answered_with_a_fault(lab: Lab, body: str) -> None:
    with pytest.raises((WSManFaultError, WinRMTransportError)) as raised:
        plain(lab).send_message(body)
    assert raised.value.code == 500


def test_requests_and_logins_are_counted_by_machine(lab: Lab) -> None:
    with lab.session() as session:
        ask(session, "identity")
    machine = lab.network.machine("LAB-01")
    assert (machine.requests, machine.ntlm) == (7, {"LAB-01\\svc-psrv": 1})
    assert lab.network.machine("LAB-02").requests == 0


def test_many_sessions_at_once_do_not_disturb_each_other(lab: Lab) -> None:
    answers: list[str] = []

    def work(number: int) -> None:
        name = f"LAB-{number % 4 + 1:02}"
        with lab.session(name) as session:
            for _ in range(3):
                answers.append(ask(session, "identity", name).machine.computer_name == name)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == [True] * 48


def test_ports_and_certificates_are_the_same_after_a_restart(tmp_path: Path) -> None:
    ports: dict[str, int] = {}
    network = Network(defaults.network("restart", 1_790_000_000.0))
    first = wire.serve(network, folder=tmp_path, ports=ports)
    first.stop()
    first.stop()
    again = wire.serve(network, folder=tmp_path, ports=ports)
    again.stop()
    assert first.addresses == again.addresses
    assert ports == {name: told["port"] for name, told in again.addresses.items()}


def test_a_port_that_somebody_else_has_now_is_replaced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = {"LAB-01": taken}
        served = wire.serve(Network(defaults.network("taken", 1_790_000_000.0)), folder=tmp_path, ports=ports)
        served.stop()
    assert ports["LAB-01"] == served.addresses["LAB-01"]["port"] != taken


def test_stopping_leaves_no_thread_and_no_listener(lab: Lab) -> None:
    ask(lab.session(), "identity")
    address = lab.address()
    lab.wire.stop()
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("lab")], "all threads ended")
    with pytest.raises(OSError), socket.create_connection((address.host, address.port), timeout=1):
        pass


def test_private_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "made")
    first, other = certificates.digest("LAB-01"), certificates.digest("LAB-01", other=True)
    assert first != other
    assert Certificates(tmp_path / "made").digest("LAB-01") == first
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "made").iterdir()}
    assert modes == {"LAB-01.pem": 0o600, "LAB-01.other.pem": 0o600}
