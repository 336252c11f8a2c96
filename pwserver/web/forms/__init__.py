"""What was typed into a form and what is wrong with it. Secrets are never part of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import request

from pwserver.core.errors import PwserverError
from pwserver.core.secrets import Secret


class Form:
    """Values by field, and errors by field; an error without a field stands above the form."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.errors: dict[str, str] = {}

    @classmethod
    def of(cls, **values: Any) -> Form:
        """A form as first shown."""
        return cls(values)

    @classmethod
    def typed(cls, *names: str, lists: Iterable[str] = (), ticks: Iterable[str] = ()) -> Form:
        """A form as sent: ``names`` as text without blanks at the ends, ``lists`` as lists, ``ticks`` as booleans."""
        values: dict[str, Any] = {name: request.form.get(name, "").strip() for name in names}
        values |= {name: request.form.getlist(name) for name in lists}
        values |= {name: name in request.form for name in ticks}
        return cls(values)

    def __getitem__(self, name: str) -> Any:
        return self.values.get(name, "")

    def add(self, error: PwserverError) -> None:
        """Keeps the words of a refusal beside its field."""
        self.errors[error.field or ""] = error.user_message

    def error(self, name: str) -> str:
        return self.errors.get(name, "")

    @property
    def whole(self) -> str:
        """What is wrong with the form as a whole."""
        return self.errors.get("", "")


def secret_of(name: str) -> Secret:
    """A secret as typed, byte-exact."""
    return Secret(request.form.get(name, ""))


def number_of(name: str, default: int = 0) -> int:
    """A whole number as sent, or ``default``; for row versions and revisions in hidden fields."""
    text = request.form.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default
