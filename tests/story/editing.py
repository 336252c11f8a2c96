"""The chain is put together in its place: nothing of this loads the page again."""

from __future__ import annotations

from playwright.sync_api import Locator

from pwserver.lab import defaults
from pwserver.services import demo
from tests.story.instance import wait
from tests.story.story import Story

FORTY = (*defaults.LAB_MACHINES[1:], defaults.SERVERS[0])
"""Forty machines; with LAB-01, Default Sync, the chain has 41 links."""
ALL = (defaults.AGENT, *FORTY)


def machines_of(story: Story) -> list[str]:
    """In the order of the page."""
    rows = story.browser.look().root.find("li", class_="pw-link")
    return [row.find("h3")[0].text.split()[0] for row in rows]


def grip(story: Story, machine: str) -> Locator:
    row = story.browser.tab.locator("#chain li.pw-link", has=story.browser.tab.locator("h3", has_text=machine))
    return row.locator(".pw-no[data-grip]")


def press_in(story: Story, machine: str, words: str) -> None:
    buttons = story.node(machine).find("button")
    story.browser.press(next(each for each in buttons if each.text == words))


def edit(story: Story) -> str:
    """A link is edited, removed and brought back, and moved by keys and by hand."""
    browser = story.browser
    story.open_chain()
    story.at_rest()
    loads, order = len(browser.loads), machines_of(story)
    edit_link = next(each for each in story.node("LAB-02").find("a") if each.text == "Edit")
    browser.click(edit_link)
    story.press("Save link", user_name="#500")
    assert "Link to LAB-02 saved" in browser.page.text
    story.at_rest()
    press_in(story, "LAB-03", "Remove from chain")
    assert "LAB-03" not in machines_of(story)
    story.press("Undo")
    story.at_rest()
    assert machines_of(story) == order, "it is back where it was"
    browser.key(grip(story, "LAB-04").locator("xpath=ancestor::li//h3/a"), "Alt+ArrowUp")
    assert machines_of(story).index("LAB-04") == order.index("LAB-04") - 1
    story.at_rest()
    browser.drag(grip(story, "LAB-04"), grip(story, "LAB-06").locator("xpath=ancestor::li"))
    assert machines_of(story).index("LAB-04") == order.index("LAB-05"), machines_of(story)
    story.await_chain("In Sync")
    assert len(browser.loads) == loads, f"loaded again: {browser.loads[loads:]}"
    browser.picture("edited")
    return f"{story.status}, no page was loaded again"


def paste_forty(story: Story) -> str:
    """Forty names are pasted and become forty links; those whose password differs are found, and put right at once."""
    browser = story.browser
    story.open_chain()
    for machine in demo.LINKED:
        story.at_rest()
        press_in(story, machine, "Remove from chain")
    for machine, value in story.outside.items():
        story.lab.set_password(machine, "Administrator", value)
    story.at_rest()
    loads = len(browser.loads)
    browser.follow("Many Remote Passwords")
    names = browser.tab.get_by_label("Machines")
    names.fill("\n".join(FORTY))
    browser.tab.get_by_label("User name on all of them").fill("Administrator")
    wait(lambda: browser.look().can_press("Add 40 links"), "each line says what it becomes")
    browser.picture("forty-names")
    browser.press("Add 40 links")
    story.await_chain("Out of Sync", seconds=60)
    assert len(browser.loads) == loads, f"loaded again: {browser.loads[loads:]}"
    assert len(machines_of(story)) == len(FORTY) + 1
    return f"{browser.page.at('status-detail')}; no page was loaded again"


def put_forty_right(story: Story) -> str:
    """What differs from the vault is put right in one step."""
    before = story.lab.wrong
    story.instance.page_when(story.chain, lambda page: page.can_follow("Approve…"), "the chain offers Approve")
    story.browser.follow("Approve…")
    story.press("Approve: set the ticked ones", reason="They had a password of their own", value_choice="keep")
    story.await_chain("In Sync", seconds=90)
    story.all_hold(story.value, ALL)
    assert story.lab.wrong == before, "an override costs no wrong logon"
    return f"{story.status}, {len(ALL)} links"
