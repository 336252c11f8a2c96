"""Service Password: a Windows service that logs on with a stored password."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pwserver.connectors import windows
from pwserver.connectors.base import Call, Credential, Evidence, Kind
from pwserver.connectors.scheduled_task import PlaceConnector


def service_name(value: str) -> str:
    """A service's name, or the words for the field."""
    if not value:
        raise ValueError("Type the service's name, not its display name.")
    if "/" in value or "\\" in value or any(ord(character) < 32 for character in value):
        raise ValueError("A service's name has no slashes.")
    if len(value) > 256:
        raise ValueError(f"A service's name has at most 256 characters; this has {len(value)}.")
    return value


class Settings(windows.WindowsSettings):
    machine: Annotated[str, AfterValidator(lambda value: windows.machine_name(value, blank=True))] = Field(
        "",
        title="Machine",
        description="Blank: the agent's own machine.",
        json_schema_extra={"placeholder": "the agent's machine", "mono": True},
    )
    name: Annotated[str, AfterValidator(service_name)] = Field(
        title="Service name",
        description="The name, not the display name: in the service's properties it stands at the top.",
        json_schema_extra={"placeholder": "backupd", "mono": True},
    )
    restart: Literal["never", "service", "dependents"] = Field(
        "never",
        title="Restart",
        description="A running service goes on with the old password until it is restarted. A stopped one is never "
        "started, and a cluster's is never restarted.",
        json_schema_extra={
            "choices": [
                ["never", "Never: say that a restart is pending"],
                ["service", "Restart it, unless others depend on it and run"],
                ["dependents", "Restart it and the running services that depend on it"],
            ]
        },
    )


class ServiceConnector(PlaceConnector):
    """A service, through the agent; on another machine with the linked credential."""

    reads, writes = "read_service", "set_service"

    def __init__(
        self, session: windows.Session, settings: Settings, agent_machine: str, linked: Credential | None = None
    ) -> None:
        way = windows.Way(session, settings.machine or agent_machine, agent_machine, linked)
        super().__init__(way, settings.name)
        self.dependents = settings.restart == "dependents"

    def restart(self, call: Call) -> Evidence:
        limits = {"stop_s": int(call.stop_s), "answer_s": int(call.answer_s)}
        return self.way.run("restart_service", call, self._place(call) | {"dependents": self.dependents} | limits)


KIND = Kind(
    kind="windows_service",
    label="Service Password",
    icon="gear-wide-connected",
    settings=Settings,
    is_account=False,
    transports=("winrm",),
    needs_linked=True,
    help="A Windows service that logs on as the account. Its identity stays; it is restarted only by its policy.",
    machine_of=lambda settings, agent: settings.machine or agent,
    account_of=lambda settings, agent: f"{settings.machine or agent}\\{settings.name}",
)
