"""What recorded exchanges with real Windows say, asked again of the lab, request by request.

``RECORDED`` holds facts only, written by hand: status, heads in their order, and of the body each element with what
carries a meaning. Sources, read 2026-11-30:

* heads of a 401 without a challenge: jborean93/omi#29, WinRb/WinRM#1; that a challenge has no body and keeps the
  connection, and that any other 401 ends it: diyan/pywinrm#269;
* the order of the heads of a 200: Openwsman/openwsman#210 (all but the place of Content-Type);
* bodies: the exchanges that jborean93/pypsrp replays in its tests (test_winrs_*.yml), Windows Server 2008 R2 to 2016.

What the lab does otherwise stands in ``DIFFERENCES`` with the reason. A difference that is not listed fails, and so
does one that is listed and is none.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import threading
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import spnego

from pwserver.connectors import scripts
from pwserver.lab.wire_soap import NAMES
from tests.lab_wire.kit import Lab, eventually
from tests.lab_wire.test_wire import our_input

OFFERED = ["WWW-Authenticate: Negotiate", "WWW-Authenticate: Kerberos", 'WWW-Authenticate: Basic realm="WSMAN"',
           "WWW-Authenticate: CredSSP"]  # fmt: skip
SERVER, DATE = "Server: Microsoft-HTTPAPI/2.0", "Date: <date>"
REFUSED = ["HTTP/1.1 401", SERVER, *OFFERED, DATE, "Connection: close", "Content-Length: 0"]
CHALLENGED = ["HTTP/1.1 401", "WWW-Authenticate: Negotiate <token>", SERVER, DATE, "Content-Length: 0"]
SOAP = "Content-Type: application/soap+xml;charset=UTF-8"


def answered(status: int) -> list[str]:
    return [f"HTTP/1.1 {status}", SOAP, SERVER, DATE, "Content-Length: <size>"]


HEADER = "s:Header a:Action={} a:MessageID p:ActivityId a:To a:RelatesTo"
TRANSFER, SHELL = (
    "http://schemas.xmlsoap.org/ws/2004/09/transfer",
    "http://schemas.microsoft.com/wbem/wsman/1/windows/shell",
)
FAULT = HEADER.format("http://schemas.dmtf.org/wbem/wsman/1/wsman/fault")
DETAIL = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail"


def fault(role: str, subcode: str, code: int, detail: str = "", provider: str = "") -> str:
    inner = f'f:ProviderFault[provider="{provider}"]' if provider else ""
    parts = [
        FAULT, f"s:Body s:Fault s:Code s:Value={role} s:Subcode s:Value={subcode} s:Reason s:Text s:Detail",
        f"w:FaultDetail={DETAIL}/{detail}" if detail else "", f'f:WSManFault[Code="{code}"] f:Message', inner,
    ]  # fmt: skip
    return " ".join(part for part in parts if part)


CREATED = " ".join((
    HEADER.format(f"{TRANSFER}/CreateResponse"), "s:Body x:ResourceCreated a:Address=<to> a:ReferenceParameters",
    f'w:ResourceURI={SHELL}/cmd w:SelectorSet w:Selector[Name="ShellId"] rsp:Shell rsp:ShellId',
    f"rsp:ResourceUri={SHELL}/cmd rsp:Owner=svc-psrv rsp:ClientIP rsp:IdleTimeOut=PT7200.000S rsp:InputStreams=stdin",
    "rsp:OutputStreams=stdout_stderr rsp:ShellRunTime=P0DT0H0M0S rsp:ShellInactivity=P0DT0H0M0S",
))  # fmt: skip
COMMANDED = HEADER.format(f"{SHELL}/CommandResponse") + " s:Body rsp:CommandResponse rsp:CommandId"
SENT = HEADER.format(f"{SHELL}/SendResponse") + " s:Body rsp:SendResponse"
SIGNALLED = HEADER.format(f"{SHELL}/SignalResponse") + " s:Body rsp:SignalResponse"
DELETED = HEADER.format(f"{TRANSFER}/DeleteResponse") + " s:Body"


def received(state: str, *streams: str) -> str:
    told = " ".join(f"rsp:Stream[{stream}]" for stream in streams)
    ended = " rsp:ExitCode=0" if state == "Done" else ""
    return (
        f"{HEADER.format(f'{SHELL}/ReceiveResponse')} s:Body rsp:ReceiveResponse {told} "
        f'rsp:CommandState[State="{SHELL}/CommandState/{state}"]{ended}'
    )


OUT, OUT_END, ERR_END = 'Name="stdout"', 'Name="stdout" End="true"', 'Name="stderr" End="true"'

RECORDED: dict[str, tuple[list[str], str, bool]] = {
    # name: heads, body, whether the connection is closed afterwards
    "a request without a login": (REFUSED, "", True),
    "a login by Basic where it is off": (REFUSED, "", True),
    "NTLM's first message": (CHALLENGED, "", False),
    "a wrong password": (REFUSED, "", True),
    "Create": (answered(200), CREATED, False),
    "Command": (answered(200), COMMANDED, False),
    "Send": (answered(200), SENT, False),
    "Receive, output so far": (answered(200), received("Running", OUT, OUT), False),
    "Receive, nothing in time": (answered(500), fault("s:Receiver", "w:TimedOut", 2150858793), False),
    "Receive, the end": (answered(200), received("Done", OUT, OUT_END, ERR_END), False),
    "Receive, another command": (
        answered(500), fault("s:Sender", "w:InvalidSelectors", 2150858843, "UnexpectedSelectors"), False,
    ),
    "Receive, no command": (
        answered(500), fault("s:Sender", "w:InvalidParameter", 87, "InvalidValue", "Shell cmd plugin"), False,
    ),
    "Receive, a timeout that is none": (
        answered(500), fault("s:Sender", "a:InvalidMessageInformationHeader", 2150858767), False,
    ),
    "Command without cmd.exe, a bare name": (
        answered(500), fault("s:Receiver", "w:InternalError", 2147942402, "", "Shell cmd plugin"), False,
    ),
    "Signal": (answered(200), SIGNALLED, False),
    "Delete": (answered(200), DELETED, False),
    "Command in a shell that is gone": (
        answered(500),
        fault("s:Sender", "w:InvalidSelectors", 2150858843, "UnexpectedSelectors", "Shell provider")
        + ' f:WSManFault[Code="2150858843"] f:Message',
        False,
    ),
}  # fmt: skip

DIFFERENCES: dict[str, tuple[str, str, str]] = {
    # name: what Windows has, what the lab has, why
    "Command in a shell that is gone": (
        'f:ProviderFault[provider="Shell provider"] f:WSManFault[Code="2150858843"] f:Message',
        'f:ProviderFault[provider="Shell provider"]',
        "The provider's fault holds a second WSManFault of the same code; no client reads the inner one.",
    ),
}
GENERAL = (
    "The sentences of faults are the lab's own; a client decides by codes.",
    "Hosts before Windows Server 2012 R2 send no p:ActivityId; the lab always does, as newer ones.",
    "CredSSP, Kerberos and Basic are offered and never let in: the product may use none of them.",
    "The scheme NTLM is taken beside Negotiate, for clients that know only that one.",
    "A login without channel binding is refused unless a test says otherwise (CbtHardeningLevel Strict; the default of "
    "Windows is Relaxed), so that a client of ours that forgets it is found out.",
    "An account that may not use WinRM, or has a reduced token, gets the same 401 as a wrong password.",
)
"""What is otherwise everywhere, and why. Not compared below."""


# one connection, one request after the other


class Client:
    """HTTP by hand: what is compared must not go through any client's own reading."""

    def __init__(self, lab: Lab) -> None:
        self._lab, told = lab, lab.wire.addresses["LAB-01"]
        self.to = f"https://{told['host']}:{told['port']}/wsman"
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection((told["host"], told["port"]), timeout=10)
        self._socket = context.wrap_socket(plain)
        self._stream = self._socket.makefile("rb")
        self._host = f"{told['host']}:{told['port']}"

    def post(self, body: str = "", authorization: str = "") -> tuple[list[str], bytes]:
        lines = ["POST /wsman HTTP/1.1", f"Host: {self._host}", SOAP, f"Content-Length: {len(body.encode())}"]
        lines += [f"Authorization: {authorization}"] if authorization else []
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + body.encode())
        heads = []
        while line := self._stream.readline().rstrip(b"\r\n"):
            heads.append(line.decode())
        size = next((int(head.split()[1]) for head in heads if head.startswith("Content-Length:")), 0)
        return heads, self._stream.read(size)

    def log_in(self, body: str, password: str) -> tuple[list[str], list[str], bytes]:
        """The heads of the challenge, and the answer to the request with the proof."""
        certificate = self._socket.getpeercert(True)
        assert certificate
        digest = self._lab.wire.certificates.digest("LAB-01")
        binding = spnego.channel_bindings.GssChannelBindings(application_data=b"tls-server-end-point:" + digest)
        client = spnego.client(
            "LAB-01\\svc-psrv", password, protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm,
            channel_bindings=binding,
        )  # fmt: skip
        challenge, _ = self.post("", "Negotiate " + base64.b64encode(client.step() or b"").decode())
        token = next(head for head in challenge if head.startswith("WWW-Authenticate")).split()[-1]
        proof = client.step(base64.b64decode(token)) or b""
        heads, answer = self.post(body, "Negotiate " + base64.b64encode(proof).decode())
        return challenge, heads, answer

    def is_closed(self) -> bool:
        """Whether the machine ends the connection within half a second."""
        self._socket.settimeout(0.5)
        try:
            return self._stream.read(1) == b""
        except (TimeoutError, OSError):
            return False
        finally:
            self._socket.settimeout(10)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


@contextmanager
def client(lab: Lab) -> Iterator[Client]:
    made = Client(lab)
    try:
        yield made
    finally:
        made.close()


def message(to: str, action: str, body: str, *, shell: str = "", timeout: str = "PT1S", option: str = "") -> str:
    spaces = " ".join(f'xmlns:{prefix}="{NAMES[prefix]}"' for prefix in ("s", "a", "w", "x", "rsp"))
    selector = f'<w:SelectorSet><w:Selector Name="ShellId">{shell}</w:Selector></w:SelectorSet>' if shell else ""
    return (
        f"<s:Envelope {spaces}><s:Header><a:Action>{action}</a:Action><a:MessageID>uuid:{uuid.uuid4()}</a:MessageID>"
        f"<a:To>{to}</a:To><w:ResourceURI>{SHELL}/cmd</w:ResourceURI><w:OperationTimeout>{timeout}</w:OperationTimeout>"
        f"{option}{selector}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )


# what is compared


SPACES = {space: prefix for prefix, space in NAMES.items()} | {
    "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault": "f"
}
SAID = {"Action", "Address", "ResourceURI", "ResourceUri", "Owner", "IdleTimeOut", "InputStreams", "OutputStreams",
        "ShellRunTime", "ShellInactivity", "Value", "FaultDetail", "ExitCode"}  # fmt: skip
MARKED = ("Name", "End", "State", "Code", "provider")


def shape(body: bytes, to: str) -> str:
    """Each element in its order, with the words and attributes that carry a meaning."""
    if not body:
        return ""
    parts = []
    for node in list(ET.fromstring(body).iter())[1:]:
        space, _, name = node.tag[1:].partition("}")
        marks = " ".join(f'{mark}="{node.get(mark)}"' for mark in MARKED if node.get(mark))
        text = (node.text or "").replace(to, "<to>").replace(" ", "_")
        parts.append(
            f"{SPACES[space]}:{name}" + (f"={text}" if name in SAID and text else "") + (f"[{marks}]" if marks else "")
        )
    return " ".join(parts)


def heads_of(heads: list[str]) -> list[str]:
    """Without what is another one each time."""
    told = []
    for head in heads:
        text = re.sub(r"^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$", DATE, head.rstrip())
        text = re.sub(r"^(WWW-Authenticate: Negotiate) [A-Za-z0-9+/=]+$", r"\1 <token>", text)
        told.append(re.sub(r"^Content-Length: [1-9]\d*$", "Content-Length: <size>", text))
    return told


Found = dict[str, tuple[list[str], str, bool]]


@pytest.fixture
def found(lab: Lab) -> Found:
    """The lab's answer to each recorded request."""
    answers: Found = {}
    right = lab.login().secret.open()
    release = hold(lab)

    def note(name: str, by: Client, heads: list[str], body: bytes = b"") -> bytes:
        answers[name] = (heads_of(heads), shape(body, by.to), "Connection: close" in heads and by.is_closed())
        return body

    with client(lab) as by:
        note("a request without a login", by, *by.post("<x/>"))
    with client(lab) as by:
        note("a login by Basic where it is off", by, *by.post("", "Basic eDp5"))
    create = "<rsp:Shell><rsp:InputStreams>stdin</rsp:InputStreams></rsp:Shell>"
    with client(lab) as by:
        note("a wrong password", by, *by.log_in("", "wrong")[1:])
    with client(lab) as by:
        challenge, heads, body = by.log_in(message(by.to, f"{TRANSFER}/Create", create), right)
        note("NTLM's first message", by, challenge)
        shell = one(note("Create", by, heads, body), "ShellId")

        def ask(name: str, word: str, content: str, **more: str) -> bytes:
            return note(name, by, *by.post(message(by.to, word, content, shell=shell, **more)))

        program, arguments = scripts.command_line()
        line = "".join(f"<rsp:Arguments>{each}</rsp:Arguments>" for each in arguments)
        command = one(
            ask(
                "Command", f"{SHELL}/Command",
                f"<rsp:CommandLine><rsp:Command>{program}</rsp:Command>{line}</rsp:CommandLine>",
            ),
            "CommandId",
        )  # fmt: skip
        data = base64.b64encode(our_input()).decode()
        stream = f'<rsp:Stream Name="stdin" CommandId="{command}" End="true">{data}</rsp:Stream>'
        ask("Send", f"{SHELL}/Send", f"<rsp:Send>{stream}</rsp:Send>")

        def receive(name: str, of: str, **more: str) -> None:
            wanted = f'<rsp:DesiredStream CommandId="{of}">stdout stderr</rsp:DesiredStream>'
            ask(name, f"{SHELL}/Receive", f"<rsp:Receive>{wanted}</rsp:Receive>", **more)

        eventually(lambda: lab.wire.shells["LAB-01"]._shells[shell].commands[command]._out, "the first words")
        receive("Receive, output so far", command)
        receive("Receive, nothing in time", command)
        receive("Receive, another command", str(uuid.uuid4()).upper())
        receive("Receive, no command", "")
        receive("Receive, a timeout that is none", command, timeout="PT-1S")
        bare = "<rsp:CommandLine><rsp:Command>powershell.exe</rsp:Command></rsp:CommandLine>"
        skip = '<w:OptionSet><w:Option Name="WINRS_SKIP_CMD_SHELL">True</w:Option></w:OptionSet>'
        ask("Command without cmd.exe, a bare name", f"{SHELL}/Command", bare, option=skip)
        release()
        receive("Receive, the end", command, timeout="PT10S")
        ask(
            "Signal", f"{SHELL}/Signal",
            f'<rsp:Signal CommandId="{command}"><rsp:Code>{SHELL}/signal/ctrl_c</rsp:Code></rsp:Signal>',
        )  # fmt: skip
        ask("Delete", f"{TRANSFER}/Delete", "")
        ask("Command in a shell that is gone", f"{SHELL}/Command", bare)
    return answers


def hold(lab: Lab) -> Callable[[], None]:
    """From now on a script writes two words, and the rest when it is released."""
    released = threading.Event()

    def run(*asked: Any) -> tuple[bytes, int]:
        asked[6](b"hi")
        asked[6](b"\n")
        released.wait(20)
        return b"hi again\n", 0

    lab.mind = run
    return released.set


def one(body: bytes, name: str) -> str:
    """The text of the first element of that name, or of the selector so named."""
    for node in ET.fromstring(body).iter():
        if node.tag.endswith("}" + name) or node.get("Name") == name:
            return node.text or ""
    raise AssertionError(f"there is no {name}")


def test_the_lab_answers_each_recorded_request_as_windows_did(found: Found) -> None:
    assert found.keys() == RECORDED.keys()
    otherwise = {}
    for name, (heads, body, closed) in RECORDED.items():
        if name in DIFFERENCES:
            there, here, _ = DIFFERENCES[name]
            assert body.count(there) == 1, f"{name}: Windows has no {there}"
            body = body.replace(there, here)
        if found[name] != (heads, body, closed):
            otherwise[name] = found[name]
    assert otherwise == {}, "differences that nobody has written down"


def test_a_listed_difference_is_one(found: Found) -> None:
    assert {name for name in DIFFERENCES if found[name] == RECORDED[name]} == set()
    assert all(why.endswith(".") for _, _, why in DIFFERENCES.values())
    assert all(why.endswith(".") for why in GENERAL)
