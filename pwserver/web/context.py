"""What every template may use: who is asking, what they may do, the tables of states, times."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Flask, current_app, request, session
from markupsafe import Markup, escape

from pwserver.core.passwords import type_of
from pwserver.core.states import LINK, STATUS, LinkState, Row, Status
from pwserver.services import vaults
from pwserver.web import load
from pwserver.web.session import maybe_me
from pwserver.web.undo import take_undos


def url_exists(endpoint: str) -> bool:
    return endpoint in current_app.view_functions


def status_row(status: Status | str) -> Row:
    return STATUS[Status(status)]


def link_row(state: LinkState | str) -> Row:
    return LINK[LinkState(state)]


def when(moment: datetime | None, never: str = "never") -> str | Markup:
    """A time in UTC that says so; our script turns it into the viewer's own zone."""
    if moment is None:
        return never
    text = f"{moment.day} {moment:%b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), text)


def initials(name: str) -> str:
    words = name.split()
    return "".join(word[0] for word in (words[0], words[-1]) if word).upper() if words else "?"


KEPT_WHOLE = 20
"""Characters of a machine's name that are not broken at its hyphens; a longer one breaks where it must."""


def account(user_name: str, machine: str) -> Markup:
    """An account in its parts, so that a narrow column breaks it after the backslash."""
    if not machine or "\\" in user_name:
        machine, _, user_name = user_name.rpartition("\\")
    if not machine:
        return Markup("<code>{}</code>").format(user_name)
    if len(machine) > KEPT_WHOLE:
        return Markup("<code>{}\\<wbr>{}</code>").format(machine, user_name)
    return Markup('<code><span class="text-nowrap">{}\\</span><wbr>{}</code>').format(machine, user_name)


def coloured(text: str) -> Markup:
    """A secret for reading: digits and symbols in their own colour, runs of one kind in one span."""
    parts: list[tuple[str, str]] = []
    for character in text:
        kind = "d" if character.isdigit() else "l" if character.isalpha() else "s"
        if parts and parts[-1][0] == kind:
            parts[-1] = (kind, parts[-1][1] + character)
        else:
            parts.append((kind, character))
    return Markup("").join(Markup('<span class="{}">{}</span>').format(kind, escape(run)) for kind, run in parts)


def init_app(app: Flask) -> None:
    app.jinja_env.globals.update(
        url_exists=url_exists, may=load.may, status_row=status_row, link_row=link_row, STATUS=STATUS, LINK=LINK
    )
    app.jinja_env.filters.update(when=when, initials=initials, coloured=coloured)
    app.jinja_env.globals.update(account=account, type_of=type_of, take_undos=take_undos)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True

    @app.context_processor
    def frame() -> dict[str, Any]:
        """The menu. A page of an error may be shown before anybody is known."""
        me = maybe_me()
        if me is None or session.get("one_time"):
            return {"me": me, "menu_vaults": [], "here": request.path}
        return {"me": me, "menu_vaults": vaults.visible(me), "here": request.path}
