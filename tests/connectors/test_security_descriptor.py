"""A list of rights that is null, empty or not there: three answers (Null DACLs and Empty DACLs, win32)."""

from __future__ import annotations

import struct

import pytest

from pwserver.connectors import security_descriptor as rights

EMPTY_LIST = struct.pack("<BBHHH", 4, 0, 8, 0, 0)


@pytest.mark.parametrize(
    ("control", "start", "granted"), [(0x8004, 0, True), (0x8004, 20, False), (0x8000, 0, None)]
)  # fmt: skip
def test_a_null_list_grants_everything_and_an_empty_one_nothing(control: int, start: int, granted: bool | None) -> None:
    raw = struct.pack("<BBHIIII", 1, 0, control, 0, 0, 0, start) + EMPTY_LIST
    assert rights.may(raw, rights.RESET_PASSWORD, {rights.EVERYONE}) is granted
