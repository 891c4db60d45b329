"""Name constraints of an authority, applied to the names of a certificate below it. Pure.

URI, DNS and IP names are checked. A constraint on another kind of name fails a certificate with such a name:
nobody here could say that it is allowed.
Source: RFC 5280 §4.2.1.10; X509-SVID §4.2
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from cryptography import x509

from ca.errors import SpiffeIdError
from ca.spiffe_id import SpiffeId


def name_problems(certificate: x509.Certificate, constraints: x509.NameConstraints) -> list[str]:
    names = _names(certificate)
    return [
        f"its name constraints do not allow {name.value}" for name in names if not _allowed(name, constraints)
    ]


def _names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """A subject is a name too, unless it is empty."""
    subject: list[x509.GeneralName] = (
        [x509.DirectoryName(certificate.subject)] if list(certificate.subject) else []
    )
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return subject
    return [*subject, *found]


def _allowed(name: x509.GeneralName, constraints: x509.NameConstraints) -> bool:
    permitted = _of_kind(constraints.permitted_subtrees, name)
    excluded = _of_kind(constraints.excluded_subtrees, name)
    if not permitted and not excluded:
        return True
    if not isinstance(name, x509.UniformResourceIdentifier | x509.DNSName | x509.IPAddress):
        return False
    if any(_within(name, one) for one in excluded):
        return False
    return not permitted or any(_within(name, one) for one in permitted)


def _of_kind(subtrees: Sequence[x509.GeneralName] | None, name: x509.GeneralName) -> list[x509.GeneralName]:
    return [one for one in subtrees or () if type(one) is type(name)]


def _within(name: x509.GeneralName, constraint: x509.GeneralName) -> bool:
    match name, constraint:
        case x509.UniformResourceIdentifier(), x509.UniformResourceIdentifier():
            return _uri_within(name.value, constraint.value.lower())
        case x509.DNSName(), x509.DNSName():
            host, zone = name.value.lower(), constraint.value.lower().removeprefix(".")
            return not zone or host == zone or host.endswith(f".{zone}")
        case x509.IPAddress(), x509.IPAddress():
            return _ip_within(name, constraint)
        case _:
            return False


def _uri_within(uri: str, constraint: str) -> bool:
    """A leading dot takes any host below; otherwise exactly that host."""
    try:
        host = SpiffeId.parse(uri).trust_domain.name
    except SpiffeIdError:
        return False
    return host.endswith(constraint) if constraint.startswith(".") else host == constraint


def _ip_within(name: x509.IPAddress, constraint: x509.IPAddress) -> bool:
    address, network = name.value, constraint.value
    if not isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return False
    return isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network) and address in network
