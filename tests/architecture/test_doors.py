"""The doors of the house stay the only ones; each guard is shown a breach that it must see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import guards

OURS = guards.sources()


def planted(path: str, text: str) -> dict[str, str]:
    return {path: text}


def test_a_stored_value_is_opened_behind_three_doors_only() -> None:
    opened = guards.who_opens_sealed(OURS)
    assert opened == set(guards.KEYRING_DOORS), "reveal, execute, and the canary"
    for breach in (
        "from pwserver.services.keys import keyring\nkeyring().open(x, y)",
        "from pwserver.core.secrets import Sealed\nSealed(row.sealed)",
        "ring.open(sealed, bound_to('entry_version', i, 'sealed'))",
        "keyring().open(sealed=x, aad=y)",
    ):
        assert "pwserver/web/peek.py" in guards.who_opens_sealed(planted("pwserver/web/peek.py", breach))


def test_only_the_session_speaks_to_windows() -> None:
    allowed = {"pwserver/connectors/session.py", "pwserver/connectors/pinning.py"}
    speaks = guards.who_imports(OURS, "winrm")
    assert speaks <= allowed
    assert "pwserver/connectors/session.py" in speaks
    breach = planted("pwserver/web/shortcut.py", "import winrm.protocol")
    assert "pwserver/web/shortcut.py" in guards.who_imports(breach, "winrm")


def test_only_services_commit() -> None:
    commits = {path for path in guards.who_commits(OURS) if not path.startswith("pwserver/models/migrations/")}
    assert commits == {"pwserver/services/transaction.py"}, "and there one function"
    assert "pwserver/web/x.py" in guards.who_commits(planted("pwserver/web/x.py", "db.session.commit()"))


def test_nothing_prints_but_the_command_line() -> None:
    """The practice lab as a process of its own says where it listens."""
    quiet = {path for path in guards.who_prints(OURS) if not path.startswith(("pwserver/cli", "pwserver/lab/__main__"))}
    assert quiet == set()
    assert "pwserver/sync/x.py" in guards.who_prints(planted("pwserver/sync/x.py", "print('here')"))


def test_no_plaintext_in_a_log_line_an_exception_or_a_formatted_text() -> None:
    told = {path for path in guards.what_logs_a_plaintext(OURS) if not path.startswith("pwserver/cli/")}
    assert told == set(), "the command line may show a value: that is what it was asked for"
    for breach in (
        "log.info('value %s', secret.open())",
        "log.error('x', extra={'v': secret.open()})",
        "raise ValueError(f'bad {secret.open()}')",
        "text = f'{login.secret.open()}'",
        "raise ValueError(secret.open())",
    ):
        assert guards.what_logs_a_plaintext(planted("pwserver/web/x.py", breach))


def test_nobody_imports_the_jobs() -> None:
    allowed = {"pwserver/processes.py"}
    assert guards.who_imports_jobs(OURS) <= allowed
    assert "pwserver/web/x.py" in guards.who_imports_jobs(planted("pwserver/web/x.py", "from jobs.sync import run"))


def test_pages_have_no_inline_script_or_style() -> None:
    assert guards.what_is_inline(guards.templates()) == set()
    for breach in (
        "<script>alert(1)</script>",
        '<p style="color: red">',
        "<style>p {}</style>",
        '<a onclick="go()">',
        '<a href="javascript:go()">',
    ):
        assert guards.what_is_inline({"templates/x.html": breach})
    assert not guards.what_is_inline({"templates/x.html": '<script src="/static/x.js" defer></script>'})


def test_no_command_line_is_put_together_for_a_shell() -> None:
    assert guards.who_runs_a_shell(OURS) == set()
    assert guards.who_runs_a_shell({"x.py": "subprocess.run('a', shell=True)"}) == {"x.py"}


def test_nothing_is_pickled() -> None:
    assert guards.who_pickles(OURS) == set()
    assert guards.who_pickles({"x.py": "import pickle"}) == {"x.py"}


@pytest.fixture
def lint(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs import-linter; ``plant`` runs it over a copy of the house with one more file in it."""
    script = Path(sys.executable).with_name("lint-imports")

    def run(plant: tuple[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        cwd = guards.PROJECT
        if plant:
            cwd = tmp_path
            for path, text in OURS.items():
                target = tmp_path / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
            (tmp_path / "pyproject.toml").write_text((guards.PROJECT / "pyproject.toml").read_text())
            (tmp_path / plant[0]).write_text(plant[1])
        return subprocess.run(
            [script, "--no-cache"], cwd=cwd, capture_output=True, text=True, env={"PYTHONPATH": str(cwd)}, timeout=50
        )

    return run


def test_imports_go_one_way(lint) -> None:  # type: ignore[no-untyped-def]
    clean = lint()
    assert clean.returncode == 0, clean.stdout[-3000:]
    assert "0 broken" in clean.stdout


def test_an_import_the_wrong_way_is_seen(lint) -> None:  # type: ignore[no-untyped-def]
    broken = lint(("pwserver/core/upward.py", "import flask\nfrom pwserver.services import timer\n"))
    assert broken.returncode == 1
    assert "2 broken" in broken.stdout, broken.stdout[-2000:]
