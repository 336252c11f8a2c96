"""Standalone (Local) Windows Password: a local account of the agent's own machine."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from pwserver.connectors import windows
from pwserver.connectors.base import Call, Credential, Evidence, Kind
from pwserver.core.secrets import Secret


class Settings(windows.WindowsSettings):
    user_name: Annotated[str, AfterValidator(windows.user_name)] = Field(
        title="User name",
        description="The local account on the agent's machine. #500 is the built-in Administrator, whatever its name.",
        json_schema_extra={"placeholder": "Administrator", "mono": True},
    )


class AccountConnector:
    """A local account of a Windows machine (``base.Connector``)."""

    def __init__(self, way: windows.Way, user_name: str) -> None:
        self.way, self.user_name = way, user_name

    def read(self, call: Call) -> Evidence:
        return self.way.run("read_account", call, self._named(call))

    def verify(self, call: Call, value: Secret) -> Evidence:
        return self.way.run("verify", call, self._account(call), value=value)

    def change(self, call: Call, old: Secret, new: Secret) -> Evidence:
        params = self._account(call) | {"reset_allowed": call.reset_allowed}
        return self.way.run("change", call, params, old=old, new=new)

    def reset(self, call: Call, new: Secret) -> Evidence:
        return self.way.run("reset", call, self._account(call) | {"unlock": call.unlock}, new=new)

    def write(self, call: Call, value: Secret) -> Evidence:
        raise windows.not_here("an account is changed, never written")

    def restart(self, call: Call) -> Evidence:
        raise windows.not_here("an account is not restarted")

    def _named(self, call: Call) -> dict[str, object]:
        return {"user": self.user_name, "account_sid": call.account_sid}

    def _account(self, call: Call) -> dict[str, object]:
        return self._named(call) | {"min_left": call.min_left}


class LocalConnector(AccountConnector):
    """A local account of the agent's own machine: no second hop, no linked credential."""

    def __init__(
        self, session: windows.Session, settings: Settings, agent_machine: str, linked: Credential | None = None
    ) -> None:
        super().__init__(windows.Way(session, agent_machine, agent_machine, None), settings.user_name)


KIND = Kind(
    kind="standalone_windows",
    label="Standalone (Local) Windows Password",
    icon="pc-display",
    settings=Settings,
    is_account=True,
    transports=("winrm",),
    needs_linked=False,
    help="A local account of the machine on which the sync agent runs. The agent's own login sets and tests it.",
    machine_of=lambda settings, agent: agent,
    account_of=lambda settings, agent: f"{agent}\\{settings.user_name}",
)
