"""One authority and one leaf, as files: enough for two Envoys that want mutual TLS of each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def write_certificates(directory: Path) -> None:
    """ca.pem, svid.pem, key.pem."""
    now = datetime.now(UTC)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])

    def builder(name: x509.Name, of: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(name).issuer_name(root_name).public_key(of.public_key())
        made = made.serial_number(x509.random_serial_number())
        return made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))

    root = builder(root_name, root_key).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://bench/x")])
    leaf = builder(x509.Name([]), key).add_extension(uri, critical=True)
    for name, made in (("ca.pem", root), ("svid.pem", leaf)):
        (directory / name).write_bytes(
            made.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    place = directory / "key.pem"
    place.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    place.chmod(0o644)  # for the proxy's own user; it lives as long as the run
