"""A sentence with moments in it: words as words, times as times, so that a page can show them in the reader's zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

Part = str | datetime


@dataclass(frozen=True, slots=True)
class Said:
    """Text and moments in reading order. Empty is false."""

    parts: tuple[Part, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __add__(self, other: Said) -> Said:
        return Said(self.parts + other.parts)

    def plain(self, now: datetime) -> str:
        """As text, times in UTC; for labels, the live region and tests."""
        return "".join(part if isinstance(part, str) else clock(part, now) for part in self.parts)


def say(*parts: Part | None) -> Said:
    """A sentence of its parts; None and "" are left out."""
    return Said(tuple(part for part in parts if part))


def listed(words: list[str]) -> str:
    """``A``, ``A and B``, ``A, B and C``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def named(words: list[str], at_most: int = 3) -> str:
    """``listed``, but long lists end with how many more there are."""
    if len(words) <= at_most + 1:
        return listed(words)
    return f"{', '.join(words[:at_most])} and {len(words) - at_most} more"


def counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def clock(moment: datetime, now: datetime) -> str:
    """The time of day when it is today, else the day and the minute; UTC."""
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    if moment.date() == now.date():
        return f"{moment:%H:%M:%S}"
    if moment.year == now.year:
        return f"{moment:%a} {moment.day} {moment:%b}, {moment:%H:%M}"
    return f"{moment.day} {moment:%b %Y}, {moment:%H:%M}"


def lasted(seconds: float) -> str:
    """How long something took, in the two largest units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    return f"{hours} h" if hours < 48 else counted(round(seconds / 86400), "day")
