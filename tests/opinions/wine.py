"""The shipped C# helpers on Microsoft's .NET Core for Windows, under Wine, in a prefix of their own."""

from __future__ import annotations

import base64
import getpass
import os
import re
import shutil
import socket
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pwserver.connectors import scripts
from pwserver.lab import calls
from tests.opinions.line import Line

HERE = Path(__file__).parent
WHEELS = HERE.parent.parent / "build" / "opinions"
HELPERS = ("native.cs", "native_service.cs", "native_domain.cs")
TOOLS = ("wine", "wineboot", "wineserver", "mcs")
STEP_S = 180
RUNTIME = '{"runtimeOptions":{"framework":{"name":"Microsoft.NETCore.App","version":"3.1.0"}}}'
PROTOCOLS = "System.DirectoryServices.Protocols"
# where the settings of our tests stand
TEST_KEY = "SOFTWARE\\Opinions"
MAIN, NEEDY, DISABLED, ORPHAN = "op-main", "op-needy", "op-disabled", "op-orphan"
DISPLAY = "Opinions Main"
UNKNOWN_SERVICE = "op-nowhere"
LONG = "x" * 512


def missing() -> list[str]:
    """What is not here, so that nothing can be run; empty when all is."""
    found = [tool for tool in TOOLS if shutil.which(tool) is None]
    if wheel() is None:
        found.append("the wheel dotnetcore2 in build/opinions")
    return found


def wheel() -> Path | None:
    return next(iter(sorted(WHEELS.glob("dotnetcore2-*-win_amd64.whl"))), None)


def computer_name() -> str:
    """The NetBIOS name that this host has as a Windows machine."""
    return socket.gethostname().partition(".")[0].upper()[:15]


class Wine:
    """One prefix with the services and registry keys of the tests, and one process that calls the helpers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user = getpass.getuser()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("WINE", "XDG_"))} | {
            "HOME": str(folder),
            "WINEPREFIX": str(folder / "prefix"),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=;winemenubuilder.exe=d",
        }
        self.line: Line | None = None
        self.clr = ""

    def build(self) -> None:
        """Compile helpers and caller as C# 5, warnings as errors; the compiler is Mono's, the runtime Microsoft's."""
        found = wheel()
        assert found is not None
        with zipfile.ZipFile(found) as packed:
            packed.extractall(self.folder / "wheel")
        sources = [str(HERE / "Caller.cs"), *(str(Path(scripts.__file__).parent / name) for name in HELPERS)]
        command = ["mcs", "-langversion:5", "-warnaserror", "-out:Caller.dll", "-target:exe", f"-r:{PROTOCOLS}"]
        self.run([*command, *sources])
        (self.folder / "Caller.runtimeconfig.json").write_text(RUNTIME)
        library = next(Path("/usr/lib/mono").rglob(f"{PROTOCOLS}.dll"))
        shutil.copy(library.resolve(), self.folder)  # only so that the class can be loaded: no directory is asked here

    def start(self) -> None:
        """Make the prefix, the services and the keys, and start the caller."""
        self.run(["wineboot", "-i"])
        self.run(["wineserver", "-w"])  # the prefix is being made for some seconds more
        dotnet = self.folder / "wheel" / "dotnetcore2" / "bin" / "dotnet.exe"
        program = f"{_windows(dotnet)} exec {_windows(self.folder / 'Caller.dll')}"
        for name, display, start, needs in (
            (MAIN, DISPLAY, "demand", ""),
            (NEEDY, "Opinions Needy", "demand", MAIN),
            (DISABLED, "Opinions Disabled", "disabled", ""),
            (ORPHAN, "Opinions Orphan", "demand", UNKNOWN_SERVICE),
        ):
            service = ["wine", "sc", "create", name, "binpath=", f"{program} service", "displayname=", display]
            self.run([*service, "start=", start, *(["depend=", needs] if needs else [])])
        for value, kind, data in (
            ("Text", "REG_SZ", "Grüße, 密码"),
            ("Empty", "REG_SZ", ""),
            ("Expands", "REG_EXPAND_SZ", "%SystemDrive%\\there"),
            ("Longest", "REG_SZ", LONG[:-1]),
            ("Too long", "REG_SZ", LONG),
            ("Number", "REG_DWORD", "2"),
            ("Greatest", "REG_DWORD", "4294967295"),
            ("Long number", "REG_QWORD", "2"),
            ("Bytes", "REG_BINARY", "02000000"),
        ):
            self.registry(TEST_KEY, "/v", value, "/t", kind, "/d", data)
        for below in ("Beta", "alpha", "Gamma\\Deeper"):
            self.registry(f"{TEST_KEY}\\{below}")
        self.registry("SOFTWARE\\Wow6432Node\\Opinions32")
        self.registry(calls.LAPS_POLICY.removeprefix("HKLM\\"), "/v", "BackupDirectory", "/t", "REG_DWORD", "/d", "2")
        self.line = Line(["wine", str(dotnet), "exec", "Caller.dll"], self.folder, self.env)
        self.clr = str(self.line.next()["clr"])

    def registry(self, key: str, *value: str) -> None:
        self.run(["wine", "reg", "add", f"HKLM\\{key}", *value, "/f"])

    def run(self, command: list[str]) -> str:
        """Run to the end. Raise RuntimeError with its words if it fails."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=STEP_S, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command[:4])} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def version(self) -> str:
        return self.run(["wine", "--version"]).split()[0].removeprefix("wine-")

    def call(self, method: str, *arguments: object) -> Any:
        """One public method of a helper, e.g. ``PsrvNative.FindSid``."""
        assert self.line is not None
        given = [base64.b64encode(str(one).encode()).decode() for one in arguments]
        return self.line.ask("\t".join([method, *given]))

    def settled(self, name: str) -> dict[str, Any]:
        """A service read until it is neither starting nor stopping."""
        deadline = time.monotonic() + 60
        while True:
            read: dict[str, Any] = self.call("PsrvService.Read", name)
            if read["state"] in (calls.SERVICE_STOPPED, calls.SERVICE_RUNNING) or time.monotonic() > deadline:
                return read
            time.sleep(0.1)

    def end(self) -> None:
        """End the caller and the server of this prefix, and wait until all its programs are gone."""
        if self.line is not None:
            self.line.end()
        for option in ("-k", "-w"):
            subprocess.run(["wineserver", option], env=self.env, capture_output=True, timeout=STEP_S, check=False)


def _windows(path: Path) -> str:
    return "Z:" + re.sub("/", r"\\", str(path))


@contextmanager
def running(folder: Path) -> Iterator[Wine]:
    """A prefix in ``folder``, ended and left to the caller to remove."""
    wine = Wine(folder)
    try:
        wine.build()
        wine.start()
        yield wine
    finally:
        wine.end()
