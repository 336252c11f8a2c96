"""Password Server: ``create_app`` builds the application, wires it, and returns it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pwserver import foundation
from pwserver.config import Config, from_environment

if TYPE_CHECKING:
    from flask import Flask


def create_app(config: Config | None = None, *, pages: bool = True) -> Flask:
    """Builds the application. Nothing starts with a wrong master key. ``pages`` False: workers and tests of the rules
    need no web."""
    app = foundation.lay(config or from_environment())
    if pages:
        _wire_web(app)
    _wire_cli(app)
    return app


def _wire_web(app: Flask) -> None:
    from pwserver import web

    web.init_app(app)


def _wire_cli(app: Flask) -> None:
    from pwserver import cli

    cli.init_app(app)
