"""From a row of the outbox to a letter: one function and one folder of templates per message.

Text and HTML are rendered from the same facts. Templates are plain: one column, no image, no script.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from flask import current_app
from jinja2 import Environment

from pwserver.config import Config
from pwserver.extensions import db
from pwserver.models import AppUser, Outbox
from pwserver.services.mail import about_agents, about_chains, about_server
from pwserver.services.mail.message import Letter, one_line
from pwserver.services.mail.outbox import Moot

Facts = dict[str, Any]
Writer = Callable[[Mapping[str, str], AppUser], tuple[str, Facts]]

WRITERS: Mapping[str, Writer] = {
    "needs_override": about_chains.write_begin,
    "unreachable": about_chains.write_begin,
    "over": about_chains.write_over,
    "agent_disabled": about_agents.write_rest,
    "needs_confirm": about_agents.write_rest,
    "agent_over": about_agents.write_over,
    "agent_changed": about_agents.write_changed,
    "trouble": about_server.write_trouble,
    "trouble_over": about_server.write_trouble_over,
    "summary": about_server.write_summary,
    "test": about_server.write_test,
}
"""Template → what gives its folder and facts. Each raises :class:`Moot` when there is no need for it any more."""


def write_letter(row: Outbox) -> Letter:
    """The mail as it stands now. Reads only. Raises :class:`Moot`."""
    config: Config = current_app.config["PWSERVER"]
    user = db.session.get_one(AppUser, row.to_user_id)
    folder, facts = WRITERS[row.template]({**row.ids, "outbox": row.id, "template": row.template}, user)
    facts |= {"base": config.url, "me": user}
    environment = _environment()

    def render(part: str) -> str:
        return environment.get_template(f"email/{folder}/{part}").render(facts)

    text, html = (render(part).strip() + "\n" for part in ("body.txt", "body.html"))
    subject = one_line(render("subject.txt")).replace("\u2019", "'")  # plain letters need no encoding in a header
    return Letter(subject, re.sub(r"\n{3,}", "\n\n", text), html, folder)


def _environment() -> Environment:
    """The application's templates without what pages add; the same in a worker and on a page."""
    made: Environment | None = current_app.extensions.get("mail_templates")
    if made is None:
        made = current_app.jinja_env.overlay(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
        made.filters["paragraph"] = one_line  # each reader breaks it to its own width, a phone too
        current_app.extensions["mail_templates"] = made
    return made


__all__ = ["WRITERS", "Moot", "write_letter"]
