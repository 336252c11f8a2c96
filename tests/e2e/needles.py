"""Looks for secrets in bytes: in clear, base64 at every alignment, UTF-16, percent form, JSON and HTML escapes."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Mapping
from urllib.parse import quote


def _base64_cores(data: bytes) -> set[bytes]:
    """The characters that stand in any base64 text with ``data`` somewhere in it: one form per alignment."""
    found = set()
    for lead in range(3):
        text = base64.b64encode(b"\0" * lead + data)
        start = (lead * 8 + 5) // 6  # the first characters hold bits of what stood before
        end = (lead + len(data)) * 8 // 6  # and the last ones of what comes after
        found.add(text[start:end])
    return found


def forms(secret: str) -> dict[bytes, str]:
    """Bytes to look for → what they would be."""
    raw, wide = secret.encode(), secret.encode("utf-16-le")
    found = {
        raw: "clear",
        wide: "UTF-16LE",
        secret.encode("utf-16-be"): "UTF-16BE",
        quote(secret, safe="").encode(): "percent",
        quote(secret, safe="").lower().encode(): "percent, small",
        json.dumps(secret)[1:-1].encode(): "JSON",
        html.escape(secret).encode(): "HTML",
        raw.hex().encode(): "hex",
        wide.hex().encode(): "hex of UTF-16LE",
    }
    for core in _base64_cores(raw):
        found[core] = "base64"
    for core in _base64_cores(wide):
        found[core] = "base64 of UTF-16LE"
    url_safe = {core.replace(b"+", b"-").replace(b"/", b"_"): what for core, what in found.items() if "base64" in what}
    return found | url_safe


def hits(haystacks: Mapping[str, bytes], secrets: Iterable[str]) -> list[str]:
    """ "place: form of secret n" for everything found; the secret itself is never repeated."""
    return [
        f"{place}: {what} of secret {number}"
        for number, secret in enumerate(secrets, 1)
        for needle, what in forms(secret).items()
        for place, data in haystacks.items()
        if needle in data
    ]
