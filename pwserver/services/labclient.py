"""Asks a running practice lab, over its control socket: one JSON request a line, one JSON answer a line.

The product knows the lab only so; on its own page it shows the lab's truth and injects faults.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import current_app

from pwserver.core.errors import Invalid, PwserverError

LONGEST_ADDRESS = 100
SECONDS = 10

FAULTS: list[tuple[str, str]] = [
    ("off", "Off"),
    ("on", "On again"),
    ("slow:2000", "Slow, 2 s a request"),
    ("cut-before", "Breaks before applying"),
    ("cut-after", "Breaks after applying"),
    ("late:20", "Applies 20 s after breaking"),
    ("name:LAB-99", "Answers under another name"),
    ("refuse-login", "Refuses our login"),
    ("none", "No fault"),
]
"""What the page offers, by the word that the lab takes."""


class LabAway(PwserverError):
    """No lab answers."""

    user_message = "The practice lab does not run. Start it with the demo, then open this page again."


def socket_path() -> Path:
    return Path(current_app.config["PWSERVER"].instance) / "lab" / "control.sock"


def runs() -> bool:
    """Whether a lab's socket is there. Cheap; whether it answers is for ``ask`` to say."""
    return socket_path().exists()


def ask(verb: str, **args: Any) -> dict[str, Any]:
    """Raises :class:`LabAway` when none answers, :class:`Invalid` with the lab's own words."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(SECONDS)
        try:
            with _address(socket_path()) as address:
                line.connect(address)
            line.sendall(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
            with line.makefile("rb") as answers:
                raw = answers.readline()
        except OSError:
            raise LabAway from None
    if not raw.endswith(b"\n"):
        raise LabAway
    answer = json.loads(raw)
    if not answer["ok"]:
        raise Invalid(str(answer["error"]), field=answer.get("field"))
    result: dict[str, Any] = answer["result"]
    return result


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path, or a shorter way to it: the address of a Unix socket has 107 bytes at most."""
    if len(os.fsencode(path)) < LONGEST_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def state() -> dict[str, Any]:
    """Machines and devices as they truly are, without any password."""
    return ask("state")


def fault(machine: str, word: str) -> str:
    """Adds a fault; returns what is wrong with the machine now, "" for nothing."""
    if word not in dict(FAULTS):
        raise Invalid("Choose one of the faults.", field="fault")
    return str(ask("fault", machine=machine, word=word)["fault"])


def reset() -> None:
    ask("reset")
