"""Every route, as nobody and as each of the cast. A new route without a row fails here before anybody can misuse it.

The table says who may; it is written by hand and does not read what the routes declare.
"""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, url_for

from pwserver import create_app
from pwserver.config import Config
from tests.web.conftest import Browser, Kept
from tests.web.matrix import INSTEAD, MATRIX
from tests.web.things import add_everything

# What each of them gets, in this order; the first who may is let in, those after are not tried (it may be gone then).
GETS: dict[str, dict[str, Any]] = {
    "public": {"nobody": "in", "nora": "in"},
    "setup": {"nobody": 404, "nora": 404, "ada": 404},
    "signed in": {"nobody": "door", "nora": "in"},
    "read": {"nobody": "door", "nora": 404, "ada": 404, "vera": "in"},
    "modify": {"nobody": "door", "nora": 404, "ada": 404, "vera": 403, "eddie": "in"},
    "owner": {"nobody": "door", "nora": 404, "ada": 404, "vera": 403, "eddie": 403, "olivia": "in"},
    "admin": {"nobody": "door", "nora": 403, "olivia": 403, "ada": "in"},
}


def routes() -> list[tuple[str, str]]:
    """(endpoint, method) of the whole app, from an app that is thrown away."""
    import tempfile
    from pathlib import Path

    from tests.conftest import MASTER

    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Config(instance=Path(folder), master_key=MASTER, testing=True))
    found = [
        (rule.endpoint, method)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) & {"GET", "POST", "PUT", "PATCH", "DELETE"})
        if rule.endpoint != "static"
    ]
    return sorted(found)


ROUTES = routes()


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    endpoints = {endpoint for endpoint, _ in ROUTES}
    assert endpoints == set(MATRIX), "write down who may call the new route"


@pytest.mark.parametrize(("endpoint", "method"), ROUTES, ids=lambda value: str(value))
def test_a_route_lets_in_only_whom_the_table_names(
    app: Flask, kept_scenes: Kept, endpoint: str, method: str
) -> None:
    ids = kept_scenes.begin(app, "one of each", add_everything)
    ids |= {name: ids[thing] for name, thing in INSTEAD.get(endpoint, {}).items()}
    rule = next(rule for rule in app.url_map.iter_rules(endpoint) if method in (rule.methods or set()))
    with app.test_request_context():
        path = url_for(endpoint, **{name: ids[name] for name in rule.arguments})
    for name, wanted in GETS[MATRIX[endpoint]].items():
        browser = Browser(app)
        if name != "nobody":
            browser.is_signed_in_as(name)
        answer = browser.get(path) if method == "GET" else browser.post(path)
        assert _seen(answer) == wanted, f"{name} at {method} {path}: {answer.status}"
        assert answer.status_code < 500


def _seen(answer: Any) -> Any:
    if answer.status_code in (403, 404):
        return answer.status_code
    to_the_door = answer.status_code == 302 and "/sign-in" in answer.headers["Location"]
    return "door" if to_the_door else "in"


@pytest.mark.parametrize(("endpoint", "method"), [each for each in ROUTES if each[1] != "GET"], ids=str)
def test_no_route_does_anything_without_the_token(
    app: Flask, kept_scenes: Kept, endpoint: str, method: str
) -> None:
    ids = kept_scenes.begin(app, "one of each", add_everything)
    rule = next(rule for rule in app.url_map.iter_rules(endpoint) if method in (rule.methods or set()))
    with app.test_request_context():
        path = url_for(endpoint, **{name: ids[name] for name in rule.arguments})
    browser = Browser(app)
    browser.sign_in("olivia")
    answer = browser.client.post(path)
    assert answer.status_code == 400
    assert "Nothing was done" in answer.text


@pytest.mark.own_app
def test_a_route_that_declares_nothing_is_refused(app: Flask) -> None:
    app.add_url_rule("/forgotten", "forgotten", lambda: "a secret")
    browser = Browser(app)
    browser.sign_in("ada")
    answer = browser.get("/forgotten")
    assert answer.status_code == 404
    assert "a secret" not in answer.text
