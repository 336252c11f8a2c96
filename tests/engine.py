"""The PowerShell engine of the tests: named by PWSERVER_LAB_POWERSHELL, or ``pwsh`` on PATH.

The lab runs the shipped scripts wherever that variable is set. Only the tests that are about scripts want that; for all
others it is set aside at the start of the session, so that they, and the processes they start, stay quick.
"""

from __future__ import annotations

import os
import shutil

import pytest

NAME, ASIDE = "PWSERVER_LAB_POWERSHELL", "PWSERVER_TEST_POWERSHELL"


def set_aside() -> None:
    """Called by ``pytest_configure``, in every worker."""
    if path := os.environ.pop(NAME, None):
        os.environ[ASIDE] = path


def engine_path() -> str | None:
    return os.environ.get(ASIDE) or os.environ.get(NAME) or shutil.which("pwsh")


def engine_or_skip() -> str:
    """The engine's path. Without one: skipped with a word, but a failure where CI promised one."""
    path = engine_path()
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no PowerShell engine: set {NAME} or put pwsh on PATH")
        pytest.skip(f"no PowerShell engine ({NAME}, or pwsh on PATH)")
    return path
