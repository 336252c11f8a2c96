"""Several domain controllers: the first is away, another one has the role PDC emulator, the role moves meanwhile. The
password goes to the one that has the role, and a login to none that nobody named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pwserver.connectors.base import Answer, Blocked, Credential, Key, Unreachable
from pwserver.connectors.directory import DirectoryConnector
from pwserver.connectors.domain import Directory, Settings, Trust
from pwserver.connectors.ldap_line import fingerprint_of_pem
from pwserver.connectors.pdc import Trace, at_pdc
from pwserver.connectors.pinning import NoAnswer
from pwserver.core.secrets import Secret
from tests.directory import samba
from tests.directory.conftest import directory
from tests.directory.controllers import Controller, Forest
from tests.directory.samba import FIRST, UNIT, DomainController
from tests.directory.test_directory import SECOND, change, old_enough, verify
from tests.mail.conftest import make_certificate

LOGIN = Credential("CORP\\psrv-read", Secret("L1nked-Passw0rd"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("controllers"), "127.0.0.2")


@pytest.fixture
def forest(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Forest]:
    made = Forest(*certificate, monkeypatch)
    yield made
    made.stop()


@pytest.fixture
def known(forest: Forest, certificate: tuple[Path, Path]) -> Callable[..., Directory]:
    """The directory as an administrator registered it, with these controllers."""

    def make(*names: str) -> Directory:
        pin = fingerprint_of_pem(certificate[0].read_text())
        return Directory(names, forest.port, Trust(pin), "corp.test", "CORP")

    return make


def work_at(registered: Directory, login: Credential = LOGIN) -> tuple[str, Trace]:
    """Which controller is worked with."""
    trace = Trace(time.monotonic() + 10, time.monotonic() + 10)
    with at_pdc(registered, login, trace) as at:
        assert at.is_pdc
        return at.host, trace


def test_the_first_of_the_list_may_know_another_one_as_pdc(forest: Forest, known: Callable[..., Directory]) -> None:
    first, second = forest.start(Controller("DC2", pdc="DC3")), forest.start(Controller("DC3", pdc="DC3"))
    assert work_at(known("dc2.corp.test", "dc3.corp.test"))[0] == "dc3.corp.test"
    assert first.logins == second.logins == ["CORP\\psrv-read"]


def test_the_first_is_away_and_the_second_has_the_role(forest: Forest, known: Callable[..., Directory]) -> None:
    second = forest.start(Controller("DC3", pdc="DC3"))
    host, trace = work_at(known("dc2.corp.test", "dc3.corp.test"))
    assert (host, trace.spent) == ("dc3.corp.test", set())
    assert second.logins == ["CORP\\psrv-read"], "one logon, not two"


def test_the_first_is_away_the_second_knows_the_third_as_pdc(forest: Forest, known: Callable[..., Directory]) -> None:
    forest.start(Controller("DC3", pdc="DC4"))
    forest.start(Controller("DC4", pdc="DC4"))
    assert work_at(known("dc2.corp.test", "dc3.corp.test", "dc4.corp.test"))[0] == "dc4.corp.test"


def test_the_role_moves_between_two_calls_and_the_next_goes_after_it(
    forest: Forest, known: Callable[..., Directory]
) -> None:
    two, three = forest.start(Controller("DC2", pdc="DC2")), forest.start(Controller("DC3", pdc="DC2"))
    registered = known("dc2.corp.test", "dc3.corp.test")
    assert work_at(registered)[0] == "dc2.corp.test"
    two.pdc = three.pdc = "DC3"
    assert work_at(registered)[0] == "dc3.corp.test"


def test_while_they_do_not_agree_who_has_the_role_nothing_is_done_and_it_is_tried_again(
    forest: Forest, known: Callable[..., Directory]
) -> None:
    """The first has not heard that the role moved on: the one that it names says that it is not it."""
    forest.start(Controller("DC2", pdc="DC3"))
    three = forest.start(Controller("DC3", pdc="DC2"))
    with pytest.raises(Unreachable) as told:
        work_at(known("dc2.corp.test", "dc3.corp.test"))
    assert (told.value.reason, told.value.wrote, told.value.spent) == ("not_ready", False, frozenset())
    assert "dc3.corp.test" in told.value.text
    three.pdc = "DC3"
    assert work_at(known("dc2.corp.test", "dc3.corp.test"))[0] == "dc3.corp.test"


def test_a_pdc_that_nobody_named_gets_no_login(forest: Forest, known: Callable[..., Directory]) -> None:
    forest.start(Controller("DC2", pdc="DC3"))
    elsewhere = forest.start(Controller("DC3", pdc="DC3"))
    with pytest.raises(Blocked) as told:
        work_at(known("dc2.corp.test"))
    assert told.value.reason == "pdc_not_listed"
    assert "dc3.corp.test" in told.value.text
    assert elsewhere.asked == []


def test_the_pdc_goes_away_after_the_first_named_it(forest: Forest, known: Callable[..., Directory]) -> None:
    forest.start(Controller("DC2", pdc="DC3"))
    with pytest.raises(NoAnswer):
        work_at(known("dc2.corp.test", "dc3.corp.test"))


def test_a_login_that_the_first_refused_is_not_sent_to_the_second(
    forest: Forest, known: Callable[..., Directory]
) -> None:
    """Each controller counts and forwards to the PDC emulator: two refusals would be two wrong logons."""
    forest.start(Controller("DC2", pdc="DC3", refuses=True))
    second = forest.start(Controller("DC3", pdc="DC3", refuses=True))
    with pytest.raises(Blocked) as told:
        work_at(known("dc2.corp.test", "dc3.corp.test"))
    assert (told.value.reason, told.value.spent) == ("linked_refused", frozenset({Key.LINKED}))
    assert second.logins == []


# -- beside the real one, which is dc1 and has the role

Connected = Callable[..., DirectoryConnector]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of dc2's own name."""
    return make_certificate(tmp_path_factory.mktemp("dc2"), "dc2.corp.test")


@pytest.fixture
def beside(dc: DomainController, named: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Forest]:
    made = Forest(*named, monkeypatch, port=636)
    yield made
    made.stop()


@pytest.fixture
def connected(dc: DomainController, named: tuple[Path, Path], beside: Forest) -> Connected:
    """The connector of an account, with these controllers, both authorities trusted."""

    def make(name: str, *controllers: str) -> DirectoryConnector:
        trust = Trust("", f"{dc.ca_pem}\n{named[0].read_text()}")
        linked = Credential(f"CORP\\{samba.RESETTER}", Secret(samba.LINKED_PASSWORD))
        place = directory(dc, controllers=controllers, trust=trust)
        return DirectoryConnector(place, Settings(domain="CORP", user_name=name), linked)

    return make


def test_a_password_is_set_at_the_pdc_that_another_controller_named(
    dc: DomainController, connected: Connected, beside: Forest, means: str
) -> None:
    two = beside.start(Controller("DC2", pdc="DC1"))
    name = old_enough(dc, dc.make(unit=UNIT))
    outcome = change(connected(name, "dc2.corp.test", "dc1.corp.test"))
    assert outcome.evidence is not None
    assert (outcome.answer, outcome.evidence.host) == (Answer.APPLIED, "dc1.corp.test")
    assert two.logins == [f"CORP\\{samba.RESETTER}"], "the account itself never logs on there"
    assert set(two.asked) <= {"searchRequest", "bindRequest", "unbindRequest"}
    assert dc.binds(name, SECOND)


def test_with_the_first_away_it_is_done_at_the_second(dc: DomainController, connected: Connected, means: str) -> None:
    name = old_enough(dc, dc.make(unit=UNIT))
    connector = connected(name, "dc3.corp.test", "dc1.corp.test")
    assert verify(connector).answer == Answer.APPLIED
    outcome = change(connector)
    assert outcome.evidence is not None
    assert (outcome.answer, outcome.evidence.host) == (Answer.APPLIED, "dc1.corp.test")
    assert dc.wrong_logons(name) == 0


def test_where_the_role_went_to_one_that_nobody_named_nothing_is_written(
    dc: DomainController, connected: Connected, beside: Forest, means: str
) -> None:
    """The real one has it still; the one that is asked first says otherwise, and no login follows that."""
    beside.start(Controller("DC2", pdc="DC4"))
    name = dc.make(unit=UNIT)
    outcome = change(connected(name, "dc2.corp.test", "dc1.corp.test"))
    assert (outcome.answer, outcome.reason, outcome.wrote) == (Answer.BLOCKED, "pdc_not_listed", False)
    assert dc.binds(name, FIRST)
