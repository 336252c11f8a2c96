"""The first run: makes the first administrator, and never answers again."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from pwserver.core.errors import Invalid, NotFound
from pwserver.extensions import limiter
from pwserver.services import firstrun
from pwserver.web import session
from pwserver.web.auth import home
from pwserver.web.forms import Form, secret_of
from pwserver.web.guard import public

blueprint = Blueprint("setup", __name__)


@blueprint.route("/setup", methods=["GET", "POST"])
@public
@limiter.limit("20 per minute", methods=["POST"])
def show() -> ResponseReturnValue:
    if firstrun.done():
        raise NotFound()
    if request.method != "POST":
        return render_template("setup/show.html", form=Form.of())
    form = Form.typed("code", "email", "name")
    try:
        user = firstrun.make_first_administrator(form["code"], form["email"], form["name"], secret_of("password"))
    except Invalid as error:
        form.add(error)
        return render_template("setup/show.html", form=form), 422
    session.begin(user, one_time=False)
    return redirect(home(), 303)
