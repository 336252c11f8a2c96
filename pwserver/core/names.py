"""What may stand in a name that people read: in pages, mails, the history and a terminal."""

from __future__ import annotations

import unicodedata

from pwserver.core.errors import Invalid

BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Signs that turn the direction of what follows, so that a name reads as another."""
HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})


def check_readable(text: str, field: str, *, lines: bool = False) -> None:
    """Refuses control characters and what turns the direction of writing; ``lines``: line breaks and tabs may be in it.

    Raises :class:`Invalid` for ``field``."""
    for sign in text:
        if lines and sign in "\n\r\t":
            continue
        if sign in BIDI or unicodedata.category(sign) in HIDDEN:
            raise Invalid(f"Without signs that cannot be seen; this has U+{ord(sign):04X}.", field=field)
