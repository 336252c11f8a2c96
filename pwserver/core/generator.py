"""Makes passwords that can be read aloud and typed: without 0 O 1 l I | and blanks."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass

from pwserver.core.errors import Invalid
from pwserver.core.secrets import MAX_UTF16_UNITS, Secret

ALIKE = frozenset("0O1lI|")
LOWER = "".join(c for c in "abcdefghijklmnopqrstuvwxyz" if c not in ALIKE)
UPPER = "".join(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in ALIKE)
DIGITS = "".join(c for c in "0123456789" if c not in ALIKE)
SYMBOLS = "!#%+,-.:=?@_~*"
"""No quotes, backslash, dollar or back-tick: they are where other people's scripts break."""

SHORTEST = 12
LONGEST = MAX_UTF16_UNITS


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long, and of which kinds of characters; at least one of each chosen kind will be in it."""

    length: int = 20
    lower: bool = True
    upper: bool = True
    digits: bool = True
    symbols: bool = True

    @property
    def kinds(self) -> list[str]:
        chosen = ((self.lower, LOWER), (self.upper, UPPER), (self.digits, DIGITS), (self.symbols, SYMBOLS))
        return [letters for wanted, letters in chosen if wanted]

    @property
    def bits(self) -> int:
        """How many bits a guesser faces, rounded down."""
        return int(self.length * math.log2(len("".join(self.kinds))))


def generate(recipe: Recipe = Recipe()) -> Secret:  # noqa: B008  # frozen
    """A new random value. Raises :class:`Invalid` when the recipe makes none."""
    if not recipe.kinds:
        raise Invalid("Choose at least one kind of characters.", field="kinds")
    if not SHORTEST <= recipe.length <= LONGEST:
        raise Invalid(f"Choose a length from {SHORTEST} to {LONGEST}.", field="length")
    letters = "".join(recipe.kinds)
    # Drawn anew until every kind is there, so that each such value stays equally likely; placing one would not do that.
    while True:
        text = "".join(secrets.choice(letters) for _ in range(recipe.length))
        if all(any(character in kind for character in text) for kind in recipe.kinds):
            return Secret(text)
