"""A fact about Windows, the three answers to it, and what they show together. Nothing here starts anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Other = TypeVar("Other")
Lab = TypeVar("Lab")


@dataclass(frozen=True, slots=True)
class Fact(Generic[Other, Lab]):
    """One fact. ``expected`` is what Microsoft's documents say, as JSON has it.

    ``theirs`` and ``lab`` put the same calls to the other program and to the lab's model, and bring both answers into
    the form of ``expected``. ``lab`` is None where the lab has no such call. Facts are checked in the order of their
    list: what one leaves behind, the next finds.
    """

    name: str
    call: str
    says: str
    expected: Any
    theirs: Callable[[Other], Any]
    lab: Callable[[Lab], Any] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference that is known, and why it is none of ours."""

    fact: str
    call: str
    ours: Any
    theirs: Any
    why: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The answers that were given to one fact."""

    name: str
    expected: Any
    theirs: Any
    lab: Any = None
    lab_was_asked: bool = False


EQUAL, LISTED, UNLISTED = "equal", "listed", "unlisted"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the answers to one fact show. ``text`` says what is wrong when it is *unlisted*."""

    name: str
    kind: str
    text: str = ""


def judge(checked: Checked, listed: Mapping[str, Difference]) -> Verdict:
    """Compare the answers to one fact with each other and with the list of differences."""
    name, difference = checked.name, listed.get(checked.name)
    if checked.lab_was_asked and checked.lab != checked.expected:
        text = f"the lab answers {checked.lab!r}, the document says {checked.expected!r}"
        return Verdict(name, UNLISTED, text + (", and so does the other" if checked.theirs == checked.expected else ""))
    if checked.theirs == checked.expected:
        if difference is None:
            return Verdict(name, EQUAL)
        return Verdict(name, UNLISTED, "the listed difference is gone: take it off the list")
    if difference is None:
        return Verdict(name, UNLISTED, f"theirs {checked.theirs!r}, ours {checked.expected!r}")
    if (difference.ours, difference.theirs) != (checked.expected, checked.theirs):
        return Verdict(name, UNLISTED, f"theirs {checked.theirs!r}, ours {checked.expected!r}, listed otherwise")
    return Verdict(name, LISTED)


def strays(listed: Mapping[str, Difference], facts: Sequence[Fact[Any, Any]]) -> list[str]:
    """Listed differences of facts that no list has."""
    known = {fact.name for fact in facts}
    return sorted(name for name in listed if name not in known)


def pick(answer: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Some of the fields of an answer; null for one that it does not have."""
    return {name: answer.get(name) for name in names}
