"""For monitoring systems: ok or not ok, and nothing else."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from pwserver.services import watch
from pwserver.web.guard import public

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
@public
def show() -> ResponseReturnValue:
    try:
        well = not watch.standing()
    except SQLAlchemyError:
        well = False
    return ("ok\n" if well else "not ok\n"), 200 if well else 503, {"Content-Type": "text/plain; charset=utf-8"}
