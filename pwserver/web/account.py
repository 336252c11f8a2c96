"""One's own account: the password, and light or dark."""

from __future__ import annotations

from flask import Blueprint, flash, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from pwserver.core.errors import Invalid
from pwserver.extensions import limiter
from pwserver.services import users
from pwserver.web.auth import home
from pwserver.web.forms import Form, secret_of
from pwserver.web.guard import signed_in
from pwserver.web.htmx import go
from pwserver.web.session import begin, me

blueprint = Blueprint("account", __name__, url_prefix="/account")


@blueprint.get("")
@signed_in
def show() -> ResponseReturnValue:
    return render_template("account/show.html", form=Form.of())


@blueprint.route("/password", methods=["GET", "POST"])
@signed_in
@limiter.limit("20 per minute", methods=["POST"])
def password() -> ResponseReturnValue:
    one_time = bool(session.get("one_time"))
    form = Form.of()
    if request.method != "POST":
        return render_template("account/password.html", form=form, one_time=one_time)
    try:
        if secret_of("new") != secret_of("again"):
            raise Invalid("The two are not the same. Nothing was changed.", field="again")
        users.change_password(me(), secret_of("old"), secret_of("new"))
    except Invalid as error:
        form.add(error)
        return render_template("account/password.html", form=form, one_time=one_time), 422
    begin(me(), one_time=False)
    flash("Your password is changed. All your other sessions have ended.")
    return go(home() if one_time else url_for("account.show"))


@blueprint.post("/theme")
@signed_in
def theme() -> ResponseReturnValue:
    users.set_theme(me(), request.form.get("theme", ""))
    return go(url_for("account.show"))
