"""By keyboard alone, in a browser: every control is reached and seen to be, menus close and give the focus back."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from tests.web import scenes, stage
from tests.web.test_sync_browser import Open, address, chromium, open_page

__all__ = ["address", "chromium", "open_page"]  # fixtures
pytestmark = [pytest.mark.browser, pytest.mark.timeout(240), pytest.mark.breaks_invariants]

CONTROLS = """() => [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
    .filter(one => !one.disabled && one.tabIndex >= 0 && one.checkVisibility({visibilityProperty: true}))
    .filter(one => one.type !== 'radio' || one.checked)
    .map(one => { one.dataset.walk = ''; return one; }).length"""
HERE = """() => {
    const one = document.activeElement, style = getComputedStyle(one);
    if (!('walk' in one.dataset)) return null;
    const first = one.dataset.walk === '';
    one.dataset.walk = 'seen';
    const shown = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1;
    return {first, shown, name: one.outerHTML.slice(0, 120)};
}"""
LEFT = "() => [...document.querySelectorAll('[data-walk=\"\"]')].map(one => one.outerHTML.slice(0, 120))"


def walk(page: Page) -> list[str]:
    """Goes through a page by Tab, once round; what was not reached, and what did not show it."""
    wrong, count = [], page.evaluate(CONTROLS)
    for _ in range(count + 20):
        page.keyboard.press("Tab")
        here: dict[str, Any] | None = page.evaluate(HERE)
        if here and here["first"] and not here["shown"]:
            wrong.append(f"no focus is seen on {here['name']}")
    return wrong + [f"not reached: {each}" for each in page.evaluate(LEFT)]


@pytest.mark.parametrize("width", [1280, 390])
def test_every_control_is_reached_and_seen_to_be(app: Flask, open_page: Open, width: int) -> None:
    ids = stage.out_of_sync(app)
    page = open_page("olivia", "/", width=width)
    password = f"/passwords/{ids['entry_id']}"
    for path in (
        "/",
        f"/vaults/{ids['vault_id']}",
        f"/vaults/{ids['vault_id']}/members",
        password,
        f"{password}/synchronization",
        f"{password}/change",
        f"{password}/approve",
        f"/passwords/{ids['long']}/synchronization",
        f"/runs/{ids['run_id']}",
        "/agents",
        f"/agents/{ids['agent_id']}",
        f"/outbox/{ids['mail_id']}",
        "/users",
    ):
        page.goto(path)
        assert walk(page) == [], path


def test_the_menu_of_a_phone_keeps_the_focus_and_gives_it_back(open_page: Open) -> None:
    page = open_page("olivia", "/vaults", width=390)
    opener = page.get_by_role("button", name="Menu")
    opener.press("Enter")
    expect(page.locator("#nav.show")).to_be_visible()
    for _ in range(30):
        page.keyboard.press("Tab")
        assert page.evaluate("document.getElementById('nav').contains(document.activeElement)")
    page.keyboard.press("Escape")
    expect(page.locator("#nav")).to_be_hidden()
    expect(opener).to_be_focused()


def test_a_menu_closes_by_escape_and_gives_the_focus_back(app: Flask, open_page: Open) -> None:
    with app.app_context():
        entry_id = scenes.chain(["LAB-02"], places=False).id
    page = open_page("olivia", f"/passwords/{entry_id}/synchronization")
    more = page.get_by_role("button", name="More for link 2")
    more.press("Enter")
    expect(page.locator(".dropdown-menu.show")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    expect(page.locator(".dropdown-menu.show")).to_have_count(0)
    expect(more).to_be_focused()


def test_a_menu_that_needs_no_script_closes_the_same_way(open_page: Open) -> None:
    page = open_page("ada", "/users")
    more = page.locator(".pw-more > summary").first
    more.press("Enter")
    expect(page.locator(".pw-more[open]")).to_have_count(1)
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(page.locator(".pw-more[open]")).to_have_count(0)
    expect(more).to_be_focused()
    more.click()
    page.locator("h1").click()
    expect(page.locator(".pw-more[open]")).to_have_count(0)


@pytest.mark.parametrize(("wish", "name"), [("no-preference", "spin"), ("reduce", "none")])
def test_nothing_turns_where_the_reader_wants_no_motion(
    app: Flask, chromium: Browser, open_page: Open, wish: str, name: str
) -> None:
    with app.app_context():
        entry_id = scenes.changing()[0].id
    page = open_page("olivia", "/")
    page.emulate_media(reduced_motion=wish)  # type: ignore[arg-type]  # one of the two words it takes
    page.goto(f"/passwords/{entry_id}/synchronization")
    turning = page.locator(".pw-link .spin").first
    assert turning.evaluate("one => getComputedStyle(one).animationName") == name
