"""The linters, beside the tests: started with them when ``PWSERVER_TEST_LINT`` is set, judged when they have ended.

What they print is held back until then and comes before pytest's own summary, which stays the last.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SECONDS = 600


class Lint:
    """``make lint`` in a process of its own."""

    def __init__(self) -> None:
        self.output = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the session
        self.process = subprocess.Popen(
            ["make", "--no-print-directory", "lint"],
            cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output,
        )  # fmt: skip

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.process.wait(SECONDS) != 0 and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        self.output.seek(0)
        failed = self.process.returncode != 0
        terminalreporter.section("lint: FAILED" if failed else "lint")
        terminalreporter.write(self.output.read().decode(errors="replace"))
        self.output.close()


def register(config: pytest.Config) -> None:
    if os.environ.get("PWSERVER_TEST_LINT") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Lint(), "lint")
