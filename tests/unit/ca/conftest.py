"""A small PKI whose certificates can be made wrong in one respect at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca import keys
from ca.bundle import TrustBundle
from ca.keys import PrivateKey
from ca.spiffe_id import TrustDomain

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
Extension = tuple[x509.ExtensionType, bool]


def usage(*names: str) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in names for name in every})


def uris(*texts: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(text) for text in texts])


def both_uses() -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


def leaf_extensions(*ids: str) -> list[Extension]:
    return [
        (uris(*(ids or ("spiffe://example.org/w",))), True),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage("digital_signature"), True),
        (both_uses(), False),
    ]


def authority_extensions(path_length: int | None = None) -> list[Extension]:
    limits = x509.BasicConstraints(ca=True, path_length=path_length)
    return [(uris("spiffe://example.org"), False), (limits, True), (usage("key_cert_sign", "crl_sign"), True)]


@dataclass
class Made:
    certificate: x509.Certificate
    key: PrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


@dataclass
class Pki:
    """`make` signs anything; `root`, `issuing` and `leaf` are right unless told otherwise.

    Test modules cannot import this file: what they need hangs on the fixture.
    """

    trust_domain: TrustDomain = field(default_factory=lambda: TrustDomain.parse("example.org"))
    now: datetime = NOW

    usage = staticmethod(usage)
    uris = staticmethod(uris)
    leaf_extensions = staticmethod(leaf_extensions)
    authority_extensions = staticmethod(authority_extensions)

    def make(
        self,
        name: str,
        by: Made | None,
        extensions: Sequence[Extension],
        *,
        start: timedelta = timedelta(hours=-1),
        end: timedelta = timedelta(hours=1),
        key: PrivateKey | None = None,
    ) -> Made:
        key = key or keys.new_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(by.certificate.subject if by else subject)
            .public_key(key.public_key())
            .serial_number(keys.new_serial())
            .not_valid_before(self.now + start)
            .not_valid_after(self.now + end)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return Made(builder.sign(by.key if by else key, hashes.SHA256()), key)

    def root(self, name: str = "root") -> Made:
        return self.make(name, None, authority_extensions())

    def issuing(self, root: Made, extensions: Sequence[Extension] | None = None) -> Made:
        return self.make("issuing", root, authority_extensions(0) if extensions is None else extensions)

    def leaf(self, by: Made, extensions: Sequence[Extension] | None = None) -> Made:
        return self.make("", by, leaf_extensions() if extensions is None else extensions)

    def bundle(self, *roots: Made) -> TrustBundle:
        return TrustBundle(self.trust_domain, tuple(root.der for root in roots))


@pytest.fixture
def pki() -> Pki:
    return Pki()
