"""``python3 app.py`` on a fresh machine, and what importing it does: nothing."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import app

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder without an environment, and a record of what would be run."""
    for name in app.RUN:
        (tmp_path / name).write_text("# nothing\n")
    monkeypatch.setattr(app, "PROJECT", tmp_path)
    monkeypatch.setattr(app, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(app, "MARK", tmp_path / ".venv" / "installed.json")
    return tmp_path


@pytest.fixture
def ran(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    commands: list[tuple[str, ...]] = []

    def run(*command: str) -> None:
        commands.append(command)
        (fresh / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
        (fresh / ".venv" / "bin" / "python").touch()

    monkeypatch.setattr(app, "_run", run)
    return commands


def test_the_environment_is_made_once_from_hashes_alone(fresh: Path, ran: list[tuple[str, ...]]) -> None:
    app.prepare_venv(app.RUN)
    assert ran[0][1:3] == ("-m", "venv")
    assert [command[-1] for command in ran[1:]] == [str(fresh / name) for name in app.RUN]
    assert all("--require-hashes" in command and "--no-deps" in command for command in ran[1:])
    ran.clear()
    app.prepare_venv(app.RUN)
    assert ran == []


def test_only_changed_requirements_are_installed_again(fresh: Path, ran: list[tuple[str, ...]]) -> None:
    app.prepare_venv(app.RUN)
    ran.clear()
    (fresh / app.RUN[1]).write_text("# something else\n")
    app.prepare_venv(app.RUN)
    assert [command[-1] for command in ran] == [str(fresh / app.RUN[1])]
    known = json.loads((fresh / ".venv" / "installed.json").read_text())
    assert known[app.RUN[1]] == hashlib.sha256(b"# something else\n").hexdigest()


def test_a_failed_install_is_not_taken_for_done(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_make_venv", lambda: None)
    monkeypatch.setattr(app.subprocess, "call", lambda command: 1)
    with pytest.raises(SystemExit, match="Nothing was started"):
        app.prepare_venv(app.RUN)
    assert not (fresh / ".venv" / "installed.json").exists()


def test_a_python_without_venv_names_the_package(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"apt-get install python3\.\d+-venv"):
        app.prepare_venv(app.RUN)


def test_an_old_python_is_told_so(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit, match=r"3\.11 or later"):
        app.prepare_venv(app.RUN)


def test_importing_does_nothing_and_needs_nothing(spawn: Spawn, instance: Path) -> None:
    code = "import sys, app; assert 'flask' not in sys.modules and 'pwserver' not in sys.modules; print('bare')"
    process = spawn("-S", "-c", code, env={"PWSERVER_INSTANCE": str(instance)})
    assert process.communicate(timeout=20)[0].strip() == "bare"
    assert list(instance.iterdir()) == []


def test_the_wsgi_entry_builds_the_application_when_asked(spawn: Spawn, instance: Path) -> None:
    code = "import app; assert app.app is app.app; print(app.app.name); print(hasattr(app, 'other'))"
    process = spawn("-c", code, env={"PWSERVER_INSTANCE": str(instance)})
    assert process.communicate(timeout=40)[0].splitlines()[-2:] == ["pwserver", "False"]
    assert (instance / "master.key").stat().st_mode & 0o077 == 0
