"""One domain controller for a run of the tests, accounts for one test each, and the connector with and without krb5."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from pwserver.connectors import kerberos
from pwserver.connectors.base import Call, Credential
from pwserver.connectors.directory import DirectoryConnector
from pwserver.connectors.domain import Directory, Settings, Trust
from pwserver.core.secrets import Secret
from tests.directory import samba
from tests.directory.samba import DomainController

MEANS = ["kerberos", "bind"]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them in one worker: there is one domain controller on a machine."""
    for item in items:
        if item.path.parent.name == "directory":
            item.add_marker(pytest.mark.xdist_group("directory"))
            item.add_marker(pytest.mark.directory)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def dc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DomainController]:
    samba.needed()
    folder = tmp_path_factory.mktemp("samba")
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == 0 and parent.name.startswith("pytest-"):
            parent.chmod(0o755)
    made = samba.start(folder)
    yield made
    made.stop()


@pytest.fixture(params=MEANS)
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the account's own logon is made: by Kerberos, and with the package taken away."""
    if request.param == "kerberos":
        needs_kerberos()
    else:
        monkeypatch.setattr(kerberos, "is_installed", lambda: False)
    return str(request.param)


def needs_kerberos() -> None:
    if kerberos.is_installed():
        return
    why = "the krb5 package is not installed: make develop builds it where gcc and libkrb5-dev are there"
    if os.environ.get("CI") == "true" and not samba.missing():
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture
def by_bind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kerberos, "is_installed", lambda: False)


def call(**more: object) -> Call:
    return Call(**({"attempt": "a", "ttl_s": 20, "deadline_s": 25} | more))  # type: ignore[arg-type]


def directory(dc: DomainController, *allowed: str, **more: object) -> Directory:
    facts = {
        "controllers": ("127.0.0.1",), "port": 636, "trust": Trust(dc.fingerprint), "domain": samba.DNS,
        "short_name": samba.DOMAIN, "allowed": allowed or (f"OU=Service,{samba.BASE}", f"CN=Users,{samba.BASE}"),
    }  # fmt: skip
    return Directory(**(facts | more))  # type: ignore[arg-type]


Connect = Callable[..., DirectoryConnector]


@pytest.fixture
def connect(dc: DomainController) -> Connect:
    """The connector of an account, with the linked credential that may reset unless another is named."""

    def make(
        user: str, *allowed: str, linked: str = samba.RESETTER, password: str = "", **more: object
    ) -> DirectoryConnector:
        credential = Credential(f"CORP\\{linked}", Secret(password or samba.LINKED_PASSWORD))
        return DirectoryConnector(
            directory(dc, *allowed, **more), Settings(domain="CORP", user_name=user), credential
        )

    return make
