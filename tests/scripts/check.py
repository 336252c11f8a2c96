"""Reads scripts as Windows PowerShell 5.1 would, by the engine's own checker, and looks for bound secrets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pwserver.connectors import scripts
from pwserver.connectors.contract import OPERATIONS

HOLD_SECRETS = frozenset({"d", "l", "psrvRequest", "letter", "clear"})
"""Variables of the scripts and the bootstrap that hold a value in clear. What is bound to a command or piped into it is
recorded by module logging and transcripts, so none of these may be."""


def shipped() -> dict[str, str]:
    """Every text that is shipped, by file name."""
    texts = {f"{op}.ps1": scripts.script(op) for op in OPERATIONS}
    texts |= {f"hop_{op}.ps1": scripts.hop_script(op) for op in OPERATIONS}
    return texts | {"bootstrap.ps1": scripts.BOOTSTRAP}


def check(engine: str, texts: Mapping[str, str], folder: Path) -> dict[str, dict[str, Any]]:
    """What the engine finds in each text. An engine that can check has this; ``{}`` for another."""
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [engine, "-Check", *(str(folder / name) for name in texts)], capture_output=True, timeout=60, check=False
    )
    if not done.stdout.lstrip().startswith(b"["):
        return {}
    return {Path(one["file"]).name: one for one in json.loads(done.stdout)}


def secret_bindings(report: Mapping[str, Any]) -> list[str]:
    """Commands of a checked script to which a secret-holding variable is bound or piped."""
    return [
        f"{command['name']} (line {command['line']}): {sorted(HOLD_SECRETS & set(command['variables']))}"
        for command in report["commands"]
        if HOLD_SECRETS & set(command["variables"])
    ]
