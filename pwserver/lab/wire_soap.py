"""WS-Management's messages: what a request asks, and the envelopes of answers and faults, as Windows writes them."""

from __future__ import annotations

import base64
import re
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

NAMES = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "a": "http://schemas.xmlsoap.org/ws/2004/08/addressing",
    "w": "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd",
    "x": "http://schemas.xmlsoap.org/ws/2004/09/transfer",
    "rsp": "http://schemas.microsoft.com/wbem/wsman/1/windows/shell",
    "p": "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd",
    "id": "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd",
}
SHELL = NAMES["rsp"]
CMD = SHELL + "/cmd"
ANONYMOUS = NAMES["a"] + "/role/anonymous"
FAULT_ACTION = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"
NAMES_OF_DETAILS = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/"
TIMED_OUT = 2150858793
NO_SUCH_SHELL = 2150858843
TOO_MANY_SHELLS = 2150859173
TOO_MANY_OPERATIONS = 2150859174
NOT_SUPPORTED = 2150858771
NO_SUCH_RESOURCE = 2150858752
BAD_MESSAGE = 2150858767
ACCESS_DENIED = 5
BAD_PARAMETER = 87
NO_SUCH_FILE = 2147942402
CMD_PLUGIN = ("Shell cmd plugin", r"%systemroot%\system32\winrscmd.dll")
SHELL_PROVIDER = ("Shell provider", r"%systemroot%\system32\WsmSvc.dll")


class Fault(Exception):
    """A WS-Management fault, with Windows' number. ``detail``: the last word of its FaultDetail, where it has one.
    ``provider``: the plug-in whose fault it is, by name and file."""

    def __init__(
        self,
        code: int,
        subcode: str,
        text: str,
        role: str = "s:Sender",
        *,
        detail: str = "",
        provider: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.code, self.subcode, self.text, self.role = code, subcode, text, role
        self.detail, self.provider = detail, provider


@dataclass(frozen=True, slots=True)
class Request:
    """What a message asks: the action's last word, and the parts that the shell service looks at."""

    action: str
    message_id: str = ""
    to: str = ""
    resource: str = ""
    shell_id: str = ""
    timeout_s: float = 60.0
    options: dict[str, str] = field(default_factory=dict)
    command: str = ""
    command_id: str = ""
    data: bytes = b""
    end: bool = False
    idle_s: float = 7200.0


def parse(body: bytes) -> Request:
    """Raises :class:`Fault` for what is no request."""
    try:
        if b"<!DOCTYPE" in body:
            raise ValueError("no document types here")
        return _read(ET.fromstring(body))  # noqa: S314  # loopback, and document types were refused above
    except (ET.ParseError, ValueError) as error:
        raise Fault(BAD_MESSAGE, "s:Sender", "The WS-Management service cannot process the request.") from error


def _read(root: ET.Element) -> Request:
    if root.find("s:Body/id:Identify", NAMES) is not None:
        return Request("Identify")

    def text(path: str) -> str:
        return (root.findtext(path, "", NAMES) or "").strip()

    selectors = {
        node.get("Name"): node.text or "" for node in root.iterfind("s:Header/w:SelectorSet/w:Selector", NAMES)
    }
    line = [text("s:Body/rsp:CommandLine/rsp:Command")]
    line += [node.text or "" for node in root.iterfind("s:Body/rsp:CommandLine/rsp:Arguments", NAMES)]
    stream = root.find("s:Body/rsp:Send/rsp:Stream", NAMES)
    named = [stream, *(root.find(f"s:Body/rsp:{name}", NAMES) for name in ("Receive/rsp:DesiredStream", "Signal"))]
    idle = text("s:Body/rsp:Shell/rsp:IdleTimeOut")
    return Request(
        action=text("s:Header/a:Action").rpartition("/")[2],
        message_id=text("s:Header/a:MessageID"),
        to=text("s:Header/a:To"),
        resource=text("s:Header/w:ResourceURI"),
        shell_id=selectors.get("ShellId", ""),
        timeout_s=_seconds(text("s:Header/w:OperationTimeout") or "PT60S"),
        options={
            node.get("Name", "").upper(): node.text or ""
            for node in root.iterfind("s:Header/w:OptionSet/w:Option", NAMES)
        },
        command=" ".join(line),
        command_id=next((node.get("CommandId", "") for node in named if node is not None), ""),
        data=base64.b64decode((stream.text or "") if stream is not None else "", validate=True),
        end=stream is not None and stream.get("End", "").lower() == "true",
        idle_s=_seconds(idle) if idle else 7200.0,
    )


def _seconds(duration: str) -> float:
    match = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?", duration)
    if match is None:
        raise Fault(BAD_MESSAGE, "a:InvalidMessageInformationHeader", f"There is no such duration: {duration}.")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def envelope(action: str, relates_to: str, body: str) -> bytes:
    spaces = " ".join(f'xmlns:{prefix}="{NAMES[prefix]}"' for prefix in ("s", "a", "x", "w", "rsp", "p"))
    return (
        f'<s:Envelope xml:lang="en-US" {spaces}><s:Header><a:Action>{action}</a:Action>'
        f"<a:MessageID>uuid:{new_id()}</a:MessageID><p:ActivityId>{new_id()}</p:ActivityId><a:To>{ANONYMOUS}</a:To>"
        f"<a:RelatesTo>{escape(relates_to)}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def fault(error: Fault, relates_to: str, machine: str) -> bytes:
    """``machine``: the name by which the client has called it."""
    space = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
    text = escape(error.text)
    message = text
    if error.provider:
        name, path = error.provider
        message = f'<f:ProviderFault provider="{name}" path="{path}">{text}</f:ProviderFault>'
    detail = f"<w:FaultDetail>{NAMES_OF_DETAILS}{error.detail}</w:FaultDetail>" if error.detail else ""
    return envelope(
        FAULT_ACTION,
        relates_to,
        f"<s:Fault><s:Code><s:Value>{error.role}</s:Value><s:Subcode><s:Value>{error.subcode}</s:Value></s:Subcode>"
        f'</s:Code><s:Reason><s:Text xml:lang="en-US">{text}</s:Text></s:Reason><s:Detail>{detail}'
        f'<f:WSManFault xmlns:f="{space}" Code="{error.code}" Machine="{escape(machine)}">'
        f"<f:Message>{message}</f:Message></f:WSManFault></s:Detail></s:Fault>",
    )


def identify() -> bytes:
    return (
        f'<s:Envelope xml:lang="en-US" xmlns:s="{NAMES["s"]}"><s:Header/><s:Body>'
        f'<i:IdentifyResponse xmlns:i="{NAMES["id"]}"><i:ProtocolVersion>{NAMES["w"]}</i:ProtocolVersion>'
        "<i:ProductVendor>Microsoft Corporation</i:ProductVendor>"
        "<i:ProductVersion>OS: 0.0.0 SP: 0.0 Stack: 3.0</i:ProductVersion></i:IdentifyResponse></s:Body></s:Envelope>"
    ).encode()


def stream(name: str, command_id: str, data: bytes = b"", *, end: bool = False) -> str:
    """A piece of an output stream, or its end."""
    text, mark = base64.b64encode(data).decode(), ' End="true"' if end else ""
    return f'<rsp:Stream Name="{name}" CommandId="{command_id}"{mark}>{text}</rsp:Stream>'


def new_id() -> str:
    return str(uuid.uuid4()).upper()
