"""Finding things by part of their names: both sides are folded the same way, on every database."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

MOST_WORDS = 8
LONGEST_WORD = 100
"""Characters of one word that are looked for; the rest is ignored."""


def fold(text: str) -> str:
    """Without case, and in one Unicode form, so that whoever types it otherwise finds it too."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def words_of(typed: str) -> list[str]:
    """The words that are looked for, folded; each must be part of what is found. NUL, which no database takes, parts
    words."""
    return [word[:LONGEST_WORD] for word in fold(typed.replace("\0", " ")).split()[:MOST_WORDS]]


def text_of(parts: Iterable[str]) -> str:
    """What is searched of one thing: a line for each part, so that no word matches across two."""
    return "\n".join(fold(part) for part in parts if part)


def account_name(place: str, user_name: str) -> str:
    """``LAB-01\\Administrator``, as people type it."""
    return f"{place}\\{user_name}" if place and user_name else user_name or place
