"""A new value: change it everywhere, or correct what the vault has."""

from __future__ import annotations

from typing import Any

from flask import flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pwserver.core.errors import Conflict, Invalid
from pwserver.models import Entry
from pwserver.services import sync, values, views
from pwserver.services.sync.requests import UNDER_WAY
from pwserver.web.entries import frame
from pwserver.web.forms import Form, number_of, secret_of
from pwserver.web.forms.generator import Generator, generator_form, wants_value
from pwserver.web.guard import on_entry
from pwserver.web.htmx import go
from pwserver.web.nudge import nudge
from pwserver.web.session import me
from pwserver.web.sync import blueprint


@blueprint.get("/change")
@on_entry("modify")
def change(entry: Entry) -> ResponseReturnValue:
    chain = views.read_chain(entry)
    primary = [link.id for link in chain.links if link.primary] if chain else []
    form = Form.of(how="everywhere", link_ids=primary, row_version=entry.row_version)
    return _page(entry, form, generator_form())


@blueprint.post("/change")
@on_entry("modify")
def save(entry: Entry) -> ResponseReturnValue:
    form = Form.typed("how", lists=("link_ids",))
    form.values["row_version"] = number_of("row_version")
    block = generator_form()
    if wants_value():
        return _page(entry, form, block)
    value, correcting = secret_of("value"), form["how"] == "correct"
    try:
        if form["how"] not in ("", "everywhere", "correct"):
            raise Invalid("Choose how to save it.", field="how")
        if correcting:
            run = sync.correct(me(), entry, value, form["link_ids"], row_version=form["row_version"])
        else:
            run = sync.request_change(me(), entry, value, row_version=form["row_version"])
    except Invalid as error:
        return _refused(entry, form, block, error, 422)
    except Conflict as error:
        if error.user_message == UNDER_WAY:
            # The one moment at which what was typed comes back, in this answer only (rule 5).
            block.value = value.open()
        form.values["row_version"] = entry.row_version
        return _refused(entry, form, block, error, 409)
    nudge(run)
    if run is None:
        flash("Saved. This password is not synchronized, so nothing was written to any machine.")
        return go(url_for("entries.show", entry_id=entry.id))
    if correcting:
        flash("The stored value is corrected. Nothing was written to any machine; the ticked ones are read now.")
    return go(url_for("sync.show", entry_id=entry.id))


def _refused(
    entry: Entry, form: Form, block: Generator, error: Invalid | Conflict, status: int
) -> ResponseReturnValue:
    form.add(error)
    block.error = form.error("value")
    return _page(entry, form, block, status)


def _page(entry: Entry, form: Form, block: Generator, status: int = 200) -> ResponseReturnValue:
    facts: dict[str, Any] = {
        **frame(entry, "sync"),
        "chain": views.read_chain(entry),
        "form": form,
        "generator": block,
        "current": values.find_version(entry, "current"),
        "here": request.path,
    }
    return render_template("sync/change.html", **facts), status
