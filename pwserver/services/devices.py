"""Devices over SSH: what they show before anything is sent to them."""

from __future__ import annotations

from pwserver.connectors.ssh import NoAddress, SshError
from pwserver.connectors.ssh import fetch_host_key as fetch
from pwserver.core.errors import Invalid
from pwserver.services.transaction import end_read


def fetch_host_key(device: str, port: str) -> str:
    """The fingerprint that ``device`` shows on ``port``. Sends no login. Raises :class:`Invalid` beside the field."""
    device = device.strip()
    if not device or any(character in device for character in " /@"):
        raise Invalid("Type the device's name or address first.", field="machine")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Invalid("A port is a number from 1 to 65535; SSH is usually 22.", field="port")
    end_read()
    try:
        return fetch(device, int(port))
    except NoAddress:
        raise Invalid(f"{device} has no address in DNS. Nothing was sent.", field="machine") from None
    except SshError:
        raise Invalid(f"{device} does not answer on port {port}. Nothing was sent.", field="machine") from None
