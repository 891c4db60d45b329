"""The certificate authority of one trust domain: owns root and issuing authority, issues, renews itself.

The root signs nothing but issuing authorities; an issuing authority lives a day, replaced at half of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import check, jwt_svid, keys, profile, sign
from ca.bundle import TrustBundle, jwt_key
from ca.errors import AuthorityError, KeystoreError, RegistrationError, SpiffeIdError
from ca.issue import X509Svid, issue
from ca.jwt_svid import JwtSigner, JwtSvid
from ca.keystore import Keystore
from ca.registrations import Registration, name_problems
from ca.rotation import Lifetime, must_replace, until_replacement
from ca.sign import Signer
from ca.spiffe_id import SpiffeId, TrustDomain, agent_id, server_id

SERVER_DNS_NAME: Final = "server.pylis.internal"
_ROOT: Final = "root.pem"
_ISSUING: Final = "issuing.pem"
_JWT: Final = "jwt.pem"


def utc_now() -> datetime:
    return datetime.now(UTC)


class CertificateAuthority:
    """Make it with `open`; `run` keeps the issuing authority fresh."""

    def __init__(
        self,
        trust_domain: TrustDomain,
        keystore: Keystore,
        root: Signer,
        issuing: Signer,
        jwt_signer: JwtSigner,
        clock: Callable[[], datetime],
        new_serial: Callable[[], int],
    ) -> None:
        self.trust_domain = trust_domain
        self._keystore = keystore
        self._root = root
        self._issuing = issuing
        self._clock = clock
        self._new_serial = new_serial
        der = root.certificate.public_bytes(Encoding.DER)
        self._jwt = jwt_signer
        self.jwt_issuer = ""
        vouching = jwt_key(jwt_signer.kid, jwt_signer.key.public_key())
        self.bundle = TrustBundle(trust_domain, (der,), jwt_authorities=(vouching,))

    @classmethod
    def open(
        cls,
        trust_domain: TrustDomain,
        keystore: Keystore,
        *,
        clock: Callable[[], datetime] = utc_now,
        new_serial: Callable[[], int] = keys.new_serial,
    ) -> Self:
        """Loads the authorities, or makes them on first use. Raises: KeystoreError; AuthorityError."""
        root = _load(keystore, _ROOT)
        if root is None:
            root = _new_root(trust_domain, clock(), new_serial())
            keystore.store(_ROOT, _dump(root))
        _expect(root, trust_domain, clock())
        issuing = _load(keystore, _ISSUING)
        if issuing is None or must_replace(_lifetime(issuing), clock()):
            issuing = _new_issuing(trust_domain, root, clock(), new_serial())
            keystore.store(_ISSUING, _dump(issuing))
        return cls(trust_domain, keystore, root, issuing, _jwt_signer(keystore, root), clock, new_serial)

    def issue(self, registration: Registration, csr_der: bytes) -> X509Svid:
        """Raises: CsrError; RegistrationError for a name no workload may have."""
        return self.issue_id(registration.spiffe_id, csr_der, registration.ttl, registration.dns_names)

    def issue_id(
        self, spiffe_id: SpiffeId, csr_der: bytes, ttl: timedelta, dns_names: tuple[str, ...]
    ) -> X509Svid:
        """An administrator's own choice of ID. Raises: CsrError; RegistrationError as in `issue`."""
        if problems := name_problems(spiffe_id, dns_names, self.trust_domain):
            raise RegistrationError("; ".join(problems))
        return self._issue(spiffe_id, csr_der, ttl, dns_names)

    def issue_jwt(self, registration: Registration, audience: Sequence[str]) -> JwtSvid:
        """Raises: JwtError for a bad audience; RegistrationError for a name no workload may have."""
        return self.issue_jwt_id(registration.spiffe_id, audience, registration.jwt_ttl)

    def issue_jwt_id(self, spiffe_id: SpiffeId, audience: Sequence[str], ttl: timedelta) -> JwtSvid:
        """An administrator's own choice of ID. Raises: as `issue_jwt`."""
        if problems := name_problems(spiffe_id, (), self.trust_domain):
            raise RegistrationError("; ".join(problems))
        return jwt_svid.mint(
            spiffe_id,
            audience,
            signer=self._jwt,
            now=self._clock(),
            ttl=ttl,
            token_id=f"{self._new_serial():x}",
            issuer=self.jwt_issuer,
        )

    def issue_agent(self, name: str, csr_der: bytes) -> X509Svid:
        """Raises: CsrError; SpiffeIdError for a name that is no path segment."""
        return self._issue(agent_id(self.trust_domain, name), csr_der, profile.LEAF_TTL)

    def issue_server(self, csr_der: bytes, dns_names: Sequence[str], ip_addresses: Sequence[str]) -> X509Svid:
        """The control plane's own certificate: its SPIFFE ID, and the names people reach the API by."""
        names = tuple(dict.fromkeys((*dns_names, "localhost", SERVER_DNS_NAME)))
        ips = tuple(dict.fromkeys((*ip_addresses, "127.0.0.1")))
        return self._issue(server_id(self.trust_domain), csr_der, profile.LEAF_TTL, names, ips)

    async def run(self) -> None:
        """Replaces the issuing authority whenever half of its life is over, until cancelled."""
        while True:
            wait = until_replacement(_lifetime(self._issuing), self._clock())
            # a clock may jump: look again every minute
            await asyncio.sleep(min(wait.total_seconds() + 1, 60))
            self.refresh()

    def refresh(self) -> bool:
        """Replaces the issuing authority if it is due; says whether it did."""
        now = self._clock()
        if not must_replace(_lifetime(self._issuing), now):
            return False
        issuing = _new_issuing(self.trust_domain, self._root, now, self._new_serial())
        self._keystore.store(_ISSUING, _dump(issuing))
        self._issuing = issuing
        return True

    def _issue(
        self,
        spiffe_id: SpiffeId,
        csr_der: bytes,
        ttl: timedelta,
        dns_names: tuple[str, ...] = (),
        ip_addresses: tuple[str, ...] = (),
    ) -> X509Svid:
        return issue(
            spiffe_id,
            csr_der,
            signer=self._issuing,
            now=self._clock(),
            serial=self._new_serial(),
            ttl=ttl,
            dns_names=dns_names,
            ip_addresses=ip_addresses,
        )


def _new_root(trust_domain: TrustDomain, now: datetime, serial: int) -> Signer:
    key = keys.new_key()
    start = now.replace(microsecond=0) - profile.BACKDATE
    root = profile.Authority(
        trust_domain, f"{trust_domain} root", key.public_key(), start, start + profile.ROOT_TTL, serial, 1
    )
    return Signer(sign.self_signed(root, key), key)


def _new_issuing(trust_domain: TrustDomain, root: Signer, now: datetime, serial: int) -> Signer:
    key = keys.new_key()
    start = now.replace(microsecond=0) - profile.BACKDATE
    end = min(start + profile.ISSUING_TTL, root.certificate.not_valid_after_utc)
    wanted = profile.Authority(
        trust_domain, f"{trust_domain} issuing", key.public_key(), start, end, serial, 0
    )
    certificate = sign.authority(wanted, root)
    return Signer(certificate, key, (certificate,))


def _jwt_signer(keystore: Keystore, root: Signer) -> JwtSigner:
    """Lives as long as the root."""
    data = keystore.load(_JWT)
    if data is None:
        data = keys.key_pem(keys.new_key())
        keystore.store(_JWT, data)
    try:
        key = keys.load_key(data)
    except ValueError as error:
        raise KeystoreError(f"{_JWT} holds no key: restore it from a backup") from error
    kid = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()
    life = _lifetime(root)
    return JwtSigner(kid, key, jwt_svid.algorithm_of(key.public_key()), life.not_before, life.not_after)


def _lifetime(signer: Signer) -> Lifetime:
    return Lifetime(signer.certificate.not_valid_before_utc, signer.certificate.not_valid_after_utc)


def _dump(signer: Signer) -> bytes:
    return keys.key_pem(signer.key) + signer.certificate.public_bytes(Encoding.PEM)


def _load(keystore: Keystore, name: str) -> Signer | None:
    data = keystore.load(name)
    if data is None:
        return None
    try:
        key = keys.load_key(data)
        certificate = x509.load_pem_x509_certificate(data)
    except ValueError as error:
        raise KeystoreError(f"{name} holds no key and certificate: restore it from a backup") from error
    if certificate.public_key() != key.public_key():
        raise KeystoreError(f"the key in {name} does not belong to its certificate: restore it from a backup")
    return Signer(certificate, key, () if name == _ROOT else (certificate,))


def _expect(root: Signer, trust_domain: TrustDomain, now: datetime) -> None:
    """A root of another trust domain, or one that is not valid, must not go on signing in silence."""
    try:
        found = check.spiffe_id(root.certificate).trust_domain
    except SpiffeIdError as error:
        raise KeystoreError(f"{_ROOT} is no root of ours: {error}") from error
    if found != trust_domain:
        raise KeystoreError(f"the keystore holds the authority of {found}, not of {trust_domain}")
    if not root.certificate.not_valid_before_utc <= now < root.certificate.not_valid_after_utc:
        raise AuthorityError(f"the root is not valid at {now.isoformat()}: is the clock right?")
