"""Task Password: a scheduled task that stores a copy of an account's password."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from pwserver.connectors import windows
from pwserver.connectors.base import Call, Credential, Evidence, Kind
from pwserver.core.secrets import Secret

_FORBIDDEN = '/:*?"<>|'


def task_path(value: str) -> str:
    """A task's full path, or the words for the field. A bare name is a task in the root folder."""
    if not value.strip("\\"):
        raise ValueError("Type the task's path and name, as in \\Lab\\Nightly.")
    if any(character in _FORBIDDEN or ord(character) < 32 for character in value):
        raise ValueError("A task's path may not contain any of / : * ? \" < > |. Folders are separated by \\.")
    if value.endswith("\\") or "\\\\" in value:
        raise ValueError("Folders are separated by one \\ each, and the task's name comes last, as in \\Lab\\Nightly.")
    if any(part != part.strip() for part in value.split("\\")):
        raise ValueError("A folder or task name does not begin or end with a blank.")
    path = value if value.startswith("\\") else f"\\{value}"
    if len(path) > 260:
        raise ValueError(f"A task's path has at most 260 characters; this has {len(path)}.")
    return path


class Settings(windows.WindowsSettings):
    machine: Annotated[str, AfterValidator(lambda value: windows.machine_name(value, blank=True))] = Field(
        "",
        title="Machine",
        description="Blank: the agent's own machine.",
        json_schema_extra={"placeholder": "the agent's machine", "mono": True},
    )
    path: Annotated[str, AfterValidator(task_path)] = Field(
        title="Task path and name",
        description="As the Task Scheduler shows it, folders first.",
        json_schema_extra={"placeholder": "\\Lab\\Nightly", "mono": True},
    )


class PlaceConnector:
    """A task or a service (``base.Connector``): it stores a copy, so it is read and written, never logged on to."""

    reads: str
    writes: str

    def __init__(self, way: windows.Way, name: str) -> None:
        self.way, self.name = way, name

    def read(self, call: Call) -> Evidence:
        return self.way.run(self.reads, call, self._place(call))

    def write(self, call: Call, value: Secret) -> Evidence:
        return self.way.run(self.writes, call, self._place(call), value=value)

    def verify(self, call: Call, value: Secret) -> Evidence:
        raise windows.not_here("a place is read, never logged on to")

    def change(self, call: Call, old: Secret, new: Secret) -> Evidence:
        raise windows.not_here("a place is written, never changed")

    def reset(self, call: Call, new: Secret) -> Evidence:
        raise windows.not_here("a place is written, never reset")

    def restart(self, call: Call) -> Evidence:
        raise windows.not_here("only a service is restarted")

    def _place(self, call: Call) -> dict[str, object]:
        return {"name": self.name, "account": call.account, "account_sid": call.account_sid}


def account_there(account: str, *, is_local: bool = False) -> str:
    """``authority\\user`` as Windows looks names up: a machine has a short name of its own, while the first label of a
    domain's full name may be no name of it at all (ad.contoso.com is CONTOSO)."""
    machine, _, user = account.rpartition("\\")
    return f"{windows.short(machine)}\\{user}" if is_local else account


class TaskConnector(PlaceConnector):
    """A scheduled task, through the agent; on another machine with the linked credential."""

    reads, writes = "read_task", "set_task"

    def __init__(
        self, session: windows.Session, settings: Settings, agent_machine: str, linked: Credential | None = None
    ) -> None:
        way = windows.Way(session, settings.machine or agent_machine, agent_machine, linked)
        super().__init__(way, settings.path)


KIND = Kind(
    kind="scheduled_task",
    label="Task Password",
    icon="calendar2-check",
    settings=Settings,
    is_account=False,
    transports=("winrm",),
    needs_linked=True,
    help="A scheduled task that runs with a stored password. Its identity, triggers and security stay as they are.",
    machine_of=lambda settings, agent: settings.machine or agent,
    account_of=lambda settings, agent: f"{settings.machine or agent}:{settings.path}",
)
