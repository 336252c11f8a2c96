"""A page asks the database as often for sixty passwords as for six: statements are counted, never seconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from sqlalchemy import event

from pwserver.extensions import db
from tests.conftest import Cast
from tests.web.conftest import Browser
from tests.web.many import fill

Of = Callable[[str], Browser]
pytestmark = pytest.mark.breaks_invariants  # rows are written as no run would leave them

LISTS = {
    "a vault": "/vaults/{vault}",
    "a vault, filtered": "/vaults/{vault}?find=lab&only=loud",
    "a vault, by name": "/vaults/{vault}?sort=-name&page=2",
    "the vaults": "/vaults",
    "the search": "/search?q=administrator",
    "the search for machines": "/search?q=lab-0",
    "a status": "/search?only=in_sync",
    "the dashboard of one who owns nothing": "/",
}
MOST = 24
"""Statements of a page, sign-in and menu included."""


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    seen: list[str] = []
    with app.app_context():
        engine = db.engine

    def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def asked(app: Flask, browser: Browser, path: str) -> list[str]:
    browser.get(path)  # whatever is read once
    with statements(app) as seen:
        answer = browser.get(path)
    assert answer.status_code == 200, path
    return seen


@pytest.mark.parametrize("what", LISTS)
def test_a_list_asks_no_more_for_sixty_passwords_than_for_six(app: Flask, browser_of: Of, what: str) -> None:
    with app.app_context():
        vault_id = Cast().vault.id
        fill(Cast().vault, 12, stars_of=Cast().vera.id)
    vera, path = browser_of("vera"), LISTS[what].format(vault=vault_id)
    few = asked(app, vera, path)
    with app.app_context():
        fill(Cast().vault, 120, start=100, stars_of=Cast().vera.id)
    many = asked(app, vera, path)
    assert len(many) <= len(few) + 1, "a statement per row: " + "\n".join(sorted(set(many) - set(few)))
    assert len(many) <= MOST, "\n".join(many)


def test_the_dashboard_of_an_owner_spells_out_no_more_than_it_shows(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        fill(Cast().vault, 260)
    olivia = browser_of("olivia")
    some = asked(app, olivia, "/")
    with app.app_context():
        fill(Cast().vault, 260, start=1000)
    more = asked(app, olivia, "/")
    page = olivia.get("/").text
    assert len(more) <= len(some) + 1
    assert page.count("pw-task-text") == 20
    assert re.search(r"\d+ more that need a person", page)
    assert "43 Sync Issues" in page, "all are counted"


def test_a_page_has_fifty_rows_and_leads_to_the_others_without_script(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        vault_id = Cast().vault.id
        fill(Cast().vault, 120)
    vera = browser_of("vera")
    page = vera.get(f"/vaults/{vault_id}?only=none&find=administrator").text
    assert page.count('<th scope="row">') == 50
    assert "1 to 50 of 61" in page
    following = re.search(r'rel="next" href="([^"]+)"', page)
    assert following
    second = vera.get(following[1].replace("&amp;", "&")).text
    assert "51 to 61 of 61" in second
    assert second.count('<th scope="row">') == 11
    assert 'value="administrator"' in second


def test_what_an_address_asks_for_in_vain_counts_as_not_asked(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    vera = browser_of("vera")
    for wish in ("page=-1", "page=x", "page=9999999", "page=²", "sort=password", "only=everything", "find=%00"):
        page = vera.get(f"/vaults/{ids['vault_id']}?{wish}")
        assert page.status_code == 200, wish
        assert "Lab Administrator" in page.text, wish
