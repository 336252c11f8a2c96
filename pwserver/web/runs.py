"""Runs: the list, and one run with every attempt of it."""

from __future__ import annotations

from flask import Blueprint, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pwserver.models import SyncRun
from pwserver.services import sync, views
from pwserver.web import sync as sync_pages
from pwserver.web.guard import on_run, signed_in
from pwserver.web.htmx import go, wants_fragment
from pwserver.web.nudge import nudge
from pwserver.web.session import me

blueprint = Blueprint("runs", __name__, url_prefix="/runs")


@blueprint.get("")
@signed_in
def index() -> ResponseReturnValue:
    only = request.args.get("only", "")
    rows = views.runs_for(views.visible_vaults(me()), active=only == "active")
    return render_template("runs/index.html", rows=rows, only=only)


@blueprint.get("/<run_id>")
@on_run("read")
def show(run: SyncRun) -> ResponseReturnValue:
    view = views.read_run(run)
    if not wants_fragment():
        return render_template("runs/show.html", run=view)
    if request.args.get("since") == view.mark:
        return "", 204
    return render_template("runs/_run.html", run=view, words=f"Run {view.number}: {view.look.label}.")


@blueprint.post("/<run_id>/cancel")
@on_run("modify")
def cancel(run: SyncRun) -> ResponseReturnValue:
    run_id, entry = run.id, run.chain.entry
    sync.cancel(me(), run)
    nudge(run)
    words = "The run ends before its next link. What is unknown is still read."
    if wants_fragment() and request.headers.get("HX-Target") == "sync":
        return sync_pages.page(entry, words=words)
    flash(words)
    return go(url_for("runs.show", run_id=run_id))
