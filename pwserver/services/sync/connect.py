"""From a link to a connector: sessions are opened late, kept per agent for one run, and closed with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pwserver.connectors import domain
from pwserver.connectors.base import Connector, Credential
from pwserver.connectors.device import DeviceConnector
from pwserver.connectors.kinds import CONNECTORS, LINK_KINDS
from pwserver.connectors.session import AgentAddress, AgentSession
from pwserver.services.sync.reach import Place


class Connections:
    """The real :class:`~pwserver.services.sync.reach.Connect`: one WinRM session per agent and login."""

    def __init__(self, open_session: Callable[[AgentAddress, Credential], AgentSession] = AgentSession) -> None:
        self._open = open_session
        self._sessions: dict[str, tuple[Credential, Any]] = {}

    def __call__(self, place: Place, login: Credential | None, linked: Credential | None) -> Connector:
        settings = LINK_KINDS[place.kind].settings.model_validate(place.settings)
        if place.transport == "ssh":
            return DeviceConnector(settings, linked)
        if place.directory is not None:
            from pwserver.connectors.directory import DirectoryConnector  # imported late: few need what it stands on

            assert isinstance(settings, domain.Settings)
            return DirectoryConnector(place.directory, settings, linked)
        assert login is not None
        kind = place.kind
        if place.forced and kind == "standalone_windows":
            # One-time credentials work on the agent's own machine as on any other: through a session of their own.
            kind = "remote_windows"
            settings = LINK_KINDS[kind].settings.model_validate(
                {"machine": place.agent_machine, "user_name": place.settings["user_name"]}
            )
        session = self._session(place, login)
        connector: Connector = CONNECTORS[kind](session, settings, place.agent_machine, linked)
        return connector

    def _session(self, place: Place, login: Credential) -> Any:
        kept = self._sessions.get(place.agent_id)
        if kept is not None and kept[0] == login:
            return kept[1]
        if kept is not None:  # its own chain changed the login: proved by a new session, the old one would send the old
            kept[1].close()
        address = AgentAddress(place.agent_host, place.agent_port, place.agent_pin, place.agent_machine)
        session = self._open(address, login)
        self._sessions[place.agent_id] = (login, session)
        return session

    def close(self) -> None:
        for _, session in self._sessions.values():
            session.close()
        self._sessions.clear()
