"""Deny by default: every route says who may call it, and is refused as long as it does not.

The decorators stand directly under ``@blueprint.route``. Those named ``on_...`` also load the thing that the address
names and hand it to the view, so that no view can forget to ask.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, current_app, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from pwserver.core.access import Right
from pwserver.core.errors import Forbidden, NotFound
from pwserver.web import load
from pwserver.web.htmx import go, wants_fragment

log = logging.getLogger(__name__)
View = Callable[..., ResponseReturnValue]

PUBLIC = "public"
SIGNED_IN = "signed in"
ORG_ADMIN = "org admin"
STATIC = frozenset({"static"})
WITH_ONE_TIME = frozenset({"account.password", "auth.sign_out"})
"""All that somebody may do who signed in with a one-time password."""


def public(view: View) -> View:
    """Anybody, without signing in."""
    return _declare(view, PUBLIC)


def signed_in(view: View) -> View:
    return _declare(view, SIGNED_IN)


def org_admin(view: View) -> View:
    return _declare(view, ORG_ADMIN)


def on_vault(right: str) -> Callable[[View], View]:
    return _loads("vault", right, load.load_vault)


def on_entry(right: str) -> Callable[[View], View]:
    return _loads("entry", right, load.load_entry)


def on_trashed(right: str) -> Callable[[View], View]:
    return _loads("entry", right, load.load_trashed)


def on_run(right: str) -> Callable[[View], View]:
    return _loads("run", right, load.load_run)


def on_incident(right: str) -> Callable[[View], View]:
    return _loads("incident", right, load.load_incident)


def on_agent(view: View) -> View:
    """An organization administrator, and the agent that the address names."""

    @wraps(view)
    def wrapper(agent_id: str, **rest: Any) -> ResponseReturnValue:
        return view(load.load_agent(agent_id), **rest)

    return _declare(wrapper, ORG_ADMIN)


def _loads(noun: str, right: str, loader: Callable[[str, Right], Any]) -> Callable[[View], View]:
    wanted = Right(right)

    def decorate(view: View) -> View:
        @wraps(view)
        def wrapper(**named: Any) -> ResponseReturnValue:
            return view(loader(named.pop(f"{noun}_id"), wanted), **named)

        return _declare(wrapper, f"{noun}:{wanted}")

    return decorate


def _declare(view: View, access: str) -> View:
    view.access = access  # type: ignore[attr-defined]
    return view


def access_of(endpoint: str) -> str | None:
    """What a route declared, or None."""
    return getattr(current_app.view_functions[endpoint], "access", None)


def init_app(app: Flask) -> None:
    @app.before_request
    def refuse_by_default() -> ResponseReturnValue | None:
        if request.endpoint is None or request.endpoint in STATIC:
            return None  # an unknown address ends as 404
        access = access_of(request.endpoint)
        if access is None:
            log.error("route %s declares no access and is refused", request.endpoint)
            raise NotFound()
        if access == PUBLIC:
            return None
        if not current_user.is_authenticated:
            return _to_sign_in()
        if session.get("one_time") and request.endpoint not in WITH_ONE_TIME:
            return go(url_for("account.password"))
        if access == ORG_ADMIN and not current_user.row.org_admin:
            raise Forbidden("Only an organization administrator may do this.")
        return None


def _to_sign_in() -> ResponseReturnValue:
    """To the sign-in page; back to this one afterwards when it is a page (an address that only takes POST is not)."""
    back = request.full_path.rstrip("?") if request.method == "GET" and not wants_fragment() else None
    url = url_for("auth.sign_in", next=back if back != "/" else None)
    return go(url) if wants_fragment() else redirect(url)
