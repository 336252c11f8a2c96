"""One person before a real browser: the same pages and words as :class:`~tests.story.browser.Browser`, in Chromium.

Nothing is sent that a person could not send: a field is typed into, a box is ticked, a button is pressed where it
stands. What came back is read from the page as it is now, after our script and htmx have done their part.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urljoin

from playwright.sync_api import Error, Locator, Response, sync_playwright

from pwserver.config import PROJECT
from tests.story.browser import Node, Page, parse

PROGRAM = os.environ.get("PWSERVER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = PROJECT / "build" / "shots"
DESKTOP, PHONE = (1280, 900), (390, 844)
FILL_FIRST = ("radio", "checkbox")
"""What belongs to a choice shows when it is chosen, so choices come before what is typed."""
BUSY = ".htmx-request, .htmx-swapping, .htmx-settling"
AT_REST = f"document.readyState === 'complete' && !document.querySelector('{BUSY}')"
WHOLE = """(() => {
    document.querySelectorAll('.pw-fold details:not([open])').forEach(one => { one.open = true; });
    if (document.querySelector('.pw-later, .htmx-swapping, .htmx-settling, .htmx-added')) return null;
    const kept = JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage)]);
    return [document.documentElement.outerHTML, kept];
})()"""
"""The page and the browser's storage, when all folds are loaded and nothing is being swapped. Looked at and read in one
step of the page's script: between two, the next answer may be swapped in. While htmx settles, an element has attributes
of the one before it."""
ANOTHER_PAGE = f"!window.storyWasHere && {AT_REST}"
OPEN_AROUND = """one => { for (let d = one.closest('details'); d; d = d.parentElement.closest('details'))
    if (!d.querySelector(':scope > summary').contains(one)) d.open = true; }"""


class Chromium:
    """``seen``: what stood on the pages and in the browser's storage, until somebody has looked through it.
    ``loads``: the addresses that were loaded as whole pages. ``complaints``: what the console said was wrong."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.seen: list[tuple[str, bytes]] = []
        self.loads: list[str] = []
        self.complaints: list[str] = []
        self.page = Page("", 0, b"", Node("html", {}))
        self._status = 0
        self._playwright = sync_playwright().start()
        self._program = self._playwright.chromium.launch(
            executable_path=PROGRAM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        context = self._program.new_context(base_url=base, viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
        context.set_default_timeout(10_000)
        self.tab = context.new_page()
        self.tab.on("console", lambda said: self._heard(said.text) if said.type in ("error", "warning") else None)
        self.tab.on("pageerror", lambda error: self._heard(str(error)))
        self.tab.on("response", self._answered)

    def drag(self, grip: Locator, onto: Locator) -> Page:
        """Takes hold of ``grip`` and lets it go over the upper half of ``onto``, as a hand does."""
        begin, end = grip.bounding_box(), onto.bounding_box()
        assert begin, "what is dragged is in sight"
        assert end, "so is where it goes"
        mouse = self.tab.mouse
        mouse.move(begin["x"] + begin["width"] / 2, begin["y"] + begin["height"] / 2)
        mouse.down()
        mouse.move(end["x"] + 20, end["y"] + end["height"] / 4, steps=8)
        with self.tab.expect_response(lambda answer: answer.request.method == "POST") as waited:
            mouse.up()
        self._until(AT_REST)
        return self._read(waited.value.status)

    def key(self, grip: Locator, keys: str) -> Page:
        """Presses keys where the focus stands, which send a form."""
        grip.focus()
        with self.tab.expect_response(lambda answer: answer.request.method == "POST") as waited:
            self.tab.keyboard.press(keys)
        self._until(AT_REST)
        return self._read(waited.value.status)

    def as_wide_as(self, size: tuple[int, int]) -> None:
        self.tab.set_viewport_size({"width": size[0], "height": size[1]})

    def picture(self, name: str) -> None:
        """The whole page, for people to look at."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.tab.screenshot(path=SHOTS / f"story-{name}.png", full_page=True)

    def forget(self) -> None:
        """Signed out, as somebody who comes by a mail's link on another day."""
        self.tab.context.clear_cookies()

    def close(self) -> None:
        self._program.close()
        self._playwright.stop()

    # -- going somewhere

    def get(self, path: str) -> Page:
        """Loads a page, as one does by an address, a bookmark or a mail's link."""
        self.tab.goto(urljoin(self.base, path))
        return self._read(self._status)

    def stay(self, path: str) -> Page:
        """The page as it is now, without loading it again; loaded only when another one is open."""
        return self.look() if self.tab.url == urljoin(self.base, path) else self.get(path)

    def look(self) -> Page:
        return self._read(200)

    def follow(self, words: str) -> Page:
        self.look().link(words)
        node = next(one for one in self.page.root.find("a") if one.text.startswith(words))
        return self._click(node, "GET", "hx-get" in node.attrs)

    def click(self, link: Node) -> Page:
        """Follows a link of the page that was read last."""
        self.look()
        return self._click(self._again(link), "GET", "hx-get" in link.attrs)

    def press(self, words: str | Node, values: Mapping[str, str | Sequence[str]] | None = None) -> Page:
        """Fills ``values`` into the form of a button of this page, found by its words, and presses it."""
        values = values or {}
        self.look()
        button = self.page.button(words, values) if isinstance(words, str) else self._again(words)
        form = self.page.form_of(button)
        assert form.attrs.get("method") == "post", f"the form of {button.text!r} is not sent by POST"
        around = self._find(form)
        fields = [(self._fields(around, name), value) for name, value in values.items()]
        for field, value in sorted(fields, key=lambda pair: pair[0].first.get_attribute("type") not in FILL_FIRST):
            self._fill(field, value)
        return self._click(button, "POST", "hx-post" in form.attrs or "hx-post" in button.attrs)

    # -- inside

    def _again(self, node: Node) -> Node:
        """The same button or link on the page as it is now: by its words and its name for those who do not see it."""
        label = node.attrs.get("aria-label", "")
        return next(
            one for one in self.page.root.find(node.tag)
            if one.text == node.text and one.attrs.get("aria-label", "") == label
            and all(one.attrs.get(name) == node.attrs.get(name) for name in ("formaction", "href"))
        )  # fmt: skip

    def _find(self, node: Node) -> Locator:
        """The element of the page that a node was read from: both count elements of this tag in the page's order."""
        number = next(n for n, one in enumerate(self.page.root.find(node.tag)) if one is node)
        return self.tab.locator(node.tag).nth(number)

    def _fields(self, form: Locator, name: str) -> Locator:
        found = form.locator(f'[name="{name}"]:not([type=hidden])')
        assert found.count(), f"{self.tab.url} has no field {name!r}"
        return found

    def _fill(self, field: Locator, value: str | Sequence[str]) -> None:
        kind, tag = field.first.get_attribute("type"), field.first.evaluate("one => one.localName")
        field.first.evaluate(OPEN_AROUND)
        if kind == "checkbox":
            wanted = [value] if isinstance(value, str) else value
            for box in field.all():
                box.set_checked(box.get_attribute("value") in wanted)
        elif kind == "radio":
            self.tab.locator(f'[name="{field.first.get_attribute("name")}"][value="{value}"]').check()
        elif tag == "select":
            field.select_option(str(value))
        else:
            field.fill(str(value))

    def _click(self, node: Node, method: str, in_place: bool) -> Page:
        element = self._find(node)
        element.evaluate(OPEN_AROUND)
        if "dropdown-item" in node.attrs.get("class", ""):
            element.locator("xpath=ancestor::*[contains(@class, 'dropdown')]/button").last.click()
        self.tab.evaluate("window.storyWasHere = true")
        with self.tab.expect_response(lambda answer: answer.request.method == method and _is_ours(answer)) as waited:
            element.click()
        answer: Response = waited.value
        goes_on = 300 <= answer.status < 400 or "hx-redirect" in answer.headers
        if in_place and not goes_on:
            self._until(AT_REST)
            return self._read(answer.status)
        self._until(ANOTHER_PAGE)
        return self._read(self._status)

    def _until(self, holds: str) -> Any:
        """What it evaluates to, once that is neither false nor null. From outside: a page under our policy evaluates
        nothing."""
        end = time.monotonic() + 10
        while not (found := _while_it_stands(lambda: self.tab.evaluate(holds))):
            assert time.monotonic() < end, f"{self.tab.url} did not come to rest"
            self.tab.wait_for_timeout(10)
        return found

    def _answered(self, answer: Response) -> None:
        if answer.request.is_navigation_request() and not 300 <= answer.status < 400:
            self._status = answer.status
            self.loads.append(answer.url)

    def _heard(self, words: str) -> None:
        if "422" not in words:  # a refused form, which Chromium notes; it is no error of the page
            self.complaints.append(words)

    def _read(self, status: int) -> Page:
        """What stands on the page, with its folds opened, as one does who looks for a machine."""
        text, kept = self._until(WHOLE)
        body = text.encode()
        assert status < 500, f"{self.tab.url} answered {status}"
        self.page = parse(self.tab.url, status, body)
        for where, what in ((self.tab.url, body), ("storage", json.dumps(kept).encode())):
            if not self.seen or what not in (each for _, each in self.seen[-2:]):
                self.seen.append((where, what))
        return self.page


def _is_ours(answer: Response) -> bool:
    """Not the answer to a poll, nor the rows of a fold, which come by themselves."""
    return not any(part in answer.url for part in ("/changes", "/synchronization/fold"))


def _while_it_stands(read: Callable[[], Any]) -> Any:
    """Reads again when a page went away in the middle."""
    end = time.monotonic() + 10
    while True:
        try:
            return read()
        except Error:
            if time.monotonic() > end:
                raise
