"""Vaults: the list, a vault's passwords, its members, its trash."""

from __future__ import annotations

from flask import Blueprint, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pwserver.core.access import LABELS, Right
from pwserver.core.errors import Invalid
from pwserver.models import Vault
from pwserver.services import entries, vaults
from pwserver.services.listing import page_of
from pwserver.web.asked import asked
from pwserver.web.forms import Form
from pwserver.web.guard import on_vault, signed_in
from pwserver.web.htmx import go, wants_fragment
from pwserver.web.session import me
from pwserver.web.undo import offer_undo

blueprint = Blueprint("vaults", __name__, url_prefix="/vaults")


@blueprint.get("")
@signed_in
def index() -> ResponseReturnValue:
    return render_template("vaults/index.html", vaults=vaults.overview(me()))


@blueprint.route("/new", methods=["GET", "POST"])
@signed_in
def create() -> ResponseReturnValue:
    form = Form.typed("name")
    if request.method == "POST":
        try:
            vault = vaults.create_vault(me(), form["name"])
        except Invalid as error:
            form.add(error)
            return render_template("vaults/new.html", form=form), 422
        return go(url_for("vaults.show", vault_id=vault.id))
    return render_template("vaults/new.html", form=form)


@blueprint.get("/<vault_id>")
@on_vault("read")
def show(vault: Vault) -> ResponseReturnValue:
    page = page_of([vault.id], asked("find"), me())
    if request.args.get("since") == page.mark:
        return "", 204
    owners = [user.name for user, right in vaults.members(vault) if right == Right.OWNER]
    template = "vaults/_passwords.html" if wants_fragment() else "vaults/show.html"
    return render_template(template, vault=vault, page=page, owners=owners, swapped=wants_fragment())


@blueprint.route("/<vault_id>/rename", methods=["GET", "POST"])
@on_vault("owner")
def rename(vault: Vault) -> ResponseReturnValue:
    if request.method != "POST":
        return render_template("vaults/rename.html", vault=vault, form=Form.of(name=vault.name))
    form = Form.typed("name")
    try:
        vaults.rename_vault(me(), vault, form["name"])
    except Invalid as error:
        form.add(error)
        return render_template("vaults/rename.html", vault=vault, form=form), 422
    return go(url_for("vaults.show", vault_id=vault.id))


def _members(vault: Vault, form: Form, status: int = 200) -> ResponseReturnValue:
    return (
        render_template("vaults/members.html", vault=vault, members=vaults.members(vault), rights=RIGHTS, form=form),
        status,
    )


RIGHTS = [(str(right), LABELS[right]) for right in (Right.READ, Right.MODIFY, Right.OWNER)]


@blueprint.route("/<vault_id>/members", methods=["GET"])
@on_vault("read")
def members(vault: Vault) -> ResponseReturnValue:
    return _members(vault, Form.of(email="", right="read"))


@blueprint.post("/<vault_id>/members")
@on_vault("owner")
def add_member(vault: Vault) -> ResponseReturnValue:
    form = Form.typed("email", "right")
    try:
        user = vaults.add_member(me(), vault, form["email"], form["right"])
    except Invalid as error:
        form.add(error)
        return _members(vault, form, 422)
    flash(f"{user.name} is a member now.")
    return go(url_for("vaults.members", vault_id=vault.id))


@blueprint.post("/<vault_id>/members/<user_id>")
@on_vault("owner")
def set_member(vault: Vault, user_id: str) -> ResponseReturnValue:
    try:
        vaults.set_member(me(), vault, user_id, request.form.get("right", ""))
    except Invalid as error:
        form = Form.of(email="", right="read")
        form.errors[""] = error.user_message
        return _members(vault, form, 422)
    return go(url_for("vaults.members", vault_id=vault.id))


@blueprint.post("/<vault_id>/members/<user_id>/remove")
@on_vault("owner")
def remove_member(vault: Vault, user_id: str) -> ResponseReturnValue:
    myself = user_id == me().id
    before = next(((user, right) for user, right in vaults.members(vault) if user.id == user_id), None)
    try:
        vaults.remove_member(me(), vault, user_id)
    except Invalid as error:
        form = Form.of(email="", right="read")
        form.errors[""] = error.user_message
        return _members(vault, form, 422)
    if before and not myself:
        user, right = before
        back = url_for("vaults.add_member", vault_id=vault.id)
        offer_undo(f"{user.name} is no member any more.", back, email=user.email, right=str(right))
    return go(url_for("vaults.index") if myself else url_for("vaults.members", vault_id=vault.id))


@blueprint.get("/<vault_id>/trash")
@on_vault("read")
def trash(vault: Vault) -> ResponseReturnValue:
    return render_template("vaults/trash.html", vault=vault, rows=entries.trash(vault), days=entries.TRASH_DAYS)
