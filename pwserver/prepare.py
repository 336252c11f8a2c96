"""What is done before the processes start: assets, migrations, demo data, the first-run code. One JSON line comes out.

A process of its own, so that the supervisor stays small. ``python -m pwserver.prepare [READY.json of the lab]``
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from pwserver import assets, create_app
from pwserver.config import from_environment
from pwserver.core.errors import PwserverError
from pwserver.logging import configure

log = logging.getLogger(__name__)

AWAY = "The database does not answer, or does not let us in. Look at DATABASE_URL and at the server; then start again."


def main(arguments: list[str]) -> int:
    config = from_environment()
    config.instance.mkdir(mode=0o700, parents=True, exist_ok=True)
    configure("prepare", config.instance)
    try:
        assets.build()
        said = prepare(Path(arguments[0]) if arguments else None)
    except OperationalError as error:
        log.error("the database does not answer: %s", type(error.orig).__name__)
        sys.stdout.write(json.dumps({"error": AWAY}) + "\n")
        return 1
    except (PwserverError, assets.AssetError) as error:
        sys.stdout.write(json.dumps({"error": getattr(error, "user_message", str(error))}) + "\n")
        return 1
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


def prepare(lab: Path | None) -> dict[str, Any]:
    """Brings the database up to date; with a lab, makes the demo data once. Returns ``code`` and ``lines`` to print."""
    from flask_migrate import upgrade

    from pwserver.services import firstrun, keys, watch

    app = create_app(pages=False)
    lines: list[str] = []
    with app.app_context():
        upgrade()
        keys.prove()  # before anything is sealed: a database without its canary starts nothing
        watch.begin(everything=True)
        if lab is not None and importlib.util.find_spec("pwserver.services.demo"):
            demo = importlib.import_module("pwserver.services.demo")
            lines = demo.ensure(json.loads(lab.read_text())["addresses"])
        return {"code": firstrun.pending_code(), "lines": lines}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
