"""HTTP only: one blueprint per noun. ``init_app`` wires them."""

from __future__ import annotations

from importlib import import_module

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from pwserver import extensions

NOUNS = (
    "setup",
    "auth",
    "account",
    "dashboard",
    "vaults",
    "entries",
    "favourites",
    "search",
    "sync",
    "approve",
    "history",
    "runs",
    "agents",
    "users",
    "outbox",
    "health",
    "lab",
)


def _counters(redis_url: str) -> str:
    """Where tries per address are counted: in the Redis that all machines share, else in this process."""
    return redis_url.replace("unix://", "redis+unix://", 1) if redis_url else "memory://"


def init_app(app: Flask) -> None:
    """Registers blueprints, sign-in, CSRF, security headers and error pages."""
    from pwserver.web import context, errors, guard, headers, session

    config = app.config["PWSERVER"]
    app.config.update(
        WTF_CSRF_TIME_LIMIT=None,  # a form lives as long as its session: one that was open over lunch still works
        RATELIMIT_STORAGE_URI=_counters(config.redis_url),
        RATELIMIT_STORAGE_OPTIONS={"socket_connect_timeout": 1, "socket_timeout": 1} if config.redis_url else {},
        RATELIMIT_SWALLOW_ERRORS=True,  # the database counts too; a dead queue server must not close the door
        RATELIMIT_HEADERS_ENABLED=False,
    )
    if config.proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]  # as Flask documents it
            app.wsgi_app, x_for=config.proxies, x_proto=config.proxies, x_host=0
        )
    headers.init_app(app)
    session.init_app(app)
    extensions.csrf.init_app(app)
    extensions.htmx.init_app(app)
    extensions.limiter.init_app(app)
    guard.init_app(app)
    errors.init_app(app)
    context.init_app(app)
    for noun in NOUNS:
        app.register_blueprint(import_module(f"pwserver.web.{noun}").blueprint)
