"""What every page has in common: headers, nothing inline, no secret, errors that tell nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from flask import Flask

from pwserver.core.errors import Conflict
from tests.conftest import VALUE
from tests.web.conftest import Browser, Kept
from tests.web.things import add_everything

Of = Callable[[str], Browser]

PAGES = {
    "nobody": ["/sign-in", "/nowhere"],
    "olivia": [
        "/account",
        "/account/password",
        "/vaults",
        "/vaults/new",
        "/vaults/{vault_id}",
        "/vaults/{vault_id}/members",
        "/vaults/{vault_id}/rename",
        "/vaults/{vault_id}/trash",
        "/vaults/{vault_id}/passwords/new",
        "/passwords/{entry_id}",
        "/passwords/{entry_id}/trash",
        "/users",
        "/nowhere",
        "/",
        "/runs",
        "/runs/{run_id}",
        "/passwords/{entry_id}/synchronization",
        "/passwords/{entry_id}/change",
        "/passwords/{entry_id}/history",
        "/passwords/{entry_id}/links/new",
    ],
    "ada": ["/users", "/users/new", "/agents", "/agents/new", "/agents/{agent_id}", "/agents/{agent_id}/address"],
}


class Inline(HTMLParser):
    """Finds what the content security policy would block."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self._script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        self.found += [f"{tag} {name}" for name in names if name.startswith("on") or name == "style"]
        self.found += [f"{tag} {name}" for name in names if name.startswith("hx-on")]
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)
        for name in ("src", "href", "action", "formaction"):
            value = names.get(name) or ""
            if value.startswith(("http:", "https:", "//", "javascript:", "data:")):
                self.found.append(f"{tag} {name}={value}")
        if names.get("id"):
            self.ids.append(str(names["id"]))
        if tag == "label" and names.get("for"):
            self.labels.append(str(names["for"]))


def every_page() -> list[tuple[str, str]]:
    return [(name, path) for name, paths in PAGES.items() for path in paths]


@pytest.mark.parametrize(("name", "path"), every_page())
def test_a_page_is_strict_and_tells_no_secret(app: Flask, kept_scenes: Kept, name: str, path: str) -> None:
    ids = kept_scenes.begin(app, "one of each", add_everything)
    browser = Browser(app)
    if name != "nobody":
        browser.sign_in(name)
    answer = browser.get(path.format(**ids))
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert VALUE not in answer.text
    page = Inline()
    page.feed(answer.text)
    assert page.found == []
    assert len(page.ids) == len(set(page.ids)), "an id twice"
    assert set(page.labels) <= set(page.ids), "a label without its field"
    assert answer.text.count("<h1") == 1
    assert '"allowEval":false' in answer.text


def test_the_cookie_is_kept_from_scripts_and_other_sites(browser: Browser) -> None:
    cookie = browser.sign_in("vera").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "pwserver=" in cookie


def test_behind_https_the_cookie_stays_there(app: Flask) -> None:
    from dataclasses import replace

    from pwserver import create_app

    config = replace(app.config["PWSERVER"], base_url="https://passwords.example")
    secure = create_app(config)
    cookie = secure.test_client().get("/sign-in", base_url="https://passwords.example").headers["Set-Cookie"]
    assert "Secure" in cookie


@pytest.mark.own_app
def test_a_bug_shows_a_number_and_nothing_else(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    from pwserver.web.guard import public

    def broken() -> str:
        raise RuntimeError(f"the value was {VALUE}")

    app.add_url_rule("/broken", "broken", public(broken))
    answer = Browser(app).get("/broken")
    assert answer.status_code == 500
    assert VALUE not in answer.text
    assert "RuntimeError" not in answer.text
    assert "Traceback" not in answer.text
    number = re.search(r"number ([0-9a-f]{8})", answer.text)
    assert number
    assert number[1] in caplog.text


@pytest.mark.own_app
def test_an_error_in_a_fragment_goes_to_the_top_of_the_page(app: Flask, browser_of: Of) -> None:
    from pwserver.web.guard import signed_in

    def moved() -> str:
        raise Conflict()

    app.add_url_rule("/moved", "moved", signed_in(moved))
    answer = browser_of("vera").get("/moved", headers={"HX-Request": "true"})
    assert answer.status_code == 409
    assert answer.headers["HX-Retarget"] == "#flash"
    assert "<html" not in answer.text
    assert "Someone else changed this meanwhile" in answer.text


def test_a_fragment_without_a_session_leads_to_the_door(browser: Browser, ids: dict[str, str]) -> None:
    answer = browser.get(f"/vaults/{ids['vault_id']}", headers={"HX-Request": "true"})
    assert answer.headers["HX-Redirect"] == "/sign-in"
    assert answer.text == ""


def test_too_large_a_form_is_refused_in_words(browser_of: Of) -> None:
    here = browser_of("vera")
    answer = here.client.post("/account/theme", data={"csrf_token": "x" * (2 << 20)})
    assert answer.status_code == 413
    assert "Nothing was saved" in answer.text


@pytest.mark.parametrize("path", ["/vaults/{id}", "/passwords/{id}", "/vaults/{id}/members"])
@pytest.mark.parametrize("unknown", ["nope", "00000000-0000-0000-0000-000000000000", "%00", "'"])
def test_an_unknown_id_is_a_calm_page(browser_of: Of, path: str, unknown: str) -> None:
    answer = browser_of("olivia").get(path.format(id=unknown))
    assert answer.status_code == 404
    assert "Nothing here" in answer.text


@pytest.mark.own_app
def test_a_database_error_in_the_log_shows_no_rows_content(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    from sqlalchemy import text

    from pwserver.extensions import db
    from pwserver.web.guard import public

    def broken() -> str:
        db.session.execute(text("INSERT INTO nowhere VALUES (:value)"), {"value": VALUE})
        return ""

    app.add_url_rule("/broken", "broken", public(broken))
    assert Browser(app).get("/broken").status_code == 500
    assert "no such table" in caplog.text
    assert VALUE not in caplog.text
