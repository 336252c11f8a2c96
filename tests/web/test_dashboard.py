"""The dashboard: what needs an owner, for its owners only."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import event

from pwserver.extensions import db
from pwserver.services import agents, sync, vaults
from tests.conftest import Cast
from tests.web import scenes
from tests.web.conftest import Browser
from tests.web.many import fill_tasks

Of = Callable[[str], Browser]


@pytest.fixture
def broken(app: Flask) -> str:
    with app.app_context():
        return scenes.out_of_sync().id


def test_an_owner_sees_the_issue_its_strip_and_one_next_step(broken: str, browser_of: Of) -> None:
    page = browser_of("olivia").get("/").text
    assert "Lab Administrator is out of sync" in page
    assert "LAB-05 refused the vault’s password" in page
    assert 'class="pw-strip" role="img" aria-label="8 links in order:' in page
    assert page.count("btn-primary") == 1
    assert f"/passwords/{broken}/approve" in page
    assert "Retest Sync: test LAB-04, LAB-05, LAB-06" in page


@pytest.mark.parametrize("name", ["eddie", "vera", "nora", "ada"])
def test_who_owns_nothing_of_it_has_no_such_task_and_no_count(broken: str, browser_of: Of, name: str) -> None:
    page = browser_of(name).get("/").text
    assert "is out of sync" not in page
    assert "pw-count" not in page


def test_the_count_is_in_the_menu_of_every_page_and_said(broken: str, browser_of: Of) -> None:
    for path in ("/", "/runs", "/vaults", "/account"):
        page = browser_of("olivia").get(path).text
        count = re.search(r'<span class="pw-count tone-bad">.*?</span></span>', page, re.DOTALL)
        assert count, path
        assert "Sync Issue" in count[0]


def test_what_runs_now_is_shown_to_who_may_see_it_and_only_then_the_page_asks_again(app: Flask, browser_of: Of) -> None:
    calm = browser_of("vera").get("/").text
    assert "No run is under way" in calm
    assert "hx-trigger" not in calm
    with app.app_context():
        scenes.changing()
    page = browser_of("vera").get("/").text
    assert "2 of 8 links" in page
    assert "changing LAB-03" in page
    asks = re.search(r'hx-get="(/dashboard/changes[^"]+)"', page)
    assert asks
    assert browser_of("vera").get(asks[1], headers={"HX-Request": "true"}).status_code == 204
    with app.app_context():
        scenes.finish_attempts(Cast().entry)
        scenes.end_runs(Cast().entry)
    end = browser_of("vera").get(asks[1], headers={"HX-Request": "true"})
    assert "hx-trigger" not in end.text
    assert "hx-trigger" not in browser_of("nora").get("/").text


def test_a_refused_login_leads_an_administrator_to_the_agents_and_tells_others_whom_to_ask(
    app: Flask, browser_of: Of
) -> None:
    with app.app_context():
        entry = scenes.chain()
        scenes.change(scenes.link(entry, "LAB-06"), state="blocked", reason="login_refused")
    page = browser_of("olivia").get("/").text
    assert "LAB-06 refused our own login" in page
    assert "An administrator repairs the login" in page
    assert "Approve…" not in page, "it says nothing about the account's own password"


def test_a_refused_linked_credential_leads_to_that_credential(app: Flask, browser_of: Of) -> None:
    """And not to an agent on whose page everything is healthy."""
    with app.app_context():
        entry = scenes.chain()
        scenes.blocked(scenes.link(entry, "LAB-06"))
        chain = sync.chain_of(entry)
        assert chain is not None
        credential = chain.agent.linked_entry_id
    page = browser_of("olivia").get("/").text
    assert "LAB-06 refused our own login" in page
    assert f'{credential}">Open the credential…' in page
    assert "Repair the login…" not in page
    assert "Approve…" not in page, "it says nothing about the account's own password"


def test_a_pending_agent_is_a_task_of_an_administrator(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        scenes.agent("BRANCH-07", "pending", scoped=False)
    assert "BRANCH-07 asks to become a sync agent" in browser_of("ada").get("/").text
    assert "BRANCH-07" not in browser_of("olivia").get("/").text.replace("BRANCH-07 svc", "")


def test_a_chain_that_lacks_a_linked_credential_is_a_task(app: Flask, browser_of: Of) -> None:
    from pwserver.extensions import db
    from pwserver.models import SyncAgent
    from pwserver.services.sync import status
    from pwserver.services.transaction import write

    with app.app_context():
        entry = scenes.chain(["LAB-02"], places=False)
        row = scenes.link(entry, "LAB-02")
        with write() as session:
            agent = session.scalars(db.select(SyncAgent).filter_by(name="LAB-01")).one()
            agent.linked_entry_id = None
            session.flush()
            status.refresh(session, row.chain_id)
    assert "Lab Administrator can be tested, but not changed" in browser_of("olivia").get("/").text


def test_when_nothing_needs_anybody_the_page_says_so(browser_of: Of) -> None:
    assert "Nothing needs you" in browser_of("olivia").get("/").text


# -- many


def statements(app: Flask, browser: Browser, path: str = "/") -> int:
    """How many statements one request takes."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_ignored: object) -> None:
        found.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert browser.get(path).status_code == 200
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return len(found)


@pytest.mark.breaks_invariants
def test_a_full_dashboard_asks_the_database_as_often_as_a_small_one(app: Flask, browser_of: Of) -> None:
    """With something of each kind on it, whatever comes besides."""
    browsers = [browser_of(name) for name in ("olivia", "ada", "vera")]
    with app.app_context():
        fill_tasks(Cast().vault, 1, links=2)
    for browser in browsers:
        browser.get("/")  # what signing in left behind is shown once
    few = [statements(app, browser) for browser in browsers]
    with app.app_context():
        fill_tasks(vaults.create_vault(Cast().olivia, "Another"), 1, links=40, start=1)
        fill_tasks(Cast().vault, 1, links=40, start=2)
    page = browsers[0].get("/").text
    for words in ("is out of sync", "refused our login: ", "was refused: ", "is disabled: ", "not changed", "of 40 l"):
        assert words in page, words
    assert [statements(app, browser) for browser in browsers] == few
    assert max(few) < 40, few


# -- one cause of many


@pytest.mark.breaks_invariants
def test_a_cause_of_many_has_one_button_for_who_may_and_a_name_for_who_may_not(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        fill_tasks(Cast().vault, 1, links=2)
    owner, admin = (browser_of(name).get("/").text for name in ("olivia", "ada"))
    title = "AGENT-000-b refused our login: 2 passwords wait for it"
    assert owner.count(title) == admin.count(title) == 1
    assert "An administrator repairs it: Ada Adler" in owner
    assert "the agent…" not in owner
    names = re.findall(r'<a href="/passwords/[^"]+/synchronization">(login (?:one|two) 000)</a>', owner)
    assert names == ["login one 000", "login two 000"]
    assert (admin.count("Repair the agent…"), admin.count("Open the agent…")) == (1, 1)
    assert "login one" not in admin
    assert "2 in vaults that you do not own." in admin
    assert "The linked credential credential 000 was refused" in owner
    assert owner.count("Edit the credential…") == 1
    assert "credential 000" not in admin
    counted = re.search(r'<span class="pw-count tone-bad">.*?</svg>(\d+)<', owner, re.DOTALL)
    assert counted
    assert counted[1] == "3", "two causes, and one password with trouble of its own"
    assert ">3 Sync Issues<" in owner


def test_an_owner_is_led_to_the_fingerprint_of_a_new_certificate(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        entry = scenes.chain(["LAB-02"], places=False)
        agent = scenes.link(entry, "LAB-01").chain.agent
        vaults.add_member(Cast().olivia, Cast().vault, Cast().ada.email, "read")
        agents.change_address(Cast().ada, agent, "10.7.0.9", 5986, "LAB-01", "0" * 64, row_version=agent.row_version)
        agents.approve(Cast().ada, agent, row_version=agent.row_version)
    browser = browser_of("olivia")
    page = browser.get("/").text
    assert "LAB-01 has a new certificate: 1 password waits until an owner confirms it" in page
    there = re.search(r'href="(/passwords/[^"]+/synchronization)#agent-gone">Compare the fingerprint…', page)
    assert there
    assert 'id="agent-gone"' in browser.get(there[1]).text
