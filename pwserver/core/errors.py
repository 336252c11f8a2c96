"""The errors that a person may be shown. Each carries its own words; details go to the log under an id."""

from __future__ import annotations


class PwserverError(Exception):
    """Something a person can do something about. ``user_message`` says what happened and what to do next.

    ``field`` names the form field the words belong beside, or is None for the whole form.
    """

    user_message = "Something went wrong. Nothing was changed."

    def __init__(self, user_message: str | None = None, *, field: str | None = None) -> None:
        self.user_message = user_message or self.user_message
        self.field = field
        super().__init__(self.user_message)


class Invalid(PwserverError):
    """What was typed cannot be used. Nothing was saved."""


class NotFound(PwserverError):
    """There is no such thing, or the person may not know that there is."""

    user_message = "There is nothing here, or you may not see it."


class Forbidden(PwserverError):
    """The person may see the thing but not do this to it."""

    user_message = "You may not do this here. Ask an owner of the vault."


class Conflict(PwserverError):
    """The world moved on since the form was opened, or a run is under way. Nothing was saved."""

    user_message = "Someone else changed this meanwhile. Nothing was saved; here is how it stands now."


class Throttled(PwserverError):
    """Too many tries; wait."""

    user_message = "Too many tries. Wait a minute and try again."
