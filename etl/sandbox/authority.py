"""A certificate authority for tests: makes its own root and server certificates for loopback.

Nobody but a test trusts it; the keys lie unencrypted in the folder it is given.
"""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = timedelta(days=30)
_LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Authority:
    """A root certificate with its key, in a folder."""

    folder: Path

    @property
    def ca_file(self) -> Path:
        """Return the file that a client has to trust."""
        return self.folder / "ca.pem"

    def server_context(self, hosts: tuple[str, ...] = _LOOPBACK) -> ssl.SSLContext:
        """Return a server's side of TLS 1.2 or higher, with a new certificate for the hosts."""
        certificate = self._issue(hosts)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate)
        return context

    def _issue(self, hosts: tuple[str, ...]) -> Path:
        """Write a certificate with its key into the folder and return the file."""
        root = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        root_key = _load_key(self.folder / "ca-key.pem")
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(hosts[0], key, root.subject)
            .add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False
            )
        )
        path = self.folder / "server.pem"
        signed = builder.sign(root_key, hashes.SHA256())
        _write(path, _key_bytes(key) + signed.public_bytes(serialization.Encoding.PEM))
        return path


def open_authority(folder: Path) -> Authority:
    """Return the authority in a folder, made new if there is none."""
    authority = Authority(folder)
    if not authority.ca_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = f"Campaign simulator test authority {folder.name}"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        signed = (
            _builder(name[:64], key, subject)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
            .add_extension(_usage_of_root(), True)
            .sign(key, hashes.SHA256())
        )
        _write(folder / "ca-key.pem", _key_bytes(key))
        authority.ca_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return authority


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name
) -> x509.CertificateBuilder:
    """Return what every certificate has: names, key, number, days."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _DAYS)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def _usage_of_root() -> x509.KeyUsage:
    """Return what a root's key may do: sign certificates."""
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _name(host: str) -> x509.GeneralName:
    """Return a host as the certificate names it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is of another kind")
    return key


def _write(path: Path, data: bytes) -> None:
    """Write a file that only we may read."""
    path.touch(mode=0o600)
    path.write_bytes(data)
