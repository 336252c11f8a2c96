"""In a real browser: a live run keeps focus and open menus, links are edited in place, and nothing needs a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect, sync_playwright
from werkzeug.serving import make_server

from pwserver import assets
from tests.conftest import Cast, email_of, password_of
from tests.web import scenes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    assets.build()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(5)
    server.server_close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(chromium: Browser, address: str) -> Iterator[Open]:
    """Signs somebody in and opens a path; at the end, nothing the policy blocks and no error was on the console."""
    contexts, said = [], []

    def make(name: str, path: str, *, width: int = 1280, theme: str = "light", script: bool = True) -> Page:
        context = chromium.new_context(
            base_url=address, viewport={"width": width, "height": 900}, color_scheme=theme, java_script_enabled=script
        )  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto("/sign-in")
        page.fill("input[name=email]", email_of(name))
        page.fill("input[name=password]", password_of(name).open())
        page.click("button[type=submit]")
        page.wait_for_url("**/")
        page.goto(path)
        return page

    yield make
    for context in contexts:
        context.close()
    # A refused form answers 422, a stale one 409, which Chromium notes; it is no error of the page.
    assert [words for words in said if "422" not in words and "409" not in words] == []


def test_a_live_run_moves_rows_and_keeps_focus_and_says_each_step_once(app: Flask, open_page: Open) -> None:
    with app.app_context():
        entry, _run = scenes.changing()
        entry_id, third = entry.id, scenes.link(entry, "LAB-03").id
    page = open_page("olivia", f"/passwords/{entry_id}/synchronization")
    stop = page.get_by_role("button", name="Stop after this link")
    stop.focus()
    expect(page.locator(f"#link-{third}")).to_contain_text("Changing")
    with app.app_context():
        scenes.finish_attempts(Cast().entry)
        scenes.proved(scenes.link(Cast().entry, "LAB-03"))
    expect(page.locator(f"#link-{third}")).to_contain_text("logged on")
    expect(page.locator("#progress")).to_contain_text("3 of 8 links done")
    expect(page.locator("#say")).to_have_text("3 of 8 links done.")
    assert stop.evaluate("one => one === document.activeElement"), "the swap took the focus away"
    with app.app_context():
        scenes.end_runs(Cast().entry)
    expect(page.get_by_role("heading", name="Sync chain")).to_be_visible()
    expect(page.locator("#status-head")).to_contain_text("Out of Sync")
    expect(page.locator("#poll")).to_have_count(0)


def test_a_link_is_added_and_moved_in_place_by_keyboard(app: Flask, open_page: Open) -> None:
    with app.app_context():
        entry_id = scenes.chain(["LAB-02", "LAB-03"], places=False).id
    page = open_page("olivia", f"/passwords/{entry_id}/synchronization")
    page.locator("summary", has_text="Add a link").press("Enter")
    page.get_by_role("link", name="Remote Windows Password").press("Enter")
    page.get_by_label("Machine").fill("LAB 09")
    page.get_by_label("User name").fill("Administrator")
    page.get_by_role("button", name="Add link and test it").press("Enter")
    expect(page.locator("#l-machine-error")).to_be_visible()
    expect(page.get_by_label("User name")).to_have_value("Administrator")
    page.get_by_label("Machine").fill("LAB-09")
    page.get_by_role("button", name="Add link and test it").press("Enter")
    expect(page.locator(".pw-link").last).to_contain_text("LAB-09")
    with app.app_context():
        scenes.end_runs(Cast().entry)
    page.reload()
    page.get_by_role("button", name="Move link 4, LAB-09 Administrator, up").press("Enter")
    expect(page.locator(".pw-link").nth(2)).to_contain_text("LAB-09")
    expect(page.locator("#say")).to_have_text("LAB-09 moved up.")


def test_everything_needed_works_without_script(app: Flask, open_page: Open) -> None:
    with app.app_context():
        entry_id = scenes.out_of_sync().id
    page = open_page("olivia", f"/passwords/{entry_id}/synchronization", script=False)
    page.get_by_role("link", name="LAB-02 Administrator", exact=True).click()
    expect(page.get_by_label("Machine")).to_have_value("LAB-02")
    page.get_by_role("button", name="Save link").click()
    expect(page.locator("#flash")).to_contain_text("Link to LAB-02 saved")
    page.get_by_role("link", name="Approve…").first.click()
    expect(page.get_by_role("heading", name="Bring Lab Administrator back into sync")).to_be_visible()


def test_the_certificate_that_is_shown_is_that_of_the_agent_that_is_chosen(app: Flask, open_page: Open) -> None:
    with app.app_context():
        entry_id = scenes.chain(["LAB-02"], places=False).id
        scenes.agent("SRV-02", linked=False)
    page = open_page("olivia", f"/passwords/{entry_id}/synchronization")
    facts = page.locator("#agent-facts")
    expect(facts.get_by_text("Its linked credential is")).to_be_visible()
    expect(facts.get_by_text("It has no linked credential")).to_be_hidden()
    page.get_by_label("Sync agent").select_option(label="SRV-02 (42 machines)")
    expect(facts.get_by_text("Its linked credential is")).to_be_hidden()
    expect(facts.get_by_text("SRV-02. Healthy. It has no linked credential.")).to_be_visible()
    expect(facts.locator(".pw-print >> visible=true")).to_have_count(1)
    plain = open_page("olivia", f"/passwords/{entry_id}/synchronization", script=False)
    expect(plain.locator("#agent-facts .pw-print >> visible=true")).to_have_count(2)
