"""Run pages: every attempt in words, for those who may see the password and nobody else."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from pwserver.extensions import db
from pwserver.models import SyncRun
from tests.conftest import Cast
from tests.web import scenes
from tests.web.conftest import Browser

Of = Callable[[str], Browser]


@pytest.fixture
def run_id(app: Flask) -> str:
    with app.app_context():
        return scenes.changing()[1].id


def test_a_run_shows_step_machine_outcome_and_reason(run_id: str, browser_of: Of) -> None:
    page = browser_of("vera").get(f"/runs/{run_id}").text
    assert "Run 2, change" in page
    assert "change · changed, logged on" in page
    assert "(1326)" in page
    assert "LAB-05 refused the password that Administrator was last proved to have" in page
    assert "1 attempt, the last one: at work" in page


def test_a_run_asks_again_only_while_it_is_active(app: Flask, run_id: str, browser_of: Of) -> None:
    browser = browser_of("vera")
    page = browser.get(f"/runs/{run_id}").text
    asks = re.search(r'hx-get="([^"]+since=[^"]+)"', page)
    assert asks
    path = asks[1].replace("&amp;", "&")
    assert browser.get(path, headers={"HX-Request": "true"}).status_code == 204
    with app.app_context():
        scenes.finish_attempts(Cast().entry)
        scenes.end_runs(Cast().entry)
    end = browser.get(path, headers={"HX-Request": "true"})
    assert end.status_code == 200
    assert "hx-trigger" not in end.text
    assert "<html" not in end.text


def test_cancelling_ends_before_the_next_link(app: Flask, run_id: str, browser_of: Of) -> None:
    browser = browser_of("eddie")
    assert browser.post(f"/runs/{run_id}/cancel").status_code == 303
    with app.app_context():
        run = db.session.get_one(SyncRun, run_id)
        assert run.cancel_at is not None
        assert run.state == "running", "never inside a link"
    assert "It ends before its next link" in browser.get(f"/runs/{run_id}").text
    with app.app_context():
        scenes.finish_attempts(Cast().entry)
        scenes.end_runs(Cast().entry)
    assert browser.post(f"/runs/{run_id}/cancel").status_code == 409


def test_cancelling_from_the_chain_answers_with_the_chain(app: Flask, run_id: str, browser_of: Of) -> None:
    browser = browser_of("eddie")
    token = {"csrf_token": browser.token()}
    headers = {"HX-Request": "true", "HX-Target": "sync"}
    answer = browser.client.post(f"/runs/{run_id}/cancel", data=token, headers=headers)
    assert '<div id="sync">' in answer.text
    assert "Stops after this link" in answer.text


def test_the_list_has_only_runs_of_passwords_one_may_see(run_id: str, browser_of: Of) -> None:
    assert run_id in browser_of("vera").get("/runs").text
    assert run_id in browser_of("vera").get("/runs?only=active").text
    nora = browser_of("nora").get("/runs")
    assert run_id not in nora.text
    assert "No runs yet" in nora.text


def test_the_reason_of_an_override_and_that_its_credentials_are_gone(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        entry = scenes.out_of_sync()
        run = scenes.run(entry, "override", note="Box was open")
        scenes.end_runs(entry)
        run_id = run.id
    page = browser_of("olivia").get(f"/runs/{run_id}").text
    assert "administrative override" in page
    assert "“Box was open”" in page
    assert "gone since the run ended" in page


def test_an_unknown_run_is_not_there(browser_of: Of) -> None:
    assert browser_of("olivia").get("/runs/nothing").status_code == 404


def test_a_proof_through_a_directory_names_its_controller_its_means_and_what_was_told_besides(
    app: Flask, browser_of: Of
) -> None:
    with app.app_context():
        run_id = scenes.domain_test()[1].id
    page = browser_of("vera").get(f"/runs/{run_id}").text
    assert "probe · logged on at dc1.corp.test by Kerberos, " in page
    assert "test · unknown, at dc1.corp.test by bind and last-set stamp, " in page
    assert page.count("2 service names (SPN): its services take the new password at their restart.") == 1


def test_a_machine_answers_for_itself(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        entry, run = scenes.changing()
        row = scenes.link(entry, "LAB-06")
        scenes.attempt(run, row, "change", "applied", evidence={"means": "logged on", "host": "LAB-06"})
        run_id = run.id
    page = browser_of("vera").get(f"/runs/{run_id}").text
    assert "at LAB-06" not in page
