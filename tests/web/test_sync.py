"""The Synchronization tab and the Change page: what they show, what they ask, and what they never do."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Entry, EntryVersion, SyncAgent, SyncRun
from pwserver.services import sync
from pwserver.services.sync import accounts, status
from pwserver.services.sync.requests import NOTHING, UNDER_WAY
from pwserver.services.transaction import now, write
from tests.conftest import VALUE, Cast
from tests.web import scenes
from tests.web.conftest import Browser

Of = Callable[[str], Browser]
ROW = re.compile(r'id="link-([^"]+)" data-mark="([^"]+)"')
NEW = "Next-93kq#Rezun-2"


@pytest.fixture
def scene(app: Flask) -> Callable[..., str]:
    """Builds a scene and gives the password's id."""

    def make(build: Callable[..., object] | None = None, *args: object, **more: object) -> str:
        with app.app_context():
            made = build(*args, **more) if build else None
            entry = made[0] if isinstance(made, tuple) else made if isinstance(made, Entry) else Cast().entry
            return entry.id

    return make


def entry() -> Entry:
    db.session.expire_all()
    return Cast().entry


def link_id(app: Flask, machine: str, *, account: bool = True) -> str:
    with app.app_context():
        return scenes.link(entry(), machine, account=account).id


def revision(app: Flask) -> int:
    with app.app_context():
        return scenes.revision(entry())


def url(entry_id: str, rest: str = "synchronization") -> str:
    return f"/passwords/{entry_id}/{rest}"


def hx(browser: Browser, path: str) -> TestResponse:
    return browser.get(path, headers={"HX-Request": "true"})


# -- what it shows


def test_without_an_agent_the_tab_says_what_to_do_and_has_no_field(scene: Callable[..., str], browser_of: Of) -> None:
    page = browser_of("olivia").get(url(scene())).text
    assert "No sync agent may be used from Computer Lab yet" in page
    assert 'name="agent_id"' not in page
    assert "on_failure" not in page


def test_the_agent_that_waits_for_approval_is_named(scene: Callable[..., str], browser_of: Of) -> None:
    entry_id = scene(scenes.agent, "BRANCH-07", "pending", scoped=False)
    page = browser_of("olivia").get(url(entry_id)).text
    assert "BRANCH-07 waits for approval" in page
    assert "Ask an organization administrator" in page
    assert 'name="agent_id"' not in page


def test_a_chain_shows_its_links_in_order_with_evidence(scene: Callable[..., str], browser_of: Of) -> None:
    page = browser_of("vera").get(url(scene(scenes.chain))).text
    names = re.findall(r'<h3 class="pw-name">(.*?)</h3>', page, re.DOTALL)
    assert [re.sub(r"<.*?>", "", name).split()[0] for name in names][:3] == ["LAB-01", "LAB-02", "LAB-03"]
    assert "logged on, " in page
    assert "written " in page
    assert "Default Sync" in page


def test_a_reader_sees_and_tests_but_gets_no_tool(scene: Callable[..., str], browser_of: Of) -> None:
    page = browser_of("vera").get(url(scene(scenes.out_of_sync))).text
    assert "Test now" in page
    assert "An owner decides" in page
    for hidden in ("Retest Sync", "Approve…", "Add a link", "Save settings", "Turn synchronization off", "/remove"):
        assert hidden not in page


def test_who_may_modify_gets_retest_but_not_the_chains_tools(scene: Callable[..., str], browser_of: Of) -> None:
    page = browser_of("eddie").get(url(scene(scenes.out_of_sync))).text
    assert "Retest Sync: test LAB-04, LAB-05, LAB-06" in page
    assert "Approve…" not in page
    assert "Add a link" not in page


def test_no_secret_is_on_any_of_these_pages(scene: Callable[..., str], browser_of: Of) -> None:
    entry_id = scene(scenes.out_of_sync)
    browser = browser_of("olivia")
    for rest in ("synchronization", "change", "approve", "adopt", "history", "links/new", "synchronization/off"):
        page = browser.get(url(entry_id, rest))
        assert page.status_code == 200, rest
        assert VALUE not in page.text
        assert "secret of" not in page.text


# -- polling


def test_a_calm_page_does_not_poll_and_a_busy_one_asks_every_second(
    app: Flask, scene: Callable[..., str], browser_of: Of
) -> None:
    entry_id = scene(scenes.chain)
    browser = browser_of("vera")
    assert "hx-trigger" not in browser.get(url(entry_id)).text
    with app.app_context():
        scenes.run(entry(), "test")
    assert 'hx-trigger="every 1s"' in browser.get(url(entry_id)).text


def poll(page: str) -> str:
    found = re.search(r'id="poll"[^>]* hx-get="([^"]+)"', page)
    assert found
    return found[1].replace("&amp;", "&")


def test_a_poll_gets_nothing_when_nothing_changed_then_only_the_changed_row_then_the_end(
    app: Flask, scene: Callable[..., str], browser_of: Of
) -> None:
    entry_id = scene(scenes.changing)
    browser = browser_of("vera")
    page = browser.get(url(entry_id)).text
    rows = ROW.findall(page)
    assert len(rows) == 8
    asks = poll(page) + "&rows=" + ",".join(":".join(row) for row in rows)
    assert hx(browser, asks).status_code == 204
    with app.app_context():
        scenes.finish_attempts(entry())
        scenes.proved(scenes.link(entry(), "LAB-03"))
    part = hx(browser, asks)
    assert part.headers["HX-Reswap"] == "none"
    text = part.text
    assert 'hx-swap-oob="true"' in text
    changed = re.findall(r'<li class="pw-link[^"]*" id="link-([^"]+)"', text)
    assert link_id(app, "LAB-03") in changed
    assert len(changed) < 4, "only what changed is sent, so that focus and menus stay"
    with app.app_context():
        scenes.end_runs(entry())
    end = hx(browser, poll(text) + "&rows=")
    assert '<div id="sync">' in end.text
    assert 'id="poll"' not in end.text, "it stops asking"


def test_a_page_that_saw_the_run_queued_gets_the_whole_tab_when_it_begins(
    app: Flask, scene: Callable[..., str], browser_of: Of
) -> None:
    """It has no progress bar and no durations yet, so single rows would find no place in it."""
    entry_id = scene(scenes.chain)
    with app.app_context():
        run_id = scenes.run(entry(), "change", "queued").id
    browser = browser_of("vera")
    page = browser.get(url(entry_id)).text
    assert "about to begin" in page
    asks = poll(page) + "&rows=" + ",".join(":".join(row) for row in ROW.findall(page))
    with app.app_context(), write() as session:
        run = session.get_one(SyncRun, run_id)
        run.state = "running"
        status.refresh(session, run.chain_id)
    began = hx(browser, asks).text
    assert '<div id="sync">' in began
    assert 'id="progress"' in began


def test_a_poll_says_one_sentence_without_seconds(app: Flask, scene: Callable[..., str], browser_of: Of) -> None:
    entry_id = scene(scenes.changing)
    browser = browser_of("vera")
    text = hx(browser, url(entry_id, "synchronization/changes?since=old&run=")).text
    found = re.search(r'<div id="say" hx-swap-oob="innerHTML">(.*?)</div>', text)
    assert found
    assert found[1] == "LAB-03 Administrator: changing. 2 of 8 links done."


def test_rows_that_make_no_sense_get_the_whole_tab(scene: Callable[..., str], browser_of: Of) -> None:
    browser = browser_of("vera")
    answer = hx(browser, url(scene(scenes.changing), "synchronization/changes?rows=a:b,,::,x"))
    assert '<div id="sync">' in answer.text


def test_what_is_known_of_an_agent_and_its_certificate_stand_where_it_is_chosen(
    app: Flask, scene: Callable[..., str], browser_of: Of
) -> None:
    entry_id = scene(scenes.agent)
    browser = browser_of("olivia")

    def facts(page: str) -> str:
        found = re.search(r'<div id="agent-facts".*?\n</div>', page, re.DOTALL)
        assert found
        return " ".join(re.sub(r"<[^>]+>", " ", found[0]).split())

    assert "4F9A C21E 77B0 1D6C" in facts(browser.get(url(entry_id)).text), "before it is turned on"
    with app.app_context():
        sync.enable(Cast().olivia, entry(), scenes.agent("SRV-02", linked=False).id)
        with write() as session:
            session.scalars(db.select(SyncAgent).filter_by(name="LAB-01")).one().pin = "abcd" * 16
    said = facts(browser.get(url(entry_id)).text)
    assert "LAB-01. Healthy. Its linked credential is LAB-01 CORP\\svc-pwagent. Its certificate" in said
    assert "ABCD ABCD" in said
    assert "SRV-02. Healthy. It has no linked credential." in said
    assert "4F9A C21E 77B0 1D6C" in said
    assert "agent-facts" not in browser_of("vera").get(url(entry_id)).text


def test_general_settings_draw_where_the_password_lives(scene: Callable[..., str], browser_of: Of) -> None:
    page = browser_of("vera").get(f"/passwords/{scene(scenes.out_of_sync)}").text
    assert 'aria-label="5 of 8 links in sync"' in page
    assert "8 places, 5 in sync." in page
    assert '<path class="tone-bad"' in page


# -- folds of a long chain

LONG = [f"LAB-{number:02}" for number in range(2, 16)]
FOLD = re.compile(r'data-ids="([^"]+)" hx-get="([^"]+)"')


def test_the_rows_of_a_fold_are_not_on_the_page_and_come_when_it_is_opened(
    scene: Callable[..., str], browser_of: Of
) -> None:
    entry_id = scene(scenes.chain, LONG, places=False)
    browser = browser_of("vera")
    page = browser.get(url(entry_id)).text
    assert len(ROW.findall(page)) == 1
    assert "14 links in sync" in page
    assert "LAB-09" not in page
    ids, path = FOLD.findall(page)[0]
    rows = hx(browser, path.replace("&amp;", "&"))
    assert rows.status_code == 200
    assert [each for each, _mark in ROW.findall(rows.text)] == ids.split()
    assert "LAB-09" in rows.text
    assert "<html" not in rows.text


def test_without_script_a_fold_is_opened_by_a_link(scene: Callable[..., str], browser_of: Of) -> None:
    entry_id = scene(scenes.chain, LONG, places=False)
    browser = browser_of("olivia")
    page = browser.get(url(entry_id)).text
    link = re.search(r'<a href="([^"]+open=[^"#]+)#[^"]+">Show these 14 links', page)
    assert link
    assert len(ROW.findall(browser.get(link[1]).text)) == 15
    path = FOLD.findall(page)[0][1].replace("&amp;", "&")
    answer = browser.get(path)
    assert answer.status_code in (302, 303), "a fragment's address typed by hand leads to the page"
    assert len(ROW.findall(browser.get(answer.headers["Location"]).text)) == 15


def test_a_fold_that_is_another_one_by_now_gets_the_whole_tab(
    app: Flask, scene: Callable[..., str], browser_of: Of
) -> None:
    entry_id = scene(scenes.chain, LONG, places=False)
    browser = browser_of("vera")
    path = FOLD.findall(browser.get(url(entry_id)).text)[0][1].replace("&amp;", "&")
    with app.app_context():
        scenes.refused(scenes.link(entry(), "LAB-09"))
    answer = hx(browser, path)
    assert answer.headers["HX-Retarget"] == "#sync"
    assert '<div id="sync">' in answer.text
    assert "LAB-09" in answer.text
    assert '<div id="sync">' in hx(browser, url(entry_id, "synchronization/fold?first=&count=x")).text


def test_a_poll_leaves_a_fold_alone_until_what_it_says_is_no_longer_true(
    app: Flask, scene: Callable[..., str], browser_of: Of
) -> None:
    entry_id = scene(scenes.chain, LONG, places=False)
    with app.app_context():
        run_id = scenes.run(entry(), "test").id
    browser = browser_of("vera")
    page = browser.get(url(entry_id)).text
    ids = FOLD.findall(page)[0][0].split()
    rows = ",".join(":".join(row) for row in ROW.findall(page))
    asks = f"{poll(page)}&rows={rows}&folds={ids[0]}:{len(ids)}"
    with app.app_context():
        row = scenes.link(entry(), "LAB-09")
        scenes.attempt(db.session.get_one(SyncRun, run_id), row, "test", None)
    answer = hx(browser, asks)
    assert answer.headers.get("HX-Reswap") == "none", "one of them is at work: the progress above says so"
    assert ROW.findall(answer.text) == []
    with app.app_context():
        scenes.finish_attempts(entry(), "refused")
        scenes.refused(scenes.link(entry(), "LAB-09"))
    answer = hx(browser, asks)
    assert '<div id="sync">' in answer.text
    assert "LAB-09" in answer.text
    short = asks.replace(f":{len(ids)}", ":3")
    assert '<div id="sync">' in hx(browser, short).text, "a page that has not all links gets them"


# -- turning on and off


def test_turning_on_queues_a_test_and_shows_the_chain(app: Flask, scene: Callable[..., str], browser_of: Of) -> None:
    entry_id = scene(scenes.agent)
    browser = browser_of("olivia")
    page = browser.get(url(entry_id)).text
    agent_id = re.search(r'<option value="([^"]+)" selected', page)
    assert agent_id
    answer = browser.post(url(entry_id, "synchronization/enable"), {"agent_id": agent_id[1], "on_failure": "stop"})
    assert answer.status_code == 303
    with app.app_context():
        chain = sync.chain_of(entry())
        assert chain is not None
        assert (chain.on_failure, len(sync.active_links(chain))) == ("stop", 1)
        run = sync.active_run(chain)
        assert run is not None
        assert run.kind == "test"


def test_an_agent_that_this_vault_may_not_use_is_refused_beside_the_field(
    scene: Callable[..., str], browser_of: Of
) -> None:
    entry_id = scene(scenes.agent)
    answer = browser_of("olivia").post(url(entry_id, "synchronization/enable"), {"agent_id": "nobody"}, htmx=True)
    assert answer.status_code == 422
    assert 'id="f-agent_id-error"' in answer.text


def test_turning_off_forgets_nothing_and_names_the_places_that_differ(
    app: Flask, scene: Callable[..., str], browser_of: Of
) -> None:
    entry_id = scene(scenes.changing)
    with app.app_context():
        scenes.finish_attempts(entry())
        scenes.end_runs(entry())
    browser = browser_of("olivia")
    assert "Nothing is forgotten" in browser.get(url(entry_id, "synchronization/off")).text
    assert browser.post(url(entry_id, "synchronization/off")).status_code == 303
    page = browser.get(url(entry_id)).text
    assert "these places do not have the vault’s password" in page
    assert "LAB-04" in page
    assert "version 1" in page


# -- asking


def test_retest_does_what_its_button_says(app: Flask, scene: Callable[..., str], browser_of: Of) -> None:
    entry_id = scene(scenes.out_of_sync)
    browser = browser_of("eddie")
    answer = browser.post(url(entry_id, "retest"), htmx=True)
    assert answer.status_code == 200
    assert "Retest Sync began" in answer.text
    with app.app_context():
        chain = sync.chain_of(entry())
        assert chain is not None
        run = sync.active_run(chain)
        assert run is not None
        assert (run.kind, run.requested_by) == ("test", Cast().eddie.id)
        assert set(run.scope or ()) == {scenes.link(entry(), machine).id for machine in ("LAB-04", "LAB-05", "LAB-06")}


def test_retest_over_the_budget_rests_with_the_reason_and_a_forged_click_sends_nothing(
    app: Flask, scene: Callable[..., str], browser_of: Of
) -> None:
    entry_id = scene(scenes.chain, ["LAB-05"], places=False)
    with app.app_context():
        row = scenes.link(entry(), "LAB-05")
        scenes.refused(row)
        with write() as session:
            for number in range(2):
                accounts.reserve(session, row.account_key or "", f"spent {number}", now())
    browser = browser_of("eddie")
    page = browser.get(url(entry_id)).text
    button = re.search(r"<button[^>]*disabled[^>]*>(?:(?!</button>).)*Retest Sync", page, re.DOTALL)
    assert button
    assert 'aria-describedby="retest-why"' in button[0]
    assert "Would risk locking LAB-05" in page
    assert browser.post(url(entry_id, "retest")).status_code == 409
    with app.app_context():
        chain = sync.chain_of(entry())
        assert chain is not None
        assert sync.active_run(chain) is None


def test_a_second_click_while_a_run_is_active_shows_that_run(
    app: Flask, scene: Callable[..., str], browser_of: Of
) -> None:
    entry_id = scene(scenes.chain)
    browser = browser_of("vera")
    first, second = (browser.post(url(entry_id, "test"), htmx=True).text for _ in range(2))
    number = re.search(r"Run (\d+): every link", first)
    assert number
    assert f"Run {number[1]}: every link" in second


def test_giving_up_a_change_that_reached_nowhere(app: Flask, scene: Callable[..., str], browser_of: Of) -> None:
    entry_id = scene(scenes.chain)
    with app.app_context():
        sync.request_change(Cast().olivia, entry(), Secret(NEW))
    browser = browser_of("eddie")
    assert browser.post(url(entry_id, "give-up")).status_code == 303
    assert browser.post(url(entry_id, "give-up")).status_code == 422, "there is nothing to give up any more"


# -- the Change page


def test_change_it_everywhere_makes_a_pending_version_and_a_run(
    app: Flask, scene: Callable[..., str], browser_of: Of
) -> None:
    entry_id = scene(scenes.chain)
    browser = browser_of("eddie")
    page = browser.get(url(entry_id, "change")).text
    assert "Change it everywhere: 8 links" in page
    assert "Writes it into LabImaging, \\Lab\\Nightly reset" in page
    version = re.search(r'name="row_version" value="(\d+)"', page)
    assert version
    form = {"value": f"{NEW} ", "how": "everywhere", "row_version": version[1]}
    refused = browser.post(url(entry_id, "change"), form)
    assert refused.status_code == 422, "a blank at the end is refused, never stripped"
    assert NEW not in refused.text
    assert browser.post(url(entry_id, "change"), form | {"value": NEW}).status_code == 303
    with app.app_context():
        pending = db.session.scalars(db.select(EntryVersion).filter_by(stage="pending")).one()
        assert pending.entry_id == entry_id


def test_the_same_value_is_nothing_to_do(scene: Callable[..., str], browser_of: Of) -> None:
    entry_id = scene(scenes.chain)
    form = {"value": VALUE, "how": "everywhere", "row_version": "1"}
    answer = browser_of("eddie").post(url(entry_id, "change"), form)
    assert answer.status_code == 422
    assert NOTHING in answer.text
    assert VALUE not in answer.text


def test_while_a_change_is_under_way_what_was_typed_stays_in_the_field_for_that_answer_only(
    scene: Callable[..., str], browser_of: Of, app: Flask
) -> None:
    entry_id = scene(scenes.changing)
    with app.app_context():
        row_version = entry().row_version
    browser = browser_of("eddie")
    form = {"value": "Third-93kq#Rezun", "how": "everywhere", "row_version": str(row_version)}
    answer = browser.post(url(entry_id, "change"), form)
    assert answer.status_code == 409
    assert UNDER_WAY in answer.text
    assert 'value="Third-93kq#Rezun"' in answer.text
    assert "Third-93kq#Rezun" not in browser.get(url(entry_id, "change")).text


def test_a_stale_form_saves_nothing_and_gives_no_value_back(scene: Callable[..., str], browser_of: Of) -> None:
    entry_id = scene(scenes.chain)
    answer = browser_of("eddie").post(url(entry_id, "change"), {"value": NEW, "how": "everywhere", "row_version": "99"})
    assert answer.status_code == 409
    assert "Nothing was saved" in answer.text
    assert NEW not in answer.text


def test_correct_writes_to_no_machine_and_settles_only_what_was_ticked(
    app: Flask, scene: Callable[..., str], browser_of: Of
) -> None:
    entry_id = scene(scenes.chain)
    second = link_id(app, "LAB-02")
    form = {"value": NEW, "how": "correct", "row_version": "1", "link_ids": [second]}
    assert browser_of("eddie").post(url(entry_id, "change"), form).status_code == 303
    with app.app_context():
        run = db.session.scalars(db.select(SyncRun).where(SyncRun.state != "done")).one()
        assert run.kind == "correct"
        states = {row.machine: row.state for row in scenes.links(entry()) if row.is_account}
        assert states["LAB-02"] == "unknown"
        assert states["LAB-01"] == "in_sync"


def test_a_password_without_a_chain_is_only_saved(app: Flask, scene: Callable[..., str], browser_of: Of) -> None:
    entry_id = scene()
    browser = browser_of("eddie")
    page = browser.get(url(entry_id, "change")).text
    assert "Save the new password" in page
    assert "Change it everywhere" not in page
    assert browser.post(url(entry_id, "change"), {"value": NEW, "row_version": "1"}).status_code == 303
    with app.app_context():
        assert db.session.scalars(db.select(SyncRun)).all() == []


def test_generate_works_without_script_and_keeps_the_choice(scene: Callable[..., str], browser_of: Of) -> None:
    entry_id = scene(scenes.chain)
    form = {"generate": "1", "how": "correct", "row_version": "1", "length": "24", "lower": "1", "digits": "1"}
    page = browser_of("eddie").post(url(entry_id, "change"), form).text
    made = re.search(r'id="g-value" name="value" type="text" value="([a-z0-9]{24})"', page)
    assert made
    assert re.search(r'value="correct" id="w-correct" checked', page)



def with_service(state: str, reason: str, **columns: object) -> Entry:
    entry = scenes.chain()
    scenes.change(scenes.link(entry, "LAB-03", account=False), state=state, reason=reason, **columns)
    return entry


def test_a_service_that_is_down_is_named_with_its_code_and_a_step(scene: Callable[..., str], browser_of: Of) -> None:
    entry = scene(with_service, "down", "did_not_start", reason_code="1058", restart_pending=True)
    page = browser_of("olivia").get(f"/passwords/{entry}/synchronization").text
    assert "A service on LAB-03 is stopped and not up" in page
    assert "We stopped LabImaging on LAB-03 and it did not start." in page
    assert "1058" in page
    assert "Start it there, then Retest Sync" in page
    assert "goes on with the old one" not in page
    assert "Approve…" not in page


def test_a_service_that_may_not_be_restarted_says_why(scene: Callable[..., str], browser_of: Of) -> None:
    entry = scene(with_service, "updated", "start_disabled", restart_pending=True)
    page = browser_of("olivia").get(f"/passwords/{entry}/synchronization").text
    assert "LabImaging on LAB-03 was not restarted" in page
