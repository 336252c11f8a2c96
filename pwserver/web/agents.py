"""Sync agents, for organization administrators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pwserver.core.errors import Conflict, Invalid, Throttled
from pwserver.core.states import HEALTH, Health
from pwserver.models import SyncAgent
from pwserver.services import agent_test, agents
from pwserver.web.forms import Form, number_of, secret_of
from pwserver.web.guard import on_agent, org_admin
from pwserver.web.htmx import go
from pwserver.web.session import me

blueprint = Blueprint("agents", __name__, url_prefix="/agents")

ADDRESS = ("name", "host", "port", "machine")


@blueprint.get("")
@org_admin
def index() -> ResponseReturnValue:
    return render_template(
        "agents/index.html", agents=agents.everyone(), chains=agents.chain_counts(), health=_health, Health=Health
    )


def _health(agent: SyncAgent) -> Any:
    return HEALTH[Health(agent.health)]


@blueprint.route("/new", methods=["GET", "POST"])
@org_admin
def register() -> ResponseReturnValue:
    """First the certificate's fingerprint is fetched and shown; only the second POST, with it, makes the agent."""
    if request.method != "POST":
        return render_template("agents/address.html", form=Form.of(port=5986), agent=None)
    form = Form.typed(*ADDRESS, "pin", ticks=("same",))
    try:
        if not form["pin"]:
            form.values["pin"] = _fetch(form)
            return render_template("agents/confirm.html", form=form, agent=None)
        require_same(form)
        agent = agents.register_agent(me(), form["name"], form["host"], port_of(form), form["machine"], form["pin"])
    except Invalid as error:
        form.add(error)
        page = "confirm" if form["pin"] and error.field == "same" else "address"
        return render_template(f"agents/{page}.html", form=form, agent=None), 422
    return go(url_for("agents.show", agent_id=agent.id))


@blueprint.route("/<agent_id>/address", methods=["GET", "POST"])
@on_agent
def address(agent: SyncAgent) -> ResponseReturnValue:
    """Another address or a renewed certificate: the same two steps."""
    agents.demand_transport(agent, "winrm")
    if request.method != "POST":
        form = Form.of(host=agent.host, port=agent.port, machine=agent.machine)
        return render_template("agents/address.html", form=form, agent=agent)
    form = Form.typed(*ADDRESS, "pin", ticks=("same",))
    try:
        if not form["pin"]:
            form.values["pin"] = _fetch(form)
            return render_template("agents/confirm.html", form=form, agent=agent)
        require_same(form)
        port, version = port_of(form), number_of("row_version")
        agents.change_address(me(), agent, form["host"], port, form["machine"], form["pin"], row_version=version)
    except (Invalid, Conflict) as error:
        form.add(error)
        page = "confirm" if form["pin"] and error.field == "same" else "address"
        status = 409 if isinstance(error, Conflict) else 422
        return render_template(f"agents/{page}.html", form=form, agent=agent), status
    flash("The address is saved. Test the agent before it is used again.", "warn")
    return go(url_for("agents.show", agent_id=agent.id))


def _fetch(form: Form) -> str:
    host = agents.check_address(form["host"], port_of(form), form["machine"])
    return agent_test.fetch_fingerprint(host, port_of(form))


def port_of(form: Form) -> int:
    text = str(form["port"])
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def require_same(form: Form) -> None:
    if not form["same"]:
        raise Invalid("Compare all of it, then tick that they are the same. Nothing was saved.", field="same")


@blueprint.get("/<agent_id>")
@on_agent
def show(agent: SyncAgent) -> ResponseReturnValue:
    return _page(agent, Form.of())


def _page(agent: SyncAgent, form: Form, status: int = 200) -> ResponseReturnValue:
    start = Form.of(
        name=agent.name,
        machines="\n".join(agent.allowed_machines),
        accounts="\n".join(agent.allowed_accounts),
        vaults=[scope.vault_id for scope in agent.scopes],
        login_entry_id=agent.login_entry_id or "",
        linked_entry_id=agent.linked_entry_id or "",
    )
    start.values |= form.values
    start.errors = form.errors
    credentials = agents.choosable(me())
    return (
        render_template(
            "agents/show.html",
            agent=agent,
            form=start,
            health=HEALTH[Health(agent.health)],
            can_be_tested=agent_test.can_be_tested(agent),
            credentials=credentials,
            known={entry.id for entry in credentials},
            vaults=agents.all_vaults(),
            chains=agents.chain_counts().get(agent.id, 0),
        ),
        status,
    )


def do_on(agent: SyncAgent, form: Form, act: Callable[[int], Any], *, then_test: bool = False) -> ResponseReturnValue:
    """One step on an agent: the service, then its page again; a refusal stands beside its field."""
    agent_id = agent.id
    try:
        act(number_of("row_version"))
    except (Invalid, Conflict) as error:
        form.add(error)
        return _page(agent, form, 409 if isinstance(error, Conflict) else 422)
    if then_test and agent_test.can_be_tested(agent):
        _test(agent)
    return go(url_for("agents.show", agent_id=agent_id))


def _test(agent: SyncAgent) -> None:
    """Tests and says how it went; a refusal is a result, not an error of the page."""
    try:
        agent_test.test_agent(me(), agent)
    except (Invalid, Throttled) as error:
        flash(error.user_message, "warn")
        return
    if agent.health == Health.HEALTHY:
        what = "linked credential" if agent.transport == "ldaps" else "login"
        flash(f"{agent.machine} answered and took our {what}.")
    else:
        flash(agent.health_text, "warn")


@blueprint.post("/<agent_id>/reach")
@on_agent
def reach(agent: SyncAgent) -> ResponseReturnValue:
    form = Form.typed("name", "machines", lists=("vaults",))
    return do_on(
        agent,
        form,
        lambda version: agents.set_reach(
            me(), agent, form["name"], form["machines"].splitlines(), form["vaults"], row_version=version
        ),
    )


@blueprint.post("/<agent_id>/login")
@on_agent
def login(agent: SyncAgent) -> ResponseReturnValue:
    form = Form.typed("login_entry_id")
    return do_on(
        agent,
        form,
        lambda version: agents.set_login(me(), agent, form["login_entry_id"], row_version=version),
        then_test=True,
    )


@blueprint.post("/<agent_id>/login/new")
@on_agent
def new_login(agent: SyncAgent) -> ResponseReturnValue:
    form = Form.typed("user_name")
    return do_on(
        agent,
        form,
        lambda version: agents.create_login(me(), agent, form["user_name"], secret_of("value"), row_version=version),
        then_test=True,
    )


@blueprint.post("/<agent_id>/linked")
@on_agent
def linked(agent: SyncAgent) -> ResponseReturnValue:
    form = Form.typed("linked_entry_id")
    return do_on(
        agent,
        form,
        lambda version: agents.set_linked(me(), agent, form["linked_entry_id"], row_version=version),
        then_test=True,
    )


@blueprint.post("/<agent_id>/test")
@on_agent
def test(agent: SyncAgent) -> ResponseReturnValue:
    _test(agent)
    return go(url_for("agents.show", agent_id=agent.id))


@blueprint.post("/<agent_id>/approve")
@on_agent
def approve(agent: SyncAgent) -> ResponseReturnValue:
    return do_on(agent, Form.of(), lambda version: agents.approve(me(), agent, row_version=version))


@blueprint.post("/<agent_id>/disable")
@on_agent
def disable(agent: SyncAgent) -> ResponseReturnValue:
    return do_on(agent, Form.of(), lambda version: agents.disable(me(), agent, row_version=version))


@blueprint.post("/<agent_id>/enable")
@on_agent
def enable(agent: SyncAgent) -> ResponseReturnValue:
    return do_on(agent, Form.of(), lambda version: agents.enable(me(), agent, row_version=version))


@blueprint.post("/<agent_id>/deny")
@on_agent
def deny(agent: SyncAgent) -> ResponseReturnValue:
    try:
        agents.deny(me(), agent, row_version=number_of("row_version"))
    except Conflict as error:
        form = Form.of()
        form.add(error)
        return _page(agent, form, 409)
    return go(url_for("agents.index"))


@blueprint.post("/<agent_id>/remove")
@on_agent
def remove(agent: SyncAgent) -> ResponseReturnValue:
    name = agent.name
    try:
        agents.remove(me(), agent, row_version=number_of("row_version"))
    except (Invalid, Conflict) as error:
        form = Form.of()
        form.errors[""] = error.user_message
        return _page(agent, form, 409 if isinstance(error, Conflict) else 422)
    flash(f"{name} is removed.")
    return go(url_for("agents.index"))


from pwserver.web import directories  # noqa: E402, F401  # their routes belong to this blueprint
