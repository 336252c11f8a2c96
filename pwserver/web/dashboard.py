"""The dashboard: what needs me, what is running, how the passwords stand. And the count in the menu."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request, session
from flask.typing import ResponseReturnValue

from pwserver.core.states import STATUS, Status
from pwserver.services import views
from pwserver.services.sync.preview import retest_plan
from pwserver.web.guard import signed_in
from pwserver.web.session import maybe_me, me

blueprint = Blueprint("dashboard", __name__)


@blueprint.get("/")
@signed_in
def show() -> ResponseReturnValue:
    view = views.read_dashboard(me())
    return render_template("dashboard/show.html", view=view, retests=_retests(view), bars=_bars(view))


@blueprint.get("/dashboard/changes")
@signed_in
def counts() -> ResponseReturnValue:
    """What the page asks while something runs: 204 when nothing changed."""
    view = views.read_dashboard(me())
    if request.args.get("since") == view.mark:
        return "", 204
    facts: dict[str, Any] = {"view": view, "retests": _retests(view), "bars": _bars(view)}
    return render_template("dashboard/_dashboard.html", **facts)


def _retests(view: views.DashboardView) -> dict[str, Any]:
    """What Retest Sync would do, per password with an open issue."""
    return {task.entry.id: retest_plan(task.entry) for task in view.tasks if task.entry is not None and task.chain}


def _bars(view: views.DashboardView) -> list[tuple[str, float, float, bool]]:
    """Shares of all passwords as (tone, x, width, taller) on a line of 1000; what is out of sync stands taller."""
    found: list[tuple[str, float, float, bool]] = []
    at = 0.0
    for status, number in view.health:
        if number and view.total:
            width = 1000 * number / view.total
            tall = status == Status.OUT_OF_SYNC
            found.append((STATUS[status].tone, round(at, 1), round(max(4.0, width - 4), 1), tall))
            at += width
    return found


@blueprint.app_context_processor
def issue_count() -> dict[str, Any]:
    """Open Sync Issues of vaults I own, for the menu of every page."""
    user = maybe_me()
    if user is None or session.get("one_time"):
        return {"issues": 0, "issues_loud": 0}
    total, loud = views.count_issues(user)
    return {"issues": total, "issues_loud": loud}
