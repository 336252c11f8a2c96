"""Log lines: one JSON object each, to standard error and to a file of the process that rotates. No secret gets here:
a ``Secret`` prints as stars, and nothing logs a request's form or a job's arguments."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from pathlib import Path
from typing import Any

import structlog

MEGABYTE = 1 << 20


def configure(process: str, instance: Path, *, console: bool = False) -> None:
    """Sends this process's log lines to ``instance/logs/PROCESS.log`` (two files of 2 MB), and warnings to standard
    error; ``console``: everything."""
    folder = instance / "logs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    shared: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    file = logging.handlers.RotatingFileHandler(folder / f"{process}.log", maxBytes=2 * MEGABYTE, backupCount=1)
    file.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # No locals in a traceback: they hold what the function was given.
                structlog.processors.ExceptionRenderer(
                    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
                ),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    lines = logging.StreamHandler(sys.stderr)
    lines.setLevel(logging.INFO if console else logging.WARNING)
    lines.setFormatter(logging.Formatter(f"{process}: %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [file, lines]
    root.setLevel(logging.INFO)
    for noisy in ("alembic.runtime.plugins", "asyncssh", "urllib3", "spnego", "rq.worker"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
