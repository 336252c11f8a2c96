"""Servers that ask more than one question: what comes after the password is not for us, and judges no password."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import asyncssh
import pytest

from pwserver.connectors.base import NOT_JUDGED, Answer, Blocked, Credential, Key, Outcome, Refused
from pwserver.connectors.device import DeviceConnector, Settings
from pwserver.core.secrets import Secret
from tests.ssh.sshd_lab import call

pytestmark = pytest.mark.enable_socket

RIGHT = "the right one"


class Asking(asyncssh.SSHServer):
    """The password, and after the right one another question. ``again``: after a wrong one the same question."""

    then = "Verification code: "

    def begin_auth(self, username: str) -> bool:
        return True

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> Any:
        words = self.then if responses == [RIGHT] else "Password: "
        return "", "", "", [(words, False)]


@pytest.fixture
def door(request: pytest.FixtureRequest) -> Iterator[Settings]:
    key, loop, ready = asyncssh.generate_private_key("ssh-ed25519"), asyncio.new_event_loop(), threading.Event()
    found: list[Any] = []

    class Server(Asking):
        then = request.param

    async def serve() -> None:
        found.append(await asyncssh.create_server(Server, "127.0.0.1", 0, server_host_keys=[key]))
        ready.set()

    thread = threading.Thread(target=lambda: (loop.create_task(serve()), loop.run_forever()), daemon=True)
    thread.start()
    assert ready.wait(10)
    port = found[0].sockets[0].getsockname()[1]
    yield Settings(device="SW-9", address="127.0.0.1", user_name="bob", port=port, host_key=key.get_fingerprint())
    asyncio.run_coroutine_threadsafe(close(found[0]), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


async def close(server: asyncssh.SSHAcceptor) -> None:
    server.close()
    await server.wait_closed()


CODE = "Verification code: "


@pytest.mark.parametrize("door", [CODE], indirect=True)
def test_a_second_factor_is_no_refused_password(door: Settings) -> None:
    """It was remembered as a refusal of this very value."""
    with pytest.raises(Refused) as refused:
        DeviceConnector(door, None).verify(call(), Secret(RIGHT))
    assert (refused.value.reason, refused.value.spent) == ("asks_more", {Key.TARGET})
    assert "Verification code" in refused.value.text
    assert RIGHT not in refused.value.text
    assert "asks_more" in NOT_JUDGED
    assert not Outcome(Answer.REFUSED, "asks_more", spent=refused.value.spent).refuses_value


@pytest.mark.parametrize("door", [CODE], indirect=True)
def test_the_same_question_again_is_a_refused_password(door: Settings) -> None:
    with pytest.raises(Refused) as refused:
        DeviceConnector(door, None).verify(call(), Secret("a wrong one"))
    assert refused.value.reason == "value_refused"
    assert Outcome(Answer.REFUSED, "value_refused", spent=refused.value.spent).refuses_value


@pytest.mark.parametrize("door", ["New password: "], indirect=True)
def test_a_question_for_a_new_password_is_an_expired_one(door: Settings) -> None:
    with pytest.raises(Refused, match="password_expired") as refused:
        DeviceConnector(door, None).verify(call(), Secret(RIGHT))
    assert refused.value.spent == frozenset(), "the server took it"
    with pytest.raises(Blocked, match="linked_expired"):
        DeviceConnector(door, Credential("root", Secret(RIGHT))).reset(call(), Secret("new"))
