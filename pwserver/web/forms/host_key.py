"""The button that asks a device for its host key, for a person to compare."""

from __future__ import annotations

from flask import request

from pwserver.core.errors import Invalid
from pwserver.services import devices
from pwserver.web.forms import Form


def wants_host_key() -> bool:
    return "fetch_host_key" in request.form


def fetch_host_key(form: Form) -> None:
    """Puts the fingerprint that the device shows into the form, or the reason beside its field."""
    try:
        form.values["host_key"] = devices.fetch_host_key(form["machine"], form["port"] or "22")
        form.values["host_key_fetched"] = True
    except Invalid as error:
        form.add(error)
