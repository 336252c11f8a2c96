"""Security descriptors and SIDs in the bytes in which a directory tells them."""

from __future__ import annotations

import struct
import uuid

from pwserver.lab.model.accounts import Account
from pwserver.lab.model.machines import ADMINISTRATORS, EVERYONE, Machine

SELF = "S-1-5-10"
RESET_PASSWORD = uuid.UUID("00299570-246d-11d0-a768-00aa006e0529")
CHANGE_PASSWORD = uuid.UUID("ab721a53-1e2f-11d0-9819-00aa0040529b")
CONTROL_ACCESS, FULL_CONTROL = 0x100, 0xF01FF
ALLOWED, ALLOWED_OBJECT, DENIED_OBJECT = 0, 5, 6
HANDED_DOWN = 0x10
DACL_PRESENT = 0x4
"""With it and no list the list is null: everybody may do everything (Null DACLs and Empty DACLs, win32)."""


def sid_bytes(sid: str) -> bytes:
    _, revision, authority, *parts = sid.split("-")
    head = struct.pack("<BB", int(revision), len(parts)) + int(authority).to_bytes(6, "big")
    return head + b"".join(struct.pack("<I", int(part)) for part in parts)


def sid_text(raw: bytes) -> str:
    parts = struct.unpack_from(f"<{raw[1]}I", raw, 8)
    return "-".join(["S", str(raw[0]), str(int.from_bytes(raw[2:8], "big")), *map(str, parts)])


def _entry(kind: int, mask: int, sid: str, right: uuid.UUID | None = None, flags: int = 0) -> bytes:
    body = struct.pack("<I", mask)
    if right is not None:
        body += struct.pack("<I", 1) + right.bytes_le
    body += sid_bytes(sid)
    return struct.pack("<BBH", kind, flags, 4 + len(body)) + body


def descriptor(controller: Machine, account: Account) -> bytes:
    """The security descriptor of an account, with its access list only: who may change and who may reset it."""
    if account.null_dacl:
        return struct.pack("<BBHIIII", 1, 0, 0x8004, 0, 0, 0, 0)
    kind = DENIED_OBJECT if account.cannot_change else ALLOWED_OBJECT
    entries = [_entry(kind, CONTROL_ACCESS, sid, CHANGE_PASSWORD) for sid in (EVERYONE, SELF)]
    entries += [_entry(ALLOWED, FULL_CONTROL, sid) for sid in (controller.real("@-512"), ADMINISTRATORS)]
    if not account.admin_count:
        entries += [
            _entry(ALLOWED_OBJECT, CONTROL_ACCESS, controller.real(sid), RESET_PASSWORD, HANDED_DOWN)
            for sid in controller.sam.delegated
        ]
    body = b"".join(entries)
    acl = struct.pack("<BBHHH", 4, 0, 8 + len(body), len(entries), 0) + body
    return struct.pack("<BBHIIII", 1, 0, 0x8004, 0, 0, 0, 20) + acl


def allows(raw: bytes, token: set[str], right: uuid.UUID) -> bool:
    """Whether a descriptor grants an extended right to anyone in the token. The first entry about it decides."""
    acl = struct.unpack_from("<I", raw, 16)[0]
    if acl == 0:
        return bool(raw[2] & DACL_PRESENT)
    count, at = struct.unpack_from("<H", raw, acl + 4)[0], acl + 8
    for _ in range(count):
        kind, flags, size = struct.unpack_from("<BBH", raw, at)
        mask, sid_at, named = struct.unpack_from("<I", raw, at + 4)[0], at + 8, None
        if kind in (ALLOWED_OBJECT, DENIED_OBJECT):
            parts = struct.unpack_from("<I", raw, at + 8)[0]
            named = uuid.UUID(bytes_le=raw[at + 12 : at + 28]) if parts & 1 else None
            sid_at = at + 12 + 16 * (parts & 1) + 8 * (parts & 2)
        about = mask & CONTROL_ACCESS and not flags & 8 and named in (None, right)
        if about and sid_text(raw[sid_at : at + size]) in token:
            return kind in (ALLOWED, ALLOWED_OBJECT)
        at += size
    return False
