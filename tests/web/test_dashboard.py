"""The dashboard: what needs an owner, for its owners only."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import Cast
from tests.web import scenes
from tests.web.conftest import Browser

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


def test_what_runs_now_is_shown_to_who_may_see_it_and_only_then_the_page_asks_again(
    app: Flask, browser_of: Of
) -> None:
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


def test_a_blocked_login_leads_an_administrator_to_the_agents_and_tells_others_whom_to_ask(
    app: Flask, browser_of: Of
) -> None:
    with app.app_context():
        entry = scenes.chain()
        scenes.blocked(scenes.link(entry, "LAB-06"))
    page = browser_of("olivia").get("/").text
    assert "LAB-06 refused our own login" in page
    assert "An administrator repairs the login" in page
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
