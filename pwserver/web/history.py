"""The History tab of a password: versions, runs, events."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from pwserver.models import Entry
from pwserver.services import sync, views
from pwserver.web.entries import frame
from pwserver.web.guard import on_entry

blueprint = Blueprint("history", __name__, url_prefix="/passwords/<entry_id>")


@blueprint.get("/history")
@on_entry("read")
def show(entry: Entry) -> ResponseReturnValue:
    chain = sync.chain_of(entry)
    before = request.args.get("before", "")
    events, older = views.events_of(entry, before=int(before) if before.isdigit() and len(before) < 18 else None)
    return render_template(
        "history/show.html",
        **frame(entry, "history"),
        versions=views.versions_of(entry),
        runs=views.runs_of_chain(chain.id) if chain else [],
        events=events,
        older=older,
        before=before,
    )
