"""Does a certificate keep the SPIFFE X.509 profile? Every reason it does not, as text.

Used on each certificate before it leaves, and on certificates of others before they are believed.
Source: X509-SVID §2, §3, §4, §5.2
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.errors import SpiffeIdError
from ca.spiffe_id import SpiffeId

# what cryptography raises for a certificate that cannot be read; some parts are read only when asked for
UNREADABLE: Final = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

# critical extensions we act upon, or that change nothing for us; policy constraints would: they are not here
_KNOWN: Final = frozenset({
    x509.SubjectAlternativeName, x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage,
    x509.NameConstraints, x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier, x509.CertificatePolicies,
    x509.CRLDistributionPoints, x509.AuthorityInformationAccess,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Extensions:
    """A certificate's extensions, read once: each read of `certificate.extensions` costs."""

    by_kind: Mapping[type[x509.ExtensionType], x509.Extension[x509.ExtensionType]]
    unknown_critical: tuple[str, ...]

    def find(self, kind: type[_Extension]) -> _Extension | None:
        extension = self.by_kind.get(kind)
        return cast("_Extension", extension.value) if extension else None

    def is_critical(self, kind: type[x509.ExtensionType]) -> bool:
        extension = self.by_kind.get(kind)
        return extension is not None and extension.critical

    @property
    def uris(self) -> list[str]:
        names = self.find(x509.SubjectAlternativeName)
        return names.get_values_for_type(x509.UniformResourceIdentifier) if names else []


def uri_names(certificate: x509.Certificate) -> list[str]:
    return _read(certificate).uris


def spiffe_id(certificate: x509.Certificate) -> SpiffeId:
    """The one SPIFFE ID of a certificate. Raises: SpiffeIdError."""
    return _spiffe_id(_read(certificate))


def leaf_problems(certificate: x509.Certificate) -> list[str]:
    """Reasons why this is no X.509-SVID of a workload; empty when it is one."""
    try:
        found = _read(certificate)
        problems = _identity_problems(certificate, found) + _extension_problems(certificate, found)
    except UNREADABLE as error:
        return [f"an extension cannot be read: {error}"]
    constraints = found.find(x509.BasicConstraints)
    if constraints and constraints.ca:
        problems.append("is a signing certificate (cA), which may not authenticate a workload")
    usage = found.find(x509.KeyUsage)
    if usage is None:
        problems.append("has no key usage")
    else:
        if not usage.digital_signature:
            problems.append("key usage lacks digitalSignature")
        if usage.key_cert_sign:
            problems.append("key usage has keyCertSign")
        if usage.crl_sign:
            problems.append("key usage has cRLSign")
    uses = found.find(x509.ExtendedKeyUsage)
    if uses is not None and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(
        uses
    ):
        problems.append("extended key usage lacks serverAuth or clientAuth")
    return problems


def authority_problems(certificate: x509.Certificate) -> list[str]:
    """Reasons why this may not sign SVIDs."""
    try:
        found = _read(certificate)
        problems = _extension_problems(certificate, found)
    except UNREADABLE as error:
        return [f"an extension cannot be read: {error}"]
    constraints, usage = found.find(x509.BasicConstraints), found.find(x509.KeyUsage)
    if constraints is None or not constraints.ca:
        problems.append("is no signing certificate (cA is not set)")
    if usage is None or not usage.key_cert_sign:
        problems.append("key usage lacks keyCertSign")
    if len(found.uris) > 1:
        problems.append("has more than one URI name")
    for uri in found.uris:
        try:
            if SpiffeId.parse(uri).path:
                problems.append("the SPIFFE ID of a signing certificate has a path")
        except SpiffeIdError as error:
            problems.append(f"{uri!r} is no SPIFFE ID: {error}")
    return problems


def _read(certificate: x509.Certificate) -> _Extensions:
    by_kind: dict[type[x509.ExtensionType], x509.Extension[x509.ExtensionType]] = {}
    unknown: list[str] = []
    for extension in certificate.extensions:
        kind = type(cast("x509.ExtensionType", extension.value))
        by_kind[kind] = extension
        if extension.critical and kind not in _KNOWN:
            unknown.append(extension.oid.dotted_string)
    return _Extensions(by_kind, tuple(unknown))


def _spiffe_id(found: _Extensions) -> SpiffeId:
    uris = found.uris
    if len(uris) != 1:
        raise SpiffeIdError(f"has {len(uris)} URI names, must have exactly one")
    return SpiffeId.parse(uris[0])


def _identity_problems(certificate: x509.Certificate, found: _Extensions) -> list[str]:
    problems: list[str] = []
    try:
        if not _spiffe_id(found).path:
            problems.append("the SPIFFE ID of a workload needs a path")
    except SpiffeIdError as error:
        problems.append(str(error))
    if not list(certificate.subject) and not found.is_critical(x509.SubjectAlternativeName):
        problems.append("the subject is empty and the subject alternative name is not critical")
    return problems


def _extension_problems(certificate: x509.Certificate, found: _Extensions) -> list[str]:
    problems: list[str] = []
    if certificate.version is not x509.Version.v3:
        problems.append("is not of X.509 version 3")
    if found.find(x509.KeyUsage) is not None and not found.is_critical(x509.KeyUsage):
        problems.append("key usage is not critical")
    problems += [f"has an unknown critical extension {oid}" for oid in found.unknown_critical]
    return problems
