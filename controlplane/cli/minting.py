"""Where a minted SVID comes from: the control plane, or an authority in the state directory.

The key is made by the command and never sent: an issuer sees a signing request. Which commands exist, and
how they print, is in `svid` and `bundle`.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import bundle as bundles
from ca import check, journal
from ca.bundle import TrustBundle
from ca.errors import (
    AuthorityError,
    BundleError,
    CsrError,
    JwtError,
    KeystoreError,
    ProfileError,
    SpiffeIdError,
)
from ca.issue import chain_pem
from ca.keystore import FileKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, TrustDomain
from controlplane.cli.output import Exit, Failure
from policies.document import Json

BUNDLE_PATH = "/.well-known/spiffe/bundle"
MINT_PATH = "/pylis/v1/svids"
AUTHORITIES_PATH = "/pylis/v1/authorities"
MINT_JWT_PATH = "/pylis/v1/jwt-svids"


@dataclass(frozen=True, slots=True)
class Order:
    """What one certificate shall say."""

    spiffe_id: SpiffeId
    ttl: timedelta
    dns_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Minted:
    """`chain` is DER, leaf first."""

    chain: tuple[bytes, ...]
    bundle: TrustBundle

    @property
    def chain_pem(self) -> str:
        return chain_pem(self.chain)


@dataclass(frozen=True, slots=True)
class MintedJwt:
    token: str = field(repr=False)
    bundle: TrustBundle


class Issuer(Protocol):
    def mint(self, order: Order, csr_der: bytes) -> Minted:
        """Raises: Failure."""
        ...

    def mint_jwt(self, order: Order, audience: Sequence[str]) -> MintedJwt:
        """Raises: Failure."""
        ...


class Connection(Protocol):
    """What `controlplane.cli.client.connect` gives."""

    def request(self, method: str, path: str, body: Json | None = None) -> Json: ...


class RemoteIssuer:
    def __init__(self, connection: Connection, bundle: TrustBundle) -> None:
        self._connection = connection
        self._bundle = bundle

    def mint(self, order: Order, csr_der: bytes) -> Minted:
        body: Json = {
            "spiffeId": str(order.spiffe_id),
            "csr": base64.b64encode(csr_der).decode("ascii"),
            "ttlSeconds": int(order.ttl.total_seconds()),
            "dnsNames": list(order.dns_names),
        }
        return Minted(_chain(self._connection.request("POST", MINT_PATH, body)), self._bundle)

    def mint_jwt(self, order: Order, audience: Sequence[str]) -> MintedJwt:
        body: Json = {
            "spiffeId": str(order.spiffe_id),
            "audience": [*audience],
            "ttlSeconds": int(order.ttl.total_seconds()),
        }
        answer = self._connection.request("POST", MINT_JWT_PATH, body)
        token = answer.get("token") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise Failure("the server's answer holds no token", code=Exit.UNREACHABLE)
        return MintedJwt(token, self._bundle)


class LocalIssuer:
    """One authority a trust domain, in `<state directory>/ca/<trust domain>`, made on first use."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._open: dict[TrustDomain, CertificateAuthority] = {}

    def mint(self, order: Order, csr_der: bytes) -> Minted:
        authority = self._authority(order.spiffe_id.trust_domain)
        try:
            svid = authority.issue_id(order.spiffe_id, csr_der, order.ttl, order.dns_names)
        except (CsrError, ProfileError, AuthorityError) as error:
            raise Failure(f"{order.spiffe_id} was not issued: {error}") from error
        return Minted(svid.chain, authority.bundle)

    def mint_jwt(self, order: Order, audience: Sequence[str]) -> MintedJwt:
        authority = self._authority(order.spiffe_id.trust_domain)
        try:
            svid = authority.issue_jwt_id(order.spiffe_id, audience, order.ttl)
        except (JwtError, AuthorityError) as error:
            raise Failure(f"{order.spiffe_id} was not issued: {error}") from error
        return MintedJwt(svid.token, authority.bundle)

    def _authority(self, trust_domain: TrustDomain) -> CertificateAuthority:
        if trust_domain not in self._open:
            self._open[trust_domain] = open_local(self._state_dir, trust_domain)
        return self._open[trust_domain]


def local_directory(state_dir: Path, trust_domain: TrustDomain) -> Path:
    """Raises: Failure for a trust domain that is legal and still no directory's name."""
    if trust_domain.name in (".", ".."):
        raise Failure(
            f'trust domain "{trust_domain}" cannot have a local authority', hint="use another trust domain"
        )
    return state_dir / "ca" / trust_domain.name


def open_local(state_dir: Path, trust_domain: TrustDomain) -> CertificateAuthority:
    """Raises: Failure."""
    directory = local_directory(state_dir, trust_domain)
    hint = "name another place with --state-dir"
    try:
        keystore = FileKeystore(directory)
        with _locked(directory):  # two first uses at once must not make two roots
            if keystore.load(journal.NAME) is None:
                click.echo(f"made a new authority for {trust_domain} in {directory}", err=True)
            return CertificateAuthority.open(trust_domain, keystore)
    except KeystoreError as error:
        raise Failure(str(error), hint=hint) from error
    except OSError as error:
        raise Failure(f"cannot use {directory}: {error.strerror}", hint=hint) from error


def local_trust_domains(state_dir: Path) -> tuple[TrustDomain, ...]:
    """Those that have an authority here, sorted."""
    try:
        names = sorted(path.name for path in (state_dir / "ca").iterdir() if path.is_dir())
    except OSError:
        return ()
    return tuple(TrustDomain.parse(name) for name in names if _is_domain(name))


def remote_bundle(connection: Connection) -> TrustBundle:
    """The server's bundle; its trust domain is read from its certificates. Raises: Failure."""
    document = connection.request("GET", BUNDLE_PATH)
    try:
        unnamed = bundles.from_spiffe(TrustDomain("unnamed"), json.dumps(document))
        domains = {domain for one in unnamed.certificates if (domain := authority_domain(one))}
        if not domains:  # roots of somebody else's name no trust domain: the server does
            told = connection.request("GET", AUTHORITIES_PATH)
            domains = {TrustDomain.parse(str(told["trustDomain"]))} if isinstance(told, dict) else domains
    except (BundleError, SpiffeIdError, KeyError, ValueError) as error:
        raise Failure(f"the server's trust bundle cannot be read: {error}", code=Exit.UNREACHABLE) from error
    if len(domains) != 1:
        raise Failure("the server's trust bundle names no single trust domain", code=Exit.UNREACHABLE)
    domain = domains.pop()
    return replace(unnamed, trust_domain=domain)


def authority_domain(certificate: x509.Certificate) -> TrustDomain | None:
    """The trust domain a signing certificate names itself; None when it names none."""
    try:
        return check.spiffe_id(certificate).trust_domain
    except (SpiffeIdError, ValueError):
        return None


def _chain(answer: Json) -> tuple[bytes, ...]:
    """The server answers `{chain: PEM, bundle: PEM}`."""
    text = answer.get("chain") if isinstance(answer, dict) else None
    try:
        found = x509.load_pem_x509_certificates(text.encode() if isinstance(text, str) else b"")
    except (ValueError, x509.InvalidVersion) as error:
        raise Failure("the server's answer holds no certificate chain", code=Exit.UNREACHABLE) from error
    return tuple(one.public_bytes(Encoding.DER) for one in found)


def _is_domain(name: str) -> bool:
    try:
        TrustDomain.parse(name)
    except SpiffeIdError:
        return False
    return True


@contextmanager
def _locked(directory: Path) -> Generator[None]:
    handle = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
