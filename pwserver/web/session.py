"""Who is asking: flask-login over the user's id and the count that ends all sessions at once."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask, session
from flask_login import current_user, login_user, logout_user

from pwserver.extensions import db, login_manager
from pwserver.models import AppUser

LIFETIME = timedelta(hours=12)
"""Without a request for so long, one signs in again."""


class Person:
    """The wrapper that flask-login wants around a row. Its id ends to be valid when ``session_epoch`` moves."""

    is_authenticated = True
    is_anonymous = False

    def __init__(self, row: AppUser) -> None:
        self.row = row

    @property
    def is_active(self) -> bool:
        return self.row.active

    def get_id(self) -> str:
        return f"{self.row.id}:{self.row.session_epoch}"


def me() -> AppUser:
    """The signed-in person. Only for routes that need one."""
    row: AppUser = current_user.row
    return row


def maybe_me() -> AppUser | None:
    return current_user.row if current_user and current_user.is_authenticated else None


def begin(user: AppUser, *, one_time: bool) -> None:
    """A new session for ``user``; whatever the browser carried before is gone."""
    session.clear()
    session.permanent = True
    if one_time:
        session["one_time"] = True
    login_user(Person(user))


def end() -> None:
    logout_user()
    session.clear()


def init_app(app: Flask) -> None:
    app.config.setdefault("PERMANENT_SESSION_LIFETIME", LIFETIME)
    login_manager.init_app(app)
    login_manager.user_loader(_load)


def _load(told: str) -> Person | None:
    user_id, _, epoch = told.rpartition(":")
    user = db.session.get(AppUser, user_id)
    return Person(user) if user and user.active and str(user.session_epoch) == epoch else None
