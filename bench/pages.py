"""Pages of a vault with 10,000 passwords, 5,000 of them with a chain of 4 links: milliseconds on the server's side.

``python -m bench.pages [PASSWORDS]`` prints one JSON object: for each page the median and the worst of 15 requests, the
median of the processor's time (what a busy machine does not blur), the statements it takes, and its bytes. No network
and no browser: Flask's own client, SQLite in WAL mode as in life.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import event

from pwserver.extensions import db
from pwserver.services import keys, users, vaults
from tests.conftest import Clock, email_of, make_app, make_tables, password_of
from tests.web.conftest import Browser
from tests.web.many import fill, fill_tasks

REQUESTS = 15
TASKS = 30
"""Of each kind, on the Dashboard of the last measurement."""
PAGES = {
    "vault": "/vaults/{vault}",
    "vault_last_page": "/vaults/{vault}?page=200",
    "vault_by_name": "/vaults/{vault}?sort=name",
    "vault_needs_you": "/vaults/{vault}?only=loud",
    "vault_find": "/vaults/{vault}?find=lab-001",
    "search_machine": "/search?q=lab-00100",
    "search_words": "/search?q=administrator+srv",
    "search_nothing": "/search?q=nowhere-at-all",
    "search_status": "/search?only=out_of_sync",
    "dashboard_reader": "/",
}


def main(passwords: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        app, vault_id = _instance(Path(folder), passwords)
        reader, owner = Browser(app), Browser(app)
        reader.sign_in("vera")
        owner.sign_in("olivia")
        told: dict[str, Any] = {
            name: _measured(app, reader, path.format(vault=vault_id)) for name, path in PAGES.items()
        }
        told["dashboard_owner"] = _measured(app, owner, "/")
        _add_tasks(app, TASKS)
        told["dashboard_tasks"] = _measured(app, owner, "/")
        searches = [each for name, each in told.items() if name.startswith(("search", "vault_find"))]
        told["search_worst_median_ms"] = max(each["median_ms"] for each in searches)
        return {"passwords": passwords} | told


def _instance(folder: Path, passwords: int) -> tuple[Flask, str]:
    app = make_app(folder, Clock())
    with app.app_context():
        make_tables()
        keys.prove()
        for name in ("olivia", "vera"):
            users.add_user(None, email_of(name), name.title(), password=password_of(name))
        olivia, vera = (users.find(email_of(name)) for name in ("olivia", "vera"))
        assert olivia
        assert vera
        vault = vaults.create_vault(olivia, "Ten thousand")
        vaults.add_member(olivia, vault, vera.email, "read")
        vault_id = vault.id
        fill(vault, passwords, stars_of=vera.id if passwords <= 1000 else "")
    return app, vault_id


def _add_tasks(app: Flask, count: int) -> None:
    """A vault of the owner's that fills the Dashboard: ``count`` of each kind of trouble, at 40 links each."""
    with app.app_context():
        owner = users.find(email_of("olivia"))
        assert owner
        fill_tasks(vaults.create_vault(owner, "Troubles"), count)


def _measured(app: Flask, browser: Browser, path: str) -> dict[str, float]:
    statements = 0

    def note(*_ignored: Any) -> None:
        nonlocal statements
        statements += 1

    took, worked = [], []
    for _ in range(REQUESTS):
        began, work = time.perf_counter(), time.process_time()
        answer = browser.get(path)
        took.append((time.perf_counter() - began) * 1000)
        worked.append((time.process_time() - work) * 1000)
        assert answer.status_code == 200, path
    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    answer = browser.get(path)
    event.remove(engine, "before_cursor_execute", note)
    return {
        "median_ms": round(statistics.median(took), 1),
        "worst_ms": round(max(took), 1),
        "cpu_ms": round(statistics.median(worked), 1),
        "statements": statements,
        "bytes": len(answer.data),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)) + "\n")
