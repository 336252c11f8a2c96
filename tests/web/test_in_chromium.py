"""What only a real browser can tell: our script, the policy, and that no page needs either. Group: browser."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from pwserver import assets
from pwserver.models import SyncChain, SyncLink
from pwserver.services.transaction import write
from tests.conftest import VALUE, Cast, Clock, email_of, password_of
from tests.web import scenes
from tests.web.things import add_everything

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = os.environ.get("PWSERVER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not CHROMIUM and os.environ.get("CI") != "true", reason="no Chromium here"),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    assets.build()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def live(app: Flask) -> Iterator[str]:
    """The app on a free port of loopback."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Page:
    """A page that remembers what the browser complained of."""

    def __init__(self, chromium: Any, live: str, name: str | None = "olivia", **context: Any) -> None:
        self.live = live
        self.context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda said: self._heard(said))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        if name:
            self.page.goto(f"{live}/sign-in")
            self.page.fill("#f-email", email_of(name))
            self.page.fill("#f-password", password_of(name).open())
            self.page.click("main button[type=submit]:has-text('Sign in')")
            self.page.wait_for_load_state()
            self.complaints.clear()

    def _heard(self, said: Any) -> None:
        if said.type in ("error", "warning"):
            self.complaints.append(said.text)

    def open(self, path: str) -> Any:
        self.page.goto(self.live + path)  # returns after load, so after our script, which is deferred
        return self.page


def test_a_shown_password_hides_itself(chromium: Any, live: str, ids: dict[str, str]) -> None:
    here = Page(chromium, live)
    here.page.clock.install()
    page = here.open(f"/passwords/{ids['entry_id']}")
    page.click("#secret button:has-text('Show')")
    page.wait_for_selector("#secret-value")
    assert page.inner_text("#secret-value") == VALUE
    page.clock.run_for(29_000)
    assert page.inner_text("#secret-value") == VALUE
    page.clock.run_for(2_000)
    page.wait_for_selector("#secret-value", state="detached")
    assert VALUE not in page.content()
    assert here.complaints == []
    here.context.close()


def test_a_copied_password_is_in_the_clipboard_and_not_on_the_page(
    chromium: Any, live: str, ids: dict[str, str]
) -> None:
    here = Page(chromium, live, permissions=["clipboard-read", "clipboard-write"])
    here.page.clock.install()
    page = here.open(f"/passwords/{ids['entry_id']}")
    page.click("header >> text=Copy password")
    page.wait_for_selector("[data-copied]:not([hidden])")
    assert page.evaluate("navigator.clipboard.readText()") == VALUE
    assert VALUE not in page.inner_text("#secret")
    sync_api.expect(page.locator("#say")).to_contain_text("in the clipboard")
    page.clock.run_for(31_000)
    page.wait_for_function("navigator.clipboard.readText().then((text) => text === '')")
    assert here.complaints == []
    here.context.close()


def test_without_script_a_password_is_shown_and_leaves_again(chromium: Any, live: str, ids: dict[str, str]) -> None:
    here = Page(chromium, live, java_script_enabled=False)
    page = here.open(f"/passwords/{ids['entry_id']}")
    page.click("#secret button:has-text('Show')")
    page.wait_for_selector("#secret-value")
    assert page.inner_text("#secret-value") == VALUE
    page.click("#secret >> text=Hide")
    page.wait_for_selector("#secret-value", state="detached")
    here.context.close()


@pytest.mark.parametrize("script", [True, False])
def test_a_password_is_generated_and_saved_by_keyboard(
    chromium: Any, live: str, ids: dict[str, str], script: bool
) -> None:
    here = Page(chromium, live, java_script_enabled=script)
    page = here.open(f"/vaults/{ids['vault_id']}/passwords/new")
    page.focus("#f-name")
    page.keyboard.type("Wiki")
    page.select_option("#f-type", "generic")
    page.focus("#generator button:has-text('Generate')")
    page.keyboard.press("Enter")
    page.wait_for_selector("#g-value[type=text]")
    value = page.input_value("#g-value")
    assert len(value) == 20
    assert page.input_value("#f-name") == "Wiki"
    page.focus("#f-user_name")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Wiki')")
    page.click("#secret button:has-text('Show')")
    page.wait_for_selector("#secret-value")
    assert page.inner_text("#secret-value") == value
    assert here.complaints == []
    here.context.close()


def test_a_refused_form_comes_back_in_place(chromium: Any, live: str, ids: dict[str, str]) -> None:
    here = Page(chromium, live)
    page = here.open(f"/vaults/{ids['vault_id']}/passwords/new")
    page.click("text=What Generate makes")
    for name in ("lower", "upper", "digits", "symbols"):
        page.uncheck(f"#g-{name}")
    page.click("#generator button:has-text('Generate')")
    page.wait_for_selector("#generator .invalid-feedback")
    assert "at least one kind" in page.inner_text("#generator .invalid-feedback")
    here.context.close()


def test_times_are_in_the_viewers_zone(chromium: Any, live: str, ids: dict[str, str], clock: Clock) -> None:
    here = Page(chromium, live, timezone_id="Asia/Tokyo", locale="en-GB")
    page = here.open(f"/passwords/{ids['entry_id']}")
    assert page.inner_text("#zone") == "Times are in Asia/Tokyo."
    assert page.inner_text("aside time").endswith("11:00"), "02:00 UTC"
    here.context.close()


WALK = [
    "/sign-in",
    "/vaults",
    "/vaults/new",
    "/vaults/{vault_id}",
    "/vaults/{vault_id}/members",
    "/vaults/{vault_id}/rename",
    "/vaults/{vault_id}/trash",
    "/vaults/{vault_id}/passwords/new",
    "/passwords/{entry_id}",
    "/passwords/{entry_id}/trash",
    "/users",
    "/users/new",
    "/agents",
    "/agents/new",
    "/agents/{agent_id}",
    "/agents/{agent_id}/address",
    "/account",
    "/account/password",
    "/",
    "/runs",
    "/runs/{run_id}",
    "/passwords/{entry_id}/synchronization",
    "/passwords/{entry_id}/change",
    "/passwords/{entry_id}/history",
    "/passwords/{entry_id}/links/new",
]


@pytest.mark.breaks_invariants
def test_long_names_break_and_push_no_page_wide(chromium: Any, app: Flask, live: str) -> None:
    ids = add_everything(app)
    with app.app_context(), write() as session:
        cast = Cast()
        session.merge(cast.olivia).org_admin = True
        session.merge(cast.eddie).name = "Überlang" * 14
        session.merge(cast.vault).name = "Laboratorium" * 10
        entry = session.merge(cast.entry)
        entry.name, entry.user_name = "verylongnamewithoutanyblank" * 4, "administrator" * 9
        link = session.get_one(SyncLink, ids["link_id"])
        link.machine, link.state = "workstation-seven." * 8 + "example", "refused"
        session.get_one(SyncChain, link.chain_id).status_detail = f"0 of 1, {link.machine} refused"
    wrong = []
    for width in (1280, 390):
        here = Page(chromium, live, viewport={"width": width, "height": 900})
        for path in WALK:
            page = here.open(path.format(**ids))
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wrong.append(f"{path} at {width}")
        here.context.close()
    assert wrong == []


@pytest.mark.breaks_invariants
def test_on_a_phone_a_fold_of_a_long_chain_is_as_high_as_its_words(chromium: Any, app: Flask, live: str) -> None:
    with app.app_context():
        entry_id = scenes.chain([f"LAB-{number:02}" for number in range(2, 16)]).id
    here = Page(chromium, live, viewport={"width": 390, "height": 900})
    page = here.open(f"/passwords/{entry_id}/synchronization")
    assert page.locator(".pw-fold summary .pw-no").first.is_hidden()
    assert page.locator(".pw-fold summary").first.bounding_box()["height"] < 90
    here.context.close()


def test_the_search_is_reached_by_a_key_and_finds_while_one_types(
    chromium: Any, live: str, ids: dict[str, str]
) -> None:
    here = Page(chromium, live)
    page = here.open("/vaults")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("lab-01")
    page.keyboard.press("Enter")
    page.wait_for_selector("#found mark")
    page.fill("#qq", "")
    page.locator("#qq").press_sequentially("administrator")
    page.wait_for_selector("#found mark:has-text('Administrator')")
    page.wait_for_function("document.getElementById('say').textContent === '1 password found.'")
    assert page.evaluate("document.activeElement.id") == "qq", "the swap took the focus away"
    page.keyboard.type("/")
    assert page.input_value("#qq") == "administrator/", "a slash that is typed is a slash"
    assert here.complaints == []
    here.context.close()


@pytest.mark.parametrize("script", [True, False])
def test_a_password_is_starred_by_keyboard(chromium: Any, live: str, ids: dict[str, str], script: bool) -> None:
    here = Page(chromium, live, java_script_enabled=script)
    page = here.open(f"/passwords/{ids['entry_id']}")
    page.focus("#star-button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#star-button[aria-pressed=true]")
    if script:
        sync_api.expect(page.locator("#star-button"), "the swap took the focus away").to_be_focused()
        sync_api.expect(page.locator("#say")).to_contain_text("is a favourite now")
    page = here.open("/")
    assert "Lab Administrator" in page.inner_text("section[aria-labelledby=h-favourites]")
    here.context.close()


def test_a_password_is_copied_from_its_row(chromium: Any, live: str, ids: dict[str, str]) -> None:
    here = Page(chromium, live, permissions=["clipboard-read", "clipboard-write"])
    page = here.open(f"/vaults/{ids['vault_id']}")
    page.click("button[aria-label='Copy the password Lab Administrator']")
    page.wait_for_selector("[data-copied]:not([hidden])")
    assert page.evaluate("navigator.clipboard.readText()") == VALUE
    assert here.complaints == []
    here.context.close()


@pytest.mark.breaks_invariants
def test_what_is_folded_or_dark_on_the_screen_is_whole_and_light_on_paper(chromium: Any, app: Flask, live: str) -> None:
    with app.app_context():
        entry_id = scenes.chain([f"LAB-{number:02}" for number in range(2, 16)]).id
    here = Page(chromium, live, color_scheme="dark", timezone_id="Asia/Tokyo")
    page = here.open(f"/passwords/{entry_id}/synchronization")
    assert page.locator("#chain .pw-link:has-text('LAB-09')").is_hidden()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("#chain .pw-link:has-text('LAB-09')").is_visible()
    assert page.locator(".pw-printed").inner_text().endswith("Times are in Asia/Tokyo.")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    assert page.locator(".pw-side").is_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.locator("#chain .pw-link:has-text('LAB-09')").is_hidden()
    here.context.close()
