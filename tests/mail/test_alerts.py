"""Which mail an owner gets, when, and what it says (rules 41 to 44)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from pwserver.models import AppUser, Entry, Incident, Membership, SyncLink, Vault, new_id
from pwserver.services import sync
from pwserver.services.transaction import write
from tests.disasters.conftest import OTHER, PRIMARY, Play, counted_there
from tests.mail.conftest import BASE, Received, Receiver, rows, send_due
from tests.mail.scenes import behind_a_silent_agent, post, refused, silent


def add_person(name: str, *, owner: bool = True, admin: bool = False, active: bool = True, vault: str = "") -> AppUser:
    with write() as session:
        user = AppUser(
            id=new_id(), email=f"{name.lower()}@example.org", name=name, password_hash="-", org_admin=admin,
            active=active, created_at=session.scalars(select(AppUser.created_at).limit(1)).one(),
        )  # fmt: skip
        session.add(user)
        session.flush()
        vault_id = vault or session.scalars(select(Vault.id)).first()
        if owner is not None:
            session.add(Membership(vault_id=vault_id, user_id=user.id, owner=owner, modify=owner, read=True))
    return user


def only(mails: list[Received]) -> Received:
    (mail,) = mails
    return mail


# -- one chain


def test_a_refused_password_is_mailed_at_once_with_what_happened_and_what_to_do(
    mailed: Play, receiver: Receiver
) -> None:
    refused(mailed)
    post(mailed)
    mail = only(receiver.mails)
    incident = mailed.session.scalars(select(Incident)).one()
    assert mail.subject == "lab needs administrative override: LAB-02 refused the vault's password"
    assert mail.to == ["olivia@example.org"]
    assert str(mail.message["From"]) == "Password Server <alerts@northfield.example>"
    assert "Somebody set another one there." in mail.text
    assert "Treat LAB-02 as compromised until you know by whom." in mail.text
    assert f"{BASE}/issues/{incident.id}/approve\n" in mail.text
    assert f"{BASE}/issues/{incident.id}/retest\n" in mail.text
    assert "Refused: LAB-02, Administrator (tried once, " in mail.text
    assert "because you own the vault Computer Lab; it went to Olivia." in " ".join(mail.text.split())
    assert mail.html.count("display:inline-block") == 1, "one button"
    for tag in ("<img", "<script", "<link", "@import", "url("):
        assert tag not in mail.html
    assert mail.html.count("<table ") == mail.html.count('<table role="presentation"'), "tables hold no data"
    assert all(len(line) <= 78 for line in mail.raw.partition(b"\r\n\r\n")[2].splitlines()), "as RFC 5322 wants it"
    for sentence in ("Treat LAB-02 as compromised", "tried once", "Open Approve", "/retest"):
        assert sentence in mail.html, "text and HTML are of equal worth"


def test_many_rounds_and_many_failed_links_are_one_mail_and_one_when_it_is_over(
    mailed: Play, receiver: Receiver
) -> None:
    mailed.world.outside(PRIMARY, "by hand", clock_back=False)
    refused(mailed)
    for _ in range(20):
        mailed.advance(100)
        post(mailed)
    assert len(receiver.mails) == 1
    mailed.advance(2000)
    mailed.work(mailed.approve("LAB-01", "LAB-02", typed="our login"))
    assert mailed.status() == "in_sync"
    for _ in range(3):
        post(mailed)
    first, over = receiver.mails
    assert over.subject == "lab is in sync again, it is over"
    assert "all 4 links were proved to hold the vault's password" in over.text
    assert "display:inline-block" not in over.html, "no button where nothing is to be done"
    assert first.message["Message-ID"] != over.message["Message-ID"]


def test_a_silent_machine_is_mailed_after_fifteen_minutes_with_nothing_to_do(mailed: Play, receiver: Receiver) -> None:
    silent(mailed)
    post(mailed)
    mailed.advance(14 * 60)
    post(mailed)
    assert receiver.mails == []
    mailed.advance(61)
    post(mailed)
    mail = only(receiver.mails)
    assert mail.subject == "lab cannot be reached, nothing to do yet: LAB-02"
    assert "NOTHING TO DO YET" in mail.text
    assert "2 of 4 links are in sync." in mail.text
    assert "If it is gone for good, take its link out" in " ".join(mail.text.split())
    assert "/approve" not in mail.text + mail.html
    assert "display:inline-block" not in mail.html
    assert "Put the account right" not in mail.text, "of what is skipped because of it nobody has to think now"
    assert "Skipped: LAB-02, " in mail.text, "but it is in the list"


def test_an_account_that_a_try_could_lock_is_never_mailed_as_a_machine_that_cannot_be_reached(
    mailed: Play, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answered: the mail gives the link's own reason and the count."""
    counted_there(monkeypatch)
    mailed.work(mailed.change("third"))
    assert mailed.link("LAB-02").reason == "would_lock"
    post(mailed)
    mailed.advance(901)
    post(mailed)
    mail = only(receiver.mails)
    text = " ".join(mail.text.split())
    assert mail.subject == "lab is not done yet, nothing to do yet: LAB-02"
    assert "4 of 5 wrong logons are counted there; Windows does not tell since when." in text
    assert "Approve sets the password without a try." in text
    for word in ("cannot be reached", "meant to be off", "take its link out"):
        assert word not in text + mail.html


def test_a_machine_that_answers_within_the_quick_retries_is_no_mail_at_all(mailed: Play, receiver: Receiver) -> None:
    silent(mailed)
    post(mailed)
    mailed.world.off.clear()
    mailed.settle()
    assert mailed.status() == "in_sync"
    mailed.advance(1000)
    post(mailed)
    assert receiver.mails == []
    assert rows() == []


def test_a_silence_that_turns_into_a_refusal_is_mailed_again_and_its_end_once(mailed: Play, receiver: Receiver) -> None:
    run = silent(mailed)
    mailed.advance(901)
    post(mailed)
    mailed.world.off.clear()
    mailed.world.outside(OTHER, "by hand", clock_back=False)
    mailed.work(run)
    assert mailed.link("LAB-02").state == "refused"
    post(mailed)
    mailed.advance(2000)
    mailed.work(mailed.approve("LAB-02", typed="our login"))
    mailed.settle()
    post(mailed)
    assert [mail.subject.split(": ")[0] for mail in receiver.mails] == [
        "lab cannot be reached, nothing to do yet",
        "lab needs administrative override",
        "lab is in sync again, it is over",
    ]


@pytest.mark.budget(35, "plays three days")
def test_a_machine_that_is_merely_off_in_tests_is_not_mailed_before_three_days(
    mailed: Play, receiver: Receiver
) -> None:
    mailed.world.off.add("LAB-02")
    first_mail = None
    for hour in range(100):
        mailed.advance(3600)
        post(mailed)
        mailed.pass_all()
        if receiver.mails and first_mail is None:
            first_mail = hour
    assert first_mail is not None
    assert first_mail > 72
    assert {mail.subject for mail in receiver.mails} == {
        "adm could not be reached for three days: LAB-02",
        "lab could not be reached for three days: LAB-02",
    }
    mail = receiver.mails[0]
    assert "WHAT TO DO" in mail.text
    assert "Open Retest Sync" in mail.html


def test_switching_it_off_ends_the_incident_and_the_mail_says_that_places_may_differ(
    mailed: Play, receiver: Receiver
) -> None:
    refused(mailed)
    post(mailed)
    sync.disable(mailed.olivia, mailed.entry())
    post(mailed)
    assert receiver.mails[1].subject == "lab: synchronization was turned off, it is over"
    assert "names the places that do not hold the vault's password" in " ".join(receiver.mails[1].text.split())


# -- to whom


def test_every_active_owner_gets_it_and_nobody_else(mailed: Play, receiver: Receiver) -> None:
    add_person("Oscar")
    add_person("Eddie", owner=False)
    add_person("Gone", active=False)
    refused(mailed)
    post(mailed)
    assert sorted(mail.to[0] for mail in receiver.mails) == ["olivia@example.org", "oscar@example.org"]
    assert all(mail.message["To"].addresses[0].addr_spec == mail.to[0] for mail in receiver.mails)
    assert "it went to Olivia and Oscar" in " ".join(receiver.mails[0].text.split())


def test_a_vault_without_an_owner_who_can_sign_in_is_told_to_the_administrators_and_it_says_so(
    mailed: Play, receiver: Receiver
) -> None:
    other = Vault(id=new_id(), name="Elsewhere")
    with write() as session:
        session.add(other)
    add_person("Ada", admin=True, vault=other.id)
    with write() as session:
        session.get_one(AppUser, mailed.olivia.id).active = False
    refused_by_test = sync.request_test
    with write() as session:  # somebody asks for the test before they leave
        session.get_one(AppUser, mailed.olivia.id).active = True
    mailed.world.outside(OTHER, "by hand", clock_back=False)
    mailed.work(refused_by_test(mailed.olivia, mailed.entry()).id)
    with write() as session:
        session.get_one(AppUser, mailed.olivia.id).active = False
    post(mailed)
    mail = only(receiver.mails)
    assert mail.to == ["ada@example.org"]
    words = " ".join(mail.text.split())
    assert "has no owner who can sign in, so this went to the organization administrators instead: Ada" in words
    assert "/approve" not in mail.text, "it would not let them in"


def test_its_end_is_mailed_only_to_those_who_had_the_first(mailed: Play, receiver: Receiver) -> None:
    refused(mailed)
    post(mailed)
    add_person("Late")
    mailed.advance(2000)
    mailed.work(mailed.approve("LAB-02", typed="our login"))
    post(mailed)
    assert [mail.to[0] for mail in receiver.mails] == ["olivia@example.org"] * 2


def test_nobody_hears_of_an_end_whose_beginning_never_left(mailed: Play, receiver: Receiver) -> None:
    receiver.stop()
    refused(mailed)
    post(mailed)
    assert [row.state for row in rows()] == ["waiting"]
    mailed.advance(2000)
    mailed.work(mailed.approve("LAB-02", typed="our login"))
    mailed.tick()
    receiver.start()
    for _ in range(3):
        mailed.advance(4000)
        post(mailed)
    assert receiver.mails == []
    assert [(row.template, row.state) for row in rows()] == [("needs_override", "dropped")]
    assert "over before" in rows()[0].answer


def test_an_owner_no_more_gets_no_mail_that_still_waits(mailed: Play, receiver: Receiver) -> None:
    oscar = add_person("Oscar")
    refused(mailed)
    mailed.tick()
    with write() as session:
        session.delete(session.get_one(Membership, (mailed.entry().vault_id, oscar.id)))
    send_due()
    assert [mail.to[0] for mail in receiver.mails] == ["olivia@example.org"]
    assert {row.to_address: row.state for row in rows()} == {
        "olivia@example.org": "sent",
        "oscar@example.org": "dropped",
    }


# -- names


def test_a_name_with_line_ends_breaks_no_header_and_letters_of_any_language_arrive(
    mailed: Play, receiver: Receiver
) -> None:
    with write() as session:  # past the form, as in a database that somebody wrote into
        session.get_one(Entry, mailed.entry().id).name = "Büro\r\nBcc: eve@example.org\n\nÜbung <b>日本</b>"
        session.get_one(AppUser, mailed.olivia.id).name = "Olivia\r\nX-Evil: 1 Örtiz"
    refused(mailed)
    post(mailed)
    mail = only(receiver.mails)
    assert mail.subject.startswith("Büro Bcc: eve@example.org Übung <b>日本</b> needs administrative override")
    assert mail.to == ["olivia@example.org"]
    assert mail.message["Bcc"] is None
    assert mail.message["X-Evil"] is None
    assert mail.message["To"].addresses[0].display_name == "Olivia X-Evil: 1 Örtiz"
    assert "<b>日本" not in mail.html, "a name is no HTML"
    assert "Übung <b>日本</b>" in mail.text


# -- one cause of many


def test_forty_chains_behind_one_refused_login_are_one_mail_that_counts_them(mailed: Play, receiver: Receiver) -> None:
    mailed.login_is("changed outside")
    for name in ("desk", "adm"):
        mailed.work(mailed.change(f"third {name}", name))
    post(mailed)
    mailed.settle(hours=2)
    for _ in range(5):
        mailed.advance(600)
        post(mailed)
    assert [mail.subject for mail in receiver.mails] == ["2 passwords need a linked credential repaired: M was refused"]
    mail = only(receiver.mails)
    assert "2 passwords wait for it" in " ".join(mail.text.split())
    assert "adm, in Computer Lab\ndesk, in Computer Lab\n" in mail.text
    assert f"{BASE}/passwords/{mailed.entry('M').id}\n" in mail.text
    opened = mailed.session.scalars(select(Incident).where(Incident.closed_at.is_(None))).all()
    assert sum(1 for each in opened if each.chain_id) == 2, "each chain keeps its own issue on its page"


def test_a_mail_says_refused_of_a_credential_only_where_a_machine_said_so(mailed: Play, receiver: Receiver) -> None:
    mailed.login_is("changed outside")
    for name in ("desk", "adm"):
        mailed.work(mailed.change(f"third {name}", name))
    with write() as session:  # as where its account is locked
        session.execute(update(SyncLink).where(SyncLink.reason == "linked_refused").values(reason="linked_state"))
    post(mailed)
    mailed.settle(hours=2)
    post(mailed)
    mail = only(receiver.mails)
    assert mail.subject == "2 passwords need a linked credential repaired: M may not log on"
    assert "The linked credential M may not log on at a machine." in " ".join(mail.text.split())
    assert "Put that account right" in mail.text
    assert "refused" not in mail.text + mail.html



def test_a_silent_agent_is_one_mail_however_many_chains_wait_and_one_when_it_is_back(
    mailed: Play, receiver: Receiver
) -> None:
    for name in ("desk", "adm"):
        behind_a_silent_agent(mailed, name)
    mailed.advance(901)
    post(mailed)
    assert [mail.subject for mail in receiver.mails] == [
        "2 passwords cannot be reached, nothing to do yet: the sync agent LAB-01 does not answer"
    ]
    mailed.world.agents_off.clear()
    mailed.settle()
    assert {mailed.status("desk"), mailed.status("adm")} == {"in_sync"}
    for _ in range(3):
        post(mailed)
    assert [mail.subject for mail in receiver.mails[1:]] == ["The sync agent LAB-01 works again, it is over"]


def test_a_cause_that_nothing_waits_for_any_more_is_not_said_to_work_again(mailed: Play, receiver: Receiver) -> None:
    for name in ("desk", "adm"):
        behind_a_silent_agent(mailed, name)
    mailed.advance(901)
    post(mailed)
    for name in ("desk", "adm"):
        sync.disable(mailed.olivia, mailed.entry(name))
    post(mailed)
    over = only(receiver.mails[1:])
    assert over.subject == "Nothing waits for the sync agent LAB-01 any more, it is over"
    assert "works again" not in over.text


@pytest.mark.budget(35, "plays three days")
def test_an_agent_that_tests_do_not_reach_for_three_days_is_one_mail(mailed: Play, receiver: Receiver) -> None:
    mailed.world.agents_off.add("LAB-01")
    for _ in range(100):
        mailed.advance(3600)
        post(mailed)
        mailed.pass_all()
    assert len(receiver.mails) == 1, [mail.subject for mail in receiver.mails]


def test_one_password_behind_a_silent_agent_is_named(mailed: Play, receiver: Receiver) -> None:
    behind_a_silent_agent(mailed, "desk")
    mailed.advance(901)
    post(mailed)
    assert only(receiver.mails).subject == "desk cannot be reached, nothing to do yet: LAB-03"


def test_a_chain_whose_cause_was_repaired_and_that_is_refused_itself_is_mailed_for_itself(
    mailed: Play, receiver: Receiver
) -> None:
    for name in ("desk", "adm"):
        behind_a_silent_agent(mailed, name)
    mailed.advance(901)
    post(mailed)
    mailed.world.agents_off.clear()
    mailed.world.outside("LAB-03\\operator", "by hand", clock_back=False)
    mailed.settle()
    for _ in range(3):
        post(mailed)
    assert {mail.subject for mail in receiver.mails[1:]} == {
        "desk needs administrative override: LAB-03 refused the vault's password",
        "The sync agent LAB-01 works again, it is over",
    }


def test_an_owner_of_another_vault_who_joins_later_hears_of_the_cause_once(mailed: Play, receiver: Receiver) -> None:
    other = Vault(id=new_id(), name="Elsewhere")
    with write() as session:
        session.add(other)
    add_person("Oscar", vault=other.id)
    behind_a_silent_agent(mailed, "adm")
    mailed.advance(901)
    post(mailed)
    assert [mail.to[0] for mail in receiver.mails] == ["olivia@example.org"]
    with write() as session:
        session.get_one(Entry, mailed.entry("desk").id).vault_id = other.id
    behind_a_silent_agent(mailed, "desk")
    for _ in range(3):
        mailed.advance(300)
        post(mailed)
    assert [mail.to[0] for mail in receiver.mails] == ["olivia@example.org", "oscar@example.org"]
    late = receiver.mails[1]
    assert "desk, in Elsewhere" in late.text
    assert "adm, in" not in late.text, "the names of a vault that is not his are not told"
    assert "1 of them is in a vault that you do not own." in late.text


# -- time


def test_the_timer_makes_no_second_row_whatever_dies_in_between(mailed: Play) -> None:
    refused(mailed)
    for _ in range(3):
        mailed.tick()
        with write() as session:
            session.scalars(select(Incident)).one().mailed_at = None
    assert len(rows()) == 1


def test_no_mail_holds_a_value(mailed: Play, receiver: Receiver) -> None:
    refused(mailed)
    post(mailed)
    mailed.login_is("changed outside")
    mailed.work(mailed.change("Canary-71qx desk", "desk"))
    post(mailed)
    mailed.advance(timedelta(hours=1).total_seconds())
    post(mailed)
    assert len(receiver.mails) >= 2
    everything = "".join(mail.text + mail.html + mail.raw.decode() for mail in receiver.mails)
    everything += "".join(f"{row.subject}{row.text}{row.answer}{row.ids}{row.dedupe_key}" for row in rows())
    for value in ("by hand", "first LAB", "changed outside", "Canary-71qx"):
        assert value not in everything
