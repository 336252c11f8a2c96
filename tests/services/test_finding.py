"""Search and favourites: everything one may see, and nothing else; notes are no part of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import text

from pwserver.core.errors import Invalid
from pwserver.core.finding import LONGEST_WORD, words_of
from pwserver.core.secrets import Secret
from pwserver.core.states import Status
from pwserver.extensions import db
from pwserver.models import Entry, Favourite, Vault
from pwserver.services import entries, favourites, search, sync, vaults
from pwserver.services.entries import Settings
from pwserver.services.listing import PAGE, Asked, Page, page_of
from pwserver.services.sync.check import check
from pwserver.services.transaction import now, write
from pwserver.services.views import visible_vaults
from tests.conftest import Cast
from tests.web import scenes

pytestmark = pytest.mark.both

WEB = Settings("Wiki", "generic", "editor", "wiki.northfield.example")
proofs = pytest.mark.breaks_invariants  # scenes write proofs that no run made


def add(name: str, vault: Vault | None = None, **more: str) -> Entry:
    cast = Cast()
    return entries.create_entry(
        cast.olivia, vault or cast.vault, replace(WEB, name=name, **more), Secret("good-enough-1")
    )


def found(name: str, find: str, **more: object) -> list[str]:
    """What one of the cast finds."""
    asked = Asked(find, **more)  # type: ignore[arg-type]
    return [row.entry.name for row in search.search(getattr(Cast(), name), asked).page.rows]


def page(**asked: object) -> Page:
    return page_of([Cast().vault.id], Asked(**asked))  # type: ignore[arg-type]


def test_nobody_finds_what_they_may_not_see(ctx: Flask, cast: Cast) -> None:
    for find in ("lab", "administrator", "lab-01", "LAB-01\\Administrator"):
        assert found("vera", find) == ["Lab Administrator"], find
        assert found("nora", find) == [], find
        assert found("ada", find) == [], "an organization administrator sees no vault by that right alone"


@proofs
def test_nobody_is_told_of_machines_of_chains_they_may_not_see(ctx: Flask, cast: Cast) -> None:
    scenes.chain()
    assert [one.name for one in search.search(cast.vera, Asked("LAB-05")).machines] == ["LAB-05"]
    told = search.search(cast.nora, Asked("LAB-05"))
    assert (told.machines, told.machines_in_all, told.page.found, told.places) == ([], 0, 0, {})


@proofs
def test_what_is_in_the_trash_or_in_a_removed_vault_is_not_found(ctx: Flask, cast: Cast) -> None:
    entry = scenes.chain()
    assert search.search(cast.olivia, Asked("lab-05")).machines
    entries.trash_entry(cast.olivia, entry, row_version=entry.row_version)
    told = search.search(cast.olivia, Asked("lab-05"))
    assert (told.machines, told.page.rows) == ([], [])
    entries.restore_entry(cast.olivia, entry)
    assert found("olivia", "lab-05") == ["Lab Administrator"]
    with write() as session:
        session.get_one(Vault, entry.vault_id).deleted_at = now()
    told = search.search(cast.olivia, Asked("lab-05"))
    assert (told.machines, told.page.rows) == ([], [])


@proofs
def test_a_machine_names_the_passwords_it_has(ctx: Flask, cast: Cast) -> None:
    entry = scenes.chain()
    scenes.refused(scenes.link(entry, "LAB-05"))
    told = search.search(cast.vera, Asked("lab-05"))
    (machine,) = told.machines
    assert (machine.name, machine.links, machine.passwords) == ("LAB-05", 1, 1)
    assert [(one.entry.name, one.look.label, one.who) for one in machine.named] == [
        ("Lab Administrator", "Refused", "Administrator")
    ]
    assert [row.entry.name for row in told.page.rows] == ["Lab Administrator"]
    assert told.places[entry.id] == ["LAB-05 Administrator"], "where it matched: its own names do not say LAB-05"
    assert told.page.rows[0].status == Status.OUT_OF_SYNC


@proofs
def test_tasks_and_services_are_found_by_their_names(ctx: Flask, cast: Cast) -> None:
    scenes.chain()
    for find in ("labimaging", "nightly RESET", "lab-03\\admin"):
        assert "Lab Administrator" in found("vera", find), find


@proofs
def test_a_removed_link_finds_nothing_more(ctx: Flask, cast: Cast) -> None:
    entry = scenes.chain(["LAB-02", "LAB-07"], places=False)
    assert found("vera", "lab-07") == ["Lab Administrator"]
    sync.remove_link(cast.olivia, scenes.link(entry, "LAB-07"), revision=scenes.revision(entry))
    assert found("vera", "lab-07") == []


def test_notes_are_never_searched(ctx: Flask, cast: Cast) -> None:
    add("Safe", notes="The code is 4711-fox")
    assert found("olivia", "4711") == []
    assert found("olivia", "fox") == []
    assert found("olivia", "safe") == ["Safe"]


def test_every_word_must_match_and_signs_are_taken_as_they_are(ctx: Flask, cast: Cast) -> None:
    add("100% sure_thing")
    assert found("olivia", "wiki 100%") == ["100% sure_thing"], "one word in the name, one in the machine"
    assert found("olivia", "sure lab") == []
    assert found("olivia", "0% s") == ["100% sure_thing"]
    assert found("olivia", "e_t") == ["100% sure_thing"]
    assert found("olivia", "_s") == []


def test_case_and_form_of_letters_hide_nothing(ctx: Flask, cast: Cast) -> None:
    add("Ärger mit Straße")
    for find in ("ärger", "ÄRGER", "A\u0308rger", "strasse", "STRASSE"):
        assert found("olivia", find) == ["Ärger mit Straße"], find


def test_a_search_of_any_length_ends(ctx: Flask, cast: Cast) -> None:
    assert found("olivia", "x" * 5000) == []
    assert found("olivia", "lab\0admin") == ["Lab Administrator"]
    assert len(words_of("a " * 5000)) == 8
    assert len(words_of("y" * 5000)[0]) == LONGEST_WORD


def test_an_edited_name_is_found_and_the_one_before_is_not(ctx: Flask, cast: Cast) -> None:
    entry = add("Printer")
    settings = replace(entries.settings_of(entry), name="Scanner")
    entries.edit_entry(cast.olivia, entry, settings, row_version=entry.row_version)
    assert found("olivia", "scanner") == ["Scanner"]
    assert found("olivia", "printer") == []


@proofs
def test_a_search_text_that_is_not_its_own_is_seen_by_the_check(ctx: Flask, cast: Cast) -> None:
    scenes.chain()
    before = [each for each in check() if each.invariant == "search"]
    with write() as session:
        session.execute(text("UPDATE entry SET find_text = 'stale'"))
        session.execute(text("UPDATE sync_link SET find_text = 'stale' WHERE machine = 'LAB-02'"))
    after = {each.subject for each in check() if each.invariant == "search"}
    assert before == []
    assert {"Lab Administrator", "link at LAB-02"} <= after


def test_what_was_looked_for_is_marked_and_nothing_else() -> None:
    assert search.marked("Lab Administrator", ["lab", "min"]) == [
        ("Lab", True), (" Ad", False), ("min", True), ("istrator", False),
    ]  # fmt: skip
    assert search.marked("Straße", ["strasse"]) == [("Straße", False)], "folding moved the letters"


def test_a_page_has_fifty_and_the_pages_have_them_all_once(ctx: Flask, cast: Cast) -> None:
    for number in range(PAGE + 2):
        add(f"Wiki {number:03}")
    first, second = page(), page(page=2)
    assert (len(first.rows), first.pages, first.total, first.first, first.last) == (PAGE, 2, PAGE + 3, 1, PAGE)
    assert (len(second.rows), second.first, second.last) == (3, PAGE + 1, PAGE + 3)
    names = [row.entry.name for row in (*first.rows, *second.rows)]
    assert len(set(names)) == PAGE + 3
    assert page(page=99).number == 2, "a page that is not there is the last one"
    assert page(find="wiki 00").found == 10
    assert [row.entry.name for row in page(sort="-name").rows][:2] == ["Wiki 051", "Wiki 050"]
    assert page(only="none", find="wiki").total == PAGE + 2
    assert page(only="good").rows == []


def test_a_list_of_many_pages_names_few_of_them() -> None:
    def near(number: int, pages: int) -> list[int | None]:
        return Page(Asked(), [], {}, total=pages * PAGE, number=number).near

    assert near(1, 200) == [1, 2, None, 200]
    assert near(100, 200) == [1, None, 99, 100, 101, None, 200]
    assert near(2, 3) == [1, 2, 3]
    assert near(1, 1) == [1]


def stars(name: str) -> list[str]:
    user = getattr(Cast(), name)
    return [row.entry.name for row in favourites.favourites_of(user, visible_vaults(user))]


def test_a_star_is_its_persons_own(ctx: Flask, cast: Cast) -> None:
    favourites.set_favourite(cast.vera, cast.entry, True)
    favourites.set_favourite(cast.vera, cast.entry, True)
    assert (stars("vera"), stars("olivia")) == (["Lab Administrator"], [])
    favourites.set_favourite(cast.vera, cast.entry, False)
    favourites.set_favourite(cast.vera, cast.entry, False)
    assert stars("vera") == []


def test_whoever_leaves_a_vault_keeps_no_star_on_what_is_in_it(ctx: Flask, cast: Cast) -> None:
    favourites.set_favourite(cast.vera, cast.entry, True)
    favourites.set_favourite(cast.eddie, cast.entry, True)
    vaults.remove_member(cast.olivia, cast.vault, cast.vera.id)
    assert stars("vera") == []
    vaults.add_member(cast.olivia, cast.vault, cast.vera.email, "read")
    assert stars("vera") == [], "it does not come back with the membership"
    assert stars("eddie") == ["Lab Administrator"]


def test_a_starred_password_in_the_trash_is_not_shown(ctx: Flask, cast: Cast) -> None:
    entry = add("Wiki")
    favourites.set_favourite(cast.olivia, entry, True)
    entries.trash_entry(cast.olivia, entry, row_version=entry.row_version)
    assert stars("olivia") == []
    entries.restore_entry(cast.olivia, entry)
    assert stars("olivia") == ["Wiki"]


def test_favourites_have_an_end(ctx: Flask, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(favourites, "MOST", 1)
    favourites.set_favourite(cast.olivia, cast.entry, True)
    with pytest.raises(Invalid, match="Take the star off"):
        favourites.set_favourite(cast.olivia, add("Wiki"), True)
    assert db.session.query(Favourite).count() == 1
