"""Every mail in a browser, wide and narrow, light and dark: axe finds nothing, nothing scrolls sideways, and a picture
is kept beside those of the pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, Route, sync_playwright

from pwserver.core.watch import Facts
from pwserver.services import watch
from pwserver.services.mail import outbox, summary
from pwserver.services.transaction import write
from tests.conftest import Cast, Clock
from tests.disasters.conftest import Play
from tests.mail.conftest import Received, Receiver, send_due, use
from tests.mail.scenes import behind_a_silent_agent, post, refused, silent
from tests.story.chromium import PROGRAM
from tests.web.shots import Findings, Shot, look
from tests.web.things import add_chain

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

WHERE = "http://mail.test/"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def reader(chromium: Chromium) -> Iterator[Page]:
    """A mail program with a window of its own. It answers nothing: a mail that asks for anything asks in vain."""
    context = chromium.new_context(base_url=WHERE, reduced_motion="reduce")
    yield context.new_page()
    context.close()


def read(page: Page, names: list[str], mails: list[Received]) -> None:
    """Looks at each of these mails under its name."""
    assert len(mails) == len(names), [mail.subject for mail in mails]
    findings, asked = Findings(), []

    def answer(route: Route) -> None:
        name = route.request.url.removeprefix(WHERE)
        asked.append(name)
        html = dict(zip(names, (mail.html for mail in mails), strict=True)).get(name)
        if html is None:
            route.abort()
        else:
            route.fulfill(body=html, content_type="text/html; charset=utf-8")

    page.route("**/*", answer)
    for name in names:
        look(page, Shot(f"mail-{name}", f"/{name}"), findings)
    assert findings.wrong == [], "\n".join(findings.wrong)
    assert set(asked) == set(names), "a mail asks for nothing from anywhere"


def test_one_password(mailed: Play, receiver: Receiver, reader: Page) -> None:
    refused(mailed)
    post(mailed)
    mailed.work(mailed.approve("LAB-01", "LAB-02", typed="our login"))
    post(mailed)
    silent(mailed)
    mailed.advance(901)
    post(mailed)
    read(reader, ["needs_override", "over", "unreachable"], receiver.mails)


def test_a_silent_agent(mailed: Play, receiver: Receiver, reader: Page) -> None:
    for name in ("desk", "adm"):
        behind_a_silent_agent(mailed, name)
    mailed.advance(901)
    post(mailed)
    mailed.world.agents_off.clear()
    mailed.settle()
    for _ in range(3):
        post(mailed)
    read(reader, ["cause_unreachable", "cause_over"], receiver.mails)


def test_a_refused_login(mailed: Play, receiver: Receiver, reader: Page) -> None:
    mailed.login_is("changed outside")
    for name in ("desk", "adm"):
        mailed.work(mailed.change(f"third {name}", name))
    post(mailed)
    read(reader, ["cause_needs_override"], receiver.mails)


def test_the_server_itself(ctx: Flask, receiver: Receiver, clock: Clock, reader: Page) -> None:
    use(ctx, receiver.settings)
    add_chain()
    with write() as session:
        outbox.put(session, Cast().olivia, "test", "test", "mark")
    for facts in (Facts(mail_error="PWSERVER_SMTP_PORT is wrong."), Facts()):
        watch.keep(facts)
        send_due()
    summary.make_due()
    clock.tick(days=7)
    summary.make_due()
    send_due()
    read(reader, ["test", "trouble", "trouble_over", "summary"], receiver.mails)
