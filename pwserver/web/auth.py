"""Sign in and out."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pwserver.core.errors import Invalid, Throttled
from pwserver.extensions import limiter
from pwserver.services import firstrun, login, users
from pwserver.web import session
from pwserver.web.context import url_exists
from pwserver.web.forms import Form, secret_of
from pwserver.web.guard import public, signed_in

blueprint = Blueprint("auth", __name__)


@blueprint.route("/sign-in", methods=["GET", "POST"])
@public
@limiter.limit("60 per minute", methods=["POST"])
def sign_in() -> ResponseReturnValue:
    if not firstrun.done():
        return redirect(url_for("setup.show"))
    back = safe_path(request.values.get("next", ""))
    if request.method != "POST":
        if session.maybe_me():
            return redirect(back or home())
        return render_template("auth/sign_in.html", form=Form.of(email=""), back=back)
    form = Form.typed("email")
    try:
        user = login.sign_in(form["email"], secret_of("password"), request.remote_addr or "")
    except (Invalid, Throttled) as error:
        form.add(error)
        return render_template("auth/sign_in.html", form=form, back=back), 429 if isinstance(error, Throttled) else 422
    session.begin(user, one_time=users.has_one_time_password(user))
    return redirect(back or home(), 303)


@blueprint.post("/sign-out")
@signed_in
def sign_out() -> ResponseReturnValue:
    session.end()
    return redirect(url_for("auth.sign_in"), 303)


def home() -> str:
    return url_for("dashboard.show" if url_exists("dashboard.show") else "vaults.index")


def safe_path(path: str) -> str:
    """A path on this server, or "": never an address elsewhere, however it is spelled."""
    parts = urlsplit(path)
    plain = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if plain and not parts.scheme and not parts.netloc else ""
