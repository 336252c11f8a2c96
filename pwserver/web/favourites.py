"""The star of a password."""

from __future__ import annotations

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pwserver.models import Entry
from pwserver.services import favourites
from pwserver.web.guard import on_entry
from pwserver.web.htmx import go, wants_fragment
from pwserver.web.session import me

blueprint = Blueprint("favourites", __name__)


@blueprint.post("/passwords/<entry_id>/favourite")
@on_entry("read")
def star(entry: Entry) -> ResponseReturnValue:
    on = request.form.get("on") == "1"
    favourites.set_favourite(me(), entry, on)
    if wants_fragment():
        return render_template("favourites/_star.html", entry=entry, is_favourite=on, swapped=True)
    return go(url_for("entries.show", entry_id=entry.id))
