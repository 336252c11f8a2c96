"""The History tab: versions, runs and events; a value is shown by an audited POST only."""

from __future__ import annotations

import re
from collections.abc import Callable

from flask import Flask

from pwserver.extensions import db
from pwserver.models import Event
from tests.conftest import VALUE, Cast
from tests.web import scenes
from tests.web.conftest import Browser

Of = Callable[[str], Browser]


def test_versions_runs_and_events_are_listed_and_no_value_is_there(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        entry_id = scenes.changing()[0].id
    page = browser_of("vera").get(f"/passwords/{entry_id}/history").text
    assert VALUE not in page
    assert "Next-93kq#Rezun-2" not in page
    assert "Change <span" in page
    assert re.search(r"Current.*Previous", page, re.DOTALL)
    assert "Olivia Ortiz asked to change it everywhere: version 2, run 2" in page


def test_showing_an_old_version_is_recorded(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        entry_id = scenes.changing()[0].id
    browser = browser_of("vera")
    page = browser.get(f"/passwords/{entry_id}/history").text
    forms = re.findall(r'name="version" value="([^"]+)"><button[^>]*aria-label="Show version (\d+)"', page)
    old = next(version for version, number in forms if number == "1")
    shown = browser.post(f"/passwords/{entry_id}/show", {"version": old})
    assert shown.status_code == 200
    with app.app_context():
        [event] = db.session.scalars(db.select(Event).filter_by(verb="password.shown"))
        assert (event.actor_id, event.facts["version"]) == (Cast().vera.id, 1)
    assert "Vera Voss showed version 1" in browser.get(f"/passwords/{entry_id}/history").text


def test_older_events_are_on_further_pages(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        entry_id = scenes.chain([f"LAB-{number:02}" for number in range(2, 42)]).id
    browser = browser_of("vera")
    first = browser.get(f"/passwords/{entry_id}/history").text
    older = re.search(r'href="([^"]+before=\d+)#events">Older', first)
    assert older
    assert "created this password" not in first
    assert "created this password" in browser.get(older[1]).text
    assert browser.get(f"/passwords/{entry_id}/history?before=x").status_code == 200


def test_a_password_without_a_chain_has_a_history_too(ids: dict[str, str], browser_of: Of) -> None:
    page = browser_of("vera").get(f"/passwords/{ids['entry_id']}/history").text
    assert "Olivia Ortiz created this password" in page
    assert "Runs of this chain" not in page
