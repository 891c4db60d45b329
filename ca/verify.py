"""Is this chain a valid X.509-SVID under this bundle, now? Every reason why not.

Path validation as far as X.509-SVIDs use it: signatures, validity, cA, keyCertSign, path length, URI name
constraints, unknown critical extensions. The authority is one of the leaf's trust domain, never another's.
Source: RFC 5280 §6.1; X509-SVID §5
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from ca import check
from ca.bundle import TrustBundle
from ca.errors import SpiffeIdError
from ca.name_constraints import name_problems

MAX_CHAIN: Final = 8
MAX_PATHS: Final = 64  # cross-signed authorities make many; a hostile chain must not make us try them all
_WEAK_HASHES: Final = frozenset({"md5", "sha1"})


def svid_problems(chain: Sequence[x509.Certificate], bundle: TrustBundle, now: datetime) -> list[str]:
    """`chain`: leaf first, then intermediates in any order; `now` is aware."""
    if not chain:
        return ["there is no certificate"]
    if len(chain) > MAX_CHAIN:
        return [f"the chain has {len(chain)} certificates, at most {MAX_CHAIN} are read"]
    leaf = chain[0]
    problems = [f"leaf: {text}" for text in check.leaf_problems(leaf)]
    problems += validity_problems(leaf, "leaf", now)
    try:
        domain = check.spiffe_id(leaf).trust_domain
    except (SpiffeIdError, *check.UNREADABLE):
        return problems
    if domain != bundle.trust_domain:
        problems.append(f"its trust domain is {domain}, the bundle's is {bundle.trust_domain}")
        return problems
    return problems + _path_problems(leaf, list(chain[1:]), list(bundle.certificates), now)


def authority_path_problems(
    authority: x509.Certificate,
    between: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
) -> list[str]:
    """Reasons why `authority` may not sign issuing authorities under one of `roots`."""
    problems = [f"authority {_name(authority)}: {text}" for text in check.authority_problems(authority)]
    problems += validity_problems(authority, f"authority {_name(authority)}", now)
    limits = (
        authority.extensions.get_extension_for_class(x509.BasicConstraints).value if not problems else None
    )
    if limits and limits.path_length == 0:
        problems.append(f"authority {_name(authority)}: its path length 0 allows it to sign leaves only")
    if authority in roots:
        return problems
    return problems + _path_problems(authority, list(between), list(roots), now)


def _path_problems(
    leaf: x509.Certificate, between: list[x509.Certificate], roots: list[x509.Certificate], now: datetime
) -> list[str]:
    """Of all paths up to the bundle, the one with the fewest problems speaks: one good path is enough."""
    if not roots:
        return ["the bundle is empty: every SVID of the trust domain is revoked"]
    best: list[str] | None = None
    for path, anchored in islice(_paths((leaf,), between, roots), MAX_PATHS):
        problems = _judge(path, anchored, now)
        if best is None or len(problems) < len(best):
            best = problems
        if not problems:
            break
    return best or []


def _paths(
    path: tuple[x509.Certificate, ...], between: list[x509.Certificate], roots: list[x509.Certificate]
) -> Iterator[tuple[tuple[x509.Certificate, ...], bool]]:
    """Every path upwards by signature, and whether it ends at a root; dead ends too, to bound the count."""
    current, dead = path[-1], True
    for root in roots:
        if _signed(current, root):
            dead = False
            yield (*path, root), True
    for issuer in between:
        if issuer not in path and _signed(current, issuer):
            dead = False
            yield from _paths((*path, issuer), between, roots)
    if dead:
        yield path, False


def _judge(path: tuple[x509.Certificate, ...], anchored: bool, now: datetime) -> list[str]:
    problems: list[str] = []
    for index, issuer in enumerate(path[1:], 1):
        below = path[:index]
        label = f"authority {_name(issuer)}"
        problems += [f"{label}: {text}" for text in check.authority_problems(issuer)]
        problems += validity_problems(issuer, label, now)
        problems += _weak_signature(below[-1])
        try:
            problems += [f"{label}: {text}" for text in _constraints(issuer, below)]
        except check.UNREADABLE as error:
            problems.append(f"{label}: an extension cannot be read: {error}")
    return problems if anchored else [*problems, f"no authority of the bundle signed {_name(path[-1])}"]


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*check.UNREADABLE, InvalidSignature):
        return False
    return True


def _weak_signature(certificate: x509.Certificate) -> list[str]:
    algorithm = certificate.signature_hash_algorithm
    if algorithm is not None and algorithm.name in _WEAK_HASHES:
        return [f"{_name(certificate)}: is signed with {algorithm.name}"]
    return []


def _constraints(issuer: x509.Certificate, below: tuple[x509.Certificate, ...]) -> list[str]:
    """`below`: the leaf, then the signing certificates between it and `issuer`."""
    problems: list[str] = []
    # a self-issued certificate does not count (RFC 5280 §6.1.4 l)
    steps = sum(1 for one in below[1:] if one.subject != one.issuer)
    for extension in issuer.extensions:
        match extension.value:
            case x509.BasicConstraints(ca=True, path_length=int(limit)) if steps > limit:
                problems.append(f"signs through {steps} more authorities, at most {limit} are allowed")
            case x509.NameConstraints():
                problems += [text for one in below for text in name_problems(one, extension.value)]
            case _:
                pass
    return problems


def validity_problems(certificate: x509.Certificate, label: str, now: datetime) -> list[str]:
    if now < certificate.not_valid_before_utc:
        return [f"{label}: is not valid before {certificate.not_valid_before_utc.isoformat()}"]
    if now > certificate.not_valid_after_utc:
        return [f"{label}: expired at {certificate.not_valid_after_utc.isoformat()}"]
    return []


def _name(certificate: x509.Certificate) -> str:
    """A subject is read only when asked for, and may be unreadable."""
    try:
        subject = certificate.subject.rfc4514_string()
    except check.UNREADABLE:
        subject = ""
    return subject or f"serial {certificate.serial_number:x}"
