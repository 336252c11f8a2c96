"""The search of the frame: passwords by name, user name and machine, of everything one may see."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from markupsafe import Markup, escape

from pwserver.services import search as service
from pwserver.web.asked import asked, here_with, words
from pwserver.web.guard import signed_in
from pwserver.web.htmx import wants_fragment
from pwserver.web.session import me

blueprint = Blueprint("search", __name__)


@blueprint.get("/search")
@signed_in
def show() -> ResponseReturnValue:
    found = service.search(me(), asked("q"))
    template = "search/_found.html" if wants_fragment() else "search/show.html"
    return render_template(template, found=found, swapped=wants_fragment())


@blueprint.app_template_filter("marked")
def marked(text: str, looked_for: list[str]) -> Markup:
    """A name with the words that were looked for marked in it."""
    pieces = service.marked(text, looked_for) if looked_for else [(text, False)]
    return Markup("").join(Markup("<mark>{}</mark>").format(piece) if hit else escape(piece) for piece, hit in pieces)


@blueprint.app_context_processor
def lists() -> dict[str, object]:
    return {"here_with": here_with, "words_in": words}
