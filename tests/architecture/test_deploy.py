"""The units of systemd start what there is, as a user of its own, with nothing secret on a command line."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture.guards import PROJECT

UNITS = sorted((PROJECT / "deploy").glob("*.service"))
HOME = "/opt/password-server"
each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)


def test_there_is_one_for_one_machine_and_two_for_several() -> None:
    assert [unit.name for unit in UNITS] == ["pwserver-jobs.service", "pwserver-web.service", "pwserver.service"]


@each_unit
def test_what_it_starts_is_there(unit: Path) -> None:
    commands = re.findall(r"^ExecStart(?:Pre)?=(.+)$", unit.read_text(), re.M)
    assert commands
    for command in commands:
        program, flag, module = command.split()
        assert (program, flag) == (f"{HOME}/.venv/bin/python", "-m")
        assert importlib.util.find_spec(module if module != "jobs" else "jobs.__main__") is not None, module


@each_unit
def test_it_may_do_little(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    for line in (
        "User=pwserver", "NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes",
        "CapabilityBoundingSet=", "StateDirectoryMode=0700", "UMask=0077", "LimitCORE=0",
        "EnvironmentFile=/etc/pwserver/environment",
    ):  # fmt: skip
        assert line in lines, line
    assert not re.search(r"^Environment=.*(KEY|URL)", unit.read_text(), re.M), "secrets are in the file of mode 0600"


@each_unit
def test_systemd_finds_nothing_wrong_with_it(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd here")
    home = tmp_path / "password-server"
    (home / ".venv" / "bin").mkdir(parents=True)
    (home / ".venv" / "bin" / "python").symlink_to("/usr/bin/env")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(HOME, str(home)))
    found = subprocess.run(
        [program, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False,
        env=os.environ | {"SYSTEMD_LOG_TARGET": "console"},
    )  # fmt: skip
    about_it = [line for line in found.stderr.splitlines() if unit.name in line]
    assert (found.returncode, about_it) == (0, []), found.stderr
