"""The block of a form in which a value is typed or generated: fields, and what they were."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import request

from pwserver.core.errors import PwserverError
from pwserver.core.generator import LONGEST, SHORTEST, Recipe, generate
from pwserver.web.forms import number_of

KINDS = ("lower", "upper", "digits", "symbols")


@dataclass
class Generator:
    """``value`` is set only in the answer to a click on Generate; nothing typed comes back."""

    recipe: Recipe = field(default_factory=Recipe)
    value: str = ""
    error: str = ""
    shortest: int = SHORTEST
    longest: int = LONGEST

    def add(self, error: PwserverError) -> None:
        self.error = error.user_message


def wants_value() -> bool:
    """Whether the button Generate sent this form (it works without script too)."""
    return "generate" in request.form


def generator_form(*, make: bool = False) -> Generator:
    """The block as sent; with a new value when Generate sent it, or ``make`` says so."""
    block = Generator()
    if "length" in request.form:
        block.recipe = Recipe(number_of("length", 20), *(kind in request.form for kind in KINDS))
    if make or wants_value():
        try:
            block.value = generate(block.recipe).open()
        except PwserverError as error:
            block.add(error)
    return block
