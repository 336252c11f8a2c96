"""The first administrator."""

from __future__ import annotations

import pytest
from flask import Flask

from pwserver.core.errors import Invalid, NotFound
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import AppUser, Setting, SyncAgent
from pwserver.services import firstrun, vaults
from tests.conftest import Clock

GOOD = ("ada@northfield.example", "Ada Adler", Secret("a sentence of mine"))


def test_the_code_makes_one_administrator_and_is_gone(empty_app: Flask) -> None:
    with empty_app.app_context():
        code = firstrun.pending_code()
        assert code is not None
        kept = db.session.scalar(db.select(Setting.text).filter_by(name=firstrun.NAME))
        assert kept is not None
        assert code not in kept
        assert code.replace("-", "") not in kept
        user = firstrun.make_first_administrator(code.lower().replace("-", " "), *GOOD)
        assert user.org_admin
        assert vaults.system_vault().name == "Sync agents"
        assert vaults.right_of(user, vaults.system_vault().id) == "owner"
        assert db.session.scalar(db.select(SyncAgent.transport)) == "ssh"
        assert firstrun.pending_code() is None
        with pytest.raises(NotFound):
            firstrun.make_first_administrator(code, "eve@evil.example", "Eve", Secret("a sentence of hers"))
        assert db.session.scalar(db.select(db.func.count()).select_from(AppUser)) == 1


def test_guessing_the_code_ends_it(empty_app: Flask) -> None:
    with empty_app.app_context():
        code = firstrun.pending_code()
        assert code is not None
        for _ in range(firstrun.TRIES):
            with pytest.raises(Invalid, match="not the code"):
                firstrun.make_first_administrator("AAAA-AAAA-AAAA", *GOOD)
        with pytest.raises(Invalid, match="over"):
            firstrun.make_first_administrator(code, *GOOD)
        assert not firstrun.done()


def test_a_code_lives_an_hour_and_a_new_one_ends_it(empty_app: Flask, clock: Clock) -> None:
    with empty_app.app_context():
        first, second = firstrun.pending_code(), firstrun.pending_code()
        assert first is not None
        assert second is not None
        with pytest.raises(Invalid, match="not the code"):
            firstrun.make_first_administrator(first, *GOOD)
        clock.tick(minutes=61)
        with pytest.raises(Invalid, match="over"):
            firstrun.make_first_administrator(second, *GOOD)


def test_a_form_that_is_wrong_elsewhere_does_not_use_the_code_up(empty_app: Flask) -> None:
    with empty_app.app_context():
        code = firstrun.pending_code()
        assert code is not None
        with pytest.raises(Invalid) as told:
            firstrun.make_first_administrator(code, GOOD[0], GOOD[1], Secret("short"))
        assert told.value.field == "password"
        with pytest.raises(Invalid):
            firstrun.make_first_administrator(code, "nonsense", GOOD[1], GOOD[2])
        assert firstrun.make_first_administrator(code, *GOOD).org_admin
