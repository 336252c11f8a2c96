"""From an error to a status and a page, or a fragment for htmx. One table; words come from the error itself."""

from __future__ import annotations

import logging
import uuid

from flask import Flask, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException

from pwserver.core.errors import Conflict, Forbidden, Invalid, NotFound, PwserverError, Throttled
from pwserver.extensions import db
from pwserver.services.transaction import met_another
from pwserver.web.htmx import wants_fragment

log = logging.getLogger(__name__)

STATUS_OF: dict[type[PwserverError], int] = {
    Invalid: 422,
    NotFound: 404,
    Forbidden: 403,
    Conflict: 409,
    Throttled: 429,
}

TITLES = {
    400: "This form is too old",
    403: "Not for you to do",
    404: "Nothing here",
    405: "Nothing here",
    409: "Not done",
    413: "Too much",
    422: "This cannot be used",
    429: "Too many tries",
    500: "Something broke here",
}
WORDS = {
    400: "Nothing was done. Open the page again and repeat it.",
    404: NotFound.user_message,
    405: "This address only takes what a form sends. Nothing was done.",
    413: "What was sent is larger than anything this server takes. Nothing was saved.",
    429: "Too many tries from your address. Nothing was done. Wait a minute and try again.",
}


SEEN = frozenset({400, 403, 409, 422})
"""After these one may look at the thing; whoever may not know of it got a 404."""
MOVED = "Someone else changed this meanwhile. Nothing was saved."

PLACES = (
    ("run_id", "runs.show"),
    ("agent_id", "agents.show"),
    ("entry_id", "entries.show"),
    ("vault_id", "vaults.show"),
)
"""Which page shows the thing that an address names."""


def back() -> str:
    """The page of what the address names, to see how it stands; "" where there is none but this one."""
    given = request.view_args or {}
    for name, endpoint in PLACES:
        if name in given:
            if name == "entry_id" and request.blueprint in ("sync", "approve"):
                endpoint = "sync.show"
            url = url_for(endpoint, **{name: given[name]})
            return url if request.method != "GET" or request.path != url else ""
    return ""


def status_of(error: PwserverError) -> int:
    """500 for one that has no row: its words are still meant for people."""
    return next((status for kind, status in STATUS_OF.items() if isinstance(error, kind)), 500)


def init_app(app: Flask) -> None:
    app.register_error_handler(PwserverError, _told)
    app.register_error_handler(CSRFError, _stale)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(DBAPIError, _met)
    app.register_error_handler(Exception, _bug)


def _told(error: PwserverError) -> ResponseReturnValue:
    status, words = status_of(error), error.user_message
    if type(error) in STATUS_OF and words == type(error).user_message and status == 409:
        return _answer(status, MOVED, title="It changed meanwhile")
    return _answer(status, words)


def _stale(_error: CSRFError) -> ResponseReturnValue:
    return _answer(400, "The form was opened in another session, or the session is over. " + WORDS[400])


def _http(error: HTTPException) -> ResponseReturnValue:
    code = error.code or 500
    if code < 400:
        return error
    return _answer(code, WORDS.get(code, "This request cannot be answered. Nothing was done."))


def _met(error: DBAPIError) -> ResponseReturnValue:
    """Two people at the same moment, or one who clicked twice: the database let one of them through."""
    if not met_another(error):
        return _bug(error)
    db.session.rollback()
    log.warning("two at once: %s", type(error.orig).__name__)
    return _answer(409, MOVED, title="It changed meanwhile")


def _bug(error: Exception) -> ResponseReturnValue:
    """Our fault: an id for the person, the details for the log only."""
    number = uuid.uuid4().hex[:8]
    db.session.rollback()
    log.error("error %s", number, exc_info=error)
    return _answer(500, f"Nothing more was done. Tell your administrator the number {number}; the log has the details.")


def _answer(status: int, words: str, title: str = "") -> ResponseReturnValue:
    title = title or TITLES.get(status, "This cannot be answered")
    if wants_fragment():
        # An error never lands inside what was to be swapped: it stands at the top of the page, which stays as it was.
        response = make_response(render_template("errors/_error.html", title=title, words=words, status=status), status)
        response.headers.update({"HX-Retarget": "#flash", "HX-Reswap": "innerHTML show:window:top"})
        return response
    page = render_template(
        "errors/error.html", title=title, words=words, status=status, back=back() if status in SEEN else ""
    )
    return page, status
