"""One SSH login: pinned host key, one password, one try. The only import of asyncssh on the client's side.

Nothing of the machine this server runs on is used: no configuration file, no agent, no keys, no known hosts.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncssh

from pwserver.core.secrets import Secret

CONNECT_SECONDS = 10
"""Longest wait for the TCP connection; a machine that is off should not use up the whole call."""

KEY_FAMILIES = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
"""Host key algorithms, best first. A server shows one key per connection: the first of these that it has."""


class SshError(Exception):
    """A login that did not come about. ``sent``: the password had left us when it happened."""

    def __init__(self, text: str = "", *, sent: bool = False) -> None:
        super().__init__(text)
        self.text, self.sent = text, sent


class NoAddress(SshError):
    """The name has no address."""


class NoAnswer(SshError):
    """Nothing speaks SSH there."""


class WrongKey(SshError):
    """The host key is not the pinned one. No user name and no password was sent."""


class NoPassword(SshError):
    """The server offers no login by password here; none was sent."""


class MustChange(NoPassword):
    """The server took the password and wants another one before it lets this user in."""


class AsksMore(NoPassword):
    """After the password the server asks another question: a code, a second factor. Nothing was judged."""


class LoginRefused(SshError):
    """The server refused this user with this password."""


class LineBroken(SshError):
    """The connection ended where it should not."""


class Closed(LineBroken):
    """The server closed the connection in good order when the password came, and did not refuse it: so ends OpenSSH a
    login that PAM's account rules do not allow."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where to knock. ``pin``: fingerprint ``SHA256:…`` of the host key, or the public key itself."""

    host: str
    port: int
    pin: str


class _OneTry(asyncssh.SSHClient):
    """Hands the password out once, to whichever of the two password methods the server asks for first."""

    def __init__(self, pin: str, secret: Secret | None, *, questions: bool = True) -> None:
        self.pin, self.secret, self.questions = pin, secret, questions
        self.sent = False
        self.wrong_key = ""
        self.must_change = False
        self.asked_more = ""
        self._question = ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        if matches(key, self.pin):
            return True
        self.wrong_key = key.get_fingerprint()
        return False

    def _hand_out(self) -> str | None:
        if self.sent or self.secret is None:
            return None
        self.sent = True
        return self.secret.open()

    def password_auth_requested(self) -> str | None:
        return self._hand_out()

    def password_change_requested(self, prompt: str, lang: str) -> Any:
        self.must_change = True
        return NotImplemented

    def kbdint_auth_requested(self) -> str | None:
        return "" if self.questions and self.secret is not None and not self.sent else None

    def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> list[str] | None:
        if not prompts:
            self.must_change |= self.sent and _is_expiry(instructions)
            return []
        words = " ".join([instructions, *(prompt for prompt, _ in prompts)]).strip()
        if self.sent and words != self._question:  # the same question again is how a wrong password ends
            self.must_change |= _is_expiry(words)
            self.asked_more = words
        self._question = words
        # One hidden question is the password. Anything else (a second question, an echoed one) is not for us.
        value = self._hand_out() if len(prompts) == 1 and not prompts[0][1] else None
        return None if value is None else [value]


def _is_expiry(words: str) -> bool:
    """Whether a server that asks questions has taken the password and wants a new one (the words of Linux-PAM)."""
    words = words.casefold()
    return any(each in words for each in ("change your password", "new password", "current password", "has expired"))


def matches(key: asyncssh.SSHKey, pin: str) -> bool:
    """Whether ``pin`` (a fingerprint, or a public key line) names this key."""
    if not pin.startswith("SHA256:"):
        try:
            pin = asyncssh.import_public_key(pin).get_fingerprint()
        except asyncssh.KeyImportError:
            return False
    return hmac.compare_digest(key.get_fingerprint(), pin)


async def login(door: Door, user: str, secret: Secret, *, questions: bool = True) -> asyncssh.SSHClientConnection:
    """Connect as ``user`` with exactly one password try; :func:`close` it. Raise an :class:`SshError`.

    ``questions``: the server may ask for the password (keyboard-interactive) where it does not take it at once.
    """
    client = _OneTry(door.pin, secret, questions=questions)
    connection = await _connect(door, user, client)
    if not client.sent:
        await close(connection)
        raise NoPassword("the device lets this user in without a password")
    return connection


async def close(connection: asyncssh.SSHClientConnection) -> None:
    """Ends a connection at once."""
    connection.abort()
    with suppress(TimeoutError):
        await asyncio.wait_for(connection.wait_closed(), 2)


async def _connect(door: Door, user: str, client: _OneTry) -> asyncssh.SSHClientConnection:
    """Tries one family of host keys after the other only while the shown key is not the pinned one: a server has
    several keys, and the pin may be of any of them. No login is sent before the key is right."""
    families: list[tuple[str, ...]] = [tuple(name for family in KEY_FAMILIES for name in family), *KEY_FAMILIES]
    shown = ""
    for algorithms in families:
        try:
            return await _handshake(door, user, client, algorithms)
        except WrongKey as error:
            shown = shown or error.text
            client.wrong_key = ""
        except NoAnswer:
            if not shown:
                raise
    raise WrongKey(shown)


async def _handshake(
    door: Door, user: str, client: _OneTry, algorithms: tuple[str, ...]
) -> asyncssh.SSHClientConnection:
    sock = await _open(door.host, door.port)
    try:
        connection, _ = await asyncssh.create_connection(
            lambda: client,
            door.host,
            door.port,
            sock=sock,
            username=user,
            known_hosts=([], [], []),
            server_host_key_algs=list(algorithms),
            config=None,
            client_keys=None,
            agent_path=None,
            gss_host=None,
            preferred_auth="password,keyboard-interactive",
            compression_algs=None,
            login_timeout=0,
        )
    except BaseException as error:
        sock.close()
        raise _meaning(error, client) from None
    return connection


def _meaning(error: BaseException, client: _OneTry) -> BaseException:
    """What went wrong before the login stood, as one of ours."""
    if client.wrong_key:
        return WrongKey(client.wrong_key)
    if isinstance(error, asyncssh.PermissionDenied) or "Too many authentication failures" in str(error):
        if client.must_change:
            return MustChange("the device asks for another password before it lets this user in", sent=True)
        if client.asked_more:
            return AsksMore(f"after the password it asks: {client.asked_more}", sent=True)
        return LoginRefused(sent=True) if client.sent else NoPassword("the device takes no passwords from this user")
    if client.sent and isinstance(error, asyncssh.ConnectionLost):
        return Closed("it closed the connection when the password came", sent=True)
    if isinstance(error, (asyncssh.Error, OSError)):
        text = getattr(error, "reason", "") or str(error)
        return LineBroken(text, sent=True) if client.sent else NoAnswer(text)
    return error


async def _open(host: str, port: int) -> socket.socket:
    """A connected socket that gives up on unacknowledged data, so that nothing of ours arrives long after we left."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        raise NoAddress(host) from None
    last: Exception = NoAnswer(host)
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        if sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, CONNECT_SECONDS * 1000)
        try:
            await asyncio.wait_for(loop.sock_connect(sock, address), CONNECT_SECONDS)
        except (OSError, TimeoutError) as error:
            sock.close()
            last = NoAnswer(str(error) or "no answer")
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last


def fetch_host_key(host: str, port: int = 22) -> str:
    """The fingerprint ``SHA256:…`` of the key this host shows, for a person to compare. Sends no login.

    Raises :class:`NoAddress` or :class:`NoAnswer`.
    """

    async def fetch() -> str:
        client = _OneTry("", None)
        with suppress(WrongKey):
            async with asyncio.timeout(2 * CONNECT_SECONDS):
                await _handshake(Door(host, port, ""), "nobody", client, tuple(n for f in KEY_FAMILIES for n in f))
        return client.wrong_key

    try:
        key = asyncio.run(fetch())
    except TimeoutError:
        raise NoAnswer("no answer in time") from None
    if not key:
        raise NoAnswer("it shows no host key")
    return key
