"""Links of a chain: add, edit, move, remove. Every form carries the revision of the chain it was made from."""

from __future__ import annotations

from typing import Any

from flask import request, url_for
from flask.typing import ResponseReturnValue

from pwserver.connectors.base import Kind
from pwserver.core.errors import Conflict, Invalid
from pwserver.models import Entry, SyncLink
from pwserver.services import sync
from pwserver.web.forms import Form
from pwserver.web.forms.sync import fields_of, kind_of, link_form, revision, settings_of, typed_link
from pwserver.web.guard import on_entry
from pwserver.web.htmx import go, wants_fragment
from pwserver.web.load import load_link
from pwserver.web.nudge import nudge
from pwserver.web.session import me
from pwserver.web.sync import blueprint, checked_credential, done, lends_for, page, refused


def _around(entry: Entry, kind: Kind, form: Form, link: SyncLink | None = None) -> dict[str, Any]:
    """What the form of a link needs besides its values: its fields, whose password, which credentials."""
    chain = sync.chain_of(entry)
    links = sync.active_links(chain) if chain else []
    whose = [("", f"Default Sync ({links[0].machine})")] if links else []
    whose += [
        (each.id, f"link {number}: {each.machine}\\{each.settings.get('user_name', '')}")
        for number, each in enumerate(links, 1)
        if each.is_account and each.position > 0 and (link is None or each.position < link.position)
    ]
    fields, lends = fields_of(kind), lends_for(entry, link)
    return {"kind": kind, "fields": fields, "form": form, "whose": whose, "lends": lends}


@blueprint.get("/links/new")
@on_entry("owner")
def new_link(entry: Entry) -> ResponseReturnValue:
    if not request.args.get("kind"):
        return page(entry, choosing=True)
    kind = kind_of(request.args["kind"])
    form = link_form(kind, {"user_name": entry.user_name} if kind.is_account else None)
    return page(entry, adding=kind, **_around(entry, kind, form))


@blueprint.post("/links")
@on_entry("owner")
def add_link(entry: Entry) -> ResponseReturnValue:
    kind = kind_of(request.form.get("kind", ""))
    form = typed_link(kind)
    around = _around(entry, kind, form)
    try:
        link = sync.add_link(
            me(),
            entry,
            kind.kind,
            settings_of(kind, form),
            revision=revision(),
            account_link_id=form["account_link_id"] or None,
            linked_entry_id=checked_credential(around["lends"], form["linked_entry_id"]),
            reset_allowed=form["reset_allowed"],
        )
    except (Invalid, Conflict) as error:
        return refused(entry, error, adding=kind, **around)
    return _done(entry, f"{link.machine} was added. It is tested once; nothing is written.")


@blueprint.get("/links/<link_id>")
@on_entry("owner")
def link(entry: Entry, link_id: str) -> ResponseReturnValue:
    row = _editable(entry, link_id)
    kind = kind_of(row.kind)
    form = link_form(
        kind,
        row.settings,
        account_link_id=_whose(row),
        linked_entry_id=row.linked_entry_id or "",
        reset_allowed=row.reset_allowed,
    )
    return page(entry, editing=row.id, **_around(entry, kind, form, row))


def _whose(row: SyncLink) -> str:
    """The account whose password a place stores; "" for Default Sync, as in the list."""
    account = row.account_link
    return account.id if account is not None and account.position > 0 else ""


def _editable(entry: Entry, link_id: str) -> SyncLink:
    row = load_link(entry, link_id)
    if not row.active:
        raise Conflict("This link was removed meanwhile. The chain shows what it has now.")
    if row.position == 0:
        raise Conflict("Default Sync is what General Settings says; change it there.")
    return row


@blueprint.post("/links/<link_id>")
@on_entry("owner")
def save_link(entry: Entry, link_id: str) -> ResponseReturnValue:
    row = _editable(entry, link_id)
    kind = kind_of(row.kind)
    form = typed_link(kind)
    around = _around(entry, kind, form, row)
    account = form["account_link_id"] or _default_account(row)
    try:
        saved = sync.edit_link(
            me(),
            row,
            settings_of(kind, form),
            revision=revision(),
            account_link_id=account,
            linked_entry_id=checked_credential(around["lends"], form["linked_entry_id"]),
            reset_allowed=form["reset_allowed"],
        )
    except (Invalid, Conflict) as error:
        return refused(entry, error, editing=link_id, **around)
    words = "saved" if saved.id == link_id else "saved. It points elsewhere now, so it starts unproved"
    return _done(entry, f"Link to {saved.machine} {words}. It is tested once; nothing is written.")


def _default_account(row: SyncLink) -> str | None:
    if row.is_account:
        return None
    return next((each.id for each in sync.active_links(row.chain) if each.position == 0), None)


@blueprint.post("/links/<link_id>/up")
@on_entry("owner")
def move_up(entry: Entry, link_id: str) -> ResponseReturnValue:
    return _move(entry, link_id, -1)


@blueprint.post("/links/<link_id>/down")
@on_entry("owner")
def move_down(entry: Entry, link_id: str) -> ResponseReturnValue:
    return _move(entry, link_id, 1)


def _move(entry: Entry, link_id: str, direction: int) -> ResponseReturnValue:
    row = load_link(entry, link_id)
    machine = row.machine
    try:
        sync.move_link(me(), row, direction, revision=revision())
    except (Invalid, Conflict) as error:
        return refused(entry, error)
    return _done(entry, f"{machine} moved {'up' if direction < 0 else 'down'}.")


@blueprint.post("/links/order")
@on_entry("owner")
def order(entry: Entry) -> ResponseReturnValue:
    """The whole order at once, as after a drag."""
    wanted = request.form.getlist("link_ids")
    try:
        moved = sync.order_links(me(), entry, wanted, revision=revision())
    except (Invalid, Conflict) as error:
        return refused(entry, error)
    if moved is None:
        return _done(entry, "The links are in this order now.")
    return _done(entry, f"{moved.machine} is link {wanted.index(moved.id) + 1} now.")


@blueprint.post("/links/<link_id>/remove")
@on_entry("owner")
def remove(entry: Entry, link_id: str) -> ResponseReturnValue:
    row = load_link(entry, link_id)
    try:
        sync.remove_link(me(), row, revision=revision())
    except (Invalid, Conflict) as error:
        return refused(entry, error)
    if wants_fragment():
        return page(entry, words=f"{row.machine} was removed from the chain.", removed=row)
    return go(url_for("sync.show", entry_id=entry.id, removed=link_id))


@blueprint.post("/links/<link_id>/restore")
@on_entry("owner")
def restore(entry: Entry, link_id: str) -> ResponseReturnValue:
    row = load_link(entry, link_id)
    try:
        sync.restore_link(me(), row, revision=revision())
    except (Invalid, Conflict) as error:
        return refused(entry, error)
    return _done(entry, f"{row.machine} is back in the chain. It is tested once.", restored=True)


def _done(entry: Entry, words: str, **more: Any) -> ResponseReturnValue:
    nudge(sync.run_of(entry))
    return done(entry, words, **more)
