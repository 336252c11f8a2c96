"""The PowerShell scripts that run on Windows machines, put together for shipping.

Each operation of :data:`pwserver.connectors.contract.OPERATIONS` has one file; :func:`script` joins it with the frame,
the native helper and the functions it needs. The text is constant: values only ever travel in the request, the second
line of standard input (:func:`stdin_lines`), which the constant bootstrap on the command line reads.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from pwserver.connectors.contract import OPERATIONS

_HERE = Path(__file__).parent
_SHARED = {
    "account": ("account.ps1",),
    "domain": ("account.ps1", "domain.ps1"),
    "task": ("place.ps1", "task.ps1"),
    "service": ("place.ps1", "service.ps1"),
    "identity": (),
}
_NATIVE = {
    "PsrvNative": "native.cs",
    "PsrvService": "native_service.cs",
    "PsrvDomain": "native_domain.cs",
    "PsrvLocator": "native_locator.cs",
}
_NATIVE_OF = {"service": "PsrvService", "domain": "PsrvDomain"}
_LIBRARIES = {"PsrvDomain": ("System.DirectoryServices.Protocols", "System.Xml")}
"""What a helper needs besides the libraries that are always there."""
_PARTS = {
    "identity": "identity",
    "read_account": "account",
    "verify": "account",
    "change": "account",
    "reset": "account",
    "read_task": "task",
    "set_task": "task",
    "read_service": "service",
    "set_service": "service",
    "restart_service": "service",
    "read_domain": "domain",
    "verify_domain": "domain",
    "change_domain": "domain",
    "reset_domain": "domain",
}
MAX_LINE = 8191
"""cmd.exe takes no longer line."""


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="ascii").replace("\r\n", "\n")


BOOTSTRAP = _read("bootstrap.ps1")


def _helpers(*names: str) -> str:
    """A script block that compiles the C# helpers; a session that already has them does not compile them again.

    The script runs it where a failure becomes an answer. Windows PowerShell takes a stale LIB variable for a warning,
    and a warning for an error.
    """
    return "$psrvHelpers = {\n$env:LIB = $null\n" + "".join(_added(name) for name in names) + "}\n"


def _added(name: str) -> str:
    libraries = _LIBRARIES.get(name, ())
    load = "".join(f"[void][Reflection.Assembly]::LoadWithPartialName('{library}')\n" for library in libraries)
    needs = " -ReferencedAssemblies " + ", ".join(f"'{library}'" for library in libraries) if libraries else ""
    text = f"  Add-Type -IgnoreWarnings{needs} -TypeDefinition @'\n{_read(_NATIVE[name])}'@\n"
    return f"{load}if ($null -eq ('{name}' -as [type])) {{\n{text}}}\n"


@cache
def script(op: str, hop: bool = False) -> str:
    """The whole text shipped for ``op``: run on the machine itself, or with ``hop`` by an agent on a second machine."""
    if hop:
        inner = base64.b64encode(script(op).encode()).decode()
        own = f"$psrvInnerText = '{inner}'\n" + _helpers("PsrvLocator")
        return _read("frame.ps1") + own + _read("hop.ps1") + _read("finish.ps1")
    kind = _PARTS[op]
    helpers = _helpers("PsrvNative", *filter(None, [_NATIVE_OF.get(kind)]))
    shared = "".join(_read(name) for name in ("machine.ps1", *_SHARED[kind], OPERATIONS[op].script))
    return _read("frame.ps1") + helpers + shared + _read("finish.ps1")


def hop_script(op: str) -> str:
    """The text shipped to an agent for ``op`` on a second machine."""
    return script(op, hop=True)


def digest(text: str) -> str:
    """How a script is known: SHA-256 over its text."""
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def digests() -> dict[str, str]:
    """Every shipped text by its name (``verify``, and ``hop:verify`` for the way over an agent) → digest."""
    direct = {op: digest(script(op)) for op in OPERATIONS}
    return direct | {f"hop:{op}": digest(hop_script(op)) for op in OPERATIONS}


def command_line() -> tuple[str, tuple[str, ...]]:
    """The program and its arguments: constant, below 8191 characters, no secret in it."""
    encoded = base64.b64encode(BOOTSTRAP.encode("utf-16-le")).decode()
    return (
        "%SystemRoot%\\System32\\WindowsPowerShell\\v1.0\\powershell.exe",
        ("-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-OutputFormat", "Text")
        + ("-EncodedCommand", encoded),
    )


def stdin_lines(script_text: str, request: bytes) -> bytes:
    """What the bootstrap reads: two base64 lines, the script and the request. The second one holds secrets."""
    return base64.b64encode(script_text.encode()) + b"\r\n" + base64.b64encode(request) + b"\r\n"
