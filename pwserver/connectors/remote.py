"""Remote Windows Password: a local account of another machine, reached from the agent with the linked credential."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from pwserver.connectors import windows
from pwserver.connectors.base import Credential, Kind
from pwserver.connectors.local import AccountConnector


class Settings(windows.WindowsSettings):
    machine: Annotated[str, AfterValidator(windows.machine_name)] = Field(
        title="Machine",
        description="Its name, as in LAB-05. It is asked who it is before anything is changed there.",
        json_schema_extra={"placeholder": "LAB-05", "mono": True},
    )
    user_name: Annotated[str, AfterValidator(windows.user_name)] = Field(
        title="User name",
        description="The local account on that machine. #500 means the built-in Administrator, whatever its name.",
        json_schema_extra={"placeholder": "Administrator", "mono": True},
    )


class RemoteConnector(AccountConnector):
    """A local account of another machine. The linked credential does it, on the agent's own machine too."""

    def __init__(
        self, session: windows.Session, settings: Settings, agent_machine: str, linked: Credential | None = None
    ) -> None:
        way = windows.Way(session, settings.machine, agent_machine, linked, always_hop=True)
        super().__init__(way, settings.user_name)


KIND = Kind(
    kind="remote_windows",
    label="Remote Windows Password",
    icon="pc-display-horizontal",
    settings=Settings,
    is_account=True,
    transports=("winrm",),
    needs_linked=True,
    help="A local account of another Windows machine on the agent's network. The linked credential is an administrator "
    "there.",
    machine_of=lambda settings, agent: str(settings.machine),
    account_of=lambda settings, agent: f"{settings.machine}\\{settings.user_name}",
)
