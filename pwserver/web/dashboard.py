"""The dashboard: what needs me, what is running, how the passwords stand. And the count in the menu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, render_template, request, session
from flask.typing import ResponseReturnValue

from pwserver.core.states import STATUS, Status
from pwserver.services import views
from pwserver.services.sync.preview import retest_plans
from pwserver.web.guard import signed_in
from pwserver.web.session import maybe_me, me

blueprint = Blueprint("dashboard", __name__)

GAP = 6
"""Between two shares of a bar that is 1000 wide."""
LEAST = 10
"""The least that a share of it is wide."""


@blueprint.get("/")
@signed_in
def show() -> ResponseReturnValue:
    return render_template("dashboard/show.html", **_facts(views.read_dashboard(me())))


@blueprint.get("/dashboard/changes")
@signed_in
def counts() -> ResponseReturnValue:
    """What the page asks while something runs: 204 when nothing changed."""
    view = views.read_dashboard(me())
    if request.args.get("since") == view.mark:
        return "", 204
    return render_template("dashboard/_dashboard.html", **_facts(view), swapped=True)


def _facts(view: views.DashboardView) -> dict[str, Any]:
    return {"view": view, "retests": _retests(view), "bars": _bars}


def _retests(view: views.DashboardView) -> dict[str, Any]:
    """What Retest Sync would do, by the passwords that have a button for it."""
    return retest_plans([task.entry for task in view.tasks if task.entry and task.step in ("approve", "retest")])


def _bars(counts: Sequence[tuple[Status, int]]) -> list[tuple[str, float, float, bool]]:
    """Shares of all passwords as (tone, x, width, taller) on a line of 1000; what is out of sync stands taller. Every
    status that is there is seen: it has LEAST at least, taken from the others in their shares."""
    shown = [(status, number) for status, number in counts if number]
    whole = sum(number for _, number in shown)
    free = 1000 - GAP * (len(shown) - 1) - LEAST * len(shown)
    found: list[tuple[str, float, float, bool]] = []
    at = 0.0
    for status, number in shown:
        width = LEAST + free * number / whole
        found.append((STATUS[status].tone, round(at, 1), round(width, 1), status == Status.OUT_OF_SYNC))
        at += width + GAP
    return found


@blueprint.app_context_processor
def menu_counts() -> dict[str, Any]:
    """For the menu of every page: open Sync Issues of vaults I own, runs that I may see, agents that wait for me."""
    user = maybe_me()
    if user is None or session.get("one_time"):
        return {"issues": 0, "issues_loud": 0, "menu_issues": {}, "menu_running": 0, "menu_pending": 0}
    counts = views.count_issues(user)
    return {
        "issues": counts.total,
        "issues_loud": counts.loud,
        "menu_issues": counts.by_vault,
        "menu_running": views.count_running(user),
        "menu_pending": len(views.pending_agents()) if user.org_admin else 0,
    }
