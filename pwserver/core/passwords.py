"""The types of passwords: what General Settings asks for, and which link kind is the Default Sync of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EntryType:
    """``link_kind``: the kind of its Default Sync link, or None: nothing can change this type.

    ``machine``: the label of ``Entry.machine``, "" where the type has none. ``needs``: fields of General Settings that
    may not be empty.
    """

    key: str
    label: str
    short: str
    link_kind: str | None
    machine: str
    needs: tuple[str, ...]
    note: str = ""


TYPES: dict[str, EntryType] = {
    row.key: row
    for row in (
        EntryType(
            "standalone_windows",
            "Standalone (Local) Windows Password",
            "Local",
            "standalone_windows",
            "Machine name",
            ("machine", "user_name"),
            "A local account of one Windows machine. It can be changed there, and kept the same on others.",
        ),
        EntryType(
            "domain",
            "Domain Password",
            "Domain",
            "domain",
            "Domain",
            ("machine", "user_name"),
            "An account of an Active Directory domain. It can be changed there, and kept the same where it is used.",
        ),
        EntryType(
            "device",
            "Device Password",
            "Device",
            "device_ssh",
            "Device name",
            ("machine", "user_name"),
            "An account of a Linux machine, or of a device with a Linux shell, that is reached over SSH.",
        ),
        EntryType(
            "generic",
            "Web / other",
            "Other",
            None,
            "Address",
            (),
            "Kept here, not changed anywhere: there is nothing that could test or change it.",
        ),
    )
}
DEFAULT_TYPE = "standalone_windows"


def type_of(key: str) -> EntryType:
    """The row of a type; one that is no longer known counts as the type that nothing can change."""
    return TYPES.get(key, TYPES["generic"])
