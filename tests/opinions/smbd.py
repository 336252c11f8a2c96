"""Samba's libnetapi and a real smbd, in mount, network and process namespaces that end with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.opinions.line import Line

INSIDE = Path(__file__).with_name("smbd_inside.py")
PYTHON = "/usr/bin/python3"
"""Debian's own: python3-samba is made for it."""
TOOLS = ("smbd", "smbpasswd", "pdbedit", "net", "unshare", "ip")
NAMESPACES = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child")
SAMBA_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def missing() -> list[str]:
    """What is not here, so that nothing can be run; empty when all is."""
    if os.geteuid() != 0:
        return ["root"]
    found = [tool for tool in TOOLS if shutil.which(tool, path=SAMBA_PATH) is None]
    if not _works([PYTHON, "-c", "import ctypes, samba; ctypes.CDLL('libnetapi.so.1')"]):
        found.append("python3-samba and libnetapi (samba-libs)")
    if shutil.which("unshare") and not _works([*NAMESPACES, "true"]):
        found.append("the right to make namespaces")
    return found


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False


class Samba:
    """One smbd with accounts and policies of its own, and the process that asks it."""

    def __init__(self, folder: Path) -> None:
        env = {"PATH": SAMBA_PATH, "LANG": "C.UTF-8", "HOME": str(folder)}
        work = folder / "samba"
        work.mkdir()
        self.line = Line([*NAMESPACES, PYTHON, "-I", str(INSIDE), str(work)], folder, env)
        self.version = self.sid = ""

    def start(self, users: dict[str, str], policies: dict[str, int]) -> None:
        made = self.call("start", users=users, policies=policies)
        self.version, self.sid = made["version"], made["sid"]

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.line.ask(json.dumps({"name": name, "args": arguments}))
        return answer

    def end(self) -> None:
        self.line.end()


@contextmanager
def running(folder: Path, users: dict[str, str], policies: dict[str, int]) -> Iterator[Samba]:
    samba = Samba(folder)
    try:
        samba.start(users, policies)
        yield samba
    finally:
        samba.end()
