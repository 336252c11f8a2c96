"""HTTP only: one blueprint per noun. ``init_app`` wires them."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Registers blueprints, sign-in, CSRF, security headers and error pages."""
