"""A browser without script: keeps cookies, sends the CSRF token that the page carries."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import pytest
from flask import Flask
from flask_wtf.csrf import generate_csrf
from werkzeug.test import TestResponse

from pwserver.services import users
from pwserver.web import session
from tests.conftest import dispose, email_of, password_of

TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Browser:
    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(path, **more)

    def token(self) -> str:
        """The token that a form would carry; where the session has none yet, from a page."""
        with self.client.session_transaction() as kept:
            secret = kept.get("csrf_token")
        if secret is not None:
            with self.client.application.test_request_context():
                flask.session["csrf_token"] = secret
                return generate_csrf()
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

    def is_signed_in_as(self, name: str) -> None:
        """What signing in leaves in the cookie, without the page: for tests that are about something else."""
        app = self.client.application
        with app.test_request_context():
            person = users.find(email_of(name))
            assert person is not None
            session.begin(person, one_time=False)
            made = dict(flask.session)
        with self.client.session_transaction() as kept:
            kept.clear()
            kept.update(made)
            kept.permanent = True


@pytest.fixture
def browser(app: Flask) -> Browser:
    """Nobody's browser."""
    return Browser(app)


@pytest.fixture
def browser_of(app: Flask) -> Callable[[str], Browser]:
    """The browser of one of the cast, signed in."""

    def make(name: str) -> Browser:
        made = Browser(app)
        made.is_signed_in_as(name)
        return made

    return make


class Kept:
    """Scenes that many tests begin with: made once, then copied into the app's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[str, Any] = {}

    def begin(self, app: Flask, name: str, make: Callable[[Flask], Any]) -> Any:
        """What ``make`` did to the app's data and returned, now or for an earlier test. Nothing else may have touched
        the app before."""
        kept, place = self.folder / name.replace(" ", "-"), Path(app.instance_path)
        if name not in self.made:
            self.made[name] = make(app)
            dispose(app)
            shutil.copytree(place, kept)
        else:
            dispose(app)
            shutil.rmtree(place)
            shutil.copytree(kept, place)
        return copy.deepcopy(self.made[name])


@pytest.fixture(scope="session")
def kept_scenes(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("scenes"))


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
