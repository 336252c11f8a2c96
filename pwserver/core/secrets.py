"""Secret values, how they are sealed at rest, and what makes a value legal.

A :class:`Secret` is plaintext that never prints itself. A :class:`Sealed` is ciphertext. A :class:`Keyring` turns one
into the other and is opened at three doors only: reveal, execute and re-seal (a test names the modules).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from pwserver.core.errors import Invalid, PwserverError

MAX_UTF16_UNITS = 127
"""Windows refuses longer passwords in tasks, services and the old change calls (PWLEN is 256 bytes with the end)."""

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_ID_BYTES = 4


class KeyringError(PwserverError):
    """A sealed value does not open: wrong master key, or the data was moved or damaged."""

    user_message = (
        "A stored secret does not open with this master key. Start the server with the key it was sealed with "
        "(PWSERVER_MASTER_KEY or the key file in the instance folder)."
    )


class Secret:
    """A plaintext value. It compares in constant time, prints as stars and refuses to be pickled or formatted."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def open(self) -> str:
        """The plaintext. Call it at the last moment and do not keep the result."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(********)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "********"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        ours, theirs = (each._text.encode("utf-8", "surrogatepass") for each in (self, other))
        return hmac.compare_digest(ours, theirs)

    __hash__ = None  # type: ignore[assignment]  # a set or dict of secrets would be a cache of secrets

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled")


def check_value(secret: Secret, *, field: str = "value") -> Secret:
    """Returns the value unchanged, or raises :class:`Invalid` with words for the field.

    Values are kept byte-exact: nothing is stripped or normalised. Refused are: empty, NUL, CR, LF, a blank at either
    end, more than 127 UTF-16 units, and text that is no valid Unicode.
    """
    text = secret.open()
    if not text:
        raise Invalid("Type a password.", field=field)
    if any(character in text for character in "\0\r\n"):
        raise Invalid("A password may not contain line breaks or NUL characters.", field=field)
    if text[0].isspace() or text[-1].isspace():
        raise Invalid("A password may not begin or end with a blank; it would be cut off somewhere.", field=field)
    try:
        units = len(text.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        raise Invalid("This password has half a character in it that no target can store.", field=field) from None
    if units > MAX_UTF16_UNITS:
        raise Invalid(f"At most {MAX_UTF16_UNITS} characters can be stored everywhere; this has {units}.", field=field)
    return secret


@dataclass(frozen=True, slots=True)
class Sealed:
    """Ciphertext as stored: key id (4 bytes) ‖ nonce (12) ‖ AES-256-GCM ciphertext with its tag."""

    data: bytes

    @property
    def key_id(self) -> str:
        return self.data[:KEY_ID_BYTES].hex()

    def __repr__(self) -> str:
        return f"Sealed(key {self.key_id}, {len(self.data)} bytes)"


def bound_to(table: str, row_id: str, column: str) -> bytes:
    """The associated data of a sealed value: a ciphertext copied to another row or column does not open."""
    return f"pwserver/{table}/{row_id}/{column}".encode()


class Keyring:
    """Master keys by id; the first seals, all open. Sub-keys for digests are derived, so one key is kept."""

    def __init__(self, *masters: bytes) -> None:
        if not masters or any(len(master) != KEY_BYTES for master in masters):
            raise KeyringError("The master key must be 32 bytes, written as base64.")
        self._masters = {key_id(master): master for master in masters}
        self.current = key_id(masters[0])

    def __repr__(self) -> str:
        return f"Keyring(current {self.current})"

    def seal(self, secret: Secret, aad: bytes) -> Sealed:
        nonce = os.urandom(NONCE_BYTES)
        box = AESGCM(self._derive(self.current, b"seal")).encrypt(nonce, secret.open().encode(), aad)
        return Sealed(bytes.fromhex(self.current) + nonce + box)

    def open(self, sealed: Sealed, aad: bytes) -> Secret:
        """Raises :class:`KeyringError` when the key is missing or the value is bound to another row."""
        if sealed.key_id not in self._masters:
            raise KeyringError()
        nonce = sealed.data[KEY_ID_BYTES : KEY_ID_BYTES + NONCE_BYTES]
        try:
            box = AESGCM(self._derive(sealed.key_id, b"seal"))
            plain = box.decrypt(nonce, sealed.data[KEY_ID_BYTES + NONCE_BYTES :], aad)
        except (InvalidTag, ValueError):  # moved or damaged; cut shorter than a nonce
            raise KeyringError() from None
        return Secret(plain.decode())

    def digest(self, name: str, secret: Secret) -> str:
        """HMAC-SHA256 over ``name ‖ value`` with a key of its own: tells equality without opening anything."""
        key = self._derive(self.current, b"digest")
        return hmac.new(key, name.encode() + b"\0" + secret.open().encode(), hashlib.sha256).hexdigest()

    def token(self, purpose: str) -> str:
        """A stable server secret for another purpose (signing sessions), derived from the master key."""
        return self._derive(self.current, purpose.encode()).hex()

    def _derive(self, which: str, purpose: bytes) -> bytes:
        return HKDFExpand(SHA256(), KEY_BYTES, b"pwserver " + purpose).derive(self._masters[which])


def key_id(master: bytes) -> str:
    """Names a master key without telling it."""
    return hashlib.sha256(b"pwserver key id" + master).digest()[:KEY_ID_BYTES].hex()


def read_master(text: str) -> bytes:
    """A master key as written in the environment or the key file: 32 bytes in base64 (plain or URL-safe)."""
    try:
        master = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        master = b""
    if len(master) != KEY_BYTES:
        raise KeyringError("The master key must be 32 bytes, written as base64.")
    return master


def read_key_file(path: Path) -> bytes:
    """The master key in ``path``. Raises :class:`KeyringError` when others than the owner may read it."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise KeyringError(f"{path} may be read by others (mode {mode:o}). Run: chmod 600 {path}")
    return read_master(path.read_text())


def make_key_file(path: Path) -> bytes:
    """Makes a new master key in ``path``, mode 0600. Raises FileExistsError rather than overwrite one.

    The file appears with its whole content or not at all, so that a process starting beside this one never reads half.
    """
    master = os.urandom(KEY_BYTES)
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(base64.b64encode(master).decode() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, path)
    finally:
        os.unlink(draft)
    return master
