"""``flask agent``, ``user`` and ``lab``, and what holds for every command."""

from __future__ import annotations

import base64
import importlib
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pwserver import cli
from pwserver.cli import approve, chain  # noqa: F401  # their commands are ``flask sync``'s
from pwserver.lab import defaults, truth
from pwserver.services import users
from tests.cli.conftest import BACKUP, LAB_ADMINISTRATOR, Console, LabHere, make_app
from tests.conftest import MASTER, dispose, make_tables

pytestmark = pytest.mark.enable_socket

PROJECT = Path(__file__).parent.parent.parent
FLASK = str(Path(sys.executable).parent / "flask")
AGENT = {
    "name", "transport", "machine", "host", "port", "fingerprint", "state", "health", "health_text", "machines",
    "passwords", "last_contact_at",
}  # fmt: skip
SEEN = (
    "at", "entry", "run_id", "name", "email", "machine", "account", "word", "path", "wait", "numbers", "version",
    "acting", "kind", "settings", "whose", "linked", "number", "to", "link_id", "logins", "reason", "choice",
    "address", "agent",
)  # fmt: skip
"""Every argument and option that takes a value. None of them is a secret: a new one has to be thought about here."""


def commands() -> Iterator[tuple[str, click.Command]]:
    importlib.import_module("pwserver.cli.sync_due")  # it adds to the group of sync
    for module in ("sync", "entry", "agent", "user", "lab", "database"):
        group = getattr(cli, module).group if hasattr(cli, module) else None
        if group is None:
            group = __import__(f"pwserver.cli.{module}", fromlist=["group"]).group
        for name, command in group.commands.items():
            yield f"{module} {name}", command


def test_no_command_takes_a_secret_as_an_argument() -> None:
    names = {name for name, _ in commands()}
    assert {"sync change", "sync correct", "lab holds", "lab set-password", "user add"} <= names
    for name, command in commands():
        taking = [each.name for each in command.params if not getattr(each, "is_flag", False)]
        assert set(taking) <= set(SEEN), name


def test_every_command_has_json_and_says_what_it_does() -> None:
    for name, command in commands():
        assert any(each.name == "as_json" for each in command.params), name
        assert len(command.help or "") > 15, name


def test_a_value_typed_as_an_argument_is_a_usage_error(console: Console, lab: LabHere) -> None:
    for arguments in (
        ("sync", "change", LAB_ADMINISTRATOR, "Argument-99"),
        ("sync", "correct", LAB_ADMINISTRATOR, "Argument-99"),
        ("lab", "set-password", "LAB-02", "Administrator", "Argument-99"),
        ("lab", "holds", "LAB-02", "Administrator", "Argument-99"),
        ("sync", "change"),
        ("sync", "nothing"),
        ("sync", "change", LAB_ADMINISTRATOR, "--wait", "soon"),
    ):
        assert (arguments, console(*arguments, stdin="Value-on-stdin-7").exit_code) == (arguments, 2)


# agents and people


def test_agents_are_well_only_when_all_are_healthy(console: Console, lab: LabHere) -> None:
    code, told = console.json("agent", "list")
    assert code == 0
    assert [set(each) for each in told["agents"]] == [AGENT] * len(told["agents"])
    first = next(each for each in told["agents"] if each["name"] == "LAB-01")
    assert (first["state"], first["health"], first["passwords"]) == ("approved", "healthy", 3)
    assert "Healthy" in console("agent", "list").stdout


def test_testing_an_agent_logs_on_once(console: Console, lab: LabHere) -> None:
    code, told = console.json("agent", "test", "lab-01")
    assert (code, told["health"], told["answer"]) == (0, "healthy", "applied")
    assert set(told) == AGENT | {"answer", "reason", "code"}
    console("lab", "fault", "LAB-01", "refuse-login")
    code, told = console.json("agent", "test", "LAB-01")
    assert (code, told["health"], told["reason"]) == (1, "blocked", "login_not_accepted")
    assert console("agent", "list").exit_code == 1
    assert console("agent", "test", "This server").exit_code == 1


def test_a_user_with_a_one_time_password(console: Console) -> None:
    code, told = console.json("user", "add", "gus@northfield.example", "Gus Gray")
    assert code == 0
    assert set(told) == {"email", "name", "org_admin", "one_time_password"}
    with console.app.app_context():
        gus = users.find("gus@northfield.example")
        assert gus is not None
        assert users.has_one_time_password(gus)
    code, told = console.json("user", "list")
    assert code == 0
    assert [set(each) for each in told["users"]] == [{"email", "name", "active", "org_admin", "vaults"}] * 5
    assert console("user", "add", "gus@northfield.example", "Gus Gray").exit_code == 1


def test_a_user_with_a_password_of_their_own_is_never_echoed(console: Console) -> None:
    secret = "a sentence that nobody knows"
    result = console("user", "add", "ida@northfield.example", "Ida Ibsen", "--password", "--admin", stdin=secret)
    assert result.exit_code == 0
    assert secret not in result.output + result.stderr
    with console.app.app_context():
        ida = users.find("ida@northfield.example")
        assert ida is not None
        assert ida.org_admin
        assert not users.has_one_time_password(ida)
    assert console("user", "add", "u@northfield.example", "U", "--password", stdin="short").exit_code == 1


def test_the_first_user_by_command_line_finds_a_whole_house(tmp_path: Path) -> None:
    app = make_app(tmp_path / "empty")
    with app.app_context():
        make_tables()
    console = Console(app)
    assert console("user", "add", "first@northfield.example", "First").exit_code == 1
    added = console(
        "user", "add", "first@northfield.example", "F", "--admin", "--password", stdin="a long sentence here"
    )
    assert added.exit_code == 0, added.output
    code, told = console.json("agent", "list")
    assert (code, [each["name"] for each in told["agents"]]) == (0, ["This server"])
    dispose(app)


# the lab


def test_the_lab_says_the_truth_and_counts_nothing(console: Console, lab: LabHere) -> None:
    before = console.json("lab", "hash")
    value = defaults.password(truth.DEFAULT_SEED, "svc-backup")
    for place in ("svc-backup", "SRV-01\\svc-backup", "\\Backup\\Nightly", "service:indexd"):
        assert console.json("lab", "holds", "SRV-01", place, stdin=value) == (0, {"holds": True})
        result = console("lab", "holds", "SRV-01", place, stdin="Falsch-123")
        assert (result.exit_code, result.stdout) == (1, "no\n")
    assert console.json("lab", "badlogons") == (0, {"total": 0, "accounts": []})
    assert console.json("lab", "hash") == before
    assert console("lab", "hash").stdout.strip() == before[1]["hash"]


def test_the_state_of_the_lab_for_people_and_programs(console: Console, lab: LabHere) -> None:
    code, told = console.json("lab", "state")
    assert code == 0
    assert set(told) == {"machines", "devices"}
    code, one = console.json("lab", "state", "srv-01")
    services = [each["name"] for each in one["services"]]
    assert (code, one["name"], services) == (0, "SRV-01", ["backupd", "indexd", "offsited"])
    console("lab", "set-password", "SRV-01", "svc-backup", stdin="Am-Konsol-44")
    shown = console("lab", "state", "SRV-01").stdout
    assert "stale" in shown
    assert "Am-Konsol-44" not in shown
    assert "domain controller" in console("lab", "state").stdout


def test_stale_copies_really_fail(console: Console, lab: LabHere) -> None:
    assert console("lab", "run-task", "SRV-01", "\\Backup\\Nightly").exit_code == 0
    assert console("lab", "start-service", "SRV-01", "backupd").exit_code == 0
    console("lab", "set-password", "SRV-01", "svc-backup", stdin="Am-Konsol-44")
    code, told = console.json("lab", "run-task", "SRV-01", "\\Backup\\Nightly")
    assert (code, set(told), told["code"]) == (1, {"machine", "task", "code", "ok"}, 0x8007052E)
    code, told = console.json("lab", "start-service", "SRV-01", "backupd")
    assert (code, set(told), told["code"]) == (1, {"machine", "service", "code", "ok"}, 1069)


@pytest.mark.parametrize(
    "word", ["off", "slow:200", "cut-before", "cut-after", "late:20", "name:LAB-09", "reinstalled", "certificate"]
)
def test_faults_come_and_go(console: Console, lab: LabHere, word: str) -> None:
    assert console.json("lab", "fault", "lab-07", word) == (0, {"machine": "LAB-07", "fault": word})
    assert word in console("lab", "state", "LAB-07").stdout
    assert console.json("lab", "fault", "LAB-07", "none") == (0, {"machine": "LAB-07", "fault": ""})


def test_requests_are_counted_and_reset(console: Console, lab: LabHere) -> None:
    console.in_sync(BACKUP)
    code, told = console.json("lab", "requests")
    assert code == 0
    assert set(told) == {"total", "ntlm", "machines"}
    assert told["total"] > 0
    assert "LAB-01" in console("lab", "requests").stdout
    assert console("lab", "reset").exit_code == 0
    assert console.json("lab", "requests")[1]["total"] == 0


def test_what_the_lab_does_not_have_is_not_found(console: Console, lab: LabHere) -> None:
    for arguments in (
        ("lab", "fault", "LAB-99", "off"),
        ("lab", "state", "LAB-99"),
        ("lab", "run-task", "SRV-01", "\\None"),
        ("lab", "start-service", "SRV-01", "none"),
        ("lab", "holds", "SRV-01", "nobody"),
    ):
        assert (arguments, console(*arguments, stdin="x").exit_code) == (arguments, 3)
    assert console("lab", "fault", "LAB-02", "nonsense").exit_code == 1


# away


def test_without_a_lab_the_words_say_so(console: Console) -> None:
    result = console("lab", "state")
    assert result.exit_code == 4
    assert "does not run" in result.stderr
    assert console.json("lab", "hash")[0] == 4


def test_without_a_database_the_words_say_which_folder(tmp_path: Path) -> None:
    app = make_app(tmp_path / "nothing")
    result = Console(app)("sync", "status")
    assert result.exit_code == 4
    assert str(tmp_path / "nothing") in result.stderr
    dispose(app)


def test_with_another_master_key_the_words_say_so_and_no_trace(instance: Path) -> None:
    other = base64.b64encode(bytes(32)).decode()
    told = flask(instance, "sync", "status", key=other)
    assert (told.returncode, told.stdout) == (4, b"")
    assert b"does not open with this master key" in told.stderr
    assert b"Traceback" not in told.stderr
    assert other.encode() not in told.stderr


def test_the_real_program_finds_its_instance_by_the_environment(instance: Path, lab: LabHere) -> None:
    told = flask(
        instance, "lab", "holds", "LAB-02", "Administrator", "--json",
        stdin=defaults.password(truth.DEFAULT_SEED, "lab"),
    )  # fmt: skip
    assert (told.returncode, json.loads(told.stdout)) == (0, {"holds": True}), told.stderr


def test_at_a_terminal_a_password_is_asked_for_twice_and_never_shown(instance: Path) -> None:
    secret = b"a sentence that nobody sees"
    arguments = ["flask", "user", "add", "tina@northfield.example", "Tina Tonn", "--password"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(PROJECT)
        environ = {"PWSERVER_INSTANCE": str(instance), "PWSERVER_MASTER_KEY": MASTER, "PATH": "/usr/bin:/bin"}
        os.execve(FLASK, arguments, environ)
    try:
        shown = _read_until(terminal, b"Password: ")
        os.write(terminal, secret + b"\n")
        shown += _read_until(terminal, b"confirmation: ")
        os.write(terminal, secret + b"\n")
        shown += _read_until(terminal, b"was added.")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    assert secret not in shown
    assert b"Tina Tonn" in shown


def _read_until(terminal: int, words: bytes) -> bytes:
    """What the program wrote, up to these words; fails after a while."""
    seen, end = b"", time.monotonic() + 40
    while words not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        assert ready, seen
        seen += os.read(terminal, 4096)
    return seen


def flask(instance: Path, *arguments: str, key: str = MASTER, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
    """A process of its own, as typed in a shell: the app is found without any file of settings."""
    return subprocess.run(
        [FLASK, *arguments],
        cwd=PROJECT,
        env={"PWSERVER_INSTANCE": str(instance), "PWSERVER_MASTER_KEY": key, "PATH": "/usr/bin:/bin"},
        input=stdin.encode(),
        capture_output=True,
        timeout=50,
        check=False,
    )
