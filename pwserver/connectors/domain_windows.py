"""A Domain Password through a Windows machine of the domain: for domains to which no directory agent leads.

The machine asks the domain's PDC emulator with the linked credential, by Kerberos; the account's own logon is a network
logon from that machine. Such a logon takes the password before, too, for an hour after a change, so it proves a value
only together with the last-set stamp (rule 38).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pwserver.connectors import domain_codes, windows
from pwserver.connectors.base import Blocked, Call, Credential, Evidence
from pwserver.connectors.domain import Settings
from pwserver.core.secrets import Secret


class DomainConnector:
    """An account of the domain in which the agent's machine stands (``base.Connector``)."""

    def __init__(
        self, session: windows.Session, settings: Settings, agent_machine: str, linked: Credential | None = None
    ) -> None:
        self.session, self.settings, self.agent_machine, self.linked = session, settings, agent_machine, linked

    def read(self, call: Call) -> Evidence:
        return self._run("read_domain", call, {})

    def verify(self, call: Call, value: Secret) -> Evidence:
        return self._run("verify_domain", call, {"min_left": call.min_left}, value=value)

    def change(self, call: Call, old: Secret, new: Secret) -> Evidence:
        params = {"min_left": call.min_left, "own_stamp": _as_told(call.stamp)}
        return self._run("change_domain", call, params, old=old, new=new)

    def reset(self, call: Call, new: Secret) -> Evidence:
        return self._run("reset_domain", call, {"min_left": call.min_left, "unlock": call.unlock}, new=new)

    def write(self, call: Call, value: Secret) -> Evidence:
        raise windows.not_here("an account is changed, never written")

    def restart(self, call: Call) -> Evidence:
        raise windows.not_here("an account is not restarted")

    def _run(self, op: str, call: Call, params: Mapping[str, Any], **secrets: Secret) -> Evidence:
        """One operation at the agent's own machine. It is known by its pin and its name; the SID of last time is the
        domain's, and is compared with the one that the controller tells."""
        if self.linked is None:
            raise Blocked("no_linked_credential")
        login = self.linked.user_name
        if "\\" not in login and "@" not in login:
            login = f"{self.settings.domain}\\{login}"
        known = {
            "domain": self.settings.domain, "domain_sid": call.machine_sid or "",
            "user": self.settings.user_name, "account_sid": call.account_sid, "login": login,
        }  # fmt: skip
        answer = self.session.run(
            op,
            call=replace(call, machine_sid=None),
            computer_name=self.agent_machine,
            params={**known, **params},
            secrets=secrets | {"login_password": self.linked.secret},
            hop=None,
        )
        return domain_codes.meaning(answer, own_stamp=call.stamp)


def _as_told(stamp: str | None) -> str:
    """A stamp as the script writes one, to be compared with it there; "" for none."""
    return datetime.fromisoformat(stamp).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if stamp else ""
