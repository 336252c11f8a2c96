"""Who is meant: an account that replaced the managed one, machines of one short name, keys of before (rules 17, 35)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pwserver.models import AccountName, SyncLink
from pwserver.services import sync
from pwserver.services.sync import accounts, answers, credentials
from pwserver.services.sync.reach import digests_of
from pwserver.services.transaction import write
from tests.disasters.conftest import OTHER, Play, counted_there

MACHINE = "S-1-5-21-7-7-7"
BUILT_IN, DECOY = f"{MACHINE}-500", f"{MACHINE}-1005"
OF_DECOY = "the decoy's password"


def told(play: Play, sid: str = BUILT_IN) -> None:
    """LAB-02 tells who its Administrator is, and a test of the next day hears it."""
    play.world.sids[OTHER] = sid
    play.advance(21 * 3600)
    play.tick()
    play.pass_all()
    play.advance(60)


def replaced(play: Play) -> None:
    """RID 500 was renamed, and a decoy was made under its name: what hardening guides ask for."""
    play.world.accounts["LAB-02\\labroot"] = replace(play.world.accounts[OTHER])
    play.world.sids[OTHER] = DECOY
    play.world.outside(OTHER, OF_DECOY, clock_back=False)


def test_approve_does_not_take_over_an_account_that_replaced_the_managed_one(synced: Play) -> None:
    play = synced
    told(play)
    before = play.link("LAB-02")
    assert (before.account_key, before.told_account_sid) == (f"lab-02#{BUILT_IN}", BUILT_IN)
    replaced(play)
    play.advance(22 * 3600)
    play.tick()
    play.pass_all()
    found = play.link("LAB-02")
    assert (found.state, found.reason) == ("blocked", "other_account")
    play.advance(3600)
    play.work(play.approve("LAB-02"))
    play.settle()
    after = play.link("LAB-02")
    assert (after.state, after.reason, after.account_key) == ("blocked", "other_account", f"lab-02#{BUILT_IN}")
    assert play.truth(OTHER) == OF_DECOY, "the decoy was set"
    assert play.wrong_logons(OTHER) == 0, "the decoy was tried"
    assert play.truth("LAB-02\\labroot") == "second"


def test_an_owner_who_saves_the_link_means_the_account_that_has_the_name_now(synced: Play) -> None:
    """Its key is one of its own: what was booked on the account before stays there."""
    play = synced
    told(play)
    replaced(play)
    play.work(play.change("third"))
    assert play.link("LAB-02").reason == "other_account"
    old = play.link("LAB-02").account_key
    play.settle()
    sync.edit_link(
        play.olivia, play.link("LAB-02"), {"machine": "LAB-02", "user_name": "Administrator"},
        revision=play.chain().revision, linked_entry_id=play.link("LAB-02").linked_entry_id,
    )  # fmt: skip
    play.advance(3600)
    play.work(play.approve("LAB-02"))
    play.settle()
    link = play.link("LAB-02")
    assert (link.told_account_sid, link.account_key) == (DECOY, f"lab-02#{DECOY}")
    assert link.state == "in_sync"
    assert play.truth(OTHER) == play.current()
    assert accounts.key_of(play.session, "lab-02\\administrator") == f"lab-02#{DECOY}"
    assert accounts.key_of(play.session, str(old)) == old, "the two accounts were made one"


def test_two_accounts_that_both_told_who_they_are_are_never_made_one(play: Play) -> None:
    with pytest.raises(ValueError, match="never one"), write() as session:
        accounts.unite(session, f"lab-02#{BUILT_IN}", f"lab-02#{DECOY}")


def test_an_account_that_was_never_proved_goes_by_its_name(untouched: Play) -> None:
    """The first answer of all was a decoy's, and no password was proved on it: it binds nobody."""
    play = untouched
    play.world.sids[OTHER] = DECOY
    play.world.outside(OTHER, OF_DECOY, clock_back=False)
    play.pass_all()
    assert (play.link("LAB-02").state, play.link("LAB-02").told_account_sid) == ("refused", DECOY)
    play.world.sids[OTHER] = BUILT_IN
    play.world.outside(OTHER, "first " + OTHER, clock_back=False)
    play.advance(3600)
    play.work(play.approve("LAB-02", value="keep"))
    play.settle()
    link = play.link("LAB-02")
    assert (link.state, link.told_account_sid, link.account_key) == ("in_sync", BUILT_IN, f"lab-02#{BUILT_IN}")


def test_tries_and_refusals_known_under_the_key_of_before_are_not_lost(synced: Play) -> None:
    """Keys used to be ``computer#rid``: they are united with the one that the machine tells now."""
    play = synced
    assert play.link("LAB-02").account_key == "lab-02#administrator", "as no SID was part of it"
    play.world.outside(OTHER, "by hand", clock_back=False)
    play.work(play.change("third"))
    assert play.link("LAB-02").state == "refused"
    version = str(play.link("LAB-02").holds_version_id)
    tried = play.tries("lab-02#administrator")
    assert tried
    play.world.sids[OTHER] = BUILT_IN
    play.work(play.approve("LAB-02"))
    link = play.link("LAB-02")
    assert link.account_key == f"lab-02#{BUILT_IN}"
    assert play.tries("lab-02#administrator") == 0
    assert play.tries(str(link.account_key)) >= tried
    said = answers.said_by(play.session, [str(link.account_key)])
    assert said.refusal(str(link.account_key), digests_of(str(link.account_key), version)) is not None
    assert accounts.key_of(play.session, "lab-02\\administrator") == link.account_key


def test_a_name_that_stood_for_another_machines_account_is_told_by_its_own_link(synced: Play) -> None:
    """SRV01 in Berlin and SRV01 in Munich were one key: the link that was blocked for it gets its own account."""
    play = synced
    name = "lab-02\\administrator"
    with write() as session:
        accounts.lock(session, [name, "srv01#500"])
        session.merge(AccountName(name=name, key="srv01#500"))
    told(play)
    assert accounts.key_of(play.session, name) == f"lab-02#{BUILT_IN}"
    assert accounts.key_of(play.session, "srv01#500") == "srv01#500"


def _named(play: Play, machine: str) -> SyncLink:
    link = play.link("LAB-02")
    with write() as session:
        session.get_one(SyncLink, link.id).machine = machine
    return link


@pytest.mark.parametrize(
    ("known", "asked", "same"),
    [
        ("LAB-02", "lab-02", True), ("lab-02.munich.example", "LAB-02.munich.example", True),
        ("lab-02.munich.example", "LAB-02", True), ("LAB-02", "lab-02.munich.example", True),
        ("lab-02.munich.example", "LAB-02.berlin.example", False),
    ],
)  # fmt: skip
def test_a_credential_is_not_taken_from_the_machine_of_another_domain(
    play: Play, known: str, asked: str, same: bool
) -> None:
    link = _named(play, known)
    found = credentials.own_link(play.session, play.chain().id, asked)
    assert (found is not None and found.id == link.id) is same


def test_a_short_name_that_two_machines_have_names_neither(play: Play) -> None:
    _named(play, "lab-01.munich.example")
    with write() as session:
        link = session.get_one(SyncLink, play.link("LAB-01").id)
        link.machine = "lab-01.berlin.example"
    chain = play.chain()
    assert credentials.own_link(play.session, chain.id, "LAB-01") is None
    found = credentials.own_link(play.session, chain.id, "LAB-01.berlin.example")
    assert found is not None
    assert found.id == link.id


def test_a_count_that_leaves_too_few_tries_waits_and_says_the_count(
    synced: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted_there(monkeypatch)
    play = synced
    play.work(play.change("third"))
    link = play.link("LAB-02")
    assert (link.state, link.reason) == ("waiting", "would_lock")
    assert link.reason_text.startswith("4 of 5 wrong logons")
