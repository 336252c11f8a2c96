"""The connector against a real domain controller: what it reads, proves, changes, resets and refuses."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from pwserver.connectors.base import Answer, Credential, Key, Means, Outcome, ask, same_stamp
from pwserver.connectors.directory import BY_BIND, BY_KERBEROS, check
from pwserver.connectors.domain import Trust
from pwserver.core.secrets import Secret
from tests.directory import samba
from tests.directory.conftest import call, directory
from tests.directory.samba import FIRST, UNIT

SECOND, THIRD = "New-Passw0rd2", "Newer-Passw0rd3"
TARGET = frozenset({Key.TARGET})


def old_enough(dc, name):
    """Its password was last set long ago, so that a bind proves it, too."""
    dc.age(name, hours=3)
    return name


def asked(act, *values):
    return ask(act, secrets=[Secret(value) for value in values])


def change(connector, old=FIRST, new=SECOND, **more) -> Outcome:
    return asked(lambda: connector.change(call(**more), Secret(old), Secret(new)), old, new)


def verify(connector, value=FIRST, **more) -> Outcome:
    return asked(lambda: connector.verify(call(**more), Secret(value)), value)


def reset(connector, new=SECOND, **more) -> Outcome:
    return asked(lambda: connector.reset(call(**more), Secret(new)), new)


# -- what it reads


def test_reading_tells_who_it_is_and_costs_no_logon(dc, connect):
    name = dc.make()
    evidence = connect(name).read(call())
    assert evidence.host == "dc1.corp.test"
    assert evidence.account_id == evidence.account_sid
    assert evidence.account_id.startswith(evidence.machine_sid + "-")
    assert (evidence.means, evidence.logged_on) == (None, False)
    assert (evidence.bad_count, evidence.threshold, evidence.window_s) == (0, 5, 1800)
    age = datetime.now(UTC) - datetime.fromisoformat(evidence.stamp)
    assert timedelta(seconds=-5) < age < timedelta(minutes=2)


def test_what_a_person_should_know_besides_is_said(dc, connect):
    name = dc.make()
    dc.set(name, servicePrincipalName=f"MSSQLSvc/{name}.corp.test", userWorkstations="APP7")
    notes = connect(name).read(call()).notes
    assert "1 service name (SPN)" in notes
    assert "workstations" in notes


@pytest.mark.parametrize("name", ["nobody-here", "x)(cn", "\u00fc"])
def test_an_account_of_a_name_that_is_not_there_is_blocked(dc, connect, name):
    outcome = asked(lambda: connect(name).read(call()))
    assert (outcome.answer, outcome.reason) == (Answer.BLOCKED, "no_account")


def test_another_domain_sid_than_last_time_is_another_domain(dc, connect):
    outcome = verify(connect(dc.make()), machine_sid="S-1-5-21-1-2-3")
    assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.BLOCKED, "new_machine", frozenset())


@pytest.mark.parametrize("act", [verify, change, reset])
def test_another_account_that_got_the_name_is_neither_tried_nor_set(dc, connect, act):
    """The account that was proved was renamed, and another one made under its name: Approve took that one over."""
    proved, taken = dc.make(), dc.make()
    known = connect(proved).read(call()).account_sid
    before = connect(taken).read(call())
    outcome = act(connect(taken), account_sid=known)
    assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.BLOCKED, "other_account", frozenset())
    assert outcome.text == f"The account that was proved here is called {proved} now."
    assert outcome.evidence is None, "a stranger tells nothing of the account"
    after = connect(taken).read(call(account_sid=before.account_sid))
    assert (after.stamp, dc.wrong_logons(taken)) == (before.stamp, 0)


def test_an_account_that_was_renamed_is_named_and_one_that_was_deleted_is_not(dc, connect):
    proved = dc.make()
    known = connect(proved).read(call()).account_sid
    renamed = asked(lambda: connect("nobody-here").read(call(account_sid=known)))
    assert (renamed.answer, renamed.reason) == (Answer.BLOCKED, "account_renamed")
    assert renamed.text == f"It is called {proved} now."
    gone = asked(lambda: connect("nobody-here").read(call(account_sid=known + "7")))
    assert (gone.answer, gone.reason) == (Answer.BLOCKED, "no_account")


def test_a_password_is_as_long_as_windows_counts_it(dc, connect, by_bind):
    """Nine UTF-16 units in six signs: a minimum of seven takes them; four signs in five units are too short."""
    name = dc.make(unit=UNIT)
    assert reset(connect(name), "\U0001f600\U0001f600\U0001f600Aa1").answer == Answer.APPLIED
    assert reset(connect(name), "Aa1\U0001f600").reason == "too_short"


# -- the account's own logon


def test_a_right_password_is_proved_and_the_evidence_says_how(dc, connect, means):
    name = old_enough(dc, dc.make())
    outcome = verify(connect(name))
    assert (outcome.answer, outcome.evidence.means) == (Answer.APPLIED, Means.LOGGED_ON)
    assert outcome.evidence.by == (BY_KERBEROS if means == "kerberos" else BY_BIND)
    assert outcome.evidence.host == "dc1.corp.test"
    assert dc.wrong_logons(name) == 0


def test_one_refused_verify_costs_exactly_one_wrong_logon_by_every_means(dc, connect, means):
    name = old_enough(dc, dc.make())
    outcome = verify(connect(name), "Wrong-Passw0rd")
    assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.REFUSED, "value_refused", TARGET)
    assert outcome.code == ("KDC 24" if means == "kerberos" else "LDAP 49 data 52e")
    assert dc.wrong_logons(name) == 1


def test_a_password_changed_outside_five_minutes_ago_is_not_green(dc, connect, means):
    name = old_enough(dc, dc.make())
    known = connect(name).read(call()).stamp
    dc.set_password(name, SECOND)
    dc.age(name, minutes=5)
    assert dc.binds(name, FIRST), "the domain takes the password before for an hour: else this test proves nothing"
    assert dc.binds(name, SECOND)
    outcome = verify(connect(name), FIRST, stamp=known)
    if means == "kerberos":
        assert (outcome.answer, outcome.reason) == (Answer.REFUSED, "value_refused")
        return
    assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.UNKNOWN, "grace_hour", frozenset())
    assert timedelta(minutes=58) < outcome.safe_in < timedelta(minutes=61)
    assert outcome.evidence.means is None
    assert not outcome.evidence.logged_on


def test_a_bind_counts_with_the_stamp_of_our_own_write_or_after_the_hour(dc, connect, by_bind):
    name = dc.make()
    assert verify(connect(name)).reason == "grace_hour"
    stamp = connect(name).read(call()).stamp
    outcome = verify(connect(name), stamp=stamp)
    assert (outcome.answer, outcome.evidence.by) == (Answer.APPLIED, BY_BIND)
    dc.age(name, minutes=64)
    assert verify(connect(name), stamp=stamp).reason == "grace_hour"
    dc.age(name, minutes=2)
    assert verify(connect(name), stamp=stamp).answer == Answer.APPLIED


@pytest.mark.parametrize(
    "value", ["\uff21bc-Passw0rd\u00e9\u0301", "\u212bngstr\u00f6m-\ufb01-9Zz", "Z\u00e4\"'`$()\\ \U0001f600-9"]
)
def test_a_password_arrives_byte_exact_by_every_means(dc, connect, means, value):
    name = old_enough(dc, dc.make(unit=f"{UNIT}"))
    outcome = change(connect(name), FIRST, value)
    assert (outcome.answer, outcome.evidence.means) == (Answer.APPLIED, Means.LOGGED_ON)
    assert verify(connect(name), value, stamp=outcome.evidence.stamp).answer == Answer.APPLIED
    assert dc.wrong_logons(name) == 0


def test_an_empty_password_is_never_taken_for_a_logon(dc, connect, means):
    name = old_enough(dc, dc.make())
    assert verify(connect(name), "").reason == "blank"
    assert reset(connect(name), "").reason == "blank"


def test_states_that_a_logon_cannot_see_through_spend_nothing(dc, connect, means):
    disabled, expired, due, locked = dc.make(), dc.make(), dc.make(), dc.make()
    dc.set(disabled, userAccountControl="514")
    dc.set(expired, accountExpires="131000000000000000")
    dc.set(due, pwdLastSet="0")
    lock(dc, locked)
    for name, reason in (
        (disabled, "account_disabled"), (expired, "account_expired"), (due, "must_change"), (locked, "account_locked"),
    ):  # fmt: skip
        before = dc.wrong_logons(name)
        outcome = verify(connect(name))
        assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.REFUSED, reason, frozenset())
        assert dc.wrong_logons(name) == before


def lock(dc, name):
    for _ in range(5):
        assert not dc.binds(name, "Wrong-Passw0rd")
    assert int(dc.get(name, "lockoutTime")) > 0


def test_no_try_that_would_leave_too_few_before_the_lock_out(dc, connect, means):
    name = old_enough(dc, dc.make())
    for _ in range(3):
        assert not dc.binds(name, "Wrong-Passw0rd")
    for least, tried in ((2, False), (1, True)):
        outcome = verify(connect(name), "Wrong-Passw0rd-2", min_left=least)
        assert outcome.reason == ("value_refused" if tried else "would_lock")
        assert dc.wrong_logons(name) == (4 if tried else 3)
    outcome = verify(connect(name), min_left=1)
    assert (outcome.reason, outcome.spent) == ("would_lock", frozenset())
    assert "4 of 5" in outcome.text
    assert timedelta(minutes=28) < outcome.safe_in < timedelta(minutes=31)


# -- changed, or reset: by what was read before


def test_who_may_reset_resets_and_proves_the_old_one_first(dc, connect, means):
    name = old_enough(dc, dc.make(unit=UNIT))
    outcome = change(connect(name))
    assert (outcome.answer, outcome.evidence.method, outcome.evidence.means) == (
        Answer.APPLIED, "reset", Means.LOGGED_ON,
    )  # fmt: skip
    assert outcome.evidence.by == (BY_KERBEROS if means == "kerberos" else BY_BIND)
    assert same_stamp(outcome.evidence.stamp, connect(name).read(call()).stamp)
    assert dc.binds(name, SECOND)
    assert dc.wrong_logons(name) == 0


def test_without_the_right_to_reset_it_is_changed_with_its_own_password(dc, connect, means):
    name = dc.make()
    outcome = change(connect(name, linked=samba.READER))
    assert (outcome.answer, outcome.evidence.method, outcome.evidence.means) == (
        Answer.APPLIED, "change", Means.LOGGED_ON,
    )  # fmt: skip
    assert dc.binds(name, SECOND)


def test_a_wrong_old_password_writes_nothing_and_costs_one_try(dc, connect, means):
    for unit, linked in ((UNIT, samba.RESETTER), ("CN=Users", samba.READER)):
        name = old_enough(dc, dc.make(unit=unit))
        stamp = dc.get(name, "pwdLastSet")
        outcome = change(connect(name, linked=linked), "Wrong-Passw0rd")
        assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.REFUSED, "old_value_refused", TARGET)
        assert outcome.wrote is False
        assert dc.get(name, "pwdLastSet") == stamp
        assert dc.wrong_logons(name) == 1


def test_a_change_made_outside_within_the_hour_is_not_overwritten(dc, connect, means):
    name = old_enough(dc, dc.make(unit=UNIT))
    known = connect(name).read(call()).stamp
    dc.set_password(name, THIRD)
    outcome = change(connect(name), FIRST, SECOND, stamp=known)
    assert outcome.answer == Answer.REFUSED
    assert outcome.reason == ("old_value_refused" if means == "kerberos" else "grace_hour_before_write")
    assert dc.binds(name, THIRD)
    assert not dc.binds(name, SECOND)


@pytest.mark.parametrize(
    ("value", "reason"), [("Ab1-", "too_short"), ("alllowercaseletters", "policy"), (FIRST, "policy")]
)
def test_a_password_that_the_policy_does_not_take_changes_nothing(dc, connect, by_bind, value, reason):
    name = dc.make()
    stamp = dc.get(name, "pwdLastSet")
    outcome = change(connect(name, linked=samba.READER), FIRST, value)
    assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.REFUSED, reason, frozenset())
    assert outcome.wrote is False
    if reason == "policy":
        assert outcome.code.startswith("0000052D")
    assert dc.get(name, "pwdLastSet") == stamp
    assert dc.binds(name, FIRST)


def test_a_fine_grained_policy_is_the_one_that_counts(dc, connect, by_bind):
    name = dc.make(password="A-rather-long-first-passw0rd", unit=UNIT)
    dc.tool("domain", "passwordsettings", "pso", "apply", "Long ones", name)
    outcome = reset(connect(name, linked="Administrator", password=samba.ADMIN_PASSWORD), SECOND)
    assert outcome.reason == "too_short"
    assert "Long ones" in outcome.text
    assert "20" in outcome.text


def test_the_minimum_age_is_read_and_said_with_its_end(dc, connect, by_bind):
    name = dc.make()
    dc.tool("domain", "passwordsettings", "pso", "apply", "Seldom", name)
    admin = {"linked": "Administrator", "password": samba.ADMIN_PASSWORD}
    outcome = change(connect(name, **admin), "Wrong-Passw0rd")
    assert outcome.reason == "old_value_refused", "who may reset is not bound by the minimum age"
    dc.tool("domain", "passwordsettings", "set", "--min-pwd-age=1")
    try:
        young = dc.make()
        outcome = change(connect(young, linked=samba.READER))
        assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.REFUSED, "may_change_at", frozenset())
        assert timedelta(hours=23) < outcome.safe_in < timedelta(hours=25)
    finally:
        dc.tool("domain", "passwordsettings", "set", "--min-pwd-age=0")


def test_who_has_no_right_to_reset_cannot_override(dc, connect, means):
    name = dc.make()
    outcome = reset(connect(name, linked=samba.READER))
    assert (outcome.answer, outcome.reason) == (Answer.BLOCKED, "denied")
    assert outcome.wrote is False
    assert dc.binds(name, FIRST)


def test_a_locked_account_is_unlocked_and_set_by_the_override(dc, connect, means):
    name = dc.make(unit=UNIT)
    lock(dc, name)
    assert change(connect(name)).reason == "account_locked"
    outcome = reset(connect(name))
    assert (outcome.answer, outcome.evidence.means) == (Answer.APPLIED, Means.WRITTEN)
    outcome = reset(connect(name), THIRD, unlock=True)
    assert (outcome.answer, outcome.evidence.means) == (Answer.APPLIED, Means.LOGGED_ON)
    assert dc.get(name, "lockoutTime") in ("", "0")
    assert dc.binds(name, THIRD)


def test_a_disabled_account_is_set_by_the_override_and_never_called_proved(dc, connect, means):
    name = dc.make(unit=UNIT)
    dc.set(name, userAccountControl="514")
    assert change(connect(name)).reason == "account_disabled"
    outcome = reset(connect(name))
    assert (outcome.answer, outcome.evidence.means, outcome.evidence.logged_on) == (
        Answer.APPLIED, Means.WRITTEN, False,
    )  # fmt: skip


def test_one_that_has_to_change_its_password_is_changed_with_the_old_one(dc, connect, means):
    name = dc.make(unit=UNIT)
    dc.set(name, pwdLastSet="0")
    assert change(connect(name), "Wrong-Passw0rd").reason == "old_value_refused"
    outcome = change(connect(name))
    assert (outcome.answer, outcome.evidence.method, outcome.evidence.means) == (
        Answer.APPLIED, "change", Means.LOGGED_ON,
    )  # fmt: skip


def test_a_stamp_of_0_is_no_order_where_the_password_never_expires(dc, connect, by_bind):
    """It logs on; but by a bind nobody knows whether the password before was set within the hour."""
    name = dc.make(unit=UNIT)
    dc.set(name, pwdLastSet="0", userAccountControl="66048")
    outcome = verify(connect(name))
    assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.UNKNOWN, "cannot_tell", frozenset())
    changed = change(connect(name))
    assert (changed.answer, changed.evidence.method) == (Answer.APPLIED, "change")


def test_who_may_not_change_its_own_password_is_said_before_anything_is_tried(dc, connect, by_bind):
    name = dc.make()
    dn = dc.dn(name)
    dc.tool(
        "dsacl", "set", f"--objectdn={dn}",
        "--sddl=(OD;;CR;ab721a53-1e2f-11d0-9819-00aa0040529b;;WD)(OD;;CR;ab721a53-1e2f-11d0-9819-00aa0040529b;;PS)",
    )  # fmt: skip
    outcome = change(connect(name, linked=samba.READER))
    assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.REFUSED, "change_denied", frozenset())


# -- what may be touched


def test_only_listed_accounts_and_units_are_touched(dc, connect, by_bind):
    inside, outside = dc.make(unit=UNIT), dc.make()
    only = f"ou=service, {samba.BASE}"
    assert connect(inside, only).read(call()).account_id
    for act in (connect(outside, only).read, connect(outside, "Service").read):
        outcome = asked(lambda act=act: act(call()))
        assert (outcome.answer, outcome.reason) == (Answer.BLOCKED, "account_not_listed")
    assert connect(outside, only, outside.upper()).read(call()).account_id


def test_protected_accounts_only_by_their_own_name_and_krbtgt_never(dc, connect, by_bind):
    admin = {"linked": "Administrator", "password": samba.ADMIN_PASSWORD}
    marked, member = dc.make(), dc.make()
    dc.set(marked, adminCount="1")
    dc.tool("group", "addmembers", "Domain Admins", member)
    for name in ("Administrator", marked, member):
        outcome = asked(lambda name=name: connect(name, **admin).read(call()))
        assert (outcome.answer, outcome.reason) == (Answer.BLOCKED, "protected_account"), name
        assert connect(name, name, **admin).read(call()).account_id
    for allowed in ("krbtgt", f"CN=Users,{samba.BASE}"):
        outcome = asked(lambda allowed=allowed: connect("krbtgt", allowed, **admin).read(call()))
        assert (outcome.answer, outcome.reason) == (Answer.BLOCKED, "never_changed")


# -- our own way in


def test_our_own_login_refused_is_ours_and_costs_one(dc, connect):
    name, ours = dc.make(), dc.make("", "Ours-Passw0rd1")
    outcome = verify(connect(name, linked=ours, password="Wrong-Passw0rd"))
    assert (outcome.answer, outcome.reason, outcome.spent) == (
        Answer.BLOCKED, "linked_refused", frozenset({Key.LINKED}),
    )  # fmt: skip
    assert dc.wrong_logons(ours) == 1
    assert dc.wrong_logons(name) == 0


def test_our_own_login_disabled_is_said_as_that(dc, connect):
    ours = dc.make("", "Ours-Passw0rd1")
    dc.set(ours, userAccountControl="514")
    outcome = verify(connect(dc.make(), linked=ours, password="Ours-Passw0rd1"))
    assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.BLOCKED, "linked_state", frozenset())


def test_no_login_is_sent_to_another_certificate(dc, connect):
    ours = dc.make("", "Ours-Passw0rd1")
    for trust in (Trust("ab" * 32), Trust(dc.fingerprint, other_ca())):
        outcome = verify(connect(dc.make(), linked=ours, password="Wrong-Passw0rd", trust=trust))
        assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.BLOCKED, "pin_changed", frozenset())
    assert dc.wrong_logons(ours) == 0


def other_ca() -> str:
    from datetime import datetime as when

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Another")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
        .not_valid_before(when(2026, 1, 1)).not_valid_after(when(2030, 1, 1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(serialization.Encoding.PEM).decode()


def test_a_ca_is_trusted_for_the_name_that_was_typed_and_no_other(dc, connect, monkeypatch):
    from pwserver.connectors import ldap_line

    known = {"dc1.corp.test": "127.0.0.1", "other.corp.test": "127.0.0.1"}
    real = ldap_line.resolve
    monkeypatch.setattr(ldap_line, "resolve", lambda host, port, s: real(known.get(host, host), port, s))
    trust = Trust("", dc.ca_pem)
    name = dc.make()
    assert connect(name, trust=trust, controllers=("dc1.corp.test",)).read(call()).account_id
    outcome = asked(lambda: connect(name, trust=trust, controllers=("other.corp.test",)).read(call()))
    assert (outcome.answer, outcome.reason) == (Answer.BLOCKED, "pin_changed")


def test_a_controller_that_is_away_is_passed_over_and_all_away_is_unreachable(dc, connect):
    name = dc.make()
    assert connect(name, controllers=("127.0.0.9", "127.0.0.1")).read(call()).account_id
    outcome = change(connect(name, controllers=("127.0.0.9",)))
    assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.UNREACHABLE, "no_answer", frozenset())
    assert dc.binds(name, FIRST)


def test_a_controller_that_takes_and_never_answers_ends_at_the_deadline(dc, connect):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = time.monotonic()
        outcome = asked(
            lambda: connect(dc.make(), port=deaf.getsockname()[1]).read(call(ttl_s=1, deadline_s=1.5))
        )
        assert time.monotonic() - began < 6
    assert outcome.answer == Answer.UNREACHABLE


def test_too_late_to_write_writes_nothing(dc, connect):
    name = dc.make(unit=UNIT)
    outcome = reset(connect(name), ttl_s=0)
    assert (outcome.answer, outcome.reason) == (Answer.UNREACHABLE, "ttl")
    assert dc.binds(name, FIRST)


def test_another_domain_than_typed_gets_no_login(dc, connect):
    outcome = verify(connect(dc.make(), domain="other.test"))
    assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.BLOCKED, "wrong_domain", frozenset())


def test_the_test_of_a_directory_says_whose_domain_it_is(dc):
    linked = Credential(f"CORP\\{samba.READER}", Secret(samba.LINKED_PASSWORD))
    evidence = check(directory(dc), linked, 20)
    assert (evidence.host, evidence.machine_sid[:9]) == ("dc1.corp.test", "S-1-5-21-")
    outcome = asked(lambda: check(directory(dc, short_name="OTHER"), linked, 20))
    assert (outcome.answer, outcome.reason) == (Answer.BLOCKED, "wrong_domain")
