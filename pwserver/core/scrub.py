"""Takes known secrets out of text that came from outside."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from urllib.parse import quote

from pwserver.core.secrets import Secret

STARS = "********"


def forms(secret: Secret) -> list[str]:
    """The ways a value may show up in a machine's sentence: as is, base64 (UTF-8 and UTF-16), percent, JSON escapes."""
    text = secret.open()
    raw, wide = text.encode(), text.encode("utf-16-le")
    escaped = text.encode("unicode_escape").decode()
    candidates = {
        text,
        base64.b64encode(raw).decode().rstrip("="),
        base64.b64encode(wide).decode().rstrip("="),
        quote(text),
        quote(text, safe=""),
        escaped,
        text.replace("\\", "\\\\").replace('"', '\\"'),
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
    }
    return sorted((candidate for candidate in candidates if candidate), key=len, reverse=True)


def scrub(text: str, secrets: Iterable[Secret]) -> str:
    """``text`` with every form of every secret replaced by stars."""
    for secret in secrets:
        for form in forms(secret):
            text = text.replace(form, STARS)
    return text
