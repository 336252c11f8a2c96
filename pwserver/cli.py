"""The command line: the same services as the pages."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Registers the commands."""
