"""The accepting side of NTLM (version 2 only), over spnego's messages and ciphers.

spnego's own acceptor reads its passwords from one file for the whole process; the lab has a truth per machine that
changes while it runs, and counts every wrong logon. So the proof is checked here, against the passwords that the model
says are good at this moment.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from spnego._ntlm_raw.crypto import hmac_md5, md5, ntowfv1, ntowfv2, rc4init, rc4k, sealkey, signkey
from spnego._ntlm_raw.messages import (
    Authenticate,
    AvFlags,
    AvId,
    Challenge,
    FileTime,
    Negotiate,
    NegotiateFlags,
    NTClientChallengeV2,
    TargetInfo,
)
from spnego._ntlm_raw.security import seal, sign
from spnego.channel_bindings import GssChannelBindings

SIGNATURE = b"NTLMSSP\0"
Passwords = Callable[[str, str], list[str]]
"""(user, domain) → every password that is good now."""


class BadToken(Exception):
    """Not an NTLM message, or not the one that is due."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who somebody says they are, and whether they proved it. ``bound``: over this very TLS connection; None: over a
    connection that they did not name."""

    user: str
    domain: str
    proved: bool
    bound: bool | None


class Acceptor:
    """One connection's NTLM: challenge, proof, then sealing of messages."""

    def __init__(self, machine: str, certificate_digest: bytes, passwords: Passwords) -> None:
        self._machine, self._passwords = machine, passwords
        binding = GssChannelBindings(application_data=b"tls-server-end-point:" + certificate_digest)
        self._bindings = md5(binding.pack())
        self._negotiate = b""
        self._challenge: Challenge | None = None
        self._sealing: _Sealing | None = None
        self.session_key = b""

    def challenge(self, token: bytes) -> bytes:
        """The second message, to the first."""
        try:
            asked = Negotiate.unpack(token)
        except Exception as error:  # spnego raises whatever a broken structure leads to
            raise BadToken from error
        flags = asked.flags | NegotiateFlags.request_target | NegotiateFlags.ntlm | NegotiateFlags.always_sign
        flags |= NegotiateFlags.target_info | NegotiateFlags.target_type_server | NegotiateFlags.unicode
        flags &= ~(NegotiateFlags.oem | NegotiateFlags.lm_key | NegotiateFlags.version)
        info = TargetInfo()
        info[AvId.nb_computer_name] = info[AvId.nb_domain_name] = self._machine
        info[AvId.dns_computer_name] = self._machine
        info[AvId.timestamp] = FileTime.now()
        self._negotiate = token
        self._challenge = Challenge(flags, os.urandom(8), target_name=self._machine, target_info=info)
        return self._challenge.pack()

    def authenticate(self, token: bytes) -> Claim:
        """Reads the third message. Afterwards messages can be sealed, if it proved something."""
        if self._challenge is None:
            raise BadToken
        sent, self._challenge = self._challenge, None
        try:
            proof = Authenticate.unpack(token)
            response = proof.nt_challenge_response or b""
            told = NTClientChallengeV2.unpack(response[16:]).av_pairs if len(response) > 24 else TargetInfo()
        except Exception as error:
            raise BadToken from error
        user, domain = proof.user_name or "", proof.domain_name or ""
        named = told.get(AvId.channel_bindings, b"").strip(b"\0")  # all zeros stand for: none [MS-NLMP 2.2.2.1]
        bound = hmac.compare_digest(told[AvId.channel_bindings], self._bindings) if named else None
        for password in self._passwords(user, domain) if len(response) > 24 else []:
            key = ntowfv2(user, ntowfv1(password), domain)
            proof_string = hmac_md5(key, (sent.server_challenge or b"") + response[16:])
            if hmac.compare_digest(proof_string, response[:16]):
                session_key = _session_key(proof, hmac_md5(key, proof_string))
                whole = not told.get(AvId.flags, 0) & AvFlags.mic or self._mic_fits(proof, sent, session_key)
                self.session_key = session_key
                self._sealing = _Sealing(proof.flags, session_key)
                return Claim(user, domain, proved=whole, bound=bound)
        return Claim(user, domain, proved=False, bound=bound)

    def sign(self, data: bytes) -> bytes:
        """A signature of ours over SPNEGO's list."""
        if self._sealing is None:
            raise BadToken
        return self._sealing.sign(data)

    def is_signed(self, data: bytes, signature: bytes) -> bool:
        """Whether the client has signed SPNEGO's list so."""
        return self._sealing is not None and self._sealing.is_signed(data, signature)

    def unseal(self, signature: bytes, data: bytes) -> bytes:
        """Raises :class:`BadToken` when the data was not sealed by the other side of this connection."""
        if self._sealing is None:
            raise BadToken
        return self._sealing.unseal(signature, data)

    def seal(self, data: bytes) -> tuple[bytes, bytes]:
        """The signature, and the sealed data."""
        if self._sealing is None:
            raise BadToken
        return self._sealing.seal(data)

    def _mic_fits(self, proof: Authenticate, sent: Challenge, session_key: bytes) -> bool:
        expected = proof.mic or b""
        proof.mic = b"\0" * 16
        return hmac.compare_digest(hmac_md5(session_key, self._negotiate + sent.pack() + proof.pack()), expected)


class _Sealing:
    """The keys and counters of both directions.

    SPNEGO's signatures count among those of messages, but leave the cipher where it was [MS-SPNG 3.3.5.1].
    """

    def __init__(self, flags: int, session_key: bytes) -> None:
        self._flags = flags
        self._sign_in, self._sign_out = (signkey(flags, session_key, side) for side in ("initiate", "accept"))
        self._seal_in, self._seal_out = (sealkey(flags, session_key, side) for side in ("initiate", "accept"))
        self._handle_in, self._handle_out = rc4init(self._seal_in), rc4init(self._seal_out)
        self._number_in = self._number_out = 0

    def unseal(self, signature: bytes, data: bytes) -> bytes:
        plain: bytes = self._handle_in.update(data)
        expected = sign(self._flags, self._handle_in, self._sign_in, self._number_in, plain)
        self._number_in += 1
        if not hmac.compare_digest(expected, signature):
            raise BadToken
        return plain

    def sign(self, data: bytes) -> bytes:
        signature: bytes = sign(self._flags, rc4init(self._seal_out), self._sign_out, self._number_out, data)
        self._number_out += 1
        return signature

    def is_signed(self, data: bytes, signature: bytes) -> bool:
        expected = sign(self._flags, rc4init(self._seal_in), self._sign_in, self._number_in, data)
        self._number_in += 1
        return hmac.compare_digest(expected, signature)

    def seal(self, data: bytes) -> tuple[bytes, bytes]:
        sealed, signature = seal(self._flags, self._handle_out, self._sign_out, self._number_out, data)
        self._number_out += 1
        return signature, sealed


def _session_key(proof: Authenticate, key_exchange_key: bytes) -> bytes:
    flags = proof.flags
    if flags & NegotiateFlags.key_exch and flags & (NegotiateFlags.sign | NegotiateFlags.seal):
        return rc4k(key_exchange_key, proof.encrypted_random_session_key or b"")
    return key_exchange_key


# the envelope in which WinRM carries sealed messages [MS-WSMV 2.2.9.1]

BOUNDARY = b"--Encrypted Boundary"
SEALED_TYPE = 'multipart/encrypted;protocol="application/HTTP-SPNEGO-session-encrypted";boundary="Encrypted Boundary"'
_OCTETS = b"\tContent-Type: application/octet-stream\r\n"


def read_sealed(acceptor: Acceptor, body: bytes) -> bytes:
    """The message in a sealed body. Raises :class:`BadToken`."""
    _, _, rest = body.partition(BOUNDARY + b"\r\n")
    head, _, rest = rest.partition(BOUNDARY + b"\r\n")
    data = rest.removeprefix(_OCTETS).removesuffix(BOUNDARY + b"--\r\n")
    if len(data) < 20:
        raise BadToken
    size = struct.unpack("<i", data[:4])[0]
    if size != 16:
        raise BadToken
    plain = acceptor.unseal(data[4:20], data[20:])
    if head.strip().rpartition(b"Length=")[2] != str(len(plain)).encode():
        raise BadToken
    return plain


def write_sealed(acceptor: Acceptor, plain: bytes) -> bytes:
    signature, sealed = acceptor.seal(plain)
    return b"".join(
        (
            BOUNDARY + b"\r\n\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n",
            b"\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=%d\r\n" % len(plain),
            BOUNDARY + b"\r\n" + _OCTETS,
            struct.pack("<i", len(signature)) + signature + sealed,
            BOUNDARY + b"--\r\n",
        )
    )
