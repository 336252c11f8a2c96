"""Where the lab was wrong about Windows, and two programs that nobody here wrote agreed with the document against it.

``tests/opinions`` asks those programs again; here stands what the lab answers since.
"""

import pytest

from pwserver.lab import calls
from pwserver.lab.model.machines import Service
from tests.lab.conftest import LOGIN


@pytest.mark.parametrize(
    ("sid", "domain", "name"),
    [
        ("S-1-5-18", "NT AUTHORITY", "SYSTEM"), ("S-1-5-19", "NT AUTHORITY", "LOCAL SERVICE"),
        ("S-1-5-20", "NT AUTHORITY", "NETWORK SERVICE"), ("S-1-5-11", "NT AUTHORITY", "Authenticated Users"),
        ("S-1-1-0", "", "Everyone"), ("S-1-5-32-544", "BUILTIN", "Administrators"),
        ("S-1-5-32-580", "BUILTIN", "Remote Management Users"),
    ],
)  # fmt: skip
def test_a_well_known_sid_has_its_name_as_windows_spells_it_and_every_spelling_finds_it(lab, sid, domain, name):
    told = lab.ask("LookupAccountSidW", sid=sid)
    assert (told["code"], told["domain"], told["name"]) == (0, domain, name)
    for spelling in {name, name.lower(), f"{domain}\\{name}".lstrip("\\").upper()}:
        found = lab.ask("LookupAccountNameW", name=spelling)
        assert (found["code"], found["sid"], found["domain"]) == (0, sid, domain), spelling


def test_services_name_two_identities_without_the_space_and_the_lookup_finds_them(lab):
    assert lab.ask("LookupAccountNameW", name="NT AUTHORITY\\LocalService")["sid"] == "S-1-5-19"
    assert lab.ask("LookupAccountNameW", name="NT AUTHORITY\\NetworkService")["sid"] == "S-1-5-20"


def test_local_system_is_the_service_managers_word_and_no_lookup_finds_it(lab):
    assert lab.ask("LookupAccountNameW", name="LocalSystem")["code"] == calls.NO_SUCH_NAME


def test_a_service_that_was_never_started_does_not_look_like_one_that_ended_well(lab):
    server = lab.machine("SRV-01")
    server.services.append(Service(name="idle", display="Idle", start_name="LocalSystem", start_type=3))

    def exit_code():
        return lab.ask("QueryServiceStatusEx", "SRV-01", name="idle")["exit_code"]

    assert exit_code() == calls.NEVER_STARTED
    assert lab.ask("StartServiceW", "SRV-01", name="idle")["code"] == 0
    assert exit_code() == 0
    assert lab.ask("ControlService", "SRV-01", name="idle", control=calls.SERVICE_CONTROL_STOP)["code"] == 0
    assert exit_code() == 0


def test_flags_of_an_account_have_the_one_that_is_always_set(lab):
    assert lab.ask("NetUserGetInfo", user=LOGIN)["flags"] & 0x1
