"""What an address asks of a list of passwords, and the addresses of its other pages."""

from __future__ import annotations

from typing import Any

from flask import request, url_for

from pwserver.core.finding import words_of
from pwserver.services.listing import Asked, Page

LONGEST = 200
"""Characters of a search that are read; the words after them are ignored."""


def asked(find: str) -> Asked:
    """``find``: the name that the search has in the address. What makes no sense counts as not asked."""
    page = request.args.get("page", "")
    return Asked(
        find=request.args.get(find, "")[:LONGEST].strip(),
        only=request.args.get("only", ""),
        sort=request.args.get("sort", ""),
        page=int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
    )


def here_with(find: str, shown: Page, /, **other: Any) -> str:
    """This list with something else asked of it; every change but that of the page begins at its first page."""
    parts: dict[str, Any] = {find: shown.asked.find, "only": shown.asked.only, "sort": shown.asked.sort} | other
    named = {name: value for name, value in parts.items() if value and (name, value) != ("page", 1)}
    return url_for(request.endpoint or "", **(request.view_args or {}), **named)


def words(page: Page) -> list[str]:
    """The words that are marked in a list."""
    return words_of(page.asked.find)
