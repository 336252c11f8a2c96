"""The one list of link kinds, and who connects to each of those that a Windows agent reaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pwserver.connectors import device, domain, domain_windows, local, remote, scheduled_task, windows_service
from pwserver.connectors.base import Connector, Kind

LINK_KINDS: Mapping[str, Kind] = {
    row.kind: row
    for row in (local.KIND, remote.KIND, domain.KIND, scheduled_task.KIND, windows_service.KIND, device.KIND)
}

CONNECTORS: Mapping[str, Callable[..., Connector]] = {
    local.KIND.kind: local.LocalConnector,
    remote.KIND.kind: remote.RemoteConnector,
    domain.KIND.kind: domain_windows.DomainConnector,
    scheduled_task.KIND.kind: scheduled_task.TaskConnector,
    windows_service.KIND.kind: windows_service.ServiceConnector,
}
"""Called with (session, settings, the agent's machine, linked credential or None). Devices need no agent."""
