"""Many Remote Passwords: lines of machine names on one side, what each becomes on the other."""

from __future__ import annotations

from typing import Any

from flask import render_template, request
from flask.typing import ResponseReturnValue

from pwserver.core.errors import Conflict, Invalid
from pwserver.models import Entry
from pwserver.services import sync
from pwserver.services.sync.many import Many
from pwserver.web.forms import Form, number_of
from pwserver.web.forms.sync import revision
from pwserver.web.guard import on_entry
from pwserver.web.htmx import wants_fragment
from pwserver.web.nudge import nudge
from pwserver.web.session import me
from pwserver.web.sync import blueprint, checked_credential, done, lends_for, page, refused


@blueprint.get("/links/many")
@on_entry("owner")
def many(entry: Entry) -> ResponseReturnValue:
    form = Form.of(names="", user_name=entry.user_name, linked_entry_id="")
    return page(entry, **_around(entry, form, Many([])))


@blueprint.post("/links/many/lines")
@on_entry("owner")
def many_lines(entry: Entry) -> ResponseReturnValue:
    """What the lines would become: beside them while one types, or as a page of its own without script."""
    form = _typed()
    plan = _read(entry, form)
    if wants_fragment():
        return render_template("sync/_many_lines.html", entry=entry, form=form, many=plan, fragment=True)
    return page(entry, **_around(entry, form, plan))


@blueprint.post("/links/many")
@on_entry("owner")
def add_many(entry: Entry) -> ResponseReturnValue:
    form, lends = _typed(), lends_for(entry)
    try:
        added = sync.add_many(
            me(),
            entry,
            form["names"],
            form["user_name"],
            revision=revision(),
            promised=number_of("promised"),
            linked_entry_id=checked_credential(lends, form["linked_entry_id"]),
        )
    except (Invalid, Conflict) as error:
        return refused(entry, error, **_around(entry, form, _read(entry, Form(dict(form.values)))))
    nudge(sync.run_of(entry))
    count = len(added.good)
    words = f"{count} link{'s were' if count != 1 else ' was'} added. Each is tested once; nothing is written."
    if not added.wrong:
        return done(entry, words)
    form.values["names"] = added.left
    return page(entry, words=words, **_around(entry, form, _read(entry, form), added=words))


def _typed() -> Form:
    """The lines stay as typed, blank ones too: their numbers are shown."""
    form = Form.typed("user_name", "linked_entry_id")
    form.values["names"] = request.form.get("names", "")
    return form


def _read(entry: Entry, form: Form) -> Many:
    try:
        return sync.read_many(entry, form["names"], form["user_name"])
    except (Invalid, Conflict) as error:
        form.add(error)
        return Many([])


def _around(entry: Entry, form: Form, plan: Many, added: str = "") -> dict[str, Any]:
    return {"form": form, "many": plan, "lends": lends_for(entry), "added": added}
