"""A KDC that answers every request with one error of Kerberos' own: for what a real one says only at rare moments."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from pwserver.connectors import kerberos


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x81, size])
    return bytes([tag]) + length + content


def _integer(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(2, "big"))


def krb_error(code: int, realm: str) -> bytes:
    """KRB-ERROR of RFC 4120, in DER."""
    text = _tlv(0x1B, realm.encode())
    names = b"".join(_tlv(0x1B, part) for part in (b"krbtgt", realm.encode()))
    service = _tlv(0x30, _tlv(0xA0, _integer(2)) + _tlv(0xA1, _tlv(0x30, names)))
    fields = {
        0: _integer(5), 1: _integer(30), 4: _tlv(0x18, f"{datetime.now(UTC):%Y%m%d%H%M%SZ}".encode()), 5: _integer(0),
        6: _integer(code), 9: text, 10: service,
    }  # fmt: skip
    return _tlv(0x7E, _tlv(0x30, b"".join(_tlv(0xA0 + number, field) for number, field in fields.items())))


def _serve(listener: socket.socket, answer: bytes, asked: list[bytes]) -> None:
    while True:
        try:
            line, _ = listener.accept()
        except OSError:
            return
        with line:
            line.settimeout(5)
            request = line.recv(8192)
            if request:  # not one who only looks whether anything listens
                asked.append(request)
                line.sendall(struct.pack(">I", len(answer)) + answer)


@contextmanager
def saying(code: int, monkeypatch: pytest.MonkeyPatch, realm: str = "CORP.TEST") -> Iterator[list[bytes]]:
    """Kerberos on 127.0.0.1 is this KDC as long as it lasts; yields the requests it got."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, krb_error(code, realm), asked), daemon=True)
        thread.start()
        with monkeypatch.context() as patch:
            patch.setattr(kerberos, "PORT", listener.getsockname()[1])
            yield asked
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
