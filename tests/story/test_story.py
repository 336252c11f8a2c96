"""The whole story in Chromium, as a person walks it; and that the walk would see what must not be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.depth import deep
from tests.jobs.conftest import instance, spawn  # noqa: F401  # fixtures
from tests.story.browser import Browser, parse
from tests.story.chromium import PROGRAM
from tests.story.instance import Instance
from tests.story.steps import FORTY, TROUBLE, Tale
from tests.story.story import walk

FORM = """
<form method="post" action="/elsewhere" id="f">
<input type="hidden" name="csrf_token" value="t"><input name="name" value="as &amp; is">
<input type="checkbox" name="tick" value="1" checked><input type="checkbox" name="tick" value="2">
<input type="checkbox" name="tick" value="3" checked disabled>
<input type="radio" name="way" value="a"><input type="radio" name="way" value="b" checked>
<select name="pick"><option value="x">X</option><option value="y" selected>Y</option></select>
<select name="first"><option value="p">P</option><option value="q">Q</option></select><textarea name="long">
one
two</textarea><button type="submit">Save <b>all</b></button></form>
<button form="f" formaction="/other">Remove</button><button disabled form="f">Resting</button>
"""


TALES = [
    pytest.param(TROUBLE, id="trouble", marks=pytest.mark.xdist_group("story-trouble")),
    pytest.param(FORTY, id="forty", marks=pytest.mark.xdist_group("story-forty")),
]
"""The quick depth walks the first: more acts, and most of what can go wrong. Each is a lane of its own."""


@pytest.mark.sweep
@pytest.mark.browser
@pytest.mark.enable_socket
@pytest.mark.timeout(300)
@pytest.mark.skipif(not PROGRAM and os.environ.get("CI") != "true", reason="no Chromium here")
@pytest.mark.parametrize("tale", TALES[: deep(1, 2)])
@pytest.mark.budget(180, "a whole instance and a Chromium, walked through for minutes")
def test_the_whole_story(tale: Tale, instance: Path, spawn: Callable[..., subprocess.Popen[str]]) -> None:  # noqa: F811
    found = walk(instance, spawn, tale)
    assert [step for step in found["steps"] if not step["ok"]] == []
    assert len(found["steps"]) == len(tale)
    assert found["measured"].get("wrong_logons_of_a_clean_change", 0) == 0


def test_a_form_is_sent_as_a_browser_sends_it() -> None:
    page = parse("http://here/", 200, FORM.encode())
    form = page.form_of(page.button("Save all"))
    assert page.fields(form) == [
        ("csrf_token", "t"), ("name", "as & is"), ("tick", "1"), ("way", "b"), ("pick", "y"), ("first", "p"),
        ("long", "one\ntwo"),
    ]  # fmt: skip
    assert page.form_of(page.button("Remove")) is form
    with pytest.raises(AssertionError, match="disabled"):
        page.button("Resting")
    with pytest.raises(AssertionError, match="has no"):
        page.button("Save all", ["no_such_field"])


@pytest.mark.parametrize(
    ("body", "words"),
    [("a page with Kestrel-Fjord/41=Amber in it", "secret"), ("Traceback (most recent call last)", "inside")],
)
def test_the_walk_sees_a_secret_and_a_trace(body: str, words: str) -> None:
    looking = object.__new__(Instance)
    looking.browser, looking.secrets = Browser("http://here"), []
    looking.knows("Kestrel-Fjord/41=Amber")
    looking.browser.seen.append(("/fine", b"nothing of that kind"))
    looking.look_through()
    looking.browser.seen.append(("/", body.encode()))
    with pytest.raises(AssertionError, match=words):
        looking.look_through()


def test_after_a_step_that_is_not_ok_the_others_are_not_reached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.story.story.Story", lambda *_: _Nothing())
    steps = [("good", lambda _: "In Sync"), ("bad", _fails), ("late", lambda _: "In Sync")]
    told = walk(tmp_path, subprocess.Popen, steps)["steps"]
    assert [(step["n"], step["ok"], step["saw"]) for step in told] == [
        (1, True, "In Sync"), (2, False, "LAB-05 is red"), (3, False, "not reached")
    ]  # fmt: skip


def _fails(_: object) -> str:
    raise AssertionError("LAB-05 is red")


class _Nothing:
    measured: dict[str, object] = {}
    instance = type("NoInstance", (), {"look_through": lambda self: None})()

    def end(self) -> None:
        """Nothing was begun."""
