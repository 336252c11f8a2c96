"""People."""

from __future__ import annotations

import pytest
from flask import Flask

from pwserver.core.errors import Conflict, Forbidden, Invalid
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import AppUser, Event
from pwserver.services import users, vaults
from tests.conftest import Cast, password_of


def test_passwords_of_people_are_argon2id_and_nowhere_in_clear(ctx: Flask, cast: Cast) -> None:
    assert cast.olivia.password_hash.startswith("$argon2id$")
    assert password_of("olivia").open() not in cast.olivia.password_hash


def test_only_an_organization_administrator_adds_users(ctx: Flask, cast: Cast) -> None:
    with pytest.raises(Forbidden):
        users.add_user(cast.olivia, "zoe@northfield.example", "Zoe")


def test_a_made_password_is_returned_once_and_must_be_changed(ctx: Flask, cast: Cast) -> None:
    user, made = users.add_user(cast.ada, "zoe@northfield.example", "Zoe Zimmer")
    assert made is not None
    assert users.matches(user, made)
    assert users.has_one_time_password(user)
    users.change_password(user, made, Secret("my own long sentence"))
    assert not users.has_one_time_password(user)
    assert user.session_epoch == 1


@pytest.mark.parametrize(
    ("email", "name", "field"),
    [
        ("OLIVIA@northfield.example", "Second", "email"),
        ("no address", "Zoe", "email"),
        ("zoe@northfield.example", "  ", "name"),
        ("z" * 250 + "@x.example", "Zoe", "email"),
    ],
)
def test_what_cannot_be_a_user_is_said_beside_its_field(
    ctx: Flask, cast: Cast, email: str, name: str, field: str
) -> None:
    with pytest.raises(Invalid) as told:
        users.add_user(cast.ada, email, name)
    assert told.value.field == field
    assert db.session.scalar(db.select(db.func.count()).select_from(AppUser)) == 5


@pytest.mark.both
def test_nobody_locks_the_organization_out_of_itself(ctx: Flask, cast: Cast) -> None:
    with pytest.raises(Invalid, match="last organization administrator"):
        users.set_org_admin(cast.ada, cast.ada, False)
    with pytest.raises(Invalid, match="yourself"):
        users.set_active(cast.ada, cast.ada, False)
    users.set_org_admin(cast.ada, cast.nora, True)
    users.set_org_admin(cast.nora, cast.ada, False)
    with pytest.raises(Invalid, match="last organization administrator"):
        users.set_active(None, cast.nora, False)
    assert cast.nora.active


def test_a_leaver_is_kept_out_even_as_last_owner_and_that_is_told(ctx: Flask, cast: Cast) -> None:
    assert users.set_active(cast.ada, cast.olivia, False) == 1
    assert not cast.olivia.active
    assert users.set_active(cast.ada, cast.vera, False) == 0
    users.set_active(cast.ada, cast.olivia, True)
    vaults.set_member(cast.olivia, cast.vault, cast.eddie.id, "owner")
    assert users.set_active(cast.ada, cast.olivia, False) == 0


def test_resetting_ends_the_sessions_and_never_hits_oneself(ctx: Flask, cast: Cast) -> None:
    made = users.reset_password(cast.ada, cast.vera)
    assert users.matches(cast.vera, made)
    assert not users.matches(cast.vera, password_of("vera"))
    assert cast.vera.session_epoch == 1
    with pytest.raises(Invalid, match="This is you"):
        users.reset_password(cast.ada, cast.ada)


def test_a_password_changed_elsewhere_meanwhile_is_not_overwritten(ctx: Flask, cast: Cast) -> None:
    stale = AppUser(id=cast.vera.id, password_hash=cast.vera.password_hash)
    users.change_password(cast.vera, password_of("vera"), Secret("first one wins here"))
    with pytest.raises(Conflict):
        users.change_password(stale, password_of("vera"), Secret("second one loses here"))
    assert users.matches(cast.vera, Secret("first one wins here"))


def test_no_event_tells_a_password(ctx: Flask, cast: Cast) -> None:
    made = users.reset_password(cast.ada, cast.vera)
    users.change_password(cast.vera, made, Secret("my own long sentence"))
    told = "".join(f"{event.verb} {event.subject} {event.facts}" for event in db.session.scalars(db.select(Event)))
    assert "user.password_changed" in told
    assert made.open() not in told
    assert "my own long sentence" not in told
