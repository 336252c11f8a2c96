"""Approve: nothing happens without a reason and a way in, and an administrator's password is never sent back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from pwserver.extensions import db
from pwserver.models import Event, Incident, Override, SyncLink, SyncRun
from pwserver.services.sync.status import refresh
from pwserver.services.transaction import write
from tests.conftest import Cast
from tests.web import scenes
from tests.web.conftest import Browser

Of = Callable[[str], Browser]
ADMIN = "admin-Secret-77#x"


@pytest.fixture
def broken(app: Flask) -> str:
    with app.app_context():
        return scenes.out_of_sync().id


def id_of(app: Flask, machine: str) -> str:
    with app.app_context():
        return scenes.link(Cast().entry, machine).id


def form(app: Flask, **more: Any) -> dict[str, Any]:
    return {
        "link_ids": [id_of(app, "LAB-05")],
        "with:lab-05": "typed",
        "user:lab-05": "LAB-05\\fieldadm",
        "password:lab-05": ADMIN,
        "with:lab-06": "typed",
        "value_choice": "keep",
        "reason": "Student evening, lab 2: box was open",
    } | more


def runs(app: Flask) -> list[SyncRun]:
    with app.app_context():
        return list(db.session.scalars(db.select(SyncRun).filter_by(kind="override")))


def test_the_page_ticks_what_is_wrong_and_leaves_out_what_is_silent(app: Flask, broken: str, browser_of: Of) -> None:
    page = browser_of("olivia").get(f"/passwords/{broken}/approve").text
    assert f'value="{id_of(app, "LAB-05")}" id="k-{id_of(app, "LAB-05")}" checked' in page
    silent = id_of(app, "LAB-04")
    assert f'value="{silent}" id="k-{silent}" disabled' in page
    assert "with:lab-04" not in page
    order = [page.index(words) for words in ("What to put right", "Which password", "Reason", "What Approve does")]
    assert order == sorted(order)


def test_a_machine_that_refused_what_was_typed_is_ticked_for_the_next_try(
    app: Flask, broken: str, browser_of: Of
) -> None:
    """Unticked, a new password would be tried there from the old one, which it has refused already."""
    where = id_of(app, "LAB-05")
    with app.app_context(), write() as session:
        link = session.get_one(SyncLink, where)
        link.state, link.reason = "blocked", "override_refused"
        refresh(session, link.chain_id)
    page = browser_of("olivia").get(f"/passwords/{broken}/approve").text
    assert f'value="{where}" id="k-{where}" checked' in page


def test_changed_outside_says_to_treat_that_machine_as_compromised_before_any_field(
    broken: str, browser_of: Of
) -> None:
    page = browser_of("olivia").get(f"/passwords/{broken}/approve").text
    assert "treat LAB-05 as compromised" in page
    assert page.index("as compromised") < page.index('id="approve"')


def test_a_refused_linked_credential_cannot_be_chosen_even_by_a_forged_form(
    app: Flask, broken: str, browser_of: Of
) -> None:
    blocked = id_of(app, "LAB-06")
    browser = browser_of("olivia")
    sent = form(app, link_ids=[blocked], **{"with:lab-06": "linked"})
    answer = browser.post(f"/passwords/{broken}/approve", sent)
    assert answer.status_code == 422
    assert "There is no linked credential that works here" in answer.text
    assert runs(app) == []


def test_a_typed_credential_is_sealed_with_its_run_and_never_shown_logged_or_kept_in_the_history(
    app: Flask, broken: str, browser_of: Of, caplog: pytest.LogCaptureFixture
) -> None:
    browser = browser_of("olivia")
    answer = browser.post(f"/passwords/{broken}/approve", form(app, unlock="1"))
    assert answer.status_code == 303
    assert ADMIN not in caplog.text
    assert ADMIN not in browser.get(answer.headers["Location"]).text
    with app.app_context():
        [run] = db.session.scalars(db.select(SyncRun).filter_by(kind="override"))
        assert (run.scope, run.whole_chain, run.unlock) == ([id_of(app, "LAB-05")], False, True)
        sealed = db.session.get_one(Override, run.id).sealed
        assert ADMIN.encode() not in sealed
        for event in db.session.scalars(db.select(Event)):
            assert ADMIN not in str(event.facts)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reason": ""}, "a-reason-error"),
        ({"user:lab-05": ""}, "t1-user-error"),
        ({"password:lab-05": ""}, "t1-password-error"),
        ({"link_ids": []}, "f-links-error"),
        ({"value_choice": "other"}, "f-value_choice-error"),
        ({"value_choice": "new", "value": ""}, "g-help"),
        ({"value_choice": "new", "value": " begins with a blank"}, "g-help"),
    ],
)
def test_an_error_says_first_that_nothing_was_changed_then_stands_beside_its_field(
    app: Flask, broken: str, browser_of: Of, change: dict[str, Any], field: str
) -> None:
    answer = browser_of("olivia").post(f"/passwords/{broken}/approve", form(app, **change))
    assert answer.status_code == 422
    assert answer.text.index("Nothing was changed.") < answer.text.index(f'id="{field}"')
    assert ADMIN not in answer.text
    assert 'type="password"' in answer.text
    assert not re.search(r'type="password"[^>]*value="[^"]', answer.text)
    assert runs(app) == []


def test_what_was_typed_otherwise_stays(app: Flask, broken: str, browser_of: Of) -> None:
    page = browser_of("olivia").post(f"/passwords/{broken}/approve", form(app, **{"password:lab-05": ""})).text
    assert 'value="LAB-05\\fieldadm"' in page
    assert "Student evening, lab 2: box was open" in page
    assert 'value="typed" id="t1-typed" checked' in page


def test_the_same_for_all_fills_only_machines_that_were_left_blank(app: Flask, broken: str, browser_of: Of) -> None:
    both = [id_of(app, "LAB-05"), id_of(app, "LAB-06")]
    browser = browser_of("olivia")
    answer = browser.post(f"/passwords/{broken}/approve", form(app, link_ids=both))
    assert answer.status_code == 422, "LAB-06 has none, and nobody said that it is the same"
    assert browser.post(f"/passwords/{broken}/approve", form(app, link_ids=both, same="1")).status_code == 303
    with app.app_context():
        [event] = db.session.scalars(db.select(Event).filter_by(verb="sync.approve"))
        assert event.facts["credentials"] == ["lab-05: LAB-05\\fieldadm", "lab-06: LAB-05\\fieldadm"]


def test_the_new_password_is_offered_first_when_default_sync_failed(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        entry = scenes.chain()
        scenes.refused(scenes.link(entry, "LAB-01"))
        entry_id = entry.id
    page = browser_of("olivia").get(f"/passwords/{entry_id}/approve").text
    assert re.search(r'value="new" id="a-new" checked', page)
    assert "Approve: change 8 links" in page


def test_generate_fills_the_new_password_without_script(app: Flask, broken: str, browser_of: Of) -> None:
    sent = form(app, generate="1", length="20", lower="1")
    page = browser_of("olivia").post(f"/passwords/{broken}/approve", sent).text
    assert re.search(r'id="g-value" name="value" type="text" value="[a-z]{20}"', page)
    assert re.search(r'value="new" id="a-new" checked', page)
    assert ADMIN not in page


def test_a_link_in_a_mail_only_opens_a_page(app: Flask, broken: str, browser_of: Of) -> None:
    with app.app_context():
        incident_id = db.session.scalars(db.select(Incident.id)).one()
    browser = browser_of("vera")
    answer = browser.get(f"/issues/{incident_id}")
    assert answer.headers["Location"].endswith("/synchronization")
    assert runs(app) == []


def test_a_password_that_is_not_synchronized_has_nothing_to_approve(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        entry_id = Cast().entry.id
    answer = browser_of("olivia").get(f"/passwords/{entry_id}/approve")
    assert answer.status_code == 409
    assert "nothing to approve" in answer.text


def test_a_chain_that_is_right_again_says_so(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        entry_id = scenes.chain().id
    page = browser_of("olivia").get(f"/passwords/{entry_id}/approve").text
    assert "Nothing is wrong here" in page
    assert '<form id="approve"' not in page
