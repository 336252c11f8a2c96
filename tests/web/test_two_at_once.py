"""Two people at once, each with a page that was right when it was opened. Both are owners here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import EntryVersion, Override, SyncRun
from pwserver.services import agents, sync, vaults
from pwserver.services.sync.requests import UNDER_WAY
from pwserver.services.transaction import write
from tests.conftest import Cast
from tests.web import scenes
from tests.web.conftest import Browser

Of = Callable[[str], Browser]
ADMIN = "admin-Secret-77#x"
NEW = "Next-93kq#Rezun-2"


@pytest.fixture
def two(app: Flask, browser_of: Of) -> tuple[Browser, Browser]:
    """Olivia and Eddie, both owners of the vault."""
    with app.app_context():
        cast = Cast()
        vaults.set_member(cast.olivia, cast.vault, cast.eddie.id, "owner")
    return browser_of("olivia"), browser_of("eddie")


@pytest.fixture
def broken(app: Flask) -> str:
    with app.app_context():
        return scenes.out_of_sync().id


def approval(app: Flask, browser: Browser, entry_id: str, **more: Any) -> dict[str, Any]:
    """The Approve form as this person has it open now, filled in for LAB-05."""
    page = browser.get(f"/passwords/{entry_id}/approve").text
    seen = re.search(r'name="seen" value="(\d+)"', page)
    assert seen
    with app.app_context():
        link = scenes.link(Cast().entry, "LAB-05").id
    form = {"link_ids": [link], "with:lab-05": "typed", "user:lab-05": "LAB-05\\adm", "password:lab-05": ADMIN}
    return form | {"value_choice": "keep", "reason": "box was open", "seen": seen[1]} | more


def runs(app: Flask, kind: str) -> list[tuple[str, str]]:
    with app.app_context():
        return [(run.state, run.result or "") for run in db.session.scalars(db.select(SyncRun).filter_by(kind=kind))]


def test_both_press_approve_and_the_second_is_told_of_the_first(
    app: Flask, broken: str, two: tuple[Browser, Browser]
) -> None:
    first, second = two
    forms = approval(app, first, broken), approval(app, second, broken, value_choice="new", value=NEW)
    assert first.post(f"/passwords/{broken}/approve", forms[0]).status_code == 303
    answer = second.post(f"/passwords/{broken}/approve", forms[1])
    assert answer.status_code == 409
    assert "Olivia Ortiz approved already meanwhile, as run" in answer.text
    assert "Nothing was changed" in answer.text
    assert ADMIN not in answer.text
    assert runs(app, "override") == [("queued", "")]
    with app.app_context():
        assert len(db.session.scalars(db.select(Override)).all()) == 1, "the second's credentials are kept nowhere"
        assert db.session.scalars(db.select(EntryVersion).filter_by(stage="pending")).all() == []


def test_an_approve_page_left_open_while_another_owner_put_it_right_sets_nothing_anew(
    app: Flask, broken: str, two: tuple[Browser, Browser]
) -> None:
    first, second = two
    forms = approval(app, first, broken), approval(app, second, broken, value_choice="new", value=NEW)
    first.post(f"/passwords/{broken}/approve", forms[0])
    with app.app_context():
        scenes.end_runs(Cast().entry)
        with write() as session:
            session.execute(db.delete(Override))
    answer = second.post(f"/passwords/{broken}/approve", forms[1])
    assert answer.status_code == 409
    assert "Olivia Ortiz approved already meanwhile" in answer.text
    assert runs(app, "override") == [("done", "done")]
    again = approval(app, second, broken)
    assert second.post(f"/passwords/{broken}/approve", again).status_code == 303, "with the page as it is now it may"


def test_one_saves_a_value_while_the_other_approves(app: Flask, broken: str, two: tuple[Browser, Browser]) -> None:
    """The override goes on; what was typed comes back in that answer only, and is stored nowhere."""
    first, second = two
    first.post(f"/passwords/{broken}/approve", approval(app, first, broken))
    with app.app_context():
        row_version = Cast().entry.row_version
    for how in ("everywhere", "correct"):
        form = {"value": NEW, "how": how, "row_version": str(row_version)}
        answer = second.post(f"/passwords/{broken}/change", form)
        assert answer.status_code == 409
        assert UNDER_WAY in answer.text
        assert f'value="{NEW}"' in answer.text
    assert runs(app, "override") == [("queued", "")]
    assert runs(app, "change") == runs(app, "correct") == []


def test_one_approves_on_a_page_from_before_the_others_save(
    app: Flask, broken: str, two: tuple[Browser, Browser]
) -> None:
    """Approve would have kept the vault's password; the vault is about to have another."""
    first, second = two
    form = approval(app, first, broken)
    with app.app_context():
        row_version = Cast().entry.row_version
    saved = second.post(
        f"/passwords/{broken}/change", {"value": NEW, "how": "everywhere", "row_version": str(row_version)}
    )
    assert saved.status_code == 303
    answer = first.post(f"/passwords/{broken}/approve", form)
    assert answer.status_code == 409
    assert "Eddie Evans asked for a change meanwhile" in answer.text
    assert runs(app, "override") == []
    assert runs(app, "change") == [("queued", "")]


def test_both_edit_and_the_second_is_told_who_changed_what(app: Flask, two: tuple[Browser, Browser]) -> None:
    first, second = two
    with app.app_context():
        entry = scenes.chain(["LAB-02", "LAB-03"], places=False)
        entry_id, old, third = entry.id, str(scenes.revision(entry)), scenes.link(entry, "LAB-03").id
    first.post(f"/passwords/{entry_id}/links/{third}/remove", {"revision": old})
    for path, form in (
        ("links", {"kind": "remote_windows", "machine": "LAB-09", "user_name": "Administrator"}),
        (f"links/{third}/up", {}),
        ("links/many", {"names": "LAB-09", "user_name": "Administrator", "promised": "1"}),
        ("synchronization/settings", {"agent_id": "x", "on_failure": "stop"}),
    ):
        answer = second.post(f"/passwords/{entry_id}/{path}", form | {"revision": old}, htmx=True)
        assert (path, answer.status_code) == (path, 409)
        assert "Meanwhile Olivia Ortiz removed LAB-03" in answer.text, path
    with app.app_context():
        assert [link.machine for link in scenes.links(Cast().entry)] == ["LAB-01", "LAB-02"]


def test_retest_during_a_run_shows_that_run_and_starts_no_other(app: Flask, two: tuple[Browser, Browser]) -> None:
    with app.app_context():
        entry, run = scenes.changing()
        entry_id, number = entry.id, run.number
    before = runs(app, "change"), runs(app, "test")
    answer = two[1].post(f"/passwords/{entry_id}/retest", htmx=True)
    assert answer.status_code == 200
    assert f"Run {number}: " in answer.text
    assert (runs(app, "change"), runs(app, "test")) == before


def test_a_save_during_a_run_is_refused_and_the_run_goes_on(app: Flask, two: tuple[Browser, Browser]) -> None:
    with app.app_context():
        entry, _run = scenes.changing()
        entry_id, row_version = entry.id, str(entry.row_version)
    answer = two[1].post(
        f"/passwords/{entry_id}/change", {"value": "Third-93kq#Rezun", "how": "everywhere", "row_version": row_version}
    )
    assert answer.status_code == 409
    assert UNDER_WAY in answer.text
    assert runs(app, "change") == [("running", "")]


@pytest.mark.parametrize("what", ["remove", "save"])
def test_a_link_removed_or_edited_in_mid_run_stays_as_it_is(
    app: Flask, two: tuple[Browser, Browser], what: str
) -> None:
    with app.app_context():
        entry, _run = scenes.changing()
        row = scenes.link(entry, "LAB-04")
        path, revision = f"/passwords/{entry.id}/links/{row.id}", str(scenes.revision(entry))
    form = {"revision": revision, "machine": "LAB-12", "user_name": "Administrator"}
    answer = two[1].post(f"{path}/remove" if what == "remove" else path, form, htmx=True)
    assert answer.status_code == 409
    assert "A run of this chain is under way" in answer.text
    with app.app_context():
        assert scenes.link(Cast().entry, "LAB-04").active


def test_an_agent_disabled_in_mid_run_is_said_on_the_page_that_waits(app: Flask, two: tuple[Browser, Browser]) -> None:
    with app.app_context():
        entry, _run = scenes.changing()
        entry_id = entry.id
        chain = sync.chain_of(entry)
        assert chain is not None
        agents.disable(Cast().ada, chain.agent, row_version=chain.agent.row_version)
        scenes.finish_attempts(Cast().entry)
        scenes.end_runs(Cast().entry)
    page = two[0].get(f"/passwords/{entry_id}/synchronization").text
    assert "LAB-01 is disabled." in page
    assert "Nothing is tested or changed until it is approved again" in page
    assert two[1].post(f"/passwords/{entry_id}/retest").status_code == 409
    assert two[1].get(f"/passwords/{entry_id}/approve").status_code == 409


def test_a_queued_change_given_up_by_one_while_the_other_saves_the_next(
    app: Flask, two: tuple[Browser, Browser]
) -> None:
    with app.app_context():
        entry = scenes.chain(["LAB-02"], places=False)
        entry_id, row_version = entry.id, str(entry.row_version)
        sync.request_change(Cast().olivia, entry, Secret(NEW))
    first, second = two
    assert first.post(f"/passwords/{entry_id}/give-up").status_code == 303
    form = {"value": "Third-93kq#Rezun", "how": "everywhere", "row_version": row_version}
    assert second.post(f"/passwords/{entry_id}/change", form).status_code == 303
    assert sorted(runs(app, "change")) == [("done", "given_up"), ("queued", "")]
    assert first.post(f"/passwords/{entry_id}/give-up").status_code == 303, "the newer one, which it shows now"
