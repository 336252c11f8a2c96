"""Every page, wide and narrow, light and dark: axe finds nothing, nothing scrolls sideways, and a picture is kept.

The pictures are in ``build/shots``; ``make shots`` makes them without the other tests.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import sync_playwright

from pwserver import assets
from pwserver.lab.control import ControlServer
from pwserver.lab.truth import open_network
from pwserver.services import vaults
from tests.conftest import Cast
from tests.web import scenes, shots, stage
from tests.web.many import fill_tasks
from tests.web.shots import Findings, Shot

CHROMIUM = os.environ.get("PWSERVER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.breaks_invariants,  # the stage is set in rows, as no run would leave them
    pytest.mark.skipif(not CHROMIUM and os.environ.get("CI") != "true", reason="no Chromium here"),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    assets.build()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def lab(app: Flask) -> Iterator[None]:
    """A real lab beside the instance, so that its pages have something to show."""
    folder = Path(app.config["PWSERVER"].instance) / "lab"
    server = ControlServer(open_network(folder), folder)
    yield
    server.stop()


@pytest.mark.usefixtures("lab")
def test_every_page_is_seen_by_axe_at_both_widths_in_both_colours(chromium: Chromium, app: Flask) -> None:
    ids, findings = stage.out_of_sync(app), Findings()
    pages = shots.pages_of(app, ids)
    assert len(pages) > 30, "the routes were not found"
    with shots.serving(app) as address:
        with shots.opened(chromium, address, findings) as page:
            for shot in (*pages, *stage.states(ids)):
                shots.look(page, shot, findings)
        with shots.opened(chromium, address, findings, name=None) as page:
            shots.look(page, Shot("auth-sign_in", "/sign-in"), findings)
    assert findings.wrong == [], "\n".join(findings.wrong)
    for name in (
        "dashboard-show",
        "vaults-show",
        "search-show",
        "sync-show",
        "approve-show",
        "lab-show",
        "auth-sign_in",
    ):
        for size, schemes in shots.SCHEMES.items():
            for scheme in schemes:
                assert (shots.FOLDER / f"{name}-{size}-{scheme}.png").stat().st_size > 5000


def test_a_run_under_way_is_seen_too(chromium: Chromium, app: Flask) -> None:
    with app.app_context():
        entry, run = scenes.changing()
        entry_id, run_id, domain_id = entry.id, run.id, scenes.domain_test()[1].id
    findings = Findings()
    with shots.serving(app) as address, shots.opened(chromium, address, findings) as page:
        for shot in (
            Shot("running-dashboard", "/"),
            Shot("running-sync", f"/passwords/{entry_id}/synchronization"),
            Shot("running-run", f"/runs/{run_id}"),
            Shot("domain-run", f"/runs/{domain_id}"),
        ):
            shots.look(page, shot, findings)
    assert findings.wrong == [], "\n".join(findings.wrong)


def test_before_anything_is_set_up(chromium: Chromium, empty_app: Flask) -> None:
    findings = Findings()
    with shots.serving(empty_app) as address, shots.opened(chromium, address, findings, name=None) as page:
        shots.look(page, Shot("setup-show", "/setup"), findings)
    assert findings.wrong == [], "\n".join(findings.wrong)


def test_who_has_nothing_yet_is_told_what_to_do(chromium: Chromium, app: Flask) -> None:
    findings = Findings()
    with app.app_context():
        entry_id = Cast().entry.id
    with shots.serving(app) as address:
        with shots.opened(chromium, address, findings, name="nora") as page:
            for name, path in (("dashboard", "/"), ("vaults", "/vaults"), ("search", "/search"), ("runs", "/runs")):
                shots.look(page, Shot(f"empty-{name}", path), findings)
        with shots.opened(chromium, address, findings, name="vera") as page:
            shots.look(page, Shot("reader-password", f"/passwords/{entry_id}"), findings)
            shots.look(page, Shot("reader-sync", f"/passwords/{entry_id}/synchronization"), findings)
    assert findings.wrong == [], "\n".join(findings.wrong)


def test_the_look_sees_what_is_wrong(chromium: Chromium, app: Flask, tmp_path: Path) -> None:
    """A grey on grey that only one theme has, a picture without words, and a line too long for a phone."""
    findings = Findings()
    with shots.serving(app) as address, shots.opened(chromium, address, findings) as page:
        page.add_init_script(
            """addEventListener("DOMContentLoaded", () => {
                const wide = document.createElement("p");
                wide.textContent = "wide ".repeat(80); wide.setAttribute("class", "text-nowrap");
                const pale = document.createElement("p");
                pale.textContent = "pale"; pale.setAttribute("class", "muted");
                const sheet = new CSSStyleSheet();
                sheet.replaceSync("@media (prefers-color-scheme: dark) { p.muted { color: #33363a } }");
                document.adoptedStyleSheets = [sheet];
                document.querySelector("main").append(document.createElement("img"), wide, pale);
            })"""
        )
        shots.look(page, Shot("wrong", "/account"), findings, tmp_path)
    told = "\n".join(findings.wrong)
    assert "wrong-desktop-light: image-alt (critical)" in told
    assert "wrong-phone-dark: color-contrast (serious)" in told
    assert "wrong-phone-light: color-contrast" not in told
    assert "wrong scrolls sideways at 390" in told


@pytest.mark.own_app
def test_a_page_whose_address_nobody_can_fill_in_is_not_passed_over(app: Flask) -> None:
    ids = stage.out_of_sync(app)
    app.add_url_rule("/new/<thing_id>", "new.thing", lambda thing_id: thing_id)
    with pytest.raises(AssertionError, match="add thing_id to the stage"):
        shots.pages_of(app, ids)


@pytest.mark.parametrize("name", ["olivia", "ada"])
def test_causes_of_many_are_seen_too(chromium: Chromium, app: Flask, name: str) -> None:
    findings = Findings()
    with app.app_context():
        fill_tasks(Cast().vault, 2, links=12)
        fill_tasks(vaults.create_vault(Cast().nora, "Branch"), 1, links=3, start=2)
    with shots.serving(app) as address, shots.opened(chromium, address, findings, name=name) as page:
        shots.look(page, Shot(f"dashboard-causes-{name}", "/"), findings)
    assert findings.wrong == [], "\n".join(findings.wrong)
