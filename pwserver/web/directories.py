"""Directories among the sync agents: registering one, its address and certificate, which accounts may be touched.

Two steps as for a Windows machine: first the fingerprint is shown, and only the second POST, with it, saves anything.
"""

from __future__ import annotations

from flask import flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pwserver.core.errors import Conflict, Invalid
from pwserver.models import SyncAgent
from pwserver.services import directories
from pwserver.services.agents import demand_transport
from pwserver.web.agents import blueprint, do_on, port_of, require_same
from pwserver.web.forms import Form, number_of
from pwserver.web.guard import on_agent, org_admin
from pwserver.web.htmx import go
from pwserver.web.session import me

FIELDS = ("name", "domain", "short_name", "controllers", "port", "ca_pem", "pin")


@blueprint.route("/directory/new", methods=["GET", "POST"])
@org_admin
def register_directory() -> ResponseReturnValue:
    if request.method == "GET":
        return render_template("agents/directory.html", form=Form.of(port=636), agent=None)
    form = Form.typed(*FIELDS, ticks=("same",))
    try:
        if not form["pin"]:
            form.values["pin"] = directories.look_up(_typed(form))
            return render_template("agents/confirm_directory.html", form=form, agent=None)
        require_same(form)
        agent = directories.register(me(), form["name"], _typed(form), form["pin"])
    except Invalid as error:
        return _again(form, error, None, 422)
    return go(url_for("agents.show", agent_id=agent.id))


@blueprint.route("/<agent_id>/directory", methods=["GET", "POST"])
@on_agent
def directory(agent: SyncAgent) -> ResponseReturnValue:
    """Other controllers or a renewed certificate."""
    demand_transport(agent, "ldaps")
    if request.method == "GET":
        form = Form.of(
            domain=agent.domain, short_name=agent.machine, controllers="\n".join(agent.controllers), port=agent.port,
            ca_pem=agent.ca_pem,
        )  # fmt: skip
        return render_template("agents/directory.html", form=form, agent=agent)
    form = Form.typed(*FIELDS, ticks=("same",))
    try:
        if not form["pin"]:
            form.values["pin"] = directories.look_up(_typed(form))
            return render_template("agents/confirm_directory.html", form=form, agent=agent)
        require_same(form)
        directories.change_address(me(), agent, _typed(form), form["pin"], row_version=number_of("row_version"))
    except (Invalid, Conflict) as error:
        return _again(form, error, agent, 409 if isinstance(error, Conflict) else 422)
    flash("The directory is saved. Test it before it is used again.", "warn")
    return go(url_for("agents.show", agent_id=agent.id))


@blueprint.post("/<agent_id>/accounts")
@on_agent
def accounts(agent: SyncAgent) -> ResponseReturnValue:
    form = Form.typed("name", "accounts", lists=("vaults",))
    return do_on(
        agent,
        form,
        lambda version: directories.set_accounts(
            me(), agent, form["name"], form["accounts"].splitlines(), form["vaults"], row_version=version
        ),
    )


def _typed(form: Form) -> directories.Typed:
    return directories.Typed(
        form["domain"], form["short_name"], tuple(form["controllers"].splitlines()), port_of(form), form["ca_pem"]
    )


def _again(form: Form, error: Invalid | Conflict, agent: SyncAgent | None, status: int) -> ResponseReturnValue:
    """The page whose field is wrong, as it was sent."""
    form.add(error)
    page = "confirm_directory" if form["pin"] and error.field == "same" else "directory"
    if page == "directory":
        form.values["pin"] = ""
    return render_template(f"agents/{page}.html", form=form, agent=agent), status
