"""Many names at once, the whole order at once, and what a page that is not new any more may still do."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from pwserver.core.errors import Conflict, Invalid
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Event, SyncRun
from pwserver.services import entries, sync
from pwserver.services.sync.many import LONGEST, MOST, names_in
from tests.conftest import Cast
from tests.web import scenes
from tests.web.conftest import Browser

Of = Callable[[str], Browser]
FORTY = [f"LAB-{number:02}" for number in range(2, 42)]
PASTED = ("# lab 2", "LAB-09, LAB-10;LAB-11\tLAB-12", "", "LAB-05", "LAB 13", "LAB-13\\fieldadm  # Tom's", "PAYROLL")
MIXED = "\r\n".join((*PASTED, "lab-09"))


@pytest.fixture
def chained(app: Flask) -> str:
    with app.app_context():
        return scenes.chain(["LAB-02", "LAB-03", "LAB-05"]).id


@pytest.fixture
def alone(app: Flask) -> str:
    """Default Sync only."""
    with app.app_context():
        return scenes.chain([], places=False).id


def names(app: Flask) -> list[str]:
    with app.app_context():
        return [f"{each.machine} {each.kind}" for each in scenes.links(Cast().entry)]


def ids(app: Flask) -> list[str]:
    with app.app_context():
        return [each.id for each in scenes.links(Cast().entry)]


def revision(app: Flask) -> str:
    with app.app_context():
        return str(scenes.revision(Cast().entry))


def many(app: Flask, text: str, promised: int, **more: str) -> dict[str, str]:
    form = {"names": text, "user_name": "Administrator", "promised": str(promised), "revision": revision(app)}
    return form | more


def fates(page: str) -> list[tuple[str, str, str]]:
    """(line, name, tone) of every line of the preview."""
    found = re.findall(r'<li class="pw-row tone-(\w+)"><span class="muted num">(\d+)</span>.*?<code>(.*?)</code>', page)
    return [(line, name, tone) for tone, line, name in found]


# -- reading what was pasted


def test_pasted_names_come_from_lists_spreadsheets_and_notes() -> None:
    read = [(each.line, each.machine, each.user) for each in names_in(MIXED)]
    assert read == [
        (2, "LAB-09", ""), (2, "LAB-10", ""), (2, "LAB-11", ""), (2, "LAB-12", ""), (4, "LAB-05", ""),
        (5, "LAB 13", ""), (6, "LAB-13", "fieldadm"), (7, "PAYROLL", ""), (8, "lab-09", ""),
    ]  # fmt: skip


def test_the_sign_of_the_built_in_administrator_is_no_comment() -> None:
    assert [(each.machine, each.user) for each in names_in("LAB-09\\#500\nLAB-10 #500")] == [
        ("LAB-09", "#500"),
        ("LAB-10", ""),
    ]


@pytest.mark.parametrize(
    ("text", "machines"),
    [
        ("LAB-09..LAB-11", ["LAB-09", "LAB-10", "LAB-11"]),
        ("PC098..101", ["PC098", "PC099", "PC100", "PC101"]),
        ("LAB-09..KIOSK-11", ["LAB-09..KIOSK-11"]),
        ("LAB-11..LAB-09", ["LAB-11..LAB-09"]),
        ("LAB-1..LAB-999999", ["LAB-1..LAB-999999"]),
    ],
)
def test_a_range_is_spelled_out_and_nonsense_is_left_to_be_refused(text: str, machines: list[str]) -> None:
    assert [each.machine for each in names_in(text)] == machines


def test_a_pasted_book_is_refused_before_it_is_looked_up() -> None:
    for text in ("LAB-0001\n" * (MOST + 1), "x" * (LONGEST + 1), "A1..A400\nB1..B400"):
        with pytest.raises(Invalid, match="at once"):
            names_in(text)


# -- the form


def test_every_line_says_what_it_becomes_before_anything_is_added(app: Flask, chained: str, browser_of: Of) -> None:
    before = names(app)
    path = f"/passwords/{chained}/links/many/lines"
    for htmx in (True, False):
        page = browser_of("olivia").post(path, many(app, MIXED, 0), htmx=htmx).text
        assert fates(page) == [
            ("2", "LAB-09", "ok"), ("2", "LAB-10", "ok"), ("2", "LAB-11", "ok"), ("2", "LAB-12", "ok"),
            ("4", "LAB-05", "off"), ("5", "LAB 13", "bad"), ("6", "LAB-13\\fieldadm", "ok"), ("7", "PAYROLL", "bad"),
            ("8", "lab-09", "off"),
        ]  # fmt: skip
        assert "link 7" in page, "the first that is added, behind six"
        assert "already link 4 of this chain" in page
        assert "the same as line 2" in page
        assert "LAB-01 may not reach PAYROLL" in page
        assert "Add 5 links and test them" in page
        assert ("<html" in page) == (not htmx)
    assert names(app) == before


def test_forty_names_are_forty_links_in_one_transaction_and_one_test(app: Flask, alone: str, browser_of: Of) -> None:
    commits: list[str] = []
    browser, form = browser_of("olivia"), many(app, "\n".join(FORTY), 40)
    app.config["COMMIT_HOOK"] = commits.append
    answer = browser.post(f"/passwords/{alone}/links/many", form, htmx=True)
    assert answer.status_code == 200
    assert "40 links were added" in answer.text
    app.config.pop("COMMIT_HOOK")
    assert names(app) == ["LAB-01 standalone_windows", *(f"{machine} remote_windows" for machine in FORTY)]
    with app.app_context():
        rows = scenes.links(Cast().entry)[1:]
        assert {row.proof_version_id for row in rows} == {None}, "they start unproved"
        assert {row.starts_from_version_id is not None for row in rows} == {True}
        runs = db.session.scalars(db.select(SyncRun).where(SyncRun.state != "done")).all()
        assert [(run.kind, run.state, run.scope) for run in runs] == [("test", "queued", None)]
        told = db.session.scalars(db.select(Event).filter_by(verb="sync.links_added")).one()
        assert (told.facts["links"], told.actor_id) == (40, Cast().olivia.id)
    assert commits == ["before", "after"], "one for all forty"


def test_lines_with_an_error_stay_and_the_others_are_added(app: Flask, chained: str, browser_of: Of) -> None:
    answer = browser_of("olivia").post(f"/passwords/{chained}/links/many", many(app, MIXED, 5), htmx=True)
    assert answer.status_code == 200
    assert "5 links were added" in answer.text
    assert [name.split()[0] for name in names(app)[-5:]] == ["LAB-09", "LAB-10", "LAB-11", "LAB-12", "LAB-13"]
    left = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", answer.text, re.DOTALL)
    assert left
    assert left[1] == "LAB 13\nPAYROLL"


@pytest.mark.parametrize("promised", [0, 1, 6])
def test_nothing_is_added_that_the_button_did_not_say(app: Flask, chained: str, browser_of: Of, promised: int) -> None:
    """Pressed before the lines were looked at, or another list than the one that was."""
    before = names(app)
    answer = browser_of("olivia").post(f"/passwords/{chained}/links/many", many(app, MIXED, promised))
    assert answer.status_code == 409
    assert "Nothing was added yet: 5 of 9 can be added" in answer.text
    assert "Tom&#39;s" in answer.text, "what was typed stays"
    assert names(app) == before


def test_an_error_of_the_whole_stands_beside_its_field_and_the_text_stays(
    app: Flask, chained: str, browser_of: Of
) -> None:
    browser = browser_of("olivia")
    for text, more, where in (
        ("", {}, "m-names-error"),
        ("PAYROLL", {}, "m-names-error"),
        ("LAB-09", {"user_name": "CORP\\admin"}, "m-user-error"),
        ("LAB-09", {"linked_entry_id": "of another"}, "m-linked-error"),
    ):
        answer = browser.post(f"/passwords/{chained}/links/many", many(app, text, 1, **more))
        assert (text, more, answer.status_code) == (text, more, 422)
        assert f'id="{where}"' in answer.text
        assert text in answer.text
    assert len(names(app)) == 6


def test_names_pasted_into_an_old_page_are_not_lost_and_one_is_told_why(
    app: Flask, chained: str, browser_of: Of
) -> None:
    form = many(app, "LAB-09\nLAB-10", 2)
    with app.app_context():
        cast = Cast()
        settings = {"machine": "LAB-09", "user_name": "Administrator"}
        sync.add_link(cast.olivia, cast.entry, "remote_windows", settings, revision=scenes.revision(cast.entry))
    answer = browser_of("olivia").post(f"/passwords/{chained}/links/many", form, htmx=True)
    assert answer.status_code == 409
    assert "Meanwhile Olivia Ortiz added LAB-09" in answer.text
    assert "LAB-09\nLAB-10</textarea>" in answer.text
    assert "already link 7 of this chain" in answer.text
    assert f'name="revision" value="{revision(app)}"' in answer.text, "pressing again adds LAB-10"
    assert "Add 1 link and test it" in answer.text


def test_an_account_of_another_chain_is_refused_at_its_line_without_naming_the_chain(
    app: Flask, chained: str, browser_of: Of
) -> None:
    with app.app_context():
        cast = Cast()
        chain = sync.chain_of(cast.entry)
        assert chain is not None
        other = entries.Settings("Payroll machine", "standalone_windows", "Administrator", "LAB-20")
        theirs = entries.create_entry(cast.olivia, cast.vault, other, Secret("other-secret-1"))
        sync.enable(cast.olivia, theirs, chain.agent_id)
    page = browser_of("olivia").post(f"/passwords/{chained}/links/many/lines", many(app, "LAB-20\nLAB-21", 0)).text
    assert fates(page) == [("1", "LAB-20", "bad"), ("2", "LAB-21", "ok")]
    assert "in a chain already" in page
    assert "Payroll machine" not in re.sub(r"<nav.*?</nav>|<select.*?</select>", "", page, flags=re.DOTALL)


def test_many_names_pasted_while_a_change_runs_are_not_changed_by_it(app: Flask, browser_of: Of) -> None:
    """Rule 34: added meanwhile, never inside the running one; tested when it has ended."""
    with app.app_context():
        entry, run = scenes.changing()
        entry_id, run_id = entry.id, run.id
    answer = browser_of("olivia").post(f"/passwords/{entry_id}/links/many", many(app, "LAB-09\nLAB-10", 2), htmx=True)
    assert answer.status_code == 200
    with app.app_context():
        rows = scenes.links(Cast().entry)[-2:]
        assert [(row.machine, row.state) for row in rows] == [("LAB-09", "waiting"), ("LAB-10", "waiting")]
        queued = db.session.scalars(db.select(SyncRun).filter_by(state="queued")).all()
        assert [run.kind for run in queued] == ["test"]
        assert db.session.get_one(SyncRun, run_id).state == "running"


# -- the order


def test_a_drop_is_the_whole_order_with_the_revision_one_sees(app: Flask, chained: str, browser_of: Of) -> None:
    browser, order = browser_of("olivia"), ids(app)
    wanted = [order[0], order[3], order[1], order[2], *order[4:]]
    path = f"/passwords/{chained}/links/order"
    answer = browser.post(path, {"link_ids": wanted, "revision": revision(app)}, htmx=True)
    assert answer.status_code == 200
    assert "LAB-05 is link 2 now." in answer.text
    assert ids(app) == wanted
    with app.app_context():
        told = db.session.scalars(db.select(Event).filter_by(verb="sync.link_moved")).one()
        assert (told.facts["machine"], told.facts["to"]) == ("LAB-05", 2)
    stale = browser.post(path, {"link_ids": order, "revision": "1"}, htmx=True)
    assert stale.status_code == 409
    assert "Meanwhile" in stale.text
    assert ids(app) == wanted


def test_an_order_that_forgets_doubles_or_invents_a_link_moves_nothing(
    app: Flask, chained: str, browser_of: Of
) -> None:
    browser, order = browser_of("olivia"), ids(app)
    for wrong in ([], order[:-1], [*order, order[1]], [*order[:-1], order[1]], [*order[:-1], "nobody"]):
        form = {"link_ids": wrong, "revision": revision(app)}
        answer = browser.post(f"/passwords/{chained}/links/order", form)
        assert answer.status_code == 422
        assert "does not name every link of the chain once" in answer.text
    assert ids(app) == order


def test_no_drag_puts_a_place_before_its_account_or_anything_before_default_sync(
    app: Flask, chained: str, browser_of: Of
) -> None:
    browser, order = browser_of("olivia"), ids(app)
    service = order[4]
    for wrong, words in (
        ([order[1], order[0], *order[2:]], "Default Sync is always first"),
        ([order[0], service, *order[1:4], *order[5:]], "comes after the account"),
    ):
        form = {"link_ids": wrong, "revision": revision(app)}
        answer = browser.post(f"/passwords/{chained}/links/order", form, htmx=True)
        assert answer.status_code == 422
        assert words in answer.text
    assert ids(app) == order


@pytest.mark.parametrize("what", ["up", "down", "order"])
def test_a_forged_move_while_a_run_is_under_way_moves_nothing(app: Flask, browser_of: Of, what: str) -> None:
    """It would go by one order and be shown in another."""
    with app.app_context():
        entry_id = scenes.changing()[0].id
    order = ids(app)
    if what == "order":
        path, wanted = f"/passwords/{entry_id}/links/order", [order[0], order[2], order[1], *order[3:]]
    else:
        path, wanted = f"/passwords/{entry_id}/links/{order[2]}/{what}", []
    answer = browser_of("olivia").post(path, {"link_ids": wanted, "revision": revision(app)}, htmx=True)
    assert answer.status_code == 409
    assert "A run of this chain is under way" in answer.text
    assert ids(app) == order


def test_a_link_that_comes_back_behind_what_was_moved_meanwhile_stays_behind_its_account(app: Flask) -> None:
    """Its old place may be before the account whose password it stores; then it comes last."""
    with app.app_context():
        entry = scenes.chain(["LAB-02", "LAB-03"])
        olivia, rows = Cast().olivia, scenes.links(entry)
        service = next(row for row in rows if row.kind == "windows_service")
        sync.remove_link(olivia, service, revision=scenes.revision(entry))
        rest = [row.id for row in scenes.links(entry)]
        wanted = [rest[0], rest[1], rest[3], rest[2]]  # LAB-03 to the end
        sync.order_links(olivia, entry, wanted, revision=scenes.revision(entry))
        sync.restore_link(olivia, service, revision=scenes.revision(entry))
        assert [row.id for row in scenes.links(entry)] == [*wanted, service.id]


def test_an_undo_pressed_after_another_edit_is_told_of_it_where_the_page_is_old(
    app: Flask, chained: str, browser_of: Of
) -> None:
    browser, gone, old = browser_of("olivia"), ids(app)[1], revision(app)
    browser.post(f"/passwords/{chained}/links/{gone}/remove", {"revision": old}, htmx=True)
    answer = browser.post(f"/passwords/{chained}/links/{gone}/restore", {"revision": old}, htmx=True)
    assert answer.status_code == 409
    assert "Meanwhile Olivia Ortiz removed LAB-02" in answer.text
    answer = browser.post(f"/passwords/{chained}/links/{gone}/restore", {"revision": revision(app)}, htmx=True)
    assert answer.status_code == 200
    assert '<div id="toasts" hx-swap-oob="innerHTML"></div>' in answer.text, "the toast is gone"
    assert ids(app)[1] == gone


def test_four_edits_by_others_are_told_in_one_sentence(app: Flask, chained: str, browser_of: Of) -> None:
    old = revision(app)
    with app.app_context():
        cast = Cast()
        for number in range(6, 10):
            settings = {"machine": f"LAB-0{number}", "user_name": "Administrator"}
            sync.add_link(cast.olivia, cast.entry, "remote_windows", settings, revision=scenes.revision(cast.entry))
    page = browser_of("olivia").post(f"/passwords/{chained}/links/{ids(app)[1]}/down", {"revision": old}).text
    assert "LAB-07" in page
    assert "added LAB-09\\administrator (Remote Windows Password) and 1 more change. Nothing was saved" in page


def test_services_say_a_stale_revision_by_a_type_of_its_own(app: Flask, chained: str) -> None:
    with app.app_context():
        cast = Cast()
        with pytest.raises(sync.StaleChain) as caught:
            sync.order_links(cast.olivia, cast.entry, ids(app), revision=1)
        assert isinstance(caught.value, Conflict)
        assert caught.value.seen == 1
