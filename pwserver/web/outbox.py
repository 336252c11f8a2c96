"""The outbox, for organization administrators: every mail, how it stands, a test mail."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, render_template, url_for
from flask.typing import ResponseReturnValue

from pwserver import queueing
from pwserver.core.errors import NotFound
from pwserver.extensions import db
from pwserver.models import Outbox
from pwserver.services import watch
from pwserver.services.mail import outbox
from pwserver.services.views import mails
from pwserver.web.guard import org_admin
from pwserver.web.htmx import go, wants_fragment
from pwserver.web.session import me

blueprint = Blueprint("outbox", __name__, url_prefix="/outbox")


@blueprint.get("")
@org_admin
def index() -> ResponseReturnValue:
    return render_template("outbox/index.html", mails=mails.read_mails(), config=current_app.config["PWSERVER"])


@blueprint.get("/<mail_id>")
@org_admin
def show(mail_id: str) -> ResponseReturnValue:
    row = _load(mail_id)
    template = "outbox/_mail.html" if wants_fragment() else "outbox/show.html"
    return render_template(template, mail=mails.mail_view(row), text=mails.text_of(row))


@blueprint.post("/test")
@org_admin
def test() -> ResponseReturnValue:
    return _sent(outbox.put_test(me()))


@blueprint.post("/<mail_id>/again")
@org_admin
def again(mail_id: str) -> ResponseReturnValue:
    outbox.send_again(me(), _load(mail_id))
    return _sent(mail_id)


@blueprint.post("/<mail_id>/away")
@org_admin
def put_away(mail_id: str) -> ResponseReturnValue:
    outbox.put_away(me(), _load(mail_id))
    return go(url_for("outbox.index"))


@blueprint.app_context_processor
def troubles() -> dict[str, Any]:
    """For the frame of every page: what is wrong with the server, in the words of who looks."""
    return {"troubles_for": watch.troubles_for}


def _sent(mail_id: str) -> ResponseReturnValue:
    """After the commit: a worker is told; the mail's page says what became of it."""
    queueing.enqueue(mail_id, queueing.NOW, queueing.MAIL)
    return go(url_for("outbox.show", mail_id=mail_id))


def _load(mail_id: str) -> Outbox:
    row = db.session.get(Outbox, mail_id)
    if row is None:
        raise NotFound("There is no such mail.")
    return row
