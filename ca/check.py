"""Does a certificate keep the SPIFFE X.509 profile? Every reason it does not, as text.

Used on each certificate before it leaves, and on certificates of others before they are believed.
Source: X509-SVID §2, §3, §4, §5.2
"""

from __future__ import annotations

from typing import Final, TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.errors import SpiffeIdError
from ca.spiffe_id import SpiffeId

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

_KNOWN: Final = (
    x509.SubjectAlternativeName, x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.NameConstraints,
    x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier, x509.CertificatePolicies, x509.PolicyConstraints,
    x509.CRLDistributionPoints, x509.AuthorityInformationAccess,
)  # fmt: skip


def uri_names(certificate: x509.Certificate) -> list[str]:
    names = _find(certificate, x509.SubjectAlternativeName)
    return names.get_values_for_type(x509.UniformResourceIdentifier) if names else []


def spiffe_id(certificate: x509.Certificate) -> SpiffeId:
    """The one SPIFFE ID of a certificate. Raises: SpiffeIdError."""
    uris = uri_names(certificate)
    if len(uris) != 1:
        raise SpiffeIdError(f"has {len(uris)} URI names, must have exactly one")
    return SpiffeId.parse(uris[0])


def leaf_problems(certificate: x509.Certificate) -> list[str]:
    """Reasons why this is no X.509-SVID of a workload; empty when it is one."""
    try:
        problems = _identity_problems(certificate) + _extension_problems(certificate)
        constraints = _find(certificate, x509.BasicConstraints)
        usage = _find(certificate, x509.KeyUsage)
    except ValueError as error:
        return [f"an extension cannot be read: {error}"]
    if constraints and constraints.ca:
        problems.append("is a signing certificate (cA), which may not authenticate a workload")
    if usage is None:
        problems.append("has no key usage")
    else:
        if not usage.digital_signature:
            problems.append("key usage lacks digitalSignature")
        if usage.key_cert_sign:
            problems.append("key usage has keyCertSign")
        if usage.crl_sign:
            problems.append("key usage has cRLSign")
    uses = _find(certificate, x509.ExtendedKeyUsage)
    if uses is not None and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(uses):
        problems.append("extended key usage lacks serverAuth or clientAuth")
    return problems


def authority_problems(certificate: x509.Certificate) -> list[str]:
    """Reasons why this may not sign SVIDs."""
    try:
        problems = _extension_problems(certificate)
        constraints = _find(certificate, x509.BasicConstraints)
        usage = _find(certificate, x509.KeyUsage)
        uris = uri_names(certificate)
    except ValueError as error:
        return [f"an extension cannot be read: {error}"]
    if constraints is None or not constraints.ca:
        problems.append("is no signing certificate (cA is not set)")
    if usage is None or not usage.key_cert_sign:
        problems.append("key usage lacks keyCertSign")
    if len(uris) > 1:
        problems.append("has more than one URI name")
    for uri in uris:
        try:
            if SpiffeId.parse(uri).path:
                problems.append("the SPIFFE ID of a signing certificate has a path")
        except SpiffeIdError as error:
            problems.append(f"{uri!r} is no SPIFFE ID: {error}")
    return problems


def _identity_problems(certificate: x509.Certificate) -> list[str]:
    problems: list[str] = []
    try:
        if not spiffe_id(certificate).path:
            problems.append("the SPIFFE ID of a workload needs a path")
    except SpiffeIdError as error:
        problems.append(str(error))
    if not list(certificate.subject) and not _is_critical(certificate, x509.SubjectAlternativeName):
        problems.append("the subject is empty and the subject alternative name is not critical")
    return problems


def _extension_problems(certificate: x509.Certificate) -> list[str]:
    problems: list[str] = []
    if certificate.version is not x509.Version.v3:
        problems.append("is not of X.509 version 3")
    if _find(certificate, x509.KeyUsage) is not None and not _is_critical(certificate, x509.KeyUsage):
        problems.append("key usage is not critical")
    problems += [
        f"has an unknown critical extension {extension.oid.dotted_string}"
        for extension in certificate.extensions
        if extension.critical and not isinstance(extension.value, _KNOWN)
    ]
    return problems


def _find(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _is_critical(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(kind).critical
    except x509.ExtensionNotFound:
        return False
