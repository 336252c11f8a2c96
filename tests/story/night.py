"""A chain of 41 links in life: watched, with a machine off, and with one that somebody changed at night."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

from pwserver.lab import defaults
from tests.story.chromium import DESKTOP, PHONE
from tests.story.editing import ALL
from tests.story.instance import wait
from tests.story.receiver import link_of
from tests.story.story import Story
from tests.story.trouble import spent

SLOW, SLOW_MS = ("LAB-07", "LAB-12", "LAB-20"), 500
"""Slow enough that each is seen at work."""
OFF, OUTSIDE = "LAB-04", "LAB-05"
LAG_SECONDS = 4.0
"""Two rounds of asking, and as long as two of our own looks take; what it was is measured and told."""
WATCHED, WHILE_OFF, AT_NIGHT = "Curlew-Basalt/88=Violet", "Dunlin+Marble_19-Copper", "Nobody-Told/Us-23"


def watched(story: Story) -> str:
    """Every link is seen in sync soon after its row in the journal, or with the page; slow ones while they change."""
    for machine in SLOW:
        story.lab.fault(machine, f"slow:{SLOW_MS}")
    story.value = WATCHED
    began = datetime.now(UTC)
    story.change(WATCHED)
    shown = time.time()
    seen: dict[str, dict[str, float]] = {}
    tooks: set[str] = set()
    looks: list[float] = []

    def look() -> bool:
        looked = time.time()
        page, at = story.browser.stay(story.chain), time.time()
        looks.append(at - looked)
        for row in page.root.find("li", class_="pw-link"):
            machine = row.find("h3")[0].text.split()[0]
            state = row.find("div", class_="pw-state")[0].text
            word = "Changing" if state.startswith("Changing") else "In Sync" if "logged on" in state else ""
            seen.setdefault(machine, {}).setdefault(word, at)
            tooks.update(each.text for each in row.find("div", class_="pw-took"))
        return bool(story.status == "In Sync" and "Stop after this link" not in page.text)

    wait(look, "all 41 have it", 60, every=0.02)
    for machine in SLOW:
        story.lab.fault(machine, "none")
    changing = [machine for machine in SLOW if "Changing" in seen[machine]]
    assert changing, f"none of {SLOW} was seen while it changed: {seen}"
    lags = {machine: seen[machine]["In Sync"] - max(at, shown) for machine, at in journal(story, began).items()}
    assert set(lags) == set(ALL), set(ALL) - set(lags)
    allowed = LAG_SECONDS + 2 * max(looks)
    late = {machine: round(lag, 2) for machine, lag in lags.items() if lag > allowed}
    assert not late, f"seen later than {allowed:.1f} s after the journal knew it: {late}"
    assert any(each.endswith(" s") for each in tooks), f"each says how long it took: {tooks}"
    story.says("LAB-20", "In Sync", "logged on")
    story.all_hold(WATCHED, ALL)
    story.measured["seen_after_journal_s"] = {"worst": round(max(lags.values()), 2), "links": len(lags)}
    return f"{story.status}, {len(ALL)} of {len(ALL)}; seen at most {max(lags.values()):.1f} s after the journal"


def journal(story: Story, began: datetime) -> dict[str, float]:
    """Machine → when its change was written down, seconds since 1970."""
    query = (
        "SELECT l.machine, max(a.finished_at) FROM link_attempt a JOIN sync_link l ON l.id = a.link_id "
        "WHERE a.step IN ('change', 'reset') AND a.outcome = 'applied' AND a.intent_at >= ? GROUP BY l.machine"
    )
    with closing(sqlite3.connect(f"file:{story.instance.folder}/pwserver.db?mode=ro", uri=True)) as database:
        rows = database.execute(query, (began.strftime("%Y-%m-%d %H:%M:%S"),)).fetchall()
    return {machine: datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() for machine, at in rows}


def off(story: Story) -> str:
    """LAB-04 is off: the chain goes past it, one mail says there is nothing to do, and each owner has a task."""
    story.value, old = WHILE_OFF, story.value
    story.lab.fault(OFF, "off")
    owner = story.instance.login("olivia")[0]
    before = len(story.mail.to(owner, "cannot be reached"))
    story.change(WHILE_OFF)
    counted = f"{len(ALL) - 1} of {len(ALL)}"
    story.await_chain("Out of Sync", says=f"{counted}, {OFF} no answer", seconds=40)
    story.says(OFF, "Unreachable, retrying", "next try")
    story.browser.picture("41-links-one-off")
    story.all_hold(WHILE_OFF, [machine for machine in ALL if machine != OFF])
    assert story.lab.holds(OFF, old)
    mails = wait(lambda: story.mail.to(owner, "cannot be reached")[before:], "a mail comes after the quick tries", 30)
    assert "nothing to do yet" in str(mails[0]["Subject"])
    assert OFF in str(mails[0]["Subject"])
    for person in ("olivia", "eddie"):
        story.sign_in_as(person)
        assert "Sync Issue" in story.browser.get("/").text, f"{person} owns the vault, too"
    assert len(story.mail.to(owner, "cannot be reached")) == before + 1, "one mail, however often it is tried"
    assert story.mail.to(story.instance.login("eddie")[0], "cannot be reached"), "each owner has one"
    story.sign_in_as("olivia")
    return f"{counted}; mail: {mails[0]['Subject']}"


def between_tries(story: Story) -> bool:
    """The one run that is left waits, for longer than a press takes; a whole wait is three seconds here."""
    query = "SELECT due_at FROM sync_run WHERE state = 'waiting' AND kind <> 'test'"
    with closing(sqlite3.connect(f"file:{story.instance.folder}/pwserver.db?mode=ro", uri=True)) as database:
        due = [datetime.fromisoformat(at).replace(tzinfo=UTC) for (at,) in database.execute(query)]
    return len(due) == 1 and due[0] > datetime.now(UTC) + timedelta(seconds=1.5)


def retest(story: Story) -> str:
    """It is on again: Retest Sync does only LAB-04, and one mail says that it is over."""
    owner = story.instance.login("olivia")[0]
    over = len(story.mail.to(owner, "it is over"))
    words = f"Retest Sync: set the password on {OFF}"
    counts: dict[str, tuple[int, int]] = {}

    def pressed() -> bool:
        """While it is tried by itself there is nothing to press, and a try shall not begin under our finger."""
        if not (story.browser.stay(story.chain).can_press(words) and between_tries(story)):
            return False
        counts.update(story.lab.counts())
        story.lab.fault(OFF, "none")
        try:
            story.press("Retest Sync")
        except AssertionError:
            story.lab.fault(OFF, "off")
            return False
        return True

    wait(pressed, f"{words} is pressed between two tries", 60)
    story.await_chain("In Sync")
    now = story.lab.counts()
    others = [name for name in now if now[name] != counts.get(name) and name not in (OFF, defaults.AGENT)]
    assert not others, f"{others} were asked, too"
    assert story.lab.holds(OFF, story.value)
    assert "No Sync Issue" in story.browser.get("/").text
    mails = wait(lambda: story.mail.to(owner, "it is over")[over:], "a mail says it is over", 20)
    assert len(mails) == 1
    return f"{words}; mail: {mails[0]['Subject']}"


def at_night(story: Story) -> str:
    """LAB-05 is changed behind our back; the daily test finds it, the mail's link leads to Approve, on a phone."""
    browser, lab = story.browser, story.lab
    owner = story.instance.login("olivia")[0]
    story.instance.knows(AT_NIGHT)
    lab.set_password(OUTSIDE, "Administrator", AT_NIGHT)
    before = lab.wrong
    tomorrow = (datetime.now(UTC) + timedelta(hours=23)).strftime("%Y-%m-%dT%H:%MZ")
    story.instance.flask("sync", "test-due", "--now", tomorrow, "--wait", "60")
    mails = wait(lambda: story.mail.to(owner, f"{OUTSIDE} refused"), "a mail comes at once", 20)
    assert spent(story, before) == {f"{OUTSIDE}: Administrator": 1}
    browser.forget()
    browser.as_wide_as(PHONE)
    browser.get(link_of(mails[-1], "/approve"))
    assert "/sign-in" in browser.page.url, "a mail's link opens nothing by itself"
    story.sign_in_here("olivia")
    assert browser.page.url.endswith("/approve"), "and leads there after signing in"
    assert browser.tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it fits a phone"
    browser.picture("approve-on-a-phone")
    story.press(f"Approve: set {OUTSIDE}", reason="Nobody of us did that", value_choice="keep")
    story.await_chain("In Sync", seconds=40)
    browser.picture("in-sync-on-a-phone")
    browser.as_wide_as(DESKTOP)
    story.all_hold(story.value, ALL)
    return f"mail: {mails[-1]['Subject']}; {story.status}"
