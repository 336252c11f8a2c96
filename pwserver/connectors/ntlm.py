"""Our side of an NTLM login, over one :class:`pwserver.connectors.pinning.Line`.

The very first request carries NTLM's first message and no body, as curl and Windows' own clients send it. Windows
answers a request without a login with ``401`` and closes the connection, so a body sent ahead of the login would have
gone out for nothing. The request itself follows with NTLM's third message, on the connection that gave the challenge.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import requests
import spnego
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from requests.auth import AuthBase
from spnego.channel_bindings import GssChannelBindings

from pwserver.connectors import pinning

SCHEME = "Negotiate"
"""Windows takes NTLM's messages under it as they are, without SPNEGO around them."""


class Login(AuthBase):
    """Authentication of requests for the first request of a line. It holds the password: drop it once logged in."""

    def __init__(self, line: pinning.Line, user: str, password: str) -> None:
        self._line, self._user, self._password = line, user, password
        self._client: spnego.ContextProxy | None = None
        self._body: Any = None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Hold the body back and send the first message instead."""
        self._client = spnego.client(
            self._user,
            self._password,
            hostname=self._line.host,
            service="http",
            protocol="ntlm",
            options=spnego.NegotiateOptions.use_ntlm,
        )
        self._body = request.body
        request.headers["Connection"] = "Keep-Alive"
        _set(request, self._client.step() or b"", None)
        request.register_hook("response", self._answer)
        return request

    def _answer(self, response: requests.Response, **options: Any) -> requests.Response:
        """Prove the password to the challenge. A 401 without one is given back as it is.

        Raise Dropped when the machine closed the connection without a challenge and may be asked once more.
        """
        if response.status_code != 401 or self._client is None:
            return response
        offers = response.raw.headers.getlist("WWW-Authenticate")
        challenge = _challenge(offers)
        response.content  # noqa: B018  # read to its end: the connection is free for the next request
        response.raw.release_conn()
        if challenge is None:
            self._line.offers = tuple(offer.split(" ")[0] for offer in offers)
            if response.headers.get("Connection", "").lower() == "close" and self._line.may_start_over:
                raise pinning.Dropped("closed before the login")
            return response
        client, self._client = self._client, None
        proof = client.step(challenge, channel_bindings=_bindings(self._line.certificate)) or b""
        request = response.request.copy()
        _set(request, proof, self._body)
        answer: requests.Response = response.connection.send(request, **options)
        answer.history.append(response)
        return answer


def _set(request: requests.PreparedRequest, message: bytes, body: Any) -> None:
    request.body = body
    request.headers["Content-Length"] = str(len(body or b""))
    request.headers["Authorization"] = f"{SCHEME} {base64.b64encode(message).decode()}"


def _challenge(offers: list[str]) -> bytes | None:
    """NTLM's second message, out of the WWW-Authenticate headers."""
    for offer in offers:
        scheme, _, text = offer.partition(" ")
        if scheme.lower() == SCHEME.lower() and text:
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error:
                return None
    return None


def _bindings(certificate: bytes) -> GssChannelBindings | None:
    """What binds a login to this TLS connection (RFC 5929, tls-server-end-point). None: not defined for it."""
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError):
        return None
    if algorithm is None:
        return None
    weak = isinstance(algorithm, hashes.MD5 | hashes.SHA1)
    digest = hashes.Hash(hashes.SHA256() if weak else algorithm)
    digest.update(certificate)
    return GssChannelBindings(application_data=b"tls-server-end-point:" + digest.finalize())
