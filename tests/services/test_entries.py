"""Passwords as people know them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask import Flask

from pwserver.core.errors import Conflict, Invalid
from pwserver.core.generator import ALIKE, LONGEST, Recipe, generate
from pwserver.core.secrets import Secret
from pwserver.core.states import Status
from pwserver.extensions import db
from pwserver.models import Entry, EntryVersion, Event
from pwserver.services import entries, values
from pwserver.services.entries import Settings
from pwserver.services.listing import Asked, page_of
from pwserver.services.transaction import write
from tests.conftest import VALUE, Cast, Clock
from tests.web.things import add_chain, add_run

WEB = Settings("Wiki", "generic", "admin", "wiki.northfield.example")


def test_a_first_value_is_sealed_current_and_never_sent(ctx: Flask, cast: Cast) -> None:
    version = values.current_version(cast.entry)
    assert (version.number, version.stage, version.first_sent_at) == (1, "current", None)
    assert VALUE.encode() not in version.sealed
    assert values.reveal(cast.olivia, cast.entry) == Secret(VALUE)


@pytest.mark.parametrize("value", ["", " leading", "trailing ", "a\nb", "a\0b", "x" * 128])
def test_a_value_that_some_target_would_cut_is_refused(ctx: Flask, cast: Cast, value: str) -> None:
    with pytest.raises(Invalid) as told:
        entries.create_entry(cast.olivia, cast.vault, WEB, Secret(value))
    assert told.value.field == "value"
    assert db.session.scalar(db.select(Entry).filter_by(name="Wiki")) is None


def test_a_value_is_kept_byte_exact(ctx: Flask, cast: Cast) -> None:
    hostile = "e\u0301 €😀 \"'`$() \\ <&> \u00a0x"
    entry = entries.create_entry(cast.olivia, cast.vault, WEB, Secret(hostile))
    assert values.reveal(cast.olivia, entry).open() == hostile


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (replace(WEB, name=" "), "name"),
        (replace(WEB, name="LAB administrator"), "name"),
        (replace(WEB, type="nonsense"), "type"),
        (replace(WEB, type="standalone_windows", user_name=""), "user_name"),
        (replace(WEB, type="standalone_windows", machine=""), "machine"),
        (replace(WEB, type="standalone_windows", machine="LAB-01\\x"), "machine"),
        (replace(WEB, type="device", host_key=""), "host_key"),
        (replace(WEB, type="device", host_key="SHA256:" + "a" * 43, port=0), "port"),
        (replace(WEB, user_name="x" * 121), "user_name"),
    ],
)
def test_settings_that_cannot_be_are_said_beside_their_field(
    ctx: Flask, cast: Cast, settings: Settings, field: str
) -> None:
    with pytest.raises(Invalid) as told:
        entries.create_entry(cast.olivia, cast.vault, settings, Secret("good-enough-1"))
    assert told.value.field == field


def test_a_stale_form_changes_nothing(ctx: Flask, cast: Cast) -> None:
    seen = cast.entry.row_version
    entries.edit_entry(
        cast.eddie, cast.entry, replace(entries.settings_of(cast.entry), notes="first"), row_version=seen
    )
    with pytest.raises(Conflict):
        entries.edit_entry(
            cast.olivia, cast.entry, replace(entries.settings_of(cast.entry), notes="second"), row_version=seen
        )
    assert cast.entry.notes == "first"


def test_who_may_not_own_does_not_say_where_a_password_is_sent(ctx: Flask, cast: Cast) -> None:
    add_chain()
    moved = replace(entries.settings_of(cast.entry), machine="EVIL-01")
    with pytest.raises(Invalid) as told:
        entries.edit_entry(cast.eddie, cast.entry, moved, row_version=cast.entry.row_version, owner=False)
    assert told.value.field == "machine"
    assert cast.entry.machine == "LAB-01"


def test_a_run_keeps_the_target_it_started_with(ctx: Flask, cast: Cast) -> None:
    add_run(add_chain(), state="queued")
    moved = replace(entries.settings_of(cast.entry), user_name="Other")
    with pytest.raises(Conflict, match="Run 1 is under way"):
        entries.edit_entry(cast.olivia, cast.entry, moved, row_version=cast.entry.row_version, owner=True)
    assert cast.entry.user_name == "Administrator"


def test_a_synchronized_password_does_not_change_its_type(ctx: Flask, cast: Cast) -> None:
    add_chain()
    other = replace(entries.settings_of(cast.entry), type="generic")
    with pytest.raises(Invalid) as told:
        entries.edit_entry(cast.olivia, cast.entry, other, row_version=cast.entry.row_version, owner=True)
    assert told.value.field == "type"


def test_the_trash_is_refused_while_a_run_is_under_way(ctx: Flask, cast: Cast) -> None:
    add_run(add_chain(), state="queued")
    with pytest.raises(Conflict, match="under way"):
        entries.trash_entry(cast.olivia, cast.entry, row_version=cast.entry.row_version)
    assert cast.entry.deleted_at is None


def test_a_login_in_use_is_not_thrown_away(ctx: Flask, cast: Cast) -> None:
    with write() as session:
        session.get_one(type(cast.this_server), cast.this_server.id).linked_entry_id = cast.entry.id
    with pytest.raises(Conflict, match="sync agent"):
        entries.trash_entry(cast.olivia, cast.entry, row_version=cast.entry.row_version)


def test_the_trash_keeps_everything_and_gives_it_back(ctx: Flask, cast: Cast, clock: Clock) -> None:
    add_chain()
    entry_id = cast.entry.id
    entries.trash_entry(cast.olivia, cast.entry, row_version=cast.entry.row_version)
    entry = db.session.get_one(Entry, entry_id)
    assert page_of([cast.vault.id], Asked()).rows == []
    assert [each.id for each in entries.trash(cast.vault)] == [entry_id]
    assert entries.standing(entry).status == Status.NOT_SYNCED
    entries.restore_entry(cast.olivia, entry)
    assert values.reveal(cast.olivia, entry).open() == VALUE
    chain = entries.standing(entry).chain
    assert chain is not None
    assert not chain.enabled, "restoring starts nothing"


def test_a_restored_name_does_not_collide(ctx: Flask, cast: Cast) -> None:
    entry_id = cast.entry.id
    entries.trash_entry(cast.olivia, cast.entry, row_version=cast.entry.row_version)
    entries.create_entry(cast.olivia, cast.vault, replace(WEB, name="lab administrator"), Secret("good-enough-1"))
    with pytest.raises(Invalid) as told:
        entries.restore_entry(cast.olivia, db.session.get_one(Entry, entry_id))
    assert told.value.field == "name"


def test_what_needs_a_person_comes_first(ctx: Flask, cast: Cast) -> None:
    entries.create_entry(cast.olivia, cast.vault, replace(WEB, name="A wiki"), Secret("good-enough-1"))
    add_chain(state="refused")
    rows = page_of([cast.vault.id], Asked()).rows
    assert [(row.entry.name, row.status) for row in rows] == [
        ("Lab Administrator", Status.OUT_OF_SYNC),
        ("A wiki", Status.UNSYNCABLE),
    ]
    assert (rows[0].links, rows[0].good) == (1, 0)


@pytest.mark.parametrize(("find", "found"), [("lab-01", 1), ("ADMIN", 1), ("100%", 0), ("_", 0), ("wiki", 0)])
def test_finding_takes_signs_as_they_are(ctx: Flask, cast: Cast, find: str, found: int) -> None:
    assert len(page_of([cast.vault.id], Asked(find)).rows) == found


def test_every_look_is_recorded_before_the_value_is_opened(ctx: Flask, cast: Cast) -> None:
    values.reveal(cast.vera, cast.entry, how="copied")
    event = db.session.scalars(db.select(Event).order_by(Event.seq.desc())).first()
    assert event is not None
    assert (event.verb, event.actor_id, event.facts) == ("password.copied", cast.vera.id, {"version": 1})


def test_no_event_of_an_entry_tells_its_value(ctx: Flask, cast: Cast) -> None:
    entries.create_entry(cast.olivia, cast.vault, replace(WEB, notes="see " + "x"), Secret("Needle-77-here"))
    assert not [e for e in db.session.scalars(db.select(Event)) if "Needle" in f"{e.subject}{e.facts}"]
    assert db.session.scalar(db.select(db.func.count()).select_from(EntryVersion)) == 2


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(12), Recipe(LONGEST), Recipe(14, symbols=False, upper=False)])
def test_generated_values_avoid_what_looks_alike(recipe: Recipe) -> None:
    for _ in range(200):
        text = generate(recipe).open()
        assert len(text) == recipe.length
        assert not ALIKE & set(text)
        assert not any(character.isspace() for character in text)
        assert all(any(character in kind for character in text) for kind in recipe.kinds)


def test_generated_values_differ() -> None:
    assert len({generate().open() for _ in range(500)}) == 500


@pytest.mark.parametrize(
    ("recipe", "field"),
    [(Recipe(11), "length"), (Recipe(LONGEST + 1), "length"), (Recipe(20, False, False, False, False), "kinds")],
)
def test_a_recipe_that_makes_nothing_is_refused(recipe: Recipe, field: str) -> None:
    with pytest.raises(Invalid) as told:
        generate(recipe)
    assert told.value.field == field
