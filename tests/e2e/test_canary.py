"""Recognisable secrets travel the whole product, in real processes; afterwards they are nowhere but sealed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e import leaks
from tests.e2e.leaks import NEEDLES, SHOWN, Haystacks, good, judge, search
from tests.e2e.needles import forms, hits
from tests.jobs.kills import spawn

pytestmark = [pytest.mark.enable_socket, pytest.mark.timeout(600), pytest.mark.xdist_group("supervisor")]

Found = tuple[Haystacks, dict[str, str], dict[str, bytes]]
KINDS = {
    "database", "wal", "redis", "logs", "tracebacks", "pages", SHOWN, "command lines", "environments",
    "command output", "lab requests", "console", "files",
}  # fmt: skip


@pytest.mark.budget(240, "a whole instance, in which a dozen secrets travel every way")
def test_secrets_are_nowhere_but_sealed_after_they_travelled_the_whole_product(tmp_path: Path) -> None:
    hay, needles, words = found = search(tmp_path / "instance", spawn)
    told = judge(*found)
    assert told["hits"] == []
    assert {kind for kind, each in told["haystacks"].items() if each["marker"]} == set(told["haystacks"]) == KINDS
    assert told["needles"] == len(needles) > len(NEEDLES) + 3
    assert good(told)
    a_planted_leak_is_seen_everywhere(hay, needles, words)
    a_place_that_was_not_read_is_seen(hay, needles, words)


def a_planted_leak_is_seen_everywhere(hay: Haystacks, needles: dict[str, str], words: dict[str, bytes]) -> None:
    leak = base64.b64encode(b"x" + NEEDLES["administrator"].encode("utf-16-le"))
    for kind, places in hay.items():
        place = next(iter(places))
        told = judge({kind: {place: places[place][:9999] + leak}}, {"administrator": NEEDLES["administrator"]}, words)
        assert told["hits"] == [f"{kind}, {place}: base64 of UTF-16LE of administrator"]
        assert not good(told)


def a_place_that_was_not_read_is_seen(hay: Haystacks, needles: dict[str, str], words: dict[str, bytes]) -> None:
    for kind in hay:
        empty = judge({kind: {"here": b"nothing of it"}}, {}, words)
        assert not empty["haystacks"][kind]["marker"]
        assert not good(empty)


def test_a_value_shown_is_expected_in_that_answer_and_nowhere_else() -> None:
    value, words = NEEDLES["approved"].encode(), {SHOWN: b"", "pages": b"", "console": b""}
    assert judge({SHOWN: {"Show": value}}, NEEDLES, words)["hits"] == []
    assert judge({"pages": {"/": value}}, NEEDLES, words)["hits"][0].startswith("pages, /: ")
    other = NEEDLES["device"].encode()
    assert judge({SHOWN: {"Show": other}}, NEEDLES, words)["hits"][0].startswith(f"{SHOWN}, Show: ")


def test_a_value_coloured_letter_by_letter_is_found_as_it_reads() -> None:
    page = b"<b>%s</b><i>%s</i>" % (b"Rohr&lt;12", b"dommel&amp;34")
    assert not hits({"page": page}, ["Rohr<12dommel&34"])
    assert hits({"page": leaks.as_read(page)}, ["Rohr<12dommel&34"])


@pytest.mark.parametrize(
    "leak",
    [
        lambda word: word.encode(),
        lambda word: word.encode("utf-16-le"),
        lambda word: base64.b64encode(word.encode()),
        lambda word: base64.b64encode(b"a" + word.encode() + b"bc"),
        lambda word: base64.urlsafe_b64encode(b"ab" + word.encode("utf-16-le") + b"b"),
        lambda word: quote(word, safe="").encode(),
        lambda word: json.dumps({"p": word}).encode(),
        lambda word: word.encode().hex().encode(),
    ],
)
def test_a_planted_leak_is_seen_in_every_form(leak: Callable[[str], bytes]) -> None:
    for name, word in NEEDLES.items():
        assert hits({"here": b"before " + leak(word) + b" after"}, [word]), name
        assert not hits({"here": b"before after"}, [word])
        assert all(len(needle) >= 12 for needle in forms(word)), "long enough not to be met by chance"
