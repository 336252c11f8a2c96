"""SPNEGO around NTLM's messages, as a client may send it: RFC 4178, and [MS-SPNG] for the check of the list.

A client says by its first token whether it wraps. Windows takes both, and answers in the same form.
"""

from __future__ import annotations

from spnego._spnego import NegState, NegTokenInit, NegTokenResp, pack_mech_type_list, unpack_token

from pwserver.lab.wire_ntlm import SIGNATURE, Acceptor, BadToken

NTLM_OID = "1.3.6.1.4.1.311.2.2.10"


class Envelope:
    """One connection's tokens, wrapped or not."""

    def __init__(self) -> None:
        self._offered: bytes | None = None
        """The list of mechanisms that the client offered, encoded; None: it does not wrap."""
        self._check = b""

    def open(self, token: bytes) -> bytes:
        """The NTLM message in a token. Raise BadToken for another mechanism, and for what is no token."""
        message = token if token.startswith(SIGNATURE) else self._unwrap(token)
        if not message.startswith(SIGNATURE):
            raise BadToken
        return message

    def challenge(self, message: bytes) -> bytes:
        """NTLM's second message as the client wants it."""
        if self._offered is None:
            return message
        reply = NegTokenResp(NegState.accept_incomplete, supported_mech=NTLM_OID, response_token=message)
        return bytes(reply.pack())

    def end(self, acceptor: Acceptor) -> bytes:
        """The last token, after a proof that was right; empty when the client does not wrap. Raise BadToken when the
        list of mechanisms is not the one that the client has signed."""
        if self._offered is None:
            return b""
        if self._check and not acceptor.is_signed(self._offered, self._check):
            raise BadToken
        check = acceptor.sign(self._offered) if self._check else None
        return bytes(NegTokenResp(NegState.accept_complete, mech_list_mic=check).pack())

    def _unwrap(self, token: bytes) -> bytes:
        try:
            asked = unpack_token(token)
        except Exception as error:  # spnego raises whatever a broken structure leads to
            raise BadToken from error
        if isinstance(asked, NegTokenInit):
            if not asked.mech_types or asked.mech_types[0] != NTLM_OID:
                raise BadToken  # Kerberos is not spoken here
            self._offered = pack_mech_type_list(asked.mech_types)
            return bytes(asked.mech_token or b"")
        if isinstance(asked, NegTokenResp):
            self._check = asked.mech_list_mic or b""
            return bytes(asked.response_token or b"")
        raise BadToken
