"""Domain controllers that only say who they are and who has the role PDC emulator, each as it knows it: several of
them, which Samba cannot be on one machine, and one that is behind the others."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ldap3.protocol.rfc4511 import (
    LDAPDN,
    AttributeDescription,
    AttributeValue,
    BindResponse,
    LDAPMessage,
    LDAPString,
    MessageID,
    PartialAttribute,
    PartialAttributeList,
    ProtocolOp,
    ResultCode,
    SearchResultDone,
    SearchResultEntry,
    Vals,
)
from pyasn1.codec.ber import decoder, encoder
from pyasn1.error import PyAsn1Error

from pwserver.connectors import ldap_line

BASE = "DC=corp,DC=test"


def settings_of(name: str) -> str:
    return f"CN=NTDS Settings,CN={name},CN=Servers,CN=Default-First-Site-Name,CN=Sites,CN=Configuration,{BASE}"


@dataclass
class Controller:
    """``pdc``: who has the role, as this one knows it. ``logins``: who logged on here. ``refuses``: every login."""

    name: str
    pdc: str
    refuses: bool = False
    logins: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        return f"{self.name.lower()}.corp.test"

    def entry(self, dn: str) -> dict[str, str]:
        if dn == "":
            return {
                "defaultNamingContext": BASE, "dnsHostName": self.full_name, "dsServiceName": settings_of(self.name),
            }  # fmt: skip
        if dn == BASE:
            return {"fSMORoleOwner": settings_of(self.pdc)}
        return {"dNSHostName": f"{self.pdc.lower()}.corp.test"} if dn == settings_of(self.pdc).partition(",")[2] else {}

    def answers(self, message: LDAPMessage) -> list[ProtocolOp]:
        kind = message["protocolOp"].getName()
        request = message["protocolOp"].getComponent()
        self.asked.append(kind)
        if kind == "bindRequest":
            self.logins.append(bytes(request["name"]).decode())
            return [_result("bindResponse", BindResponse(), 49 if self.refuses else 0)]
        if kind == "searchRequest":
            dn = bytes(request["baseObject"]).decode()
            return [_entry(dn, self.entry(dn)), _result("searchResDone", SearchResultDone(), 0)]
        return []


def _result(name: str, result: BindResponse | SearchResultDone, code: int) -> ProtocolOp:
    result["resultCode"] = ResultCode(code)
    result["matchedDN"] = LDAPDN(b"")
    words = "80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data 52e, v4f7c" if code else ""
    result["diagnosticMessage"] = LDAPString(words.encode())
    return ProtocolOp().setComponentByName(name, result)


def _entry(dn: str, values: dict[str, str]) -> ProtocolOp:
    found, attributes = SearchResultEntry(), PartialAttributeList()
    for at, (name, value) in enumerate(values.items()):
        one, inside = PartialAttribute(), Vals()
        inside.setComponentByPosition(0, AttributeValue(value.encode()))
        one["type"], one["vals"] = AttributeDescription(name.encode()), inside
        attributes.setComponentByPosition(at, one)
    found["object"], found["attributes"] = LDAPDN(dn.encode()), attributes
    return ProtocolOp().setComponentByName("searchResEntry", found)


class Forest:
    """Controllers on addresses of loopback, all at one port, found by their names; one that is not started is away."""

    def __init__(self, certificate: Path, key: Path, monkeypatch: pytest.MonkeyPatch, port: int = 0) -> None:
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        self.port, self.known = port, {f"dc{at}.corp.test": f"127.0.0.{at}" for at in range(1, 6)}
        self.listeners: list[socket.socket] = []
        real = ldap_line.resolve
        monkeypatch.setattr(
            ldap_line, "resolve", lambda host, port, seconds: real(self.known.get(host, host), port, seconds)
        )

    def start(self, controller: Controller) -> Controller:
        listener = socket.create_server((self.known[controller.full_name], self.port))
        self.port = listener.getsockname()[1]
        self.listeners.append(listener)
        threading.Thread(target=self._listen, args=(listener, controller), daemon=True).start()
        return controller

    def _listen(self, listener: socket.socket, controller: Controller) -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(plain, controller), daemon=True).start()

    def _talk(self, plain: socket.socket, controller: Controller) -> None:
        try:
            with self.tls.wrap_socket(plain, server_side=True) as line:
                _answer_all(line, controller)
        except OSError:
            pass  # it hung up, as one does who has heard enough

    def stop(self) -> None:
        for listener in self.listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def _answer_all(line: ssl.SSLSocket, controller: Controller) -> None:
    line.settimeout(10)
    heard = b""
    while more := line.recv(8192):
        heard += more
        while heard:
            try:
                message, heard = decoder.decode(heard, asn1Spec=LDAPMessage())
            except PyAsn1Error:
                break  # not all of it is here yet
            for each in controller.answers(message):
                answer = LDAPMessage()
                answer["messageID"], answer["protocolOp"] = MessageID(int(message["messageID"])), each
                line.sendall(encoder.encode(answer))
