"""A password's pages: show, copy, edit, generate, trash."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from pwserver.core.generator import ALIKE
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Entry, Event
from pwserver.services import entries, sync, values
from pwserver.services.transaction import write
from tests.conftest import VALUE, Cast
from tests.web.conftest import Browser
from tests.web.things import add_chain

Of = Callable[[str], Browser]


def text_of(html: str, element: str) -> str:
    found = re.search(rf'<[^>]*id="{element}"[^>]*>(.*?)</output>', html, re.S)
    assert found
    import html as entities

    return entities.unescape(re.sub("<[^>]+>", "", found[1]))


def test_showing_is_recorded_and_the_value_is_in_that_answer_only(
    app: Flask, browser_of: Of, ids: dict[str, str]
) -> None:
    vera, page = browser_of("vera"), f"/passwords/{ids['entry_id']}"
    answer = vera.post(f"{page}/show")
    assert answer.status_code == 200
    assert text_of(answer.text, "secret-value") == VALUE
    assert answer.headers["Refresh"] == f"30;url={page}", "it leaves by itself, without script too"
    assert answer.headers["Cache-Control"] == "no-store"
    assert VALUE not in re.sub("<[^>]+>", "", vera.get(page).text)
    with app.app_context():
        event = db.session.scalars(db.select(Event).order_by(Event.seq.desc())).first()
        assert event is not None
        assert (event.verb, event.actor_id, event.entry_id) == ("password.shown", Cast().vera.id, ids["entry_id"])


@pytest.mark.parametrize("how", ["show", "copy"])
def test_a_fragment_with_the_value_hides_itself(browser_of: Of, ids: dict[str, str], how: str) -> None:
    vera, page = browser_of("vera"), f"/passwords/{ids['entry_id']}"
    answer = vera.post(f"{page}/{how}", htmx=True)
    assert text_of(answer.text, "secret-value") == VALUE
    assert 'data-hide-after="30"' in answer.text
    assert f'data-hide-url="{page}/hidden"' in answer.text
    assert ("data-copy>" in answer.text) == (how == "copy")
    assert "<html" not in answer.text
    hidden = vera.get(f"{page}/hidden", headers={"HX-Request": "true"})
    assert "secret-value" not in hidden.text


def test_a_look_cannot_be_a_link(browser_of: Of, ids: dict[str, str]) -> None:
    """Mail scanners and previews follow links."""
    for how in ("show", "copy"):
        assert browser_of("vera").get(f"/passwords/{ids['entry_id']}/{how}").status_code == 405


def test_digits_and_signs_have_their_own_colour(browser_of: Of, ids: dict[str, str]) -> None:
    answer = browser_of("vera").post(f"/passwords/{ids['entry_id']}/show")
    assert '<span class="l">Zebra</span><span class="s">-</span><span class="d">93</span>' in answer.text


def test_a_hostile_value_is_shown_as_it_is(app: Flask, browser_of: Of) -> None:
    hostile = "<script>alert('x')</script>&amp;\"{{7*7}}"
    with app.app_context():
        cast = Cast()
        made = entries.create_entry(
            cast.olivia, cast.vault, entries.Settings("<b>Bold</b>", "generic"), Secret(hostile)
        )
        path = f"/passwords/{made.id}/show"
    answer = browser_of("vera").post(path)
    assert text_of(answer.text, "secret-value") == hostile
    assert "<script>alert" not in answer.text
    assert "<b>Bold" not in answer.text


def test_while_places_differ_it_says_which_version_opens_which(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    with app.app_context():
        cast = Cast()
        chain_id = add_chain().id
        with write() as session:
            session.get_one(type(sync.chain_of(cast.entry)), chain_id).enabled = False
        sync.request_change(cast.olivia, cast.entry, Secret("Quite-another-1"), row_version=cast.entry.row_version)
        first = entries.versions(cast.entry)[-1].id
    vera, page = browser_of("vera"), f"/passwords/{ids['entry_id']}"
    answer = vera.post(f"{page}/show")
    assert text_of(answer.text, "secret-value") == "Quite-another-1"
    assert "Which one opens which machine" in answer.text
    assert "Show version 1, for LAB-01" in answer.text
    older = vera.post(f"{page}/show", {"version": first})
    assert text_of(older.text, "secret-value") == VALUE
    assert "Not the current one, version 1" in older.text


def test_a_version_of_another_password_is_not_shown(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    with app.app_context():
        cast = Cast()
        other = entries.create_entry(
            cast.ada, cast.vault, entries.Settings("Other", "generic"), Secret("Others-value-1")
        )
        foreign = values.current_version(other).id
    answer = browser_of("vera").post(f"/passwords/{ids['entry_id']}/show", {"version": foreign})
    assert answer.status_code == 409
    assert "Others-value-1" not in answer.text


FORM = {"name": "Lab Administrator", "type": "standalone_windows", "machine": "LAB-01", "user_name": "Administrator"}


def test_saving_settings(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    eddie = browser_of("eddie")
    answer = eddie.post(f"/passwords/{ids['entry_id']}", FORM | {"notes": "new words", "row_version": "1"})
    assert answer.status_code == 303
    assert "new words" in eddie.get(f"/passwords/{ids['entry_id']}").text


def test_a_stale_form_shows_how_it_stands_and_keeps_what_was_typed(
    app: Flask, browser_of: Of, ids: dict[str, str]
) -> None:
    eddie, olivia, page = browser_of("eddie"), browser_of("olivia"), f"/passwords/{ids['entry_id']}"
    eddie.post(page, FORM | {"notes": "Eddie was first", "row_version": "1"})
    answer = olivia.post(page, FORM | {"notes": "Olivia typed this", "row_version": "1"})
    assert answer.status_code == 409
    assert "Someone else changed this meanwhile" in answer.text
    assert "<dd>Eddie was first</dd>" in answer.text
    assert "Olivia typed this</textarea>" in answer.text
    assert 'name="row_version" value="2"' in answer.text, "so that saving again is possible"
    with app.app_context():
        assert Cast().entry.notes == "Eddie was first"


def test_what_is_wrong_stands_beside_its_field(browser_of: Of, ids: dict[str, str]) -> None:
    answer = browser_of("eddie").post(
        f"/passwords/{ids['entry_id']}", FORM | {"machine": "", "notes": "kept", "row_version": "1"}
    )
    assert answer.status_code == 422
    assert 'id="f-machine" name="machine"' in answer.text
    assert re.search(r'id="f-machine"[^>]*aria-invalid="true" aria-describedby="f-machine-error"', answer.text)
    assert "kept</textarea>" in answer.text


def test_a_typed_value_never_comes_back(browser_of: Of, ids: dict[str, str]) -> None:
    answer = browser_of("eddie").post(
        f"/vaults/{ids['vault_id']}/passwords/new", {"name": "", "type": "generic", "value": "Typed-value-77"}
    )
    assert answer.status_code == 422
    assert "Typed-value-77" not in answer.text


def test_creating_a_password(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    answer = browser_of("eddie").post(
        f"/vaults/{ids['vault_id']}/passwords/new",
        {"name": "Wiki", "type": "generic", "user_name": "admin", "value": "Typed-value-77"},
    )
    assert answer.status_code == 303
    with app.app_context():
        made = db.session.scalar(db.select(Entry).filter_by(name="Wiki"))
        assert made is not None
        assert answer.headers["Location"] == f"/passwords/{made.id}"
        assert values.reveal(Cast().eddie, made).open() == "Typed-value-77"


@pytest.mark.parametrize("htmx", [True, False])
def test_generate_fills_the_field_and_stores_nothing(
    app: Flask, browser_of: Of, ids: dict[str, str], htmx: bool
) -> None:
    eddie = browser_of("eddie")
    path = "/generate" if htmx else f"/vaults/{ids['vault_id']}/passwords/new"
    data = {"generate": "1", "name": "Wiki", "type": "generic", "length": "24", "lower": "1", "digits": "1"}
    answer = eddie.post(path, data, htmx=htmx)
    assert answer.status_code == 200
    found = re.search(r'id="g-value" name="value" type="text" value="([^"]+)"', answer.text)
    assert found
    assert len(found[1]) == 24
    assert re.fullmatch("[a-z2-9]+", found[1])
    assert not ALIKE & set(found[1])
    if not htmx:
        assert 'value="Wiki"' in answer.text, "what else was typed is kept"
    with app.app_context():
        assert db.session.scalar(db.select(Entry).filter_by(name="Wiki")) is None


@pytest.mark.parametrize(
    ("data", "words"), [({"length": "3", "lower": "1"}, "length"), ({"length": "20"}, "at least one")]
)
def test_a_generator_that_cannot_says_why(browser_of: Of, data: dict[str, str], words: str) -> None:
    answer = browser_of("eddie").post("/generate", data, htmx=True)
    assert answer.status_code == 422
    assert words in answer.text


def test_trash_and_back(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    eddie, page = browser_of("eddie"), f"/passwords/{ids['entry_id']}"
    assert "can be restored for 90 days" in eddie.get(f"{page}/trash").text
    assert eddie.post(f"{page}/trash", {"row_version": "1"}).status_code == 303
    assert eddie.get(page).status_code == 404
    assert eddie.post(f"{page}/show").status_code == 404, "nothing in the trash is handed out"
    assert "Lab Administrator" in eddie.get(f"/vaults/{ids['vault_id']}/trash").text
    assert eddie.post(f"{page}/restore").status_code == 303
    assert eddie.get(page).status_code == 200


def test_a_busy_password_is_not_thrown_away(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    from tests.web.things import add_run

    with app.app_context():
        add_run(add_chain(), state="queued")
    answer = browser_of("eddie").post(f"/passwords/{ids['entry_id']}/trash", {"row_version": "1"})
    assert answer.status_code == 409
    assert "Run 1 is under way" in answer.text


def test_vera_sees_no_form_that_she_may_not_send(browser_of: Of, ids: dict[str, str]) -> None:
    page = browser_of("vera").get(f"/passwords/{ids['entry_id']}").text
    assert "Save settings" not in page
    assert "Move to trash" not in page
    assert "New password" not in browser_of("vera").get(f"/vaults/{ids['vault_id']}").text


def test_a_device_that_does_not_answer_is_said_beside_its_field(browser_of: Of, ids: dict[str, str]) -> None:
    data = {"name": "Switch", "type": "device", "machine": "127.0.0.1", "port": "1", "fetch_host_key": "1"}
    answer = browser_of("eddie").post(f"/vaults/{ids['vault_id']}/passwords/new", data)
    assert answer.status_code == 200
    assert "127.0.0.1 does not answer on port 1. Nothing was sent." in answer.text
    assert 'value="Switch"' in answer.text
