"""Servers and accounts for one test each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ssh.sshd_lab import Lab, Proxy, Sshd, make_lab, needed, reachable, start_sshd


def _serve(folder: Path, *extra: str, private: bool = False) -> Iterator[Sshd]:
    needed()
    server = start_sshd(folder, *extra, private=private)
    yield server
    server.remove_accounts()
    server.process.terminate()
    server.process.wait(10)


@pytest.fixture(scope="session")
def _sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    needed()
    yield from _serve(reachable(tmp_path_factory.mktemp("sshd")))


@pytest.fixture
def sshd(_sshd: Sshd) -> Iterator[Sshd]:
    yield _sshd
    _sshd.remove_accounts()


@pytest.fixture
def sshd_asking(tmp_path: Path) -> Iterator[Sshd]:
    """A server that takes passwords by keyboard-interactive only."""
    yield from _serve(reachable(tmp_path), "PasswordAuthentication no", "KbdInteractiveAuthentication yes")


@pytest.fixture
def sshd_keys_only(tmp_path: Path) -> Iterator[Sshd]:
    """A server that takes passwords from a root account only."""
    yield from _serve(
        reachable(tmp_path),
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "Match User pwr*",
        "  PasswordAuthentication yes",
    )


@pytest.fixture
def sshd_private(tmp_path: Path) -> Iterator[Sshd]:
    """A server over its own copy of /etc, with PAM as Debian has it."""
    yield from _serve(reachable(tmp_path), private=True)


@pytest.fixture
def lab(sshd: Sshd) -> Lab:
    return make_lab(sshd)


@pytest.fixture
def relay(lab: Lab) -> Iterator[Callable[..., Proxy]]:
    made: list[Proxy] = []

    def make(**options: int) -> Proxy:
        made.append(Proxy(lab.server.port, **options))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()
