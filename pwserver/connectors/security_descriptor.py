"""Who may do what with an object of a directory, read from its list of rights (MS-DTYP, self-relative form).

Enough of it to answer one question: does any of these SIDs have this extended right? Denials that come first win, as
Windows walks the list.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Set
from dataclasses import dataclass
from uuid import UUID

RESET_PASSWORD = UUID("00299570-246d-11d0-a768-00aa006e0529")
CHANGE_PASSWORD = UUID("ab721a53-1e2f-11d0-9819-00aa0040529b")
EVERYONE, SELF, AUTHENTICATED = "S-1-1-0", "S-1-5-10", "S-1-5-11"

_CONTROL_ACCESS = 0x100
_GENERIC_ALL = 0x10000000
_ALLOWED, _DENIED, _ALLOWED_OBJECT, _DENIED_OBJECT = 0, 1, 5, 6
_INHERIT_ONLY = 0x08
_DACL_PRESENT = 0x4
_HAS_TYPE, _HAS_INHERITED_TYPE = 1, 2


@dataclass(frozen=True, slots=True)
class Ace:
    """One line of the list. ``right`` None: all extended rights."""

    allows: bool
    sid: str
    right: UUID | None


def may(descriptor: bytes, right: UUID, sids: Set[str]) -> bool | None:
    """Whether one of ``sids`` has the extended right; None when the list cannot be read."""
    try:
        control, start = struct.unpack_from("<2xH12xI", descriptor)
        if start == 0 and control & _DACL_PRESENT:
            return True  # a null list grants everything; an empty one nothing
        for ace in _extended_rights(descriptor):
            if ace.sid in sids and ace.right in (None, right):
                return ace.allows
    except (struct.error, IndexError, ValueError):
        return None
    return False


def sid_text(raw: bytes) -> str:
    """``S-1-5-21-…`` of a binary SID; "" when it is none."""
    if len(raw) < 8 or len(raw) < 8 + 4 * raw[1]:
        return ""
    parts = struct.unpack_from(f"<{raw[1]}I", raw, 8)
    return "-".join(("S", str(raw[0]), str(int.from_bytes(raw[2:8], "big")), *map(str, parts)))


def _extended_rights(raw: bytes) -> Iterator[Ace]:
    """The lines of the list that allow or deny extended rights on the object itself."""
    start = struct.unpack_from("<I", raw, 16)[0]
    if start == 0:
        raise ValueError("no list of rights")
    count = struct.unpack_from("<H", raw, start + 4)[0]
    at = start + 8
    for _ in range(count):
        kind, flags, size, mask = struct.unpack_from("<BBHI", raw, at)
        if size < 8:
            raise ValueError("a line without a length")
        if kind in (_ALLOWED, _DENIED, _ALLOWED_OBJECT, _DENIED_OBJECT) and not flags & _INHERIT_ONLY:
            body, right = at + 8, None
            if kind in (_ALLOWED_OBJECT, _DENIED_OBJECT):
                present = struct.unpack_from("<I", raw, body)[0]
                body += 4
                if present & _HAS_TYPE:
                    right = UUID(bytes_le=raw[body : body + 16])
                    body += 16
                if present & _HAS_INHERITED_TYPE:
                    body += 16
            if mask & (_CONTROL_ACCESS | _GENERIC_ALL):
                yield Ace(kind in (_ALLOWED, _ALLOWED_OBJECT), sid_text(raw[body : at + size]), right)
        at += size
