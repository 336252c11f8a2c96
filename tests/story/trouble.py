"""The second half: changes, what goes wrong with them, and how each is put right."""

from __future__ import annotations

from pwserver.lab import defaults
from tests.story.story import MACHINES, Story

OFF, OUTSIDE = "LAB-04", "LAB-05"
REST = tuple(machine for machine in MACHINES if machine != OUTSIDE)
CHANGED, WITHOUT_ONE = "Kestrel-Fjord/41=Amber", "Osprey+Quarry_58-Linen"
BY_HAND, TOO_SHORT = "Midnight.Console-7", "Heron-Slate=2049x"
LONG = "Plover-Granite/77+Harbour_Lantern=Sixteen"
CORRECTED, WRONG_ADMIN = "Console/Again-93_Basalt=Thistle+Copper", "Not-the-right-0ne"
SERVICE, SERVICE_MACHINE = "LabImaging", "LAB-03"


def change(story: Story) -> str:
    """A clean change: every machine has the new value, the old one opens none, and no wrong logon was spent."""
    lab = story.lab
    counts, wrong, old = lab.counts(), sum(lab.wrong.values()), story.value
    story.value = CHANGED
    story.change(CHANGED)
    said = story.all_in_sync()
    assert not any(lab.holds(machine, old) for machine in MACHINES)
    spent = sum(lab.wrong.values()) - wrong
    assert spent == 0, f"a clean change cost {spent} wrong logons"
    now = lab.counts()
    requests = sum(now[name][0] - counts.get(name, (0, 0))[0] for name in now)
    logins = sum(now[name][1] - counts.get(name, (0, 0))[1] for name in now)
    story.measured |= {
        "links": len(MACHINES),
        "wrong_logons_of_a_clean_change": spent,
        "requests_per_link": round(requests / len(MACHINES), 2),
        "ntlm_per_link": round(logins / len(MACHINES), 2),
    }
    return f"{said}, {len(MACHINES)} of {len(MACHINES)}"


def change_without_one(story: Story) -> str:
    """One machine is off: it is counted and named, retried by itself, and done once it is on."""
    browser, lab = story.browser, story.lab
    lab.fault(OFF, "off")
    old, story.value = story.value, WITHOUT_ONE
    story.change(WITHOUT_ONE)
    counted = f"{len(MACHINES) - 1} of {len(MACHINES)}"
    story.await_chain("Out of Sync", says=f"{counted}, {OFF} no answer")
    said = browser.page.at("status-detail")
    story.says(OFF, "Unreachable, retrying", "does not answer", "Nothing to do if LAB-04 is meant to be off")
    assert lab.holds(OFF, old), "it is off and has the old one"
    story.all_hold(WITHOUT_ONE, [machine for machine in MACHINES if machine != OFF])
    browser.get(story.vault)  # while it is tried again the column says that instead
    story.instance.page_when(story.vault, lambda page: counted in page.text, "the column says it, too")
    story.instance.page_when(story.chain, lambda _: " tries so far" in story.row(OFF), "it is tried again by itself")
    lab.fault(OFF, "on")
    return f"{said}; then {story.all_in_sync()}"


def changed_outside(story: Story) -> str:
    """Somebody sets another password on LAB-05: one wrong logon tells it, and it is not tried again."""
    lab = story.lab
    story.instance.knows(BY_HAND)
    lab.set_password(OUTSIDE, "Administrator", BY_HAND)
    before, truth = lab.wrong, lab.hash
    for _ in range(2):  # the second test leaves alone what was refused
        story.open_chain()
        story.press("Test now")
        story.at_rest()
        story.await_chain("Out of Sync", says=f"{len(REST)} of {len(MACHINES)}, {OUTSIDE} refused")
        story.says(OUTSIDE, "Refused", "refused the vault's password for Administrator", "not tried again by itself")
        assert spent(story, before) == {f"{OUTSIDE}: Administrator": 1}, f"wrong logons: {spent(story, before)}"
    assert lab.hash == truth, "a test writes nothing"
    for machine in REST:
        story.says(machine, "In Sync")
    return story.browser.page.at("h-issue")


def spent(story: Story, before: dict[str, int]) -> dict[str, int]:
    """The wrong logons since then, as the lab counts them."""
    return {who: count - before.get(who, 0) for who, count in story.lab.wrong.items() if count > before.get(who, 0)}


def approve(story: Story, choice: str, words: str, *, user: str = "", password: str = "", value: str = "") -> None:
    """The Approve page for LAB-05 alone; without a user by its linked credential."""
    story.instance.page_when(story.chain, lambda page: page.can_follow("Approve…"), "the chain offers Approve")
    story.browser.follow("Approve…")
    assert f"treat {OUTSIDE} as compromised" in story.browser.page.text or choice == "new"
    typed = {"reason": "Changed at the console", "value_choice": choice}
    if user:
        key = OUTSIDE.casefold()
        typed |= {f"with:{key}": "typed", f"user:{key}": user, f"password:{key}": password}
    if value:
        typed["value"] = value
        story.instance.knows(value)
    story.press(words, **typed)


def wrong_administrator(story: Story) -> str:
    """The typed credentials are wrong: our way in is blocked, one wrong logon, and nothing else was touched."""
    lab = story.lab
    story.instance.knows(WRONG_ADMIN)
    before, truth, counts = lab.wrong, lab.hash, lab.counts()
    approve(story, "keep", f"Approve: set {OUTSIDE}", user=f"{OUTSIDE}\\svc-psrv", password=WRONG_ADMIN)
    story.await_chain("Out of Sync", says=f"{OUTSIDE} blocked")
    story.says(OUTSIDE, "Blocked", f"{OUTSIDE} refused the administrative credentials that were typed")
    assert spent(story, before) == {f"{OUTSIDE}: svc-psrv": 1}, f"wrong logons: {spent(story, before)}"
    assert lab.hash == truth, "nothing was changed"
    touched = {name for name, count in lab.counts().items() if count != counts.get(name)} - {defaults.AGENT, OUTSIDE}
    assert not touched, f"{touched} were touched"
    return story.browser.page.at("status-detail")


def against_policy(story: Story) -> str:
    """A new value that LAB-05's policy does not take: said in words; the others have it, and nothing is lost."""
    lab = story.lab
    lab("policy", machine=OUTSIDE, settings={"min_length": 30})
    before, story.value = lab.wrong, TOO_SHORT
    admin = initial_login()
    approve(story, "new", "Approve: change", user=f"{OUTSIDE}\\svc-psrv", password=admin, value=TOO_SHORT)
    story.await_chain("Out of Sync", says=f"{len(REST)} of {len(MACHINES)}, {OUTSIDE} refused")
    row = story.row(OUTSIDE)
    assert "wants a longer password" in row or "password policy of LAB-05 does not take" in row, row
    story.all_hold(TOO_SHORT, REST)
    assert lab.holds(OUTSIDE, BY_HAND), "it has what it had"
    assert spent(story, before) == {}, f"wrong logons: {spent(story, before)}"
    return story.browser.page.at("status-detail") + ": " + ("a longer password" if "longer" in row else "its policy")


def initial_login() -> str:
    return defaults.password("practice lab", defaults.LOGIN)


def then_right(story: Story) -> str:
    before, story.value = story.lab.wrong, LONG
    approve(story, "new", "Approve: change", user=f"{OUTSIDE}\\svc-psrv", password=initial_login(), value=LONG)
    said = story.all_in_sync()
    assert spent(story, before) == {}, f"wrong logons: {spent(story, before)}"
    assert "No Sync Issue" in story.browser.get("/").text
    return said


def correct(story: Story) -> str:
    """The vault is put right by hand: nothing is written; Retest Sync then carries the value to the others."""
    browser, lab = story.browser, story.lab
    old, story.value = story.value, CORRECTED
    lab.set_password(defaults.AGENT, "Administrator", CORRECTED)
    before, truth = lab.wrong, lab.hash
    story.change(CORRECTED, "correct")
    assert "Nothing was written to any machine" in browser.page.text
    story.await_chain("Out of Sync", says=f"1 of {len(MACHINES)}")
    story.says(defaults.AGENT, "In Sync")
    said = browser.page.at("status-detail")
    assert lab.hash == truth, "the stored value is corrected, no target is touched"
    story.all_hold(old, MACHINES[1:])
    story.press("Retest Sync: set the password on")
    story.all_in_sync()
    assert spent(story, before) == {}, f"wrong logons: {spent(story, before)}"
    return f"{said}; then {story.status}"


def stale_service(story: Story) -> str:
    """A service that still stores the password of the beginning is found, and gets the proved one."""
    browser, lab = story.browser, story.lab
    assert not lab.holds(SERVICE_MACHINE, story.value, f"service:{SERVICE}"), "its copy is stale"
    story.at_rest()
    browser.follow("Service Password")
    options = {node.inside: node.attrs["value"] for node in browser.page.root.find("option")}
    whose = next(value for words, value in options.items() if SERVICE_MACHINE in words)
    story.press("Add link and test it", machine=SERVICE_MACHINE, name=SERVICE, account_link_id=whose)
    story.instance.page_when(
        story.chain, lambda _: "not yet written by us" in story.row(SERVICE_MACHINE, SERVICE), "it is found"
    )
    found = f"{SERVICE}: not yet written by us"
    story.at_rest()
    browser.follow("Adopt 1")
    story.press("Adopt the chosen places")
    story.instance.page_when(
        story.chain, lambda _: "Updated, restart pending" in story.row(SERVICE_MACHINE, SERVICE), "it is written"
    )
    assert lab.holds(SERVICE_MACHINE, story.value, f"service:{SERVICE}"), "its copy is right"
    story.says(SERVICE_MACHINE, "written", "goes on with the old one until it restarts", who=SERVICE)
    assert lab("start-service", machine=SERVICE_MACHINE, name=SERVICE)["ok"], "it comes up after a reboot"
    story.await_chain("In Sync")
    return f"{found}; then Updated, restart pending; {story.status}"
