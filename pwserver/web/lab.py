"""The practice lab: the truth of a simulated network, and faults to inject. It says everywhere that it is one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pwserver.core.errors import Forbidden
from pwserver.services import labclient
from pwserver.web.guard import signed_in
from pwserver.web.htmx import go, wants_fragment
from pwserver.web.session import maybe_me

blueprint = Blueprint("lab", __name__, url_prefix="/lab")


def allowed() -> bool:
    """Organization administrators, and everybody in a demo."""
    user = maybe_me()
    return user is not None and (user.org_admin or current_app.config["PWSERVER"].demo)


@blueprint.before_request
def only_for_those() -> None:
    if maybe_me() is not None and not allowed():
        raise Forbidden("The practice lab is for organization administrators.")


@blueprint.app_context_processor
def in_menu() -> dict[str, Any]:
    return {"lab_in_menu": allowed() and labclient.runs()}


def _facts(words: str = "") -> dict[str, Any]:
    truth = labclient.state()
    machines = [
        *({"kind": "machine", **each} for each in truth["machines"]),
        *({"kind": "device", "tasks": [], "services": [], "role": "device, SSH", **each} for each in truth["devices"]),
    ]
    return {"machines": machines, "faults": labclient.FAULTS, "words": words, "quiet": _quiet(machines)}


def _quiet(machines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Machines at which nothing happened yet: they fold, so that the page is not forty equal tiles."""
    return [each for each in machines if not _speaks(each)]


def _speaks(machine: dict[str, Any]) -> bool:
    accounts = machine["accounts"]
    return bool(
        machine["fault"]
        or machine["role"]
        or machine["tasks"]
        or machine["services"]
        or machine["requests"]
        or any(not each["initial"] or each["wrong_logons"] or each.get("locked") for each in accounts)
    )


@blueprint.get("")
@signed_in
def show() -> ResponseReturnValue:
    return render_template("lab/_lab.html" if wants_fragment() else "lab/show.html", **_facts())


@blueprint.errorhandler(labclient.LabAway)
def away(error: labclient.LabAway) -> ResponseReturnValue:
    if wants_fragment():
        return go(url_for("lab.show"))
    return render_template("lab/away.html", words=error.user_message), 200 if request.method == "GET" else 409


@blueprint.post("/machines/<machine>/fault")
@signed_in
def fault(machine: str) -> ResponseReturnValue:
    now = labclient.fault(machine, request.form.get("fault", ""))
    words = f"{machine.upper()}: {now or 'no fault'}."
    if wants_fragment():
        return render_template("lab/_lab.html", **_facts(words))
    flash(words)
    return go(url_for("lab.show", _anchor=f"m-{machine.lower()}"))


@blueprint.get("/reset")
@signed_in
def confirm_reset() -> ResponseReturnValue:
    return render_template("lab/reset.html")


@blueprint.post("/reset")
@signed_in
def reset() -> ResponseReturnValue:
    labclient.reset()
    flash("The lab is as it was at the beginning: passwords, counts, faults.")
    return go(url_for("lab.show"))
