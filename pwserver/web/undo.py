"""What somebody just did and can take back: said once, in a toast on the next page, with the button that undoes it."""

from __future__ import annotations

from typing import Any

from flask import session

KEPT = "undos"
MOST = 3


def offer_undo(words: str, url: str, **fields: str) -> None:
    """``url`` takes the POST that undoes it, with ``fields``; never a secret, since the browser keeps it meanwhile."""
    session[KEPT] = [*session.get(KEPT, []), {"words": words, "url": url, "fields": fields}][-MOST:]


def take_undos() -> list[dict[str, Any]]:
    """For the page that shows them; then they are gone."""
    found: list[dict[str, Any]] = session.pop(KEPT, []) if KEPT in session else []
    return found
