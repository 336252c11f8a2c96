"""People, for organization administrators."""

from __future__ import annotations

from flask import Blueprint, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pwserver.core.errors import Invalid, NotFound
from pwserver.extensions import db
from pwserver.models import AppUser
from pwserver.services import users
from pwserver.web.forms import Form
from pwserver.web.guard import org_admin
from pwserver.web.htmx import go
from pwserver.web.session import me

blueprint = Blueprint("users", __name__, url_prefix="/users")


@blueprint.get("")
@org_admin
def index() -> ResponseReturnValue:
    return _list()


def _list(form: Form | None = None, status: int = 200) -> ResponseReturnValue:
    people, counts = users.everybody(), users.vault_counts()
    return render_template("users/index.html", people=people, counts=counts, form=form or Form.of()), status


@blueprint.route("/new", methods=["GET", "POST"])
@org_admin
def add() -> ResponseReturnValue:
    if request.method != "POST":
        return render_template("users/new.html", form=Form.of())
    form = Form.typed("email", "name", ticks=("org_admin",))
    try:
        user, made = users.add_user(me(), form["email"], form["name"], org_admin=form["org_admin"])
    except Invalid as error:
        form.add(error)
        return render_template("users/new.html", form=form), 422
    return render_template("users/one_time.html", user=user, value=made.open() if made else "", new=True)


@blueprint.post("/<user_id>/reset")
@org_admin
def reset(user_id: str) -> ResponseReturnValue:
    user = _load(user_id)
    try:
        made = users.reset_password(me(), user)
    except Invalid as error:
        return _refused(error)
    return render_template("users/one_time.html", user=user, value=made.open(), new=False)


@blueprint.post("/<user_id>/active")
@org_admin
def active(user_id: str) -> ResponseReturnValue:
    user, wanted = _load(user_id), request.form.get("active") == "1"
    try:
        orphans = users.set_active(me(), user, wanted)
    except Invalid as error:
        return _refused(error)
    if not wanted:
        flash(f"{user.name} is deactivated and signed out everywhere.")
        if orphans:
            vaults = "1 vault has" if orphans == 1 else f"{orphans} vaults have"
            flash(f"{vaults} no owner who can sign in now. Alerts go to the organization administrators.", "warn")
    return go(url_for("users.index"))


@blueprint.post("/<user_id>/admin")
@org_admin
def admin(user_id: str) -> ResponseReturnValue:
    user = _load(user_id)
    try:
        users.set_org_admin(me(), user, request.form.get("org_admin") == "1")
    except Invalid as error:
        return _refused(error)
    return go(url_for("users.index"))


def _refused(error: Invalid) -> ResponseReturnValue:
    form = Form.of()
    form.errors[""] = error.user_message
    return _list(form, 422)


def _load(user_id: str) -> AppUser:
    user = db.session.get(AppUser, user_id)
    if user is None:
        raise NotFound("There is no such user.")
    return user
