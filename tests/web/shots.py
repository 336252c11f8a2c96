"""Every page that a route answers, and the states worth seeing, looked at by a browser: pictures, axe, and its width.

Pages are found from the routes themselves, so that a new one is looked at without being named here. Pictures are kept
in ``build/shots``: ``<page>-<desktop|phone>-<light|dark>.png``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from flask import Flask, url_for
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import ConsoleMessage, Page
from werkzeug.serving import make_server

from tests.conftest import email_of, password_of
from tests.depth import deep
from tests.web.conftest import Browser
from tests.web.matrix import INSTEAD

FOLDER = Path(__file__).resolve().parent.parent.parent / "build" / "shots"
WIDTHS = {"desktop": 1280, "phone": 390}
NARROWEST = 320
SCHEMES = {"desktop": deep(("light",), ("light", "dark")), "phone": deep(("dark",), ("light", "dark"))}
"""The colours in which each width is looked at: of the four, quick depth takes the two that share nothing."""
AXE = Axe().axe_script
# What axe says of a page is the same at any colours but for this: the whole list is asked once for each width, and in
# the other colours this rule alone.
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}


ELSEWHERE = ("static", "setup.show")
"""No page, and the one that is gone once there is a user: it is looked at in an empty instance."""


@dataclass(frozen=True, slots=True)
class Shot:
    """``open``: pressed before the page is looked at, by selector."""

    name: str
    path: str
    open: tuple[str, ...] = ()


@dataclass(slots=True)
class Findings:
    wrong: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)


def pages_of(app: Flask, ids: dict[str, str], name: str = "olivia") -> list[Shot]:
    """Every route that answers GET with a page, as one of the cast sees it. Redirects and fragments are none."""
    browser = Browser(app)
    assert browser.sign_in(name).status_code == 303
    found = []
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.endpoint):
        if "GET" not in (rule.methods or set()) or rule.endpoint in ELSEWHERE:
            continue
        missing = rule.arguments - set(ids)
        assert not missing, f"{rule.rule}: add {', '.join(sorted(missing))} to the stage, so that the page can be seen"
        with app.test_request_context():
            named = ids | {name: ids[thing] for name, thing in INSTEAD.get(rule.endpoint, {}).items() if thing in ids}
            path = url_for(rule.endpoint, **{name: named[name] for name in rule.arguments})
        answer = browser.get(path)
        assert answer.status_code in (200, 204, 302, 303), f"{path}: {answer.status}"
        if answer.status_code == 200 and "<html" in answer.text:
            found.append(Shot(rule.endpoint.replace(".", "-"), path))
    return found


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """The app on a free port of loopback."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@contextmanager
def opened(chromium: Chromium, address: str, findings: Findings, name: str | None = "olivia") -> Iterator[Page]:
    """A page of one of the cast, signed in; what its console complains of is a finding."""
    context = chromium.new_context(
        base_url=address, timezone_id="Europe/Berlin", locale="en-GB",
        reduced_motion="reduce",  # a colour on its way to another one has the contrast of neither
    )  # fmt: skip
    page = context.new_page()
    if name:
        page.goto("/sign-in")
        page.fill("#f-email", email_of(name))
        page.fill("#f-password", password_of(name).open())
        page.click("main button[type=submit]:has-text('Sign in')")
        page.wait_for_load_state()
    page.on("pageerror", lambda error: findings.wrong.append(f"{page.url}: {error}"))
    page.on("console", lambda said: findings.wrong.extend(complaint(page, said)))
    yield page
    context.close()


def complaint(page: Page, said: ConsoleMessage) -> list[str]:
    """An error on the console; that a page is not there is said by its own address, and is what was asked for."""
    asked_for = "404" in said.text and said.location["url"] == page.url
    return [f"{page.url}: {said.text}"] if said.type == "error" and not asked_for else []


def look(page: Page, shot: Shot, findings: Findings, folder: Path = FOLDER) -> None:
    """One page at both widths in both colours: a picture and axe each; and no sideways scroll, down to 320 px."""
    folder.mkdir(parents=True, exist_ok=True)
    page.set_viewport_size({"width": WIDTHS["desktop"], "height": 900})
    page.emulate_media(color_scheme="light")
    page.goto(shot.path)
    for selector in shot.open:
        page.click(selector)
        page.wait_for_load_state("networkidle")
    page.evaluate(AXE)
    for size, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in SCHEMES[size]:
            page.emulate_media(color_scheme=scheme)
            where = f"{shot.name}-{size}-{scheme}"
            options = {} if scheme == SCHEMES[size][0] else COLOURS
            findings.wrong += [f"{where}: {one}" for one in violations(page, options)]
            page.screenshot(path=folder / f"{where}.png", full_page=True, animations="disabled")
            findings.seen.append(where)
        findings.wrong += [f"{shot.name} scrolls sideways at {width}"] if is_too_wide(page) else []
    page.set_viewport_size({"width": NARROWEST, "height": 900})
    findings.wrong += [f"{shot.name} scrolls sideways at {NARROWEST}"] if is_too_wide(page) else []


def violations(page: Page, options: dict[str, Any]) -> list[str]:
    """What axe finds, as rule, weight and the first place of it."""
    asked = json.dumps({"resultTypes": ["violations"], **options})
    found = page.evaluate(f"axe.run(document, {asked}).then(told => told.violations)")
    return [f"{one['id']} ({one['impact']}) at {one['nodes'][0]['html'][:160]}" for one in found]


def is_too_wide(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))
