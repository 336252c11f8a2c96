"""The certificates that the lab's machines show: self-signed, made once, kept in the lab's folder with mode 0600."""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFETIME = timedelta(days=3650)


class Certificates:
    """One certificate per machine, and another one for the fault *certificate*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def digest(self, machine: str, *, other: bool = False) -> bytes:
        """SHA-256 of the certificate: the fingerprint, and what channel bindings are made of."""
        text = self._file(machine, other).read_text()
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERT") :])).digest()

    def context(self, machine: str, *, other: bool = False) -> ssl.SSLContext:
        """A server-side TLS context, kept for the next connection."""
        key = (machine, other)
        if key not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self._file(machine, other))
            self._contexts[key] = context
        return self._contexts[key]

    def _file(self, machine: str, other: bool) -> Path:
        path = self._folder / f"{machine}{'.other' if other else ''}.pem"
        with self._lock:
            if not path.exists():
                _write(path, make(machine))
        return path


def make(machine: str) -> bytes:
    """A new key and its certificate, as PEM in this order."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, machine)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(machine)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, data: bytes) -> None:
    """Complete or not at all: a half-written file would be shown as a broken machine for ever."""
    half = path.with_suffix(".part")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)
    half.replace(path)
