"""The few words spoken with htmx."""

from __future__ import annotations

from flask import Response, make_response, redirect
from flask.typing import ResponseReturnValue

from pwserver.extensions import htmx


def wants_fragment() -> bool:
    """Whether htmx asked and will swap a part of the page."""
    return bool(htmx) and not htmx.boosted


def go(url: str) -> ResponseReturnValue:
    """After something was done: to ``url``, as a new page, with htmx or without."""
    if not wants_fragment():
        return redirect(url, 303)
    response: Response = make_response("", 200)
    response.headers["HX-Redirect"] = url
    return response
