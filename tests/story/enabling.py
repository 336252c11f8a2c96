"""The first half: a chain is put together, enabled on a lab full of differences, and put right in one step."""

from __future__ import annotations

from pwserver.services import demo
from tests.story.story import ADDED, CALLED, CONTROLLER, ENTRY, MACHINES, OFF, OTHERS, RENAMED, Story


def sign_in(story: Story) -> str:
    browser = story.browser
    story.instance.await_up()
    email, password = story.instance.login("olivia")
    story.instance.knows(password)
    browser.get("/")
    assert browser.page.url.startswith(f"{browser.base}/sign-in"), "nobody comes in without signing in"
    browser.press("Sign in", {"email": email, "password": password + "x"})
    assert browser.page.status == 422, "a wrong password does not open it"
    browser.press("Sign in", {"email": email, "password": password})
    assert "Dashboard" in browser.page.text
    browser.follow(demo.VAULT)
    story.vault = browser.page.url
    browser.follow("Members")
    eddie = next(row for row in browser.page.root.find("tr") if "Eddie" in row.text)
    browser.press(eddie.find("button")[0], {"right": "owner"})
    browser.get(story.vault)
    story.instance.page_when(story.vault, lambda page: page.text.count("In Sync") >= 4, "all four are In Sync", 60)
    browser.follow(ENTRY)
    story.path = browser.page.url
    assert story.instance.lab.wrong == {}, "a clean start costs no wrong logon"
    return browser.page.at("status-head")


def add_links(story: Story) -> str:
    """Two machines more, and by mistake a domain controller."""
    browser = story.browser
    browser.get("/agents")
    browser.follow("LAB-01")
    area = browser.page.root.find("textarea", name="machines")[0].text.replace(" ", "\n")
    story.press("Save", name="LAB-01", machines=f"{area}\n{CONTROLLER}")
    for machine in ADDED:
        story.at_rest()
        browser.follow("Remote Windows Password")
        story.press("Add link and test it", machine=machine, user_name="Administrator")
        assert f"{machine} was added" in browser.page.text
    story.await_chain("Out of Sync")
    story.says(CONTROLLER, "domain controller")
    for machine in ADDED[:-1]:
        story.says(machine, "In Sync")
    assert story.lab.wrong == {}
    return story.status


def enable(story: Story) -> str:
    """Off, then on again on a lab in which much is different: each said in its own words, and nothing written."""
    browser, lab = story.browser, story.lab
    story.open_chain()
    browser.follow("Turn synchronization off")
    story.press("Turn synchronization off")
    assert story.status == "Not Synced"
    for machine, value in story.outside.items():
        lab.set_password(machine, "Administrator", value)
    for machine in OFF:
        lab.fault(machine, "off")
    lab.fault(RENAMED, f"name:{CALLED}")
    truth, asked = lab.hash, lab.counts()[CONTROLLER]
    story.press("Turn synchronization on")
    good = len(MACHINES) - len(OTHERS) - len(OFF) - 1
    said = story.await_chain("Out of Sync", says=f"{good} of {len(MACHINES) + 1}").at("h-issue")
    for machine in OTHERS:
        story.says(machine, "Refused", "refused the vault's password", "tried once")
    for machine in OFF:
        story.says(machine, "Unreachable, retrying", "does not answer", "next try")
    story.says(RENAMED, "Blocked", f"The machine that answers for {RENAMED} calls itself otherwise", CALLED)
    story.says(CONTROLLER, "Blocked", f"{CONTROLLER} is a domain controller: it has no local accounts")
    assert lab.counts()[CONTROLLER] > asked, "turned on again, every link is tested, also one that was blocked"
    assert lab.hash == truth, "a test writes nothing"
    wrong = {f"{machine}: Administrator": 1 for machine in OTHERS}
    assert lab.wrong == wrong, f"wrong logons: {lab.wrong}"
    assert f"{ENTRY} is out of sync" in browser.get("/").text, "it stands in the task list"
    return said


def put_right(story: Story) -> str:
    """One step, the Approve page: what was set by hand gets the vault's password, by the linked credential."""
    browser, lab = story.browser, story.lab
    before = lab.wrong
    # While a retry is under way the task list says so and offers nothing yet.
    story.instance.page_when("/", lambda page: page.can_follow("Approve…"), "the task list offers Approve")
    browser.follow("Approve…")
    assert f"Leaves {OFF[0]} and {OFF[1]}" in browser.page.text, "what is silent is left out by name"
    assert "changed outside Password Server" in browser.page.text
    ticked = [value for name, value in browser.page.fields(browser.page.form_of(browser.page.button("Approve")))
              if name == "link_ids"]  # fmt: skip
    assert len(ticked) == len(OTHERS), "exactly what was set by hand is ticked"
    story.press("Approve: set the ticked ones", reason="Set by hand during the move", value_choice="keep")

    story.await_chain("Out of Sync", says=f"{len(MACHINES) - len(OFF) - 1} of {len(MACHINES) + 1}")
    for machine in OTHERS:
        story.says(machine, "In Sync")
    story.all_hold(story.value, OTHERS)
    assert lab.wrong == before, "an override costs no wrong logon"
    return f"{story.status}: {story.browser.page.at('status-detail')}"


def bring_back(story: Story) -> str:
    """The machines are switched on, the name is put right, the domain controller is taken out."""
    browser, lab = story.browser, story.lab
    for machine in (*OFF, RENAMED):
        lab.fault(machine, "none")
    story.instance.page_when(
        story.chain, lambda _: all("In Sync" in story.row(machine) for machine in OFF), "they are tested by themselves"
    )
    story.at_rest()
    browser.press(next(each for each in story.node(CONTROLLER).find("button") if each.text == "Remove from chain"))
    assert f"{CONTROLLER} was removed" in browser.page.text
    button = story.open_chain().button("Retest Sync").text
    assert RENAMED in button, f"the button names what it tests: {button}"
    story.press("Retest Sync")
    return story.all_in_sync() + f", {len(MACHINES)} links"
