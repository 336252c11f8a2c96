"""A browser without script: keeps cookies, sends the CSRF token that the page carries."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import email_of, password_of

TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Browser:
    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(path, **more)

    def token(self) -> str:
        for path in ("/account", "/account/password", "/sign-in", "/setup"):
            if found := TOKEN.search(self.client.get(path).text):
                return found[1]
        raise AssertionError("no page with a form")

    def post(self, path: str, data: dict[str, Any] | None = None, *, htmx: bool = False, **more: Any) -> TestResponse:
        headers = {"HX-Request": "true"} if htmx else {}
        return self.client.post(path, data={"csrf_token": self.token()} | (data or {}), headers=headers, **more)

    def sign_in(self, name: str, password: str | None = None) -> TestResponse:
        data = {"email": email_of(name), "password": password_of(name).open() if password is None else password}
        return self.post("/sign-in", data)


@pytest.fixture
def browser(app: Flask) -> Browser:
    """Nobody's browser."""
    return Browser(app)


@pytest.fixture
def browser_of(app: Flask) -> Callable[[str], Browser]:
    """The browser of one of the cast, signed in."""

    def make(name: str) -> Browser:
        made = Browser(app)
        assert made.sign_in(name).status_code == 303
        return made

    return make


@pytest.fixture
def ids(app: Flask) -> dict[str, str]:
    """Ids of the template's things, by the name they have in addresses."""
    from tests.conftest import Cast

    with app.app_context():
        cast = Cast()
        return {
            "vault_id": cast.vault.id,
            "entry_id": cast.entry.id,
            "user_id": cast.vera.id,
            "agent_id": cast.this_server.id,
        }
