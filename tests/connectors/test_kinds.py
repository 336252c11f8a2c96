"""The Windows kinds: what may be typed, which way a call goes, who is shown which login."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from pwserver.connectors import contract, windows
from pwserver.connectors.base import Answer, Blocked, Call, Credential, Evidence, Means, ask
from pwserver.connectors.kinds import CONNECTORS, LINK_KINDS
from pwserver.connectors.scheduled_task import account_there
from pwserver.core.secrets import Secret
from tests.connectors.test_codes import answer

CALL = Call("a", 60, 90, min_left=1, reset_allowed=True, unlock=True, account="SRV-01\\svc-backup")
PROVED = replace(CALL, account_sid="S-1-5-21-1-2-3-1001")
LINKED = Credential("svc-psrv", Secret("linked one"))
VALUE, OLD = Secret("new one 1"), Secret("old one 1")


class Session:
    """Keeps what was asked; answers as a script that did everything."""

    def __init__(self):
        self.asked = []

    def run(self, op, *, call, computer_name, params, secrets, hop):
        contract.request(
            op, attempt=call.attempt, ttl_s=call.ttl_s, computer_name=computer_name, machine_sid=call.machine_sid,
            params=params, secrets=secrets, hop=hop,
        )  # fmt: skip
        self.asked.append((op, computer_name, params, secrets, hop))
        return answer(op)


def connect(kind, settings, agent="LAB-01", linked=LINKED):
    session = Session()
    checked = LINK_KINDS[kind].settings.model_validate(settings)
    return session, CONNECTORS[kind](session, checked, agent, linked)


def words(kind, settings):
    with pytest.raises(ValidationError) as raised:
        LINK_KINDS[kind].settings.model_validate(settings)
    return {error["loc"][0]: error["msg"].removeprefix("Value error, ") for error in raised.value.errors()}


def test_the_list_of_kinds():
    assert list(LINK_KINDS) == [
        "standalone_windows", "remote_windows", "domain", "scheduled_task", "windows_service", "device_ssh",
    ]  # fmt: skip
    assert CONNECTORS.keys() == {name for name, row in LINK_KINDS.items() if "winrm" in row.transports}
    assert {name for name, row in LINK_KINDS.items() if row.is_account} == {
        "standalone_windows", "remote_windows", "domain", "device_ssh",
    }  # fmt: skip
    assert [name for name, row in LINK_KINDS.items() if not row.needs_linked] == ["standalone_windows"]


@pytest.mark.parametrize("kind", sorted(LINK_KINDS))
def test_every_field_can_be_drawn(kind):
    for name, field in LINK_KINDS[kind].settings.model_fields.items():
        assert field.title, name
        assert field.description, name


# what may be typed


@pytest.mark.parametrize(
    ("kind", "settings", "field", "says"),
    [
        ("standalone_windows", {}, "user_name", "Type the user name of the account."),
        ("standalone_windows", {"user_name": " "}, "user_name", "Type the user name of the account."),
        ("standalone_windows", {"user_name": "LAB-05\\bob"}, "user_name", "bare user name"),
        ("standalone_windows", {"user_name": "bob@corp"}, "user_name", "bare user name"),
        ("standalone_windows", {"user_name": 'bo"b'}, "user_name", "may not contain"),
        ("standalone_windows", {"user_name": "b" * 21}, "user_name", "at most 20"),
        ("standalone_windows", {"user_name": "bob$"}, "user_name", "does not end"),
        ("standalone_windows", {"user_name": "bob", "port": 1}, "port", ""),
        ("remote_windows", {"user_name": "bob"}, "machine", "Type the machine's name."),
        ("remote_windows", {"user_name": "bob", "machine": "10.1.4.15"}, "machine", "not its address"),
        ("remote_windows", {"user_name": "bob", "machine": "fd00::2"}, "machine", "not its address"),
        ("remote_windows", {"user_name": "bob", "machine": "LAB 05"}, "machine", "letters, digits"),
        ("remote_windows", {"user_name": "bob", "machine": "LAB-05;calc"}, "machine", "letters, digits"),
        ("remote_windows", {"user_name": "bob", "machine": "-LAB"}, "machine", "letters, digits"),
        ("remote_windows", {"user_name": "bob", "machine": "\\\\LAB-05"}, "machine", "letters, digits"),
        ("scheduled_task", {}, "path", "path and name"),
        ("scheduled_task", {"path": "\\"}, "path", "path and name"),
        ("scheduled_task", {"path": "\\Lab\\"}, "path", "name comes last"),
        ("scheduled_task", {"path": "\\Lab\\\\Nightly"}, "path", "one \\ each"),
        ("scheduled_task", {"path": "/Lab/Nightly"}, "path", "may not contain"),
        ("scheduled_task", {"path": "\\Lab\\ Nightly"}, "path", "begin or end with a blank"),
        ("windows_service", {"name": ""}, "name", "not its display name"),
        ("windows_service", {"name": "a/b"}, "name", "no slashes"),
        ("windows_service", {"name": "x", "restart": "sometimes"}, "restart", ""),
    ],
)
def test_what_cannot_be_used_is_said_beside_its_field(kind, settings, field, says):
    said = words(kind, settings)
    assert field in said
    assert says in said[field]


def test_what_is_typed_is_kept_but_for_blanks_around_it():
    made = LINK_KINDS["remote_windows"].settings.model_validate(
        {"machine": " LAB-05.corp.test ", "user_name": " #500 "}
    )
    assert (made.machine, made.user_name) == ("LAB-05.corp.test", "#500")
    assert LINK_KINDS["scheduled_task"].settings.model_validate({"path": "Nightly"}).path == "\\Nightly"


def test_a_link_is_known_by_its_machine_and_its_account_or_place():
    made = {
        "standalone_windows": {"user_name": "bob"},
        "remote_windows": {"machine": "LAB-05", "user_name": "bob"},
        "scheduled_task": {"path": "\\backupd"},
        "windows_service": {"machine": "SRV-01", "name": "backupd"},
    }
    named = {}
    for kind, settings in made.items():
        row = LINK_KINDS[kind]
        checked = row.settings.model_validate(settings)
        named[kind] = (row.machine_of(checked, "SRV-01"), row.account_of(checked, "SRV-01"))
    assert named["standalone_windows"] == ("SRV-01", "SRV-01\\bob")
    assert named["remote_windows"] == ("LAB-05", "LAB-05\\bob")
    assert named["scheduled_task"] == ("SRV-01", "SRV-01:\\backupd")
    assert named["windows_service"] == ("SRV-01", "SRV-01\\backupd")
    assert len({name for _, name in named.values()}) == 4


# which way a call goes


def test_a_local_account_is_reached_without_a_linked_credential():
    session, connector = connect("standalone_windows", {"user_name": "bob"}, linked=None)
    assert isinstance(connector.read(PROVED), Evidence)
    assert connector.verify(PROVED, VALUE).means == Means.LOGGED_ON
    connector.change(PROVED, OLD, VALUE)
    connector.reset(PROVED, VALUE)
    known = {"user": "bob", "account_sid": PROVED.account_sid}
    user = known | {"min_left": 1}
    assert [(op, name, params, hop) for op, name, params, _, hop in session.asked] == [
        ("read_account", "LAB-01", known, None),
        ("verify", "LAB-01", user, None),
        ("change", "LAB-01", user | {"reset_allowed": True}, None),
        ("reset", "LAB-01", user | {"unlock": True}, None),
    ]
    assert session.asked[2][3] == {"old": OLD, "new": VALUE}


def test_a_remote_account_goes_over_a_second_hop_even_on_the_agents_own_machine():
    for machine in ("LAB-05.corp.test", "LAB-01"):
        session, connector = connect("remote_windows", {"machine": machine, "user_name": "bob"})
        connector.verify(CALL, VALUE)
        op, name, _, _, hop = session.asked[0]
        assert (op, name) == ("verify", machine)
        assert (hop.machine, hop.user, hop.auth) == (machine, f"{machine.split('.')[0]}\\svc-psrv", "ssl")
        assert hop.secret == LINKED.secret


def test_without_its_linked_credential_nothing_is_sent():
    session, connector = connect("remote_windows", {"machine": "LAB-05", "user_name": "bob"}, linked=None)
    outcome = ask(lambda: connector.change(CALL, OLD, VALUE), secrets=[OLD, VALUE])
    assert (outcome.answer, outcome.reason, outcome.spent) == (Answer.BLOCKED, "no_linked_credential", frozenset())
    assert session.asked == []
    with pytest.raises(Blocked):
        connector.read(CALL)


@pytest.mark.parametrize(
    ("user", "auth"),
    [
        ("CORP\\lab-adm", "kerberos"), ("lab-adm@corp.test", "kerberos"), ("LAB-05\\svc-psrv", "ssl"),
        ("lab-05\\svc-psrv", "ssl"), (".\\svc-psrv", "ssl"), ("svc-psrv", "ssl"),
    ],
)  # fmt: skip
def test_a_domain_login_is_shown_by_kerberos_only(user, auth):
    session, connector = connect(
        "remote_windows", {"machine": "LAB-05", "user_name": "bob"}, linked=Credential(user, Secret("s"))
    )
    connector.read(CALL)
    assert session.asked[0][4].auth == auth


@pytest.mark.parametrize(
    ("kind", "settings", "reads", "writes", "name"),
    [
        ("scheduled_task", {"path": "\\Lab\\Nightly"}, "read_task", "set_task", "\\Lab\\Nightly"),
        ("windows_service", {"name": "backupd"}, "read_service", "set_service", "backupd"),
    ],
)
def test_a_place_is_read_and_written_where_it_is(kind, settings, reads, writes, name):
    place = {"name": name, "account": "SRV-01\\svc-backup", "account_sid": ""}
    session, connector = connect(kind, settings, agent="SRV-01")
    connector.read(CALL)
    connector.write(CALL, VALUE)
    assert [(op, machine, params, hop) for op, machine, params, _, hop in session.asked] == [
        (reads, "SRV-01", place, None),
        (writes, "SRV-01", place, None),
    ]
    session, connector = connect(kind, settings | {"machine": "SRV-02"}, agent="SRV-01")
    connector.write(CALL, VALUE)
    assert session.asked[0][1] == "SRV-02"
    assert session.asked[0][4].user == "SRV-02\\svc-psrv"


@pytest.mark.parametrize(("policy", "dependents"), [("service", False), ("dependents", True)])
def test_a_service_is_restarted_by_its_policy(policy, dependents):
    session, connector = connect("windows_service", {"name": "backupd", "restart": policy}, agent="SRV-01")
    assert connector.restart(CALL).means == Means.STARTED
    assert session.asked[0][2]["dependents"] is dependents
    assert (session.asked[0][2]["stop_s"], session.asked[0][2]["answer_s"]) == (480, 530)


def test_only_a_machines_name_is_shortened():
    """ad.contoso.com may be CONTOSO, and AD another domain."""
    assert account_there("ad.contoso.com\\svc") == "ad.contoso.com\\svc"
    assert account_there("srv-01.corp.test\\bob", is_local=True) == "srv-01\\bob"


def test_a_step_that_a_kind_does_not_have_is_a_bug_and_not_an_answer():
    _, local = connect("standalone_windows", {"user_name": "bob"})
    _, task = connect("scheduled_task", {"path": "\\x"})
    for step in (
        lambda: local.write(CALL, VALUE),
        lambda: local.restart(CALL),
        lambda: task.verify(CALL, VALUE),
        lambda: task.change(CALL, OLD, VALUE),
        lambda: task.reset(CALL, VALUE),
        lambda: task.restart(CALL),
    ):
        outcome = ask(step, secrets=[OLD, VALUE])
        assert (outcome.answer, outcome.bug) == (Answer.UNKNOWN, True)


@pytest.mark.parametrize(
    ("typed", "agent", "own"),
    [
        ("", "LAB-01", True), ("lab-01", "LAB-01", True), ("LAB-01", "lab-01.corp.test", True),
        ("LAB-01.corp.test", "lab-01.CORP.test", True), ("LAB-01.dmz.example", "LAB-01", False),
        ("LAB-01.dmz.example", "LAB-01.corp.test", False), ("LAB-01.corp", "LAB-01.corp.test", False),
        ("LONGSERVERNAME-02", "LONGSERVERNAME-01", False), ("LAB-02", "LAB-01", False),
    ],
)  # fmt: skip
def test_a_machine_of_the_same_short_name_in_another_domain_is_not_the_agents_own(typed, agent, own):
    """A task of LAB-01.dmz.example was written on the agent LAB-01 and shown In Sync."""
    session, connector = connect("scheduled_task", {"machine": typed, "path": "\\x"}, agent=agent)
    connector.write(CALL, VALUE)
    op, name, _, _, hop = session.asked[0]
    assert (op, name) == ("set_task", typed or agent)
    assert (hop is None) is own
    assert own or hop.machine == typed


@pytest.mark.parametrize(
    ("user", "machine", "auth"),
    [
        ("SRV01.berlin.example\\adm", "SRV01.munich.example", "kerberos"),
        ("SRV01\\adm", "SRV01.munich.example", "ssl"),
        ("srv01.munich.example\\adm", "SRV01.munich.example", "ssl"), ("ad.contoso.com\\svc", "AD", "kerberos"),
        ("ad.contoso.com\\svc", "ad.other.example", "kerberos"),
        ("A-VERY-LONG-NAM\\adm", "a-very-long-name-1.corp.test", "ssl"),
    ],
)  # fmt: skip
def test_a_login_of_another_machine_or_of_a_domain_is_never_shown_to_a_machine_as_its_own(user, machine, auth):
    assert windows.login_auth(user, machine) == auth
