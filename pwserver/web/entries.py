"""A password: create, General Settings, show and copy, generator, trash."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, flash, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pwserver.core.errors import Conflict, Invalid
from pwserver.core.passwords import DEFAULT_TYPE, TYPES
from pwserver.models import Entry, EntryVersion, Vault
from pwserver.services import entries, favourites, sync, values
from pwserver.services.entries import Settings
from pwserver.services.transaction import now
from pwserver.web import load
from pwserver.web.forms import Form, number_of, secret_of
from pwserver.web.forms.generator import generator_form, wants_value
from pwserver.web.forms.host_key import fetch_host_key, wants_host_key
from pwserver.web.guard import on_entry, on_trashed, on_vault, signed_in
from pwserver.web.htmx import go, wants_fragment
from pwserver.web.session import me
from pwserver.web.undo import offer_undo

blueprint = Blueprint("entries", __name__)

SHOWN_SECONDS = 30
FIELDS = ("name", "type", "user_name", "machine", "address", "host_key", "port", "notes")


def frame(entry: Entry, tab: str) -> dict[str, Any]:
    """What the head and tabs of every page of a password need."""
    starred = favourites.is_favourite(me(), entry)
    return {"entry": entry, "standing": entries.standing(entry), "tab": tab, "is_favourite": starred}


@blueprint.route("/vaults/<vault_id>/passwords/new", methods=["GET", "POST"])
@on_vault("modify")
def create(vault: Vault) -> ResponseReturnValue:
    if request.method != "POST":
        return _new(vault, Form.of(type=DEFAULT_TYPE, port=22))
    form = Form.typed(*FIELDS)
    if wants_host_key():
        fetch_host_key(form)
        return _new(vault, form)
    if wants_value():
        return _new(vault, form)
    try:
        entry = entries.create_entry(me(), vault, _settings(form), secret_of("value"))
    except Invalid as error:
        form.add(error)
        return _new(vault, form, 422)
    return go(url_for("entries.show", entry_id=entry.id))


def _new(vault: Vault, form: Form, status: int = 200) -> ResponseReturnValue:
    block = generator_form()
    block.error = block.error or form.error("value")
    return render_template("entries/new.html", vault=vault, form=form, generator=block, types=TYPES), status


def _settings(form: Form) -> Settings:
    """General Settings as sent. Raises :class:`Invalid` for a port that is no number."""
    values_by_name = {name: form[name] for name in FIELDS if name != "port"}
    port = form["port"] or "22"
    if not (port.isascii() and port.isdigit() and len(port) < 6):
        raise Invalid("A port is a number from 1 to 65535; SSH is usually 22.", field="port")
    return Settings(**values_by_name, port=int(port))


@blueprint.get("/passwords/<entry_id>")
@on_entry("read")
def show(entry: Entry) -> ResponseReturnValue:
    return _general(entry, Form.of(**asdict(entries.settings_of(entry))))


@blueprint.post("/passwords/<entry_id>")
@on_entry("modify")
def edit(entry: Entry) -> ResponseReturnValue:
    form = Form.typed(*FIELDS)
    form.values["type"] = form["type"] or entry.type
    if wants_host_key():
        fetch_host_key(form)
        return _general(entry, form)
    try:
        owner = load.may(entry.vault_id, "owner")
        entries.edit_entry(me(), entry, _settings(form), row_version=number_of("row_version"), owner=owner)
    except Invalid as error:
        form.add(error)
        return _general(entry, form, 422)
    except Conflict as error:
        form.add(error)
        return _general(entry, form, 409, conflict=True)
    flash("Settings saved.")
    return go(url_for("entries.show", entry_id=entry.id))


def _general(
    entry: Entry, form: Form, status: int = 200, *, conflict: bool = False, shown: dict[str, Any] | None = None
) -> ResponseReturnValue:
    """The tab General Settings. After a conflict: how it stands, and what was typed beside it, so nothing is lost."""
    stored = entries.settings_of(entry)
    differs = [name for name in FIELDS if conflict and str(getattr(stored, name)) != str(form[name])]
    current = values.find_version(entry, "current")
    return (
        render_template(
            "entries/show.html",
            **frame(entry, "general"),
            form=form,
            stored=stored,
            differs=differs,
            types=TYPES,
            current=current,
            shown=shown,
        ),
        status,
    )


@blueprint.get("/passwords/<entry_id>/hidden")
@on_entry("read")
def hidden(entry: Entry) -> ResponseReturnValue:
    """The panel without its value: what the page swaps in when the time is over."""
    if not wants_fragment():
        return go(url_for("entries.show", entry_id=entry.id))
    current = values.find_version(entry, "current")
    return render_template("entries/_secret.html", entry=entry, shown=None, current=current)


@blueprint.post("/passwords/<entry_id>/show")
@on_entry("read")
def reveal(entry: Entry) -> ResponseReturnValue:
    return _reveal(entry, "shown")


@blueprint.post("/passwords/<entry_id>/copy")
@on_entry("read")
def copy(entry: Entry) -> ResponseReturnValue:
    return _reveal(entry, "copied")


def _reveal(entry: Entry, how: str) -> ResponseReturnValue:
    """The value in this one response, recorded before it is opened."""
    chosen = _version(entry, request.form.get("version", ""))
    number, is_current = chosen.number, chosen.stage == "current"
    value = values.reveal(me(), entry, chosen, how=how)
    shown = {
        "value": value.open(),
        "number": number,
        "is_current": is_current,
        "how": how,
        "at": now(),
        "seconds": SHOWN_SECONDS,
        "places": _opens(entry, chosen),
    }
    if wants_fragment():
        current = values.find_version(entry, "current")
        return render_template("entries/_secret.html", entry=entry, shown=shown, current=current)
    response = make_response(_general(entry, Form.of(**asdict(entries.settings_of(entry))), shown=shown))
    # Without script the browser itself leaves the page that shows the value.
    response.headers["Refresh"] = f"{SHOWN_SECONDS};url={url_for('entries.show', entry_id=entry.id)}"
    return response


def _version(entry: Entry, version_id: str) -> EntryVersion:
    """The version asked for, of this very entry; the current one by default."""
    if not version_id:
        return values.current_version(entry)
    for version in entries.versions(entry):
        if version.id == version_id:
            return version
    raise Conflict("This version is gone. The page shows which there are.")


def _opens(entry: Entry, shown: EntryVersion) -> list[dict[str, Any]]:
    """Rule 44: while places differ, which version opens which machine. Empty when all hold the shown one."""
    chain = sync.chain_of(entry)
    links = sync.active_links(chain) if chain else []
    by_id = {version.id: version for version in entries.versions(entry)}
    rows: dict[tuple[str | None, bool], list[str]] = {}
    for link in links:
        if link.is_account and link.state != "managed":
            held = link.holds_version_id or link.starts_from_version_id
            rows.setdefault((held, link.state == "unknown"), []).append(link.machine)
    if set(rows) <= {(shown.id, False)}:
        return []
    return [
        {"machines": machines, "version": by_id.get(held or ""), "unknown": unknown, "this": held == shown.id}
        for (held, unknown), machines in rows.items()
    ]


@blueprint.post("/generate")
@signed_in
def generate() -> ResponseReturnValue:
    """A new value for the form that asks; it is stored nowhere."""
    block = generator_form(make=True)
    return render_template("entries/_generator.html", generator=block), 422 if block.error else 200


@blueprint.route("/passwords/<entry_id>/trash", methods=["GET"])
@on_entry("modify")
def confirm_trash(entry: Entry) -> ResponseReturnValue:
    return render_template("entries/trash.html", **frame(entry, "general"), days=entries.TRASH_DAYS)


@blueprint.post("/passwords/<entry_id>/trash")
@on_entry("modify")
def trash(entry: Entry) -> ResponseReturnValue:
    vault_id, name = entry.vault_id, entry.name
    entries.trash_entry(me(), entry, row_version=number_of("row_version"))
    offer_undo(f"{name} is in the trash.", url_for("entries.restore", entry_id=entry.id))
    return go(url_for("vaults.show", vault_id=vault_id))


@blueprint.post("/passwords/<entry_id>/restore")
@on_trashed("modify")
def restore(entry: Entry) -> ResponseReturnValue:
    entries.restore_entry(me(), entry)
    return go(url_for("entries.show", entry_id=entry.id))
