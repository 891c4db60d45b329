"""Is this chain a valid X.509-SVID under this bundle, now? Every reason why not.

Path validation as far as X.509-SVIDs use it: signatures, validity, cA, keyCertSign, path length, URI name
constraints, unknown critical extensions. The authority is one of the leaf's own trust domain, never another's.
Source: RFC 5280 §6.1; X509-SVID §5
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from ca import check
from ca.bundle import TrustBundle
from ca.errors import SpiffeIdError

MAX_CHAIN: Final = 8


def svid_problems(chain: Sequence[x509.Certificate], bundle: TrustBundle, now: datetime) -> list[str]:
    """`chain`: leaf first, then intermediates in any order; `now` is aware."""
    if not chain:
        return ["there is no certificate"]
    if len(chain) > MAX_CHAIN:
        return [f"the chain has {len(chain)} certificates, at most {MAX_CHAIN} are read"]
    leaf = chain[0]
    problems = [f"leaf: {text}" for text in check.leaf_problems(leaf)]
    problems += _validity(leaf, "leaf", now)
    try:
        domain = check.spiffe_id(leaf).trust_domain
    except (SpiffeIdError, ValueError):
        return problems
    if domain != bundle.trust_domain:
        problems.append(f"its trust domain is {domain}, the bundle's is {bundle.trust_domain}")
        return problems
    return problems + _path_problems(leaf, list(chain[1:]), list(bundle.certificates), now)


def _path_problems(
    leaf: x509.Certificate, between: list[x509.Certificate], roots: list[x509.Certificate], now: datetime
) -> list[str]:
    """Walks from the leaf upwards; the first issuer that signed is taken, a root before an intermediate."""
    if not roots:
        return ["the bundle is empty: every SVID of the trust domain is revoked"]
    problems: list[str] = []
    current, below = leaf, 0
    while True:
        root = next((r for r in roots if _signed(current, r)), None)
        issuer = root or next((c for c in between if _signed(current, c)), None)
        if issuer is None:
            return [*problems, f"no authority of the bundle signed {_name(current)}"]
        label = f"authority {_name(issuer)}"
        problems += [f"{label}: {text}" for text in check.authority_problems(issuer)]
        problems += _validity(issuer, label, now)
        problems += _constraints(issuer, label, leaf, below)
        if root is not None:
            return problems
        between = [c for c in between if c != issuer]
        current, below = issuer, below + 1


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _constraints(issuer: x509.Certificate, label: str, leaf: x509.Certificate, below: int) -> list[str]:
    """`below`: how many signing certificates stand between the issuer and the leaf."""
    problems: list[str] = []
    for extension in issuer.extensions:
        match extension.value:
            case x509.BasicConstraints(ca=True, path_length=int(limit)) if below > limit:
                problems.append(f"{label}: signs through {below} more authorities, at most {limit} are allowed")
            case x509.NameConstraints():
                problems += _name_constraints(extension.value, label, leaf)
            case _:
                pass
    return problems


def _name_constraints(constraints: x509.NameConstraints, label: str, leaf: x509.Certificate) -> list[str]:
    host = check.spiffe_id(leaf).trust_domain.name
    permitted = _hosts(constraints.permitted_subtrees)
    excluded = _hosts(constraints.excluded_subtrees)
    if any(_within(host, one) for one in excluded) or (permitted and not any(_within(host, p) for p in permitted)):
        return [f"{label}: its name constraints do not allow {host}"]
    return []


def _hosts(names: Sequence[x509.GeneralName] | None) -> list[str]:
    return [name.value for name in names or () if isinstance(name, x509.UniformResourceIdentifier)]


def _within(host: str, constraint: str) -> bool:
    """RFC 5280 §4.2.1.10: a leading dot takes any host below; otherwise exactly that host."""
    return host.endswith(constraint) if constraint.startswith(".") else host == constraint


def _validity(certificate: x509.Certificate, label: str, now: datetime) -> list[str]:
    if now < certificate.not_valid_before_utc:
        return [f"{label}: is not valid before {certificate.not_valid_before_utc.isoformat()}"]
    if now > certificate.not_valid_after_utc:
        return [f"{label}: expired at {certificate.not_valid_after_utc.isoformat()}"]
    return []


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:x}"
