"""Approve: administrative override, one page per password that is not in sync."""

from __future__ import annotations

from flask import Blueprint, flash, render_template, url_for
from flask.typing import ResponseReturnValue

from pwserver.core.errors import Conflict, Invalid
from pwserver.extensions import db
from pwserver.models import Entry, Incident, SyncChain
from pwserver.services import sync, views
from pwserver.services.sync.preview import retest_plan
from pwserver.services.views.approve import ApproveView, demand_approve
from pwserver.web import load
from pwserver.web.entries import frame
from pwserver.web.forms import Form
from pwserver.web.forms.approve import approval_of, first_form, typed_form
from pwserver.web.forms.generator import Generator, generator_form, wants_value
from pwserver.web.guard import on_entry, on_incident
from pwserver.web.htmx import go
from pwserver.web.nudge import nudge
from pwserver.web.session import me

blueprint = Blueprint("approve", __name__)


@blueprint.get("/issues/<incident_id>")
@on_incident("read")
def issue(incident: Incident) -> ResponseReturnValue:
    """What a mail's link opens: the chain, from which an owner goes on to Approve. It changes nothing."""
    return go(url_for("sync.show", entry_id=_entry_id(incident)))


@blueprint.get("/issues/<incident_id>/retest")
@on_incident("read")
def issue_retest(incident: Incident) -> ResponseReturnValue:
    """The chain, at the panel with its Retest Sync."""
    return go(url_for("sync.show", entry_id=_entry_id(incident), _anchor="issue"))


@blueprint.get("/issues/<incident_id>/approve")
@on_incident("read")
def issue_approve(incident: Incident) -> ResponseReturnValue:
    """Approve, while the incident is open and for an owner; else the chain, which says how it stands now."""
    entry_id = _entry_id(incident)
    vault_id = db.session.get_one(Entry, entry_id).vault_id
    if incident.closed_at is None and load.may(vault_id, "owner"):
        return go(url_for("approve.show", entry_id=entry_id))
    return go(url_for("sync.show", entry_id=entry_id))


def _entry_id(incident: Incident) -> str:
    return db.session.get_one(SyncChain, incident.chain_id).entry_id


@blueprint.get("/passwords/<entry_id>/approve")
@on_entry("owner")
def show(entry: Entry) -> ResponseReturnValue:
    view = demand_approve(entry)
    return _page(view, first_form(view), generator_form())


@blueprint.post("/passwords/<entry_id>/approve")
@on_entry("owner")
def save(entry: Entry) -> ResponseReturnValue:
    view = demand_approve(entry)
    form, block = typed_form(view), generator_form()
    if wants_value():
        form.values["value_choice"] = "new"
        return _page(view, form, block)
    approval = approval_of(view, form)
    if approval is None:
        return _page(view, form, block, 422)
    try:
        run = sync.approve(me(), entry, approval)
    except (Invalid, Conflict) as error:
        form.errors["new" if error.field == "value" else error.field or ""] = error.user_message
        return _page(demand_approve(entry), form, block, 409 if isinstance(error, Conflict) else 422)
    nudge(run)
    flash("Approved. Each credential is proved once before anything is touched; it is gone when the run ends.")
    return go(url_for("sync.show", entry_id=entry.id))


def _page(view: ApproveView, form: Form, block: Generator, status: int = 200) -> ResponseReturnValue:
    block.error = form.error("new") or block.error
    entry = view.entry
    return (
        render_template(
            "approve/show.html",
            **frame(entry, "sync"),
            view=view,
            form=form,
            generator=block,
            retest=retest_plan(entry),
            happened=views.happened(view.chain.id),
        ),
        status,
    )
