"""Folds of a long chain in a browser: fetched when opened, without a jump, and kept open by what is done in them."""

from __future__ import annotations

import pytest
from flask import Flask
from playwright.sync_api import Page, Route, expect

from tests.conftest import Cast
from tests.web import scenes
from tests.web.test_sync_browser import Open, address, chromium, open_page

__all__ = ["address", "chromium", "open_page"]  # fixtures
pytestmark = [pytest.mark.browser, pytest.mark.timeout(120), pytest.mark.breaks_invariants]

LONG = [f"LAB-{number:02}" for number in range(2, 22)]


@pytest.fixture
def path(app: Flask) -> str:
    with app.app_context():
        return f"/passwords/{scenes.chain(LONG, places=False).id}/synchronization"


def height(page: Page) -> float:
    box = page.locator(".pw-fold").bounding_box()
    assert box
    return box["height"]


@pytest.mark.parametrize("width", [1280, 390])
def test_its_rows_come_when_it_opens_and_nothing_jumps(open_page: Open, path: str, width: int) -> None:
    page, held = open_page("olivia", path, width=width), []
    page.route("**/synchronization/fold?*", lambda route: held.append(route))
    summary = page.locator(".pw-fold summary")
    summary.press("Enter")
    expect(page.locator(".pw-later .placeholder").first).to_be_visible()
    expect(page.get_by_role("link", name="Show these 20 links")).to_be_hidden()
    expect(page.locator(".pw-link[id]")).to_have_count(1)
    waiting = height(page)
    held[0].continue_()
    expect(page.get_by_role("heading", name="LAB-09 Administrator")).to_be_visible()
    expect(page.locator(".pw-later")).to_have_count(0)
    expect(page.locator(".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added")).to_have_count(0)
    expect(page.locator(".pw-fold time:not([data-local])")).to_have_count(0)
    assert abs(height(page) - waiting) < 4, "the page jumped when the rows came"
    assert summary.evaluate("one => one === document.activeElement")
    summary.press("Enter")
    summary.press("Enter")
    expect(page.get_by_role("heading", name="LAB-09 Administrator")).to_be_visible()
    assert len(held) == 1, "once is enough"


def test_one_that_was_opened_before_the_scripts_came_is_filled_too(open_page: Open, path: str) -> None:
    page, held = open_page("olivia", "/"), []
    page.route("**/htmx.min.js*", lambda route: held.append(route))
    page.goto(path, wait_until="commit")
    page.locator(".pw-fold summary").click()
    expect(page.get_by_role("link", name="Show these 20 links")).to_be_visible()
    held[0].continue_()
    expect(page.get_by_role("heading", name="LAB-09 Administrator")).to_be_visible()


def test_where_they_do_not_come_a_link_leads_to_them(open_page: Open, path: str) -> None:
    page = open_page("olivia", path)
    page.route("**/synchronization/fold?*", lambda route: route.fulfill(status=204))
    page.locator(".pw-fold summary").click()
    expect(page.locator(".pw-later .placeholder").first).to_be_hidden()
    page.get_by_role("link", name="Show these 20 links").click()
    expect(page.get_by_role("heading", name="LAB-09 Administrator")).to_be_visible()


def test_what_is_done_in_a_fold_leaves_it_open_and_the_focus_where_it_was(open_page: Open, path: str) -> None:
    page = open_page("olivia", path)
    page.locator(".pw-fold summary").click()
    page.get_by_role("button", name="Move link 9, LAB-09 Administrator, up").press("Enter")
    expect(page.locator("#say")).to_have_text("LAB-09 moved up.")
    up = page.get_by_role("button", name="Move link 8, LAB-09 Administrator, up")
    expect(up).to_be_visible()
    expect(up).to_be_focused()


def test_the_first_of_a_fold_is_moved_down_in_it(open_page: Open, path: str) -> None:
    page = open_page("olivia", path)
    page.locator(".pw-fold summary").click()
    page.get_by_role("button", name="Move link 2, LAB-02 Administrator, down").press("Enter")
    expect(page.get_by_role("button", name="Move link 3, LAB-02 Administrator, down")).to_be_focused()


def test_a_link_is_dragged_over_a_fold_that_was_never_opened(app: Flask, open_page: Open, path: str) -> None:
    with app.app_context():
        scenes.refused(scenes.link(Cast().entry, "LAB-21"))
    page = open_page("olivia", path)
    grip = page.locator(".pw-link", has_text="LAB-21").locator(".pw-no").bounding_box()
    goal = page.locator(".pw-fold").bounding_box()
    assert grip
    assert goal
    page.mouse.move(grip["x"] + 10, grip["y"] + 10)
    page.mouse.down()
    page.mouse.move(grip["x"] + 12, goal["y"] + 20, steps=4)
    page.mouse.move(grip["x"] + 12, goal["y"] + 4, steps=4)
    page.mouse.up()
    expect(page.locator("#say")).to_have_text("LAB-21 is link 2 now.")
    with app.app_context():
        order = [link.machine for link in scenes.links(Cast().entry)]
    assert order == ["LAB-01", "LAB-21", *LONG[:-1]]


def test_a_fold_stays_through_a_live_run(app: Flask, open_page: Open, path: str) -> None:
    with app.app_context():
        scenes.run(Cast().entry, "test")
    asked: list[str] = []

    def note(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_()

    page = open_page("olivia", path)
    page.route("**/synchronization/changes?*", note)
    with app.app_context():
        scenes.silent(scenes.link(Cast().entry, "LAB-21"))
    expect(page.locator(".pw-link[id]")).to_have_count(2)
    expect(page.locator(".pw-fold summary")).to_contain_text("19 links in sync")
    page.locator(".pw-fold summary").click()
    row = page.locator(".pw-link", has_text="LAB-09")
    expect(row).to_be_visible()
    with app.app_context():
        scenes.proved(scenes.link(Cast().entry, "LAB-09"), means="read back")
    expect(row).to_contain_text("read back")
    expect(page.locator(".pw-fold details[open]")).to_have_count(1)
    assert asked
