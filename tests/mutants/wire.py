"""Faults of the line to an agent, and what goes over it."""

from __future__ import annotations

from tests.mutants import SourceMutant

LOGIN = "tests/connectors/test_login_line.py::"
ANSWERS = "tests/lab_wire/test_windows_answers.py::test_the_lab_answers_each_recorded_request_as_windows_did"

MUTANTS: tuple[SourceMutant, ...] = (
    SourceMutant(
        "wire-first-request-without-login",
        "pwserver/connectors/ntlm.py",
        '        _set(request, self._client.step() or b"", None)\n        request.register_hook',
        "        self._client.step()\n        request.register_hook",
        LOGIN + "test_an_agent_that_closes_after_a_request_without_login_is_reached",
    ),
    SourceMutant(
        "wire-body-sent-ahead-of-login",
        "pwserver/connectors/ntlm.py",
        '_set(request, self._client.step() or b"", None)',
        '_set(request, self._client.step() or b"", request.body)',
        LOGIN + "test_no_body_is_sent_before_the_machine_has_answered_the_login",
    ),
    SourceMutant(
        "wire-one-opening-only",
        "pwserver/connectors/pinning.py",
        "OPENINGS = 2",
        "OPENINGS = 1",
        LOGIN + "test_a_connection_closed_before_the_proof_is_made_once_more",
    ),
    SourceMutant(
        "wire-opens-again-after-the-proof",
        "pwserver/connectors/pinning.py",
        "return not self._proof_sent and self._openings < OPENINGS",
        "return self._openings < OPENINGS",
        LOGIN + "test_after_the_proof_no_other_connection_is_made",
    ),
    SourceMutant(
        "wire-opens-whenever-urllib3-asks",
        "pwserver/connectors/pinning.py",
        "        if not self._may_open:\n",
        "        if self._openings >= OPENINGS:\n",
        LOGIN + "test_a_connection_that_died_between_challenge_and_proof_is_made_once_more",
    ),
    SourceMutant(
        "wire-second-connection-without-pin",
        "pwserver/connectors/pinning.py",
        "        if self.pin is not None and not hmac",
        "        if self.pin is not None and self._openings == 1 and not hmac",
        LOGIN + "test_a_certificate_that_changed_between_two_connections_gets_no_login",
    ),
    SourceMutant(
        "wire-binding-always-sha256",
        "pwserver/connectors/ntlm.py",
        "hashes.Hash(hashes.SHA256() if weak else algorithm)",
        "hashes.Hash(hashes.SHA256())",
        LOGIN + "test_a_login_is_bound_by_the_hash_of_the_certificates_own_signature",
    ),
    SourceMutant(
        "wire-401-is-a-wrong-password",
        "pwserver/connectors/session.py",
        '"login_not_accepted" if line.login_refused',
        '"login_refused" if line.login_refused',
        LOGIN + "test_a_refused_login_is_not_sent_on_another_connection",
    ),
    SourceMutant(
        "wire-401-after-the-payload-changed-nothing",
        "pwserver/connectors/session.py",
        "            if line.handed_over:  # the script may have run",
        "            if False:  # the script may have run",
        "tests/connectors/test_session_strangers.py::test_a_401_in_the_middle_ends_the_session",
    ),
    SourceMutant(
        "wire-no-challenge-costs-a-try",
        "pwserver/connectors/session.py",
        "text=text, spent={Key.LOGIN} if line.login_refused else ())",
        "text=text, spent={Key.LOGIN})",
        LOGIN + "test_a_machine_without_ntlm_is_asked_twice_and_gets_no_login",
    ),
    SourceMutant(
        "lab-keeps-the-connection-after-a-401",
        "pwserver/lab/wire_http.py",
        "        self.close_connection = True\n        self._reply(what, 401, offers=OFFERS)",
        "        self._reply(what, 401, offers=OFFERS)",
        ANSWERS,
    ),
    SourceMutant(
        "lab-offers-negotiate-only",
        "pwserver/lab/wire_http.py",
        "self._reply(what, 401, offers=OFFERS)",
        "self._reply(what, 401, offers=OFFERS[:1])",
        ANSWERS,
    ),
    SourceMutant(
        "lab-waits-for-the-end-of-a-script",
        "pwserver/lab/wire_shells.py",
        "self._changed.wait_for(lambda: self._out or self.ended, seconds)",
        "self._changed.wait_for(lambda: self.ended, seconds)",
        "tests/lab_wire/test_receive.py::test_what_a_script_writes_is_received_while_it_runs",
    ),
    SourceMutant(
        "lab-runs-pieces-together",
        "pwserver/lab/wire_shells.py",
        '"".join(stream("stdout", command.id, piece) for piece in out if piece)',
        'stream("stdout", command.id, b"".join(out))',
        "tests/lab_wire/test_receive.py::test_pieces_keep_their_borders",
    ),
    SourceMutant(
        "lab-faults-without-detail",
        "pwserver/lab/wire_soap.py",
        '</w:FaultDetail>" if error.detail else ""',
        '</w:FaultDetail>" if False else ""',
        ANSWERS,
    ),
    SourceMutant(
        "lab-session-key-is-the-exchange-key",
        "pwserver/lab/wire_ntlm.py",
        '        return rc4k(key_exchange_key, proof.encrypted_random_session_key or b"")',
        "        return key_exchange_key",
        "tests/lab_wire/test_other_clients.py::test_samba_and_the_lab_agree_on_the_proof_and_the_session_key",
    ),
    SourceMutant(
        "lab-spnego-signature-is-not-counted",
        "pwserver/lab/wire_ntlm.py",
        "self._sign_in, self._number_in, data)\n        self._number_in += 1",
        "self._sign_in, self._number_in, data)",
        "tests/lab_wire/test_other_clients.py::test_pypsrp_runs_our_command_line_with_our_input",
    ),
    SourceMutant(
        "lab-reduced-token-comes-in",
        "pwserver/lab/model/network.py",
        "return sessions.by_whole_token(self, there, logon)",
        "return logon",
        "tests/connectors/test_session_failures.py::test_a_401_is_never_told_as_a_wrong_password",
    ),
)
