"""Vaults and their members."""

from __future__ import annotations

import pytest
from flask import Flask

from pwserver.core.access import Right, allows, highest
from pwserver.core.errors import Forbidden, Invalid
from pwserver.services import users, vaults
from tests.conftest import Cast, email_of


def test_a_right_gives_those_below_and_none_above() -> None:
    assert [allows(Right.MODIFY, right) for right in Right] == [True, True, False]
    assert not allows(None, Right.READ)
    assert highest(owner=False, modify=False, read=False) is None
    assert highest(owner=True, modify=False, read=False) == Right.OWNER


def test_one_sees_only_vaults_one_is_a_member_of(ctx: Flask, cast: Cast) -> None:
    assert [vault.name for vault in vaults.visible(cast.vera)] == ["Computer Lab"]
    assert vaults.visible(cast.nora) == []
    assert [vault.name for vault in vaults.visible(cast.ada)] == ["Sync agents"], "not by being administrator"


def test_the_last_owner_stays(ctx: Flask, cast: Cast) -> None:
    for attempt in (
        lambda: vaults.set_member(cast.olivia, cast.vault, cast.olivia.id, "read"),
        lambda: vaults.remove_member(cast.olivia, cast.vault, cast.olivia.id),
    ):
        with pytest.raises(Invalid, match="at least one owner"):
            attempt()
    assert vaults.right_of(cast.olivia, cast.vault.id) == Right.OWNER


def test_an_owner_who_cannot_sign_in_does_not_count(ctx: Flask, cast: Cast) -> None:
    vaults.set_member(cast.olivia, cast.vault, cast.eddie.id, "owner")
    users.set_active(None, cast.eddie, False)
    with pytest.raises(Invalid, match="at least one owner"):
        vaults.remove_member(cast.olivia, cast.vault, cast.olivia.id)


@pytest.mark.parametrize("name", ["eddie", "vera", "nora", "ada"])
def test_only_owners_decide_about_members(ctx: Flask, cast: Cast, name: str) -> None:
    actor = getattr(cast, name)
    for attempt in (
        lambda: vaults.add_member(actor, cast.vault, email_of("nora"), "read"),
        lambda: vaults.set_member(actor, cast.vault, cast.vera.id, "owner"),
        lambda: vaults.rename_vault(actor, cast.vault, "Mine"),
    ):
        with pytest.raises(Forbidden):
            attempt()
    if name != "vera":
        with pytest.raises(Forbidden):
            vaults.remove_member(actor, cast.vault, cast.vera.id)
    assert cast.membership("nora") is None
    assert vaults.right_of(cast.vera, cast.vault.id) == Right.READ


def test_everybody_may_leave(ctx: Flask, cast: Cast) -> None:
    vaults.remove_member(cast.vera, cast.vault, cast.vera.id)
    assert cast.membership("vera") is None


def test_adding_tells_nobody_from_inactive_apart(ctx: Flask, cast: Cast) -> None:
    users.set_active(None, cast.nora, False)
    told = []
    for email in (email_of("nora"), "nobody@northfield.example"):
        with pytest.raises(Invalid) as error:
            vaults.add_member(cast.olivia, cast.vault, email, "read")
        told.append((error.value.user_message, error.value.field))
    assert told[0] == told[1]


def test_names_are_unique_among_those_one_sees_only(ctx: Flask, cast: Cast) -> None:
    with pytest.raises(Invalid) as told:
        vaults.create_vault(cast.olivia, "computer lab ")
    assert told.value.field == "name"
    assert vaults.create_vault(cast.nora, "Computer Lab").name == "Computer Lab"


def test_the_vault_of_the_agents_keeps_its_name(ctx: Flask, cast: Cast) -> None:
    with pytest.raises(Invalid):
        vaults.rename_vault(cast.ada, vaults.system_vault(), "Other")
