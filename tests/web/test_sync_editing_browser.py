"""The chain edited in a real browser: nothing reloads the page with script, and everything works without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from tests.conftest import Cast
from tests.web import scenes
from tests.web.test_sync_browser import Open, address, chromium, open_page

__all__ = ["address", "chromium", "open_page"]  # fixtures
pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

FORTY = [f"LAB-{number:02}" for number in range(2, 42)]


def end_runs(app: Flask) -> None:
    with app.app_context():
        scenes.end_runs(Cast().entry)


def machines(app: Flask) -> list[str]:
    with app.app_context():
        return [link.machine for link in scenes.links(Cast().entry)]


def navigations(page: Page) -> list[str]:
    """Every address that the page goes to from now on."""
    seen: list[str] = []
    page.on("framenavigated", lambda frame: seen.append(frame.url))
    return seen


def drag(page: Page, machine: str, above: str, *, drop: bool = True) -> None:
    """By the number, to the upper half of another row."""
    grip = page.locator(".pw-link", has_text=machine).first.locator(".pw-no")
    box, goal = grip.bounding_box(), page.locator(".pw-link", has_text=above).first.bounding_box()
    assert box
    assert goal
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 4, goal["y"] + 40, steps=4)
    page.mouse.move(box["x"] + 4, goal["y"] + 4, steps=4)
    expect(page.locator(".is-drop")).to_have_count(1)
    if drop:
        page.mouse.up()


def settled(app: Flask, page: Page, act: Callable[[], None], words: str) -> None:
    """Does ``act``, of which ``words`` are said; then the test that it queued ends, and the page sees it by itself."""
    act()
    expect(page.locator("#say")).to_contain_text(words)
    end_runs(app)
    expect(page.locator("#poll")).to_have_count(0)


def test_a_chain_is_edited_from_end_to_end_and_the_page_is_never_left(app: Flask, open_page: Open) -> None:
    with app.app_context():
        entry_id = scenes.chain(["LAB-02", "LAB-03"], places=False).id
    page = open_page("olivia", f"/passwords/{entry_id}/synchronization")
    went = navigations(page)

    # Add by kind; an error stays at its field with what was typed.
    page.locator("#add-link").click()
    page.get_by_role("link", name="Remote Windows Password").click()
    expect(page.get_by_label("Machine")).to_be_focused()
    page.get_by_label("Machine").fill("LAB-04")
    settled(app, page, lambda: page.get_by_role("button", name="Add link and test it").click(), "LAB-04 was added")
    expect(page.locator(".pw-link")).to_have_count(4)

    # Edit in place.
    page.get_by_role("link", name="LAB-04 Administrator", exact=True).click()
    page.get_by_label("User name").fill("fieldadm")
    settled(app, page, lambda: page.get_by_role("button", name="Save link").click(), "Link to LAB-04 saved")
    expect(page.locator(".pw-link").last).to_contain_text("fieldadm")

    # Order by keys: the focus stays with the link that moves.
    row = page.locator(".pw-link").nth(3)
    row.get_by_role("button", name="More for").focus()
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator("#say")).to_have_text("LAB-04 moved up.")
    expect(page.locator(".pw-link").nth(2)).to_contain_text("LAB-04")
    assert page.evaluate("document.activeElement.closest('.pw-link').textContent.includes('LAB-04')")

    # Order by drag; Escape takes it back.
    drag(page, "LAB-03", "LAB-02")
    expect(page.locator("#say")).to_have_text("LAB-03 is link 2 now.")
    assert machines(app) == ["LAB-01", "LAB-03", "LAB-02", "LAB-04"]
    drag(page, "LAB-04", "LAB-03", drop=False)
    page.keyboard.press("Escape")
    page.mouse.up()
    expect(page.locator(".is-dragging")).to_have_count(0)
    assert machines(app) == ["LAB-01", "LAB-03", "LAB-02", "LAB-04"]

    # Remove, and take it back from the toast.
    page.get_by_role("button", name="More for link 3, LAB-02").click()
    page.get_by_role("button", name="Remove from chain").locator("visible=true").click()
    expect(page.locator("#toasts")).to_contain_text("LAB-02 was removed from the chain")
    expect(page.locator("#undo")).to_be_focused()
    assert machines(app) == ["LAB-01", "LAB-03", "LAB-04"]
    settled(app, page, lambda: page.locator("#undo").press("Enter"), "LAB-02 is back")
    expect(page.locator("#toasts")).to_be_empty()
    assert machines(app) == ["LAB-01", "LAB-03", "LAB-02", "LAB-04"], "where it was"

    # Forty names; three are in the chain, the user of LAB-04 is another one.
    page.locator("#add-link").click()
    page.get_by_role("link", name="Many Remote Passwords").click()
    expect(page.get_by_label("Machines")).to_be_visible()
    # No person types within the moment in which what was swapped in is made alive.
    expect(page.locator(".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added")).to_have_count(0)
    page.get_by_label("Machines").fill("\n".join(FORTY))
    expect(page.locator("#h-lines")).to_have_text("40 names: 38 can be added")
    expect(page.locator(".pw-preview li").nth(0)).to_contain_text("left out: already link 3")
    expect(page.get_by_label("Machines")).to_be_focused()
    page.get_by_role("button", name="Add 38 links and test them").click()
    expect(page.locator("#say")).to_contain_text("38 links were added")
    assert len(machines(app)) == 42
    end_runs(app)
    assert went == [], "nothing reloaded the page"


def test_a_drop_on_a_page_from_before_someone_elses_edit_is_told_and_moves_nothing(
    app: Flask, open_page: Open
) -> None:
    with app.app_context():
        entry_id = scenes.chain(["LAB-02", "LAB-03", "LAB-04"], places=False).id
    page = open_page("olivia", f"/passwords/{entry_id}/synchronization")
    with app.app_context():
        from pwserver.services import sync

        cast = Cast()
        gone = scenes.link(cast.entry, "LAB-02")
        sync.remove_link(cast.olivia, gone, revision=scenes.revision(cast.entry))
    drag(page, "LAB-04", "LAB-03")
    expect(page.locator("#sync [role=alert]")).to_contain_text("Meanwhile Olivia Ortiz removed LAB-02")
    expect(page.locator(".pw-link")).to_have_count(3)
    assert machines(app) == ["LAB-01", "LAB-03", "LAB-04"]
    drag(page, "LAB-04", "LAB-03")
    expect(page.locator(".pw-link").nth(1)).to_contain_text("LAB-04")


def test_an_open_menu_and_the_list_of_kinds_survive_a_swap(app: Flask, open_page: Open) -> None:
    with app.app_context():
        entry = scenes.chain(["LAB-02", "LAB-03"], places=False)
        entry_id = entry.id
        scenes.run(entry, "test", "queued")
    page = open_page("olivia", f"/passwords/{entry_id}/synchronization")
    page.locator("#add-link").click()
    page.get_by_role("button", name="More for link 2").click()
    expect(page.locator(".dropdown-menu.show")).to_be_visible()
    with app.app_context():
        scenes.silent(scenes.link(Cast().entry, "LAB-03"))
    end_runs(app)
    expect(page.locator(".pw-link").last).to_contain_text("Unreachable")
    expect(page.locator(".dropdown-menu.show")).to_be_visible()
    expect(page.locator("#add[open]")).to_have_count(1)


def test_on_a_phone_a_link_is_dragged_by_its_handle_with_a_finger(app: Flask, open_page: Open) -> None:
    with app.app_context():
        entry_id = scenes.chain(["LAB-02", "LAB-03"], places=False).id
    page = open_page("olivia", f"/passwords/{entry_id}/synchronization", width=390)
    grip = page.locator(".pw-link", has_text="LAB-03").locator(".pw-grab")
    goal = page.locator(".pw-link", has_text="LAB-02").bounding_box()
    box = grip.bounding_box()
    assert box
    assert goal
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    x, y = box["x"] + 18, box["y"] + 18

    def touch(kind: str, at: float | None) -> None:
        points = [] if at is None else [{"x": x, "y": at}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", y)
    for step in (y - 10, y - 30, goal["y"] + 6):
        touch("touchMove", step)
    touch("touchEnd", None)
    expect(page.locator("#say")).to_have_text("LAB-03 is link 2 now.")
    assert machines(app) == ["LAB-01", "LAB-03", "LAB-02"]


@pytest.mark.parametrize("width", [1280, 390])
def test_a_chain_is_edited_without_script(app: Flask, open_page: Open, width: int) -> None:
    with app.app_context():
        entry_id = scenes.chain(["LAB-02", "LAB-03"], places=False).id
    here = f"/passwords/{entry_id}/synchronization"
    page = open_page("olivia", here, script=False, width=width)

    def again() -> None:
        end_runs(app)
        page.goto(here)

    page.locator("#add-link").click()
    page.get_by_role("link", name="Remote Windows Password").click()
    page.get_by_label("Machine").fill("LAB-04")
    page.get_by_role("button", name="Add link and test it").click()
    expect(page.locator("#flash")).to_contain_text("LAB-04 was added")
    again()
    page.get_by_role("link", name="LAB-04 Administrator", exact=True).click()
    page.get_by_label("User name").fill("fieldadm")
    page.get_by_role("button", name="Save link").click()
    again()
    page.get_by_role("link", name="LAB-04 fieldadm", exact=True).click()
    page.locator("#link-form").get_by_role("button", name="Move up").click()
    expect(page.locator("#flash")).to_contain_text("LAB-04 moved up")
    assert machines(app) == ["LAB-01", "LAB-02", "LAB-04", "LAB-03"]
    page.get_by_role("link", name="LAB-02 Administrator", exact=True).click()
    page.locator("#link-form").get_by_role("button", name="Remove from chain").click()
    page.get_by_role("button", name="Undo").click()
    assert machines(app) == ["LAB-01", "LAB-02", "LAB-04", "LAB-03"]
    again()
    page.locator("#add-link").click()
    page.get_by_role("link", name="Many Remote Passwords").click()
    page.get_by_label("Machines").fill(", ".join(FORTY))
    page.get_by_role("button", name="Check the lines").click()
    expect(page.locator("#h-lines")).to_have_text("40 names: 38 can be added")
    page.get_by_role("button", name="Add 38 links and test them").click()
    expect(page.locator("#flash")).to_contain_text("38 links were added")
    assert len(machines(app)) == 42
