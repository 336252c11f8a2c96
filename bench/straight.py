"""The agent's session without the wire: the same requests and answers, straight to the lab's model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pwserver.connectors import contract
from pwserver.connectors.base import Blocked, Call, Credential, Key
from pwserver.connectors.session import AgentAddress
from pwserver.core.secrets import Secret
from pwserver.lab import python_mind
from pwserver.lab.model.network import Network
from pwserver.lab.model.sessions import WireLogon


class CountingNetwork(Network):
    """Counts what the product may not do for nothing: logons with an account's password, by ``MACHINE\\user``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logons: Counter[str] = Counter()

    def call(self, machine: str, as_user: str, name: str, args: dict[str, Any]) -> dict[str, Any]:
        if name == "LogonUserW":
            self.logons[f"{machine}\\{args['user']}"] += 1
        return super().call(machine, as_user, name, args)


class StraightSession:
    """Stands where an :class:`~pwserver.connectors.session.AgentSession` stands: the contract is kept on both ends, the
    login and every second hop are logons that the lab counts; TLS, NTLM's messages and WS-Management are left out."""

    def __init__(self, network: Network, address: AgentAddress, login: Credential) -> None:
        self._network, self._machine, self._login = network, address.machine, login
        self._as_user = ""

    def run(
        self,
        op: str,
        *,
        call: Call,
        computer_name: str,
        params: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        hop: contract.Hop | None = None,
    ) -> contract.Answer:
        as_user = self._as_user or self._log_in()
        request = contract.request(
            op, attempt=call.attempt, ttl_s=call.ttl_s, computer_name=computer_name, machine_sid=call.machine_sid,
            params=params, secrets=secrets, hop=hop,
        )  # fmt: skip
        answer = python_mind.run(self._network, self._machine, as_user, op, json.loads(request))
        return contract.read_answer(json.dumps(answer).encode(), attempt=call.attempt, op=op)

    def close(self) -> None:
        self._as_user = ""

    def _log_in(self) -> str:
        user, value = self._login.user_name, self._login.secret.open()
        accepted = self._network.ntlm_passwords(self._machine, user, self._machine)
        logon: WireLogon = self._network.wire_logon(self._machine, user, self._machine, value in accepted)
        if logon.code:
            raise Blocked("login_refused", code=str(logon.code), spent={Key.LOGIN})
        self._as_user = logon.as_user
        return logon.as_user
