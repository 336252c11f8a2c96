"""Settings, from the environment only. Every knob is named in the README."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pwserver.core.timing import FAST, NORMAL, Timing
from pwserver.mailserver import MailServer, WrongSettings, from_settings

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Config:
    """``instance`` is the data folder. ``database_url`` and ``redis_url`` empty: the embedded ones in it."""

    instance: Path = PROJECT / "instance"
    host: str = "127.0.0.1"
    port: int = 8080
    database_url: str = field(default="", repr=False)
    redis_url: str = field(default="", repr=False)
    base_url: str = ""
    master_key: str = field(default="", repr=False)
    timing: Timing = NORMAL
    testing: bool = False
    demo: bool = False
    proxies: int = 0
    """Reverse proxies in front whose ``X-Forwarded-For`` and ``-Proto`` are believed. More than there are would let
    anybody choose the address under which guesses are counted."""
    mail: MailServer | None = None
    mail_error: str = ""
    """Why the settings of the mail server cannot be used; "" when they can, or when there are none."""

    @property
    def database(self) -> str:
        """As SQLAlchemy wants it; PostgreSQL is spoken to by psycopg, whichever way its address is written."""
        given = self.database_url
        for scheme in ("postgres://", "postgresql://"):
            if given.startswith(scheme):
                return "postgresql+psycopg://" + given.removeprefix(scheme)
        return given or f"sqlite:///{self.instance / 'pwserver.db'}"

    @property
    def key_file(self) -> Path:
        return self.instance / "master.key"

    @property
    def url(self) -> str:
        return self.base_url or f"http://{self.host}:{self.port}"


def from_environment(environ: dict[str, str] | None = None) -> Config:
    """The configuration that ``PWSERVER_*``, ``DATABASE_URL`` and ``REDIS_URL`` describe."""
    env = os.environ if environ is None else environ
    mail, mail_error = _mail(env)
    return Config(
        instance=Path(env.get("PWSERVER_INSTANCE") or PROJECT / "instance").resolve(),
        host=env.get("PWSERVER_HOST") or "127.0.0.1",
        port=int(env.get("PWSERVER_PORT") or 8080),
        database_url=env.get("DATABASE_URL", ""),
        redis_url=env.get("REDIS_URL", ""),
        base_url=env.get("PWSERVER_BASE_URL", "").rstrip("/"),
        master_key=env.get("PWSERVER_MASTER_KEY", ""),
        timing=FAST if env.get("PWSERVER_TIMING") == "fast" else NORMAL,
        demo=env.get("PWSERVER_DEMO", "") == "1",
        proxies=int(env.get("PWSERVER_PROXIES") or 0),
        mail=mail,
        mail_error=mail_error,
    )


def _mail(env: Mapping[str, str]) -> tuple[MailServer | None, str]:
    try:
        return from_settings(env), ""
    except WrongSettings as error:
        return None, str(error)
