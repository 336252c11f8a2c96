"""Clients that none of us wrote come in at the lab: libcurl, pypsrp, Samba. Each has its own NTLM or its own WinRS.

The lab and the product share spnego's messages; an error in both would not show. These show it.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from pypsrp.exceptions import AuthenticationError, WSManFaultError
from pypsrp.shell import Process, SignalCode, WinRS
from pypsrp.wsman import WSMan

from pwserver.connectors import contract, scripts
from pwserver.lab.wire_ntlm import Acceptor
from tests.lab_wire.kit import Lab, eventually
from tests.lab_wire.test_wire import our_input


@pytest.fixture(autouse=True)
def _no_warning_of_an_unpinned_client() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def program_or_skip(name: str, package: str) -> str:
    """Without one: skipped with a word, but a failure where CI promised one."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no {name}: apt-get install {package}")
        pytest.skip(f"no {name} (apt-get install {package})")
    return found


# libcurl


IDENTIFY = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"><s:Header/>'
    "<s:Body><i:Identify/></s:Body></s:Envelope>"
)


def curl(lab: Lab, folder: Path, *requests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """One process, one request after the other; the login stands in a file, never on the command line."""
    program = program_or_skip("curl", "curl")
    told = lab.wire.addresses["LAB-01"]
    (folder / "login").write_text('user = "LAB-01\\\\svc-psrv:' + lab.login().secret.open() + '"\n')
    (folder / "body").write_text(IDENTIFY)
    once = [
        "-v", "-k", "--http1.1", "-H", "Content-Type: application/soap+xml;charset=UTF-8",
        "--data-binary", f"@{folder}/body", "-o", "-", f"https://{told['host']}:{told['port']}/wsman",
    ]  # fmt: skip
    line: list[str] = []
    for extra in requests:
        line += ["--next", *extra, *once] if line else [*extra, *once]
    return subprocess.run([program, *line], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603


def test_curl_is_refused_without_a_login_opens_again_and_is_let_in(lab: Lab, tmp_path: Path) -> None:
    lab.wire.takes_unbound = True  # libcurl's NTLM names no TLS connection
    done = curl(lab, tmp_path, (), ("--ntlm", "-K", str(tmp_path / "login")))
    assert done.returncode == 0, done.stderr[-2000:]
    assert lab.saw() == [("no login", 401), ("challenge", 401), ("Identify", 200)]
    heads = [line.removeprefix("< ").strip() for line in done.stderr.splitlines() if line.startswith("< ")]
    assert heads[0] == "HTTP/1.1 401"
    assert heads.index("Connection: close") < heads.index("Content-Length: 0")
    assert done.stderr.count("* Closing connection") >= 1
    assert done.stderr.count("* Connected to ") == 2
    assert "IdentifyResponse" in done.stdout
    assert lab.network.machine("LAB-01").ntlm == {"LAB-01\\svc-psrv": 1}


def test_curl_is_not_let_in_where_channel_binding_is_demanded(lab: Lab, tmp_path: Path) -> None:
    done = curl(lab, tmp_path, ("--ntlm", "-K", str(tmp_path / "login")))
    assert done.returncode == 0
    assert lab.saw()[-1] == ("unbound login", 401)
    assert "IdentifyResponse" not in done.stdout


# pypsrp


def wsman(lab: Lab, *, password: str = "", auth: str = "ntlm", encryption: str = "auto") -> WSMan:
    told = lab.wire.addresses["LAB-01"]
    return WSMan(
        told["host"],
        port=told["port"],
        username="LAB-01\\svc-psrv",
        password=password or lab.initial("LAB-01\\svc-psrv").open(),
        auth=auth,
        encryption=encryption,
        cert_validation=False,
        no_proxy=True,
        operation_timeout=1,
    )


@pytest.mark.parametrize("auth", ["ntlm", "negotiate"])
@pytest.mark.parametrize("encryption", ["auto", "always"])
def test_pypsrp_runs_our_command_line_with_our_input(lab: Lab, auth: str, encryption: str) -> None:
    """*negotiate* wraps NTLM in SPNEGO, *ntlm* does not."""
    program, arguments = scripts.command_line()
    with wsman(lab, auth=auth, encryption=encryption) as connection, WinRS(connection, codepage=65001) as shell:
        assert shell.owner == "svc-psrv"
        process = Process(shell, program, list(arguments))
        process.begin_invoke()
        data = our_input()
        process.send(data[:100], end=False)
        process.send(data[100:])
        process.end_invoke()
        process.signal(SignalCode.CTRL_C)
    answer = contract.read_answer(process.stdout, attempt="a", op="identity")
    assert (answer.stage, process.stderr, process.rc) == ("done", b"", 0)
    assert lab.wire.shells["LAB-01"].open_shells() == 0
    assert lab.bad_logons("LAB-01") == 0


def test_pypsrp_gets_output_while_the_script_runs(lab: Lab) -> None:
    think = lab.mind

    def in_pieces(*asked: object) -> tuple[bytes, int]:
        asked[6](b"early\n")  # type: ignore[operator]
        eventually(lambda: ("Receive", 500) in lab.saw(), "a receive that timed out")
        return think(*asked)  # type: ignore[arg-type]

    lab.mind = in_pieces
    program, arguments = scripts.command_line()
    with wsman(lab) as connection, WinRS(connection) as shell:
        process = Process(shell, program, list(arguments))
        process.begin_invoke()
        process.send(our_input())
        process.poll_invoke()
        assert (process.stdout, process.rc) == (b"early\n", None)
        process.end_invoke()
    assert process.stdout.startswith(b"early\n{")
    assert process.rc == 0


@pytest.mark.parametrize("auth", ["ntlm", "negotiate"])
def test_pypsrp_with_a_wrong_password_is_refused_and_counted_once(lab: Lab, auth: str) -> None:
    with wsman(lab, password="wrong", auth=auth) as connection, pytest.raises(AuthenticationError):
        WinRS(connection).open()
    assert lab.saw()[-1] == ("refused login", 401)
    assert lab.bad_logons("LAB-01") == 1


def test_pypsrp_reads_the_faults_of_the_lab(lab: Lab) -> None:
    with wsman(lab) as connection, WinRS(connection) as shell:
        for ask, code, provider in (
            (lambda: shell.receive(command_id=None), 87, "Shell cmd plugin"),
            (lambda: shell.receive(command_id="11111111-1111-1111-1111-111111111111"), 2150858843, None),
        ):
            with pytest.raises(WSManFaultError) as raised:
                ask()
            assert (raised.value.code, raised.value.machine, raised.value.provider) == (code, "127.0.0.1", provider)


# Samba


@pytest.fixture
def samba() -> Iterator[Callable[[str], str]]:
    """Samba's NTLM client: one line each way."""
    program = program_or_skip("ntlm_auth", "winbind")
    command = [program, "--helper-protocol=ntlmssp-client-1", "--username=svc-psrv", "--domain=LAB-01"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603

        def say(line: str) -> str:
            for stream in (process.stdin, process.stdout):
                assert stream is not None
            sink: IO[bytes] = process.stdin  # type: ignore[assignment]
            source: IO[bytes] = process.stdout  # type: ignore[assignment]
            sink.write(line.encode() + b"\n")
            sink.flush()
            return source.readline().decode().strip()

        yield say
        process.kill()


PASSWORD = "Correct-Horse-9 €"


def by_samba(say: Callable[[str], str], acceptor: Acceptor, password: str) -> bytes:
    """The third message that Samba gives to the acceptor's challenge."""
    assert say("SF NTLMSSP_FEATURE_SESSION_KEY NTLMSSP_FEATURE_SIGN NTLMSSP_FEATURE_SEAL") == "OK"
    assert say("PW " + base64.b64encode(password.encode()).decode()) == "OK"
    first = say("YR").removeprefix("YR ")
    challenge = acceptor.challenge(base64.b64decode(first))
    third = say("TT " + base64.b64encode(challenge).decode())
    assert third.startswith("AF ")
    return base64.b64decode(third.removeprefix("AF "))


def test_samba_and_the_lab_agree_on_the_proof_and_the_session_key(samba: Callable[[str], str]) -> None:
    acceptor = Acceptor("LAB-01", b"", lambda user, domain: ["another", PASSWORD])
    claim = acceptor.authenticate(by_samba(samba, acceptor, PASSWORD))
    assert (claim.user, claim.domain, claim.proved, claim.bound) == ("svc-psrv", "LAB-01", True, None)
    key = samba("GK")
    assert key == "GK " + base64.b64encode(acceptor.session_key).decode()


def test_samba_with_a_wrong_password_proves_nothing(samba: Callable[[str], str]) -> None:
    acceptor = Acceptor("LAB-01", b"", lambda user, domain: [PASSWORD])
    assert acceptor.authenticate(by_samba(samba, acceptor, "wrong")).proved is False
